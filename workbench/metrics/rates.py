"""How many operations end well, and how many do not, over time.

An operation counts where it completed: what a user saw at that moment. Operations that never completed, since they were
never sent or the record ends before, count nowhere. Times are on the axis of the table of operations, 0 = start of the
load.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from workbench.operation_rows import KINDS

RATE_COLUMNS: Final = ("cell", "at_ms", "kind", "ok_per_s", "not_ok_per_s")


def rates_over_time(operations: pd.DataFrame, *, bucket_ms: float = 100.0) -> pd.DataFrame:
    """One row a cell, bucket and kind: rates of operations that completed from `at_ms` on, for `bucket_ms`.

    Every bucket from 0 to a cell's last completion is there, those in which nothing completed with rates of 0; the last
    one is left out unless it is the only one, since it is not full. `not_ok_per_s`: failed for certain, or in doubt.
    Raises `ValueError` for a bucket that is no time.
    """
    if not 0 < bucket_ms < np.inf:
        raise ValueError(f"bucket_ms is {bucket_ms}")
    completed = operations[operations["completed_ns"].notna()]
    parts = [_rates(str(cell), rows, bucket_ms) for cell, rows in completed.groupby("cell", sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(RATE_COLUMNS))


def _rates(cell: str, rows: pd.DataFrame, bucket_ms: float) -> pd.DataFrame:
    bucket = (rows["completed_ns"].to_numpy(dtype=np.int64) / (bucket_ms * 1e6)).astype(np.int64)
    buckets = max(int(bucket.max()), 1)
    full = bucket < buckets
    is_ok = (rows["outcome"] == "ok").to_numpy(dtype=bool)
    parts = []
    for kind in KINDS:
        of_kind = full & (rows["kind"] == kind).to_numpy(dtype=bool)
        counts = {
            "ok_per_s": np.bincount(bucket[of_kind & is_ok], minlength=buckets),
            "not_ok_per_s": np.bincount(bucket[of_kind & ~is_ok], minlength=buckets),
        }
        rates = {name: count / (bucket_ms / 1e3) for name, count in counts.items()}
        parts.append(pd.DataFrame({"cell": cell, "at_ms": np.arange(buckets) * bucket_ms, "kind": kind} | rates))
    return pd.concat(parts, ignore_index=True)[list(RATE_COLUMNS)]
