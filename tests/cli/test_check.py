"""`workbench check`: exit codes, the fields of its JSON, bad input in one line that names the line of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Called
from workbench.history_events import read_operations
from workbench.history_tables import to_frame

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"
GUARANTEES = {"read_your_writes", "monotonic_reads", "monotonic_writes", "writes_follow_reads"}

Call = Callable[..., Called]


def history(path: str, *operations: tuple[int, str, str, Any]) -> str:
    """One after the other: (process, function, key, value)."""
    lines = []
    for number, (process, f, key, value) in enumerate(operations):
        event = {"process": process, "f": f, "key": key, "value": None if f == "read" else value}
        lines.append(event | {"type": "invoke", "time_ns": 20 * number})
        lines.append(event | {"type": "ok", "time_ns": 20 * number + 10, "value": value})
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def good() -> str:
    return history("good.jsonl", (0, "write", "x", "a"), (1, "read", "x", "a"), (0, "read", "x", "a"))


def stale() -> str:
    operations = [(0, "write", "x", "a"), (0, "write", "x", "b"), (1, "read", "x", "b"), (1, "read", "x", "a")]
    return history("stale.jsonl", *operations, (0, "read", "x", "a"))


@pytest.mark.parametrize("check", ["linearizability", "sessions", "staleness", "lost-writes"])
def test_exit_codes_and_fields(call: Call, check: str) -> None:
    for path, code, status, operations in ((good(), 0, "valid", 3), (stale(), 1, "invalid", 5)):
        called = call("check", check, path, "--json")
        document = json.loads(called.out)
        assert (called.code, document["verdict"], document["operations"]) == (code, status, operations)
        assert bool(document["witness"]) == (status == "invalid")
    Path("empty.jsonl").write_text("")
    called = call("check", check, "empty.jsonl", "--json")
    assert (called.code, json.loads(called.out)["verdict"]) == (3, "unknown")


def test_prefix(call: Call) -> None:
    writes = [(0, "write", "question", 1), (0, "write", "answer", 2)]
    bad = history("h.jsonl", *writes, (1, "read", "answer", 2), (1, "read", "question", None))
    called = call("check", "prefix", bad, "--json")
    document = json.loads(called.out)
    assert (called.code, document["causal_reversals"], document["long_forks"]) == (1, 1, 0)
    fine = history("h.jsonl", *writes, (1, "read", "answer", 2), (1, "read", "question", 1))
    assert call("check", "prefix", fine).code == 0


def test_the_guarantees_of_sessions(call: Call) -> None:
    found = json.loads(call("check", "sessions", stale(), "--json").out)["guarantees"]
    assert set(found) == GUARANTEES
    assert (found["monotonic_reads"]["checked"], found["monotonic_reads"]["violations"]) == (1, 1)
    assert found["read_your_writes"]["verdict"] == found["monotonic_reads"]["verdict"] == "invalid"
    assert found["writes_follow_reads"]["verdict"] == "unknown"
    assert found["monotonic_reads"]["witness"][0]["value"] == "a"
    assert 'read x = "b"' in found["monotonic_reads"]["witness"][0]["words"]


def test_the_figures_of_staleness(call: Call) -> None:
    found = json.loads(call("check", "staleness", stale(), "--json").out)
    assert (found["reads"], found["stale_reads"], found["stale_reads_acknowledged"]) == (3, 2, 2)
    assert (found["stale_rate"], found["non_monotonic_reads"]) == (pytest.approx(2 / 3), 1)


def test_a_cas_and_the_models(call: Call) -> None:
    path = history("h.jsonl", (0, "cas", "x", [None, "a"]), (0, "cas", "x", ["a", True]), (0, "read", "x", True))
    assert call("check", "linearizability", path).code == 0
    assert call("check", "linearizability", path, "--initial", '"z"').code == 1
    refused = call("check", "linearizability", path, "--model", "register")
    assert refused.code == 2
    assert refused.err.startswith("error: operation 0 is a cas, which the model register does not have")
    assert json.loads(call("check", "sessions", path, "--json").out)["guarantees"]["read_your_writes"]["checked"] == 2


def test_parquet_and_run_folders(call: Call) -> None:
    to_frame(read_operations(stale())).to_parquet("h.parquet", index=False)
    assert call("check", "linearizability", "h.parquet").code == 1
    for name, code in (("stale_reads", 1), ("write_latency", 3)):
        for path in (EXAMPLES / name, EXAMPLES / name / "operations.parquet"):
            assert call("check", "staleness", str(path)).code in {code, 0}


def test_the_page(call: Call) -> None:
    called = call("check", "linearizability", stale(), "--html", "out.html", "--json")
    assert json.loads(called.out)["html"] == "out.html"
    page = Path("out.html").read_text()
    assert "is not linearizable" in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page
    assert call("check", "linearizability", stale(), "--html", "no/such/folder/out.html").code == 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["linearizable", "h.jsonl"], "unknown check 'linearizable' (did you mean 'linearizability'?"),
        (["sessions", "none.jsonl"], "cannot read the history none.jsonl: No such file or directory"),
        (["sessions", "bad.jsonl"], "bad.jsonl, line 2: not an event"),
        (["staleness", "bad.jsonl"], "bad.jsonl, line 2: not an event"),
        (["prefix", "folder"], "folder has no operations.parquet"),
        (["sessions", "h.jsonl", "--model", "register"], "--model is an option of linearizability"),
        (["linearizability", "h.jsonl", "--model", "queue"], "unknown model 'queue'"),
        (["linearizability", "h.jsonl", "--initial", "a"], "--initial 'a' is not JSON"),
        (["linearizability", "h.jsonl", "--initial", "[1]"], "--initial '[1]' is no scalar"),
        (["linearizability", "bad.parquet"], "cannot read the history bad.parquet"),
        (["linearizability", "other.parquet"], "the table of operations lacks the column"),
    ],
)
def test_bad_input_is_one_line(call: Call, arguments: list[str], what: str) -> None:
    import pandas as pd

    history("h.jsonl", (0, "write", "x", 1))
    Path("bad.jsonl").write_text(Path("h.jsonl").read_text().splitlines()[0] + "\n{}\n")
    Path("folder").mkdir()
    Path("bad.parquet").write_text("no parquet")
    pd.DataFrame({"a": [1]}).to_parquet("other.parquet")
    called = call("check", *arguments)
    assert called.code == 2
    assert called.err.startswith(f"error: {what}")
    assert called.err.count("\n") == 1
    assert called.out == ""
