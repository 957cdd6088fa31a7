"""Replicas that are no more than what they answer, on an in-memory broker; and sessions that talk to them.

A `FakeReplica` has a log (positions only) and believes in a leader; it answers by the rules of docs/protocol.md, unless
`respond` is replaced. `Stage` holds them, the connection, and a record of everything that was asked.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from workbench.client.connection import ClientConnection
from workbench.client.session import Session, SessionOptions
from workbench.protocol.codec import decode, encode
from workbench.protocol.log_view import Fate, LogView
from workbench.protocol.messages import ClientBatch, LeaderNews, Outcome, Read, ReadReply, ReplyBatch, WriteReply
from workbench.protocol.values import Position, StatementResult, Transaction
from workbench.transport.base import Handler, Inbound
from workbench.transport.memory import MemoryBroker, MemoryTransport
from workbench.transport.topics import Topics

PATIENCE_S = 20.0
TOPICS = Topics("stage")

Request = Transaction | Read
Reply = WriteReply | ReadReply


def reply_to(request: Request, outcome: Outcome, reason: str = "") -> Reply:
    """A reply without rows."""
    if isinstance(request, Transaction):
        return WriteReply(request.session, request.sequence, outcome, reason=reason)
    return ReadReply(request.session, request.request, outcome, reason=reason)


def says(outcome: Outcome, reason: str = "") -> Callable[[Request], Reply | None]:
    """For `FakeReplica.respond`: the same answer to everything."""
    return lambda request: reply_to(request, outcome, reason=reason)


def silent(request: Request) -> Reply | None:
    """For `FakeReplica.respond`: no answer."""
    return None


def log(*lengths: tuple[int, int]) -> LogView:
    """A log made of (term, how many entries)."""
    view, index = LogView(), 0
    for term, count in lengths:
        for _ in range(count):
            index += 1
            view.append(Position(term, index))
    return view


class FakeReplica:
    """Answers every request by `respond`, at once."""

    def __init__(self, name: str, leader: str) -> None:
        self.name = name
        self.leader = leader
        """In whom it believes; the empty string: in nobody."""
        self.term = 1
        self.committed = 0
        self.log = log((1, 1))
        self.respond: Callable[[Request], Reply | None] = self.by_the_rules
        self._known: dict[tuple[int, int], Reply] = {}

    @property
    def leads(self) -> bool:
        return self.leader == self.name

    def by_the_rules(self, request: Request) -> Reply | None:
        if isinstance(request, Transaction):
            return self._write(request) if self.leads else reply_to(request, Outcome.NOT_LEADER)
        if (request.from_leader or request.linearizable) and not self.leads:
            return reply_to(request, Outcome.NOT_LEADER)
        match self.log.fate(request.after):
            case Fate.LOST:
                return reply_to(request, Outcome.LOST_POSITION, reason="lost")
            case Fate.UNKNOWN:
                return reply_to(request, Outcome.NOT_READY, reason=f"{self.name} has not got so far in time")
        rows: tuple[tuple[str, ...], ...] = ((self.name,),)
        return ReadReply(request.session, request.request, Outcome.OK, self.log.last, ("name",), rows)

    def _write(self, request: Transaction) -> Reply:
        key = (request.session, request.sequence)
        if key not in self._known:
            self.log.append(Position(self.term, self.log.last.index + 1))
            results = (StatementResult(1),) * len(request.statements)
            self._known[key] = WriteReply(*key, Outcome.OK, self.log.last, 0, results)
        return self._known[key]


class FakeLink(MemoryTransport):
    connected = True


class Stage:
    """Replicas by name, of which the first leads, and one connection to them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.broker = MemoryBroker(automatic=True)
        self.replicas = {name: FakeReplica(name, names[0]) for name in names}
        self.asked: list[tuple[str, Request]] = []
        """(replica, request), in the order of their arrival."""
        self._links: dict[str, MemoryTransport] = {}
        self._seeds = itertools.count(1)
        self._changed = asyncio.Event()
        self.connection: ClientConnection
        for name in names:
            self._links[name] = self.broker.connect(lambda batch, name=name: self._receive(name, batch))  # type: ignore[misc]
            self._links[name].listen(TOPICS.replica_inbox(name))

    def __getitem__(self, name: str) -> FakeReplica:
        return self.replicas[name]

    async def connect(self, identifier: str, handler: Handler) -> FakeLink:
        return FakeLink(self.broker, handler, identifier)

    def _receive(self, name: str, batch: Sequence[Inbound]) -> None:
        for _, payload in batch:
            message = decode(payload)
            assert isinstance(message, ClientBatch)
            requests: list[Request] = [*message.writes, *message.reads]
            for request in requests:
                self.asked.append((name, request))
                if (reply := self.replicas[name].respond(request)) is not None:
                    self.tell(name, reply)
        self._changed.set()

    def tell(self, name: str, *replies: Reply) -> None:
        """Send replies of the replica `name`, asked for or not."""
        replica = self.replicas[name]
        writes = tuple(reply for reply in replies if isinstance(reply, WriteReply))
        reads = tuple(reply for reply in replies if isinstance(reply, ReadReply))
        batch = ReplyBatch(name, replica.leader, writes, reads, replica.term, replica.committed)
        self._links[name].publish(TOPICS.client_inbox(self.connection.client_id), encode(batch))

    def elect(self, name: str, term: int, *, news: bool = True, heard_by: Sequence[str] = ()) -> None:
        """Make `name` the leader of `term`; the replicas in `heard_by` know it too."""
        for one in (name, *heard_by):
            self.replicas[one].leader, self.replicas[one].term = name, term
        if news:
            self.spread_news(name, term)

    def spread_news(self, leader: str, term: int) -> None:
        self._links[leader].publish(TOPICS.clients(), encode(LeaderNews(term, leader)))

    async def until_asked(self, name: str, times: int = 1) -> None:
        """Wait until the replica `name` has got so many requests altogether."""
        await self._until(lambda: self.names_asked().count(name) >= times)

    async def until_any_asked(self, times: int) -> None:
        """Wait until all replicas together have got so many requests."""
        await self._until(lambda: len(self.asked) >= times)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def names_asked(self) -> list[str]:
        return [name for name, _ in self.asked]

    def last_read(self) -> Read:
        request = self.asked[-1][1]
        assert isinstance(request, Read)
        return request

    def session(
        self, read_policy: str = "leader", *, timeout_s: float = 20.0, retry_s: float = 1.0, **more: Any
    ) -> Session:
        options = SessionOptions(timeout_s=timeout_s, retry_s=retry_s)
        return Session(
            self.connection, read_policy=read_policy, options=options, rng=random.Random(next(self._seeds)), **more
        )


@asynccontextmanager
async def on_stage(*names: str) -> AsyncIterator[Stage]:
    """A stage with the replicas `names`; a, b and c by default."""
    stage = Stage(names or ("a", "b", "c"))
    stage.connection = await ClientConnection.over(stage.connect, "stage", tuple(stage.replicas))
    try:
        yield stage
    finally:
        await stage.connection.close()
