"""The table of operations is validated where it is made, and survives the trip through JSON Lines."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from workbench.errors import HistoryError
from workbench.history import SCHEMA, operations_frame, validate_operations
from workbench.history_tables import events, read_history, write_history

OK_WRITE = {
    "operation": 1,
    "kind": "write",
    "key": "x",
    "value": 1,
    "outcome": "ok",
    "invoked_ns": 1,
    "completed_ns": 2,
}


def test_types_and_defaults():
    frame = operations_frame([OK_WRITE])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == SCHEMA
    assert frame.loc[0, "replica"] == ""
    assert frame.loc[0, "index"] == 0
    assert {name: str(dtype) for name, dtype in operations_frame([]).dtypes.items()} == SCHEMA


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"kind": "cas"}, "operation 1 has a kind"),
        ({"outcome": "done"}, "operation 1 has an outcome"),
        ({"value": None}, "no value, though it is a write"),
        ({"value": 1.0}, "column value holds 1.0"),
        ({"value": 2**63}, "beyond 64 bits"),
        ({"key": 7}, "column key holds 7"),
        ({"session": None}, "column session holds None"),
        ({"completed_ns": None}, "no completed_ns"),
        ({"completed_ns": 0}, "a completed_ns before its invoked_ns"),
        ({"invoked_ns": None}, "no invoked_ns"),
        ({"invoked_ns": None, "outcome": "fail"}, "but no invoked_ns"),
        ({"index": -1}, "a negative index"),
        ({"sequence": -1}, "a negative sequence"),
        ({"identifier": -1}, "a negative identifier"),
        ({"colour": 1}, "not an operation"),
    ],
)
def test_malformed_operations_are_refused(change, what):
    with pytest.raises(HistoryError, match=what):
        operations_frame([OK_WRITE | change])


def test_malformed_tables_are_refused():
    frame = operations_frame([OK_WRITE])
    with pytest.raises(HistoryError, match="lacks the column key"):
        validate_operations(frame.drop(columns="key"))
    with pytest.raises(HistoryError, match="column term has type float64"):
        validate_operations(frame.astype({"term": float}))
    with pytest.raises(HistoryError, match="unknown column colour"):
        validate_operations(frame.assign(colour=1))
    with pytest.raises(HistoryError, match="operation 1 has a number that was used before"):
        validate_operations(pd.concat([frame, frame]))


@st.composite
def tables(draw):
    rows = []
    for number in range(draw(st.integers(0, 12))):
        kind, outcome = draw(st.sampled_from(["read", "write"])), draw(st.sampled_from(["ok", "fail", "info"]))
        invoked = draw(st.integers(0, 20))
        completed = invoked + draw(st.integers(0, 8))
        if outcome == "info":
            completed = draw(st.sampled_from([None, completed]))
        returns = completed is not None
        has_value = kind == "write" or (outcome == "ok" and draw(st.booleans()))
        rows.append(
            {
                "operation": number * 3,
                "cell": draw(st.sampled_from(["", "a"])),
                "session": draw(st.integers(0, 3)),
                "kind": kind,
                "key": draw(st.sampled_from(["x", "y"])),
                "value": draw(st.integers(-(2**63), 2**63 - 1)) if has_value else None,
                "outcome": outcome,
                "error": "late" if returns and outcome != "ok" else "",
                "replica": draw(st.sampled_from(["", "replica-2"])) if returns else "",
                "term": draw(st.integers(0, 2)) if returns else 0,
                "index": draw(st.integers(0, 9)) if returns else 0,
                "member": draw(st.integers(0, 2)) if returns else 0,
                "intended_ns": draw(st.integers(0, invoked)),
                "invoked_ns": invoked,
                "completed_ns": completed,
                "sequence": draw(st.integers(0, 3)),
                "identifier": draw(st.sampled_from([0, 7, 2**48 - 1])),
            }
        )
    return operations_frame(rows)


@settings(max_examples=150, deadline=None)
@given(tables())
def test_a_table_survives_json_lines(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    write_history(table, path)
    again = read_history(path).sort_values("operation", ignore_index=True)
    assert_frame_equal(again, table)


@settings(max_examples=150, deadline=None)
@given(tables())
def test_a_process_has_one_operation_open_at_a_time(table):
    open_processes, last = set(), -1
    for event in events(table):
        assert event.time_ns >= last
        last = event.time_ns
        if event.type == "invoke":
            assert event.process not in open_processes
            open_processes.add(event.process)
        elif event.type != "info":  # an operation in doubt stays open to the end
            open_processes.remove(event.process)


def test_lines_have_the_keys_of_the_design(tmp_path):
    write_history(operations_frame([OK_WRITE]), tmp_path / "h.jsonl")
    first, last = map(json.loads, (tmp_path / "h.jsonl").read_text().splitlines())
    wanted = {"process": 0, "type": "invoke", "f": "write", "key": "x", "value": 1, "time_ns": 1}
    assert {name: first[name] for name in wanted} == wanted
    assert (last["type"], last["time_ns"]) == ("ok", 2)


def test_a_foreign_history_needs_only_the_six_keys(tmp_path):
    path = tmp_path / "h.jsonl"
    path.write_text(
        '{"process": 3, "type": "invoke", "f": "read", "key": "x", "value": null, "time_ns": 10}\n\n'
        '{"process": 4, "type": "invoke", "f": "write", "key": "x", "value": 7, "time_ns": 11}\n'
        '{"process": 3, "type": "ok", "f": "read", "key": "x", "value": null, "time_ns": 12}\n'
    )
    frame = read_history(path)
    assert frame[["kind", "outcome", "session", "intended_ns"]].to_numpy().tolist() == [
        ["read", "ok", 3, 10],
        ["write", "info", 4, 11],
    ]
    assert frame["value"].isna().tolist() == [True, False]


INVOKE = '{"process":0,"type":"invoke","f":"write","key":"x","value":1,"time_ns":5}'


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["{"], "line 1: not an event"),
        ([INVOKE.replace("5", '"5"')], "line 1: not an event"),
        ([INVOKE, INVOKE], "line 2: process 0 invokes while"),
        ([INVOKE, INVOKE.replace("invoke", "info"), INVOKE], "line 3: process 0 invokes while"),
        ([INVOKE.replace("invoke", "ok")], "line 1: process 0 has no open operation"),
        ([INVOKE.replace("write", "cas")], "line 1: f is 'cas'"),
        ([INVOKE.replace(":1,", ":null,")], "line 1: a write without a value"),
        ([INVOKE.replace(":1,", ":[1,2],")], "line 1: the value of a write is a list"),
        ([INVOKE, INVOKE.replace("invoke", "ok").replace('"x"', '"y"')], "line 2: write of 'y' ends write of 'x'"),
        ([INVOKE, INVOKE.replace("invoke", "ok").replace(":1,", ":2,")], "line 2: a write of 1 ends with value 2"),
        ([INVOKE, INVOKE.replace("invoke", "ok").replace("5", "4")], "line 2: completed before"),
    ],
)
def test_a_bad_history_names_its_line(tmp_path, lines, what):
    (tmp_path / "h.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(HistoryError, match=what):
        read_history(tmp_path / "h.jsonl")
