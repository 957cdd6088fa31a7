"""Latencies and rates from raw values; intervals against their definitions."""

import math
from random import Random

import numpy as np
import pytest

from tests.unit.histories import history, write
from workbench.metrics import (
    after_warm_up,
    bootstrap_interval,
    latencies_ms,
    latency_summary,
    percentile_interval,
    proportion_interval,
    rate_summary,
)
from workbench.metrics.intervals import percentile

MS = 1_000_000


def load(latencies, every_ms=10, **more):
    """One write every `every_ms`, each with its latency in ms from the intended start."""
    return [
        write("x", number, number * every_ms * MS, int((number * every_ms + latency) * MS), **more)
        for number, latency in enumerate(latencies)
    ]


def test_latency_from_both_starts():
    late_send = write("x", 1, 5 * MS, 7 * MS) | {"intended_ns": 0}
    rows = latency_summary(history(late_send)).set_index("start")
    assert rows.loc["intended", "latency_ms_p50"] == 7
    assert rows.loc["actual", "latency_ms_p50"] == 2


def test_percentiles_are_observed_values_of_the_group():
    table = history(*load(range(1, 101)), *load(range(1001, 1101), cell="slow"))
    rows = latency_summary(table)
    rows = rows[rows["start"] == "actual"].set_index("cell")
    figures = rows[["count", *(f"latency_ms_{name}" for name in ("p50", "p90", "p99", "p99_9", "max", "mean"))]]
    assert figures.to_numpy().tolist()[0] == [100, 50, 90, 99, 100, 100, 50.5]
    assert figures["latency_ms_p50"].tolist() == [50, 1050]


def test_what_did_not_succeed_is_counted_and_has_no_latency():
    table = history(*load([5]), *load([900], outcome="info"), *load([900], outcome="fail"))
    row = latency_summary(table).iloc[0]
    assert row[["count", "failed", "indefinite", "latency_ms_max"]].tolist() == [1, 1, 1, 5]
    only_doubt = latency_summary(history(*load([900], outcome="info"))).iloc[0]
    assert only_doubt["count"] == 0
    assert math.isnan(only_doubt["latency_ms_p50"])


def test_no_operations_give_no_rows_but_the_same_columns():
    assert latency_summary(history()).columns.tolist() == latency_summary(history(*load([1]))).columns.tolist()
    assert rate_summary(history()).columns.tolist() == rate_summary(history(*load([1]))).columns.tolist()


def test_warm_up_is_cut_in_each_cell():
    table = history(*load([1] * 10), *[row | {"cell": "b"} for row in load([1] * 10, every_ms=20)])
    assert after_warm_up(table, 0.05).groupby("cell").size().tolist() == [5, 7]
    assert len(after_warm_up(table, 0)) == 20
    assert latency_summary(table, warm_up_s=0.05)["count"].tolist() == [5, 5, 7, 7]


def test_latencies_are_ordered():
    assert latencies_ms(history(*load([3, 1, 2]))).tolist() == [1, 2, 3]


def test_a_rate_that_was_met():
    row = rate_summary(history(*load([2] * 101)), target_per_s=100).iloc[0]
    assert row["intended_per_s"] == row["started_per_s"] == 100
    assert row["achieved_per_s"] == 100
    assert row["target_met"]
    assert row["flag"] == ""


def test_a_constant_delay_is_no_missed_target():
    assert rate_summary(history(*load([300] * 101))).iloc[0]["target_met"]


@pytest.mark.parametrize("latencies", [[number * 2 for number in range(101)], [number * 10 for number in range(101)]])
def test_a_growing_queue_is_flagged(latencies):
    row = rate_summary(history(*load(latencies))).iloc[0]
    assert not row["target_met"]
    assert "target rate not met" in row["flag"]


def test_failures_and_a_lower_schedule_miss_the_target():
    failing = load([2] * 101)
    failing[::5] = [row | {"outcome": "fail"} for row in failing[::5]]
    assert not rate_summary(history(*failing)).iloc[0]["target_met"]
    row = rate_summary(history(*load([2] * 101, cell="a")), target_per_s={"a": 200.0}).iloc[0]
    assert row["flag"] == "target rate not met: 100 of 200 a second"


def test_a_rate_of_nothing_is_not_met():
    for table in (history(*load([1])), history(*load([1] * 9, outcome="info"))):
        assert not rate_summary(table).iloc[0]["target_met"]


def test_proportion_interval_against_published_values():
    low, high = proportion_interval(81, 263)  # R. G. Newcombe, 1998, table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert proportion_interval(0, 1000)[0] == 0
    assert proportion_interval(0, 1000)[1] == pytest.approx(0.00383, abs=1e-5)
    assert proportion_interval(7, 7)[1] == 1
    assert all(map(math.isnan, proportion_interval(0, 0)))


def test_percentile():
    ordered = np.arange(1.0, 101.0)
    assert [percentile(ordered, share) for share in (0.5, 0.99, 0.999, 0.0)] == [50, 99, 100, 1]
    assert math.isnan(percentile(np.array([]), 0.5))


def test_percentile_interval_covers_as_often_as_it_says():
    random, covered, rounds = Random(1), 0, 600
    for _ in range(rounds):
        ordered = np.sort([random.random() for _ in range(60)])
        low, high = percentile_interval(ordered, 0.9)
        covered += low <= 0.9 and (math.isnan(high) or high >= 0.9)
    assert 0.94 <= covered / rounds <= 0.995  # exact intervals of a discrete distribution cover a little more


def test_percentile_interval_has_no_bound_where_nothing_was_observed():
    low, high = percentile_interval(np.arange(100.0), 0.999)
    assert not math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(percentile_interval(np.arange(3686.0), 0.999)[1])  # 0.999 ** n must be below 2.5 %
    assert percentile_interval(np.arange(3689.0), 0.999)[1] == 3688
    low, high = percentile_interval(np.arange(1, 101.0), 0.5)
    assert (low, high) == (40, 61)  # P(B <= 39) = 0.018, P(B <= 40) = 0.028 for B ~ binomial(100, 1/2)


def test_bootstrap_is_seeded_and_holds_the_mean():
    values = [1.0, 2.0, 3.0, 4.0]
    low, high = bootstrap_interval(values, seed=3)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert 1 < low < 2.5 < high < 4
    assert all(map(math.isnan, bootstrap_interval([1.0])))
