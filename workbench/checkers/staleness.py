"""How many reads returned the past: both staleness figures, and for each stale read how old its value was.

A value is known once it was acknowledged, or once a completed read has returned it. A read is stale if a definitely
newer write (see `order`) was known before the read was invoked:
- `stale_acknowledged` takes only acknowledgements: zero under sync + applied with any read policy;
- `stale` also takes completed reads: can exceed zero there, since a follower applies before the acknowledgement.

What could be fresh is never counted as stale: concurrent writes without positions are unordered, a write in doubt
may have happened at any time after its invocation. Without reads that could have been stale the result is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.checkers.order import (
    ABSENT,
    NEVER,
    UNEXPLAINED,
    Booleans,
    Integers,
    Newer,
    Sources,
    Writes,
    duplicated_value,
    groups_of,
    listed,
    places_in,
    sorted_unique,
    sources_of,
    times,
    writes_of,
)
from workbench.checkers.verdict import Verdict
from workbench.metrics.intervals import percentile, proportion_interval

WITNESSES_MAX: Final = 3

FIGURES: Final = {"stale_rate_acknowledged": "stale_acknowledged", "stale_rate": "stale"}
"""Figure -> the column of `Staleness.reads` that it is the mean of."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """What `staleness` found. `problem` says why nothing could be judged; the tables are then without marks.

    `reads` has one row an `ok` read: operation, cell, session, replica, key, value, times; `judged` (False for
    values that no write explains or that a rewind dropped: `unexplained`, `rolled_back`); `since_write_ms` (from the
    last acknowledgement of a write to its key before it was invoked; nan if there was none); `at_risk` (a write to its
    key was known before it was invoked, so it could have been stale); `stale_acknowledged`, `stale`; and how old the
    value was by either knowledge, `age_acknowledged_ms`, `age_ms` (since when a newer one was known; nan if not
    stale) and `versions_acknowledged`, `versions` (how many newer ones were known; 0 if not stale).
    """

    reads: pd.DataFrame
    operations: pd.DataFrame
    writes: int
    acknowledged_writes: int
    problem: str = ""
    sources: Sources | None = field(default=None, repr=False, compare=False)
    """Of `reads`, for what else is asked about them; None with a problem."""

    def summary(self, *by: str) -> pd.DataFrame:
        """One row a group, by default a cell: counts, both rates with 95 % intervals, ages in ms and versions."""
        keys = list(by or ("cell",))
        rows = []
        for names, reads in self.reads.groupby(keys, sort=True):
            rows.append(dict(zip(keys, names, strict=True)) | _summary(reads[reads["judged"]], self.problem))
        return pd.DataFrame(rows, columns=[*keys, *_summary(self.reads.iloc[:0], "")])

    def by_replica(self) -> pd.DataFrame:
        """`summary` by cell and the replica that answered."""
        return self.summary("cell", "replica")

    def rate(self, figure: str = "stale_rate", cell: str | None = None) -> float:
        """One figure, over all cells or of one; nan if it is unknown."""
        reads = self.reads[self.reads["judged"]]
        reads = reads if cell is None else reads[reads["cell"] == cell]
        return float(_summary(reads, self.problem)[figure])

    def verdict(self, figure: str = "stale_rate_acknowledged", cell: str | None = None) -> Verdict:
        """Valid: no read was stale, and some could have been. Invalid: some were, with the first as witnesses."""
        reads = self.reads if cell is None else self.reads[self.reads["cell"] == cell]
        judged = reads[reads["judged"]]
        stale = judged[judged[FIGURES[figure]]]
        counts = {
            "reads": len(judged),
            "reads_at_risk": int(judged["at_risk"].sum()),
            "stale_reads_acknowledged": int(judged["stale_acknowledged"].sum()),
            "stale_reads": int(judged["stale"].sum()),
            "unexplained_reads": int(reads["unexplained"].sum()),
            "rolled_back_reads": int(reads["rolled_back"].sum()),
        }
        if reason := self.problem or _proves_nothing(counts, self.acknowledged_writes):
            return Verdict("unknown", reason, (), counts)
        if len(stale):
            first = stale.sort_values("invoked_ns").head(WITNESSES_MAX)
            witness = tuple(self._witness(row) for row in first.to_dict(orient="records"))
            return Verdict("invalid", f"{len(stale)} of {len(judged)} reads were stale", witness, counts)
        if counts["unexplained_reads"]:
            reason = f"{counts['unexplained_reads']} reads returned values that no write explains"
            return Verdict("unknown", reason, (), counts)
        return Verdict("valid", f"none of {len(judged)} reads was stale", (), counts)

    def _witness(self, read: Mapping[Any, Any]) -> dict[str, Any]:
        """The stale read, and of the definitely newer writes known before it the one that was invoked last."""
        table = self.operations[(self.operations["cell"] == read["cell"]) & (self.operations["key"] == read["key"])]
        group = np.zeros(len(table), dtype=np.int64)
        writes = writes_of(table, group)
        ok_reads = table[(table["kind"] == "read") & (table["outcome"] == "ok")]
        source = sources_of(ok_reads, writes, group[: len(ok_reads)], {})
        known = _known(writes, source, times(ok_reads, "completed_ns"))
        of_read = source[(ok_reads["operation"] == read["operation"]).to_numpy()]
        old = np.where(of_read == UNEXPLAINED, ABSENT, of_read)  # an initial value, or it would not have been judged
        newer = writes.definitely_older(np.repeat(old, len(writes)), np.arange(len(writes)))
        missed = np.flatnonzero(newer & (known < read["invoked_ns"]))
        best = missed[np.argmax(writes.invoked[missed])]
        write = table.iloc[int(writes.row[best])]
        return {
            "read_operation": int(read["operation"]),
            "cell": read["cell"],
            "key": read["key"],
            "replica": read["replica"],
            "read_value": None if pd.isna(read["value"]) else int(read["value"]),
            "read_invoked_ns": int(read["invoked_ns"]),
            "newer_operation": int(write["operation"]),
            "newer_value": int(write["value"]),
            "newer_known_ns": int(known[best]),
            "age_ms": float(read["age_ms"]),
            "versions": int(read["versions"]),
        }


def staleness(
    operations: pd.DataFrame,
    *,
    initial: Mapping[str, int] | None = None,
    lost: Collection[tuple[str, str, int]] = (),
) -> Staleness:
    """Judge every `ok` read of a table of operations.

    `initial`: key -> the value it held before the load, older than any write. `lost`: (cell, key, value) of writes
    that a rewind dropped: they make no read stale, and reads of them count as rolled back.
    """
    operations = operations.reset_index(drop=True)
    groups = groups_of(operations)
    writes = writes_of(operations, groups)
    row = np.flatnonzero((operations["kind"] == "read").to_numpy() & (operations["outcome"] == "ok").to_numpy())
    reads = operations.loc[
        row, ["operation", "cell", "session", "replica", "key", "value", "invoked_ns", "completed_ns"]
    ]
    reads = reads.reset_index(drop=True).astype({"invoked_ns": "int64", "completed_ns": "int64"})
    acknowledged = int((writes.acknowledged < NEVER).sum())
    problem = duplicated_value(operations, writes)
    if problem:
        return Staleness(_unmarked(reads), operations, len(writes), acknowledged, problem)
    group = groups[row]
    source = sources_of(reads, writes, group, initial or {})
    is_lost = listed(operations, writes, lost)
    marks = _mark(reads, group, writes, source, is_lost)
    return Staleness(marks, operations, len(writes), acknowledged, sources=Sources(writes, group, source))


def _mark(reads: pd.DataFrame, group: Integers, writes: Writes, source: Integers, is_lost: Booleans) -> pd.DataFrame:
    invoked, completed = times(reads, "invoked_ns"), times(reads, "completed_ns")
    unexplained = source == UNEXPLAINED
    rolled_back = np.zeros(len(reads), dtype=bool)
    real = source >= 0
    rolled_back[real] = is_lost[source[real]]
    judged = ~unexplained & ~rolled_back

    known_acknowledged = np.where(is_lost, NEVER, writes.acknowledged)
    known = np.where(is_lost, NEVER, _known(writes, source, completed))

    marks = reads.assign(judged=judged, unexplained=unexplained, rolled_back=rolled_back)
    absent = np.full(len(reads), ABSENT, dtype=np.int64)
    marks["since_write_ms"] = _since_acknowledgement_ms(group, writes.group, known_acknowledged, invoked)
    marks["at_risk"] = judged & (Newer(writes, known).first_known(absent, group) < invoked)
    for suffix, times_known in (("_acknowledged", known_acknowledged), ("", known)):
        stale, age_ms, versions = _ages(Newer(writes, times_known), source, group, invoked, judged)
        marks[f"stale{suffix}"], marks[f"age{suffix}_ms"], marks[f"versions{suffix}"] = stale, age_ms, versions
    return marks


def _since_acknowledgement_ms(
    group: Integers, write_group: Integers, acknowledged: Integers, invoked: Integers
) -> np.ndarray[Any, Any]:
    """From the last acknowledgement of a write to its key before each read to the read; nan where there was none."""
    done = acknowledged < NEVER
    groups, times_ns = write_group[done], acknowledged[done]
    ranked = sorted_unique(times_ns)
    span = len(ranked) + 1
    keys = groups * span + np.searchsorted(ranked, times_ns)
    order = np.argsort(keys, kind="stable")
    groups, times_ns, keys = groups[order], times_ns[order], keys[order]
    at = places_in(keys, group * span + np.searchsorted(ranked, invoked, side="left")) - 1
    found = at >= 0
    found[found] = groups[at[found]] == group[found]
    since_ms = np.full(len(group), np.nan)
    since_ms[found] = (invoked[found] - times_ns[at[found]]) / 1e6
    return since_ms


def _known(writes: Writes, source: Integers, completed: Integers) -> Integers:
    """When each write was first known: acknowledged, or returned by a completed read."""
    known = writes.acknowledged.copy()
    returned = source >= 0
    np.minimum.at(known, source[returned], completed[returned])
    return known


def _ages(
    newer: Newer, source: Integers, group: Integers, invoked: Integers, judged: Booleans
) -> tuple[Booleans, np.ndarray[Any, Any], Integers]:
    """Which reads are stale, and how old their values were in ms (nan if not stale) and versions."""
    first = np.full(len(source), NEVER, dtype=np.int64)
    first[judged] = newer.first_known(source[judged], group[judged])
    stale = first < invoked
    age_ms = np.full(len(source), np.nan)
    age_ms[stale] = (invoked[stale] - first[stale]) / 1e6
    versions = np.zeros(len(source), dtype=np.int64)
    versions[stale] = newer.count(source[stale], group[stale], invoked[stale])
    return stale, age_ms, versions


def _unmarked(reads: pd.DataFrame) -> pd.DataFrame:
    flags = dict.fromkeys(("judged", "unexplained", "rolled_back", "at_risk", "stale_acknowledged", "stale"), False)
    ages = {
        "since_write_ms": np.nan,
        "age_acknowledged_ms": np.nan,
        "age_ms": np.nan,
        "versions_acknowledged": 0,
        "versions": 0,
    }
    return reads.assign(**flags, **ages)


def _summary(reads: pd.DataFrame, problem: str) -> dict[str, Any]:
    """Counts and figures of judged reads; a figure that would prove nothing is nan."""
    at_risk = int(reads["at_risk"].sum())
    row: dict[str, Any] = {"reads": len(reads), "reads_at_risk": at_risk}
    trials = len(reads) if at_risk and not problem else 0
    for figure, column in FIGURES.items():
        stale = int(reads[column].sum())
        row[column.replace("stale", "stale_reads", 1)] = stale
        row[figure] = stale / trials if trials else np.nan
        row[f"{figure}_low"], row[f"{figure}_high"] = proportion_interval(stale if trials else 0, trials)
    ages = np.sort(reads.loc[reads["stale"], "age_ms"].to_numpy())
    row |= {f"age_ms_p{name}": percentile(ages, share) for name, share in (("50", 0.5), ("99", 0.99))}
    row["age_ms_max"] = ages[-1] if len(ages) else np.nan
    versions = reads.loc[reads["stale"], "versions"]
    row["versions_mean"] = float(versions.mean()) if len(versions) else np.nan
    row["versions_max"] = int(versions.max()) if len(versions) else 0
    return row


def _proves_nothing(counts: Mapping[str, int], acknowledged_writes: int) -> str:
    if counts["reads"] == 0:
        return "no read could be judged"
    if acknowledged_writes == 0 and counts["reads_at_risk"] == 0:
        return "no write was acknowledged"
    if counts["reads_at_risk"] == 0:
        return "no read came after a known write to its key, so none could have been stale"
    return ""
