"""One cell of `scale` with real processes: small clusters on one machine, in the same steps as the simulated ones.

What differs: reads that ask each replica at once after an acknowledgement are real reads; when a write became visible
where, and what a CPU does, nobody sees; all replicas share the machine's cores and its disk.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from workbench.client.session import Session
from workbench.cluster.cluster import Cluster
from workbench.cluster.status import DOWN, ReplicaStatus, leading
from workbench.config import AckPolicy, Timing
from workbench.errors import ClusterError, OperationError
from workbench.experiments.base import Context
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, cell_seed, started_cluster
from workbench.experiments.scale_cells import Cell, FailoverSample, Load, Setting, WriteSample
from workbench.protocol.roles import Role

_PATIENCE_TIMEOUTS = 10
_POLL_S = 0.03
_CREATE = "CREATE TABLE scale (id INTEGER PRIMARY KEY, value TEXT)"
_INSERT = "INSERT INTO scale VALUES (?, ?)"
_COUNT = "SELECT count(*) FROM scale"


@dataclass(frozen=True, kw_only=True, slots=True)
class RealScale:
    """How cells are measured; the rest as in the parameters of `scale`."""

    context: Context
    ack: AckPolicy
    heartbeat_ms: float
    writes: int
    repetitions: int
    idle_s: float
    value_bytes: int

    async def measure(self, setting: Setting) -> Cell:
        """Make a cluster and let it do nothing, write, and lose its leaders."""
        cell = Cell(setting=setting, world="real")
        name = setting.labels["cell"]
        timing = Timing(heartbeat_ms=self.heartbeat_ms, election_timeout_ms=setting.election_timeout_ms)
        async with started_cluster(
            self.context, name, followers=setting.size - 1, ack=self.ack, timing=timing
        ) as cluster:
            observed = _Observed(cluster, cell, self, Random(cell_seed(self.context.seed, name)))
            try:
                await observed.prepare()
                await observed.watch_idle(self.idle_s)
                await observed.write(self.writes)
                for _ in range(self.repetitions):
                    await observed.kill_leader()
            except (ClusterError, OperationError) as error:
                cell.problem = str(error)
            await observed.account()
        return cell


class _Observed:
    """Watches one cluster, and fills its cell."""

    def __init__(self, cluster: Cluster, cell: Cell, how: RealScale, random: Random) -> None:
        self._cluster = cluster
        self._cell = cell
        self._how = how
        self._random = random
        self._patience_s = _PATIENCE_TIMEOUTS * cell.setting.election_timeout_ms / 1e3
        self._number = 0
        self._acknowledged: set[int] = set()

    async def _session(self) -> Session:
        return await self._cluster.session(timeout_s=self._patience_s, retry_s=0.3)

    async def prepare(self) -> None:
        """A table, a session that writes, and a reader for each replica."""
        self._writer = await self._session()
        self._readers = {name: await self._session() for name in self._cluster.names}
        await self._writer.write(_CREATE)
        await self._settled()
        await asyncio.sleep(2 * self._how.heartbeat_ms / 1e3)

    async def _settled(self) -> None:
        report = await self._cluster.converged(CONVERGENCE_TIMEOUT_S)
        if not report.ok:
            raise ClusterError(f"the replicas did not settle: {report.reason}")

    async def _pause(self) -> None:
        await asyncio.sleep(self._how.heartbeat_ms / 1e3 * self._random.random())

    async def _write(self) -> tuple[int, int, str]:
        """One more row: when it was acknowledged, in which term, and by whom."""
        self._number += 1
        result = await self._writer.write(_INSERT, (self._number, "x" * self._how.value_bytes))
        now = self._cluster.now_ns()
        self._acknowledged.add(self._number)
        return now, result.position.term, result.replica

    async def watch_idle(self, seconds: float) -> None:
        """What does the leader do when there is nothing to do?"""
        before, began = await self._leader_status(), self._cluster.now_ns()
        await asyncio.sleep(seconds)
        after, lasted_s = await self._leader_status(), (self._cluster.now_ns() - began) / 1e9

        def rate(counter: str) -> float:
            asked = 1  # one message each way is the question itself; how long it is nobody knows, so bytes do not count
            return (after.counters[counter] - before.counters[counter] - asked) / lasted_s

        self._cell.load = Load(out_per_s=rate("messages_out"), in_per_s=rate("messages_in"))

    async def _leader_status(self) -> ReplicaStatus:
        found = leading(await self._cluster.replicas())
        if found is None:
            raise ClusterError("nobody leads")
        return found

    async def write(self, count: int) -> None:
        """Writes one by one, each once everybody has the one before, and a read of each replica at once after it."""
        before = await self._leader_status()
        for _ in range(count):
            await self._pause()
            began = self._cluster.now_ns()
            acknowledged, _, _ = await self._write()
            counts = await asyncio.gather(*(self._count(name) for name in self._readers))
            stale = sum(found < self._number for found in counts)
            self._cell.writes.append(
                WriteSample(
                    latency_ms=(acknowledged - began) / 1e6, bound_ms=float("nan"), stale=stale, asked=len(counts)
                )
            )
            await self._settled()
        after = await self._leader_status()
        if after.name == before.name:
            syncs, sync_ns = (after.counters[name] - before.counters[name] for name in ("syncs", "sync_ns"))
            self._cell.load = replace(self._cell.load, sync_ms=sync_ns / 1e6 / max(syncs, 1))

    async def _count(self, replica: str) -> int:
        result = await self._readers[replica].read(_COUNT, replica=replica)
        return int(str(result.rows[0][0]))

    async def kill_leader(self) -> None:
        """Kill the leader at any moment between two heartbeats, and see what comes of it; then start it again."""
        await self._pause()
        statuses = await self._cluster.replicas()
        leader = leading(statuses)
        if leader is None:
            raise ClusterError("nobody leads")
        await self._cluster.kill(leader.name)
        killed = self._cluster.now_ns()
        waiting = asyncio.create_task(self._write(), name="the write that waits for a leader")
        elected_ms, elections = await self._watch_election(waiting, leader, statuses, killed)
        acknowledged, term, replica = await waiting
        self._cell.failovers.append(
            FailoverSample(
                kill=len(self._cell.failovers) + 1,
                leader=leader.name,
                successor=replica,
                term_before=leader.term,
                term_after=term,
                elected_ms=elected_ms,
                failover_ms=(acknowledged - killed) / 1e6,
                elections=elections,
            )
        )
        await self._cluster.restart(leader.name)
        await self._settled()

    async def _watch_election(
        self,
        waiting: asyncio.Task[tuple[int, int, str]],
        killed: ReplicaStatus,
        before: Sequence[ReplicaStatus],
        at: int,
    ) -> tuple[float, int]:
        """When another one was seen to lead, and how many elections were held, until the write has ended."""
        elected_ms, held = float("nan"), sum(_elections(one) for one in before if one.name != killed.name)
        elections = 0
        while not waiting.done():
            seen = [one for one in await self._cluster.replicas() if one.name != killed.name and one.role != DOWN]
            elections = max(elections, sum(map(_elections, seen)) - held)
            if math.isnan(elected_ms) and any(one.role == Role.LEADER and one.term > killed.term for one in seen):
                elected_ms = (self._cluster.now_ns() - at) / 1e6
            await asyncio.wait({waiting}, timeout=_POLL_S)
        return elected_ms, max(elections, 1)

    async def account(self) -> None:
        """In the end: do all agree, and is everything there that was acknowledged?"""
        report = await self._cluster.converged(CONVERGENCE_TIMEOUT_S)
        self._cell.converged = report.ok
        self._cell.acknowledged = len(self._acknowledged)
        if report.ok and self._acknowledged:
            session = await self._session()
            result = await session.read("SELECT id FROM scale")
            self._cell.lost = len(self._acknowledged - {int(str(row[0])) for row in result.rows})


def _elections(status: ReplicaStatus) -> int:
    return int(status.counters.get("elections", 0))
