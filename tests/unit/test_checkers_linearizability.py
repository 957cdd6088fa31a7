"""Linearizability on tiny histories, good and broken, and against every order tried on thousands of random ones."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.random_operations import has_order, prefix, random_operations
from workbench.checkers.linearizability import linearizability
from workbench.checkers.models import IMPOSSIBLE, MODELS, OTHER, Model, cas_register, register
from workbench.checkers.search import Budget, search
from workbench.checkers.zones import applies, conflict
from workbench.errors import ConfigurationError
from workbench.history_operations import OPEN, Operation

BENCH = Path(__file__).resolve().parents[2] / "bench" / "checkers.py"
GOOD, BAD, UNDECIDED = "valid", "invalid", "unknown"


def op(f: str, value: Any, begin: int, end: int | None, expected: Any = None, **more: Any) -> Operation:
    """An operation; in doubt if `end` is None. A cas matched unless `matched=False`."""
    doubt = end is None
    row: dict[str, Any] = {
        "number": begin, "process": begin, "f": f, "key": "x", "value": value, "expected": expected, "begin": begin,
        "end": OPEN if end is None else end, "invoked_ns": begin, "completed_ns": end,
        "outcome": "info" if doubt else "ok", "matched": True if f == "cas" and not doubt else None,
    }  # fmt: skip
    return Operation(**row | more)


def w(value: Any, begin: int, end: int | None, **more: Any) -> Operation:
    return op("write", value, begin, end, **more)


def r(value: Any, begin: int, end: int | None, **more: Any) -> Operation:
    return op("read", value, begin, end, **more)


def cas(expected: Any, value: Any, begin: int, end: int | None, **more: Any) -> Operation:
    return op("cas", value, begin, end, expected, **more)


CASES = [
    pytest.param([w(1, 0, 1), r(1, 2, 3)], GOOD, id="its value"),
    pytest.param([w(1, 0, 1), w(2, 2, 3), r(1, 4, 5)], BAD, id="the value before"),
    pytest.param([w(1, 0, 1), r(None, 2, 3)], BAD, id="absent after a write"),
    pytest.param([r(None, 0, 1), w(1, 2, 3)], GOOD, id="absent before a write"),
    pytest.param([r(1, 0, 1), w(1, 2, 3)], BAD, id="from the future"),
    pytest.param([r(7, 0, 1)], BAD, id="from nowhere"),
    pytest.param([w(1, 0, 1), w(2, 2, 5), r(1, 3, 4)], GOOD, id="the one before while the next is written"),
    pytest.param([w(1, 0, 1), w(2, 2, 9), r(2, 3, 4), r(1, 5, 6)], BAD, id="back while it is being written"),
    pytest.param([w(1, 0, 9), w(2, 1, 8), r(1, 2, 3), r(2, 4, 5), r(1, 6, 7)], BAD, id="to and fro"),
    pytest.param([w(1, 0, None), r(1, 5, 6)], GOOD, id="one in doubt that happened late"),
    pytest.param([w(1, 0, None), r(None, 5, 6)], GOOD, id="one in doubt that did not happen"),
    pytest.param([w(1, 0, None), r(1, 2, 3), r(None, 5, 6)], BAD, id="one in doubt happens once"),
    pytest.param([w(1, 0, 1, outcome="fail"), r(1, 2, 3)], BAD, id="one that failed"),
    pytest.param([w(1, 0, 1), r(5, 2, None)], UNDECIDED, id="no answer"),
    pytest.param([w(1, 0, 1)], UNDECIDED, id="nothing was observed"),
    pytest.param([], UNDECIDED, id="nothing"),
    pytest.param([w(1, 0, 1), cas(1, 2, 2, 3), r(2, 4, 5)], GOOD, id="a cas"),
    pytest.param([w(1, 0, 1), cas(3, 2, 2, 3)], BAD, id="a cas that should not have matched"),
    pytest.param([w(1, 0, 1), cas(1, 2, 2, 3, matched=False)], BAD, id="a cas that should have matched"),
    pytest.param([w(1, 0, 1), cas(3, 2, 2, 3, matched=False), r(1, 4, 5)], GOOD, id="a cas that did not match"),
    pytest.param([w(1, 0, 1), cas(1, 2, 2, 9), cas(1, 3, 3, 8)], BAD, id="two cas of one value"),
    pytest.param([w(1, 0, 1), cas(1, 2, 2, None), r(2, 8, 9)], GOOD, id="a cas in doubt"),
    pytest.param(
        [w(1, 0, 1), w(2, 2, None), cas(1, 2, 3, None), r(2, 4, 5), w(3, 6, 7), r(2, 8, 9)],
        GOOD,
        id="what is in doubt is used in the order that leaves enough",
    ),
    pytest.param([cas(None, 1, 0, 1), r(1, 2, 3)], GOOD, id="a cas creates"),
    pytest.param([w(True, 0, 1), r(1, 2, 3)], BAD, id="true is not 1"),
    pytest.param([w("a", 0, 1), r("a", 2, 3)], GOOD, id="text"),
    pytest.param([w(1, 0, 1), w(2, 2, 3), w(1, 4, 5), r(1, 6, 7)], GOOD, id="a value that came back"),
    pytest.param([w(1, 0, 1, key="y"), r(None, 2, 3)], GOOD, id="another key"),
    pytest.param([w(1, 0, 1, cell="a"), r(None, 2, 3, cell="b")], GOOD, id="another cell"),
]


@pytest.mark.parametrize(("operations", "expected"), CASES)
def test_tiny_histories(operations: list[Operation], expected: str) -> None:
    assert linearizability(operations).verdict.status == expected


@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 2**48), st.sampled_from([0, 2, 3]), st.booleans())
def test_as_every_order_tried_says(seed: int, values: int, only_writes: bool) -> None:
    functions = ["read", "read", "write"] if only_writes else ["read", "read", "write", "cas"]
    operations = random_operations(seed, functions, values)
    model = cas_register()
    good = has_order(operations, model)
    found = linearizability(operations, model)
    observed = any(one.outcome == "ok" and one.f != "write" for one in operations)
    assert found.verdict.status == ((GOOD if observed else UNDECIDED) if good else BAD)
    assert (search(operations, model, Budget(10**6)) is None) == good
    if applies(operations, model.initial):
        assert (conflict(operations, model.initial) is None) == good
    if found.failing is not None:
        until = found.failing.last.end
        assert not has_order(prefix(operations, until), model)
        assert has_order(prefix(operations, until - 1), model)
        conflicting = found.failing.conflict.operations
        assert {one.number for one in conflicting} <= {one.number for one in operations}
        assert all(one.begin <= until for one in conflicting)
        assert conflicts(operations, conflicting, until, model), "others were needed, too"


def conflicts(operations: list[Operation], kept: Sequence[Operation], until: int, model: Model) -> bool:
    """Whether there is no order even if all others may have happened at any time, or not: either from the beginning,
    or since the first of those that are kept began, whatever the state was then."""
    numbers = {one.number for one in kept}
    since = min(one.begin for one in kept)
    freed = [
        one if one.number in numbers else msgspec.structs.replace(one, end=OPEN, begin=-1)
        for one in prefix(operations, until)
        if one.number in numbers or one.f != "read"
    ]
    recent = [one for one in freed if operations[one.number].end > since]
    states = [None, OTHER, *(one.value for one in operations if one.f != "read")]
    return not has_order(freed, model) or not any(has_order(recent, replace(model, initial=state)) for state in states)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48))
def test_each_key_is_a_store_of_its_own(seed: int) -> None:
    operations = random_operations(seed, ["read", "write", "cas"], 2, keys="xyz")
    parts = [[one for one in operations if one.key == key] for key in "xyz"]
    good = all(has_order(part, cas_register()) for part in parts)
    assert (linearizability(operations).verdict.status != BAD) == good


def test_the_witness_is_the_shortest_prefix_and_what_conflicts_in_words() -> None:
    operations = [
        w(1, 0, 1), r(1, 2, 3), w(2, 4, 5), r(2, 6, 7), w(9, 8, None), r(1, 10, 11), r(1, 12, 13),
    ]  # fmt: skip
    found = linearizability(operations)
    assert found.failing is not None
    assert (found.failing.last.number, found.failing.prefix) == (10, 6)
    assert [row["operation"] for row in found.verdict.witness] == [0, 4, 6, 10]
    assert [row["ends_prefix"] for row in found.verdict.witness] == [False, False, False, True]
    assert found.verdict.reason == (
        "key 'x': 1 came before 2, since process 0 wrote x = 1 (operation 0) was over before process 6 read x = 2"
        " (operation 6) began; but 2 came before 1, since process 4 wrote x = 2 (operation 4) was over before process"
        " 10 read x = 1 (operation 10) began (its first 6 operations are the shortest prefix without an order)"
    )


def test_a_witness_of_the_search_leaves_out_what_does_not_matter() -> None:
    before = [w(value % 3, 4 * value, 4 * value + 1) for value in range(20)]
    reads = [r(value % 3, 4 * value + 2, 4 * value + 3) for value in range(20)]
    last = [w(0, 100, 101), cas(0, 1, 102, 103), r(1, 104, 107), r(2, 105, 106), r(1, 108, 109)]
    found = linearizability(before + reads + last)
    assert [row["operation"] for row in found.verdict.witness] == [102, 105]
    assert found.verdict.witness[0]["value"] == [0, 1]
    assert found.verdict.reason.startswith(
        "key 'x': process 105 read x = 2 (operation 105), but x could then only be 1, after: process 102 changed x"
        " from 0 to 1 (operation 102)"
    )
    nowhere = linearizability([w(1, 0, 1), w(1, 2, 3), r(7, 4, 5)])
    assert nowhere.verdict.reason.startswith("key 'x': process 4 read x = 7 (operation 4), which nobody had written")
    assert len(nowhere.verdict.witness) == 1


def test_the_key_that_fails_first_is_the_witness() -> None:
    late = [w(1, 0, 1, key="late"), r(None, 10, 11, key="late")]
    early = [w(1, 2, 3, key="early"), r(None, 4, 5, key="early")]
    for operations in (late + early, early + late):
        failing = linearizability(operations).failing
        assert failing is not None
        assert failing.key == "early"


def test_what_is_too_much_to_search_is_unknown() -> None:
    values = list(range(12))
    writes = [w(value % 6, value, 100) for value in values]
    operations = [*writes, *(r(value % 6, 20 + value, 101 + value) for value in values), cas(50, 1, 200, 201)]
    bounded = linearizability(operations, states_max=50)
    assert bounded.verdict.status == UNDECIDED
    assert bounded.bounded == (("", "x"),)
    assert "not decided" in bounded.verdict.reason
    assert linearizability(operations, seconds_max=0.0).verdict.status in {UNDECIDED, BAD}


def test_a_model_of_ones_own() -> None:
    def step(state: tuple[int, ...], one: Operation) -> Any:
        if one.f == "enqueue":
            return (*state, one.value)
        if not state or (one.outcome == "ok" and one.value != state[0]):
            return IMPOSSIBLE
        return state[1:]

    queue = Model("queue", (), step)
    good = [op("enqueue", 1, 0, 5), op("enqueue", 2, 1, 4), op("dequeue", 2, 6, 7), op("dequeue", 1, 8, 9)]
    assert linearizability(good, queue).verdict.status == GOOD
    bad = [op("enqueue", 1, 0, 1), op("enqueue", 2, 2, 3), op("dequeue", 2, 6, 7)]
    found = linearizability(bad, queue)
    assert found.verdict.status == BAD
    assert "dequeue of x with 2" in found.verdict.reason
    whole = [op("enqueue", 1, 0, 1, key="a"), op("dequeue", 1, 2, 3, key="b")]
    assert linearizability(whole, queue, keyed=False).verdict.status == GOOD
    assert linearizability(whole, queue).verdict.status == BAD


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**48), st.sampled_from([2, 3]))
def test_models_that_say_nothing_but_their_step_as_every_order_tried_says(seed: int, values: int) -> None:
    """What a model of registers knows besides its step makes the search faster, and changes no verdict; and what the
    search itself leaves out is needed by no model."""
    operations = random_operations(seed, ["read", "write", "write", "cas"], values)
    for model in (Model("plain", None, cas_register().step), Model("sum", 0, _sum)):
        assert (search(operations, model, Budget(10**6)) is None) == has_order(operations, model)


def _sum(state: int, one: Operation) -> Any:
    if one.f == "read":
        return state if one.outcome == "info" or one.value in {state, None} else IMPOSSIBLE
    return state + one.value


@pytest.mark.parametrize("doubt", [0.0, 0.1])
def test_a_broken_history_with_much_in_doubt_is_judged_in_few_steps(doubt: float) -> None:
    """170 operations of 5 processes in less than 50 ms: a step takes some 3 us. Before operations in doubt had to be
    needed by something, the worst of these took 14,708 steps, and twice as long each."""
    cas_history = runpy.run_path(str(BENCH))["cas_history"]
    steps = [
        linearizability(cas_history(seed, values=values, doubt=doubt, broken=True)).verdict.counts["states"]
        for seed, values in product(range(40), (3, 5, 20))
    ]
    assert max(steps) < 12_000
    assert np.median(steps) < 400


def test_models_refuse_what_they_do_not_have() -> None:
    assert set(MODELS) == {"register", "cas_register"}
    with pytest.raises(ConfigurationError, match="operation 0 is a cas, which the model register does not have"):
        linearizability([cas(1, 2, 0, 1)], register())


def test_an_initial_value() -> None:
    assert linearizability([r(5, 0, 1)], register(5)).verdict.status == GOOD
    assert linearizability([r(None, 0, 1)], register(5)).verdict.status == BAD
    assert linearizability([r(5, 0, 1), w(1, 2, 3), r(5, 4, 5)], register(5)).verdict.status == BAD
