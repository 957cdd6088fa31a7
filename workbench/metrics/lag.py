"""How far followers are behind the leader, from samples of every replica's log.

Samples are rows of `time_ns`, `replica`, `last`, `durable`, `applied` (indexes), on one clock, in any order. The
leader's end at a moment is its newest sample until then; without a leader named it is the highest `last` of any
replica's newest sample. Figures are as fine as the sampling: an entry counts from the first sample that shows it, so
milliseconds are low by up to one sampling interval.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.metrics.intervals import percentile

SAMPLE_COLUMNS: Final = ("time_ns", "replica", "last", "durable", "applied")

LEVELS: Final = {"received": "last", "durable": "durable", "applied": "applied"}
"""Level -> the sampled index that says how far a replica is at it."""


def lag(samples: pd.DataFrame, *, leader: str | None = None) -> pd.DataFrame:
    """Tidy table of lags: `time_ns`, `replica`, `level` (received, durable, applied), `lag_entries`, `lag_ms`.

    `lag_ms` is the age of the oldest entry that the replica lacks at that level, 0 if it lacks none. The named
    leader has no rows. Times before its first sample are left out. Raises `ValueError` for a missing column.
    """
    missing = [name for name in SAMPLE_COLUMNS if name not in samples.columns]
    if missing:
        raise ValueError("samples lack the column " + ", ".join(missing))
    samples = samples.sort_values("time_ns", kind="stable")
    times_ns, ends = _leader_ends(samples, leader)
    followers = samples if leader is None else samples[samples["replica"] != leader]
    parts = [_lag_at(followers, level, times_ns, ends) for level in LEVELS]
    return pd.concat(parts, ignore_index=True)


def lag_summary(lags: pd.DataFrame) -> pd.DataFrame:
    """One row a replica and level: number of samples, and percentiles and maximum of both lags."""
    rows = []
    for (replica, level), group in lags.groupby(["replica", "level"], sort=True):
        row: dict[str, Any] = {"replica": replica, "level": level, "samples": len(group)}
        for name in ("lag_entries", "lag_ms"):
            ordered = np.sort(group[name].to_numpy())
            row |= {f"{name}_p50": percentile(ordered, 0.5), f"{name}_p99": percentile(ordered, 0.99)}
            row[f"{name}_max"] = ordered[-1]
        rows.append(row)
    figures = [f"{name}_{part}" for name in ("lag_entries", "lag_ms") for part in ("p50", "p99", "max")]
    return pd.DataFrame(rows, columns=["replica", "level", "samples", *figures])


def _leader_ends(samples: pd.DataFrame, leader: str | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Times, ordered and distinct, and the end of the leader's log from each on."""
    rows = samples if leader is None else samples[samples["replica"] == leader]
    newest = rows.pivot_table(index="time_ns", columns="replica", values="last", aggfunc="last").ffill()
    ends = newest.max(axis=1)
    return ends.index.to_numpy(dtype=np.int64), ends.to_numpy(dtype=np.int64)


def _lag_at(
    followers: pd.DataFrame, level: str, times_ns: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]
) -> pd.DataFrame:
    at = np.searchsorted(times_ns, followers["time_ns"].to_numpy(dtype=np.int64), side="right") - 1
    known = followers[at >= 0]
    at = at[at >= 0]
    time_ns = known["time_ns"].to_numpy(dtype=np.int64)
    has = known[LEVELS[level]].to_numpy(dtype=np.int64)
    # After a rewind the leader's end falls; what was reached before is the first time for a lower index all the same.
    first_seen = np.searchsorted(np.maximum.accumulate(ends), has + 1, side="left")
    entries = np.maximum(ends[at] - has, 0)
    since_ns = times_ns[np.minimum(first_seen, len(times_ns) - 1)] if len(times_ns) else time_ns
    return pd.DataFrame(
        {
            "time_ns": time_ns,
            "replica": known["replica"].to_numpy(),
            "level": level,
            "lag_entries": entries,
            "lag_ms": np.where(entries > 0, (time_ns - since_ns) / 1e6, 0.0),
        }
    )
