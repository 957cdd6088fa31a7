"""Acknowledged writes that the final contents lack.

A key holds one value, so a write is lost if its key ended with a definitely older value (see `order`), or absent. It
is also lost if the key ended with an entry of a later term at the same or a lower index: no log can hold both. A
write that a later one overwrote, or may have, is not lost. Values of writes in doubt may be there or not.

Judges one cell at a time, since positions of different clusters do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from workbench.checkers.order import (
    ABSENT,
    NEVER,
    UNEXPLAINED,
    Booleans,
    Integers,
    Writes,
    duplicated_value,
    find_writes,
    groups_of,
    writes_of,
)
from workbench.checkers.verdict import Verdict

WITNESSES_MAX: Final = 5

FinalContents = Mapping[str, Mapping[str, int]]
"""Replica -> key -> value, complete: a key that is not there was absent."""

LOST_COLUMNS: Final = ["operation", "session", "key", "value", "term", "index", "completed_ns", "found", "replicas"]


@dataclass(frozen=True, slots=True)
class LostWrites:
    """`lost`: one row an acknowledged write that at least one replica lacks, with what `found` there in its place
    (on the first of `replicas`, a comma-separated list; missing: the key was absent)."""

    lost: pd.DataFrame
    verdict: Verdict


def lost_writes(
    operations: pd.DataFrame, final: FinalContents, *, initial: Mapping[str, int] | None = None
) -> LostWrites:
    """Compare one cell's table of operations with what each replica held at the end.

    `initial`: key -> the value it held before the load. Raises `ValueError` for operations of several cells.
    """
    if operations["cell"].nunique() > 1:
        raise ValueError("lost_writes judges one cell at a time")
    operations = operations.reset_index(drop=True)
    groups = groups_of(operations)
    writes = writes_of(operations, groups)
    acknowledged = np.flatnonzero(writes.acknowledged < NEVER)
    counts: dict[str, int | float] = {"acknowledged_writes": len(acknowledged), "replicas": len(final)}
    nothing = pd.DataFrame(columns=LOST_COLUMNS)
    if problem := duplicated_value(operations, writes) or _proves_nothing(counts):
        return LostWrites(nothing, Verdict("unknown", problem, (), counts))
    keys = dict(zip(operations["key"], groups.tolist(), strict=True))
    lost_on: dict[int, list[str]] = {}
    found: dict[int, int] = {}
    unexplained = 0
    for replica, contents in final.items():
        holds = _final_writes(writes, keys, contents, initial or {})
        unexplained += int((holds == UNEXPLAINED).sum())
        for at in acknowledged[_is_lost(writes, acknowledged, holds[writes.group[acknowledged]])].tolist():
            lost_on.setdefault(at, []).append(replica)
            found.setdefault(at, int(holds[writes.group[at]]))
    lost = _lost_table(operations, writes, lost_on, found)
    counts |= {"lost_acknowledged_writes": len(lost), "unexplained_values": unexplained}
    return LostWrites(lost, _verdict(lost, counts))


def _final_writes(
    writes: Writes, keys: Mapping[str, int], contents: Mapping[str, int], initial: Mapping[str, int]
) -> Integers:
    """For each group the write whose value the replica holds, or ABSENT (also for an initial value) or UNEXPLAINED."""
    holds = np.full(len(keys), ABSENT, dtype=np.int64)
    present = [(group, contents[key], initial.get(key)) for key, group in keys.items() if key in contents]
    if present:
        group = np.array([item[0] for item in present], dtype=np.int64)
        source = find_writes(writes, group, np.array([item[1] for item in present], dtype=np.int64))
        is_initial = np.array([value == before for _, value, before in present], dtype=bool)
        holds[group] = np.where(is_initial & (source == UNEXPLAINED), ABSENT, source)
    return holds


def _is_lost(writes: Writes, write: Integers, holds: Integers) -> Booleans:
    judged = holds != UNEXPLAINED
    held = np.maximum(holds, 0)
    both_placed = (holds >= 0) & (writes.place[held] > 0) & (writes.place[write] > 0)
    dropped = both_placed & (writes.term[held] > writes.term[write]) & (writes.index[held] <= writes.index[write])
    lost: Booleans = judged & (writes.definitely_older(holds, write) | dropped)
    return lost


def _lost_table(
    operations: pd.DataFrame, writes: Writes, lost_on: Mapping[int, list[str]], found: Mapping[int, int]
) -> pd.DataFrame:
    chosen = sorted(lost_on)
    lost = operations.iloc[writes.row[np.array(chosen, dtype=np.int64)]][LOST_COLUMNS[:-2]].reset_index(drop=True)
    values = [None if found[at] == ABSENT else int(writes.value[found[at]]) for at in chosen]
    lost["found"] = pd.array(values, dtype="Int64")
    lost["replicas"] = pd.array([",".join(lost_on[at]) for at in chosen], dtype="str")
    return lost


def _verdict(lost: pd.DataFrame, counts: Mapping[str, int | float]) -> Verdict:
    if len(lost):
        rows = lost.head(WITNESSES_MAX).astype(object)
        records = rows.where(rows.notna(), None).to_dict(orient="records")
        witness = tuple({str(name): value for name, value in record.items()} for record in records)
        reason = f"{len(lost)} of {counts['acknowledged_writes']} acknowledged writes are lost"
        return Verdict("invalid", reason, witness, counts)
    if counts["unexplained_values"]:
        return Verdict("unknown", f"{counts['unexplained_values']} final values are explained by no write", (), counts)
    return Verdict("valid", f"none of {counts['acknowledged_writes']} acknowledged writes is lost", (), counts)


def _proves_nothing(counts: Mapping[str, int | float]) -> str:
    if not counts["replicas"]:
        return "no final contents were given"
    return "" if counts["acknowledged_writes"] else "no write was acknowledged"
