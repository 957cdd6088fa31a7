"""`workbench runs export`: the history of a run as JSON Lines, of which every check says what it says of the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.conftest import Called
from workbench.results import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"
Call = Callable[..., Called]


@pytest.mark.parametrize("name", ["session_guarantees", "split_brain", "stale_reads", "failover"])
def test_the_export_is_judged_like_the_run(call: Call, tmp_path: Path, name: str) -> None:
    history = tmp_path / "history.jsonl"
    told = json.loads(call("runs", "export", str(EXAMPLES / name), "--output", str(history), "--json").out)
    assert told == {"history": str(history), "operations": len(history.read_text().splitlines()) // 2}
    for check in ("linearizability", "sessions", "prefix", "lost-writes"):
        assert judged(call, check, history) == judged(call, check, EXAMPLES / name)


def test_the_checks_of_a_run_are_found_again(call: Call) -> None:
    """The checkers of the command line, on what a run has recorded, against what the run says of itself."""
    folder = EXAMPLES / "session_guarantees"
    guarantees = json.loads(call("check", "sessions", str(folder), "--json").out)["guarantees"]
    for name, verdict in RunFolder.open(folder).checks.items():
        if name in guarantees:
            assert guarantees[name]["verdict"] == verdict.status
    stale = json.loads(call("check", "staleness", str(folder), "--json").out)
    assert stale["verdict"] == RunFolder.open(folder).checks["staleness"].status


def test_a_recorded_history_that_was_tampered_with_is_invalid(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLES / "failover", folder)
    assert call("check", "staleness", str(folder)).code == 0
    table = pd.read_parquet(folder / "operations.parquet")
    writes = table[(table["kind"] == "write") & (table["outcome"] == "ok")].sort_values("completed_ns")
    key = writes["key"].mode()[0]
    reads = table[(table["kind"] == "read") & (table["key"] == key) & (table["outcome"] == "ok")]
    table.loc[reads["invoked_ns"].idxmax(), "value"] = writes.loc[writes["key"] == key, "value"].iloc[0]
    table.to_parquet(folder / "operations.parquet")
    assert call("check", "staleness", str(folder)).code == 1
    assert call("runs", "export", str(folder)).code == 0
    assert call("check", "staleness", str(folder / "history.jsonl")).code == 1


def test_what_cannot_be_exported_is_one_line(call: Call, tmp_path: Path) -> None:
    assert "export needs a run" in call("runs", "export").err
    assert "is not a run folder" in call("runs", "export", str(tmp_path)).err
    target = str(tmp_path / "nowhere" / "history.jsonl")
    assert "cannot write" in call("runs", "export", str(EXAMPLES / "failover"), "--output", target).err
    assert "goes with export" in call("runs", "list", "some-run").err


def judged(call: Call, check: str, history: Path) -> tuple[int, Any]:
    called = call("check", check, str(history), "--json")
    return called.code, json.loads(called.out)["counts"]
