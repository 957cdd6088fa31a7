"""A cluster on this machine: a broker, replica processes, and the means to use and to disturb them.

    async with Cluster(ClusterConfig(followers=2, ack=AckPolicy.sync())) as cluster:
        session = await cluster.session(read_policy="any")

The cluster object owns its processes: they end when the `async with` block is left, and also when this process
dies without leaving it. It never takes part in replication; it starts, appoints, asks and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench import config_file
from workbench.client.connection import ClientConnection
from workbench.client.load import WORKLOADS, LoadConfig, LoadSpec
from workbench.client.session import Session, SessionOptions
from workbench.cluster.broker import Broker, BrokerInfo
from workbench.cluster.processes import ChildProcess, python_command, python_environment
from workbench.cluster.status import (
    DOWN,
    ConvergenceReport,
    ReplicaStatus,
    compare_digests,
    why_not_settled,
)
from workbench.config import ClusterConfig, ReplicaConfig
from workbench.errors import ClusterError, ConfigurationError
from workbench.protocol import messages
from workbench.protocol.messages import Appoint, Inspect, Message, SetLinkDelay
from workbench.protocol.roles import Role

__all__ = ["Cluster", "ConvergenceReport", "ReplicaStatus"]

_ASK_AGAIN_S = 0.05
_ANSWER_S = 5.0
_DIGEST_S = 60.0
_SETTLE_POLL_S = 0.01
_STOP_S = 5.0


class Cluster:
    """Replicas of one partition, started by `async with` or `start`."""

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self.config = config or ClusterConfig()
        self.cluster_id = secrets.token_hex(6)
        self.leader = self.config.replica_names[0]
        """The replica that was appointed last."""
        self._processes: dict[str, ChildProcess] = {}
        self._exit = contextlib.AsyncExitStack()
        self._broker: Broker
        self._connection: ClientConnection
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

        Raises `BrokerError` or `ClusterError`; then nothing is left running.
        """
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
        self._connection = await ClientConnection.open(self._broker.url, self.cluster_id, self.config.replica_names)
        self._exit.push_async_callback(self._connection.close)
        self._exit.push_async_callback(self._stop_replicas)
        await asyncio.gather(*(self._start_replica(name) for name in self.config.replica_names))
        await self.appoint(self.leader)

    async def stop(self) -> None:
        """End every process of the cluster; remove its directory if it was a temporary one."""
        await self._exit.aclose()

    def _make_directory(self) -> Path:
        if self.config.directory is not None:
            directory = Path(self.config.directory)
            directory.mkdir(parents=True, exist_ok=True)
            return directory
        directory = Path(tempfile.mkdtemp(prefix="replication-workbench-"))
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
        mine = [*self._processes.values(), *self._load_processes]
        return [process for process in mine if process.returncode is None]

    @property
    def broker_process(self) -> ChildProcess | None:
        """The broker's process; None when it is not ours."""
        return self._broker.process

    # Use.

    async def session(self, read_policy: str = "leader", *, timeout_s: float = 10.0, retry_s: float = 1.0) -> Session:
        """A new session of this process. Raises `ConfigurationError` for an unknown read policy."""
        options = SessionOptions(timeout_s=timeout_s, retry_s=min(retry_s, timeout_s))
        return Session(self._connection, read_policy=read_policy, options=options)

    async def replicas(self) -> list[ReplicaStatus]:
        """The status of every replica, in the order of their names."""
        return await self._inspect(digests=False)

    async def converged(self, timeout_s: float = 10.0) -> ConvergenceReport:
        """Wait until all replicas have applied the same entries, then compare the digests of their tables.

        Meant for quiet moments: while writes go on the replicas are rarely at the same entry. A timeout is
        reported (`ok` false, with the reason), not raised.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            statuses = await self._inspect(digests=False)
            reason = why_not_settled(statuses)
            if not reason:
                statuses = await self._inspect(digests=True)
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
        self._loads += 1
        folder = self.directory / "loads"
        folder.mkdir(exist_ok=True)
        spec = LoadSpec(
            load=load,
            cell=cell,
            broker_url=self._broker.url,
            cluster_id=self.cluster_id,
            members=self.config.replica_names,
            leader=self._connection.leader,
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
                raise ClusterError(f"the load generator failed: {_last_line(process)}")
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
            await self._ask(self._known(name), lambda request, to: SetLinkDelay(request, to, delay_ms))

    async def kill(self, name: str) -> None:
        """SIGKILL a replica and wait until it is gone."""
        await self._processes[self._known(name)].kill()

    async def pause(self, name: str) -> None:
        """SIGSTOP a replica: it does nothing, and cannot know it, until `resume`."""
        self._processes[self._known(name)].pause()

    async def resume(self, name: str) -> None:
        """SIGCONT a paused replica."""
        self._processes[self._known(name)].resume()

    async def restart(self, name: str) -> None:
        """Start a replica whose process has ended, on the disk it left; a leader is appointed for a new term."""
        if self._processes[self._known(name)].returncode is None:
            raise ClusterError(f"{name} is running", hint="kill it first")
        await self._start_replica(name)
        if name == self.leader:
            await self.appoint(name)

    async def appoint(self, name: str) -> ReplicaStatus:
        """Make a replica the leader of a new term. Nothing checks that it is the most up to date: see elections."""
        status = await self._ask(self._known(name), Appoint)
        if status.role != Role.LEADER:
            raise ClusterError(f"{name} was appointed but is a {status.role}")
        self.leader = self._connection.leader = name
        return status

    # Processes.

    async def _start_replica(self, name: str) -> None:
        """Start a replica and return when it answers."""
        config = self.config
        directory = self.directory / "replicas" / name
        directory.mkdir(parents=True, exist_ok=True)
        replica = ReplicaConfig(
            name=name,
            members=config.replica_names,
            cluster_id=self.cluster_id,
            broker_url=self._broker.url,
            directory=directory,
            log_format=config.log_format,
            ack=config.ack,
            link_delay_ms=0.0 if name == self.leader else config.follower_delay_ms,
            page_size=config.page_size,
            limits=config.limits,
            timing=config.timing,
        )
        path = directory / "config.json"
        config_file.save(replica, path)
        command = python_command("workbench.replica", str(path))
        log = self.logs / f"{name}.log"
        self._processes[name] = await ChildProcess.start(command, log, python_environment(), name=name)
        while await self._try_to_ask(name, Inspect, _ASK_AGAIN_S) is None:
            if self._processes[name].returncode is not None:
                raise ClusterError(self._why_down(name))

    async def _stop_replicas(self) -> None:
        await asyncio.gather(*(process.terminate(_STOP_S) for process in self._processes.values()))

    def _known(self, name: str) -> str:
        if name not in self._processes:
            raise ConfigurationError(f"there is no replica {name!r}", hint="one of " + ", ".join(self._processes))
        return name

    def _why_down(self, name: str) -> str:
        process = self._processes[name]
        return f"{name} ended with status {process.returncode}: {_last_line(process)}"

    # Asking.

    async def _inspect(self, *, digests: bool) -> list[ReplicaStatus]:
        names = self.config.replica_names
        return list(await asyncio.gather(*(self._inspect_one(name, digests=digests) for name in names)))

    async def _inspect_one(self, name: str, *, digests: bool) -> ReplicaStatus:
        if self._processes[name].returncode is not None:
            return ReplicaStatus(name=name, role=DOWN, reason=self._why_down(name))
        timeout_s = _DIGEST_S if digests else _ANSWER_S
        status = await self._try_to_ask(
            name, lambda request, reply_to: Inspect(request, reply_to, digests=digests), timeout_s
        )
        if status is None:
            return ReplicaStatus(name=name, role=DOWN, reason=f"no answer within {timeout_s:g} s")
        return ReplicaStatus.from_message(status)

    async def _ask(self, name: str, make: Callable[[int, str], Message]) -> ReplicaStatus:
        status = await self._try_to_ask(name, make, _ANSWER_S)
        if status is None:
            if self._processes[name].returncode is not None:
                raise ClusterError(self._why_down(name))
            raise ClusterError(f"{name} did not answer within {_ANSWER_S:g} s")
        return ReplicaStatus.from_message(status)

    async def _try_to_ask(
        self, name: str, make: Callable[[int, str], Message], timeout_s: float
    ) -> messages.ReplicaStatus | None:
        """The status that a replica answers with; None when its time was up or its process has ended."""
        answer = asyncio.ensure_future(self._connection.control(name, make, timeout_s))
        ended = asyncio.ensure_future(self._processes[name].wait())
        await asyncio.wait((answer, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        status = answer.result() if answer.done() else None
        assert status is None or isinstance(status, messages.ReplicaStatus)
        return status


def _last_line(process: ChildProcess) -> str:
    """What the process said last, without the time and level that its log puts before it."""
    lines = process.last_log_lines(1)
    return re.sub(r"^[\d:.]+ [A-Z]+ ", "", lines[0]) if lines else f"it left no word in {process.log_path}"
