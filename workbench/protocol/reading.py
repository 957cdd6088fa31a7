"""Which reads a replica may answer: now, soon, or not at all.

A read says on which terms it wants to be answered (`messages.Read`). One that asks for a position waits, for a bounded
time, until the replica has applied it. What cannot be answered here is refused at once, so that the client can ask
elsewhere. Whether a leader still leads is for the leader to say (`leader_reads.py`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workbench.protocol.effects import Reply
from workbench.protocol.inputs import Queried
from workbench.protocol.log_view import Fate
from workbench.protocol.messages import Outcome, Read, ReadReply
from workbench.protocol.replies import answer_queries
from workbench.protocol.state import ReplicaState

_SAMPLES_MAX = 4096
_SILENT_HEARTBEATS = 3
"""A follower that has heard nothing for so many heartbeats cannot tell how many entries it lacks."""


class Freshness:
    """How far a follower is behind its leader. The clock is the leader's: on one host they are the same."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES_MAX)
        """(the leader's last index, when it said so), oldest first."""
        self._complete_ns = 0
        self._heard_ns = 0
        self._last = 0

    def forget(self) -> None:
        """The leader leads no more. What it had, and when, says nothing about the next one."""
        self._samples.clear()
        self._complete_ns = self._heard_ns = self._last = 0

    def heard(self, last: int, sent_ns: int) -> None:
        """At `sent_ns` the leader's last index was `last`."""
        self._last = max(self._last, last)
        self._heard_ns = max(self._heard_ns, sent_ns)
        self._samples.append((last, sent_ns))

    def applied(self, index: int) -> None:
        """The database shows everything up to `index`."""
        while self._samples and self._samples[0][0] <= index:
            self._complete_ns = max(self._complete_ns, self._samples.popleft()[1])

    def lag_ns(self, at: int) -> float:
        """How long ago the database was known to show everything that there was; infinite if it never was."""
        return at - self._complete_ns if self._complete_ns else math.inf

    def lag_entries(self, applied: int) -> int:
        """How many entries the leader was known to have more."""
        return max(0, self._last - applied)

    def silence_ns(self, at: int) -> float:
        """How old that knowledge is; infinite if there is none."""
        return at - self._heard_ns if self._heard_ns else math.inf


class _Waiting(NamedTuple):
    client: str
    read: Read
    until: int


class ReadingDesk:
    """Admits the reads of one reign, holds those that wait, and answers."""

    def __init__(self, state: ReplicaState, freshness: Freshness | None) -> None:
        self._state = state
        self._freshness = freshness
        """None for a leader, which is never behind."""
        self._waiting: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def admit(self, client: str, reads: Iterable[Read], at: int) -> list[tuple[str, Read]]:
        """The reads that can be answered now. Others are kept, or refused."""
        ready: list[tuple[str, Read]] = []
        for read in reads:
            if self._state.reading >= self._state.limits.waiting_transactions_max:
                self.refuse(client, read, Outcome.OVERLOADED, "too many reads are waiting")
                continue
            self._state.reading += 1
            self._sort(client, read, at, at + self._state.ns(self._state.timing.read_wait_ms), ready)
        return ready

    def take_ready(self, at: int) -> list[tuple[str, Read]]:
        """The reads that waited and can be answered now; those whose time is up are refused."""
        waiting, self._waiting = self._waiting, []
        ready: list[tuple[str, Read]] = []
        for client, read, until in waiting:
            self._sort(client, read, at, until, ready)
        return ready

    def _sort(self, client: str, read: Read, at: int, until: int, ready: list[tuple[str, Read]]) -> None:
        match self._judge(read, at):
            case None:
                ready.append((client, read))
            case Outcome.NOT_READY, str(reason) if read.after.index and at < until and not reason:
                self._waiting.append(_Waiting(client, read, until))
            case outcome, reason:
                self._end(client, read, outcome, reason or f"{self._state.name} has not got so far in time")

    def _judge(self, read: Read, at: int) -> tuple[Outcome, str] | None:
        """None when the read can be answered; else why not, without a reason where waiting may help."""
        state = self._state
        if state.diverged:
            return Outcome.NOT_READY, state.diverged
        if not state.is_member and not state.applied:
            return Outcome.NOT_READY, f"{state.name} has not joined yet"
        if read.after.index:
            match state.log.fate(read.after):
                case Fate.LOST:
                    return Outcome.LOST_POSITION, f"position {read.after} was dropped by a rewind"
                case Fate.UNKNOWN:
                    return Outcome.NOT_READY, ""
                case Fate.HELD if state.applied < read.after.index:
                    return Outcome.NOT_READY, ""
        return self._judge_lag(read, at)

    def _judge_lag(self, read: Read, at: int) -> tuple[Outcome, str] | None:
        state, freshness = self._state, self._freshness
        if freshness is None:
            return None
        if 0 <= read.lag_ms_max < (lag_ns := freshness.lag_ns(at)) / 1e6:
            how_far = f"{lag_ns / 1e6:.0f} ms" if lag_ns < math.inf else "any time"
            return Outcome.NOT_READY, f"{state.name} may be {how_far} behind"
        if read.lag_entries_max >= 0:
            if freshness.silence_ns(at) > state.ns(_SILENT_HEARTBEATS * state.timing.heartbeat_ms):
                return Outcome.NOT_READY, f"{state.name} has not heard from its leader"
            if (lag := freshness.lag_entries(state.applied)) > read.lag_entries_max:
                return Outcome.NOT_READY, f"{state.name} is {lag} entries behind"
        return None

    # Ends.

    def answer(self, queried: Queried) -> None:
        """Pass answers on to the clients that asked."""
        self._state.reading -= len(queried.answers)
        self._state.ask(*answer_queries(queried))

    def refuse(self, client: str, read: Read, outcome: Outcome, reason: str) -> None:
        """Refuse a read that was never admitted."""
        self._state.ask(Reply(client, reads=(ReadReply(read.session, read.request, outcome, reason=reason),)))

    def _end(self, client: str, read: Read, outcome: Outcome, reason: str) -> None:
        self._state.reading -= 1
        self.refuse(client, read, outcome, reason)

    def end_all(self, reads: Sequence[tuple[str, Read]], outcome: Outcome, reason: str) -> None:
        """Refuse admitted reads, and all that wait."""
        waiting, self._waiting = self._waiting, []
        for client, read in (*reads, *((one.client, one.read) for one in waiting)):
            self._end(client, read, outcome, reason)
