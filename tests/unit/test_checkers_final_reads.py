"""Convergence by the last reads of each replica: tiny histories, and the definition on random ones."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.checkers.final_reads import final_reads
from workbench.history_operations import OPEN, Operation

GOOD, BAD, UNDECIDED = "valid", "invalid", "unknown"


def w(value: Any, begin: int, end: int | None, key: str = "x") -> Operation:
    doubt = {"end": OPEN, "outcome": "info"} if end is None else {"end": end, "outcome": "ok"}
    return Operation(
        **{"number": begin, "process": 0, "f": "write", "key": key, "value": value, "begin": begin} | doubt
    )


def r(replica: str, value: Any, begin: int, key: str = "x", lasts: int = 1) -> Operation:
    return Operation(
        number=begin, process=1, f="read", key=key, value=value, begin=begin, end=begin + lasts, outcome="ok",
        replica=replica,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("b", 1, 4)], GOOD, id="the same"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("b", None, 4)], BAD, id="one lacks it"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("b", None, 4), r("b", 1, 6)], GOOD, id="one lagged"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("b", 1, 4), r("a", None, 6)], BAD, id="one lost it"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), w(2, 3, 4), r("b", 2, 6)], UNDECIDED, id="read before the last write"),
        pytest.param([w(1, 0, 9), r("a", 1, 2), r("b", None, 4)], UNDECIDED, id="while it is written"),
        pytest.param([w(1, 0, 9), r("a", 1, 2), r("b", None, 8, lasts=4)], UNDECIDED, id="begun while it is written"),
        pytest.param([w(1, 0, 1), w(2, 2, None), r("a", 1, 4), r("b", 2, 6)], UNDECIDED, id="one in doubt explains it"),
        pytest.param([w(1, 0, 1), w(2, 2, None), r("a", 1, 4), r("b", None, 6)], BAD, id="one in doubt does not"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("a", 1, 4)], UNDECIDED, id="one replica"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("", None, 4)], UNDECIDED, id="nobody knows which replica"),
        pytest.param([w(1, 0, 1), r("a", True, 2), r("b", 1, 4)], BAD, id="true is not 1"),
        pytest.param([w(1, 0, 1), r("a", 1, 2), r("b", None, 4, "y")], UNDECIDED, id="another key"),
        pytest.param([], UNDECIDED, id="nothing"),
    ],
)
def test_final_reads(operations: list[Operation], expected: str) -> None:
    verdict = final_reads(operations)
    assert verdict.status == expected
    assert bool(verdict.witness) == (expected == BAD)


def test_the_witness_says_who_has_what() -> None:
    verdict = final_reads([w("new", 0, 1), r("a", "old", 2), r("b", "new", 4), r("c", "new", 6)])
    assert verdict.reason == '1 of 1 keys differ in the end: x is "new" on b, c; "old" on a'
    assert [(row["value"], row["replicas"], row["operations"]) for row in verdict.witness] == [
        ("new", ["b", "c"], [4, 6]),
        ("old", ["a"], [2]),
    ]


def plainly(operations: list[Operation]) -> str:
    """The definition, written out."""
    found = set()
    for key in {one.key for one in operations}:
        part = [one for one in operations if one.key == key]
        writes = [one for one in part if one.f == "write"]
        reads = [one for one in part if one.f == "read" and all(x.end < one.begin or x.end == OPEN for x in writes)]
        last = {one.replica: one.value for one in sorted(reads, key=lambda one: one.begin)}
        if len(last) < 2:
            continue
        if len(set(last.values())) == 1:
            found.add(GOOD)
        else:
            found.add(UNDECIDED if any(x.end == OPEN and x.value in last.values() for x in writes) else BAD)
    return BAD if BAD in found else UNDECIDED if UNDECIDED in found or not found else GOOD


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**48))
def test_as_the_definition_says(seed: int) -> None:
    random = Random(seed)
    operations = []
    for place in range(0, 2 * random.randint(0, 9), 2):
        key = random.choice("xxy")
        if random.random() < 0.3:
            end = random.choice([place + 1, place + 1, place + 5, None])
            operations.append(w(random.randint(1, 3), place, end, key))
        else:
            value, lasts = random.choice([None, 1, 1, 2]), random.choice([1, 1, 5])
            operations.append(r(random.choice("ab"), value, place, key, lasts))
    assert final_reads(operations).status == plainly(operations)
