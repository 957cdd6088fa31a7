"""Faults of the links between a cluster's replicas, as the replicas are told of them: delays and cuts."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.cluster.replicas import Replicas
from workbench.config import check_range
from workbench.protocol.messages import SetLinks

_CUT = -1.0


class LinkFaults:
    """What is wrong with the links now. Each replica applies its own share to what it receives."""

    def __init__(self, replicas: Replicas, delay_ms: float) -> None:
        self._replicas = replicas
        self._first_delay_ms = delay_ms
        self._delays_ms: dict[str, float] = {}
        self._cut_off: frozenset[str] = frozenset()

    async def delay(self, delay_ms: float, receivers: Sequence[str]) -> None:
        """Messages arrive at `receivers` so much later, while these do not lead."""
        check_range("delay_ms", delay_ms, 0, 60_000, " ms")
        for name in receivers:
            self._replicas.process(name)
            self._delays_ms[name] = delay_ms
        for name in receivers:
            await self._tell(name)

    async def cut_off(self, names: Sequence[str]) -> None:
        """Nothing passes between `names` and the others; nobody else is cut off."""
        for name in names:
            self._replicas.process(name)
        self._cut_off = frozenset(names)
        for name in self._replicas.names:
            if not self._replicas.why_down(name):
                await self._tell(name)

    async def restore(self, name: str) -> None:
        """A replica has started again and knows nothing of its links."""
        if self._cut_off or name in self._delays_ms:
            await self._tell(name)

    async def _tell(self, name: str) -> None:
        inside = name in self._cut_off
        cut = {other: _CUT for other in self._replicas.names if (other in self._cut_off) is not inside}
        delay_ms = self._delays_ms.get(name, self._first_delay_ms)
        await self._replicas.ask(name, lambda request, reply_to: SetLinks(request, reply_to, delay_ms, cut))
