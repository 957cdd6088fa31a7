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
from workbench.history_values import BANK_FUNCTIONS, bank_values

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


def test_all_that_staleness_tells(call: Call) -> None:
    found = json.loads(call("check", "staleness", stale(), "--json").out)
    assert found["age_ms"] == {"p50": pytest.approx(3e-5), "p99": pytest.approx(5e-5), "max": pytest.approx(5e-5)}
    assert (found["versions"]["max"], found["versions"]["within"]["1"], found["versions"]["within"]["2"]) == (
        1,
        1 / 3,
        1,
    )
    low, high = found["stale_rate_interval"]
    assert 0 < low < found["stale_rate"] < high < 1
    assert sum(row["reads"] for row in found["t_visibility"]) == 3
    for row in found["t_visibility"]:
        assert row["fresh_rate_low"] <= row["fresh_rate"] <= row["fresh_rate_high"]
    assert found["non_monotonic"]["by_session"]["reads"] == 1
    assert found["non_monotonic"]["by_replica"] == [
        {"cell": "", "replica": "", "reads": 2, "non_monotonic_reads": 2, "non_monotonic_rate": 1.0,
         "non_monotonic_rate_low": pytest.approx(0.342, abs=1e-3), "non_monotonic_rate_high": 1.0},
    ]  # fmt: skip
    text = call("check", "staleness", stale()).out
    for words in ("stale_rate: 66.7 %", "k = 2: 100 %", "within a session: 1 of 1", "fresh", "outdated for"):
        assert words in text


@pytest.mark.parametrize("check", ["staleness", "sessions"])
def test_what_was_rolled_back_counts_apart(call: Call, check: str) -> None:
    Path("dropped.jsonl").write_text('{"key": "x", "value": "b"}\n\n{"key": "x", "value": 1}\n')
    called = call("check", check, stale(), "--rolled-back", "dropped.jsonl", "--json")
    document = json.loads(called.out)
    assert (called.code, document["verdict"]) == (0, "valid")
    if check == "staleness":
        assert (document["reads"], document["rolled_back_reads"], document["stale_reads"]) == (2, 1, 0)
        assert "rolled back: 1 reads" in call("check", check, stale(), "--rolled-back", "dropped.jsonl").out


def test_the_rewinds_of_a_run_say_what_was_rolled_back(call: Call) -> None:
    document = json.loads(call("check", "staleness", str(EXAMPLES / "split_brain"), "--json").out)
    assert document["rolled_back_reads"] > 0
    copied = json.loads(call("check", "staleness", str(EXAMPLES / "split_brain" / "operations.parquet"), "--json").out)
    assert copied["rolled_back_reads"] == 0
    assert copied["reads"] == document["reads"] + document["rolled_back_reads"]


def test_convergence(call: Call) -> None:
    path = history("h.jsonl", (0, "write", "x", 1), (1, "read", "x", 1), (1, "read", "x", None))
    events = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for replica, event in (("a", events[3]), ("b", events[5])):
        event["replica"] = replica
    Path(path).write_text("".join(json.dumps(event) + "\n" for event in events))
    called = call("check", "convergence", path, "--json")
    document = json.loads(called.out)
    assert (called.code, document["keys_differing"], document["replicas"]) == (1, 1, 2)
    assert [row["replicas"] for row in document["witness"]] == [["a"], ["b"]]
    assert "x is 1 on a; nothing on b" in call("check", "convergence", path).out


def test_a_bank(call: Call) -> None:
    moved = {"from": "a", "to": "b", "amount": 3}
    path = history("h.jsonl", (0, "transfer", "", moved), (1, "read", "", {"a": 7, "b": 3}))
    for options, code in (((), 0), (("--total", "10"), 0), (("--total", "9"), 1), (("--accounts", "3"), 1)):
        called = call("check", "bank", path, *options, "--json")
        document = json.loads(called.out)
        assert called.code == code
        assert (document["reads"], document["wrong_reads"], document["total_lowest"]) == (1, code, 10)
        assert bool(document["witness"]) == (code == 1)
    below = history("h.jsonl", (1, "read", "", {"a": 11, "b": -1}))
    assert call("check", "bank", below).code == 1
    assert call("check", "bank", below, "--negative").code == 0
    to_frame(read_operations(path, BANK_FUNCTIONS, bank_values)).to_parquet("h.parquet", index=False)
    assert call("check", "bank", "h.parquet", "--negative").code == 0
    assert call("check", "bank", history("h.jsonl", (0, "transfer", "", moved))).code == 3
    assert call("check", "bank", history("h.jsonl", (0, "read", "", {}))).code == 3


def test_the_search_is_bounded(call: Call) -> None:
    lines = []
    for kind, times in (("invoke", range(12)), ("ok", range(20, 32))):
        for process, time_ns in enumerate(times):
            event = {"process": process, "f": "cas", "key": "x", "value": [process % 3, (process + 1) % 3]}
            lines.append(event | {"type": kind, "time_ns": time_ns})
    Path("h.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    called = call("check", "linearizability", "h.jsonl", "--initial", "1", "--states", "5", "--json")
    assert (called.code, json.loads(called.out)["verdict"]) == (3, "unknown")
    assert "not decided within the bounds" in json.loads(called.out)["reason"]


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
        (["prefix", "h.jsonl", "--rolled-back", "h.jsonl"], "--rolled-back is an option of staleness and sessions"),
        (["staleness", "h.jsonl", "--rolled-back", "h.jsonl"], "h.jsonl, line 1: no value of a key: "),
        (["sessions", "h.jsonl", "--rolled-back", "none.jsonl"], "cannot read none.jsonl: No such file"),
        (["bank", "h.jsonl", "--total", "many"], "workbench check: argument --total: 'many' is not a whole number"),
        (["bank", "h.jsonl", "--accounts", "0"], "workbench check: argument --accounts: 0 is out of range"),
        (["linearizability", "h.jsonl", "--states", "0"], "workbench check: argument --states: 0 is out of range"),
        (["staleness", "h.jsonl", "--total", "3"], "--total is an option of bank"),
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
