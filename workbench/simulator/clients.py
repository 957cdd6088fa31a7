"""Simulated clients: each with a session that writes and reads, and asks again when nobody answers.

They follow the rules of real ones (`workbench/client/`): the same number for every try of a write, another replica when
one does not lead or does not answer, a new session when the old one was forgotten. Each has habits of its own
(`habits.py`), so that some seeds have what others lack: readers that a deposed leader still answers, writes that are
asked for again and again, copies of requests that come when nobody waits for an answer any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from workbench.faults.draws import choose, some
from workbench.protocol.messages import ClientBatch, Outcome, Read, ReadReply, ReplyBatch, WriteReply
from workbench.protocol.values import Position, Transaction
from workbench.simulator.events import Events
from workbench.simulator.habits import USUAL, Habits
from workbench.simulator.memory_format import Workload

_MS = 1_000_000
_KEYS = "abcdefgh"
_OF_TWO_STATEMENTS = 0.2
"""So many of the writes set two keys at once."""
_COPY_LATE_MS = 4_000.0
_COPIES_TO_LEADER = 0.7
_RETRIES_TO_LEADER = 0.5


class ClientWorld(Protocol):
    """What a client sees of the world."""

    events: Events
    names: tuple[str, ...]

    @property
    def workload(self) -> Workload:
        """What it can ask."""
        ...

    def ask(self, client: str, replica: str, batch: ClientBatch) -> None:
        """Send requests to a replica."""
        ...

    def new_session(self) -> int:
        """A number that no session has had."""
        ...


@dataclass(slots=True)
class Operation:
    """One operation of a client, as a history has it."""

    session: int
    sequence: int
    """0 of a read."""
    kind: str
    """read or write"""
    values: dict[str, object]
    """Key -> what was written there, or read; None: nothing was there, or nothing was returned."""
    invoked_ns: int
    how: str = ""
    """How a read was asked for."""
    completed_ns: int = 0
    outcome: str = "info"
    """ok, fail or info."""
    position: Position = field(default_factory=Position)
    """Of what was written, or of what was there when it was read."""
    retries: int = 0

    @property
    def key(self) -> str:
        """The first key, and mostly the only one."""
        return next(iter(self.values))

    @property
    def value(self) -> object:
        """What was written or read there."""
        return self.values[self.key]


class Client:
    """One session after the other, one operation at a time."""

    def __init__(self, world: ClientWorld, name: str, random: Random, habits: Habits) -> None:
        self.name = name
        self.habits = habits
        self.history: list[Operation] = []
        self.open: Transaction | Read | None = None
        self.is_stopped = False
        """It begins nothing any more."""
        self._world = world
        self._random = random
        self._session = world.new_session()
        self._sequence = 0
        self._requests = 0
        self._born = 0
        self._committed = 0
        self._leader = world.names[0]
        self._is_first = True
        """There may be no table yet, as far as this session knows."""
        self._trusts = True
        """The leader has not left it without an answer."""
        self._written = Position()
        self._seen = Position()
        """The newest position that was written or read."""
        self._number = 0
        """Of the operations; a timer that belongs to an earlier one does nothing."""
        self._think()

    def behave(self) -> None:
        """Do as most clients do from now on: one that hardly ever writes need not get a write through for long."""
        self.habits = USUAL

    def _think(self) -> None:
        self._number += 1
        number = self._number
        self._world.events.after(2 * self.habits.think_ms * self._random.random() * _MS, lambda: self._begin(number))

    def _begin(self, number: int) -> None:
        if self.is_stopped or number != self._number:
            return
        self._number += 1
        now = self._world.events.now
        if self._random.random() < self.habits.writes:
            self._sequence += 1
            if self._sequence == 1:
                self._born = self._committed
            value = f"{self._session}.{self._sequence}"
            count = 2 if self._random.random() < _OF_TWO_STATEMENTS else 1
            keys = some(self._random, _KEYS, count)
            statements = self._world.workload.write(keys, value, is_first=self._is_first)
            self.open = Transaction(self._session, self._sequence, statements, self._born)
            values: dict[str, object] = dict.fromkeys(keys, value)
            self.history.append(Operation(self._session, self._sequence, "write", values, now))
        else:
            how, key = choose(self._random, self.habits.reads), choose(self._random, _KEYS)
            self.open = self._read(how, key)
            self.history.append(Operation(self._session, 0, "read", {key: None}, now, how))
        self._send(self._target())
        self._retry_later(self._number, now + int(self.habits.patience_ms * _MS))

    def _read(self, how: str, key: str) -> Read:
        self._requests += 1
        after = {"after_writes": self._written, "after_all": self._seen}
        return Read(
            self._session,
            self._requests,
            self._world.workload.read(key),
            from_leader=how == "leader",
            linearizable=how == "linearizable",
            after=after.get(how, Position()),
        )

    def _target(self) -> str:
        needs_leader = isinstance(self.open, Transaction) or (
            self.open is not None and (self.open.from_leader or self.open.linearizable)
        )
        if needs_leader and self._leader and self._random.random() >= self.habits.stray:
            return self._leader
        return choose(self._random, self._world.names)

    def _send(self, replica: str) -> None:
        request = self.open
        if isinstance(request, Transaction):
            batch = ClientBatch(self.name, (request,))
            self._world.ask(self.name, replica, batch)
            if self.habits.late_copies and self._random.random() < self.habits.late_copies:
                self._send_once_more(batch)
        elif request is not None:
            self._world.ask(self.name, replica, ClientBatch(self.name, (), (request,)))

    def _send_once_more(self, batch: ClientBatch) -> None:
        """A copy of a write comes late, to whoever leads by then as far as this client knows, or to anybody."""

        def send() -> None:
            to = self._leader if self._random.random() < _COPIES_TO_LEADER else choose(self._random, self._world.names)
            self._world.ask(self.name, to, batch)

        self._world.events.after(_COPY_LATE_MS * self._random.random() * _MS, send)

    def _retry_later(self, number: int, until: int) -> None:
        def retry() -> None:
            if number != self._number or self.open is None:
                return
            if self._world.events.now >= until:
                self._end("info")
                return
            self.history[-1].retries += 1
            self._trusts = False
            self._send(self._another())
            self._retry_later(number, until)

        self._world.events.after(self.habits.retry_ms * _MS, retry)

    def _another(self) -> str:
        """Whom to ask again: who should lead, if that is news, or anybody."""
        if self.habits.follows_news and self._random.random() < _RETRIES_TO_LEADER:
            return self._leader
        return choose(self._random, self._world.names)

    # Answers.

    def receive(self, batch: ReplyBatch) -> None:
        """What a replica has said."""
        if self.habits.lost_replies and self._random.random() < self.habits.lost_replies:
            return
        self._committed = max(self._committed, batch.committed)
        if batch.leader and (self._believes_news or batch.replica == self._leader):
            self._leader, self._trusts = batch.leader, True
        for write in batch.writes:
            if isinstance(self.open, Transaction) and _key(write) == (self.open.session, self.open.sequence):
                self._on_write(write)
        for read in batch.reads:
            if isinstance(self.open, Read) and (read.session, read.request) == (self.open.session, self.open.request):
                self._on_read(read)

    @property
    def _believes_news(self) -> bool:
        return self.habits.follows_news or not self._trusts

    def heard_of_leader(self, leader: str) -> None:
        """A new leader has made itself known."""
        if not self._believes_news:
            return
        self._leader, self._trusts = leader, True
        if isinstance(self.open, Transaction):
            self._send(leader)

    def _on_write(self, reply: WriteReply) -> None:
        match reply.outcome:
            case Outcome.OK:
                self._is_first = False
                self.history[-1].position = reply.position
                self._written = max(self._written, reply.position)
                self._seen = max(self._seen, reply.position)
                self._end("ok")
            case Outcome.NOT_LEADER:
                pass  # the timer asks another one
            case Outcome.INDEFINITE if self.habits.insists:
                pass  # another one may know
            case Outcome.EXPIRED:
                self._end("info")
                self._session, self._sequence = self._world.new_session(), 0
                self._is_first = True
            case Outcome.REFUSED:
                self._is_first = True
                self._end("fail")
            case _:
                self._end("info")

    def _on_read(self, reply: ReadReply) -> None:
        if reply.outcome is Outcome.OK:
            operation = self.history[-1]
            operation.values = dict.fromkeys(operation.values, reply.rows[0][0] if reply.rows else None)
            operation.position = reply.position
            self._seen = max(self._seen, reply.position)
            self._end("ok")
        elif reply.outcome in {Outcome.REFUSED, Outcome.LOST_POSITION}:
            self._written = self._seen = Position()  # what the session had seen is gone
            self._end("fail")

    def _end(self, outcome: str) -> None:
        self.history[-1].outcome = outcome
        self.history[-1].completed_ns = self._world.events.now
        self.open = None
        self._think()


def _key(reply: WriteReply) -> tuple[int, int]:
    return reply.session, reply.sequence
