"""Watching a cluster: one writer counts upwards, one reader a replica looks at the count again and again.

What each reader saw, and when, is all there is to know about staleness: a read is stale when it returns less than
what had been acknowledged before it began. Times count from the start of the watch, on this process's monotonic
clock, for writes and reads alike. Everything kept is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import StatementError

if TYPE_CHECKING:
    from workbench.charts.chart import Chart
    from workbench.cluster.cluster import Cluster
    from workbench.protocol.values import SqlValue

_TABLE = "watched"
_KEPT = 4_000
_NO_TABLE_YET = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """One read: when it began, which replica answered, what it returned, and what was acknowledged by then."""

    began_s: float
    replica: str
    value: int
    acknowledged: int

    @property
    def stale(self) -> bool:
        """Whether it returned less than what had been acknowledged before it began."""
        return self.value < self.acknowledged


class Watch:
    """A writer and readers on a running cluster; `run` lets them work, `sights` is what the readers saw."""

    def __init__(self, cluster: Cluster, *, write_every_ms: float = 400.0, read_every_ms: float = 40.0) -> None:
        self.cluster = cluster
        self.replicas = cluster.config.replica_names
        self.sights: deque[Sight] = deque(maxlen=_KEPT)
        self.writes: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=_KEPT)
        """When each count was acknowledged."""
        self._write_every_s = write_every_ms / 1e3
        self._read_every_s = read_every_ms / 1e3
        self._began = time.monotonic()

    @property
    def leader(self) -> str:
        """The replica that all writes go to."""
        return self.cluster.leader

    def now_s(self) -> float:
        """Seconds since the start of the watch."""
        return time.monotonic() - self._began

    async def run(self, seconds: float) -> None:
        """Write and read for so long. Raises what sessions raise when the cluster fails."""
        session = await self.cluster.session()
        await session.write(f"CREATE TABLE IF NOT EXISTS {_TABLE} (id INTEGER PRIMARY KEY, value INTEGER)")
        await session.write(f"INSERT INTO {_TABLE} VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET value = 0")
        await self.cluster.converged()
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(name), name=f"watch-{name}") for name in self.replicas]
            tasks.append(group.create_task(self._write(), name="watch-writer"))
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()

    async def _write(self) -> None:
        session = await self.cluster.session()
        value = 0
        while True:
            due_s = self.now_s() + self._write_every_s
            value += 1
            await session.write(f"UPDATE {_TABLE} SET value = ? WHERE id = 1", (value,))
            self.writes.append((self.now_s(), value))
            await asyncio.sleep(max(0.0, due_s - self.now_s()))

    async def _read(self, replica: str) -> None:
        session = await self.cluster.session()
        while True:
            began_s, acknowledged = self.now_s(), self.writes[-1][1]
            try:
                rows = (await session.read(f"SELECT value FROM {_TABLE}", replica=replica)).rows
            except StatementError:  # it has not heard of the table yet
                rows = ()
            seen = int(str(rows[0][0])) if rows else _NO_TABLE_YET
            self.sights.append(Sight(began_s, replica, seen, acknowledged))
            await asyncio.sleep(self._read_every_s)

    @property
    def table(self) -> pd.DataFrame:
        """One row a replica: how many reads, how many stale, how far behind at most."""
        rows = []
        for name in self.replicas:
            mine = [sight for sight in self.sights if sight.replica == name]
            stale = [sight for sight in mine if sight.stale]
            rows.append(
                {
                    "replica": name,
                    "role": "leader" if name == self.leader else "follower",
                    "reads": len(mine),
                    "stale": len(stale),
                    "writes behind, at most": max((sight.acknowledged - sight.value for sight in stale), default=0),
                }
            )
        return pd.DataFrame(rows).set_index("replica")

    def chart(self) -> Chart:
        """What every replica showed over time."""
        from workbench.widgets.watch_chart import WatchChart

        return WatchChart(self.replicas, self.leader).paint(list(self.writes), list(self.sights), self.now_s())


async def watch(cluster: Cluster, *, seconds: float = 5.0) -> Watch:
    """Watch a cluster for some seconds: `.chart()`, `.table`, `.sights`."""
    watched = Watch(cluster)
    await watched.run(seconds)
    return watched


async def read_everywhere(cluster: Cluster, sql: str, parameters: Sequence[SqlValue] = ()) -> pd.DataFrame:
    """Ask every replica the same question at the same moment: one row a replica, with its answer and its position."""
    names = cluster.config.replica_names
    sessions = [await cluster.session() for _ in names]
    results = await asyncio.gather(
        *(session.read(sql, parameters, replica=name) for session, name in zip(sessions, names, strict=True))
    )
    rows = []
    for name, result in zip(names, results, strict=True):
        answer = dict(zip(result.columns, result.rows[0], strict=True)) if result.rows else {}
        role = "leader" if name == cluster.leader else "follower"
        rows.append({"replica": name, "role": role, **answer, "applied": result.position.index})
    return pd.DataFrame(rows).set_index("replica")
