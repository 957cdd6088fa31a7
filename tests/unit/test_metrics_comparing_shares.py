"""Comparing shares of two runs: known differences are found, equal runs rarely differ, clusters make less certain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.histories import history, read, write
from workbench.metrics.comparing import MeasuredRun, compare_runs
from workbench.metrics.comparing_shares import Share, compare_share
from workbench.metrics.intervals import difference_interval, ratio_interval

MS = 1_000_000


def reads(seed: int, share: float, *, count: int = 600, runs: int = 1, **more: Any) -> pd.DataFrame:
    """Two writes, then reads by one session of which about a `share` return the first one, in `runs` at a stretch."""
    random = np.random.default_rng(seed)
    stale = np.repeat(random.random(count // runs) < share, runs)
    rows = [write("x", 1, 0, 1, session=1), write("x", 2, 2, 3, session=1)]
    for number, is_stale in enumerate(stale.tolist()):
        at = (number + 1) * MS
        rows.append(read("x", 1 if is_stale else 2, at, at + 1, session=2) | more)
    return history(*rows)


def found(first: pd.DataFrame, second: pd.DataFrame, **more: Any) -> pd.DataFrame:
    return compare_runs(MeasuredRun(first, 0.0, **more), MeasuredRun(second, 0.0, **more)).set_index("figure")


def test_a_staler_run_is_found_with_difference_and_ratio() -> None:
    row = found(reads(1, 0.1), reads(2, 0.3)).loc["stale_rate"]
    assert row["verdict"] == "higher"
    assert row["difference_low"] < 0.2 < row["difference_high"]
    assert row["ratio_low"] < 3 < row["ratio_high"]
    assert row["difference"] == pytest.approx(row["second"] - row["first"])
    assert row["ratio"] == pytest.approx(row["second"] / row["first"])
    back = found(reads(2, 0.3), reads(1, 0.1))
    assert back.loc["stale_rate_acknowledged", "verdict"] == "lower"
    assert back.loc["non_monotonic_rate", "verdict"] == "lower"


def test_equal_runs_rarely_differ() -> None:
    verdicts = [found(reads(seed, 0.2), reads(50 + seed, 0.2)).loc["stale_rate", "verdict"] for seed in range(20)]
    assert verdicts.count("no difference") >= 17


def test_stale_reads_in_a_row_say_less_than_as_many_apart() -> None:
    apart = found(reads(1, 0.2), reads(2, 0.3)).loc["stale_rate"]
    in_rows = found(reads(1, 0.2, runs=30), reads(2, 0.3, runs=30)).loc["stale_rate"]
    width = in_rows["difference_high"] - in_rows["difference_low"]
    assert width > 1.5 * (apart["difference_high"] - apart["difference_low"])


def test_none_seen_is_not_none_for_certain() -> None:
    row = found(reads(1, 0.0), reads(2, 0.0)).loc["stale_rate"]
    assert (row["verdict"], row["difference"]) == ("no difference", 0)
    assert -0.01 < row["difference_low"] < 0 < row["difference_high"] < 0.01
    assert math.isnan(row["ratio"])
    assert found(reads(1, 0.0), reads(2, 0.2)).loc["stale_rate", "verdict"] == "higher"


def test_what_could_not_have_been_has_no_share() -> None:
    only_writes = history(*(write("x", number, number * MS, number * MS + 1) for number in range(300)))
    table = found(only_writes, only_writes)
    assert "stale_rate" not in table.index
    assert table.loc["not_ok_rate", "verdict"] == "no difference"
    few = found(reads(1, 0.1, count=50), reads(2, 0.5))
    assert (few.loc["stale_rate", "verdict"], few.loc["stale_rate", "reason"]) == (
        "unknown",
        "50 operations, at least 100 are needed",
    )


def test_what_was_dropped_makes_no_read_stale() -> None:
    table = found(reads(1, 0.3), reads(2, 0.3), dropped=[("", "x", 2)])
    assert table.loc["stale_rate", "first"] == 0


def test_lost_writes_and_failures() -> None:
    rows = [write("x", number, number * MS, number * MS + 1) for number in range(200)]
    failed = history(*[row | ({"outcome": "fail"} if at % 4 == 0 else {}) for at, row in enumerate(rows)])
    runs = MeasuredRun(history(*rows), 0.0, lost_writes={"": 0}), MeasuredRun(failed, 0.0, lost_writes={"": 30})
    table = compare_runs(*runs).set_index("figure")
    assert (table.loc["lost_rate", "first"], table.loc["lost_rate", "second"]) == (0, 0.2)
    assert (table.loc["lost_rate", "verdict"], table.loc["not_ok_rate", "verdict"]) == ("higher", "higher")
    assert table.loc["not_ok_rate", "second"] == 0.25


def test_intervals_against_published_values() -> None:
    """Newcombe (1998), table II, method 10: 56 of 70 and 48 of 80, 9 of 10 and 3 of 10, 10 of 10 and 0 of 20."""
    for second, first, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)
    ):  # fmt: skip
        assert difference_interval(first, second) == pytest.approx((low, high), abs=5e-5)
    assert ratio_interval((20, 100), (40, 100)) == pytest.approx((1.2632, 3.1665), abs=2e-3)
    assert all(math.isnan(bound) for bound in (*ratio_interval((0, 9), (1, 9)), *difference_interval((0, 0), (1, 9))))


def test_intervals_hold_what_they_say() -> None:
    """Of 300 pairs of runs whose shares are known, about 95 % of the intervals hold the difference."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        trials = np.full(20, 20)
        first, second = (Share("read", "stale_rate", random.binomial(trials, rate), trials) for rate in (0.05, 0.12))
        row = compare_share(first, second, 200, random)
        held += row["difference_low"] <= 0.07 <= row["difference_high"]
    assert 0.93 < held / 300 <= 1
