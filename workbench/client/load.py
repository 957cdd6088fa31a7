"""The load generator: a process of its own that puts a mix of reads and writes on a cluster and records every one.

`python -m workbench.client.load SPEC.json` writes the rows of `workbench.operation_rows`. Open loop (a rate is given):
operations are due at times drawn beforehand, as independent users would make them, and wait in their session's
queue when it is busy; both the intended and the actual start are recorded, so a slow system cannot hide behind
fewer requests (coordinated omission). Closed loop (no rate): each session starts its next operation when the last
one has ended.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from workbench import config_file
from workbench.client.connection import ClientConnection
from workbench.client.routing import READ_POLICIES
from workbench.client.session import Session, SessionOptions
from workbench.errors import ConfigurationError, DefiniteError, IndefiniteError, WorkbenchError
from workbench.event_loop import run_in_loop
from workbench.operation_rows import OperationRow, OperationRowsWriter, Outcome
from workbench.parent import exit_when_parent_dies
from workbench.protocol.messages import Position
from workbench.workloads.single_rows import WORKLOADS, WorkloadName


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadConfig:
    """A load. `rate_per_s` is of all sessions together; None means closed loop. Raises `ConfigurationError`."""

    sessions: int = 8
    read_fraction: float = 0.5
    rate_per_s: float | None = None
    duration_s: float = 5.0
    warmup_s: float = 0.5
    keys: int = 100
    value_bytes: int = 100
    read_policy: str = "leader"
    seed: int = 1
    timeout_s: float = 10.0
    workload: WorkloadName = "registers"

    def __post_init__(self) -> None:
        ranges = {
            "sessions": (1, 10_000),
            "read_fraction": (0, 1),
            "duration_s": (0.01, 86_400),
            "warmup_s": (0, 3600),
            "keys": (1, 10_000_000),
            "value_bytes": (0, 1_000_000),
            "timeout_s": (0.1, 600),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigurationError(f"{name} is {getattr(self, name)}", hint=f"between {low} and {high}")
        if self.rate_per_s is not None and not 0 < self.rate_per_s <= 1_000_000:
            raise ConfigurationError(f"rate_per_s is {self.rate_per_s}", hint="above 0 and at most 1,000,000, or None")
        if self.workload not in WORKLOADS:
            raise ConfigurationError(f"unknown workload {self.workload!r}", hint="one of " + ", ".join(WORKLOADS))
        if self.read_policy not in READ_POLICIES:
            raise ConfigurationError(f"unknown read policy {self.read_policy!r}", hint=", ".join(READ_POLICIES))


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSpec:
    """What the process needs: a load, and where."""

    load: LoadConfig
    cell: str
    broker_url: str
    cluster_id: str
    members: tuple[str, ...]
    leader: str
    rows_path: Path


class Planned(NamedTuple):
    """One operation before it starts; `due_ns` counts from the start of the load."""

    number: int
    due_ns: int
    is_read: bool
    key: str
    value: int


def plan_operations(load: LoadConfig) -> Iterator[Planned]:
    """Operations in the order in which they are due: Poisson arrivals in an open loop, all at once in a closed one.

    Arrivals never end by themselves; the load ends them after its warm-up and duration.
    """
    rng = random.Random(load.seed)
    due_s = 0.0
    number = 0
    while True:
        number += 1
        if load.rate_per_s is not None:
            due_s += rng.expovariate(load.rate_per_s)
        is_read = rng.random() < load.read_fraction
        key = f"k{int(rng.random() * load.keys)}"
        yield Planned(number, round(due_s * 1e9), is_read, key, number)


class LoadGenerator:
    """Runs one load on an open connection, passing each finished operation to `writer`."""

    def __init__(self, spec: LoadSpec, connection: ClientConnection, writer: OperationRowsWriter) -> None:
        self._spec = spec
        self._load = spec.load
        self._workload = WORKLOADS[spec.load.workload]
        self._connection = connection
        self._writer = writer
        self._filling = random.Random(spec.load.seed).randbytes(spec.load.value_bytes)
        self._operations = plan_operations(spec.load)
        self._stopped = False
        self._start_ns = 0
        self._end_ns = round((self._load.warmup_s + self._load.duration_s) * 1e9)

    def stop(self) -> None:
        """End early: operations that run now end by themselves, no new one begins."""
        self._stopped = True

    async def run(self) -> None:
        """Run the load to its end."""
        self._start_ns = time.monotonic_ns()
        async with asyncio.TaskGroup() as group:
            queues = [asyncio.Queue[Planned | None]() for _ in range(self._load.sessions)]
            for number, queue in enumerate(queues):
                operations = self._closed_loop() if self._load.rate_per_s is None else _drain(queue)
                group.create_task(self._run_session(number, operations), name=f"session-{number}")
            if self._load.rate_per_s is not None:
                await asyncio.to_thread(self._dispatch, asyncio.get_running_loop(), queues)

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def _payload(self, value: int) -> bytes:
        """Bytes of the wanted size, new with every value, so that a log format which ships changes has some to ship."""
        return (value.to_bytes(8, "big") + self._filling)[: len(self._filling)]

    def _ended(self, at_ns: int) -> bool:
        return self._stopped or at_ns >= self._end_ns

    def _dispatch(self, loop: asyncio.AbstractEventLoop, queues: list[asyncio.Queue[Planned | None]]) -> None:
        """Give operations to sessions in turn, each when it is due, never waiting for an answer.

        On a thread of its own: the timers of event loops have a resolution of a millisecond, as much as a whole write
        may take.
        """
        for operation in self._operations:
            while (ahead_ns := operation.due_ns - self._now_ns()) > 0 and not self._stopped:
                time.sleep(min(ahead_ns / 1e9, 0.1))
            if self._ended(operation.due_ns):
                break
            loop.call_soon_threadsafe(queues[operation.number % len(queues)].put_nowait, operation)
        for queue in queues:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    async def _closed_loop(self) -> AsyncIterator[Planned]:
        while not self._ended(now_ns := self._now_ns()):
            yield next(self._operations)._replace(due_ns=now_ns)

    async def _run_session(self, number: int, operations: AsyncIterator[Planned]) -> None:
        load = self._load
        session = Session(
            self._connection,
            read_policy=load.read_policy,
            options=SessionOptions(timeout_s=load.timeout_s, retry_s=min(1.0, load.timeout_s)),
            rng=random.Random(f"{load.seed}/{number}"),
        )
        async for operation in operations:
            self._writer.write(await self._run_operation(session, number, operation))

    async def _run_operation(self, session: Session, number: int, operation: Planned) -> OperationRow:
        invoked_ns = self._now_ns()
        value = None if operation.is_read else operation.value
        replica, position, member = "", Position(), 0
        outcome: Outcome = "ok"
        problem = ""
        try:
            if operation.is_read:
                read = await session.read(self._workload.read, (operation.key,))
                value = read.rows[0][0] if read.rows else None  # type: ignore[assignment]  # the column is an INTEGER
                replica, position = read.replica, read.position
            else:
                parameters = (operation.key, operation.value, self._payload(operation.value))
                write = await session.write(self._workload.write, parameters)
                replica, position, member = write.replica, write.position, write.member
        except DefiniteError as error:
            outcome, problem = "fail", str(error)
        except IndefiniteError as error:
            outcome, problem = "info", str(error)
        return OperationRow(
            operation=operation.number,
            cell=self._spec.cell,
            session=number,
            kind="read" if operation.is_read else "write",
            key=operation.key,
            value=value,
            outcome=outcome,
            error=problem,
            replica=replica,
            term=position.term,
            index=position.index,
            member=member,
            intended_ns=operation.due_ns,
            invoked_ns=invoked_ns,
            completed_ns=self._now_ns(),
        )


async def _drain(queue: asyncio.Queue[Planned | None]) -> AsyncIterator[Planned]:
    while (operation := await queue.get()) is not None:
        yield operation


async def _run(spec: LoadSpec) -> None:
    connection = await ClientConnection.open(spec.broker_url, spec.cluster_id, spec.members)
    connection.leader = spec.leader
    try:
        with OperationRowsWriter(spec.rows_path) as writer:
            generator = LoadGenerator(spec, connection, writer)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, generator.stop)
            await generator.run()
    finally:
        await connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the load that the file SPEC.json describes; return the process's exit code."""
    exit_when_parent_dies()
    (path,) = sys.argv[1:] if arguments is None else arguments
    spec = config_file.load(Path(path), LoadSpec)
    try:
        run_in_loop(_run(spec))
    except WorkbenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
