"""Who leads, watched from outside: replicas are asked again and again, and each change is noted.

A reign that is over before it is asked for is seen all the same: replicas count the elections that they have won.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.cluster.cluster import Cluster
from workbench.cluster.status import DOWN, ReplicaStatus
from workbench.experiments.disturbed import DisturbedLoad
from workbench.protocol.roles import Role
from workbench.protocol.values import Position


@dataclass(slots=True)
class Reign:
    """A leader of one term. Times are ms on the axis of the operations."""

    leader: str
    term: int
    seen_ms: float
    last_ms: float
    """When it was seen last."""
    unseen_ms: float = 0.0
    """When the replicas were last looked at before: it began after that."""


class Watch:
    """What was seen of one cluster while `run` went on."""

    def __init__(self, cluster: Cluster, load: DisturbedLoad, period_ms: float) -> None:
        self._cluster = cluster
        self._load = load
        self._period_s = period_ms / 1e3
        self._heads: list[tuple[float, Position]] = []
        """When a leader was seen with its log at which position, for as far back as a follower may be."""
        self._standing: set[tuple[str, int]] = set()
        self.reigns: list[Reign] = []
        self.lags_ms: list[float] = []
        """How old the entries are that followers hear of, one value a look and follower."""
        self._looked_ms = 0.0
        self.looks = 0
        self.looks_without_leader = 0
        self.stall_ms = 0.0
        """The longest that a replica let its question wait, or that this process overslept."""
        self.down: set[str] = set()
        """Replicas that were seen down: their leader did not lose its place for nothing."""

    async def run(self, until_ms: float) -> None:
        """Look until `until_ms`."""
        wake_ms = self._load.now_ms
        while (asked_ms := self._load.now_ms) < until_ms:
            statuses = await self._cluster.replicas()
            seen_ms = self._load.now_ms
            self.stall_ms = max(self.stall_ms, seen_ms - asked_ms, asked_ms - wake_ms)
            self.look(statuses, seen_ms)
            wake_ms = seen_ms + self._period_s * 1e3
            await asyncio.sleep(self._period_s)

    def look(self, statuses: Sequence[ReplicaStatus], at_ms: float) -> None:
        """Take one answer of all replicas."""
        self.looks += 1
        before_ms, self._looked_ms = self._looked_ms, at_ms
        up = [status for status in statuses if status.role != DOWN]
        self.down |= {status.name for status in statuses if status.role == DOWN}
        newest = max((status.term for status in up), default=0)
        for status in up:
            stands = status.role == Role.CANDIDATE and (status.name, status.term) not in self._standing
            if stands:
                self._standing.add((status.name, status.term))
                self._load.note("stands", status.name, f"term {status.term}", at_ms=at_ms)
        leader = next((status for status in up if status.role == Role.LEADER and status.term == newest), None)
        if leader is None:
            self.looks_without_leader += 1
            return
        if not self.reigns or self.reigns[-1].term != leader.term:
            self._load.note("leads", leader.name, f"term {leader.term}", at_ms=at_ms)
            self.reigns.append(Reign(leader.name, leader.term, at_ms, at_ms, before_ms))
            self._heads.clear()
        self.reigns[-1].last_ms = at_ms
        self._heads.append((at_ms, leader.last_position))
        self._measure_lag([status for status in up if status is not leader], at_ms)

    def _measure_lag(self, followers: Sequence[ReplicaStatus], at_ms: float) -> None:
        behind = min((status.last_position for status in followers), default=Position())
        while len(self._heads) > 1 and self._heads[0][1] <= behind:
            self._heads.pop(0)
        for status in followers:
            missed = next((seen_ms for seen_ms, head in self._heads if head > status.last_position), at_ms)
            self.lags_ms.append(at_ms - missed)


def total(statuses: Sequence[ReplicaStatus], counter: str) -> int:
    """The sum of a counter over all replicas."""
    return sum(status.counters.get(counter, 0) for status in statuses)
