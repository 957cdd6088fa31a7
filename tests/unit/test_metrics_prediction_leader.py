"""The model of single-leader replication against invented clusters whose lag is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.histories import history, read, write
from workbench.checkers import staleness
from workbench.metrics.prediction_leader import (
    APPLY_COLUMNS,
    READ_COLUMNS,
    compare_with_reads,
    fit_leader,
    halves,
    read_ways,
)
from workbench.metrics.prediction_leader import _falling as falling

MS = 1_000_000


def cluster(seed, lag_ms, *, writes=4_000, reads_per_write=2, keys=4, half_time=None, way_ms=0.4):
    """A leader `r1` and followers; `lag_ms`: follower -> a function that draws lags. Every read takes `2 * way_ms`.

    The history is what such replicas would answer. In the second half the lags are those of `half_time`, if given.
    """
    random = np.random.default_rng(seed)
    at = np.cumsum(random.exponential(10 * MS, writes)).astype(int)
    operations, applied, answered = [], [], []
    visible = {}
    for replica, draw in lag_ms.items():
        lags = draw(random, writes)
        if half_time is not None:
            lags = np.where(np.arange(writes) < writes // 2, lags, half_time[replica](random, writes))
        visible[replica] = np.maximum.accumulate(at + 1 * MS + (lags * MS).astype(int))  # entries are applied in order
        applied += [(replica, 1, n + 1, int(time)) for n, time in enumerate(visible[replica])]
    names = ["r1", *lag_ms]
    key_of = random.integers(keys, size=writes)
    operations += [write(f"k{key_of[n]}", n, int(at[n]), int(at[n]) + MS, index=n + 1) for n in range(writes)]
    written = {key: np.flatnonzero(key_of == key) for key in range(keys)}
    for moment in np.sort(random.integers(at[0], at[-1], size=writes * reads_per_write)):
        replica, key = names[random.integers(len(names))], int(random.integers(keys))
        served = int(moment) + int(way_ms * MS)
        seen = at if replica == "r1" else visible[replica]
        known = written[key][seen[written[key]] <= served]
        value = int(known[-1]) if len(known) else None
        operations.append(read(f"k{key}", value, int(moment), served + int(way_ms * MS), replica=replica))
        answered.append((replica, 1, served))
    return (
        history(*operations),
        pd.DataFrame(applied, columns=list(APPLY_COLUMNS)),
        pd.DataFrame(answered, columns=list(READ_COLUMNS)),
    )


def compared(operations, applied, answered, leader="r1"):
    first, second = halves(operations)
    model = fit_leader(first, applied, read_ways(operations, answered), leader=leader)
    judged = staleness(operations).reads
    return model, compare_with_reads(model, judged[judged["operation"].isin(second["operation"])])


def lasting(mean_ms):
    return lambda random, count: random.gamma(4, mean_ms / 4, count)


def test_prediction_meets_measurement():
    model, found = compared(*cluster(1, {"r2": lasting(12.0), "r3": lasting(30.0)}))
    assert 0.1 < found.measured < 0.6
    assert found.low <= found.predicted <= found.high
    assert found.error == pytest.approx(0, abs=0.02)
    assert found.curve_error < 0.04
    outside = (found.bins["predicted_stale_rate"] - found.bins["stale_rate"]).abs()
    assert (outside <= 2 * (found.bins["stale_rate_high"] - found.bins["stale_rate_low"])).all()
    assert model.lag_ms(0.5) == pytest.approx(20, abs=6)


def test_error_shows_when_the_second_half_is_unlike_the_first():
    slow, fast = {"r2": lasting(40.0)}, {"r2": lasting(5.0)}
    _, found = compared(*cluster(2, slow, half_time=fast))
    assert found.error > 0.1
    assert found.predicted > found.high
    _, found = compared(*cluster(2, fast, half_time=slow))
    assert found.error < -0.1


def test_what_reads_returned_is_not_looked_at():
    operations, applied, answered = cluster(3, {"r2": lasting(20.0)}, writes=600)
    model, found = compared(operations, applied, answered)
    ways = read_ways(operations, answered)
    first, _ = halves(operations)
    blind = first.assign(value=first["value"].where(first["kind"] == "write"))
    again = fit_leader(blind, applied, ways, leader="r1")
    ages = np.linspace(0, 60, 50)
    assert np.array_equal(model.p_stale("r2", ages), again.p_stale("r2", ages))
    assert found.predicted > 0.05


def test_a_lone_constant_lag_is_a_step():
    operations, applied, answered = cluster(4, {"r2": lambda _, count: np.full(count, 25.0)}, way_ms=2.0)
    model, _ = compared(operations, applied, answered)
    assert model.p_stale("r2", np.array([0.0, 15.0, 21.0])) == pytest.approx(1)  # less the 2 ms of the way
    assert model.p_stale("r2", np.array([24.0])) == pytest.approx(0, abs=0.1)  # it would arrive after the write
    assert model.p_stale("r2", np.array([25.0, 40.0, 1e6])) == pytest.approx(0, abs=0.04)
    assert model.p_stale_anywhere({"r1": 0.25, "r2": 0.75}, np.array([10.0])) == pytest.approx(0.75)
    assert math.isnan(model.p_stale("r3", np.array([10.0]))[0])


def test_the_leader_is_never_stale_and_followers_before_the_acknowledgement_neither():
    _, found = compared(*cluster(5, {"r2": lambda _, count: np.full(count, -0.5)}, writes=400))
    assert (found.predicted, found.measured) == (0, 0)
    operations, applied, answered = cluster(5, {"r2": lasting(30.0)}, writes=400)
    only_leader = operations[(operations["kind"] == "write") | (operations["replica"] == "r1")]
    _, found = compared(only_leader, applied, answered[answered["replica"] == "r1"])
    assert (found.predicted, found.measured) == (0, 0)


def test_without_knowledge_there_is_no_prediction():
    operations, applied, answered = cluster(6, {"r2": lasting(20.0)}, writes=300)
    _, found = compared(operations, applied.iloc[:0], answered)
    assert math.isnan(found.predicted)
    assert math.isnan(found.error)
    assert found.measured > 0
    _, found = compared(operations[operations["kind"] == "read"], applied, answered)
    assert math.isnan(found.error)
    _, found = compared(operations[operations["kind"] == "write"], applied, answered)
    assert (found.reads, found.bins.empty) == (0, True)
    _, found = compared(history(), applied.iloc[:0], answered.iloc[:0])
    assert math.isnan(found.curve_error)


def test_ways_are_exact_where_every_answer_was_noted_and_else_half_of_the_duration():
    operations = history(
        read("x", None, 0, 10, replica="r2"), read("x", None, 5, 9, replica="r2"), read("x", None, 4, 8, replica="r3")
    )
    answered = pd.DataFrame([("r2", 2, 7), ("r3", 1, 7), ("r3", 1, 8)], columns=list(READ_COLUMNS))
    ways = read_ways(operations, answered).set_index("operation")["way_ns"].to_dict()
    assert ways == {0: 7, 1: 2, 2: 2}
    late = pd.DataFrame([("r2", 1, 7), ("r2", 1, 9)], columns=list(READ_COLUMNS))
    ways = read_ways(operations, late).set_index("operation")["way_ns"].to_dict()
    assert ways == {0: 9, 1: 2, 2: 2}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_falling_is_the_nearest_sequence_that_never_rises(shares):
    values = np.array(shares)
    found = falling(values, np.ones(len(values)))
    assert (np.diff(found) <= 1e-12).all()
    assert found.sum() == pytest.approx(values.sum())
    # By the min-max formula of isotonic regression.
    exact = [
        max(min(values[a : b + 1].mean() for a in range(i + 1)) for b in range(i, len(values)))
        for i in range(len(values))
    ]
    assert found == pytest.approx(np.array(exact))
