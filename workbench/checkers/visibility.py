"""How soon writes are seen, and who steps back: further figures on the reads that `staleness` has judged.

t-visibility: of the reads that began t after the last acknowledgement of a write to their key, the share that returned
that write or a newer one. Bands are Wilson intervals of each bin, which take reads for independent.

A pair of reads of one key is non-monotonic if the second, begun after the first had ended, returned a definitely older
value (see `order`). Pairs of one session are what monotonic reads forbid; pairs of one replica say that its database
itself went back, as a rewind does: between replicas of different lag, only sessions see steps back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from workbench.checkers.order import (
    ABSENT,
    NEVER,
    UNEXPLAINED,
    Newer,
    Sources,
    Writes,
    groups_of,
    listed,
    places_in,
    sorted_unique,
    sources_of,
    times,
    writes_of,
)
from workbench.metrics.intervals import proportion_interval

BINS: Final = 20


def visibility(reads: pd.DataFrame, *by: str, bins: int = BINS) -> pd.DataFrame:
    """t-visibility curves of `Staleness.reads`, by default one a cell, in bins of about equally many reads.

    Columns: the keys, `since_write_ms_from`, `_to` and `since_write_ms` (mean), `reads`, `fresh_reads`, `fresh_rate`,
    `fresh_rate_low` and `fresh_rate_high`. Reads of keys without an acknowledged write are in no bin.
    """
    keys = list(by or ("cell",))
    of_writes = reads[reads["judged"] & reads["since_write_ms"].notna()]
    rows: list[dict[str, Any]] = []
    for names, group in of_writes.groupby(keys, sort=True):
        since = group["since_write_ms"].to_numpy(dtype=float)
        fresh = ~group["stale_acknowledged"].to_numpy(dtype=bool)
        for part in np.array_split(np.argsort(since, kind="stable"), min(bins, len(since))):
            low, high = proportion_interval(int(fresh[part].sum()), len(part))
            rows.append(
                dict(zip(keys, names, strict=True))
                | {
                    "since_write_ms_from": float(since[part[0]]),
                    "since_write_ms_to": float(since[part[-1]]),
                    "since_write_ms": float(since[part].mean()),
                    "reads": len(part),
                    "fresh_reads": int(fresh[part].sum()),
                    "fresh_rate": float(fresh[part].mean()),
                    "fresh_rate_low": low,
                    "fresh_rate_high": high,
                }
            )
    ends = [f"since_write_ms{end}" for end in ("_from", "_to", "")]
    rates = [f"fresh_rate{end}" for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*keys, *ends, "reads", "fresh_reads", *rates])


def non_monotonic(
    operations: pd.DataFrame,
    by: Literal["session", "replica"],
    *,
    initial: Mapping[str, int] | None = None,
    lost: Collection[tuple[str, str, int]] = (),
) -> pd.DataFrame:
    """One row a cell and session (or replica): `reads` that had one before, `non_monotonic_reads`, their rate with its
    interval. `initial` and `lost` as for `staleness`; values must be unique for their key."""
    operations = operations.reset_index(drop=True)
    groups = groups_of(operations)
    writes = writes_of(operations, groups)
    is_read = (operations["kind"] == "read").to_numpy(dtype=bool) & (operations["outcome"] == "ok").to_numpy(dtype=bool)
    row = np.flatnonzero(is_read)
    reads = operations.iloc[row]
    source = sources_of(reads, writes, groups[row], initial or {})
    is_lost = np.append(listed(operations, writes, lost), [False, False])  # at the places of ABSENT and UNEXPLAINED
    judged = (source != UNEXPLAINED) & ~is_lost[source]
    return steps_back(reads[judged], Sources(writes, groups[row][judged], source[judged]), by)


def steps_back(reads: pd.DataFrame, sources: Sources, by: Literal["session", "replica"]) -> pd.DataFrame:
    """`non_monotonic` of reads whose sources are known; all of them count."""
    names, _ = pd.factorize(reads[by])
    pairs = sources.group * (int(names.max(initial=0)) + 1) + names
    pairs = places_in(sorted_unique(pairs), pairs)
    invoked = times(reads, "invoked_ns")
    newer = Newer(*_returned(sources.writes, sources.write, pairs, times(reads, "completed_ns")))
    could = newer.first_known(np.full(len(reads), ABSENT, dtype=np.int64), pairs) < invoked
    back = newer.first_known(sources.write, pairs) < invoked
    counts = reads.loc[could, ["cell", by]].assign(back=back[could]).groupby(["cell", by], sort=True)["back"]
    rows = []
    for (cell, name), count, all_reads in zip(counts.groups, counts.sum(), counts.count(), strict=True):
        low, high = proportion_interval(int(count), int(all_reads))
        figures = {"reads": int(all_reads), "non_monotonic_reads": int(count), "non_monotonic_rate": count / all_reads}
        interval = {"non_monotonic_rate_low": low, "non_monotonic_rate_high": high}
        rows.append({"cell": cell, by: name} | figures | interval)
    rates = [f"non_monotonic_rate{end}" for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["cell", by, "reads", "non_monotonic_reads", *rates])


def _returned(writes: Writes, source: Any, pairs: Any, completed: Any) -> tuple[Writes, Any]:
    """What was returned, as writes known to their pair's group since then, behind the writes themselves, known to none.

    So a number of a write means the same as in `writes`.
    """
    real = source >= 0
    arrays = {name: getattr(writes, name) for name in Writes.__slots__}
    seen = {name: np.concatenate((array, array[source[real]])) for name, array in arrays.items()}
    seen["group"] = np.concatenate((np.full(len(writes), -1, dtype=np.int64), pairs[real]))
    known = np.concatenate((np.full(len(writes), NEVER, dtype=np.int64), completed[real]))
    return Writes(**seen), known
