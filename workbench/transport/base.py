"""What moves messages: `Transport`, implemented over MQTT and, for tests and the simulator, in memory.

A transport is a pipe without memory: a message reaches the subscribers of that moment at most once, in order for
one publisher and topic, or it is lost. Everything that must survive is in the replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

Inbound: TypeAlias = tuple[str, bytes]
"""(topic, payload)"""

Handler: TypeAlias = Callable[[Sequence[Inbound]], None]
"""Called on the event loop with everything that has arrived since the last call; it must not block."""


class Transport(Protocol):
    """One connection to the broker."""

    async def subscribe(self, *topics: str) -> None:
        """Start receiving messages of `topics`; returns once the broker has confirmed.

        Raises `BrokerError`.
        """
        ...

    async def unsubscribe(self, *topics: str) -> None:
        """Stop receiving messages of `topics`. Raises `BrokerError`."""
        ...

    def publish(self, topic: str, payload: bytes) -> None:
        """Send without waiting. Messages of one topic leave in order; what cannot leave any more is dropped."""
        ...

    @property
    def outgoing_bytes(self) -> int:
        """Bytes accepted by `publish` that have not left this process yet."""
        ...

    async def closed(self) -> None:
        """Wait until the connection is lost or closed. Raises `BrokerError` with the reason when it was lost."""
        ...

    async def close(self) -> None:
        """Send what is waiting, within a bound, and disconnect. Does nothing when it is closed."""
        ...


class Link(Transport, Protocol):
    """A transport that knows whether it is connected."""

    @property
    def connected(self) -> bool: ...


@runtime_checkable
class CanBeCut(Protocol):
    """A transport whose connection can be cut on purpose, as a fault."""

    reconnects: int
    """How often a lost connection was made again."""

    def cut(self, for_s: float) -> None:
        """Lose the connection, with what is on its way, and do not make it again within `for_s`."""
        ...
