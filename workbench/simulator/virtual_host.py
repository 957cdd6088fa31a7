"""A host for clusters in virtual time: broker, replicas and load generators in this one process, on a `VirtualLoop`.

The code of replicas, storage and clients is that of the real world; network, time and disks are simulated. A killed
replica leaves its files as they are, as SIGKILL does; what it had open is closed behind its back, on a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from workbench import config_file
from workbench.client.connection import ClientConnection
from workbench.client.load import LoadSpec, generate
from workbench.config import ReplicaConfig
from workbench.errors import ConfigurationError, WorkbenchError
from workbench.faults.values import World
from workbench.replica.counters import Counters
from workbench.replica.driver import ReplicaDriver
from workbench.replica.process import exit_code_of, serve
from workbench.replica.storage import ReplicaStorage
from workbench.simulator.virtual_broker import VirtualBroker, VirtualTransport
from workbench.simulator.virtual_loop import VirtualLoop, current_process, run_virtually
from workbench.simulator.virtual_process import ProcessLogs, VirtualProcess
from workbench.simulator.virtual_storage import VirtualDisk, VirtualStorage
from workbench.transport.base import Handler

T = TypeVar("T")


class VirtualHost:
    """A `Host`. Everything that it draws comes from `seed`. Belongs to the virtual loop that it is made on."""

    world: World = "simulated"

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed}/host")
        self._broker: VirtualBroker | None = None
        self._numbers = count(1)

    @property
    def broker(self) -> VirtualBroker:
        """The broker that was started last."""
        assert self._broker is not None, "no broker yet"
        return self._broker

    async def start_broker(self, choice: str | None, logs: Path) -> VirtualBroker:
        """See `Host.start_broker`. Raises `ConfigurationError` where a real broker was chosen."""
        if choice is not None:
            raise ConfigurationError(f"broker {choice!r} in a simulated world", hint="it has a broker of its own")
        logs.mkdir(parents=True, exist_ok=True)
        self._broker = VirtualBroker(Random(self._random.random()))
        return self._broker

    async def start_replica(self, name: str, config: Path, log: Path) -> VirtualProcess:
        """See `Host.start_replica`."""
        loaded = config_file.load(config, ReplicaConfig)
        if loaded.failpoint:
            raise ConfigurationError("failpoints end the whole process", hint="use them in a real cluster")
        replica = _Replica(loaded, self.broker, Random(self._random.random()))
        process = VirtualProcess(name, log, replica.abandon)
        process.on_terminate = replica.stopped.set
        process.begin(replica.run(), _context_of(process))
        return process

    async def start_load(self, spec: Path, log: Path) -> VirtualProcess:
        """See `Host.start_load`."""
        loaded = config_file.load(spec, LoadSpec)
        broker, connections = self.broker, _Connections(self.broker)
        process = VirtualProcess("the load generator", log, connections.drop)

        def stop_by(stop: Callable[[], None]) -> None:
            process.on_terminate = stop

        process.begin(_load(loaded, connections.connect, stop_by), _context_of(process))
        assert broker is self.broker
        return process

    async def connect(self, broker_url: str, cluster_id: str, members: tuple[str, ...]) -> ClientConnection:
        """See `Host.connect`."""
        return await ClientConnection.over(_Connections(self.broker).connect, cluster_id, members)


class _Connections:
    """The connections of one process."""

    def __init__(self, broker: VirtualBroker) -> None:
        self._broker = broker
        self._made: list[VirtualTransport] = []

    async def connect(self, identifier: str, handler: Handler) -> VirtualTransport:
        transport = self._broker.connect(identifier, handler)
        self._made.append(transport)
        return transport

    def drop(self) -> None:
        """Its process has ended."""
        for transport in self._made:
            transport.drop()


class _Replica:
    """What runs in a replica's process."""

    def __init__(self, config: ReplicaConfig, broker: VirtualBroker, random: Random) -> None:
        self._config = config
        self._connections = _Connections(broker)
        self._random = random
        self._disk = VirtualDisk(config)
        self._storage: ReplicaStorage | None = None
        self._is_closed = False
        self.stopped = asyncio.Event()

    async def run(self) -> int:
        run_storage = partial(VirtualStorage, disk=self._disk, random=self._random)
        driver = ReplicaDriver(self._config, open_storage=self._open, run_storage=run_storage)
        serving = serve(self._config, driver, self._connections.connect, self.stopped)
        status = await exit_code_of(serving, self._config.name)
        self._is_closed = status == 0
        return status

    def _open(self, config: ReplicaConfig, counters: Counters) -> ReplicaStorage:
        self._storage = self._disk.open(config, counters)
        return self._storage

    def abandon(self) -> None:
        """The process is gone. Its files stay as they are: what closes them now works on others."""
        self._connections.drop()
        storage, self._storage = self._storage, None
        if storage is None or self._is_closed:
            return
        directory = self._config.directory
        kept, aside = (directory.with_name(f".{directory.name}-{what}") for what in ("kept", "gone"))
        shutil.copytree(directory, kept)
        directory.rename(aside)  # SQLite removes files by their names: there must be none
        with contextlib.suppress(WorkbenchError, OSError):
            storage.close()
        shutil.rmtree(aside, ignore_errors=True)
        kept.rename(directory)


def _context_of(process: VirtualProcess) -> Context:
    context = copy_context()
    context.run(current_process.set, process)
    return context


async def _load(spec: LoadSpec, connect: Any, stop_by: Callable[[Callable[[], None]], None]) -> int:
    try:
        await generate(spec, connect, stop_by, in_loop=True)
    except WorkbenchError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


@contextlib.contextmanager
def _logs_of_processes(loop: VirtualLoop) -> Iterator[None]:
    """Let each process's words go to its own log, and nowhere else."""
    logger = logging.getLogger("workbench")
    handler = ProcessLogs(current_process.get, loop.time)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


async def in_virtual_time(seed: int, make: Callable[[VirtualHost], Awaitable[T]]) -> T:
    """What `make` returns for a new host, run to its end in virtual time; cancelled when the caller is."""

    async def main() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with _logs_of_processes(loop):
            return await make(VirtualHost(seed))

    return await run_virtually(main)
