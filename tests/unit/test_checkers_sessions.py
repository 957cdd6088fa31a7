"""Session guarantees on tiny histories, good and broken, and against the definition written out on random ones."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.histories import history, random_history, read, write
from workbench.checkers import session_guarantees
from workbench.checkers.sessions import GUARANTEES, Guarantee

KEPT, BROKEN, UNTRIED = "valid", "invalid", "unknown"


def judge(guarantee: Guarantee, *operations: dict[str, Any], **more: Any) -> str:
    return session_guarantees(history(*operations), **more).verdict(guarantee).status


OWN = write("x", 2, 2, 3, session=1)
"""A write of session 1, after one of session 0."""
OTHER = write("x", 1, 0, 1)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param([OTHER, OWN, read("x", 2, 4, 5, session=1)], KEPT, id="its own value"),
        pytest.param([OTHER, OWN, read("x", 1, 4, 5, session=1)], BROKEN, id="an older value"),
        pytest.param([OWN, read("x", None, 4, 5, session=1)], BROKEN, id="nothing"),
        pytest.param(
            [OTHER, OWN, read("x", 1, 4, 5, session=0)], KEPT, id="stale for another session, not for its own"
        ),
        pytest.param([OTHER, OWN, read("x", 1, 4, 5, session=7)], UNTRIED, id="a session that wrote nothing"),
        pytest.param([OTHER, OWN, read("y", None, 4, 5, session=1)], UNTRIED, id="another key"),
        pytest.param([OWN, read("x", None, 2, 5, session=1)], UNTRIED, id="not acknowledged when the read began"),
        pytest.param([OWN, write("x", 3, 4, 5), read("x", 3, 6, 7, session=1)], KEPT, id="a newer value of another"),
        pytest.param(
            [write("x", 1, 0, 9), OWN, read("x", 1, 4, 9, session=1)], KEPT, id="a concurrent value may be newer"
        ),
        pytest.param(
            [write("x", 1, 0, 9, 1), OWN | {"term": 1, "index": 2}, read("x", 1, 4, 9, session=1)],
            BROKEN,
            id="positions order concurrent writes",
        ),
        pytest.param(
            [OTHER | {"outcome": "info"}, OWN, read("x", 1, 4, 5, session=1)], KEPT, id="a write in doubt may come late"
        ),
        pytest.param(
            [OTHER, OWN | {"outcome": "info"}, read("x", 1, 4, 5, session=1)], UNTRIED, id="its own was in doubt"
        ),
        pytest.param([OTHER, OWN, read("x", 1, 4, 5, session=1, outcome="info")], UNTRIED, id="no answer to the read"),
        pytest.param(
            [OTHER, OWN | {"cell": "a"}, read("x", 1, 4, 5, session=1)], UNTRIED, id="a session of another cell"
        ),
        pytest.param(
            [write("x", 1, 0, 1, session=1), OWN, read("x", 1, 4, 5, session=1)], BROKEN, id="its own last but one"
        ),
    ],
)
def test_read_your_writes(operations: list[dict[str, Any]], expected: str) -> None:
    assert judge("read_your_writes", *operations) == expected


WRITES = [write("x", 1, 0, 1, 1), write("x", 2, 2, 3, 2)]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        pytest.param([(1, 4, 5), (2, 6, 7)], KEPT, id="forwards"),
        pytest.param([(2, 4, 5), (2, 6, 7)], KEPT, id="the same value"),
        pytest.param([(2, 4, 5), (1, 6, 7)], BROKEN, id="backwards"),
        pytest.param([(2, 4, 5), (None, 6, 7)], BROKEN, id="back to nothing"),
        pytest.param([(None, 4, 5), (1, 6, 7)], UNTRIED, id="from nothing nothing is older"),
        pytest.param([(2, 4, 6), (1, 5, 7)], UNTRIED, id="reads at the same time"),
        pytest.param([(2, 4, 5)], UNTRIED, id="only one read"),
        pytest.param([(2, 4, 5), (2, 6, 7), (2, 8, 9), (1, 10, 11)], BROKEN, id="later"),
    ],
)
def test_monotonic_reads(reads: list[tuple[int | None, int, int]], expected: str) -> None:
    assert judge("monotonic_reads", *WRITES, *(read("x", *one, session=3) for one in reads)) == expected


def test_monotonic_reads_of_several_sessions() -> None:
    assert judge("monotonic_reads", *WRITES, read("x", 2, 4, 5), read("x", 1, 6, 7, session=1)) == UNTRIED


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(write("x", 1, 0, 1, 1), write("x", 2, 2, 3, 2), KEPT, id="in order"),
        pytest.param(write("x", 1, 0, 1, 2), write("x", 2, 2, 3, 1), BROKEN, id="the other way round"),
        pytest.param(write("x", 1, 0, 1, 1, member=1), write("x", 2, 2, 3, 1, member=0), BROKEN, id="within an entry"),
        pytest.param(write("x", 1, 0, 1, 9), write("x", 2, 2, 3, 1, term=2), KEPT, id="a later term"),
        pytest.param(write("x", 1, 0, 1), write("x", 2, 2, 3, 1), UNTRIED, id="no position"),
        pytest.param(write("x", 1, 0, 3, 2), write("x", 2, 2, 4, 1), UNTRIED, id="at the same time"),
        pytest.param(write("x", 1, 0, 1, 2), write("y", 2, 2, 3, 1), UNTRIED, id="other keys"),
        pytest.param(write("x", 1, 0, 1, 2), write("x", 2, 2, 3, 1, session=1), UNTRIED, id="other sessions"),
    ],
)
def test_monotonic_writes(first: dict[str, Any], second: dict[str, Any], expected: str) -> None:
    assert judge("monotonic_writes", first, second) == expected


@pytest.mark.parametrize(
    ("index", "session", "expected"), [(3, 1, KEPT), (1, 1, BROKEN), (0, 1, UNTRIED), (1, 2, UNTRIED)]
)
def test_writes_follow_reads(index: int, session: int, expected: str) -> None:
    operations = [write("x", 1, 0, 1, 2), read("x", 1, 2, 3, session=1), write("x", 2, 4, 5, index, session=session)]
    assert judge("writes_follow_reads", *operations) == expected


def test_a_witness_is_two_operations_told_in_words() -> None:
    found = session_guarantees(
        history(
            write("x", 1, 0, 1),
            write("x", 2, 2, 3, session=4),
            read("x", 2, 4, 5, session=4, replica="r1"),
            write("x", 3, 6, 7, session=4),
            read("x", 2, 8, 9, session=4, replica="r2"),
            read("x", 1, 10, 11, session=4, replica="r3"),
        )
    )
    verdict = found.verdict("read_your_writes")
    words = "session 4 wrote x = 3 (operation 3), then read x = 2 from r2 (operation 4)"
    assert verdict.reason == f"2 of 3 reads went back behind their session's earlier write: {words}"
    assert verdict.witness[0] == {
        "words": words,
        "cell": "",
        "session": 4,
        "key": "x",
        "operation": 4,
        "value": 2,
        "replica": "r2",
        "invoked_ns": 8,
        "earlier_operation": 3,
        "earlier_value": 3,
        "earlier_completed_ns": 7,
    }
    assert verdict.counts == {"checked": 3, "violations": 2, "unexplained_reads": 0}
    assert found.verdict("monotonic_reads").witness[0]["words"] == (
        "session 4 read x = 2 from r2 (operation 4), then read x = 1 from r3 (operation 5)"
    )
    assert "read x = nothing (operation 1)" in str(
        session_guarantees(history(write("x", 1, 0, 1), read("x", None, 2, 3))).verdict("read_your_writes").reason
    )


def test_initial_values_are_older_than_any_write() -> None:
    operations = [write("x", 1, 0, 1), read("x", 0, 2, 3)]
    assert judge("read_your_writes", *operations, initial={"x": 0}) == BROKEN
    assert judge("read_your_writes", *operations) == UNTRIED


def test_to_a_write_that_was_dropped_nobody_has_a_right_if_so_told() -> None:
    operations = [write("x", 1, 0, 1), write("x", 2, 2, 3, session=1), read("x", 1, 4, 5, session=1)]
    assert judge("read_your_writes", *operations) == BROKEN
    assert judge("read_your_writes", *operations, lost=[("", "x", 2)]) == UNTRIED
    reads = [*operations[:2], read("x", 2, 4, 5), read("x", 1, 6, 7)]
    assert judge("monotonic_reads", *reads) == BROKEN
    assert judge("monotonic_reads", *reads, lost=[("", "x", 2)]) == UNTRIED


def test_what_cannot_be_judged_is_unknown() -> None:
    twice = [write("x", 1, 0, 1), write("x", 1, 2, 3), read("x", None, 4, 5)]
    assert "written twice" in session_guarantees(history(*twice)).verdict("read_your_writes").reason
    unexplained = [write("x", 1, 0, 1), read("x", 1, 2, 3), read("x", 9, 4, 5)]
    verdict = session_guarantees(history(*unexplained)).verdict("read_your_writes")
    assert (verdict.status, verdict.reason) == (UNTRIED, "1 reads returned values that no write explains")
    assert {verdict.status for verdict in session_guarantees(history()).verdicts().values()} == {UNTRIED}


def test_summary_and_rates() -> None:
    operations = history(
        write("x", 1, 0, 1, cell="a"),
        read("x", None, 2, 3, cell="a"),
        read("x", 1, 4, 5, cell="a"),
        read("x", 1, 6, 7, cell="b"),
    )
    found = session_guarantees(operations)
    summary = found.summary().set_index(["guarantee", "cell"])
    assert summary.loc[("read_your_writes", "a"), ["checked", "violations", "violation_rate"]].tolist() == [2, 1, 0.5]
    assert 0 < summary.loc[("read_your_writes", "a"), "violation_rate_low"] < 0.5
    assert found.rate("read_your_writes") == 0.5
    assert math.isnan(found.rate("monotonic_reads"))
    assert math.isnan(found.rate("read_your_writes", "b"))
    assert found.verdict("read_your_writes", "b").status == UNTRIED
    assert set(found.verdicts("a")) == set(GUARANTEES)
    assert found.summary("session")["checked"].sum() == len(found.checked)
    assert list(session_guarantees(history()).summary().columns) == list(found.summary().columns)


def plainly(table: pd.DataFrame) -> set[tuple[str, int, bool]]:
    """The definition, written out: (guarantee, operation, violated) for whatever could have been."""
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    writes = [row for row in rows if row["kind"] == "write" and row["outcome"] != "fail"]

    def place(row: Any) -> tuple[int, int, int]:
        return (row["term"], row["index"], row["member"])

    def older(old: Any, new: Any) -> bool:
        if old is None:
            return True
        if old["index"] and new["index"]:
            return place(old) < place(new)
        return bool(old["outcome"] == "ok" and old["completed_ns"] < new["invoked_ns"])

    def same(one: Any, other: Any) -> bool:
        return (one["cell"], one["key"]) == (other["cell"], other["key"])

    steps = []  # (operation, the write whose value it wrote or read, None for an absent key)
    for one in rows:
        if one["outcome"] != "ok":
            continue
        if one["kind"] == "write":
            steps.append((one, one))
        elif one["value"] is None:
            steps.append((one, None))
        else:
            sources = [new for new in writes if same(one, new) and one["value"] == new["value"]]
            steps += [(one, new) for new in sources if one["completed_ns"] >= new["invoked_ns"]]
    pairs = {
        "read_your_writes": ("write", "read"),
        "monotonic_reads": ("read", "read"),
        "monotonic_writes": ("write", "write"),
        "writes_follow_reads": ("read", "write"),
    }
    found = set()
    for guarantee, (first, second) in pairs.items():
        for now, value in steps:
            earlier = [
                source
                for before, source in steps
                if before["kind"] == first
                and source is not None
                and same(before, now)
                and before["session"] == now["session"]
                and before["completed_ns"] < now["invoked_ns"]
                and (second == "read" or source["index"])
            ]
            if now["kind"] == second and earlier and (second == "read" or now["index"]):
                found.add((guarantee, now["operation"], any(older(value, source) for source in earlier)))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_as_the_definition_says(seed: int, cells: int) -> None:
    table = random_history(seed, cells)
    found = session_guarantees(table)
    expected = set().union(*(plainly(of_cell) for _, of_cell in table.groupby("cell", sort=False)))
    checked = found.checked[["guarantee", "operation", "violated"]]
    assert set(checked.itertuples(index=False, name=None)) == expected
    assert len(checked) == len(expected)
    for guarantee in GUARANTEES:
        verdict = found.verdict(guarantee)
        assert (verdict.status == BROKEN) == any(bad for name, _, bad in expected if name == guarantee)
        for witness in verdict.witness:
            assert (guarantee, witness["operation"], True) in expected
