"""A load that goes on while the cluster under it is disturbed.

    async with disturbed_load(cluster, config, cell) as load:
        await load.sees(load.is_acknowledged)
        load.note("killed", "replica-1")
        await cluster.kill("replica-1")
        ...
    load.operations, load.events

The load begins before the block's body and ends with it, or after the `duration_s` of its configuration if that is
sooner. What the body does is noted on the same clock as the operations. Whatever happens in the body, no load is left
running; an error of the load itself is raised in place of those that it may have led to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pandas as pd

from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster
from workbench.cluster.hosting import Child
from workbench.errors import ClusterError, HistoryError
from workbench.experiments.base import Row
from workbench.history import operations_frame, read_operations
from workbench.operation_rows import OperationRow, read_new_rows, read_rows_header
from workbench.workloads.single_rows import WORKLOADS, WorkloadName

_POLL_S = 0.01
_READ_S = 60.0
_PAGE_ROWS = 50_000
_ENDING_S = 5.0
"""Beyond the longest that one operation may take: then the load generator is killed."""


class DisturbedLoad:
    """One load on a cluster, and what was done to the cluster meanwhile."""

    def __init__(self, cluster: Cluster, config: LoadConfig, cell: str) -> None:
        self.config = config
        self.cell = cell
        self.operations: pd.DataFrame = operations_frame([])
        """The table of operations; filled when the load has ended."""
        self.events: list[Row] = []
        """Rows `cell`, `at_ms` (on the time axis of the operations), `event`, `replica`, `detail`."""
        self.start_ns = 0
        """Time 0 of the operations, on the host's monotonic clock."""
        self._cluster = cluster
        self._running: asyncio.Task[Path] | None = None
        self._generator: Child | None = None
        self._path = Path()
        self._rows: list[OperationRow] = []
        self._offset = 0

    @property
    def now_ms(self) -> float:
        """The time on the axis of the operations."""
        return (self._cluster.now_ns() - self.start_ns) / 1e6

    def note(self, event: str, replica: str = "", detail: str = "", *, at_ms: float | None = None) -> float:
        """Record that something happens now, or happened at `at_ms`; that time."""
        at_ms = self.now_ms if at_ms is None else at_ms
        self.events.append({"cell": self.cell, "at_ms": at_ms, "event": event, "replica": replica, "detail": detail})
        return at_ms

    @staticmethod
    def is_acknowledged(row: OperationRow) -> bool:
        """For `sees`: any write that was acknowledged."""
        return row.kind == "write" and row.outcome == "ok"

    async def sees(self, wanted: Callable[[OperationRow], bool], *, timeout_s: float = 10.0) -> OperationRow:
        """Wait until the clients have completed an operation like this, if none has yet; the first one.

        Raises `ClusterError` when there is none within `timeout_s`, or when the load has ended.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        looked_at = 0
        while True:
            ended = self._running is None or self._running.done()
            rows, self._offset = read_new_rows(self._path, self._offset)
            self._rows += rows
            for row in self._rows[looked_at:]:
                if wanted(row):
                    return row
            looked_at = len(self._rows)
            if ended or asyncio.get_running_loop().time() >= deadline:
                when = "before the load ended" if ended else f"within {timeout_s:g} s"
                raise ClusterError(f"the clients did not see what was waited for {when}")
            await asyncio.sleep(_POLL_S)

    # Life.

    async def begin(self) -> None:
        """Start the load generator; return when its clock runs."""
        await self._cluster.prepare_load(self.config)
        folder, processes = self._cluster.directory / "loads", set(self._cluster.processes)
        known = set(folder.glob("*.rows"))
        running = asyncio.create_task(self._cluster.load(self.config, cell=self.cell), name=f"load {self.cell}")
        self._running = running
        while not self.start_ns:
            if running.done():
                await running  # for its error; without one, its file is there
            for self._path in set(folder.glob("*.rows")) - known:
                with contextlib.suppress(HistoryError):  # its header is not written yet
                    self.start_ns = read_rows_header(self._path).start_ns
            await asyncio.sleep(_POLL_S)
        self._generator = next(iter(set(self._cluster.processes) - processes), None)

    async def end(self) -> None:
        """Let no new operation begin, wait for those under way, and read what became of all."""
        assert self._running is not None
        if self._generator is not None:
            await self._generator.terminate(self.config.timeout_s + _ENDING_S)
        self.operations = read_operations(await self._running)

    async def abandon(self) -> None:
        """End the load whatever it does; raise its own error if it has failed before."""
        if self._running is None:
            return
        if self._running.done():
            await self._running
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClusterError):
            await self._running


@contextlib.asynccontextmanager
async def disturbed_load(cluster: Cluster, config: LoadConfig, cell: str) -> AsyncIterator[DisturbedLoad]:
    """Put a load on the cluster while the block's body runs; see the module's docstring."""
    load = DisturbedLoad(cluster, config, cell)
    try:
        await load.begin()
        yield load
        await load.end()
    except BaseException:
        await load.abandon()
        raise


async def contents_of(cluster: Cluster, workload: WorkloadName) -> dict[str, list[tuple[str, int]]]:
    """Replica -> (key, value) of every row that it holds, for `checkers.appends`. Meant for quiet moments."""
    session = await cluster.session(timeout_s=_READ_S)
    sql = f"SELECT key, value FROM ({WORKLOADS[workload].contents}) LIMIT {_PAGE_ROWS} OFFSET ?"
    contents: dict[str, list[tuple[str, int]]] = {}
    for name in cluster.names:
        rows = contents.setdefault(name, [])
        while len(page := (await session.read(sql, (len(rows),), replica=name)).rows):
            rows += [(str(key), int(str(value))) for key, value in page]
            if len(page) < _PAGE_ROWS:
                break
    return contents
