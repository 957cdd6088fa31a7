"""scripts/venv.sh with made-up Pythons: which one it takes, what it says without one, and that failures leave no stamp.

The fake Pythons are shell scripts on a PATH of their own, which note how they were called.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!/bin/sh
echo "$0 $*" >>"{calls}"
case "$*" in
    *version_info*) {version} ;;
    *ensurepip*) {ensurepip} ;;
    --version) echo Python 3.11.99 ;;
    *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; touch "$last/pyvenv.cfg"; cp "$0" "$last/bin/python" ;;
    *"-m pip"*) {pip} ;;
esac
"""


class Place:
    """A copy of what the script reads, and a PATH that holds the shell's tools and fake Pythons only."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a project"
        self.bin = root / "bin"
        self.calls = root / "calls"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts/venv.sh", self.root / "scripts")
        for name in ("pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.root)
        for tool in ("bash", "cat", "cksum", "cp", "dirname", "ls", "mkdir", "rm", "sh", "touch"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    def python(self, name: str, *, version: str = "exit 0", ensurepip: str = "exit 0", pip: str = "exit 0") -> Path:
        path = self.bin / name
        path.write_text(FAKE.format(calls=self.calls, version=version, ensurepip=ensurepip, pip=pip))
        path.chmod(0o755)
        return path

    def run(self, level: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "bash"), "scripts/venv.sh", level]
        env = {"PATH": str(self.bin), **environment}
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def stamps(self) -> list[str]:
        return sorted(path.name for path in (self.root / ".venv").glob(".installed-*"))

    def pip_calls(self) -> int:
        return self.calls.read_text().count("-m pip install")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_takes_the_newest_python_that_runs(place: Place) -> None:
    place.python("python3.14", version="exit 127")  # a shim without an interpreter behind it
    expected = place.python("python3.13")
    place.python("python3.11")
    assert place.run("python").stdout.strip() == str(expected)


def test_passes_over_a_python_without_venv_if_there_is_another(place: Place) -> None:
    place.python("python3.13", ensurepip="exit 1")
    expected = place.python("python3.12")
    assert place.run("python").stdout.strip() == str(expected)


def test_says_what_to_install_without_python(place: Place) -> None:
    place.python("python3", version="exit 1")  # too old
    done = place.run("run")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no Python 3.11 or newer found" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_says_what_to_install_without_venv(place: Place) -> None:
    place.python("python3.12", ensurepip="exit 1")
    done = place.run("run")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt install python3-venv" in done.stderr


def test_a_named_python_is_taken_or_refused_never_replaced(place: Place) -> None:
    named = place.python("mine")
    place.python("python3.13")
    assert place.run("python", PYTHON="mine").stdout.strip() == str(named)
    refused = place.run("python", PYTHON="no-such-python")
    assert refused.returncode == 1
    assert "PYTHON=no-such-python is not" in refused.stderr


def test_installs_once_and_a_larger_set_covers_a_smaller(place: Place) -> None:
    place.python("python3.13")
    assert place.run("test").returncode == 0
    assert place.stamps() == [".installed-lab", ".installed-run", ".installed-test"]
    for level in ("test", "lab", "run"):
        assert place.run(level).stdout == ""
    assert place.pip_calls() == 1
    assert place.run("dev").returncode == 0
    assert place.pip_calls() == 2


def test_a_changed_lock_installs_again(place: Place) -> None:
    place.python("python3.13")
    place.run("test")
    with (place.root / "requirements.lock").open("a") as lock:
        lock.write("one-more==1\n")
    place.run("run")
    assert place.pip_calls() == 2
    assert place.stamps() == [".installed-run"]


def test_a_failed_install_leaves_no_stamp_and_is_repeated(place: Place) -> None:
    place.python("python3.13", pip=f'[ -e "{place.root}/network" ]')
    done = place.run("run")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert place.stamps() == []
    (place.root / "network").touch()
    assert place.run("run").returncode == 0
    assert place.stamps() == [".installed-run"]


def test_an_interrupted_install_leaves_no_stamp(place: Place) -> None:
    place.python("python3.13", pip="kill -INT $PPID; exit 130")
    assert place.run("run").returncode != 0
    assert place.stamps() == []


def test_a_folder_that_is_no_environment_is_left_alone(place: Place) -> None:
    place.python("python3.13")
    treasure = place.root / "photos" / "holiday.jpg"
    treasure.parent.mkdir()
    treasure.touch()
    done = place.run("run", VENV="photos")
    assert done.returncode == 1
    assert "no virtual environment" in done.stderr
    assert treasure.exists()
