"""Comparing runs: a known ratio is found, too little is unknown; and where a warm-up ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.unit.histories import history, write
from workbench.metrics.comparing import MeasuredRun, compare_runs
from workbench.metrics.warm_up import warm_up_length

MS = 1_000_000


def load(
    seed: int, scale: float = 1.0, *, count: int = 2_000, slow_start: int = 0, spacing_ms: float = 1.0
) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    latencies = 4 * scale * random.lognormal(0, 0.4, count)
    latencies[:slow_start] *= 20
    at = (np.arange(count) * spacing_ms * MS).astype(int)
    return history(
        *(write("x", n, int(t), int(t + lag * MS)) for n, (t, lag) in enumerate(zip(at, latencies, strict=True)))
    )


def found(first: pd.DataFrame, second: pd.DataFrame, warm_up_s: float | None = 0.0) -> pd.DataFrame:
    return compare_runs(MeasuredRun(first, warm_up_s), MeasuredRun(second, warm_up_s)).set_index("figure")


def test_a_slower_run_is_found_with_its_ratio() -> None:
    table = found(load(1), load(2, 2.0))
    for name in ("latency_ms_p50", "latency_ms_p99"):
        row = table.loc[name]
        assert row["verdict"] == "higher"
        assert row["ratio_low"] <= 2 <= row["ratio_high"]
        assert row["ratio"] == pytest.approx(row["second"] / row["first"])
    assert table.loc["achieved_per_s", "verdict"] == "no difference"
    assert found(load(2, 2.0), load(1)).loc["latency_ms_p50", "verdict"] == "lower"


def test_equal_runs_rarely_differ() -> None:
    differing = [found(load(seed), load(100 + seed)).loc["latency_ms_p50", "verdict"] for seed in range(30)]
    assert differing.count("no difference") >= 24


def test_a_stall_widens_the_interval() -> None:
    stalled = load(3)
    stalled.loc[100:180, "completed_ns"] += 200 * MS
    calm, rough = (found(load(1), other).loc["latency_ms_p99"] for other in (load(3), stalled))
    assert rough["ratio_high"] - rough["ratio_low"] > 3 * (calm["ratio_high"] - calm["ratio_low"])


def test_rates_are_compared() -> None:
    row = found(load(1), load(2, spacing_ms=2.0)).loc["achieved_per_s"]
    assert row["ratio"] == pytest.approx(0.5, rel=0.01)
    assert row["verdict"] == "lower"


def test_too_little_is_unknown() -> None:
    table = found(load(1, count=50), load(2))
    assert set(table["verdict"]) == {"unknown"}
    assert "50 operations" in table.loc["latency_ms_p50", "reason"]
    table = found(load(1, count=200), load(2, count=200))
    assert (table.loc["latency_ms_p50", "verdict"], table.loc["latency_ms_p99", "verdict"]) == (
        "no difference",
        "unknown",
    )
    failed = load(2).assign(outcome=pd.array(["fail"] * 2_000, dtype="str"))
    against_failed = found(load(1), failed)["verdict"].drop("not_ok_rate")
    assert set(against_failed) == {"unknown"}
    assert found(history(), load(2)).empty


def test_warm_up_is_left_out_as_stated_or_by_rule() -> None:
    slow = load(2, slow_start=400)
    assert found(load(1), slow).loc["latency_ms_p99", "verdict"] == "higher"
    assert found(load(1), slow, 0.45).loc["latency_ms_p99", "verdict"] == "no difference"
    assert found(load(1), slow, None).loc["latency_ms_p99", "verdict"] == "no difference"


def test_the_rule_cuts_the_transient_and_no_more() -> None:
    random = np.random.default_rng(4)
    steady = random.normal(10, 1, 1_000)
    assert (warm_up_length(steady) or 0) <= 500
    transient = np.concatenate((10 + 30 * np.exp(-np.arange(150) / 30), steady))
    assert 60 <= (warm_up_length(transient) or 0) <= 500
    assert warm_up_length(np.arange(1_000.0)) is None  # it never settles
    assert warm_up_length(np.ones(19)) is None
    assert warm_up_length(np.ones(100)) == 0
