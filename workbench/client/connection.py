"""One client process's connection to a cluster: requests out, replies matched to whoever waits for them.

Everything that the process's sessions send in one turn of its loop travels in one message for each replica. A
request that has no reply by its deadline is answered without one; nobody waits for ever.

A request may be sent to several replicas one after the other. What waits belongs to the last that was asked; from an
earlier one only success still counts, since all its other words are about a try that the client has given up.
When a leader of a newer term makes itself known, whatever waits for another replica, and only a leader can answer, is
sent to it at once. That is safe: the same (session, sequence) takes effect once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeAlias

from workbench.client.outbox import Outbox, Request
from workbench.errors import BrokerError, CodecError
from workbench.protocol.codec import decode, encode
from workbench.protocol.messages import LeaderNews, Message, Outcome, ReadReply, ReplicaStatus, ReplyBatch, WriteReply
from workbench.protocol.values import Position
from workbench.transport.base import Handler, Inbound, Link
from workbench.transport.mqtt import connect_mqtt
from workbench.transport.topics import Topics

_SWEEP_S = 0.05
_SILENCE_S = 2.0
"""A replica that did not answer is not asked again for so long, if others can be."""

_logger = logging.getLogger(__name__)


Connect: TypeAlias = Callable[[str, Handler], Awaitable[Link]]
"""Makes a transport for a client's name and the handler of what it receives."""


class Answer(NamedTuple):
    """What became of one try: without a `reply`, the time was up. `asked`: every replica that it was sent to."""

    reply: WriteReply | ReadReply | None
    replica: str
    """Who replied."""
    leader: str
    """The leader that this replica believes in; empty if it knows none."""
    asked: tuple[str, ...]


@dataclass(slots=True)
class _Waiting:
    """A request that waits for `replica`, the last that it was sent to; the empty string for nobody."""

    request: Request
    replica: str
    patience_s: float
    until: float
    needs_leader: bool
    deadline: float
    future: asyncio.Future[Answer]
    asked: list[str] = field(default_factory=list)

    def end(self, reply: WriteReply | ReadReply | None = None, replica: str = "", leader: str = "") -> None:
        if not self.future.done():
            self.future.set_result(Answer(reply, replica, leader, tuple(self.asked)))


class ClientConnection:
    """Shared by all sessions of a process. Make it with `open`; close it at the end."""

    def __init__(self, cluster_id: str, members: tuple[str, ...]) -> None:
        self.members = members
        self.observers: tuple[str, ...] = ()
        """Replicas that no policy reads from, but who asks for them by name may."""
        """The replicas; whoever lets them join and leave replaces it."""
        self.leader = members[0]
        """The replica to try first for what only a leader does; learned from replies and news."""
        self.term = 0
        """The newest term that is known to have a leader."""
        self.committed = 0
        """The highest committed index that a replica has told."""
        self.closed = False
        self.known_trouble: Callable[[], str] = lambda: ""
        """Whoever runs the cluster says here what it knows of replicas that cannot answer."""
        self.client_id = f"client-{secrets.token_hex(6)}"
        self._topics = Topics(cluster_id)
        self._loop = asyncio.get_running_loop()
        self._inboxes: dict[str, str] = {}
        """Replica -> its topic: made once, since every request needs it."""
        self._silent_since: dict[str, float] = {}
        """Replica -> when it was last given up for want of an answer; forgotten with its next word."""
        self._applied: dict[str, Position] = {}
        self._waiting: dict[tuple[object, ...], _Waiting] = {}
        self._controls: dict[int, tuple[float, asyncio.Future[ReplicaStatus | None]]] = {}
        self._numbers = itertools.count(1)
        self._outbox = Outbox(self.client_id, self._publish, self._refuse)
        self._link: Link
        self._sweeper: asyncio.Task[None]

    @classmethod
    async def open(cls, broker_url: str, cluster_id: str, members: tuple[str, ...]) -> Self:
        """Connect to the broker. Raises `BrokerError`."""

        async def connect(identifier: str, handler: Handler) -> Link:
            return await connect_mqtt(broker_url, identifier=identifier, handler=handler)

        return await cls.over(connect, cluster_id, members)

    @classmethod
    async def over(cls, connect: Connect, cluster_id: str, members: tuple[str, ...]) -> Self:
        """As `open`, over any transport."""
        connection = cls(cluster_id, members)
        connection._link = await connect(connection.client_id, connection._receive)
        topics = connection._topics
        await connection._link.subscribe(topics.client_inbox(connection.client_id), topics.clients())
        connection._sweeper = asyncio.create_task(connection._sweep(), name="sweep")
        return connection

    async def close(self) -> None:
        """Disconnect; whoever still waits, or asks later, gets no reply."""
        self.closed = True
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        for waiting in self._waiting.values():
            waiting.end()
        self._waiting.clear()
        for _, future in self._controls.values():
            _set(future, None)
        self._controls.clear()
        await self._link.close()

    async def lost(self) -> None:
        """Wait until the broker is gone for good. Raises `BrokerError` then."""
        await self._link.closed()
        raise BrokerError("the connection to the broker was closed")

    def trouble(self) -> str:
        """Why replicas may not answer, as far as it is known; for error messages."""
        cut_off = "" if self._link.connected else "there is no connection to the broker"
        return "; ".join(filter(None, (cut_off, self.known_trouble())))

    @property
    def applied(self) -> Mapping[str, Position]:
        """Replica -> the position at which it last read for this process."""
        return self._applied

    def is_silent(self, replica: str) -> bool:
        """Whether it has not answered lately: to be asked only if nobody else can be."""
        since = self._silent_since.get(replica)
        return since is not None and self._loop.time() - since < _SILENCE_S

    # Requests.

    def ask(
        self, replica: str, request: Request, *, patience_s: float, until: float, needs_leader: bool
    ) -> asyncio.Future[Answer]:
        """Send a request to `replica` and wait for `patience_s`, at most `until` (on the clock of the event loop).

        The same request may be asked again, anywhere, once the future is done. With an empty `replica` nothing is sent:
        an answer to an earlier try, or news of a leader, may still come. `needs_leader`: news of another leader sends
        the request there, which begins the wait anew.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        deadline = min(self._loop.time() + patience_s, until)
        waiting = _Waiting(request, replica, patience_s, until, needs_leader, deadline, future)
        if self.closed:
            waiting.end()
            return future
        self._waiting[request.key] = waiting
        if replica:
            self._send(waiting, replica)
        return future

    def control(
        self, replica: str, make: Callable[[int, str], Message], timeout_s: float
    ) -> asyncio.Future[ReplicaStatus | None]:
        """Send what `make(request, reply_to)` returns to the process of `replica`; its status, or None if the time is
        up."""
        number = next(self._numbers)
        self._publish(self._topics.replica_control(replica), encode(make(number, self.client_id)))
        future: asyncio.Future[ReplicaStatus | None] = self._loop.create_future()
        if self.closed:
            future.set_result(None)
        else:
            self._controls[number] = (self._loop.time() + timeout_s, future)
        return future

    def _send(self, waiting: _Waiting, replica: str) -> None:
        waiting.replica = replica
        waiting.asked.append(replica)
        topic = self._inboxes.get(replica) or self._inboxes.setdefault(replica, self._topics.replica_inbox(replica))
        self._outbox.add(replica, topic, waiting.request)

    def _publish(self, topic: str, frame: bytes) -> None:
        self._link.publish(topic, frame)

    # Replies.

    def _receive(self, batch: Sequence[Inbound]) -> None:
        for _, payload in batch:
            try:
                message = decode(payload)
            except CodecError as error:
                _logger.warning("dropped a reply: %s", error)
                continue
            match message:
                case ReplyBatch():
                    self._on_replies(message)
                case LeaderNews(term=term, leader=leader):
                    self._learn(leader, term, is_news=True)
                case ReplicaStatus(request=number) if number in self._controls:
                    _set(self._controls.pop(number)[1], message)

    def _on_replies(self, batch: ReplyBatch) -> None:
        self.committed = max(self.committed, batch.committed)
        self._silent_since.pop(batch.replica, None)
        for write in batch.writes:
            self._on_reply(("write", write.session, write.sequence), write, batch)
        for read in batch.reads:
            if read.outcome is Outcome.OK:
                self._applied[batch.replica] = read.position
            self._on_reply(("read", read.session, read.request), read, batch)
        self._learn(batch.leader, batch.term)  # after the replies: what has just been answered need not be sent again

    def _on_reply(self, key: tuple[object, ...], reply: WriteReply | ReadReply, batch: ReplyBatch) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and (reply.outcome is Outcome.OK or batch.replica == waiting.replica):
            del self._waiting[key]
            waiting.end(reply, batch.replica, batch.leader)

    def _refuse(self, replica: str, writes: tuple[WriteReply, ...], reads: tuple[ReadReply, ...]) -> None:
        """A request cannot be sent at all: as if the replica had refused it."""
        self._on_replies(ReplyBatch(replica, "", writes, reads))

    # Leaders.

    def heard_of_leader(self, leader: str, term: int) -> None:
        """Whoever runs the cluster has seen `leader` lead in `term`."""
        self._learn(leader, term)

    def _learn(self, leader: str, term: int, *, is_news: bool = False) -> None:
        """Somebody believes in `leader`. Who knows of none, or of an older one, tells nothing new."""
        if not leader or term < self.term:
            return
        is_newer, self.term = term > self.term, term
        if leader == self.leader and not (is_newer and is_news):
            return
        self.leader = leader
        for waiting in self._waiting.values():
            # A leader that was elected again has forgotten what waited in its earlier reign.
            if waiting.needs_leader and (waiting.replica != leader or is_news):
                waiting.deadline = min(self._loop.time() + waiting.patience_s, waiting.until)
                self._send(waiting, leader)

    # Time.

    async def _sweep(self) -> None:
        """Answer requests whose time is up."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            for key in [key for key, waiting in self._waiting.items() if waiting.deadline <= now]:
                waiting = self._waiting.pop(key)
                self._silent_since[waiting.replica] = now
                waiting.end()
            for number in [number for number, (deadline, _) in self._controls.items() if deadline <= now]:
                _set(self._controls.pop(number)[1], None)


def _set(future: asyncio.Future[ReplicaStatus | None], status: ReplicaStatus | None) -> None:
    if not future.done():
        future.set_result(status)
