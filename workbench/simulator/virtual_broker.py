"""A broker in virtual time: what is published reaches the subscribers of that moment a little later, in order.

Contract of `Transport`: a pipe without memory, QoS 0. The way of a message takes as long as over mosquitto on one
machine, drawn from the world's seed; order is kept for one publisher and receiver. What arrives together is handed over
together. A broker that is down, or a connection that is, loses what is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from random import Random

from workbench.errors import BrokerError
from workbench.simulator.durations import transit_s
from workbench.transport.base import Handler, Inbound

_RECONNECT_S = 0.05


@dataclass(frozen=True, slots=True)
class VirtualBrokerInfo:
    """As `BrokerInfo` of a real one."""

    name: str = "simulated"
    version: str = "1"
    url: str = "simulated://"
    settings: Mapping[str, str] = field(default_factory=dict)


class VirtualBroker:
    """Connect transports with `connect`."""

    def __init__(self, random: Random) -> None:
        self.url = "simulated://"
        self.info = VirtualBrokerInfo()
        self.process = None
        self.messages = 0
        """Delivered, counted for each receiver."""
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._subscribers: dict[str, dict[VirtualTransport, None]] = {}
        self._due: dict[tuple[VirtualTransport, VirtualTransport], float] = {}
        self._transports: set[VirtualTransport] = set()
        self._down = False

    def connect(self, identifier: str, handler: Handler) -> VirtualTransport:
        """A new connection whose messages go to `handler`."""
        transport = VirtualTransport(self, identifier, handler)
        self._transports.add(transport)
        return transport

    async def __aenter__(self) -> VirtualBroker:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing has to end."""

    async def halt(self) -> int | None:
        """Nobody hears anybody any more, and everybody's connection is lost; None when it is down already."""
        if self._down:
            return None
        self._down = True
        for transport in sorted(self._transports, key=lambda one: one.identifier):
            transport.cut(0.0)
        return 0

    async def restart(self) -> None:
        """Connections can be made again."""
        self._down = False

    @property
    def is_down(self) -> bool:
        """Between `halt` and `restart`."""
        return self._down

    def subscribe(self, transport: VirtualTransport, topic: str) -> None:
        """Deliver what is published from now on."""
        self._subscribers.setdefault(topic, {})[transport] = None

    def unsubscribe(self, transport: VirtualTransport, topic: str) -> None:
        """Deliver no more."""
        self._subscribers.get(topic, {}).pop(transport, None)

    def forget(self, transport: VirtualTransport) -> None:
        """It is closed."""
        self._transports.discard(transport)
        for subscribers in self._subscribers.values():
            subscribers.pop(transport, None)
        self._due = {link: due for link, due in self._due.items() if transport not in link}

    def publish(self, publisher: VirtualTransport, topic: str, payload: bytes) -> None:
        """Send to all who listen now."""
        now = self._loop.time()
        for receiver in self._subscribers.get(topic, ()):
            link = (publisher, receiver)
            due = self._due[link] = max(now + transit_s(self._random), self._due.get(link, 0.0))
            receiver.plan(due, (topic, payload))

    def transit_s(self) -> float:
        """How long a message takes now."""
        return transit_s(self._random)

    def delivered(self) -> None:
        """Count."""
        self.messages += 1


class VirtualTransport:
    """One connection to a `VirtualBroker`; made again by itself when it is lost."""

    def __init__(self, broker: VirtualBroker, identifier: str, handler: Handler) -> None:
        self.identifier = identifier
        self.reconnects = 0
        self._broker = broker
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._topics: dict[str, None] = {}
        self._connected = True
        self._closed = False
        self._life = 0
        self._arrived: list[Inbound] = []
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._context = copy_context()
        """Of whoever connects: whatever arrives is handled by its process."""

    def _call_at(self, when_s: float, callback: Callable[..., object], *args: object) -> None:
        self._loop.call_at(when_s, callback, *args, context=self._context)

    async def subscribe(self, *topics: str) -> None:
        """As `Transport.subscribe`: a way there and back."""
        await asyncio.sleep(self._broker.transit_s() + self._broker.transit_s())
        if not self._connected:
            raise BrokerError("there is no connection to the simulated broker")
        for topic in topics:
            self._topics[topic] = None
            self._broker.subscribe(self, topic)

    async def unsubscribe(self, *topics: str) -> None:
        """As `Transport.unsubscribe`."""
        await asyncio.sleep(self._broker.transit_s())
        for topic in topics:
            self._topics.pop(topic, None)
            self._broker.unsubscribe(self, topic)

    def publish(self, topic: str, payload: bytes) -> None:
        """As `Transport.publish`."""
        if self._connected:
            self._broker.publish(self, topic, payload)

    def plan(self, due: float, message: Inbound) -> None:
        """A message is on its way and arrives at `due`."""
        self._call_at(due, self._arrive, self._life, message)

    def _arrive(self, life: int, message: Inbound) -> None:
        if self._closed or life != self._life:
            return
        self._broker.delivered()
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived.append(message)

    def _hand_over(self) -> None:
        batch, self._arrived = self._arrived, []
        if self._closed:
            return
        try:
            self._handler(batch)
        except Exception as error:  # noqa: BLE001  as the real transport: its owner gets it from `closed`
            self._closed = True
            if not self._ended.done():
                self._ended.set_exception(error)
                self._ended.exception()

    def cut(self, for_s: float) -> None:
        """The connection breaks, with what is on its way; it is made again after `for_s`, when the broker is up."""
        if self._closed or not self._connected:
            return
        self._connected = False
        self._life += 1
        for topic in self._topics:
            self._broker.unsubscribe(self, topic)
        self._call_at(self._loop.time() + max(for_s, _RECONNECT_S), self._connect_again)

    def _connect_again(self) -> None:
        if self._closed:
            return
        if self._broker.is_down:
            self._call_at(self._loop.time() + _RECONNECT_S, self._connect_again)
            return
        self._connected = True
        self.reconnects += 1
        for topic in self._topics:
            self._broker.subscribe(self, topic)

    @property
    def outgoing_bytes(self) -> int:
        """Everything leaves at once."""
        return 0

    @property
    def connected(self) -> bool:
        """False between losing a connection and making it again, and after the end."""
        return self._connected and not self._closed

    async def closed(self) -> None:
        """As `Transport.closed`."""
        await asyncio.shield(self._ended)

    async def close(self) -> None:
        """As `Transport.close`."""
        self.drop()

    def drop(self) -> None:
        """Close at once."""
        self._closed = True
        self._broker.forget(self)
        if not self._ended.done():
            self._ended.set_result(None)
