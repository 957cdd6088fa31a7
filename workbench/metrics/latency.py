"""Latencies and rates of a recorded load, from raw values.

Each latency is given from the intended start (what a user of a fixed rate would have waited, so a stall counts for
every operation that it delayed) and from the actual send. Only `ok` operations have a latency; the others are
counted beside it, never left out in silence. A target rate that was not met is flagged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.metrics.intervals import percentile, percentile_interval

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}

STARTS: Final = {"intended": "intended_ns", "actual": "invoked_ns"}

TARGET_TOLERANCE: Final = 0.05
"""A rate within 5 % of its target counts as met."""


def after_warm_up(operations: pd.DataFrame, warm_up_s: float) -> pd.DataFrame:
    """Operations meant to start at least `warm_up_s` after the first one of their cell."""
    if warm_up_s <= 0 or operations.empty:
        return operations
    first = operations.groupby("cell")["intended_ns"].transform("min")
    return operations[(operations["intended_ns"] - first >= warm_up_s * 1e9).fillna(False).to_numpy(dtype=bool)]


def latencies_ms(operations: pd.DataFrame, start: str = "intended") -> np.ndarray[Any, Any]:
    """Latencies of the `ok` operations in ms, ordered; `start` is `intended` or `actual`."""
    ok = operations[(operations["outcome"] == "ok") & operations[STARTS[start]].notna()]
    begun, completed = (ok[name].to_numpy(dtype=np.int64, na_value=0) for name in (STARTS[start], "completed_ns"))
    return np.sort((completed - begun) / 1e6)


def latency_summary(
    operations: pd.DataFrame,
    *,
    by: Iterable[str] = ("cell", "kind"),
    warm_up_s: float = 0.0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """One row a group and `start`: `count`, `failed`, `indefinite`, mean, percentiles and maximum, all in ms.

    Columns `latency_ms_p50`, ... are observed values, each with `..._low` and `..._high` of its confidence interval
    (nan where there are too few values for a bound).
    """
    keys = list(by)
    rows = []
    for names, group in after_warm_up(operations, warm_up_s).groupby(keys, sort=True):
        outcomes = group["outcome"].value_counts()
        counts = {name: int(outcomes.get(value, 0)) for name, value in (("failed", "fail"), ("indefinite", "info"))}
        for start in STARTS:
            ordered = latencies_ms(group, start)
            figures = {"start": start, "count": len(ordered), **counts, **_figures(ordered, confidence)}
            rows.append(dict(zip(keys, names, strict=True)) | figures)
    columns = [*keys, "start", "count", "failed", "indefinite", *_figures(np.array([]), confidence)]
    return pd.DataFrame(rows, columns=columns)


def _figures(ordered: np.ndarray[Any, Any], confidence: float) -> dict[str, float]:
    row = {"latency_ms_mean": float(ordered.mean()) if len(ordered) else np.nan}
    for name, fraction in PERCENTILES.items():
        column = f"latency_ms_{name}"
        row[column] = percentile(ordered, fraction)
        row[f"{column}_low"], row[f"{column}_high"] = percentile_interval(ordered, fraction, confidence)
    row["latency_ms_max"] = float(ordered[-1]) if len(ordered) else np.nan
    return row


def rate_summary(
    operations: pd.DataFrame,
    *,
    by: Iterable[str] = ("cell",),
    warm_up_s: float = 0.0,
    target_per_s: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row a group: rates a second (intended, started, achieved), their `target_per_s`, `target_met` and `flag`.

    `achieved_per_s` counts the `ok` operations that completed while the load lasted, extended by their median
    latency from the actual send, so that a constant delay is no missed target while a growing queue is one.
    `target_per_s` is one rate, or one a cell; by default it is the intended rate. `flag` is empty or one line on
    what was not met; with fewer than two operations nothing is known, and the target is not met.
    """
    keys = list(by)
    rows = []
    for names, group in after_warm_up(operations, warm_up_s).groupby(keys, sort=True):
        labels = dict(zip(keys, names, strict=True))
        rows.append(labels | _rates(group, _target(target_per_s, group)))
    columns = [*keys, *_rates(operations.iloc[:0], None)]
    return pd.DataFrame(rows, columns=columns)


def _target(target: float | Mapping[str, float] | None, group: pd.DataFrame) -> float | None:
    return target.get(str(group["cell"].iloc[0])) if isinstance(target, Mapping) else target


def _rates(group: pd.DataFrame, target: float | None) -> dict[str, Any]:
    intended = group["intended_ns"].dropna().to_numpy(dtype=np.int64)
    started = group["invoked_ns"].dropna().to_numpy(dtype=np.int64)
    ok = group[group["outcome"] == "ok"]
    intended_per_s = _per_second(intended)
    achieved_per_s = np.nan
    if len(intended) > 1 and intended.max() > intended.min():
        completed = ok["completed_ns"].to_numpy(dtype=np.int64)
        median_ns = percentile(latencies_ms(ok, "actual"), 0.5) * 1e6 if len(ok) else 0.0
        in_time = int((completed <= intended.max() + median_ns).sum())
        achieved_per_s = in_time / len(intended) * intended_per_s
    target_per_s = intended_per_s if target is None else target
    met = bool(achieved_per_s >= (1 - TARGET_TOLERANCE) * target_per_s)
    return {
        "operations": len(group),
        "ok": len(ok),
        "target_per_s": target_per_s,
        "intended_per_s": intended_per_s,
        "started_per_s": _per_second(started),
        "achieved_per_s": achieved_per_s,
        "target_met": met,
        "flag": "" if met else _flag(achieved_per_s, target_per_s),
    }


def _flag(achieved_per_s: float, target_per_s: float) -> str:
    if np.isnan(achieved_per_s):
        return "too few operations to know the rate"
    return f"target rate not met: {achieved_per_s:.0f} of {target_per_s:.0f} a second"


def _per_second(times_ns: np.ndarray[Any, Any]) -> float:
    """Intervals over their duration: n operations, evenly spaced, span n - 1 intervals."""
    if len(times_ns) < 2 or times_ns.max() == times_ns.min():
        return float("nan")
    return float((len(times_ns) - 1) / ((times_ns.max() - times_ns.min()) / 1e9))
