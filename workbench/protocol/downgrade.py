"""Giving up semi-synchronous acknowledgement for a while, as MySQL does, rather than waiting for ever.

Off by default. When nothing was acknowledged for `Timing.downgrade_ms`, the leader goes on as under `async`; when its
followers have everything that it had a tick ago, the policy holds again. Each such window is counted and noted, since a
failover may lose what was acknowledged in it.
"""

from __future__ import annotations

from workbench.protocol.state import ReplicaState
from workbench.protocol.waiting import Unacknowledged

_WINDOWS_MAX = 50


class Downgrade:
    """The windows of one reign."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._is_allowed = state.ack.who == "semi_sync" and state.timing.downgrade_ms > 0
        self._began: tuple[int, int] | None = None
        """(when, first index that was acknowledged so)."""
        self._mark = 0
        """The log's end at the last tick."""
        self._last_at = 0

    @property
    def is_open(self) -> bool:
        """Whether the policy is given up now."""
        return self._began is not None

    def on_tick(self, at: int, oldest: Unacknowledged | None) -> bool:
        """Whether a window begins now, `oldest` being what has waited longest."""
        self._mark, self._last_at = self._state.log.last.index, at
        if not self._is_allowed or self._began is not None or oldest is None:
            return False
        if at - oldest.since < self._state.ns(self._state.timing.downgrade_ms):
            return False
        self._began = (at, oldest.index)
        self._state.counts["downgrades"] += 1
        return True

    def acknowledged_index(self, met: int, at: int) -> int:
        """The index up to which writes may be acknowledged, the policy being met up to `met`."""
        if self._began is None:
            return met
        self._last_at = at
        if met >= self._mark:
            self.end()
            return met
        return max(met, self._state.durable)

    def end(self) -> None:
        """The window is over: note it as `begin_ns-end_ns:first_index-last_index`."""
        if self._began is None:
            return
        began_at, first = self._began
        self._began = None
        windows = self._state.notes.get("downgrades", "").split()
        windows.append(f"{began_at}-{self._last_at}:{first}-{self._state.log.last.index}")
        self._state.notes["downgrades"] = " ".join(windows[-_WINDOWS_MAX:])
