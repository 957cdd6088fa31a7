"""Guarantees of writers without positions, and bank totals: tiny histories, and the definition on random ones."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_checkers_prefix import r, random_sessions, w
from workbench.checkers.bank import bank_totals
from workbench.checkers.observed_order import observed_order
from workbench.checkers.verdict import Verdict
from workbench.history_columns import coded_table
from workbench.history_operations import Operation

GOOD, BAD, UNDECIDED = "valid", "invalid", "unknown"
observing = sys.modules["workbench.checkers.observed_order"]
"""The module, whose name the package gives to its function."""
TWO = [w(1, "x", 1, 0, 1), w(1, "x", 2, 2, 3)]
ANSWER = [w(1, "x", 1, 0, 1), r(2, "x", 1, 2, 3), w(2, "x", 2, 4, 5)]


def judge(operations: list[Operation], **more: Any) -> dict[str, Verdict]:
    return observed_order(coded_table(operations).table, **more)


@pytest.mark.parametrize(
    ("operations", "monotonic_writes", "writes_follow_reads"),
    [
        pytest.param([*TWO, r(3, "x", 1, 6, 7), r(3, "x", 2, 8, 9)], GOOD, UNDECIDED, id="in order"),
        pytest.param([*TWO, r(3, "x", 2, 6, 7), r(3, "x", 1, 8, 9)], BAD, UNDECIDED, id="the other way round"),
        pytest.param([*TWO, r(3, "x", 2, 6, 9), r(3, "x", 1, 7, 8)], UNDECIDED, UNDECIDED, id="at the same time"),
        pytest.param([*TWO, r(3, "x", 2, 6, 7), r(4, "x", 1, 8, 9)], UNDECIDED, UNDECIDED, id="two readers"),
        pytest.param([*ANSWER, r(3, "x", 1, 6, 7), r(3, "x", 2, 8, 9)], UNDECIDED, UNDECIDED, id="answer last"),
        pytest.param([*ANSWER, r(3, "x", 2, 6, 7), r(3, "x", 1, 8, 9)], UNDECIDED, BAD, id="answer first"),
        pytest.param([w(1, "x", 1, 0, 9), w(2, "x", 2, 1, 8)], UNDECIDED, UNDECIDED, id="nobody reads"),
    ],
)
def test_observed_order(operations: list[Operation], monotonic_writes: str, writes_follow_reads: str) -> None:
    found = judge(operations)
    assert found["monotonic_writes"].status == monotonic_writes
    assert found["writes_follow_reads"].status == writes_follow_reads


def test_a_witness_is_told_in_words() -> None:
    found = judge([*TWO, r(3, "x", 2, 6, 7), r(3, "x", 1, 8, 9)])["monotonic_writes"]
    assert found.witness[0]["words"] == (
        "session 3 read x = 2 (operation 6), then read x = 1 (operation 8); yet session 1 wrote x = 2 (operation 2)"
        " after it had written 1"
    )


def plainly(operations: list[Operation]) -> dict[str, int]:
    """Reads that went back, by the definition written out."""
    made = {(one.key, one.value): one for one in operations if one.f == "write"}
    reads = [one for one in operations if one.f == "read" and one.value is not None]
    reads = [one for one in reads if made[one.key, one.value].begin <= one.end]
    wrong: dict[str, set[int]] = {"monotonic_writes": set(), "writes_follow_reads": set()}
    for now in reads:
        for before in reads:
            if (before.session, before.key) != (now.session, now.key) or before.end >= now.begin:
                continue
            a, b = made[now.key, now.value], made[before.key, before.value]
            if a.session == b.session and a.end < b.begin:
                wrong["monotonic_writes"].add(now.number)
            saw = [one for one in reads if one.session == b.session and (one.key, one.value) == (a.key, a.value)]
            if any(one.end < b.begin for one in saw):
                wrong["writes_follow_reads"].add(now.number)
    return {name: len(numbers) for name, numbers in wrong.items()}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 60), st.sampled_from([1, 1 << 21]))
def test_as_the_definition_says(seed: int, cells: int, questions_max: int) -> None:
    """Histories of many cells at once cost little more than one."""
    whole: list[Operation] = []
    expected = dict.fromkeys(("monotonic_writes", "writes_follow_reads"), 0)
    for cell in range(cells):
        operations = random_sessions(seed + cell)
        for name, count in plainly(operations).items():
            expected[name] += count
        whole += [msgspec.structs.replace(one, cell=str(cell), number=len(whole) + one.number) for one in operations]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observing, "_QUESTIONS_MAX", questions_max)
        found = judge(whole)
    assert {name: verdict.counts["violations"] for name, verdict in found.items()} == expected
    for verdict in found.values():
        assert (verdict.status == BAD) == (verdict.counts["violations"] > 0)
        assert verdict.counts["violations"] <= verdict.counts["checked"]
        assert len(verdict.witness) == min(verdict.counts["violations"], 3)


def test_what_was_dropped_binds_nobody() -> None:
    operations = [*TWO, r(3, "x", 2, 6, 7), r(3, "x", 1, 8, 9)]
    assert judge(operations, lost=[("", "x", 2)])["monotonic_writes"].status == UNDECIDED


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([{"a": 10, "b": 0}, {"a": 3, "b": 7}], GOOD),
        ([{"a": 10, "b": 0}, {"a": 3, "b": 6}], BAD),
        ([{"a": 10}], BAD),
        ([{"a": 11, "b": -1}], BAD),
        ([], UNDECIDED),
    ],
)
def test_bank_totals(reads: list[dict[str, Any]], expected: str) -> None:
    verdict = bank_totals(list(enumerate(reads)), 10, accounts=2)
    assert verdict.status == expected
    assert bool(verdict.witness) == (expected == BAD)
    assert bank_totals([(0, {"a": 11, "b": -1})], 10, accounts=2, negative=True).status == GOOD
