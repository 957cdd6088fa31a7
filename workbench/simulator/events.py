"""Virtual time: what happens next, and when. Two things that are due at the same time happen in the order in which they
were planned, so that a seed always tells the same story."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Happening = Callable[[], None]


class Events:
    """Everything that is planned. Times are nanoseconds since the world began."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Happening]] = []
        self._planned = 0
        self.now = 1

    def at(self, time_ns: int, happening: Happening) -> None:
        """Plan something; what should have happened already happens next."""
        self._planned += 1
        heapq.heappush(self._heap, (max(self.now, time_ns), self._planned, happening))

    def after(self, delay_ns: float, happening: Happening) -> None:
        """Plan something from now."""
        self.at(self.now + int(delay_ns), happening)

    def run_until(self, time_ns: int) -> None:
        """Let everything happen that is due by then."""
        heap = self._heap
        while heap and heap[0][0] <= time_ns:
            self.now, _, happening = heapq.heappop(heap)
            happening()
        self.now = max(self.now, time_ns)
