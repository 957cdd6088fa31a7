"""Virtual time: what happens next, and when. Two things that are due at the same time happen in the order in which they
were planned, so that a seed always tells the same story."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")


class Events:
    """Everything that is planned. Times are nanoseconds since the world began."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0
        self.now = 1

    def at(self, time_ns: int, happening: Callable[[Unpack[Ts]], None], *details: *Ts) -> None:
        """Plan something, with what it is to be told; what should have happened already happens next."""
        self._planned += 1
        due = time_ns if time_ns > self.now else self.now
        heappush(self._heap, (due, self._planned, happening, details))

    def after(self, delay_ns: float, happening: Callable[[Unpack[Ts]], None], *details: *Ts) -> None:
        """Plan something from now."""
        self._planned += 1
        heappush(self._heap, (self.now + int(delay_ns), self._planned, happening, details))

    def run_until(self, time_ns: int) -> None:
        """Let everything happen that is due by then."""
        heap = self._heap
        while heap and heap[0][0] <= time_ns:
            self.now, _, happening, details = heappop(heap)
            happening(*details)
        self.now = max(self.now, time_ns)
