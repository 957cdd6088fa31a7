"""What those who carry out faults in a real cluster share: whom to strike, how things stand, and setting them right.

Nothing here waits long or fails because a replica, the leader or the broker is away: that is the ordinary state of
affairs while faults go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from random import Random
from typing import Protocol, runtime_checkable

from workbench.cluster.cluster import Cluster
from workbench.cluster.hosting import Child
from workbench.cluster.status import ReplicaStatus, leading
from workbench.errors import BrokerError, ClusterError
from workbench.faults.draws import choose, some
from workbench.faults.values import Fault
from workbench.protocol import messages
from workbench.protocol.messages import Inspect

_ANSWER_S = 0.4
_AGAIN_S = 0.1
REVIVE_S = 60.0
"""So long is it tried to start a replica, or the broker, again."""


@runtime_checkable
class CanHalt(Protocol):
    """A broker that can be stopped and started again."""

    async def halt(self) -> int | None:
        """End it for a while; the exit status, or None where it cannot be."""
        ...

    async def restart(self) -> None:
        """Start it again. Raises `BrokerError`; nothing happens if it runs."""
        ...


class Scene:
    """One cluster whose replicas and broker come and go."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.links = cluster.links
        self.broker_is_up = True
        self.holds: Counter[str] = Counter()
        """Replica -> how many faults want it to stay down."""
        self._reviving: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # How things stand.

    def process(self, name: str) -> Child | None:
        """The process of a replica; None when it belongs to the cluster no more."""
        return self.links.replicas.process(name) if name in self.cluster.names else None

    def is_up(self, name: str) -> bool:
        """Whether its process has not ended; it may be stopped."""
        process = self.process(name)
        return process is not None and process.returncode is None

    def running(self, names: Iterable[str]) -> list[str]:
        """Those of `names` whose processes can answer."""
        return [name for name in names if self.is_up(name) and not self.links.replicas.why_down(name)]

    def ask(self, name: str, timeout_s: float = _ANSWER_S) -> asyncio.Future[messages.ReplicaStatus | None]:
        """The status of a replica, or None if it does not answer. The question is on its way when this returns."""
        return self.links.replicas.connection.control(name, Inspect, timeout_s)

    async def statuses(self, names: Iterable[str]) -> Mapping[str, ReplicaStatus]:
        """The status of those of `names` that answer at once."""
        if not self.broker_is_up:
            return {}
        asked = {name: self.ask(name) for name in self.running(names)}
        answers = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        return {name: ReplicaStatus.from_message(one) for name, one in answers.items() if one is not None}

    async def leader(self, patience_s: float = 0.0) -> ReplicaStatus | None:
        """Whoever leads, if somebody does within `patience_s`."""
        deadline = asyncio.get_running_loop().time() + patience_s
        while True:
            leader = leading(list((await self.statuses(self.cluster.names)).values()))
            if leader is not None or asyncio.get_running_loop().time() >= deadline:
                return leader
            await asyncio.sleep(_AGAIN_S)

    async def targets(self, fault: Fault) -> list[str]:
        """The replicas that a fault means; none when nobody leads or nobody has the name any more."""
        names = list(self.cluster.names)
        match fault.target:
            case "all":
                return names
            case "leader":
                leader = await self.leader()
                return [leader.name] if leader is not None else []
            case "one":
                return [choose(self.random, names)]
            case "minority" | "majority":
                count = (len(names) - 1) // 2 if fault.target == "minority" else len(names) // 2 + 1
                return some(self.random, names, max(1, count))
            case name:
                return [name] if name in names else []

    # Setting things right.

    async def revive(self, name: str) -> None:
        """Start a replica again that is down, unless some fault still wants it so. Raises `ClusterError` after
        `REVIVE_S`."""
        deadline = asyncio.get_running_loop().time() + REVIVE_S
        async with self._reviving[name]:
            while name in self.cluster.names and not self.is_up(name) and not self.holds[name]:
                try:
                    if self.broker_is_up:
                        await self.cluster.restart(name)
                        return
                except (ClusterError, BrokerError, OSError):
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                await asyncio.sleep(_AGAIN_S)

    async def start_broker(self) -> None:
        """Start the broker again, if it was halted. Raises `BrokerError`."""
        broker = self.cluster.running_broker
        if not self.broker_is_up and isinstance(broker, CanHalt):
            await broker.restart()
            self.broker_is_up = True
