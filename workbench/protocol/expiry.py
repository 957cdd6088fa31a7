"""When a leader lets sessions expire: it remembers how far the log had come at times, so it knows who is idle."""

from __future__ import annotations

from collections import deque

from workbench.protocol.sessions import expiry_entry
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Entry

_SAMPLES = 8
"""So many times in `Timing.session_expiry_ms` the log's end is noted: a session lives up to an eighth longer."""


class SessionExpiry:
    """The clock of one reign; a new leader starts counting anew."""

    def __init__(self, state: ReplicaState, at: int) -> None:
        self._state = state
        self._expiry_ns = state.ns(state.timing.session_expiry_ms)
        self._samples: deque[tuple[int, int]] = deque([(at, state.log.last.index)])
        """(time, the log's last index then)."""

    def due(self, at: int) -> Entry | None:
        """The entry to append now, if sessions have been idle for too long or there are too many."""
        state = self._state
        sessions, sessions_max = state.ledger.sessions, state.limits.sessions_max
        sample_is_due = not self._samples or at - self._samples[-1][0] >= self._expiry_ns // _SAMPLES
        if not sample_is_due and len(sessions) <= sessions_max:
            return None
        idle_since = 0
        while self._samples and at - self._samples[0][0] >= self._expiry_ns:
            idle_since = self._samples.popleft()[1]
        if sample_is_due:
            self._samples.append((at, state.log.last.index))
        horizon = sessions.horizon_for(idle_since, sessions_max)
        return expiry_entry(state.term, state.log.last.index + 1, horizon) if horizon else None
