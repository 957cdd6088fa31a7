"""`Transport` over a real MQTT broker, whose connection is made again when it is lost.

What has arrived together is handed over together; what is published leaves in order, as far as the bound allows.
After a lost connection the subscriptions are renewed; what was published meanwhile is dropped and counted: replicas
notice the gap and fetch. What cannot be mended, the handler's own exceptions included, ends `closed()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

from workbench.errors import BrokerError
from workbench.transport.base import Handler, Inbound
from workbench.transport.broker_url import BrokerAddress, parse_broker_url
from workbench.transport.fragments import MARKER, Assembler, Fragmenter
from workbench.transport.mqtt_connection import LoginRefusedError, MqttConnection
from workbench.transport.queues import Incoming, Outgoing

LOGGER = logging.getLogger(__name__)

OUTGOING_BYTES_MAX = 256 * 1024 * 1024
MESSAGE_BYTES_MAX = 128 * 1024 * 1024
"""What `publish` takes; what the broker gets is never longer than a fragment."""
_UNFINISHED_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
_FLUSH_S = 2.0
_RETRY_S_MIN = 0.05
_RETRY_S_MAX = 2.0


async def connect_mqtt(
    url: str,
    *,
    identifier: str,
    handler: Handler,
    on_reconnect: Callable[[], None] | None = None,
    connect_timeout_s: float = 10.0,
    reconnect_for_s: float = 60.0,
    outgoing_bytes_max: int = OUTGOING_BYTES_MAX,
) -> MqttTransport:
    """Connect to the broker at `url` (see `broker_url`) under the client name `identifier`, unique at that broker.

    `on_reconnect` is called after a lost connection has been made again, which is tried for `reconnect_for_s`
    (0: not at all). Raises `ConfigurationError` for a bad URL, `BrokerError` when the broker cannot be reached or
    refuses.
    """
    address = parse_broker_url(url)
    transport = MqttTransport(address, identifier, handler, on_reconnect, reconnect_for_s, outgoing_bytes_max)
    await transport._open(connect_timeout_s)
    return transport


class MqttTransport:
    """A `Transport`, made by `connect_mqtt`. Leave an `async with` block or `close` it."""

    def __init__(
        self,
        address: BrokerAddress,
        identifier: str,
        handler: Handler,
        on_reconnect: Callable[[], None] | None,
        reconnect_for_s: float,
        outgoing_bytes_max: int,
    ) -> None:
        self.address = address
        self.identifier = identifier
        self.reconnects = 0
        """How often a lost connection was made again."""
        self._away_until = 0.0
        self._loop = asyncio.get_running_loop()
        self._on_reconnect = on_reconnect
        self._reconnect_for_s = reconnect_for_s
        self._connection: MqttConnection | None = None
        self._topics: dict[str, None] = {}
        self._incoming = Incoming(handler, self._fail)
        self._fragmenter = Fragmenter()
        self._assembler = Assembler(_UNFINISHED_BYTES_MAX)
        self._outgoing = Outgoing(outgoing_bytes_max)
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None

    async def subscribe(self, *topics: str) -> None:
        """As `Transport.subscribe`; the topics are subscribed again after a lost connection."""
        await self._standing_connection().subscribe(topics)
        self._topics.update(dict.fromkeys(topics))

    async def unsubscribe(self, *topics: str) -> None:
        """As `Transport.unsubscribe`."""
        for topic in topics:
            self._topics.pop(topic, None)
        await self._standing_connection().unsubscribe(topics)

    def publish(self, topic: str, payload: bytes) -> None:
        """As `Transport.publish`. Long messages leave in fragments; those above 128 MiB are dropped, too."""
        if self._fragmenter.takes_whole(payload):
            self._publish(topic, payload)
        elif len(payload) > MESSAGE_BYTES_MAX:
            self._outgoing.drop(1, f"a message of {len(payload)} bytes is too long")
        else:
            for fragment in self._fragmenter.cut(payload):
                self._publish(topic, fragment)

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._connection is None:
            self._outgoing.drop(1, "no connection to the broker")
        elif self._outgoing or self._connection.busy:
            self._outgoing.add(topic, payload)
        else:
            self._connection.send(topic, payload)

    @property
    def outgoing_bytes(self) -> int:
        """As `Transport.outgoing_bytes`."""
        return self._outgoing.bytes

    @property
    def dropped_messages(self) -> int:
        """Messages given to `publish` that never left, for want of a connection or of room."""
        return self._outgoing.dropped

    @property
    def incoming_messages(self) -> int:
        """Messages that have arrived and that the handler has not got yet."""
        return len(self._incoming)

    @property
    def connected(self) -> bool:
        """False between losing a connection and making it again, and after the end."""
        return self._connection is not None

    def cut(self, for_s: float) -> None:
        """As `CanBeCut.cut`."""
        self._away_until = max(self._away_until, self._loop.time() + for_s)
        if self._connection is not None:
            self._connection.cut()

    async def closed(self) -> None:
        """Wait until the connection is closed, or lost for good.

        Raises `BrokerError` when it was lost, and any exception that the handler or `on_reconnect` raised.
        """
        await asyncio.shield(self._ended)

    async def close(self) -> None:
        """Send what is waiting (for two seconds at most), disconnect, and leave no task behind."""
        if self._connection is not None and not self._ended.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._outgoing.none(), _FLUSH_S)
        if self._task is not None:
            if not self._task.cancelling():  # a second time would interrupt its disconnecting
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:  # the task was cancelled before its first step
            await connection.close()
        self._end(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connect(self, timeout_s: float) -> MqttConnection:
        return await MqttConnection.connect(self.address, self.identifier, self._receive, self._send_waiting, timeout_s)

    def _receive(self, message: Inbound) -> None:
        topic, payload = message
        if payload[:1] != MARKER:
            self._incoming.add(message)
        elif (whole := self._assembler.take(topic, payload)) is not None:
            self._incoming.add((topic, whole))

    async def _open(self, timeout_s: float) -> None:
        connection = await self._connect(timeout_s)
        self._connection = connection
        self._task = self._loop.create_task(self._run(connection), name=f"mqtt-{self.identifier}")

    async def _run(self, connection: MqttConnection) -> None:
        """Serve one connection after the other until one cannot be made."""
        try:
            while True:
                reason = await self._serve(connection)
                LOGGER.warning("lost the broker at %s: %s", self.address, reason)
                self._connection = connection = await self._connect_again()
                self.reconnects += 1
                LOGGER.warning("connected to the broker at %s again", self.address)
        except Exception as error:  # noqa: BLE001
            self._end(error)

    async def _serve(self, connection: MqttConnection) -> BrokerError:
        """Wait until the connection is lost; return why. Disconnects when cancelled."""
        try:
            if self.reconnects and self._on_reconnect is not None:
                self._on_reconnect()
            await connection.lost()
        except BrokerError as error:
            return error
        finally:
            self._connection = None
            self._outgoing.drop_all("no connection to the broker")
            await connection.close()
        raise AssertionError("a lost connection raises")

    async def _connect_again(self) -> MqttConnection:
        """Try with growing pauses, a random part in them so that clients do not come in step."""
        await asyncio.sleep(max(0.0, self._away_until - self._loop.time()))
        give_up_at = self._loop.time() + self._reconnect_for_s
        pause_s = _RETRY_S_MIN
        while (left_s := give_up_at - self._loop.time()) > 0:
            await asyncio.sleep(min(left_s, pause_s * random.uniform(0.5, 1.0)))
            pause_s = min(pause_s * 2, _RETRY_S_MAX)
            try:
                return await self._connect_and_subscribe(max(left_s, 1.0))
            except LoginRefusedError:
                raise
            except BrokerError as error:
                LOGGER.info("%s", error)
        raise BrokerError(f"lost the broker at {self.address.place} for good", hint="is it still running?")

    async def _connect_and_subscribe(self, timeout_s: float) -> MqttConnection:
        connection = await self._connect(timeout_s)
        try:
            if self._topics:
                await connection.subscribe(tuple(self._topics))
        except BaseException:
            await connection.close()
            raise
        return connection

    def _send_waiting(self) -> None:
        """The socket takes more again."""
        while self._outgoing and self._connection is not None and not self._connection.busy:
            self._connection.send(*self._outgoing.take())

    def _standing_connection(self) -> MqttConnection:
        if self._connection is None:
            raise BrokerError(f"there is no connection to the broker at {self.address.place}")
        return self._connection

    def _fail(self, error: Exception) -> None:
        """The handler raised `error`: whoever has dealt with half a batch must not get the next."""
        self._end(error)
        if self._task is not None:
            self._task.cancel()

    def _end(self, reason: Exception | None) -> None:
        self._incoming.close()
        if self._ended.done():
            return
        if reason is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(reason)
            self._ended.exception()  # nobody has to ask: the owner may just close
