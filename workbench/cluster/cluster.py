"""A cluster on this machine: a broker, replica processes, and the means to use and to disturb them.

    async with Cluster(ClusterConfig(followers=2, ack=AckPolicy.sync())) as cluster:
        session = await cluster.session(read_policy="any")

The cluster object owns its processes: they end when the `async with` block is left, and also when this process
dies without leaving it. It never takes part in replication: who leads, the replicas decide among themselves. It starts,
asks, disturbs and ends; what it wants of a leader (`changes.py`) it asks like anybody else.
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
from typing import Any, Self

from workbench import clock, config_file
from workbench.client.load import LoadConfig, LoadSpec
from workbench.client.session import Session, SessionOptions
from workbench.cluster.changes import Changes
from workbench.cluster.hosting import BrokerDescription, Child, Host, Processes, RunningBroker
from workbench.cluster.links import LinkFaults
from workbench.cluster.replicas import Replicas, last_line
from workbench.cluster.status import (
    ConvergenceReport,
    ReplicaStatus,
    compare_digests,
    why_moved,
    why_not_settled,
    with_reasons,
)
from workbench.config import ClusterConfig
from workbench.errors import ClusterError
from workbench.temporary import make_temporary_directory
from workbench.workloads.single_rows import WORKLOADS

__all__ = ["Cluster", "ConvergenceReport", "ReplicaStatus"]

_SETTLE_POLL_S = 0.01

_logger = logging.getLogger(__name__)


class Cluster:
    """Replicas of one partition, started by `async with` or `start`."""

    def __init__(self, config: ClusterConfig | None = None, host: Host | None = None) -> None:
        """`host`: what runs the replicas; processes of this machine by default."""
        self.config = config or ClusterConfig()
        self.host: Host = host or Processes()
        self.cluster_id = secrets.token_hex(6)
        self._started: Replicas | None = None
        self._exit = contextlib.AsyncExitStack()
        self._is_running = False
        self._broker: RunningBroker
        self._changes: Changes
        self._links: LinkFaults
        self._loads = 0
        self._load_processes: set[Child] = set()

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start broker and replicas, and return when a leader, as a rule `replica-1`, serves.

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
        self._broker = await self._exit.enter_async_context(await self.host.start_broker(self.config.broker, self.logs))
        names = self.names
        connection = await self.host.connect(self._broker.url, self.cluster_id, names)
        self._exit.push_async_callback(connection.close)
        replicas = Replicas(self.config, self.cluster_id, self.directory, self._broker, connection, self.host, names)
        self._started = replicas
        self._changes = Changes(replicas)
        self._links = LinkFaults(replicas, self.config.follower_delay_ms)
        self._exit.push_async_callback(self._links.stop)
        connection.known_trouble = replicas.trouble
        self._exit.push_async_callback(replicas.stop)
        await replicas.start_all()
        await self._changes.elect_first()

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
    def broker(self) -> BrokerDescription:
        """Name, version, address (without password) and settings of the broker."""
        return self._broker.info

    @property
    def links(self) -> LinkFaults:
        """What is wrong between the replicas and with them, for whoever injects faults."""
        return self._links

    @property
    def running_broker(self) -> RunningBroker:
        """The broker, for whoever injects faults."""
        return self._broker

    @property
    def processes(self) -> list[Child]:
        """The replicas' and load generators' processes that have not ended."""
        replicas = self._started.processes if self._started is not None else []
        return [*replicas, *(one for one in self._load_processes if one.returncode is None)]

    @property
    def broker_process(self) -> Child | None:
        """The broker's process; None when it is not ours."""
        return self._broker.process

    # Use.

    @property
    def names(self) -> tuple[str, ...]:
        """The replicas that there are, running or not."""
        return self._started.names if self._started is not None else self.config.replica_names

    @property
    def leader(self) -> str:
        """Whoever leads, or led, as far as this process has heard; `wait_for_leader` asks."""
        return self._started.connection.leader if self._started is not None else self.names[0]

    async def wait_for_leader(self, timeout_s: float = 10.0, *, unlike: str = "") -> str:
        """Wait until a replica, and not `unlike`, leads; its name. Raises `ClusterError` that says why nobody does."""
        return await self._changes.wait_for_leader(timeout_s, unlike=unlike)

    async def session(
        self, read_policy: str = "leader", *, timeout_s: float = 10.0, retry_s: float = 1.0, **own: Any
    ) -> Session:
        """A new session of this process; `own` are `own_tables` and `own_keys` of `Session`.

        Raises `ConfigurationError` for an unknown read policy.
        """
        options = SessionOptions(timeout_s=timeout_s, retry_s=min(retry_s, timeout_s))
        return Session(self._replicas.connection, read_policy=read_policy, options=options, **own)

    async def replicas(self) -> list[ReplicaStatus]:
        """The status of every replica, in the order in which they came."""
        return with_reasons(await self._replicas.inspect_all(), self.config.ack)

    async def converged(self, timeout_s: float = 10.0) -> ConvergenceReport:
        """Wait until all replicas have applied the same entries, then compare the digests of their tables.

        Meant for quiet moments: while writes go on the replicas are rarely at the same entry. A timeout is
        reported (`ok` false, with the reason), not raised.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            before = statuses = await self._replicas.inspect_all()
            reason = why_not_settled(statuses)
            if not reason:
                statuses = await self._replicas.inspect_all(digests=True)
                reason = why_not_settled(statuses) or why_moved(before, statuses)
                if not reason:
                    return compare_digests(statuses)
            if asyncio.get_running_loop().time() >= deadline:
                positions = {status.name: status.last_position for status in statuses}
                return ConvergenceReport(
                    ok=False, reason=f"not within {timeout_s:g} s: {reason}", digests={}, positions=positions
                )
            await asyncio.sleep(_SETTLE_POLL_S)

    def rollbacks(self) -> list[Path]:
        """The files in which replicas have written what rewinds dropped, oldest first for each replica."""
        return sorted((self.directory / "replicas").glob("*/rollback/*.jsonl"))

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
            members=self._replicas.connection.members,
            leader=self.leader,
            rows_path=folder / f"load-{self._loads}.rows",
        )
        path = folder / f"load-{self._loads}.json"
        config_file.save(spec, path)
        process = await self.host.start_load(path, self.logs / f"load-{self._loads}.log")
        self._load_processes.add(process)
        try:
            status = await process.wait()
            if status != 0:
                raise ClusterError(f"the load generator failed: {last_line(process)}")
        finally:
            await process.terminate()
            self._load_processes.discard(process)
        return spec.rows_path

    # Changes on purpose.

    async def add_follower(self, name: str = "", *, timeout_s: float = 60.0, **changes: Any) -> ReplicaStatus:
        """Start another replica and let it join: it gets a snapshot and what was written since, then it counts.

        `name` is `replica-N` by default; a name is used once. `changes` are fields of its `ReplicaConfig` that differ
        from the others'. An `observer`, and any on another `engine` than SQLite is one, never counts: it follows, and
        is read from only by name. Raises `ConfigurationError` for a used name, `ClusterError` when it cannot join.
        """
        if changes.get("engine", "sqlite") != "sqlite":
            changes.setdefault("observer", True)
        return await self._changes.add(name, timeout_s, changes)

    async def remove_follower(self, name: str, *, timeout_s: float = 10.0) -> None:
        """Let a follower count no more, and end its process; its files stay.

        Raises `ClusterError` with the leader's reason: it leads, it is the last member, no majority agrees.
        """
        await self._changes.remove(name, timeout_s)

    async def transfer_leadership(self, to: str = "", *, timeout_s: float = 10.0) -> str:
        """Hand the leadership to a follower, by default the most up to date; the new leader's name.

        Raises `ClusterError` when it did not come about.
        """
        return await self._changes.transfer(to, timeout_s)

    # Disturbance.

    async def set_link_delay(self, delay_ms: float, *, replicas: Sequence[str] | None = None) -> None:
        """From now on, every message that followers receive from other replicas arrives `delay_ms` later.

        `replicas` names the receivers; all by default. Whoever leads receives without a delay. With a delay near
        `Timing.election_timeout_ms` leases run out before answers come, and followers take their leader for dead.
        """
        await self._links.delay(delay_ms, self.names if replicas is None else replicas)

    async def cut_off(self, *names: str) -> None:
        """Cut the named replicas off from the others (not from clients, nor from each other), until `mend`."""
        await self._links.cut_off(names)

    async def mend(self) -> None:
        """End all cuts."""
        await self._links.cut_off(())

    async def kill(self, name: str) -> None:
        """SIGKILL a replica and wait until it is gone."""
        await self._replicas.process(name).kill()

    async def pause(self, name: str) -> None:
        """SIGSTOP a replica: it does nothing, and cannot know it, until `resume`."""
        self._replicas.process(name).pause()

    async def resume(self, name: str) -> None:
        """SIGCONT a paused replica."""
        self._replicas.process(name).resume()

    async def restart(self, name: str, **changes: Any) -> None:
        """Start a replica whose process has ended, on the disk it left; return when it answers.

        It comes back as a follower, whatever it was. `changes` are fields of its `ReplicaConfig` that differ.
        """
        if self._replicas.process(name).returncode is None:
            raise ClusterError(f"{name} is running", hint="kill it first")
        await self._replicas.start(name, **changes)
        await self._links.restore(name)

    @staticmethod
    def now_ns() -> int:
        """The clock that everything is measured with: nanoseconds of the host's monotonic clock, or of virtual time."""
        return clock.now_ns()

    @property
    def _replicas(self) -> Replicas:
        """Raises `ClusterError` when the cluster does not run."""
        if not self._is_running or self._started is None:
            raise ClusterError("the cluster is not running", hint="start it, or use it inside its `async with` block")
        return self._started
