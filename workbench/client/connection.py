"""One client process's connection to a cluster: requests out, replies matched to whoever waits for them.

Everything that the process's sessions send in one turn of its loop travels in one message for each replica. A
request that has no reply by its deadline is answered with None; nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

from workbench.errors import BrokerError, CodecError
from workbench.protocol.codec import decode, encode
from workbench.protocol.messages import (
    ClientBatch,
    Message,
    Outcome,
    Read,
    ReadReply,
    ReplicaStatus,
    ReplyBatch,
    Transaction,
    WriteReply,
)
from workbench.transport.base import Inbound
from workbench.transport.mqtt import MESSAGE_BYTES_MAX, MqttTransport, connect_mqtt
from workbench.transport.topics import Topics

Answer: TypeAlias = tuple[str, WriteReply | ReadReply] | ReplicaStatus | None
"""(replica, its reply), a status, or None when the time was up."""

_SWEEP_S = 0.05
_BATCH_BYTES_MAX = 1024 * 1024
"""Requests that together take up more than this travel in messages of their own."""

_logger = logging.getLogger(__name__)


class ClientConnection:
    """Shared by all sessions of a process. Make it with `open`; close it at the end."""

    def __init__(self, cluster_id: str, members: tuple[str, ...]) -> None:
        self.members = members
        self.leader = members[0]
        """The replica to try first for what only a leader does; learned from replies."""
        self.closed = False
        self.known_trouble: Callable[[], str] = lambda: ""
        """Whoever runs the cluster says here what it knows of replicas that cannot answer."""
        self.client_id = f"client-{secrets.token_hex(6)}"
        self._topics = Topics(cluster_id)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[tuple[object, ...], tuple[float, asyncio.Future[Answer]]] = {}
        self._writes: dict[str, list[Transaction]] = {}
        self._reads: dict[str, list[Read]] = {}
        self._flush_due = False
        self._requests = itertools.count(1)
        self._transport: MqttTransport
        self._sweeper: asyncio.Task[None]

    @classmethod
    async def open(cls, broker_url: str, cluster_id: str, members: tuple[str, ...]) -> Self:
        """Connect to the broker. Raises `BrokerError`."""
        connection = cls(cluster_id, members)
        connection._transport = await connect_mqtt(
            broker_url, identifier=connection.client_id, handler=connection._receive
        )
        await connection._transport.subscribe(connection._topics.client_inbox(connection.client_id))
        connection._sweeper = asyncio.create_task(connection._sweep(), name="sweep")
        return connection

    async def close(self) -> None:
        """Disconnect; whoever still waits, or asks later, gets None."""
        self.closed = True
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        for _, future in self._waiting.values():
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
        await self._transport.close()

    def trouble(self) -> str:
        """Why replicas may not answer, as far as it is known; for error messages."""
        cut_off = "" if self._transport.connected else "there is no connection to the broker"
        return "; ".join(filter(None, (cut_off, self.known_trouble())))

    # Requests.

    def write(self, replica: str, transaction: Transaction, timeout_s: float) -> asyncio.Future[Answer]:
        """Send a write to `replica`. The same (session, sequence) may be sent again, anywhere."""
        self._writes.setdefault(replica, []).append(transaction)
        self._flush_soon()
        return self._expect(("write", transaction.session, transaction.sequence), timeout_s)

    def read(self, replica: str, read: Read, timeout_s: float) -> asyncio.Future[Answer]:
        """Send a read to `replica`."""
        self._reads.setdefault(replica, []).append(read)
        self._flush_soon()
        return self._expect(("read", read.session, read.request), timeout_s)

    def control(self, replica: str, make: Callable[[int, str], Message], timeout_s: float) -> asyncio.Future[Answer]:
        """Send what `make(request, reply_to)` returns to the process of `replica`; it answers with its status."""
        request = next(self._requests)
        self._transport.publish(self._topics.replica_control(replica), encode(make(request, self.client_id)))
        return self._expect(("status", request), timeout_s)

    def _expect(self, key: tuple[object, ...], timeout_s: float) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self.closed:
            future.set_result(None)
            return future
        self._waiting[key] = (self._loop.time() + timeout_s, future)
        return future

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        writes, self._writes = self._writes, {}
        reads, self._reads = self._reads, {}
        for replica in writes.keys() | reads.keys():
            batch = ClientBatch(self.client_id, tuple(writes.get(replica, ())), tuple(reads.get(replica, ())))
            self._send(replica, batch)

    def _send(self, replica: str, batch: ClientBatch) -> None:
        """Publish a batch, in pieces if it is long. A request that no message can hold is refused here."""
        frame = encode(batch)
        if len(frame) <= _BATCH_BYTES_MAX:
            self._transport.publish(self._topics.replica_inbox(replica), frame)
        elif len(batch.writes) + len(batch.reads) > 1:
            for write in batch.writes:
                self._send(replica, ClientBatch(self.client_id, writes=(write,)))
            for read in batch.reads:
                self._send(replica, ClientBatch(self.client_id, reads=(read,)))
        elif len(frame) <= MESSAGE_BYTES_MAX:
            self._transport.publish(self._topics.replica_inbox(replica), frame)
        else:
            self._refuse(replica, batch, f"{len(frame)} bytes of SQL and parameters are too many for one message")

    def _refuse(self, replica: str, batch: ClientBatch, reason: str) -> None:
        writes = tuple(WriteReply(one.session, one.sequence, Outcome.REFUSED, reason=reason) for one in batch.writes)
        reads = tuple(ReadReply(one.session, one.request, Outcome.REFUSED, reason=reason) for one in batch.reads)
        self._on_replies(ReplyBatch(replica, "", writes, reads))

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
                case ReplicaStatus(request=request):
                    self._resolve(("status", request), message)

    def _on_replies(self, batch: ReplyBatch) -> None:
        if batch.leader:
            self.leader = batch.leader
        for write in batch.writes:
            self._resolve(("write", write.session, write.sequence), (batch.replica, write))
        for read in batch.reads:
            self._resolve(("read", read.session, read.request), (batch.replica, read))

    def _resolve(self, key: tuple[object, ...], answer: Answer) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(answer)

    async def _sweep(self) -> None:
        """Answer requests whose time is up."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            for key in [key for key, (deadline, _) in self._waiting.items() if deadline <= now]:
                self._resolve(key, None)

    async def lost(self) -> None:
        """Wait until the broker is gone for good. Raises `BrokerError` then."""
        await self._transport.closed()
        raise BrokerError("the connection to the broker was closed")
