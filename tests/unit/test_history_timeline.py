"""What the page about a history says; how it behaves in a browser is held by tests/browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench import Run
from workbench.charts.history_timeline import OPERATIONS_MAX, HistoryTimeline, history_timeline, states_of_run
from workbench.charts.spans import Span
from workbench.checkers.linearizability import linearizability
from workbench.errors import ConfigurationError
from workbench.history_operations import Operation

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"


def write(number: int, value: Any, **more: Any) -> Operation:
    begin = 2 * number
    fields: dict[str, Any] = {
        "outcome": "ok",
        "key": "x",
        "end": begin + 1,
        "completed_ns": begin * 1_000 + 500,
        "process": 0,
    } | more
    return Operation(number=number, f="write", value=value, begin=begin, invoked_ns=begin * 1_000, **fields)


def data_of(timeline: HistoryTimeline) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', timeline.html)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_replica_leads_is_away_and_comes_back() -> None:
    rows = [
        ("c", 0.0, "leads", "replica-1"),
        ("c", 100.0, "cut off", "replica-1"),
        ("c", 150.0, "killed", "replica-1"),
        ("c", 200.0, "leads", "replica-2"),
        ("c", 300.0, "restarted", "replica-1"),
        ("other", 0.0, "paused", "replica-3"),
    ]
    events = pd.DataFrame(rows, columns=["cell", "at_ms", "event", "replica"])
    assert states_of_run(events, "c", 500.0) == [
        Span("replica-1", "leads", 0, 100),
        Span("replica-2", "leads", 200, 500),
        Span("replica-1", "cut off", 100, 150),
        Span("replica-1", "down", 150, 300),
        Span("replica-1", "catches up", 300, 500),
    ]
    assert states_of_run(None, "c", 500.0) == []
    assert states_of_run(pd.DataFrame({"at_ms": [1.0]}), "c", 500.0) == []


def test_the_split_brain_run_shows_its_two_leaders_and_what_conflicts() -> None:
    timeline = Run.open(EXAMPLES / "split_brain").timeline()
    data = data_of(timeline)
    assert "is not linearizable" in timeline.words
    assert "fencing=false" in timeline.html
    assert [one["state"] for one in data["states"] if one["replica"] == "replica-1"] == ["leads", "leads", "paused"]
    leading = [one for one in data["states"] if one["state"] == "leads"]
    last = {one["replica"]: one["end_ns"] for one in leading if one["end_ns"] == max(it["end_ns"] for it in leading)}
    assert len(last) == 2
    assert len(data["conflict"]) >= 2
    assert all(data["operations"][at]["conflict"] for at in data["conflict"])


def test_a_history_of_several_keys_names_them_and_what_was_absent() -> None:
    read = Operation(number=2, process=1, f="read", key="y", outcome="ok", begin=4, end=5, completed_ns=9_000)
    data = data_of(history_timeline([write(0, 1), write(1, 2, key="y"), read]))
    assert [one["label"] for one in data["operations"]] == ["x = 1", "y = 2", "y = absent"]
    assert data["end"] is None


def test_of_a_long_history_the_end_is_shown_and_what_conflicts() -> None:
    read = Operation(number=5_000, process=1, f="read", key="x", value=3, outcome="ok", begin=10_000, end=10_001,
                     completed_ns=10_000_500, invoked_ns=10_000_000)  # fmt: skip
    operations = [*(write(number, number) for number in range(5_000)), read]
    timeline = history_timeline(operations, linearizability(operations))
    assert OPERATIONS_MAX < timeline.operations_shown <= OPERATIONS_MAX + 3
    assert "What came long before its end is left out" in timeline.html
    assert {data["words"] for data in data_of(timeline)["operations"] if data["conflict"]} >= {
        "process 0 wrote x = 3 (operation 3)",
        "process 1 read x = 3 (operation 5000)",
    }


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write"):
        history_timeline([write(0, 1)]).write(tmp_path / "nowhere" / "page.html")
