"""What a client process has to send, gathered for one turn of its event loop, then one message for each replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from workbench.protocol.codec import encode
from workbench.protocol.messages import ClientBatch, Outcome, Read, ReadReply, WriteReply
from workbench.protocol.values import Transaction
from workbench.transport.mqtt import MESSAGE_BYTES_MAX

_BATCH_BYTES_MAX = 1024 * 1024
"""Requests that together take up more than this travel in messages of their own."""

Refuse = Callable[[str, tuple[WriteReply, ...], tuple[ReadReply, ...]], None]


class Request(NamedTuple):
    """A write or a read, and what its reply is known by."""

    content: Transaction | Read
    key: tuple[object, ...]

    @classmethod
    def of(cls, content: Transaction | Read) -> Request:
        """The request that asks for `content`."""
        if isinstance(content, Transaction):
            return cls(content, ("write", content.session, content.sequence))
        return cls(content, ("read", content.session, content.request))


class Outbox:
    """Publishes batches of requests. One that no message can hold is handed to `refuse`, with the replica's name."""

    def __init__(self, client_id: str, publish: Callable[[str, bytes], Any], refuse: Refuse) -> None:
        self._client_id = client_id
        self._publish = publish
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._topics: dict[str, str] = {}
        self._writes: dict[str, list[Transaction]] = {}
        self._reads: dict[str, list[Read]] = {}
        self._flush_is_due = False

    def add(self, replica: str, topic: str, request: Request) -> None:
        """Send a request to `replica`, which listens to `topic`, at the end of this turn of the event loop."""
        self._topics[replica] = topic
        if isinstance(request.content, Transaction):
            self._writes.setdefault(replica, []).append(request.content)
        else:
            self._reads.setdefault(replica, []).append(request.content)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        writes, self._writes = self._writes, {}
        reads, self._reads = self._reads, {}
        for replica in writes.keys() | reads.keys():
            batch = ClientBatch(self._client_id, tuple(writes.get(replica, ())), tuple(reads.get(replica, ())))
            self._send(replica, batch)

    def _send(self, replica: str, batch: ClientBatch) -> None:
        """Publish a batch, in pieces if it is long."""
        frame = encode(batch)
        if len(frame) <= _BATCH_BYTES_MAX:
            self._publish(self._topics[replica], frame)
        elif len(batch.writes) + len(batch.reads) > 1:
            for write in batch.writes:
                self._send(replica, ClientBatch(self._client_id, writes=(write,)))
            for read in batch.reads:
                self._send(replica, ClientBatch(self._client_id, reads=(read,)))
        elif len(frame) <= MESSAGE_BYTES_MAX:
            self._publish(self._topics[replica], frame)
        else:
            self._refuse_batch(replica, batch, f"{len(frame)} bytes of SQL and parameters are too many for one message")

    def _refuse_batch(self, replica: str, batch: ClientBatch, reason: str) -> None:
        writes = tuple(WriteReply(one.session, one.sequence, Outcome.REFUSED, reason=reason) for one in batch.writes)
        reads = tuple(ReadReply(one.session, one.request, Outcome.REFUSED, reason=reason) for one in batch.reads)
        self._refuse(replica, writes, reads)
