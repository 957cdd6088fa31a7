"""The load generator: a process of its own that puts a mix of reads and writes on a cluster and records every one.

`python -m workbench.client.load SPEC.json` writes the rows of `workbench.operation_rows`. Open loop (a rate is given):
operations are due at times drawn beforehand, as independent users would make them, and wait in their session's
queue when it is busy; both the intended and the actual start are recorded, so a slow system cannot hide behind
fewer requests (coordinated omission). Closed loop (no rate): each session starts its next operation when the last
one has ended.

A session does one thing at a time: one that waits for a write reads nothing. So with `separate_readers` some sessions
read and the others write. `insistent_fraction` of them are like clients of an address that nobody updates: they know
the replica that led when the load began, and no other.

Whatever happens to an operation is recorded, and its session goes on. What still waits in a queue when the load has
been over for as long as one operation may take is recorded as never sent: a cluster that stays down ends the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from workbench import clock, config_file
from workbench.client.connection import ClientConnection, Connect
from workbench.client.insistent import InsistentConnection
from workbench.client.own_keys import draw_own_key
from workbench.client.policies import policy_of, split_policies
from workbench.client.session import Session, SessionOptions
from workbench.errors import ConfigurationError, DefiniteError, IndefiniteError, LostPosition, WorkbenchError
from workbench.event_loop import run_in_loop
from workbench.operation_rows import OperationRow, OperationRowsWriter, Outcome
from workbench.parent import exit_when_parent_dies
from workbench.protocol.values import Position, SqlValue
from workbench.transport.base import Handler, Link
from workbench.transport.mqtt import connect_mqtt
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
    own_keys: int = 0
    """Keys that only one session writes, of each session (see `own_keys.py`); 0: all sessions write all `keys`."""
    own_read_fraction: float = 0.5
    """With own keys: the share of a session's reads that are of its own."""
    separate_readers: bool = False
    """`read_fraction` of the sessions read, the others write. Needs a rate, and sessions of both sorts."""
    insistent_fraction: float = 0.0
    """Share of the sessions that ask the first leader whatever they hear."""
    value_bytes: int = 100
    read_policy: str = "leader"
    """Of all sessions; or several with commas between, which the sessions have in turn."""
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
            "own_keys": (0, 1_000),
            "own_read_fraction": (0, 1),
            "insistent_fraction": (0, 1),
            "value_bytes": (0, 1_000_000),
            "timeout_s": (0.1, 600),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigurationError(f"{name} is {getattr(self, name)}", hint=f"between {low} and {high}")
        if self.rate_per_s is not None and not 0 < self.rate_per_s <= 1_000_000:
            raise ConfigurationError(f"rate_per_s is {self.rate_per_s}", hint="above 0 and at most 1,000,000, or None")
        if self.own_keys and self.rate_per_s is None:
            raise ConfigurationError(
                "own_keys without a rate_per_s",
                hint="in a closed loop nobody knows beforehand whose operation comes next",
            )
        if self.separate_readers and (self.rate_per_s is None or not 0 < self.readers < self.sessions):
            raise ConfigurationError(
                f"separate_readers with {self.readers} of {self.sessions} sessions",
                hint="some must read and some write; and a rate_per_s is needed",
            )
        if self.workload not in WORKLOADS:
            raise ConfigurationError(f"unknown workload {self.workload!r}", hint="one of " + ", ".join(WORKLOADS))
        split_policies(self.read_policy)

    @property
    def readers(self) -> int:
        """How many sessions read, if they are separate: the first ones."""
        return round(self.sessions * self.read_fraction)

    def is_insistent(self, session: int) -> bool:
        """Whether this session is one of those that insist; they are spread evenly."""
        return int((session + 1) * self.insistent_fraction) > int(session * self.insistent_fraction)


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


_NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class _Ending:
    """What became of one operation."""

    outcome: Outcome
    error: str = ""
    value: int | None = None
    replica: str = ""
    position: Position = _NOWHERE
    member: int = 0
    sequence: int = 0
    identifier: int = 0


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
        yield Planned(number, round(due_s * 1e9), is_read, _draw_key(load, rng, number, is_read=is_read), number)


def session_of(load: LoadConfig, number: int, *, is_read: bool) -> int:
    """Who runs the operation of that number: the sessions, or those of its sort, have their turns in order."""
    if not load.separate_readers:
        return number % load.sessions
    return number % load.readers if is_read else load.readers + number % (load.sessions - load.readers)


def _draw_key(load: LoadConfig, rng: random.Random, number: int, *, is_read: bool) -> str:
    if not load.own_keys:
        return f"k{int(rng.random() * load.keys)}"
    return draw_own_key(
        rng,
        session=session_of(load, number, is_read=is_read),
        sessions=load.sessions,
        own_keys=load.own_keys,
        own_read_fraction=load.own_read_fraction,
        is_read=is_read,
    )


class LoadGenerator:
    """Runs one load on an open connection, passing each finished operation to `writer`.

    `insistent`: the connection of the sessions that insist, if there are any. `in_loop`: the event loop's own timers
    say when an operation is due, which is exact where its time is virtual.
    """

    def __init__(
        self,
        spec: LoadSpec,
        connection: ClientConnection,
        writer: OperationRowsWriter,
        start_ns: int,
        insistent: ClientConnection | None = None,
        *,
        in_loop: bool = False,
    ) -> None:
        self._spec = spec
        self._in_loop = in_loop
        self._load = spec.load
        self._workload = WORKLOADS[spec.load.workload]
        self._connection = connection
        self._insistent = insistent or connection
        self._writer = writer
        self._filling = random.Random(spec.load.seed).randbytes(spec.load.value_bytes)
        self._operations = plan_operations(spec.load)
        self._stopped = False
        self._start_ns = start_ns
        """Time 0 of the load, on the host's monotonic clock."""
        self._end_ns = round((self._load.warmup_s + self._load.duration_s) * 1e9)

    def stop(self) -> None:
        """End early: operations that run now end by themselves, no new one begins."""
        self._stopped = True

    async def run(self) -> None:
        """Run the load to its end."""
        async with asyncio.TaskGroup() as group:
            queues = [asyncio.Queue[Planned | None]() for _ in range(self._load.sessions)]
            for number, queue in enumerate(queues):
                operations = self._closed_loop() if self._load.rate_per_s is None else _drain(queue)
                group.create_task(self._run_session(number, operations), name=f"session-{number}")
            if self._load.rate_per_s is not None:
                if self._in_loop:
                    await self._dispatch_in_loop(queues)
                else:
                    await asyncio.to_thread(self._dispatch, asyncio.get_running_loop(), queues)

    def _now_ns(self) -> int:
        return clock.now_ns() - self._start_ns

    def _payload(self, value: int) -> bytes:
        """Bytes of the wanted size, new with every value, so that a log format which ships changes has some to ship."""
        return (value.to_bytes(8, "big") + self._filling)[: len(self._filling)]

    def _ended(self, at_ns: int) -> bool:
        return self._stopped or at_ns >= self._end_ns

    def _gives_up(self) -> bool:
        """Whether what has not been sent by now never will be."""
        return self._stopped or self._now_ns() >= self._end_ns + self._load.timeout_s * 1e9

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
            session = session_of(self._load, operation.number, is_read=operation.is_read)
            loop.call_soon_threadsafe(queues[session].put_nowait, operation)
        for queue in queues:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    async def _dispatch_in_loop(self, queues: list[asyncio.Queue[Planned | None]]) -> None:
        for operation in self._operations:
            if (ahead_ns := operation.due_ns - self._now_ns()) > 0:
                await asyncio.sleep(ahead_ns / 1e9)
            if self._ended(operation.due_ns):
                break
            session = session_of(self._load, operation.number, is_read=operation.is_read)
            queues[session].put_nowait(operation)
        for queue in queues:
            queue.put_nowait(None)

    async def _closed_loop(self) -> AsyncIterator[Planned]:
        while not self._ended(now_ns := self._now_ns()):
            yield next(self._operations)._replace(due_ns=now_ns)

    async def _run_session(self, number: int, operations: AsyncIterator[Planned]) -> None:
        load = self._load
        own_keys: set[SqlValue] = set()
        session = Session(
            self._insistent if load.is_insistent(number) else self._connection,
            read_policy=policy_of(load.read_policy, number),
            options=SessionOptions(timeout_s=load.timeout_s, retry_s=min(1.0, load.timeout_s)),
            own_keys=own_keys,
            rng=random.Random(f"{load.seed}/{number}"),
        )
        async for operation in operations:
            if self._gives_up():
                self._writer.write(self._row(number, operation, _Ending("fail", "never sent: the load was over")))
                continue
            if not operation.is_read:
                own_keys.add(operation.key)
            invoked_ns = self._now_ns()
            ending = await self._run_operation(session, operation)
            self._writer.write(self._row(number, operation, ending, invoked_ns, self._now_ns()))

    async def _run_operation(self, session: Session, operation: Planned) -> _Ending:
        try:
            if operation.is_read:
                read = await session.read(self._workload.read, (operation.key,))
                value = read.rows[0][0] if read.rows else None
                return _Ending("ok", value=value, replica=read.replica, position=read.position)  # type: ignore[arg-type]  # the column is an INTEGER
            parameters = (operation.key, operation.value, self._payload(operation.value))
            write = await session.write(self._workload.write, parameters)
            return _Ending(
                "ok",
                replica=write.replica,
                position=write.position,
                member=write.member,
                sequence=write.sequence,
                identifier=write.identifier,
            )
        except (DefiniteError, IndefiniteError) as error:
            if isinstance(error, LostPosition):
                session.forget()  # or every later read would end like this one
            outcome: Outcome = "fail" if isinstance(error, DefiniteError) else "info"
            return _Ending(outcome, str(error), sequence=error.sequence, identifier=error.identifier)

    def _row(
        self,
        session: int,
        operation: Planned,
        ending: _Ending,
        invoked_ns: int | None = None,
        completed_ns: int | None = None,
    ) -> OperationRow:
        return OperationRow(
            operation=operation.number,
            cell=self._spec.cell,
            session=session,
            kind="read" if operation.is_read else "write",
            key=operation.key,
            value=ending.value if operation.is_read else operation.value,
            outcome=ending.outcome,
            error=ending.error,
            replica=ending.replica,
            term=ending.position.term,
            index=ending.position.index,
            member=ending.member,
            intended_ns=operation.due_ns,
            invoked_ns=invoked_ns,
            completed_ns=completed_ns,
            sequence=ending.sequence,
            identifier=ending.identifier,
        )


async def _drain(queue: asyncio.Queue[Planned | None]) -> AsyncIterator[Planned]:
    while (operation := await queue.get()) is not None:
        yield operation


async def generate(
    spec: LoadSpec, connect: Connect, stop_by: Callable[[Callable[[], None]], None], *, in_loop: bool = False
) -> None:
    """Run a load to its end; `stop_by` gets what ends it early. `in_loop` as of `LoadGenerator`."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await ClientConnection.over(connect, spec.cluster_id, spec.members)
        stack.push_async_callback(connection.close)
        connection.leader = spec.leader
        insistent = None
        if spec.load.insistent_fraction:
            insistent = await InsistentConnection.over(connect, spec.cluster_id, (spec.leader,))
            stack.push_async_callback(insistent.close)
        start_ns = clock.now_ns()
        with OperationRowsWriter(spec.rows_path, start_ns=start_ns, now_ns=clock.now_ns) as writer:
            generator = LoadGenerator(spec, connection, writer, start_ns, insistent, in_loop=in_loop)
            stop_by(generator.stop)
            await generator.run()


async def _run(spec: LoadSpec) -> None:
    async def connect(identifier: str, handler: Handler) -> Link:
        return await connect_mqtt(spec.broker_url, identifier=identifier, handler=handler)

    loop = asyncio.get_running_loop()
    await generate(spec, connect, lambda stop: loop.add_signal_handler(signal.SIGTERM, stop))


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
