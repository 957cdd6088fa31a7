"""Versions: what each write made of its key, and which of two came first, as far as a history tells.

Of one key a version is older than another if its position says so, where all acknowledged writes of the key have one;
else if it was acknowledged before the other was invoked. Nothing else is assumed (see `order` for the same in columns).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from workbench.history_operations import OPEN, Operation, by_key, token, told

Moment: TypeAlias = tuple[float, ...]

_FIRST: Final[Moment] = (float("-inf"),)
_LAST: Final[Moment] = (float("inf"),)


@dataclass(frozen=True, slots=True)
class Version:
    """What one write made of its key: certainly not before `low`, certainly by `high`."""

    write: Operation | None
    low: Moment
    high: Moment

    def is_older(self, other: Version) -> bool:
        """Whether it certainly came before another version of the key."""
        return self.high < other.low


ABSENT: Final = Version(None, _FIRST, _FIRST)
"""The key before any write."""


@dataclass(slots=True)
class Versions:
    """(cell, key) -> value -> version. `problem` says why reads do not tell which write they saw."""

    of: dict[tuple[str, str], dict[Any, Version]] = field(default_factory=dict)
    problem: str = ""

    def read(self, one: Operation) -> Version | None:
        """What a read, or a cas that matched, saw; None if no write explains it."""
        value = one.value if one.f == "read" else one.expected
        if value is None:
            return ABSENT
        found = self.of.get((one.cell, one.key), {}).get(token(value))
        return None if found is None or (found.write is not None and found.write.begin > one.end) else found

    def written(self, one: Operation) -> Version:
        """What a write, or a cas that matched, made."""
        return self.of[one.cell, one.key][token(one.value)]


def writes(one: Operation) -> bool:
    """Whether it set a value, or may have."""
    return one.f in {"write", "cas"} and one.outcome != "fail" and one.matched is not False


def sees(one: Operation) -> bool:
    """Whether it says which value was there."""
    return one.outcome == "ok" and (one.f == "read" or one.matched is True)


def versions_of(operations: Iterable[Operation]) -> Versions:
    """The versions of a history; with a problem if a value was written twice to a key."""
    found = Versions()
    for name, part in by_key(one for one in operations if writes(one)).items():
        acknowledged = [one for one in part if one.outcome == "ok"]
        placed = bool(acknowledged) and all(one.index > 0 for one in acknowledged)
        table = found.of.setdefault(name, {})
        for one in part:
            if token(one.value) in table and not found.problem:
                found.problem = f"value {told(one.value)} was written twice to key {one.key!r}, so reads tell nothing"
            table[token(one.value)] = _version(one, placed)
    return found


def _version(one: Operation, placed: bool) -> Version:
    if not placed:
        return Version(one, (one.begin,), _LAST if one.end == OPEN else (one.end,))
    if not one.index:
        return Version(one, _FIRST, _LAST)
    place = (one.term, one.index, one.member)
    return Version(one, place, place)
