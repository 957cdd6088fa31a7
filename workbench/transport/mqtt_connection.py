"""One connection to an MQTT broker, from its beginning to its loss; the only module that knows aiomqtt and paho.

MQTT 3.1.1, QoS 0, nothing retained, no broker sessions, TCP_NODELAY on (without it a round trip takes 40 ms and more).
aiomqtt's way to iterate over messages costs two tasks a message, and its way to publish a wait a message; both are
avoided by what it offers in public: a queue class of one's own, and coroutines that need not be awaited to the end.
All its errors become `BrokerError`, and none shows a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aiomqtt

from workbench.errors import BrokerError, ConfigurationError
from workbench.transport.base import Inbound
from workbench.transport.broker_url import BrokerAddress

_KEEPALIVE_S = 30
_CONFIRM_S = 10.0
_DISCONNECT_S = 0.5
_FAILED_SUBSCRIPTION = 128
_REFUSED_LOGIN = {4, 5, 134, 135}  # bad user name or password, not authorised: CONNACK codes of MQTT 3.1.1 and 5

# aiomqtt and paho report what goes wrong by exceptions and callbacks too; their log lines would only repeat it.
_CLIENT_LOGGER = logging.getLogger(f"{__name__}.client")
_CLIENT_LOGGER.setLevel(logging.CRITICAL)


class LoginRefusedError(BrokerError):
    """The broker refused the user name or password: trying again will not help."""


class MqttConnection:
    """A connection that stands; made by `connect`. All methods raise `BrokerError` once it is lost."""

    def __init__(self, address: BrokerAddress, client: aiomqtt.Client) -> None:
        self._address = address
        self._client = client

    @classmethod
    async def connect(
        cls, address: BrokerAddress, identifier: str, receive: Callable[[Inbound], None], timeout_s: float
    ) -> MqttConnection:
        """Connect under the client name `identifier`; `receive` is called on the loop for each message that arrives.

        Raises `BrokerError`, `LoginRefusedError` among them, and `ConfigurationError` for an unusable CA file.
        """
        client = _make_client(address, identifier, receive, timeout_s)
        connection = cls(address, client)
        try:
            await client.__aenter__()
        except (aiomqtt.MqttError, ValueError) as error:  # ValueError: a host name that cannot be one
            await connection.close()
            raise _connect_error(address, error) from error
        except BaseException:
            await connection.close()
            raise
        client.timeout = _CONFIRM_S
        return connection

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe, and wait for the broker's word."""
        try:
            codes = await self._client.subscribe([(topic, 0) for topic in topics])
        except aiomqtt.MqttError as error:
            raise BrokerError(f"the broker at {self._address.place} did not confirm a subscription") from error
        for topic, code in zip(topics, codes, strict=True):
            number: Any = getattr(code, "value", code)
            if number >= _FAILED_SUBSCRIPTION:
                raise BrokerError(
                    f"the broker at {self._address.place} refused the subscription of {topic}",
                    hint="its access rules must allow replication-workbench/#",
                )

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """Unsubscribe, and wait for the broker's word."""
        try:
            await self._client.unsubscribe(list(topics))
        except aiomqtt.MqttError as error:
            raise BrokerError(f"the broker at {self._address.place} did not confirm an unsubscription") from error

    async def send(self, messages: Sequence[Inbound]) -> None:
        """Publish `messages` in their order; return when the last has left this process.

        Messages leave in order, so waiting for the last is enough, and spares each of the others a turn of the loop.
        """
        try:
            for topic, payload in messages[:-1]:
                _begin(self._client.publish(topic, payload, timeout=math.inf))
            for topic, payload in messages[-1:]:
                await self._client.publish(topic, payload, timeout=math.inf)
        except aiomqtt.MqttError as error:
            raise BrokerError(f"publishing failed: {error}") from error

    async def lost(self) -> None:
        """Wait until the connection is lost, which raises `BrokerError`."""
        try:
            await anext(self._client.messages)
        except aiomqtt.MqttError as error:
            raise BrokerError(f"the connection broke: {error.__cause__ or error}") from error
        raise AssertionError("a message was kept in the queue of the MQTT client")

    async def close(self) -> None:
        """Disconnect, whatever state the connection is in. aiomqtt would wait in vain for one that never stood."""
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            await asyncio.wait_for(self._client.__aexit__(None, None, None), _DISCONNECT_S)


def _make_client(
    address: BrokerAddress, identifier: str, receive: Callable[[Inbound], None], timeout_s: float
) -> aiomqtt.Client:
    tcp = address.scheme != "unix"
    client = aiomqtt.Client(
        address.host,
        address.port or 1,  # paho wants one for a unix socket, too
        username=address.user,
        password=address.password,
        identifier=identifier,
        logger=_CLIENT_LOGGER,
        queue_type=_queue_type(receive),
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=True,
        transport="tcp" if tcp else "unix",
        timeout=timeout_s,
        keepalive=_KEEPALIVE_S,
        tls_context=_tls_context(address),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)] if tcp else [],
    )
    client.pending_calls_threshold = 1_000_000
    return client


def _queue_type(receive: Callable[[Inbound], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    """A queue class that passes messages on instead of keeping them."""

    class PassingQueue(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            receive((item.topic.value, item.payload))

    return PassingQueue


def _begin(publishing: Coroutine[Any, Any, None]) -> None:
    """Run a publish up to its first wait, by when the message is queued for the socket, and give up the wait.

    Only without a timeout: on Python 3.11 a timeout would leave a task behind.
    """
    with contextlib.suppress(StopIteration):
        publishing.send(None)
    publishing.close()


def _tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    if address.scheme != "mqtts":
        return None
    try:
        return ssl.create_default_context(cafile=address.ca_path)
    except OSError as error:
        raise ConfigurationError(
            f"the CA file {address.ca_path} cannot be used: {error}", hint="a file of certificates in PEM form"
        ) from error


def _connect_error(address: BrokerAddress, error: Exception) -> BrokerError:
    reason = getattr(error, "rc", None)
    code = getattr(reason, "value", reason)
    if code in _REFUSED_LOGIN:
        return LoginRefusedError(
            f"the broker at {address.place} refused the user name or password",
            hint="give them as mqtt://user:password@host:port",
        )
    if code is not None:
        return BrokerError(f"the broker at {address.place} refused the connection: {error}")
    if "timed out" in str(error):
        hint = "is something else listening there, or does it want mqtts:// instead of mqtt://?"
        return BrokerError(f"no MQTT broker answered at {address.place}", hint=hint)
    hint = "name its CA as ?ca=/path/to/ca.pem" if "CERTIFICATE" in str(error) else "is it running?"
    return BrokerError(f"cannot reach a broker at {address.place}: {error}", hint=hint)
