"""The two queues of a connection: `Incoming` makes batches of what arrives, `Outgoing` bounds what waits to leave.

Neither knows the protocol. Both belong to the event loop they were made on.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

from workbench.transport.base import Handler, Inbound

LOGGER = logging.getLogger(__name__)


class Incoming:
    """Hands arrived messages to `handler` in batches; `on_error` gets what the handler raises.

    A batch is what has arrived by the next turn of the loop. Looking whether the socket holds more costs more than the
    larger batches bring (docs/decisions/0004-messages-pass-aiomqtt-by.md).
    """

    def __init__(self, handler: Handler, on_error: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._on_error = on_error
        self._batch: list[Inbound] = []
        self._open = True

    def __len__(self) -> int:
        """Messages that the handler has not got yet."""
        return len(self._batch)

    def add(self, message: Inbound) -> None:
        """Take a message that has arrived."""
        if not self._batch:
            self._loop.call_soon(self._hand_over)
        self._batch.append(message)

    def close(self) -> None:
        """Call the handler no more."""
        self._open = False

    def _hand_over(self) -> None:
        batch: Sequence[Inbound] = self._batch
        self._batch = []
        if not self._open:
            return
        try:
            self._handler(batch)
        except Exception as error:  # noqa: BLE001
            self._open = False
            self._on_error(error)


class Outgoing:
    """Messages that wait to leave, up to `bytes_max`; beyond it they are dropped and counted."""

    def __init__(self, bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._bytes_max = bytes_max
        self._messages: deque[Inbound] = deque()
        self._none = asyncio.Event()
        self._none.set()
        self._logged_at = -math.inf
        self.bytes = 0
        """Bytes that wait."""
        self.dropped = 0

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._messages)

    def add(self, topic: str, payload: bytes) -> None:
        """Let a message wait, or drop it when there is no room."""
        if self.bytes + len(payload) > self._bytes_max:
            self.drop(1, "too much is waiting to leave")
            return
        self._messages.append((topic, payload))
        self.bytes += len(payload)
        self._none.clear()

    def take(self) -> Inbound:
        """The message that has waited longest."""
        topic, payload = self._messages.popleft()
        self.bytes -= len(payload)
        if not self._messages:
            self._none.set()
        return topic, payload

    async def none(self) -> None:
        """Wait until everything was taken or dropped."""
        await self._none.wait()

    def drop_all(self, reason: str) -> None:
        """Drop what waits."""
        self.drop(len(self._messages), reason)
        self._messages.clear()
        self.bytes = 0
        self._none.set()

    def drop(self, count: int, reason: str) -> None:
        """Count messages that will not leave; say so in the log, once a second at most."""
        self.dropped += count
        if count and self._loop.time() >= self._logged_at + 1.0:
            self._logged_at = self._loop.time()
            LOGGER.warning("dropped outgoing messages: %s; %d so far", reason, self.dropped)
