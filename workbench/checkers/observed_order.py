"""Monotonic writes and writes follow reads where no positions are known: by the order in which values were seen.

Whoever reads both of two values must not see the later one first. A session that read the value b of a key, and then a,
went back; it says something about the *writer* of b, too, if that session

- had written a, acknowledged, before it invoked b: then its writes were seen out of order (`monotonic_writes`);
- had read a before it invoked b: then its write was seen before what it followed (`writes_follow_reads`).

A read counts as checked if its session had read another value of such a writer before. Where positions are known they
say it directly, and `sessions` judges them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from workbench.checkers.order import (
    NEVER,
    UNEXPLAINED,
    Booleans,
    Integers,
    Line,
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
from workbench.checkers.sessions import tell_row
from workbench.checkers.verdict import Verdict

WITNESSES_MAX: Final = 3

_BOTH: Final = ("monotonic_writes", "writes_follow_reads")
_QUESTIONS_MAX: Final = 1 << 21
"""Pairs of a read and a writer that are asked about at once: some hundred megabytes."""

Marks: TypeAlias = tuple[Booleans, Booleans]
"""Of each read, whether it was checked and whether it went back."""


@dataclass(frozen=True, slots=True)
class _Reads:
    """Reads that returned the value of a write, as arrays of one length."""

    row: Integers
    write: Integers
    session: Integers
    """The session and cell that read, as a number."""
    seen: Integers
    """The session, cell and key that read, as a number."""
    invoked: Integers
    completed: Integers


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of each writer by each session and key: a group, numbered."""

    codes: Integers
    span: int
    line: Line
    """The values read, by when they were written, known since they were read."""
    first: Integers
    """Of each group, when the first value had been read."""

    def group(self, seen: Integers, writer: Integers) -> Integers:
        """The group of a session and key, and a writer; -1 if there is none."""
        code = seen * self.span + writer
        at = places_in(self.codes, code)
        found = np.minimum(at, max(len(self.codes) - 1, 0))
        is_there = (at < len(self.codes)) & (self.codes[found] == code) if len(self.codes) else np.zeros(len(at), bool)
        return np.where(is_there, found, -1)


def observed_order(
    operations: pd.DataFrame,
    *,
    initial: Mapping[str, int] | None = None,
    lost: Collection[tuple[str, str, int]] = (),
    labels: Mapping[int, str] | None = None,
) -> dict[str, Verdict]:
    """`monotonic_writes` and `writes_follow_reads` -> verdict, for a table whose values are unique for each key.

    Arguments as for `session_guarantees`.
    """
    operations = operations.reset_index(drop=True)
    groups = groups_of(operations)
    writes = writes_of(operations, groups)
    if problem := duplicated_value(operations, writes):
        nothing = {"checked": 0, "violations": 0}
        return {name: Verdict("unknown", problem, (), nothing) for name in _BOTH}
    sessions = np.asarray(operations.groupby(["cell", "session"], sort=False).ngroup(), dtype=np.int64)
    reads = _reads(operations, groups, sessions, writes, initial or {}, lost)
    writer = sessions[writes.row]
    seen = _seen(reads, writes, writer)
    found = {
        "monotonic_writes": _own(reads, writes, writer, seen),
        "writes_follow_reads": _followed(reads, writes, writer, seen),
    }
    witnesses = _Witnesses(operations, reads, writes, writer, labels or {})
    return {name: _verdict(name, marks, reads, witnesses) for name, marks in found.items()}


def _reads(
    operations: pd.DataFrame,
    groups: Integers,
    sessions: Integers,
    writes: Writes,
    initial: Mapping[str, int],
    lost: Collection[tuple[str, str, int]],
) -> _Reads:
    is_ok = (operations["outcome"] == "ok").to_numpy(dtype=bool) & (operations["kind"] == "read").to_numpy(dtype=bool)
    row = np.flatnonzero(is_ok)
    reads = operations.iloc[row]
    write = sources_of(reads, writes, groups[row], initial)
    is_lost = np.append(listed(operations, writes, lost), [False, False])  # at the places of ABSENT and UNEXPLAINED
    kept = (write >= 0) & ~is_lost[np.maximum(write, UNEXPLAINED)]
    row, write = row[kept], write[kept]
    seen = sessions[row] * (int(groups.max(initial=0)) + 1) + groups[row]
    names = sorted_unique(seen)
    return _Reads(
        row, write, sessions[row], places_in(names, seen), times(reads, "invoked_ns")[kept],
        times(reads, "completed_ns")[kept],
    )  # fmt: skip


def _seen(reads: _Reads, writes: Writes, writer: Integers) -> _Seen:
    span = int(writer.max(initial=0)) + 1
    code = reads.seen * span + writer[reads.write]
    codes = sorted_unique(code)
    group = places_in(codes, code)
    first = np.full(len(codes), NEVER, dtype=np.int64)
    np.minimum.at(first, group, reads.completed)
    return _Seen(codes, span, Line(group, writes.invoked[reads.write], reads.completed), first)


def _own(reads: _Reads, writes: Writes, writer: Integers, seen: _Seen) -> Marks:
    """Whether a later value of the same writer had been read before."""
    group = seen.group(reads.seen, writer[reads.write])
    back = seen.line.earliest(group, writes.acknowledged[reads.write]) < reads.invoked
    return _first_other(reads, group, len(seen.codes)) < reads.invoked, back


def _first_other(reads: _Reads, group: Integers, groups: int) -> Integers:
    """When a value other than its own had first been read in the group of each read."""
    along = np.lexsort((reads.completed, group))
    starts = np.searchsorted(group[along], np.arange(groups))
    best = reads.write[along][starts] if len(along) else np.zeros(0, dtype=np.int64)
    first = np.full(groups, NEVER, dtype=np.int64)
    np.minimum.at(first, group, reads.completed)
    second = np.full(groups, NEVER, dtype=np.int64)
    differs = reads.write != best[group]
    np.minimum.at(second, group[differs], reads.completed[differs])
    return np.where(differs, first[group], second[group])


def _followed(reads: _Reads, writes: Writes, writer: Integers, seen: _Seen) -> Marks:
    """Whether a value had been read before whose writer had read this one before it wrote."""
    checked, back = np.zeros(len(reads.row), dtype=bool), np.zeros(len(reads.row), dtype=bool)
    write, session, since = _followers(reads, writes, writer)
    starts = np.searchsorted(write, np.arange(len(writes) + 1))
    of_read = (starts[1:] - starts[:-1])[reads.write]
    for part in _parts(of_read):
        counts = of_read[part]
        read = np.repeat(np.arange(part.start, part.stop), counts)
        place = np.arange(len(read)) - np.repeat(np.cumsum(counts) - counts, counts)
        follower = starts[reads.write[read]] + place
        group = seen.group(reads.seen[read], session[follower])
        there = np.flatnonzero(group >= 0)
        read, follower, group = read[there], follower[there], group[there]
        invoked = reads.invoked[read]
        checked[read[seen.first[group] < invoked]] = True
        back[read[seen.line.earliest(group, since[follower]) < invoked]] = True
    return checked, back


def _followers(reads: _Reads, writes: Writes, writer: Integers) -> tuple[Integers, Integers, Integers]:
    """(write, session that read it and wrote its key later, when it had first read it), in the order of the writes."""
    span = int(max(writer.max(initial=0), reads.session.max(initial=0))) + 1
    code = reads.write * span + reads.session
    codes = sorted_unique(code)
    since = np.full(len(codes), NEVER, dtype=np.int64)
    np.minimum.at(since, places_in(codes, code), reads.completed)
    write, session = codes // span, codes % span
    # When each session invoked its last write of a key.
    own = writes.group * span + writer
    owns = sorted_unique(own)
    last = np.full(len(owns) + 1, -NEVER, dtype=np.int64)
    np.maximum.at(last, places_in(owns, own), writes.invoked)
    wanted = writes.group[write] * span + session
    at = places_in(owns, wanted)
    has_written = (at < len(owns)) & (np.append(owns, -1)[at] == wanted)
    kept = has_written & (since < last[at])
    return write[kept], session[kept], since[kept]


def _parts(counts: Integers) -> Iterator[slice]:
    """Slices whose counts add up to a bounded number, or that hold one."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + _QUESTIONS_MAX, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


class _Witnesses:
    """Two reads and a write that show it, in words."""

    def __init__(
        self, operations: pd.DataFrame, reads: _Reads, writes: Writes, writer: Integers, labels: Mapping[int, str]
    ) -> None:
        self.operations = operations
        self.reads = reads
        self.writes = writes
        self.writer = writer
        self.labels = labels

    def find(self, name: str, now: int) -> dict[str, Any]:
        """For the read at `now`, the last one before it that it went back behind."""
        reads, writes = self.reads, self.writes
        old = reads.write[now]
        earlier = np.flatnonzero((reads.seen == reads.seen[now]) & (reads.completed < reads.invoked[now]))
        newer = reads.write[earlier]
        if name == "monotonic_writes":
            later = (self.writer[newer] == self.writer[old]) & (writes.acknowledged[old] < writes.invoked[newer])
        else:
            later = self._first_read(old, newer) < writes.invoked[newer]
        before = earlier[later][np.argmax(reads.completed[earlier[later]])]
        return self._row(name, now, int(before))

    def _first_read(self, old: int, newer: Integers) -> Integers:
        """When the writer of each of `newer` had first read `old`."""
        reads = self.reads
        of_old = np.flatnonzero(reads.write == old)
        first = np.full(len(newer), NEVER, dtype=np.int64)
        for at, session in enumerate(self.writer[newer].tolist()):
            own = of_old[reads.session[of_old] == session]
            first[at] = reads.completed[own].min(initial=NEVER)
        return first

    def _row(self, name: str, now: int, before: int) -> dict[str, Any]:
        first, second = (self.operations.iloc[self.reads.row[at]] for at in (before, now))
        write = self.operations.iloc[self.writes.row[self.reads.write[before]]]
        did = "written" if name == "monotonic_writes" else "read"
        told = [tell_row(row, self.labels) for row in (first, second, write)]
        older = tell_row(second, self.labels, only_value=True)
        back = f"session {second['session']} {told[0]}, then {told[1]}"
        return {
            "words": f"{back}; yet session {write['session']} {told[2]} after it had {did} {older}",
            "cell": second["cell"],
            "key": second["key"],
            "session": int(write["session"]),
            "reading_session": int(second["session"]),
            "operation": int(second["operation"]),
            "earlier_operation": int(first["operation"]),
            "write_operation": int(write["operation"]),
        }


def _verdict(name: str, marks: Marks, reads: _Reads, witnesses: _Witnesses) -> Verdict:
    checked, back = marks
    counts = {"checked": int(checked.sum()), "violations": int(back.sum())}
    if not counts["checked"]:
        return Verdict("unknown", "nobody read two values that one session ordered", (), counts)
    if counts["violations"]:
        first = np.flatnonzero(back)
        first = first[np.argsort(reads.invoked[first], kind="stable")][:WITNESSES_MAX]
        witness = tuple(witnesses.find(name, int(at)) for at in first)
        share = f"{counts['violations']} of {counts['checked']} reads saw them the other way round"
        return Verdict("invalid", f"{share}: {witness[0]['words']}", witness, counts)
    return Verdict("valid", f"none of {counts['checked']} reads saw them the other way round", (), counts)
