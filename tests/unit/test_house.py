"""Promises about the project itself: sizes, docstrings, imports, the lock, the commands.

Each reads the files of the project; nothing is started but a Python that imports the package.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_LINES_MAX = 400
TEST_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
HEAVY = {
    "IPython", "amqtt", "anywidget", "ipywidgets", "jinja2", "jupyterlab", "matplotlib", "numpy", "pandas", "pyarrow",
    "rich", "seaborn",
}  # fmt: skip
IMPORTED_AS = {"paho": "paho-mqtt"}
"""Packages whose import name is not the name that they are installed by."""

PACKAGE_FILES = sorted((ROOT / "workbench").rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def text_files() -> list[Path]:
    """Every text file that is or would be committed (in a copy without git: of the project's folders), but this one."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        paths = [ROOT / name for name in names if name]
    else:
        folders = ("workbench", "tests", "docs", "notebooks", "scripts", "data/examples")
        paths = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return [p for p in paths if p.is_file() and p != Path(__file__).resolve() and b"\0" not in p.read_bytes()[:4096]]


# ---- files


def test_files_stay_small() -> None:
    limits = dict.fromkeys(PACKAGE_FILES, PACKAGE_LINES_MAX) | dict.fromkeys(TEST_FILES, TEST_LINES_MAX)
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    too_long = {name_of(path): lines[path] for path in limits if lines[path] > limits[path]}
    assert PACKAGE_FILES
    assert too_long == {}, "split these files by what they are about"


def test_functions_fit_on_a_screen() -> None:
    too_long = {
        f"{name_of(path)}:{node.lineno} {node.name}": length
        for path in PACKAGE_FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert too_long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(p) for p in PACKAGE_FILES + TEST_FILES if tree_of(p).body and not ast.get_docstring(tree_of(p))]
    assert silent == [], "open these modules with a docstring"


def test_no_file_names_a_machine_or_a_registry() -> None:
    forbidden = re.compile(
        r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|private/var)/|/tmp/(?:proto|tmp\w{6,})|pythonhosted|pypi\.org|npmjs\."
    )
    found = [
        f"{name_of(path)}:{number}: {match.group()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := forbidden.search(line))
    ]
    assert found == []


# ---- imports


def modules_loaded_by(module: str) -> set[str]:
    """Top-level names in `sys.modules` after importing `module` in a fresh interpreter."""
    script = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", ["workbench", "workbench.replica.process", "workbench.client.load"])
def test_import_is_light(module: str) -> None:
    loaded = modules_loaded_by(module)
    assert "workbench" in loaded
    assert loaded & HEAVY == set()


def third_party_imports(path: Path) -> set[str]:
    nodes = list(ast.walk(tree_of(path)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    tops = {name.partition(".")[0] for name in names}
    return {canonicalize_name(IMPORTED_AS.get(t, t)) for t in tops - sys.stdlib_module_names - {"workbench", "tests"}}


def declared(*extras: str) -> set[str]:
    """Names of the packages that are installed with `extras`, extras of extras included."""
    names: set[str] = set()
    for text in [*PROJECT["dependencies"], *(r for extra in extras for r in PROJECT["optional-dependencies"][extra])]:
        requirement = Requirement(text)
        own = requirement.name == PROJECT["name"]
        names |= declared(*requirement.extras) if own else {canonicalize_name(requirement.name)}
    return names


@pytest.mark.parametrize(
    ("files", "extras"),
    [(PACKAGE_FILES, ("lab", "duckdb")), (TEST_FILES, ("test", "duckdb"))],
    ids=["package", "tests"],
)
def test_third_party_imports_are_declared(files: list[Path], extras: tuple[str, ...]) -> None:
    undeclared = {
        name_of(path): missing for path in files if (missing := third_party_imports(path) - declared(*extras))
    }
    assert files
    assert undeclared == {}, "declare these packages in pyproject.toml and run `make lock`"


def test_runtime_code_needs_no_extra() -> None:
    """Outside widgets/ and the DuckDB store, what a module imports at its top comes with the run-time packages."""
    optional = (declared("lab", "duckdb", "test", "dev") - declared()) | {"pytest"}
    files = [p for p in PACKAGE_FILES if "widgets" not in p.parts and p.stem != "duckdb"]
    found = {
        name_of(path): names
        for path in files
        if (names := {canonicalize_name(IMPORTED_AS.get(t, t)) for t in top_level_imports(path)} & optional)
    }
    assert found == {}


def top_level_imports(path: Path) -> set[str]:
    """What importing the module imports: no functions, nothing under `if TYPE_CHECKING`."""
    body = tree_of(path).body
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


# ---- the lock


LOCK = [
    Requirement(line.split("#")[0])
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize(("platform", "system"), [("linux", "Linux"), ("darwin", "Darwin")])
def test_lock_pins_every_dependency_once(python: str, platform: str, system: str) -> None:
    place: dict[str, str] = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": platform,
        "platform_system": system,
    }
    pins = [canonicalize_name(pin.name) for pin in LOCK if pin.marker is None or pin.marker.evaluate(place)]
    assert sorted(pins) == sorted(set(pins))
    assert declared(*PROJECT["optional-dependencies"]) - set(pins) == set(), "run `make lock`"


def test_lock_agrees_with_the_bounds_of_pyproject() -> None:
    texts = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    bounds = {canonicalize_name(r.name): r.specifier for r in map(Requirement, texts)}
    outside = [
        str(pin)
        for pin in LOCK
        if (bound := bounds.get(canonicalize_name(pin.name))) is not None
        and not bound.contains(next(iter(pin.specifier)).version)
    ]
    assert outside == [], "run `make lock`"


def test_lock_holds_exact_versions_and_no_addresses() -> None:
    loose = [str(pin) for pin in LOCK if pin.url or [s.operator for s in pin.specifier] != ["=="]]
    assert LOCK
    assert loose == []


def test_build_backend_is_pinned() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert [[s.operator for s in Requirement(text).specifier] for text in build] == [["=="]]


# ---- commands


def make_targets() -> set[str]:
    """Targets that are meant to be typed: those in .PHONY but the steps that they share."""
    phony = re.search(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)
    assert phony is not None
    return {name for name in phony.group(1).split() if not name.endswith("-packages")}


def test_every_make_target_is_explained() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^([a-z]+):.*## \S", MAKEFILE, re.MULTILINE))
    assert make_targets() >= {"help", "demo", "lab", "test", "notebooks", "check", "lock", "clean"}
    assert make_targets() == explained
    assert make_targets() - {"help"} - set(re.findall(r"`make ([a-z]+)", contributing)) == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"])
def test_documents_name_only_existing_make_targets(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|\$ |run: |tools/fresh-clone )make ([a-z][a-z ]*[a-z])", text, re.MULTILINE))
    words = {word for words in named for word in words.split()}
    assert words - make_targets() == set()


def test_ci_runs_all_checks() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    run = set(" ".join(re.findall(r"^make (.*)$", script, re.MULTILINE)).split())
    check = re.search(r"^check: (.*) ##", MAKEFILE, re.MULTILINE)
    assert check is not None
    assert run == set(check.group(1).split())


@pytest.mark.parametrize("name", [".ci/run", "scripts/venv.sh"])
def test_scripts_can_be_run(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o111 == 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
