"""A broker inside one process, for tests: deterministic, and without a clock.

`MemoryBroker` holds what was published and delivers it one message at a time, either when it is told to
(`deliver_next`, `run_until_idle`; no event loop needed) or by itself on the running loop (`automatic=True`). Without a
`random.Random` it delivers in the order of publishing. With one it draws the next publisher, topic and receiver from
it, which shuffles all that MQTT does not promise and keeps what it does: order for one publisher, topic and receiver.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from random import Random
from typing import TypeAlias

from workbench.errors import BrokerError
from workbench.transport.base import Handler

_Channel: TypeAlias = tuple["MemoryTransport", str, "MemoryTransport"]
"""(publisher, topic, receiver)"""


class MemoryBroker:
    """Connect transports with `connect`; see the module for the order of delivery."""

    def __init__(self, random: Random | None = None, *, automatic: bool = False) -> None:
        self._random = random
        self._automatic = automatic
        self._subscribers: dict[str, dict[MemoryTransport, None]] = {}
        self._waiting: dict[_Channel, deque[bytes]] = {}
        self._order: deque[_Channel] = deque()  # one item a message, in the order of publishing

    def connect(self, handler: Handler, *, identifier: str = "") -> MemoryTransport:
        """A new transport whose messages go to `handler`, one in each call."""
        return MemoryTransport(self, handler, identifier)

    @property
    def waiting(self) -> int:
        """Messages not delivered yet, counted for each receiver."""
        return len(self._order)

    def deliver_next(self) -> bool:
        """Deliver one message; False when there is none. What the receiver's handler raises comes out here."""
        if not self._order:
            return False
        channel = self._take_channel()
        messages = self._waiting[channel]
        payload = messages.popleft()
        if not messages:
            del self._waiting[channel]
        publisher, topic, receiver = channel
        publisher._outgoing_bytes -= len(payload)
        receiver._receive(topic, payload)
        return True

    def run_until_idle(self, deliveries_max: int = 100_000) -> int:
        """Deliver until nothing waits; return how many. Raises `BrokerError` when it does not come to rest."""
        for delivered in range(deliveries_max):
            if not self.deliver_next():
                return delivered
        raise BrokerError(f"{self.waiting} messages still wait after {deliveries_max} deliveries")

    def _take_channel(self) -> _Channel:
        if self._random is None:
            return self._order.popleft()
        channel = self._random.choice(list(self._waiting))
        self._order.remove(channel)
        return channel

    def _publish(self, publisher: MemoryTransport, topic: str, payload: bytes) -> None:
        for receiver in self._subscribers.get(topic, {}):
            channel = (publisher, topic, receiver)
            self._waiting.setdefault(channel, deque()).append(payload)
            self._order.append(channel)
            publisher._outgoing_bytes += len(payload)
            if self._automatic:
                asyncio.get_running_loop().call_soon(self._deliver_automatically)

    def _deliver_automatically(self) -> None:
        with contextlib.suppress(Exception):  # the receiver has kept it, and its `closed` raises it
            self.deliver_next()

    def _disconnect(self, transport: MemoryTransport) -> None:
        """Forget its subscriptions, and what waits for it; what it has published is on its way."""
        for subscribers in self._subscribers.values():
            subscribers.pop(transport, None)
        for channel in [channel for channel in self._waiting if channel[2] is transport]:
            channel[0]._outgoing_bytes -= sum(map(len, self._waiting.pop(channel)))
        self._order = deque(channel for channel in self._order if channel[2] is not transport)


class MemoryTransport:
    """One connection to a `MemoryBroker`; a `Transport`. `listen` and `forget` are its waitless (un)subscribe."""

    def __init__(self, broker: MemoryBroker, handler: Handler, identifier: str) -> None:
        self.identifier = identifier
        self._broker = broker
        self._handler = handler
        self._outgoing_bytes = 0
        self._open = True
        self._reason: Exception | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def listen(self, *topics: str) -> None:
        """Start receiving messages of `topics` that are published from now on."""
        self._check_open()
        for topic in topics:
            self._broker._subscribers.setdefault(topic, {})[self] = None

    def forget(self, *topics: str) -> None:
        """Stop receiving messages of `topics`; those published before still arrive."""
        self._check_open()
        for topic in topics:
            self._broker._subscribers.get(topic, {}).pop(self, None)

    async def subscribe(self, *topics: str) -> None:
        """As `Transport.subscribe`."""
        self.listen(*topics)

    async def unsubscribe(self, *topics: str) -> None:
        """As `Transport.unsubscribe`."""
        self.forget(*topics)

    def publish(self, topic: str, payload: bytes) -> None:
        """As `Transport.publish`; dropped when the transport is closed."""
        if self._open:
            self._broker._publish(self, topic, payload)

    @property
    def outgoing_bytes(self) -> int:
        """Bytes published that no receiver has got yet, counted for each receiver."""
        return self._outgoing_bytes

    async def closed(self) -> None:
        """As `Transport.closed`; also raises what the handler raised."""
        if self._open:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._reason is not None:
            raise self._reason

    async def close(self) -> None:
        """Disconnect; what was published is on its way."""
        self._end(None)

    def lose(self, reason: str = "the connection was lost") -> None:
        """Let the connection break, for tests: `closed` raises `BrokerError`."""
        self._end(BrokerError(reason))

    def _receive(self, topic: str, payload: bytes) -> None:
        try:
            self._handler([(topic, payload)])
        except Exception as error:
            self._end(error)
            raise

    def _end(self, reason: Exception | None) -> None:
        if not self._open:
            return
        self._open = False
        self._reason = reason
        self._broker._disconnect(self)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _check_open(self) -> None:
        if not self._open:
            raise BrokerError("the connection is closed")
