"""Whether the acknowledged writes that are lost are those that rewinds wrote down. Two accounts, made independently.

The clients' account: acknowledged writes that are absent from what the replicas hold at the end (`appends.py`). The
replicas' account: acknowledged writes among those that stand in the files of `rollback/`, less those that took effect
again, since they are in the log at the end. A retried write may have been dropped with one leader and have taken effect
with the next.

Writes are told apart by (identifier, sequence), as the replicas do it: the same write may stand in several files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from workbench.checkers.verdict import Verdict
from workbench.errors import HistoryError

WriteName: TypeAlias = tuple[int, int]
"""(identifier of the session, sequence): how replicas name a write."""

WITNESSES_MAX = 5


@dataclass(frozen=True, slots=True)
class DroppedEntry:
    """One entry that a rewind of `replica` dropped, as the file says; `writes` are those that it was made of."""

    replica: str
    file: str
    term: int
    index: int
    writes: tuple[WriteName, ...]


def read_rollbacks(paths: Iterable[Path]) -> list[DroppedEntry]:
    """Every entry of files in `rollback/`. Raises `HistoryError` for a line that is none."""
    return [_entry(path, number, line) for path in paths for number, line in enumerate(_lines(path), start=1)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"cannot read {path}: {error}") from error


def _entry(path: Path, number: int, line: str) -> DroppedEntry:
    folder = path.parent
    replica = folder.parent.name if folder.name == "rollback" else folder.name
    try:
        row = json.loads(line)
        writes = tuple((int(member["session"]), int(member["sequence"])) for member in row["transactions"])
        return DroppedEntry(replica, path.name, int(row["term"]), int(row["index"]), writes)
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path}, line {number}: not an entry of a rewind: {error!r}") from error


def rolled_back_values(operations: pd.DataFrame, dropped: Iterable[DroppedEntry]) -> set[tuple[str, str, int]]:
    """(cell, key, value) of the writes that rewinds dropped for good, for `staleness` and `session_guarantees`.

    A retried write may have been dropped with one leader and have taken effect with the next: then the position that
    was acknowledged is none that was dropped. Where no position is known, what stands in a file counts as dropped.
    """
    places: dict[WriteName, set[tuple[int, int]]] = {}
    for entry in dropped:
        for name in entry.writes:
            places.setdefault(name, set()).add((entry.term, entry.index))
    writes = operations[(operations["kind"] == "write") & (operations["outcome"] != "fail")]
    columns = ("cell", "key", "value", "identifier", "sequence", "term", "index")
    return {
        (cell, key, int(value))
        for cell, key, value, identifier, sequence, term, index in zip(*(writes[name] for name in columns), strict=True)
        if (at := places.get((identifier, sequence))) is not None and (not index or (term, index) in at)
    }


@dataclass(frozen=True, slots=True)
class Losses:
    """Both accounts. `writes`: one row an acknowledged write that either of them names, with `lost` (the clients'),
    `dropped` (it stands in a file) and `took_effect_again`; columns as in `Appends.writes` besides."""

    writes: pd.DataFrame
    counts: dict[str, int | float]

    @property
    def verdict(self) -> Verdict:
        """Valid if both accounts name the same writes; unknown if neither names any."""
        accounted = self.writes["dropped"] & ~self.writes["took_effect_again"]
        wrong = self.writes[self.writes["lost"] != accounted]
        lost = self.counts["lost_acknowledged_writes"]
        if len(wrong):
            rows = wrong.head(WITNESSES_MAX).astype(object)
            witness: Iterable[dict[str, Any]] = rows.where(rows.notna(), None).to_dict(orient="records")
            reason = (
                f"{lost} acknowledged writes are lost by the clients' account, {self.counts['accounted_writes']} by the"
                f" files of rewinds; {len(wrong)} stand in one account only"
            )
            return Verdict("invalid", reason, tuple(witness), self.counts)
        if not lost:
            return Verdict("unknown", "no acknowledged write was lost, by either account", (), self.counts)
        return Verdict("valid", f"all {lost} acknowledged writes that are lost stand in rollback/", (), self.counts)


def losses(writes: pd.DataFrame, dropped: Iterable[DroppedEntry], kept: Set[WriteName]) -> Losses:
    """Compare the accounts. `writes`: `Appends.writes` of one cell; `kept`: the writes in the log at the end.

    Writes that the table does not know, such as those that made it, belong to nobody's account.
    """
    entries = list(dropped)
    names = pd.Series(list(zip(writes["identifier"].tolist(), writes["sequence"].tolist(), strict=True)), dtype=object)
    in_files = {write for entry in entries for write in entry.writes}
    table = writes.reset_index(drop=True)
    table = table.assign(
        dropped=names.isin(in_files).to_numpy(dtype=bool),
        took_effect_again=names.isin(kept).to_numpy(dtype=bool),
    )
    acknowledged = table["outcome"] == "ok"
    either = table[acknowledged & (table["lost"] | table["dropped"])].reset_index(drop=True)
    accounted = either["dropped"] & ~either["took_effect_again"]
    counts: dict[str, int | float] = {
        "acknowledged_writes": int(acknowledged.sum()),
        "lost_acknowledged_writes": int(either["lost"].sum()),
        "acknowledged_writes_in_rollback": int(either["dropped"].sum()),
        "took_effect_again": int((either["dropped"] & either["took_effect_again"]).sum()),
        "accounted_writes": int(accounted.sum()),
        "entries_dropped": len({(entry.term, entry.index) for entry in entries}),
        "rewinds": len({(entry.replica, entry.file) for entry in entries}),
    }
    return Losses(either, counts)
