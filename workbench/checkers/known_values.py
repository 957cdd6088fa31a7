"""What became of known values, by the reads alone: lost, stale, never read, recovered (as Jepsen's set-full asks).

A value is known from its acknowledgement on, or since a completed read returned it. A read that was invoked later and
returned an older value, or nothing, lacks it; one that returned it, or what is not certainly older, does not.

- `lost`: a read lacks it, and no read that does not completed after that one began;
- `stale`: a read lacks it, but a later one did not any more;
- `never_read`: no read tells of it, since none was invoked after it was known;
- `stable`: all reads since it was known have it, or something that may be newer;
- `recovered` (beside the others): it was in doubt, and a read returned it.

What replicas hold at the end is judged by `lost_writes`, for runs that have it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from workbench.checkers.verdict import Verdict
from workbench.checkers.versions import Version, sees, versions_of, writes
from workbench.history_operations import OPEN, Operation, by_key, tell

WITNESSES_MAX: Final = 5

Fate: TypeAlias = Literal["lost", "stale", "never_read", "stable"]


@dataclass(frozen=True, slots=True)
class KnownValues:
    """`fates`: number of the write -> what became of its value; values that were never known are not there."""

    fates: Mapping[int, Fate]
    counts: Mapping[str, int | float]
    verdict: Verdict


def known_values(operations: Sequence[Operation]) -> KnownValues:
    """Judge the writes of a history whose values are unique for each key."""
    versions = versions_of(operations)
    fates: dict[int, Fate] = {}
    witness: list[dict[str, Any]] = []
    unexplained = recovered = 0
    for name, part in by_key(operations).items():
        if versions.problem:
            break
        reads = [(one, versions.read(one)) for one in part if sees(one)]
        explained = [(one, version) for one, version in reads if version is not None]
        unexplained += len(reads) - len(explained)
        explained.sort(key=lambda pair: pair[0].begin)
        first = _first_reads(explained)
        begins = [one.begin for one, _ in explained]
        for version in versions.of.get(name, {}).values():
            write = version.write
            assert write is not None
            recovered += write.end == OPEN and write.number in first
            known = min(write.end, first.get(write.number, OPEN))
            if known == OPEN:
                continue
            fate, lacking = _fate(version, explained[bisect_right(begins, known) :])
            fates[write.number] = fate
            if fate == "lost" and lacking is not None and len(witness) < WITNESSES_MAX:
                witness.append(_row(write, lacking))
    tally = Counter(fates.values())
    counts: dict[str, int | float] = {fate: tally[fate] for fate in ("lost", "stale", "never_read", "stable")}
    counts |= {
        "writes": sum(map(writes, operations)),
        "known": len(fates),
        "recovered": recovered,
        "unexplained_reads": unexplained,
    }
    return KnownValues(fates, counts, _verdict(counts, witness, versions.problem))


def _first_reads(reads: Sequence[tuple[Operation, Version]]) -> dict[int, int]:
    """Number of a write -> the place at which a read had first returned its value."""
    first: dict[int, int] = {}
    for one, version in reads:
        if version.write is not None:
            first[version.write.number] = min(one.end, first.get(version.write.number, OPEN))
    return first


def _fate(version: Version, reads: Sequence[tuple[Operation, Version]]) -> tuple[Fate, Operation | None]:
    """Of reads since the value was known, in the order of their invocation."""
    if not reads:
        return "never_read", None
    lacking = [one for one, seen in reads if seen.is_older(version)]
    if not lacking:
        return "stable", None
    has = max((one.end for one, seen in reads if not seen.is_older(version)), default=-1)
    return ("lost", lacking[0]) if has < lacking[-1].begin else ("stale", lacking[0])


def _row(write: Operation, read: Operation) -> dict[str, Any]:
    return {
        "words": f"{tell(write)}; then {tell(read)}, and nobody read it or a newer value again",
        "operation": write.number,
        "cell": write.cell,
        "key": write.key,
        "value": write.value,
        "read_operation": read.number,
        "read_value": read.value if read.f == "read" else read.expected,
    }


def _verdict(counts: Mapping[str, int | float], witness: list[dict[str, Any]], problem: str) -> Verdict:
    if problem:
        return Verdict("unknown", problem, (), counts)
    if counts["lost"]:
        reason = f"{counts['lost']} of {counts['known']} known values are lost: {witness[0]['words']}"
        return Verdict("invalid", reason, tuple(witness), counts)
    if not counts["stable"] + counts["stale"]:
        return Verdict("unknown", "no read was invoked after a value was known", (), counts)
    if counts["unexplained_reads"]:
        return Verdict("unknown", f"{counts['unexplained_reads']} reads are explained by no write", (), counts)
    return Verdict("valid", f"none of {counts['known']} known values is lost", (), counts)
