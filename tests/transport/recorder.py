"""A handler that keeps what it gets and lets a test wait for it."""

import asyncio
from collections.abc import Callable, Sequence

from workbench.transport.base import Inbound

PATIENCE_S = 20.0
"""When a test gives up; generous, since only a failing test waits so long."""


class Recorder:
    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.calls = 0
        self._changed = asyncio.Event()

    def __call__(self, batch: Sequence[Inbound]) -> None:
        assert batch
        self.calls += 1
        self.messages += batch
        self._changed.set()

    def payloads(self, topic: str | None = None) -> list[bytes]:
        return [payload for at, payload in self.messages if topic in (None, at)]

    async def until(self, count: int) -> None:
        """Wait until `count` messages have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
