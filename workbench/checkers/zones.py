"""Registers whose written values are unique, judged in near-linear time (Gibbons and Korach, 1997).

All operations of one value, its write and the reads that returned it, must stand next to each other in any order. The
zone of a value reaches from the first completion among them to the last invocation. Two values a and b conflict if each
has an operation that was over before one of the other began: then a would have to come before b, and b before a. The
history has an order exactly if no two values conflict and each read began no later than its write could have happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from workbench.checkers.models import Operations
from workbench.history_operations import OPEN, Operation, tell, token, told

BEFORE: Final = -1
"""Place of the beginning, at which the register holds its initial value."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Operations that no order can hold together, and why not, in words."""

    operations: tuple[Operation, ...]
    words: str


@dataclass(slots=True)
class _Zone:
    """A value: its write (None: it was there at the beginning), its operations that completed first and began last."""

    value: Any
    write: Operation | None
    low: int
    high: int
    first: Operation | None
    last: Operation | None

    def take(self, read: Operation) -> None:
        """Count in a read that returned the value."""
        if read.end < self.low:
            self.low, self.first = read.end, read
        if read.begin > self.high:
            self.high, self.last = read.begin, read


def applies(operations: Operations, initial: Any) -> bool:
    """Whether written values are unique and differ from the initial one, and nothing but reads and writes happened."""
    if any(one.f not in {"read", "write"} for one in operations):
        return False
    written = [token(one.value) for one in operations if one.f == "write" and one.outcome != "fail"]
    return len(written) == len(set(written)) and initial not in written


def conflict(operations: Operations, initial: Any) -> tuple[Operation, Conflict] | None:
    """The operation whose completion ends the shortest prefix without an order, and the conflict; None if there is one.

    `applies` must hold. Prefixes of a good history are good, so the shortest bad one is found by halving.
    """
    operations = [one for one in operations if one.outcome != "fail"]
    if _conflict(operations, initial, OPEN) is None:
        return None
    ends = sorted((one.end, number) for number, one in enumerate(operations) if one.end != OPEN)
    low, high = 0, len(ends) - 1  # the prefix to ends[high] is bad
    while low < high:
        middle = (low + high) // 2
        if _conflict(operations, initial, ends[middle][0]) is None:
            low = middle + 1
        else:
            high = middle
    found = _conflict(operations, initial, ends[high][0])
    assert found is not None
    return operations[ends[high][1]], found


def _conflict(operations: Iterable[Operation], initial: Any, until: int) -> Conflict | None:
    """A conflict among what had happened up to the place `until`."""
    zones: dict[Any, _Zone] = {initial: _Zone(initial, None, BEFORE, BEFORE, None, None)}
    reads: list[Operation] = []
    for one in operations:
        if one.begin > until:
            continue
        if one.f == "write":
            end = one.end if one.end <= until else OPEN
            zones[token(one.value)] = _Zone(one.value, one, end, one.begin, one, one)
        elif one.outcome == "ok" and one.end <= until:
            reads.append(one)
    for one in reads:
        zone = zones.get(token(one.value))
        if zone is None:
            return Conflict((one,), f"{tell(one)}, which nobody had written")
        if zone.write is not None and one.end < zone.write.begin:
            return Conflict((one, zone.write), f"{tell(one)}, which was written only later: {tell(zone.write)}")
        zone.take(one)
    return _overlap([zone for zone in zones.values() if zone.low != OPEN])


def _overlap(zones: list[_Zone]) -> Conflict | None:
    """Two zones with `a.low < b.high and b.low < a.high`; at least one of such two has its low before its high."""
    forward = sorted((zone for zone in zones if zone.low < zone.high), key=lambda zone: zone.low)
    for one, other in pairwise(forward):
        if other.low < one.high:
            return _told(one, other)
    lows = [zone.low for zone in forward]
    for zone in zones:
        at = bisect_right(lows, zone.high) - 1
        if zone.low > zone.high and at >= 0 and zone.low < forward[at].high:
            return _told(forward[at], zone)
    return None


def _told(one: _Zone, other: _Zone) -> Conflict:
    """Why `one` and `other` would each have to come first."""
    parts = [_before(one, other), _before(other, one)]
    operations = {
        each.number: each for each in (one.first, other.last, other.first, one.last) if each is not None
    }  # fmt: skip
    ordered = tuple(sorted(operations.values(), key=lambda each: each.begin))
    return Conflict(ordered, f"{parts[0]}; but {parts[1]}")


def _before(one: _Zone, other: _Zone) -> str:
    assert other.last is not None
    values = f"{told(one.value)} came before {told(other.value)}"
    if one.first is None:
        return f"{values}, for so it was at the beginning"
    return f"{values}, since {tell(one.first)} was over before {tell(other.last)} began"
