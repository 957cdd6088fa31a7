"""One connection to an MQTT broker, from its beginning to its loss; the only module that knows aiomqtt and paho.

MQTT 3.1.1, QoS 0, nothing retained, no broker sessions, TCP_NODELAY on (without it a round trip takes 40 ms and more).
aiomqtt connects, subscribes, keeps alive and notices the loss. Messages themselves pass it by: it would take two
tasks for each that arrives, and three turns of the event loop for each that leaves. They go straight through the paho
client beneath it, by paho's own interface for foreign event loops (docs/decisions/0004-messages-pass-aiomqtt-by.md).
All errors become `BrokerError`, and none shows a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage

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
    """A connection that stands; made by `connect`. All coroutines raise `BrokerError` once it is lost."""

    def __init__(self, address: BrokerAddress, client: aiomqtt.Client) -> None:
        self._address = address
        self._client = client
        self._paho: PahoClient = client._client  # aiomqtt has no public way to it
        self._loop = asyncio.get_running_loop()
        self._waiting_for: int | None = None
        """File descriptor of the socket that takes no more at the moment."""
        self._on_free: Callable[[], None] = lambda: None

    @classmethod
    async def connect(
        cls,
        address: BrokerAddress,
        identifier: str,
        receive: Callable[[Inbound], None],
        on_free: Callable[[], None],
        timeout_s: float,
    ) -> MqttConnection:
        """Connect under the client name `identifier`.

        `receive` is called on the loop for each message that arrives, `on_free` when `busy` has ended.

        Raises `BrokerError`, `LoginRefusedError` among them, and `ConfigurationError` for an unusable CA file.
        """
        client = _make_client(address, identifier, timeout_s)
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
        connection._bypass(receive, on_free)
        return connection

    def _bypass(self, receive: Callable[[Inbound], None], on_free: Callable[[], None]) -> None:
        """Take arriving and leaving messages into our own hands."""

        def on_message(_client: PahoClient, _userdata: Any, message: MQTTMessage) -> None:
            receive((message.topic, bytes(message.payload)))

        self._on_free = on_free
        self._paho.on_message = on_message
        self._paho.on_publish = None
        self._paho.disable_logger()  # it is asked several times a message whether it logs
        self._paho.on_socket_register_write = None  # from now on paho writes to the socket at once
        self._paho.on_socket_unregister_write = None

    @property
    def busy(self) -> bool:
        """The socket takes no more at the moment; `on_free` will be called."""
        return self._waiting_for is not None

    def send(self, topic: str, payload: bytes) -> None:
        """Publish, not while `busy`. A message that cannot leave because the connection is lost is lost with it."""
        self._paho.publish(topic, payload)
        self._watch_socket()

    def _watch_socket(self) -> None:
        """Be called when the socket takes more, if there is something left to write."""
        sock = self._paho.socket()
        if self._paho.want_write() and sock is not None and self._waiting_for is None:
            self._waiting_for = sock.fileno()
            self._loop.add_writer(self._waiting_for, self._on_writable)

    def _on_writable(self) -> None:
        with contextlib.suppress(OSError):  # the loss is noticed elsewhere
            self._paho.loop_write()
        if not self._paho.want_write() or self._paho.socket() is None:
            self._forget_socket()
            self._on_free()

    def _forget_socket(self) -> None:
        if self._waiting_for is not None:
            self._loop.remove_writer(self._waiting_for)
            self._waiting_for = None

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

    async def lost(self) -> None:
        """Wait until the connection is lost, which raises `BrokerError`."""
        try:
            await anext(self._client.messages)
        except aiomqtt.MqttError as error:
            raise BrokerError(f"the connection broke: {error.__cause__ or error}") from error
        raise AssertionError("a message was kept in the queue of the MQTT client")

    def cut(self) -> None:
        """Let the connection break, as if the network had; `lost` will notice."""
        sock: Any = self._paho.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Disconnect, whatever state the connection is in. aiomqtt would wait in vain for one that never stood."""
        self._forget_socket()
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            await asyncio.wait_for(self._client.__aexit__(None, None, None), _DISCONNECT_S)


def _make_client(address: BrokerAddress, identifier: str, timeout_s: float) -> aiomqtt.Client:
    tcp = address.scheme != "unix"
    return aiomqtt.Client(
        address.host,
        address.port or 1,  # paho wants one for a unix socket, too
        username=address.user,
        password=address.password,
        identifier=identifier,
        logger=_CLIENT_LOGGER,
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=True,
        transport="tcp" if tcp else "unix",
        timeout=timeout_s,
        keepalive=_KEEPALIVE_S,
        tls_context=_tls_context(address),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)] if tcp else [],
    )


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
