"""Injected faults of the links that lead to one replica, decided where a message is received.

Pure logic: the time comes in, messages come out when they are due; nobody waits here. Faults sit at the receiver so
that every broker behaves alike. Rules:

- `follower_delay_ms` is for experiments and spares whoever leads; a `LinkQuality` is a fault and strikes anybody.
- Messages of one sender come in the order in which they arrived, but for those that `reordering` lets be overtaken.
- What waits for a narrow link waits for everything before it, heartbeats for batches of entries: that is congestion.
- When a fault ends, what it held back comes as soon as it would without it. What only `follower_delay_ms` holds back
  keeps its time, whatever that delay becomes.
- At most `WAITING_BYTES_MAX` wait, and one message always may; what exceeds it is dropped and counted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Generic, TypeVar

from workbench.faults.delays import draw_delay_ms
from workbench.protocol.fault_messages import LinkQuality

T = TypeVar("T")

WAITING_BYTES_MAX = 32 * 1024 * 1024
OVERTAKEN_MS = (1.0, 21.0)
"""How long a message is held back so that later ones overtake it; uniform."""

_CLEAR = LinkQuality()
_MS = 1_000_000


@dataclass(slots=True)
class LinkCounts:
    """What faults have done to messages; only ever grows. What `follower_delay_ms` does is none."""

    link_delayed: int = 0
    link_queued: int = 0
    """Messages that came through a narrow link."""
    link_queue_ms: int = 0
    """How long they took, waiting for those before them included."""
    link_lost: int = 0
    link_twice: int = 0
    link_overtaken: int = 0
    """Messages that were delivered after one that had arrived later."""
    link_cut: int = 0
    link_dropped: int = 0
    """For want of room to wait."""

    def as_dict(self) -> dict[str, int]:
        """Name -> value, of those that are not 0."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T]):
    number: int
    sender: str
    message: T
    size_bytes: int
    usual_ns: int
    """When it would come without faults."""
    due_ns: int = 0
    is_overtaken: bool = False


class Links(Generic[T]):
    """All links to one replica, and the messages of type `T` that wait in them."""

    def __init__(self, follower_delay_ms: float = 0.0, random: Callable[[], float] | None = None) -> None:
        """`random` gives uniform numbers in [0, 1)."""
        self.counts = LinkCounts()
        self.waiting_bytes = 0
        self._random = random or Random().random
        self._follower_delay_ns = round(follower_delay_ms * _MS)
        self._quality = _CLEAR
        self._by_sender: dict[str, LinkQuality] = {}
        self._cut: frozenset[str] = frozenset()
        self._waiting: list[tuple[int, int, _Waiting[T]]] = []
        """A heap of (due, number, message)."""
        self._number = 0
        self._last_ns: dict[str, int] = {}
        """Sender -> when the last of its messages that wait is due."""
        self._free_ns: dict[str, int] = {}
        """Sender, or "" for those that share a bandwidth -> when everything before has come through."""
        self._overtaken: dict[str, set[int]] = {}
        """Sender -> numbers of its messages that are held back for others to overtake."""
        self._queue_ns = 0

    @property
    def are_clear(self) -> bool:
        """Messages may pass by: no link does anything, and nothing waits."""
        return not (self._waiting or self._follower_delay_ns or self._cut or self._by_sender) and (
            self._quality == _CLEAR
        )

    @property
    def next_due_ns(self) -> int | None:
        """When `take_due` will have something to give; None when nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def admit(self, sender: str, message: T, size_bytes: int, now_ns: int, *, leads: bool = False) -> None:
        """A message has just arrived at a replica that `leads`, or not. `take_due` gives it when it is due."""
        if sender in self._cut:
            self.counts.link_cut += 1
            return
        quality = self._by_sender.get(sender, self._quality)
        if quality.loss and self._random() < quality.loss:
            self.counts.link_lost += 1
            return
        usual_ns = now_ns if leads else now_ns + self._follower_delay_ns
        self._add(sender, message, size_bytes, usual_ns, now_ns, quality, in_order=not leads or quality != _CLEAR)
        if quality.duplication and self._random() < quality.duplication:
            self.counts.link_twice += 1
            self._add(sender, message, size_bytes, usual_ns, now_ns, quality, in_order=True)

    def _add(
        self,
        sender: str,
        message: T,
        size_bytes: int,
        usual_ns: int,
        now_ns: int,
        quality: LinkQuality,
        *,
        in_order: bool,
    ) -> None:
        if self._waiting and self.waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            self.counts.link_dropped += 1
            return
        self._number += 1
        one = _Waiting(self._number, sender, message, size_bytes, usual_ns)
        one.due_ns = self._through(one, quality, now_ns, counted=True)
        if quality.reordering and self._random() < quality.reordering:
            low, high = OVERTAKEN_MS
            one.is_overtaken = True
            one.due_ns += round((low + (high - low) * self._random()) * _MS)
            self._overtaken.setdefault(sender, set()).add(one.number)
        elif in_order:
            one.due_ns = self._last_ns[sender] = max(one.due_ns, self._last_ns.get(sender, 0))
        heapq.heappush(self._waiting, (one.due_ns, one.number, one))
        self.waiting_bytes += size_bytes

    def _through(self, one: _Waiting[T], quality: LinkQuality, now_ns: int, *, counted: bool) -> int:
        """When a message that is sent now comes out of its link, but for the order."""
        held_ns = 0
        if quality.bytes_per_s:
            key = one.sender if one.sender in self._by_sender else ""
            free_ns = max(now_ns, self._free_ns.get(key, 0)) + round(one.size_bytes / quality.bytes_per_s * 1e9)
            self._free_ns[key] = free_ns
            held_ns = free_ns - now_ns
            if counted:
                self.counts.link_queued += 1
                self._queue_ns += held_ns
                self.counts.link_queue_ms = self._queue_ns // _MS
        if quality.delay_ms:
            held_ns += round(draw_delay_ms(self._random, quality.delay_ms, quality.distribution) * _MS)
            self.counts.link_delayed += counted
        return max(one.usual_ns, now_ns) + held_ns

    def take_due(self, now_ns: int) -> list[T]:
        """The messages that are due, in the order in which they are."""
        taken: list[T] = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            one = heapq.heappop(self._waiting)[2]
            self.waiting_bytes -= one.size_bytes
            if self._overtaken:
                self._note_overtaking(one)
            taken.append(one.message)
        if not self._waiting:
            self._last_ns.clear()
        return taken

    def _note_overtaking(self, one: _Waiting[T]) -> None:
        held_back = self._overtaken.get(one.sender)
        if held_back is None:
            return
        held_back.discard(one.number)
        overtaken = {number for number in held_back if number < one.number}
        self.counts.link_overtaken += len(overtaken)
        held_back -= overtaken
        if not held_back:
            del self._overtaken[one.sender]

    def change(
        self,
        now_ns: int,
        *,
        follower_delay_ms: float = 0.0,
        cut: Collection[str] = (),
        quality: LinkQuality = _CLEAR,
        by_sender: Mapping[str, LinkQuality] | None = None,
    ) -> None:
        """Links are like this from now on. What is on its way from senders that are `cut` is lost."""
        self._follower_delay_ns = round(follower_delay_ms * _MS)
        self._cut = frozenset(cut)
        former = (self._quality, self._by_sender)
        self._quality, self._by_sender = quality, dict(by_sender or {})
        waiting = sorted((one for _, _, one in self._waiting), key=lambda one: one.number)
        still = [one for one in waiting if one.sender not in self._cut]
        self.counts.link_cut += len(waiting) - len(still)
        if former != (self._quality, self._by_sender):
            self._plan_anew(still, now_ns)
        self.waiting_bytes = sum(one.size_bytes for one in still)
        self._waiting = [(one.due_ns, one.number, one) for one in still]
        heapq.heapify(self._waiting)

    def _plan_anew(self, waiting: list[_Waiting[T]], now_ns: int) -> None:
        """As if they were sent now, but none later than it was to come."""
        self._last_ns.clear()
        self._free_ns.clear()
        for one in waiting:
            quality = self._by_sender.get(one.sender, self._quality)
            due_ns = self._through(one, quality, now_ns, counted=False)
            if not one.is_overtaken:
                due_ns = max(due_ns, self._last_ns.get(one.sender, 0))
                self._last_ns[one.sender] = due_ns = min(one.due_ns, due_ns)
            one.due_ns = min(one.due_ns, due_ns)
