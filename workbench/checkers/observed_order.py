"""Monotonic writes and writes follow reads where no positions are known: by the order in which values were seen.

Whoever reads both of two values must not see the later one first. A session that read the value b of a key, and then a,
went back; it says something about the *writer* of b, too, if that session

- had written a, acknowledged, before it invoked b: then its writes were seen out of order (`monotonic_writes`);
- had read a before it invoked b: then its write was seen before what it followed (`writes_follow_reads`).

Where positions are known they say it directly, and `sessions` judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from workbench.checkers.verdict import Verdict
from workbench.checkers.versions import Version, Versions, sees, versions_of, writes
from workbench.history_operations import OPEN, Operation, tell

WITNESSES_MAX: Final = 3

_BOTH: Final = ("monotonic_writes", "writes_follow_reads")


class _Seen(NamedTuple):
    """Of one writer the value that was written last among those that a session has read, and the read."""

    version: Version
    read: Operation


class _Tally:
    def __init__(self) -> None:
        self.checked = self.violations = 0
        self.witness: list[dict[str, Any]] = []

    def add(self, now: Operation, back: _Seen | None) -> None:
        """Count a read that could have gone back; `back`: behind what, if it did."""
        self.checked += 1
        if back is None:
            return
        self.violations += 1
        if len(self.witness) < WITNESSES_MAX and back.version.write is not None:
            words = f"session {now.session}: {tell(back.read)}, then {tell(now)}; yet {tell(back.version.write)}"
            self.witness.append(
                {
                    "words": f"{words}, which came after it",
                    "cell": now.cell,
                    "key": now.key,
                    "session": back.version.write.session,
                    "operation": now.number,
                    "earlier_operation": back.read.number,
                    "write_operation": back.version.write.number,
                }
            )

    def verdict(self, problem: str) -> Verdict:
        counts = {"checked": self.checked, "violations": self.violations}
        if problem or not self.checked:
            return Verdict("unknown", problem or "nobody read two values that one session ordered", (), counts)
        if self.violations:
            reason = (
                f"{self.violations} of {self.checked} reads saw them the other way round: {self.witness[0]['words']}"
            )
            return Verdict("invalid", reason, tuple(self.witness), counts)
        return Verdict("valid", f"none of {self.checked} reads saw them the other way round", (), counts)


def observed_order(operations: Sequence[Operation]) -> dict[str, Verdict]:
    """`monotonic_writes` and `writes_follow_reads` -> verdict, for a history whose values are unique for each key."""
    versions = versions_of(operations)
    tallies = {name: _Tally() for name in _BOTH}
    if not versions.problem:
        _walk(operations, versions, tallies)
    return {name: tally.verdict(versions.problem) for name, tally in tallies.items()}


def _walk(operations: Sequence[Operation], versions: Versions, tallies: Mapping[str, _Tally]) -> None:
    readers = _readers(operations, versions)
    events = [(one.begin, 0, at) for at, one in enumerate(operations) if sees(one)]
    events += [(one.end, 1, at) for at, one in enumerate(operations) if sees(one)]
    seen: dict[tuple[str, int, str], dict[int, _Seen]] = {}
    at_begin: dict[int, dict[int, _Seen]] = {}
    for _, kind, at in sorted(events):
        one = operations[at]
        group = (one.cell, one.session, one.key)
        if kind == 0:
            at_begin[at] = seen.get(group, {})
            continue
        version = versions.read(one)
        known = at_begin.pop(at)
        if version is None or version.write is None:
            continue
        write = version.write
        if write.session in known and known[write.session].version.write is not write:
            latest = known[write.session]
            tallies["monotonic_writes"].add(one, latest if _begin(latest) > write.end else None)
        concerned = [(known[writer], since) for writer, since in readers[write.number].items() if writer in known]
        if concerned:
            back = [latest for latest, since in concerned if _begin(latest) > since]
            tallies["writes_follow_reads"].add(one, back[0] if back else None)
        mine = seen.get(group, {})
        if write.session not in mine or _begin(mine[write.session]) < write.begin:
            seen[group] = {**mine, write.session: _Seen(version, one)}


def _begin(seen: _Seen) -> int:
    return OPEN if seen.version.write is None else seen.version.write.begin


def _readers(operations: Sequence[Operation], versions: Versions) -> dict[int, dict[int, int]]:
    """Number of a write -> session that read it and wrote the key later -> place at which it had first read it."""
    readers: dict[int, dict[int, int]] = {}
    last = {(one.cell, one.session, one.key): one.begin for one in operations if writes(one)}
    for one in operations:
        version = versions.read(one) if sees(one) else None
        if version is not None and version.write is not None:
            of = readers.setdefault(version.write.number, {})
            if one.end < last.get((one.cell, one.session, one.key), -1):
                of[one.session] = min(one.end, of.get(one.session, OPEN))
    return readers
