"""What the documents say is true: their Python runs, their commands and links exist."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

from workbench import cli
from workbench.config import Limits, Timing
from workbench.protocol.roles import TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(python_blocks())))
async def test_the_python_of_the_readme_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    source = python_blocks()[number]
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace: dict[str, object] = {}
    result = eval(code, namespace)
    if inspect.iscoroutine(result):
        await asyncio.wait_for(result, timeout=100)
    assert namespace["report" if "Cluster(" in source else "run"] is not None


def test_the_readme_has_python() -> None:
    assert len(python_blocks()) == 2


def test_the_readme_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    listed = set(re.findall(r"^\| `workbench (\w+)", README, flags=re.MULTILINE))
    assert cli.main(["--help"]) == 0
    offered = set(re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out, flags=re.MULTILINE))
    assert listed, "the table of commands is gone"
    assert listed == offered


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert missing == []


def test_the_protocol_page_names_every_bound_with_its_default() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    shown = {
        "transaction_bytes_max": "4 MiB",
        "reply_bytes_max": "64 KiB",
        "read_rows_max": "100,000",
        "read_bytes_max": "16 MiB",
        "entry_bytes_max": "96 MiB",
        "group_transactions_max": "256",
        "waiting_transactions_max": "10,000",
        "unacknowledged_bytes_max": "8 MiB",
        "catch_up_bytes_max": "1 MiB",
        "segment_bytes_max": "16 MiB",
        "sessions_max": "20,000",
        "retained_log_bytes_max": "64 MiB",
        "statement_timeout_s": "30 s",
    }
    units = {"MiB": 1024 * 1024, "KiB": 1024, "s": 1}
    for name, text in shown.items():
        assert f"| `{name}` | {text} |" in page
        number, _, unit = text.replace(",", "").partition(" ")
        assert getattr(Limits(), name) == int(number) * units.get(unit, 1)
    assert set(shown) | {"disk_bytes_max"} == set(Limits.__slots__)
    for name in ("ack_timeout_ms", "read_wait_ms"):
        assert f"| `{name}` | {getattr(Timing(), name) / 1000:g} s |" in page


def test_the_protocol_page_shows_the_table_of_roles() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    rows = "".join(f"| {role} | {event} | {following} |\n" for (role, event), following in TRANSITIONS.items())
    assert rows in page
