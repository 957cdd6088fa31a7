"""Reads of a leader: when it may answer as one.

A read `from_leader` is answered only while the lease lasts, at the time of the answer. A `linearizable` one trusts no
lease: what the leader had executed when it read must be committed (state that it executed first may still be rewound),
and a majority must have answered something that was sent after the read arrived (Ongaro, 2014, section 6.4). Answers
to what an earlier reign asked of the database are not given: others may have led in between.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from workbench.protocol.effects import Query
from workbench.protocol.inputs import Queried
from workbench.protocol.messages import Outcome, Read
from workbench.protocol.outcomes import QueryResult
from workbench.protocol.reading import ReadingDesk
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position

_Answer: TypeAlias = tuple[str, Read, QueryResult]


class _Unconfirmed(NamedTuple):
    asked_at: int
    position: Position
    answer: _Answer


class LeaderReads:
    """The reads of one reign."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._desk = ReadingDesk(state, None)
        self._queue: list[tuple[str, Read]] = []
        self._asked: dict[tuple[str, int, int], int] = {}
        """Reads that are with storage, and since when."""
        self._unconfirmed: list[_Unconfirmed] = []

    @property
    def wait_for_a_majority(self) -> bool:
        """Whether a linearizable read waits for a majority to answer."""
        return bool(self._unconfirmed)

    def need_a_round(self, spoke_at: int) -> bool:
        """Whether one of them was asked after everything that was sent so far. If not, what is on its way is enough:
        asking again at every answer, while a follower is far away, would multiply the messages without end."""
        return bool(self._unconfirmed) and any(one.asked_at > spoke_at for one in self._unconfirmed)

    def admit(self, client: str, reads: tuple[Read, ...], at: int) -> None:
        """Queue reads, or refuse them."""
        self._queue += self._desk.admit(client, reads, at)

    def ask(self, at: int) -> None:
        """Give everything that is ready to storage."""
        if self._desk:
            self._queue += self._desk.take_ready(at)
        if self._queue:
            self._state.ask(Query(tuple(self._queue)))
            for client, read in self._queue:
                self._asked[client, read.session, read.request] = at
            self._queue = []

    def on_queried(self, queried: Queried, *, leads: bool) -> None:
        """Answer what needs no majority; keep the rest until one has answered."""
        is_ours = queried.position.term == self._state.term  # this reign's first entry is applied before its reads
        answers: list[_Answer] = []
        refused: list[tuple[str, Read]] = []
        for answer in queried.answers:
            client, read, _ = answer
            asked_at = self._asked.pop((client, read.session, read.request), None) if is_ours else None
            needs_leader = read.from_leader or read.linearizable
            if needs_leader and (asked_at is None or (read.from_leader and not leads)):
                refused.append((client, read))
            elif read.linearizable and asked_at is not None:
                self._unconfirmed.append(_Unconfirmed(asked_at, queried.position, answer))
            else:
                answers.append(answer)
        if answers:
            self._desk.answer(Queried(queried.position, tuple(answers)))
        if refused:
            self._end(refused, "its lease has run out")

    def confirm(self, confirmed_ns: int) -> None:
        """A majority has answered something that was sent at `confirmed_ns`."""
        if not self._unconfirmed:
            return
        state = self._state
        waiting, self._unconfirmed = self._unconfirmed, []
        for one in waiting:
            if one.asked_at <= confirmed_ns and one.position.index <= state.committed:
                self._desk.answer(Queried(one.position, (one.answer,)))
            else:
                self._unconfirmed.append(one)

    def expire(self, before: int) -> None:
        """Give up reads that no majority has confirmed since `before`."""
        late = [one for one in self._unconfirmed if one.asked_at <= before]
        if late:
            self._unconfirmed = [one for one in self._unconfirmed if one.asked_at > before]
            self._end([(client, read) for client, read, _ in (one.answer for one in late)], "no majority answers")

    def step_down(self) -> None:
        """The reign is over. What is with storage will be answered, or refused, by the next duty."""
        waiting = [(client, read) for client, read, _ in (one.answer for one in self._unconfirmed)]
        reason = f"{self._state.name} leads no more"
        self._desk.end_all([*self._queue, *waiting], Outcome.NOT_LEADER, reason)

    def _end(self, reads: list[tuple[str, Read]], why: str) -> None:
        state = self._state
        for client, read in reads:
            state.reading -= 1
            self._desk.refuse(client, read, Outcome.NOT_LEADER, f"{state.name} may lead no more: {why}")
