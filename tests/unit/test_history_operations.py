"""Histories of any system: every JSON scalar as a value, compare-and-set, what is not sound refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from workbench.errors import HistoryError
from workbench.history_columns import Coded, coded_table, read_coded_by_lines
from workbench.history_events import read_operations, read_pairs, write_operations
from workbench.history_operations import OPEN, Operation, tell, token
from workbench.history_tables import FRAME, from_frame, open_history, to_frame

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"


def line(process: int, kind: str, f: str, value: Any, time_ns: float, key: str = "x", **more: Any) -> str:
    event = {"process": process, "type": kind, "f": f, "key": key, "value": value, "time_ns": time_ns}
    return json.dumps(event | more)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "history.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_cas_that_did_not_match_is_an_observation(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        line(0, "invoke", "cas", [None, "a"], -5),
        line(0, "ok", "cas", [None, "a"], 3),
        line(0, "invoke", "cas", ["b", 1.5], 3),
        line(0, "ok", "cas", ["b", 1.5], 4, result=False),
        line(0, "invoke", "cas", ["a", True], 5),
        line(0, "fail", "cas", None, 6),
        line(0, "invoke", "cas", ["a", "c"], 7),
        line(0, "info", "cas", ["a", "c"], 8),
    )
    operations = read_operations(path)
    assert [(one.expected, one.value, one.outcome, one.matched) for one in operations] == [
        (None, "a", "ok", True),
        ("b", 1.5, "ok", False),
        ("a", True, "fail", None),
        ("a", "c", "info", None),
    ]
    assert [(one.begin, one.end) for one in operations] == [(0, 1), (2, 3), (4, 5), (6, OPEN)]


def test_events_are_ordered_by_time_then_by_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        line(0, "invoke", "write", 1, 9),
        line(0, "ok", "write", 1, 9),
        line(1, "invoke", "read", None, 2),
        line(1, "ok", "read", None, 9),
    )
    assert [(one.f, one.begin, one.end) for one in read_operations(path)] == [("read", 0, 3), ("write", 1, 2)]


def test_reading_is_a_stream(tmp_path: Path) -> None:
    path = written(tmp_path, line(0, "invoke", "write", 1, 0), line(0, "ok", "write", 1, 1), "not JSON")
    pairs = read_pairs(path)
    assert next(pairs).line == 1
    with pytest.raises(HistoryError, match="line 3: not an event"):
        next(pairs)


CAS = line(0, "invoke", "cas", [1, 2], 5)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([line(0, "invoke", "cas", 1, 5)], r"line 1: the value of a cas is 1 \(it must be \[expected, new\]\)"),
        ([line(0, "invoke", "cas", [1], 5)], "line 1: the value of a cas"),
        ([line(0, "invoke", "cas", [1, [2]], 5)], "line 1: the value of a cas"),
        ([line(0, "invoke", "cas", None, 5)], "line 1: the value of a cas"),
        ([line(0, "invoke", "cas", [1, None], 5)], "line 1: a cas that sets null"),
        ([CAS, line(0, "ok", "cas", [1, 3], 6)], r"line 2: a cas of \[1,2\] ends with value \[1,3\]"),
        ([CAS, line(0, "fail", "cas", [1, 2], 6, result=False)], "line 2: a result of cas fail"),
        ([line(0, "invoke", "write", 1, 5), line(0, "ok", "write", True, 6)], "line 2: a write of 1 ends with value"),
        ([line(0, "invoke", "write", {"a": 1}, 5)], "line 1: the value of a write is an object"),
        ([line(0, "invoke", "read", None, 5), "", line(0, "ok", "read", [1], 6)], "line 3: the value of a read is a"),
        ([line(0, "invoke", "append", 1, 5)], "line 1: f is 'append'"),
        (
            [line(0, "invoke", "read", None, 2**63)],
            "line 1: not an event: Expected `int` <= 4611686018427387904 - at `\\$.time_ns`",
        ),
        ([line(0, "invoke", "read", None, 2**70)], "line 1: "),
        ([line(0, "invoke", "read", None, 1.5)], "line 1: not an event"),
        ([line(0, "invoke", "read", None, 1, index=-1)], "line 1: not an event: Expected `int` >= 0 - at `\\$.index`"),
        ([line(2**63, "invoke", "read", None, 1)], "line 1: "),
        ([line(True, "invoke", "read", None, 1)], "line 1: not an event"),
        ([line(0, "begin", "read", None, 1)], "line 1: not an event"),
        (['{"process": 1}'], "line 1: not an event"),
        (["[" * 100_000], "line 1: not an event"),
        (
            [line(0, "invoke", "read", None, 1), line(0, "ok", "read", 1, 9), line(0, "invoke", "read", None, 8)],
            "line 3: process 0 invokes before its earlier operation completed",
        ),
        (
            [line(0, "invoke", "read", None, 1, operation=4), line(1, "invoke", "read", None, 1, operation=4)],
            "line 2: operation 4 was invoked before",
        ),
    ],
)
def test_what_is_not_sound_is_refused_with_its_line(tmp_path: Path, lines: list[str], what: str) -> None:
    with pytest.raises(HistoryError, match=what) as caught:
        read_operations(written(tmp_path, *lines))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(b'{"process": \xff}\n')
    with pytest.raises(HistoryError, match="line 1: not an event"):
        read_operations(tmp_path / "h.jsonl")
    with pytest.raises(HistoryError, match="cannot read the history"):
        read_operations(tmp_path / "none.jsonl")
    with pytest.raises(HistoryError, match=r"has no operations.parquet"):
        open_history(tmp_path)
    (tmp_path / "h.parquet").write_bytes(b"no parquet")
    with pytest.raises(HistoryError, match="cannot read the history"):
        open_history(tmp_path / "h.parquet")


def test_any_function_and_value_if_so_asked(tmp_path: Path) -> None:
    path = written(tmp_path, line(0, "invoke", "enqueue", [1, {"a": 2}], 1), line(0, "ok", "enqueue", [1, {"a": 2}], 2))
    (one,) = read_operations(path, functions=None)
    assert (one.f, one.value) == ("enqueue", [1, {"a": 2}])


SCALARS = st.one_of(
    st.integers(-(2**66), 2**66), st.text(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
).filter(lambda value: not isinstance(value, str) or value.isprintable())


@st.composite
def histories(draw: Any) -> list[Operation]:
    """Sound ones: each process of its own, so that anything may overlap."""
    drawn = []
    for number in range(draw(st.integers(0, 8))):
        f, outcome = draw(st.sampled_from(["read", "write", "cas"])), draw(st.sampled_from(["ok", "fail", "info"]))
        invoked = draw(st.integers(-(2**40), 2**40))
        value = draw(SCALARS) if f != "read" else draw(st.one_of(st.none(), SCALARS)) if outcome == "ok" else None
        drawn.append(
            {
                "number": number,
                "process": number,
                "f": f,
                "key": draw(st.sampled_from(["", "x", "ü"])),
                "value": value,
                "expected": draw(st.one_of(st.none(), SCALARS)) if f == "cas" else None,
                "matched": draw(st.booleans()) if f == "cas" and outcome == "ok" else None,
                "outcome": outcome,
                "invoked_ns": invoked,
                "completed_ns": invoked + draw(st.integers(0, 9)),
                "session": draw(st.integers(-3, 3)),
                "index": draw(st.integers(0, 3)),
            }
        )
    moments = [(row["invoked_ns"], 0, row["number"]) for row in drawn]
    moments += [(row["completed_ns"], 2 if row["outcome"] == "info" else 1, row["number"]) for row in drawn]
    moments.sort()
    places = {(min(which, 1), number): place for place, (_, which, number) in enumerate(moments)}
    made = [
        Operation(
            **row,
            begin=places[0, row["number"]],
            end=OPEN if row["outcome"] == "info" else places[1, row["number"]],
        )
        for row in drawn
    ]
    return sorted(made, key=lambda one: one.begin)


@settings(max_examples=200, deadline=None)
@given(histories())
def test_operations_survive_lines_and_frames(tmp_path_factory: pytest.TempPathFactory, operations: Any) -> None:
    folder = tmp_path_factory.mktemp("history")
    write_operations(operations, folder / "h.jsonl")
    again = open_history(folder / "h.jsonl").operations
    assert again == operations
    assert [token(one.value) for one in again] == [token(one.value) for one in operations]
    frame = to_frame(operations)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == FRAME
    frame.to_parquet(folder / "h.parquet", index=False)
    assert open_history(folder / "h.parquet").operations == operations
    assert_frame_equal(to_frame(from_frame(frame)), frame)


def test_a_frame_that_is_none_is_refused() -> None:
    with pytest.raises(HistoryError, match="lacks the column value"):
        from_frame(to_frame([]).drop(columns="value"))
    frame = to_frame([Operation(number=0, process=0, f="read", key="x", outcome="ok")])
    with pytest.raises(HistoryError, match="row 0 of the history is no operation"):
        from_frame(frame.assign(value="{"))
    with pytest.raises(HistoryError, match="row 0 of the history is no operation"):
        from_frame(frame.assign(outcome="done"))


def test_a_coded_table_has_a_number_for_each_value_and_two_rows_for_a_cas(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        line(0, "invoke", "write", "a", 0),
        line(0, "ok", "write", "a", 1),
        line(0, "invoke", "cas", ["a", True], 2),
        line(0, "ok", "cas", ["a", True], 3),
        line(0, "invoke", "cas", ["a", "c"], 4),
        line(0, "ok", "cas", ["a", "c"], 5, result=False),
        line(0, "invoke", "cas", [True, 1], 6),
    )
    coded = coded_table(read_operations(path))
    rows = coded.table[["operation", "kind", "value", "outcome"]].to_numpy().tolist()
    seen = [(coded.number(number), kind, coded.value(code), outcome) for number, kind, code, outcome in rows]
    assert seen == [(0, "write", "a", "ok"), (2, "read", "a", "ok"), (2, "write", True, "ok"), (6, "write", 1, "info")]
    assert coded.table["operation"].is_unique
    integers = written(tmp_path, line(0, "invoke", "write", 7, 0))
    assert coded_table(read_operations(integers)).table["value"].tolist() == [7]
    assert coded_table(read_operations(integers)).values == {}


@settings(max_examples=200, deadline=None)
@given(histories())
def test_a_table_made_as_the_file_is_read_is_that_of_its_operations(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Operation]
) -> None:
    path = tmp_path_factory.mktemp("coded") / "h.jsonl"
    write_operations(drawn, path)
    assert len(open_history(path)) == len(drawn)
    read, made = read_coded_by_lines(path), coded_table(read_operations(path))
    assert read.table["invoked_ns"].is_monotonic_increasing
    assert told(read) == told(made)
    plain = all(one.value is None or type(one.value) is int for one in drawn if one.f != "cas")
    assert not (read.values and plain and not any(one.f == "cas" for one in drawn)) or has_big(drawn)


def told(coded: Coded) -> list[tuple[Any, ...]]:
    """The rows with the values that codes stand for, as JSON so that 1 and true are told apart."""
    names = [name for name in coded.table.columns if name not in {"value", "operation"}]
    rows = coded.table.astype(object).where(coded.table.notna(), None)
    return [
        (coded.number(row["operation"]), json.dumps(coded.value(row["value"])), *(row[name] for name in names))
        for row in rows.to_dict(orient="records")
    ]


def has_big(drawn: list[Operation]) -> bool:
    return any(type(one.value) is int and not -(2**63) <= one.value < 2**63 for one in drawn)


@pytest.mark.parametrize("name", ["stale_reads", "split_brain", "failover"])
def test_the_example_runs_are_histories(name: str) -> None:
    history = open_history(EXAMPLES / name)
    assert len(history) == len(history.operations) == int(history.coded.table["invoked_ns"].notna().sum())
    assert bool(history.rollbacks) == (name != "stale_reads")
    assert (history.faults is not None) == (name != "stale_reads")


def test_an_operation_is_told_in_words() -> None:
    def words(**more: Any) -> str:
        row: dict[str, Any] = {"number": 4, "process": 2, "f": "read", "key": "x", "outcome": "ok"}
        return tell(Operation(**row | more))

    assert words(value="a", replica="r1") == 'process 2 read x = "a" from r1 (operation 4)'
    assert words() == "process 2 read x = nothing (operation 4)"
    assert words(f="write", value=1, outcome="info") == (
        "process 2 wrote x = 1 (operation 4, which may have happened or not)"
    )
    assert words(f="cas", expected=1, value=2, matched=True) == "process 2 changed x from 1 to 2 (operation 4)"
    assert words(f="cas", expected=1, value=2, matched=False) == "process 2 found x not to be 1 (operation 4)"
