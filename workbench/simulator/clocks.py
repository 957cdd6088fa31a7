"""The clocks of simulated replicas: each shows the virtual time, until a fault lets it jump or drift."""

from __future__ import annotations

from workbench.simulator.events import Events


class Clocks:
    """All clocks of one world. Times are nanoseconds."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._ahead_ns: dict[str, int] = {}
        self._drifts: dict[str, tuple[int, float]] = {}
        """Replica -> since when its clock runs how fast."""

    def shown(self, name: str) -> int:
        """The time that a replica's clock shows."""
        now = self._events.now
        shown = now + self._ahead_ns.get(name, 0)
        if name in self._drifts:
            since, rate = self._drifts[name]
            shown += int((now - since) * (rate - 1.0))
        return shown

    def jump(self, name: str, by_ns: int) -> None:
        """Put a replica's clock forward, or back."""
        self._ahead_ns[name] = self._ahead_ns.get(name, 0) + by_ns

    def let_drift(self, name: str, rate: float) -> None:
        """Let a replica's clock run `rate` times as fast as it should, from what it shows now."""
        self._ahead_ns[name] = self.shown(name) - self._events.now
        self._drifts[name] = (self._events.now, rate)
