"""A cluster on this machine: a broker, replica processes, and the means to use and to disturb them.

    async with Cluster(ClusterConfig(followers=2, ack=AckPolicy.sync())) as cluster:
        session = await cluster.session(read_policy="any")

The cluster object owns its processes: they end when the `async with` block is left, and also when this process
dies without leaving it. It never takes part in replication; it starts, appoints, asks and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench import config_file
from workbench.client.connection import ClientConnection
from workbench.client.load import LoadConfig, LoadSpec
from workbench.client.session import Session, SessionOptions
from workbench.cluster.broker import Broker, BrokerInfo
from workbench.cluster.processes import ChildProcess, python_command, python_environment
from workbench.cluster.replicas import Replicas, last_line
from workbench.cluster.status import (
    ConvergenceReport,
    ReplicaStatus,
    compare_digests,
    why_not_settled,
    with_reason,
)
from workbench.cluster.temporary import make_temporary_directory
from workbench.config import ClusterConfig
from workbench.errors import ClusterError
from workbench.protocol.messages import Appoint, SetLinkDelay
from workbench.protocol.roles import Role
from workbench.workloads.single_rows import WORKLOADS

__all__ = ["Cluster", "ConvergenceReport", "ReplicaStatus"]

_SETTLE_POLL_S = 0.01

_logger = logging.getLogger(__name__)


class Cluster:
    """Replicas of one partition, started by `async with` or `start`."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self.config = config or ClusterConfig()
        self.cluster_id = secrets.token_hex(6)
        self.leader = self.config.replica_names[0]
        """The replica that was appointed last."""
        self._started: Replicas | None = None
        self._exit = contextlib.AsyncExitStack()
        self._is_running = False
        self._broker: Broker
        self._loads = 0
        self._load_processes: set[ChildProcess] = set()

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start broker and replicas, appoint the first leader, and return when it serves.

        Raises `BrokerError` or `ClusterError`; then nothing is left running, and no temporary directory.
        """
        if self._is_running:
            raise ClusterError("the cluster has been started already", hint="stop it first, or make another one")
        self._is_running = True
        try:
            async with asyncio.timeout(self.config.start_timeout_s):
                await self._start()
        except TimeoutError:
            await self.stop()
            raise ClusterError(
                f"the cluster was not ready within {self.config.start_timeout_s:g} s",
                hint="is the machine very busy? raise start_timeout_s",
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self.directory = self._make_directory()
        self._broker = await self._exit.enter_async_context(await Broker.start(self.config.broker, self.logs))
        connection = await ClientConnection.open(self._broker.url, self.cluster_id, self.config.replica_names)
        self._exit.push_async_callback(connection.close)
        self._started = replicas = Replicas(self.config, self.cluster_id, self.directory, self._broker, connection)
        connection.known_trouble = replicas.trouble
        self._exit.push_async_callback(replicas.stop)
        await replicas.start_all(self.leader)
        await self.appoint(self.leader)

    async def stop(self) -> None:
        """End every process of the cluster; remove its directory if it was a temporary one.

        Whatever goes wrong is logged, not raised, and a second call does nothing.
        """
        try:
            await self._exit.aclose()
        except Exception:
            _logger.exception("the cluster could not be stopped in good order")
        finally:
            self._is_running = False

    def _make_directory(self) -> Path:
        if self.config.directory is not None:
            directory = Path(self.config.directory)
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ClusterError(f"the directory {directory} cannot be used: {error.strerror}") from error
            return directory
        directory = make_temporary_directory()
        self._exit.callback(shutil.rmtree, directory, ignore_errors=True)
        return directory

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.directory / "logs"

    @property
    def broker(self) -> BrokerInfo:
        """Name, version, address (without password) and settings of the broker."""
        return self._broker.info

    @property
    def processes(self) -> list[ChildProcess]:
        """The replicas' and load generators' processes that have not ended."""
        replicas = self._started.processes if self._started is not None else []
        return [*replicas, *(one for one in self._load_processes if one.returncode is None)]

    @property
    def broker_process(self) -> ChildProcess | None:
        """The broker's process; None when it is not ours."""
        return self._broker.process

    # Use.

    async def session(self, read_policy: str = "leader", *, timeout_s: float = 10.0, retry_s: float = 1.0) -> Session:
        """A new session of this process. Raises `ConfigurationError` for an unknown read policy."""
        options = SessionOptions(timeout_s=timeout_s, retry_s=min(retry_s, timeout_s))
        return Session(self._replicas.connection, read_policy=read_policy, options=options)

    async def replicas(self) -> list[ReplicaStatus]:
        """The status of every replica, in the order of their names."""
        statuses = await self._replicas.inspect_all()
        return [with_reason(status, self.config.ack, statuses) for status in statuses]

    async def converged(self, timeout_s: float = 10.0) -> ConvergenceReport:
        """Wait until all replicas have applied the same entries, then compare the digests of their tables.

        Meant for quiet moments: while writes go on the replicas are rarely at the same entry. A timeout is
        reported (`ok` false, with the reason), not raised.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            statuses = await self._replicas.inspect_all()
            reason = why_not_settled(statuses)
            if not reason:
                statuses = await self._replicas.inspect_all(digests=True)
                reason = why_not_settled(statuses)
                if not reason:
                    return compare_digests(statuses)
            if asyncio.get_running_loop().time() >= deadline:
                positions = {status.name: status.last_position for status in statuses}
                return ConvergenceReport(
                    ok=False, reason=f"not within {timeout_s:g} s: {reason}", digests={}, positions=positions
                )
            await asyncio.sleep(_SETTLE_POLL_S)

    async def prepare_load(self, load: LoadConfig) -> None:
        """Give the load generator an empty table."""
        session = await self.session(timeout_s=load.timeout_s)
        workload = WORKLOADS[load.workload]
        await session.write(workload.drop_table)
        await session.write(workload.create_table)

    async def load(self, load: LoadConfig, *, cell: str = "") -> Path:
        """Run the load generator, a process of its own, to its end; return the file with its operations.

        Raises `ClusterError` when it fails.
        """
        replicas = self._replicas
        self._loads += 1
        folder = self.directory / "loads"
        folder.mkdir(exist_ok=True)
        spec = LoadSpec(
            load=load,
            cell=cell,
            broker_url=self._broker.url,
            cluster_id=self.cluster_id,
            members=self.config.replica_names,
            leader=replicas.connection.leader,
            rows_path=folder / f"load-{self._loads}.rows",
        )
        path = folder / f"load-{self._loads}.json"
        config_file.save(spec, path)
        command = python_command("workbench.client.load", str(path))
        log = self.logs / f"load-{self._loads}.log"
        started = ChildProcess.start(command, log, python_environment(), name="the load generator")
        async with await started as process:
            self._load_processes.add(process)
            try:
                status = await process.wait()
            finally:
                self._load_processes.discard(process)
            if status != 0:
                raise ClusterError(f"the load generator failed: {last_line(process)}")
        return spec.rows_path

    # Disturbance.

    async def set_link_delay(self, delay_ms: float, *, replicas: Sequence[str] | None = None) -> None:
        """From now on, every message that followers receive from other replicas arrives `delay_ms` later.

        `replicas` names the receivers; all but the leader by default.
        """
        names = (
            replicas if replicas is not None else [name for name in self.config.replica_names if name != self.leader]
        )
        for name in names:
            await self._replicas.ask(name, lambda request, to: SetLinkDelay(request, to, delay_ms))

    async def kill(self, name: str) -> None:
        """SIGKILL a replica and wait until it is gone."""
        await self._replicas.process(name).kill()

    async def pause(self, name: str) -> None:
        """SIGSTOP a replica: it does nothing, and cannot know it, until `resume`."""
        self._replicas.process(name).pause()

    async def resume(self, name: str) -> None:
        """SIGCONT a paused replica."""
        self._replicas.process(name).resume()

    async def restart(self, name: str) -> None:
        """Start a replica whose process has ended, on the disk it left; a leader is appointed for a new term."""
        if self._replicas.process(name).returncode is None:
            raise ClusterError(f"{name} is running", hint="kill it first")
        await self._replicas.start(name, leads=name == self.leader)
        if name == self.leader:
            await self.appoint(name)

    async def appoint(self, name: str) -> ReplicaStatus:
        """Make a replica the leader of a new term. Nothing checks that it is the most up to date: see elections."""
        status = await self._replicas.ask(name, Appoint)
        if status.role != Role.LEADER:
            raise ClusterError(f"{name} was appointed but is a {status.role}")
        self.leader = self._replicas.connection.leader = name
        return status

    @property
    def _replicas(self) -> Replicas:
        """Raises `ClusterError` when the cluster does not run."""
        if not self._is_running or self._started is None:
            raise ClusterError("the cluster is not running", hint="start it, or use it inside its `async with` block")
        return self._started
