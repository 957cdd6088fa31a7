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

_BATCH_TURNS_MAX = 8
_CHUNK_MESSAGES_MAX = 64
_CHUNK_BYTES_MAX = 256 * 1024


class Incoming:
    """Hands arrived messages to `handler` in batches; `on_error` gets what the handler raises.

    A client library may read but one message in each turn of the event loop. So a batch waits as long as every turn
    brings more, but no longer than a few turns.
    """

    def __init__(self, handler: Handler, on_error: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._on_error = on_error
        self._batch: list[Inbound] = []
        self._seen = 0
        self._turns = 0
        self._open = True

    def __len__(self) -> int:
        """Messages that the handler has not got yet."""
        return len(self._batch)

    def add(self, message: Inbound) -> None:
        """Take a message that has arrived."""
        if not self._batch:
            self._seen = 0
            self._turns = 0
            self._loop.call_soon(self._hand_over)
        self._batch.append(message)

    def close(self) -> None:
        """Call the handler no more."""
        self._open = False

    def _hand_over(self) -> None:
        count = len(self._batch)
        if count > self._seen and self._turns < _BATCH_TURNS_MAX:
            self._seen = count
            self._turns += 1
            self._loop.call_soon(self._hand_over)
            return
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
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._logged_at = -math.inf
        self.bytes = 0
        """Bytes that have not left: those waiting, and those taken but not reported by `left`."""
        self.dropped = 0

    def __len__(self) -> int:
        """Messages that nobody has taken yet."""
        return len(self._messages)

    def add(self, topic: str, payload: bytes) -> None:
        """Let a message wait, or drop it when there is no room."""
        if self.bytes + len(payload) > self._bytes_max:
            self.drop(1, "too much is waiting to leave")
            return
        self._messages.append((topic, payload))
        self.bytes += len(payload)
        self._none.clear()
        self._some.set()

    def take(self) -> list[Inbound]:
        """The oldest waiting messages: one at least, no more than leave at once."""
        messages = [self._messages.popleft()]
        size_bytes = len(messages[0][1])
        while self._messages and len(messages) < _CHUNK_MESSAGES_MAX and size_bytes < _CHUNK_BYTES_MAX:
            messages.append(self._messages.popleft())
            size_bytes += len(messages[-1][1])
        return messages

    def left(self, messages: Sequence[Inbound]) -> None:
        """What was taken has left this process."""
        self.bytes -= sum(len(payload) for _, payload in messages)
        if self.bytes == 0 and not self._messages:
            self._none.set()

    async def some(self) -> None:
        """Wait until there is a message to take."""
        while not self._messages:
            self._some.clear()
            await self._some.wait()

    async def none(self) -> None:
        """Wait until everything has left or was dropped."""
        await self._none.wait()

    def drop_all(self, reason: str) -> None:
        """Drop what waits, and forget what was taken."""
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
