"""The simulated network: frames between replicas, and between clients and replicas, late, lost, twice or out of order.

Rules:

- Between two processes order is kept, as a broker keeps it for one publisher, unless a fault reorders.
- A frame that is on its way when its receiver goes down, or hears nothing any more, is lost.
- Client links have no faults but that nobody is there; what clients miss, and ask twice, is their habit (`habits.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from workbench.faults.delays import draw_delay_ms
from workbench.simulator.durations import TRANSIT_MS, drawn_ms
from workbench.simulator.events import Events

_MS = 1_000_000
"""Through the broker, one way: about what mosquitto takes on one machine."""
_LATE_COPIES = 0.2
_LATE_MS = 3_000.0
"""So many of the messages that come twice come the second time up to so late, out of order: from the queue of a broker
that takes them for undelivered."""

Deliver = Callable[[str, str, bytes], None]
"""(from, to, frame)"""


@dataclass(slots=True)
class Inbound:
    """What a replica's network does to what it should receive from others."""

    delay_ms: float = 0.0
    distribution: str = "constant"
    bytes_per_s: float = 0.0
    """0: no bound."""
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    free_at: int = 0
    """When the bytes that wait will have come through."""


class Network:
    """All links. `happened` counts what faults did to messages."""

    def __init__(self, events: Events, random: Random, deliver: Deliver) -> None:
        self._events = events
        self._random = random
        self._deliver = deliver
        self._inbound: dict[str, Inbound] = {}
        self._due: dict[tuple[str, str], int] = {}
        """Link -> when its last frame comes."""
        self._cut: dict[tuple[str, str], int] = {}
        """Link -> how many cuts break it."""
        self._off: dict[str, int] = {}
        """Whoever has no connection -> how many faults took it."""
        self._connected_ns: dict[str, int] = {}
        """Whoever ever lost the connection -> when it did so last: what set out before then is lost."""
        self.is_down = False
        self.messages = 0
        self.happened: Counter[str] = Counter()

    def inbound(self, name: str) -> Inbound:
        """What faults do to what `name` receives."""
        return self._inbound.setdefault(name, Inbound())

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        """Break links (from, to); `mend` them as often."""
        for link in links:
            self._cut[link] = self._cut.get(link, 0) + 1

    def mend(self, links: Iterable[tuple[str, str]]) -> None:
        """Take one cut off each of the links."""
        for link in links:
            self._cut[link] -= 1
            if not self._cut[link]:
                del self._cut[link]

    def disconnect(self, name: str) -> None:
        """Cut a replica's connection, with all that is on its way to it or from it; `reconnect` as often."""
        self._off[name] = self._off.get(name, 0) + 1
        self._connected_ns[name] = self._events.now

    def reconnect(self, name: str) -> None:
        """Take back one `disconnect`."""
        self._off[name] -= 1
        if not self._off[name]:
            del self._off[name]

    def heal(self) -> None:
        """No faults from now on."""
        self._inbound.clear()
        self._cut.clear()
        self._off.clear()
        self.is_down = False

    def send_to_replica(self, source: str, target: str, frame: bytes) -> None:
        """A frame from one replica to another."""
        self.messages += 1
        if self._is_cut(source, target):
            self.happened["messages cut"] += 1
            return
        faults = self._inbound.get(target)
        if faults is None:
            self._plan(source, target, frame, self._transit())
            return
        random = self._random.random
        if faults.loss and random() < faults.loss:
            self.happened["messages lost"] += 1
            return
        transit = self._transit() + self._delay(faults) + self._queue(faults, len(frame))
        if faults.duplication and random() < faults.duplication:
            self.happened["messages twice"] += 1
            self._plan_copy(source, target, frame, transit)
        self._plan(source, target, frame, transit, overtakes=bool(faults.reordering) and random() < faults.reordering)

    def send(self, source: str, target: str, frame: bytes) -> None:
        """A frame between a client and a replica."""
        self.messages += 1
        if not self._is_cut(source, target):
            self._plan(source, target, frame, self._transit())

    def _plan(self, source: str, target: str, frame: bytes, transit_ns: int, *, overtakes: bool = False) -> None:
        now = self._events.now
        due = now + transit_ns
        if overtakes:
            self.happened["messages overtaking"] += 1
        else:
            link = (source, target)
            due = self._due[link] = max(due, self._due.get(link, 0))
        self._events.at(due, self._arrive, source, target, frame, now)

    def _plan_copy(self, source: str, target: str, frame: bytes, transit_ns: int) -> None:
        """Mostly right behind the first; sometimes when nobody thinks of it any more."""
        if self._random.random() >= _LATE_COPIES:
            self._plan(source, target, frame, transit_ns + self._transit())
            return
        self.happened["messages twice, late"] += 1
        due = self._events.now + transit_ns + int(_LATE_MS * self._random.random() * _MS)
        self._events.at(due, self._arrive, source, target, frame, self._events.now)

    def _arrive(self, source: str, target: str, frame: bytes, sent_ns: int) -> None:
        lost = self._connected_ns
        if self._is_cut(source, target) or (lost and sent_ns <= max(lost.get(source, 0), lost.get(target, 0))):
            self.happened["messages cut on their way"] += 1
            return
        self._deliver(source, target, frame)

    def _is_cut(self, source: str, target: str) -> bool:
        if not (self._off or self._cut or self.is_down):
            return False
        return self.is_down or source in self._off or target in self._off or (source, target) in self._cut

    def _transit(self) -> int:
        return int(drawn_ms(self._random, TRANSIT_MS) * _MS)

    def _delay(self, faults: Inbound) -> int:
        if not faults.delay_ms:
            return 0
        self.happened["messages delayed"] += 1
        return int(draw_delay_ms(self._random.random, faults.delay_ms, faults.distribution) * _MS)

    def _queue(self, faults: Inbound, size: int) -> int:
        """How long a frame waits for those before it, and takes itself."""
        if not faults.bytes_per_s:
            return 0
        self.happened["messages queued"] += 1
        now = self._events.now
        faults.free_at = max(now, faults.free_at) + int(size / faults.bytes_per_s * 1e9)
        return faults.free_at - now
