"""Figures of a part of a load: between two moments, such as a crash and the return.

Times are milliseconds on the axis of the table of operations. An operation counts where it completed, as a user saw it;
its latency counts where it was due, so that nothing is left out because it took long.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.metrics.intervals import percentile
from workbench.metrics.latency import latencies_ms


def completed_between(operations: pd.DataFrame, kind: str, from_ms: float, to_ms: float) -> pd.DataFrame:
    """The `ok` operations of one kind that completed in [from, to)."""
    ok = operations[(operations["kind"] == kind) & (operations["outcome"] == "ok")]
    completed_ms = ok["completed_ns"].to_numpy(dtype=np.int64) / 1e6
    return ok[(completed_ms >= from_ms) & (completed_ms < to_ms)]


def ok_per_s(operations: pd.DataFrame, kind: str, from_ms: float, to_ms: float) -> float:
    """Rate of the operations of one kind that ended well; nan for a window that is none."""
    if to_ms <= from_ms:
        return float("nan")
    return len(completed_between(operations, kind, from_ms, to_ms)) / ((to_ms - from_ms) / 1e3)


def longest_gap_ms(operations: pd.DataFrame, kind: str, from_ms: float, to_ms: float) -> float:
    """The longest time within the window in which no operation of one kind ended well; nan for no window.

    The window's own ends bound a gap: with nothing in it, the gap is the window.
    """
    if to_ms <= from_ms:
        return float("nan")
    ended = completed_between(operations, kind, from_ms, to_ms)["completed_ns"].to_numpy(dtype=np.int64) / 1e6
    return float(np.diff(np.concatenate(([from_ms], np.sort(ended), [to_ms]))).max())


def latency_between(operations: pd.DataFrame, kind: str, from_ms: float, to_ms: float) -> dict[str, float]:
    """`latency_ms_p50` and `_p99`, from the intended start, of the `ok` operations of one kind due in [from, to)."""
    due_ms = operations["intended_ns"].to_numpy(dtype=float, na_value=np.nan) / 1e6
    due = operations[(operations["kind"] == kind) & (due_ms >= from_ms) & (due_ms < to_ms)]
    ordered = latencies_ms(due)
    return {"latency_ms_p50": percentile(ordered, 0.5), "latency_ms_p99": percentile(ordered, 0.99)}
