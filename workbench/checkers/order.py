"""What a history says about the order of writes to one key, and fast questions about it.

A write is *definitely older* than another one to the same key if their positions say so, where both have one, else
if it was acknowledged before the other was invoked. Nothing else orders writes: two concurrent ones without
positions stay unordered, and one in doubt may still happen, so it is older than nothing by time alone. An absent
key is older than any write.

A write is *known* from the moment a checker chooses (its acknowledgement, or its first completed read). `Newer`
answers, for many values at once: when did a definitely newer write become known, and how many had by a given time?
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Booleans: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

NEVER: Final = int(np.iinfo(np.int64).max)
ABSENT: Final = -1
"""In place of a write: the key was absent, or held what it had before the load."""
UNEXPLAINED: Final = -2
"""In place of a write: no write of the history, or only one that definitely failed, wrote this value."""


@dataclass(frozen=True, slots=True)
class Writes:
    """The writes that happened or may have, as arrays of one length. A group is one key of one cell."""

    row: Integers
    group: Integers
    value: Integers
    invoked: Integers
    acknowledged: Integers
    """Time of the acknowledgement; NEVER for a write in doubt."""
    place: Integers
    """Rank of (term, index, member) from 1; 0 where the position is unknown."""
    term: Integers
    index: Integers

    def __len__(self) -> int:
        return len(self.row)

    def definitely_older(self, older: Integers, newer: Integers) -> Booleans:
        """Elementwise, for writes of the same group; `older` may hold ABSENT."""
        known = np.maximum(older, 0)
        by_place = (self.place[known] > 0) & (self.place[newer] > 0)
        is_older = np.where(
            by_place, self.place[known] < self.place[newer], self.acknowledged[known] < self.invoked[newer]
        )
        result: Booleans = is_older | (older == ABSENT)
        return result


@dataclass(frozen=True, slots=True)
class Sources:
    """Of the `ok` reads of a table: their groups, and the writes whose values they returned (see `sources_of`)."""

    writes: Writes
    group: Integers
    write: Integers


def groups_of(operations: pd.DataFrame) -> Integers:
    """A number for each operation's (cell, key)."""
    return np.asarray(operations.groupby(["cell", "key"], sort=False).ngroup(), dtype=np.int64)


def times(operations: pd.DataFrame, name: str) -> Integers:
    """A column of times, NEVER where it is missing."""
    return np.asarray(operations[name].to_numpy(dtype=np.int64, na_value=NEVER), dtype=np.int64)


def writes_of(operations: pd.DataFrame, groups: Integers) -> Writes:
    """The writes of a table of operations without those that definitely failed."""
    row = np.flatnonzero((operations["kind"] == "write").to_numpy() & (operations["outcome"] != "fail").to_numpy())
    frame = operations.iloc[row]
    term, index, member = (frame[name].to_numpy(dtype=np.int64) for name in ("term", "index", "member"))
    ok = (frame["outcome"] == "ok").to_numpy(dtype=bool)
    return Writes(
        row=row,
        group=groups[row],
        value=frame["value"].to_numpy(dtype=np.int64),
        invoked=times(frame, "invoked_ns"),
        acknowledged=np.where(ok, times(frame, "completed_ns"), NEVER),
        place=np.where(index > 0, _ranks(term, index, member), 0),
        term=term,
        index=index,
    )


def duplicated_value(operations: pd.DataFrame, writes: Writes) -> str:
    """One line on a value that was written twice to the same key, or the empty string."""
    twice = pd.DataFrame({"group": writes.group, "value": writes.value}).duplicated().to_numpy()
    if not twice.any():
        return ""
    first = operations.iloc[int(writes.row[twice][0])]
    return f"value {first['value']} was written twice to key {first['key']!r}, so reads of it tell nothing"


def find_writes(writes: Writes, groups: Integers, values: Integers) -> Integers:
    """For each (group, value) the write that wrote it, or UNEXPLAINED. Values must be unique in their group."""
    unique = sorted_unique(writes.value)
    span = len(unique) + 1
    keys = writes.group * span + places_in(unique, writes.value)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    rank = places_in(unique, values)
    rank = (
        np.where((rank < len(unique)) & (unique[np.minimum(rank, span - 2)] == values), rank, span - 1)
        if len(unique)
        else rank
    )
    wanted = groups * span + rank
    at = places_in(keys, wanted)
    hit = at < len(keys)
    found = np.full(len(values), UNEXPLAINED, dtype=np.int64)
    at_hit = at[hit]
    found[hit] = np.where(keys[at_hit] == wanted[hit], order[at_hit], UNEXPLAINED)
    return found


def sources_of(reads: pd.DataFrame, writes: Writes, group: Integers, initial: Mapping[str, int]) -> Integers:
    """For each read the write whose value it returned, or ABSENT or UNEXPLAINED."""
    absent = reads["value"].isna().to_numpy(dtype=bool)
    values = reads["value"].to_numpy(dtype=np.int64, na_value=0)
    source = np.where(absent, ABSENT, find_writes(writes, group, values))
    real = np.flatnonzero(source >= 0)
    too_early = (
        times(reads, "completed_ns")[real] < writes.invoked[source[real]]
    )  # broken clocks, or a value used twice
    source[real[too_early]] = UNEXPLAINED
    if initial:
        before = reads["key"].map(initial).astype("Int64")
        is_initial = (before == reads["value"]).fillna(False).to_numpy(dtype=bool)
        source = np.where(is_initial & (source == UNEXPLAINED), ABSENT, source)
    return source


def listed(operations: pd.DataFrame, writes: Writes, wanted: Collection[tuple[str, str, int]]) -> Booleans:
    """Which writes are among `wanted`: (cell, key, value)."""
    mask = np.zeros(len(writes), dtype=bool)
    if wanted:
        names = set(wanted)
        frame = operations.iloc[writes.row]
        rows = zip(frame["cell"], frame["key"], writes.value.tolist(), strict=True)
        mask[:] = [row in names for row in rows]
    return mask


class Newer:
    """Questions about the writes that are known from the times `known` on (NEVER: not known at all)."""

    def __init__(self, writes: Writes, known: Integers) -> None:
        self._writes = writes
        self._known = known

    def first_known(self, write: Integers, group: Integers) -> Integers:
        """When the first write definitely newer than `write` (or ABSENT) became known; NEVER if none did."""
        first = np.full(len(write), NEVER, dtype=np.int64)
        absent = np.flatnonzero(write == ABSENT)
        first[absent] = self._first_of_all(group[absent])
        for line, asked, above in self._questions(write):
            first[asked] = np.minimum(first[asked], line.earliest(group[asked], above))
        return first

    def count(self, write: Integers, group: Integers, before: Integers) -> Integers:
        """How many writes definitely newer than `write` (or ABSENT) were known before the times `before`."""
        count = np.zeros(len(write), dtype=np.int64)
        absent = np.flatnonzero(write == ABSENT)
        if len(absent):
            beyond_all = np.full(len(absent), -NEVER, dtype=np.int64)
            count[absent] = self._all.count(group[absent], beyond_all, before[absent])
        for line, asked, above in self._questions(write):
            count[asked] += line.count(group[asked], above, before[asked])
        return count

    def _questions(self, write: Integers) -> Iterator[tuple[Line, Integers, Integers]]:
        """Which line to ask about which writes: its members beyond the place or time given. None without a question."""
        real = np.flatnonzero(write >= 0)
        has_place = self._writes.place[write[real]] > 0
        with_place, without = real[has_place], real[~has_place]
        if len(with_place):
            yield self._placed, with_place, self._writes.place[write[with_place]]
            if self._has_unplaced:
                yield self._unplaced, with_place, self._writes.acknowledged[write[with_place]]
        if len(without):
            yield self._all, without, self._writes.acknowledged[write[without]]

    def _first_of_all(self, group: Integers) -> Integers:
        """When the first write of each group became known."""
        is_known = self._known < NEVER
        groups = self._writes.group[is_known]
        first = np.full(max(groups.max(initial=0), group.max(initial=0)) + 1, NEVER, dtype=np.int64)
        np.minimum.at(first, groups, self._known[is_known])
        return first[group]

    # Each line costs a sort of all writes, and few histories need all of them.

    @cached_property
    def _has_unplaced(self) -> bool:
        return bool(((self._known < NEVER) & (self._writes.place == 0)).any())

    @cached_property
    def _placed(self) -> Line:
        return self._line((self._known < NEVER) & (self._writes.place > 0), self._writes.place)

    @cached_property
    def _unplaced(self) -> Line:
        return self._line((self._known < NEVER) & (self._writes.place == 0), self._writes.invoked)

    @cached_property
    def _all(self) -> Line:
        return self._line(self._known < NEVER, self._writes.invoked)

    def _line(self, members: Booleans, order: Integers) -> Line:
        return Line(self._writes.group[members], order[members], self._known[members])


class Line:
    """Known writes of each group along one order (places or times of invocation)."""

    def __init__(self, group: Integers, order: Integers, known: Integers) -> None:
        self._orders = sorted_unique(order)
        self._span = len(self._orders) + 1
        keys = group * self._span + np.searchsorted(self._orders, order)
        along = np.argsort(keys, kind="stable")
        self._keys = keys[along]
        self._known: Integers = known[along]
        self._groups = int(group.max(initial=-1)) + 1
        counts = np.bincount(group, minlength=self._groups + 1)
        self._ends: Integers = np.cumsum(counts)

    def earliest(self, group: Integers, above: Integers) -> Integers:
        low, high = self._range(group, above)
        first = np.full(len(group), NEVER, dtype=np.int64)
        some = low < high
        first[some] = self._earliest[low[some]]
        return first

    def count(self, group: Integers, above: Integers, before: Integers) -> Integers:
        low, high = self._range(group, above)
        below = np.searchsorted(np.sort(self._known), before, side="left")
        return count_below(self._known_rank, low, high, below)

    @cached_property
    def _earliest(self) -> Integers:
        """For each member, the earliest time at which it or one behind it in its group was known."""
        backwards = pd.Series(self._known[::-1]).groupby(self._keys[::-1] // self._span, sort=False).cummin()
        return np.asarray(backwards.to_numpy(dtype=np.int64)[::-1])

    @cached_property
    def _known_rank(self) -> Integers:
        return _dense_order(self._known)

    def _range(self, group: Integers, above: Integers) -> tuple[Integers, Integers]:
        """Members of the group with an order strictly above: `[low, high)`."""
        rank = np.searchsorted(self._orders, above, side="right")
        low = places_in(self._keys, group * self._span + rank)
        return low, self._ends[np.minimum(group, self._groups)]


def sorted_unique(values: Integers) -> Integers:
    """As `np.unique`, which takes several times as long for a million integers."""
    ordered = np.sort(values)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def places_in(ordered: Integers, values: Integers) -> Integers:
    """As `np.searchsorted`, for many values in no order: looked up in order, they are found in a part of the time."""
    along = np.argsort(values)
    places = np.empty(len(values), dtype=np.int64)
    places[along] = np.searchsorted(ordered, values[along], side="left")
    return places


def count_below(values: Integers, low: Integers, high: Integers, bound: Integers) -> Integers:
    """For each question, how many of `values[low:high]` are below `bound`; values are ranks, 0 <= value < length.

    A wavelet matrix: bit by bit from the highest, values are parted stably by their bit, and each range follows the
    part that its bound goes to. O((values + questions) * log(values)).
    """
    count = np.zeros(len(low), dtype=np.int64)
    low, high = low.astype(np.int64), high.astype(np.int64)
    for bit in reversed(range(len(values).bit_length())):
        is_one = (values >> bit) & 1 == 1
        zeros_before = np.concatenate(([0], np.cumsum(~is_one)))
        low_zero, high_zero = zeros_before[low], zeros_before[high]
        bound_is_one = (bound >> bit) & 1 == 1
        count += np.where(bound_is_one, high_zero - low_zero, 0)
        low = np.where(bound_is_one, zeros_before[-1] + low - low_zero, low_zero)
        high = np.where(bound_is_one, zeros_before[-1] + high - high_zero, high_zero)
        values = np.concatenate((values[~is_one], values[is_one]))
    return count


def _dense_order(values: Integers) -> Integers:
    """Each value's place in sorted order, 0-based, ties in order of appearance."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _ranks(term: Integers, index: Integers, member: Integers) -> Integers:
    """Rank of (term, index, member) from 1; equal triples have equal ranks."""
    order = np.lexsort((member, index, term))
    changed = np.zeros(len(order), dtype=np.int64)
    for column in (term, index, member):
        changed[1:] |= column[order][1:] != column[order][:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(changed) + 1
    return ranks
