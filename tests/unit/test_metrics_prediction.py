"""PBS against the figures of its authors, against closed forms, and against the definition written out plainly.

Monte Carlo figures have a seed, and are held to five standard errors: a test that is right fails by chance once in two
million seeds.
"""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigurationError
from workbench.metrics.prediction import Quorum, k_staleness, predict, run_trials
from workbench.metrics.prediction_fits import FITS, Constant, Exponential, Fit, Measured, Mixture, Pareto

ONE = Quorum(n=3, r=1, w=1)
AT_ONCE = Constant(0.0)


def fit_of(write, acknowledgement=AT_ONCE, read=AT_ONCE, reply=AT_ONCE):
    return Fit(name="test", words="", write=write, acknowledgement=acknowledgement, read=read, reply=reply)


# ---- the authors' figures: table of t-visibility and text of the section on versions (Bailis et al., VLDB 2012)


@pytest.mark.parametrize(
    ("name", "published"), [("LNKD-SSD", 0.974), ("LNKD-DISK", 0.439), ("YMMR", 0.893), ("WAN", 0.33)]
)
def test_published_chance_of_a_fresh_read_right_after_the_write(name, published):
    assert predict(FITS[name], ONE).p_consistent() == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize(("k", "published"), [(2, 0.556), (3, 0.704), (5, 0.868), (10, 0.98)])
def test_published_k_staleness(k, published):
    assert k_staleness(ONE, k) == pytest.approx(published, abs=0.003)


# ---- figures of this model, held so that a change of it is noticed


@pytest.mark.parametrize(
    ("name", "read_ms", "write_ms"),
    [("LNKD-SSD", 0.66, 0.66), ("LNKD-DISK", 0.66, 10.99), ("YMMR", 5.58, 10.83), ("WAN", 3.4, 55.12)],
)
def test_what_1_of_1000_operations_exceeds_stays_what_it_was(name, read_ms, write_ms):
    found = predict(FITS[name], ONE).to_json()
    assert found["read_latency_ms"]["0.999"] == pytest.approx(read_ms, rel=0.05)
    assert found["write_latency_ms"]["0.999"] == pytest.approx(write_ms, rel=0.05)


# ---- closed forms


def test_a_strict_quorum_is_never_stale():
    for n in range(1, 6):
        for r in range(1, n + 1):
            quorum = Quorum(n=n, r=r, w=n + 1 - r)
            assert quorum.is_strict
            assert k_staleness(quorum, 1) == 1
            found = predict(FITS["LNKD-DISK"], quorum, trials=2_000)
            assert (found.p_consistent(), found.t_visibility_ms(0.999)) == (1, 0)


def test_constant_latencies_leave_nothing_to_chance():
    slow_write = fit_of(Constant(5.0), Constant(1.0), Constant(2.0), Constant(4.0))
    found = predict(slow_write, ONE, trials=100)
    assert found.p_consistent() == 1  # it has arrived everywhere before it is acknowledged
    assert found.write_latency.percentile(0.5) == pytest.approx(6, rel=1e-3)
    assert found.read_latency.percentile(0.5) == pytest.approx(6, rel=1e-3)


def exponential_order(quorum, rate, t):
    """P(fresh) when only writes take time: a read asks R replicas that have nothing to do with the order of arrival."""
    decay = math.exp(-rate * t)
    match quorum:
        case Quorum(n=1):
            return 1.0
        case Quorum(n=2, r=1, w=1):
            return 1 / 2 + (1 - decay) / 2
        case Quorum(n=3, r=1, w=1):  # the replica is the first, second or third that the write reaches
            return (1 + (1 - decay**2) + (1 - decay) ** 2) / 3
        case Quorum(n=3, r=1, w=2):
            return (2 + (1 - decay)) / 3
        case Quorum(n=3, r=2, w=1):
            return (2 + (1 - decay**2)) / 3
    raise AssertionError(quorum)


@pytest.mark.parametrize(("n", "r", "w"), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (3, 1, 2), (3, 2, 1)])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.0, 7.0])
def test_exponential_writes(n, r, w, t):
    rate, trials, quorum = 0.4, 200_000, Quorum(n=n, r=r, w=w)
    exact = exponential_order(quorum, rate, t)
    found = predict(fit_of(Exponential(rate)), quorum, trials=trials, seed=3)
    error = math.sqrt(exact * (1 - exact) / trials)
    assert found.p_consistent(t) == pytest.approx(exact, abs=5 * error + 1e-3 * rate * t)  # buckets are 0.1 % wide
    low, high = found.p_consistent_interval(t)
    assert low <= found.p_consistent(t) <= high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05, abs=1e-4)


def test_t_visibility_is_where_the_curve_reaches_the_probability():
    found = predict(fit_of(Exponential(0.4)), Quorum(n=2, r=1, w=1), trials=400_000)
    for share in (0.9, 0.99, 0.999):
        exact = -math.log(2 * (1 - share)) / 0.4
        low, high = found.t_visibility_interval_ms(share)
        assert low <= found.t_visibility_ms(share) <= high
        assert low * 0.98 <= exact <= high * 1.02
        assert found.p_consistent(found.t_visibility_ms(share)) >= share


def test_within_k_versions_is_missing_all_k_independently():
    fresh = predict(FITS["LNKD-DISK"], ONE, trials=50_000, seed=4)
    within = predict(FITS["LNKD-DISK"], ONE, trials=50_000, seed=4, k=3)
    assert within.p_consistent(2.0) == pytest.approx(1 - (1 - fresh.p_consistent(2.0)) ** 3)
    assert within.t_visibility_ms(0.999) == pytest.approx(fresh.t_visibility_ms(0.9), rel=1e-9)


# ---- the definition, one trial at a time


class Given:
    """Latencies that a test chose."""

    def __init__(self, values):
        self.values = np.array(values, dtype=float)

    def draw(self, random, shape):
        assert self.values.shape == shape
        return self.values.copy()


def is_fresh(quorum, ways, t):
    """Act it out: send, arrive, acknowledge, ask, reply."""
    write, acknowledgement, read, reply = ways
    replicas = range(quorum.n)
    acknowledged = sorted(write[i] + acknowledgement[i] for i in replicas)[quorum.w - 1]
    begun = acknowledged + t
    replies = sorted((begun + read[i] + reply[i], i) for i in replicas)[: quorum.r]
    return any(begun + read[i] >= write[i] for _, i in replies)


@st.composite
def acted_out(draw):
    n = draw(st.integers(1, 5))
    quorum = Quorum(n=n, r=draw(st.integers(1, n)), w=draw(st.integers(1, n)))
    # Powers of two add up exactly and to different sums, so that nothing hangs on rounding or on ties.
    exponents = draw(st.permutations(range(4 * n)))
    values = [2.0**exponent for exponent in exponents]
    return quorum, [values[i * n : (i + 1) * n] for i in range(4)]


@settings(max_examples=400, deadline=None)
@given(acted_out(), st.integers(0, 2**21))
def test_a_trial_is_what_the_definition_says(case, t):
    quorum, ways = case
    fit = fit_of(*(Given([way]) for way in ways))
    (visible,), (acknowledged,), (replied,) = run_trials(fit, quorum, np.random.default_rng(0), 1)
    assert is_fresh(quorum, ways, t) == (t >= visible)
    assert is_fresh(quorum, ways, max(visible, 0.0))
    write, acknowledgement, read, reply = map(np.array, ways)
    assert acknowledged == sorted(write + acknowledgement)[quorum.w - 1]
    assert replied == sorted(read + reply)[quorum.r - 1]


def test_datacentres_are_apart_both_ways_for_write_and_read():
    local = Constant(1.0)
    fit = Fit.of("apart", "", local, local, apart_ms=75.0)
    visible, acknowledged, replied = run_trials(fit, ONE, np.random.default_rng(1), 30_000)
    assert set(acknowledged.tolist()) == set(replied.tolist()) == {2.0}
    assert set(visible.tolist()) == {-2.0, 73.0}  # read where it was written, or in another datacentre
    assert (visible < 0).mean() == pytest.approx(1 / 3, abs=0.014)
    all_three = run_trials(fit, Quorum(n=3, r=3, w=3), np.random.default_rng(1), 100)
    assert set(all_three[1].tolist()) == {152.0}


# ---- distributions


@pytest.mark.parametrize(
    "latency",
    [
        Constant(2.0),
        Exponential(0.5),
        Pareto(1.5, 3.8),
        Mixture(0.38, Pareto(1.05, 1.51), Exponential(0.183)),
        Measured([1.0, 2.0, 2.0, 5.0]),
    ],
    ids=lambda latency: type(latency).__name__,
)
def test_draws_follow_the_distribution(latency):
    drawn = latency.draw(np.random.default_rng(5), (40_000, 3))
    for ms in (0.5, 1.2, 2.0, 3.0, 10.0):
        exact = latency.share_at_most(ms)
        assert (drawn <= ms).mean() == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / drawn.size) + 1e-12)


def test_columns_of_draws_are_independent():
    drawn = FITS["LNKD-SSD"].write.draw(np.random.default_rng(6), (100_000, 3))
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.02


# ---- size, seeds, mistakes


def test_memory_does_not_grow_with_the_trials():
    def peak(trials):
        tracemalloc.start()
        predict(FITS["WAN"], Quorum(n=5, r=2, w=2), trials=trials)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(800_000) < 1.2 * peak(200_000)


def test_a_seed_says_it_all():
    figures = [predict(FITS["WAN"], ONE, trials=40_000, seed=seed).to_json() for seed in (1, 1, 2)]
    assert figures[0] == figures[1]
    assert figures[0]["t_visibility_ms"] != figures[2]["t_visibility_ms"]


def test_progress_rises_from_nothing():
    told: list[float] = []
    predict(FITS["WAN"], ONE, trials=500_000, progress=told.append)
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] < 1


@pytest.mark.parametrize(("n", "r", "w"), [(3, 4, 1), (3, 0, 1), (3, 1, 4), (3, 1, -1), (0, 1, 1), (10**9, 1, 1)])
def test_impossible_quorums_are_refused(n, r, w):
    with pytest.raises(ConfigurationError, match="is "):
        Quorum(n=n, r=r, w=w)


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"k": 0}])
def test_nothing_is_predicted_of_nothing(wrong):
    with pytest.raises(ConfigurationError, match="is 0"):
        predict(FITS["WAN"], ONE, **wrong)
