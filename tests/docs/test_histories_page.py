"""The page about histories: what is printed is printed anew, its Python runs, its bad example is refused as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.printed_examples import blocks, comparable, printed
from workbench import cli
from workbench.commands.check import CHECKS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "histories.md").read_text()
FILES = {name: text for kind, name, text in blocks(PAGE) if kind == "file"}
PRINTED = {command: text for kind, command, text in blocks(PAGE) if kind == "printed"}


@pytest.mark.parametrize("command", PRINTED)
def test_an_example_is_what_the_command_prints(command: str) -> None:
    hint = "run .venv/bin/python -m tests.docs.printed_examples docs/histories.md"
    assert comparable(printed(PAGE, command)) == comparable(PRINTED[command]), hint
    assert PRINTED[command].strip()


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    sources = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(sources) == 2
    for source in sources:
        checked = re.sub(r"^(\S.*)  # (\".*\")$", r"assert \1 == \2", source, flags=re.MULTILINE)
        assert "assert" in checked
        exec(compile(checked, "histories.md", "exec"), {})


def test_the_bad_example_is_refused_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text(FILES["bad.jsonl"])
    assert cli.main(["check", "linearizability", "bad.jsonl"]) == 2
    said = capsys.readouterr().err.removeprefix("error: ").strip()
    assert "\n" not in said
    assert f"`{said}`" in PAGE


def test_every_check_stands_there() -> None:
    assert tuple(re.findall(r"^\| `([a-z-]+)` \| .*\?", PAGE, flags=re.MULTILINE)) == CHECKS
