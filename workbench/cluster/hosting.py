"""What runs a cluster's brokers, replicas and load generators: operating-system processes by default.

`Cluster` only knows the protocols here, so that the same cluster, with the same experiments on it, can also run in a
simulated world (`simulator/`), whose host keeps everything in one process and in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from workbench.client.connection import ClientConnection
from workbench.cluster.broker import Broker
from workbench.cluster.processes import ChildProcess, python_command, python_environment
from workbench.faults.values import World


class Child(Protocol):
    """A replica or a load generator at work, as `ChildProcess` has it."""

    name: str
    log_path: Path

    @property
    def pid(self) -> int:
        """Process id; 0 where there is no process."""
        ...

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        ...

    @property
    def is_paused(self) -> bool:
        """Between `pause` and `resume`."""
        ...

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        ...

    async def terminate(self, grace_s: float = 5.0) -> int:
        """Ask it to end, kill it after `grace_s`, and wait for the end."""
        ...

    async def kill(self) -> int:
        """End it at once and wait for the end."""
        ...

    def pause(self) -> None:
        """Stop it in its tracks until `resume`."""
        ...

    def resume(self) -> None:
        """Let it go on after `pause`."""
        ...

    def last_log_lines(self, count: int = 5) -> list[str]:
        """The last lines of its log, for error messages."""
        ...


class BrokerDescription(Protocol):
    """Which broker a result was made with, as `BrokerInfo` has it."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, str]: ...


class RunningBroker(Protocol):
    """A broker that is ready, as `Broker` has it."""

    url: str

    @property
    def info(self) -> BrokerDescription: ...

    @property
    def process(self) -> Child | None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Host(Protocol):
    """Starts whatever a cluster consists of, and connects to it."""

    @property
    def world(self) -> World: ...

    async def start_broker(self, choice: str | None, logs: Path) -> RunningBroker:
        """The broker that `choice` names, see `Broker.start`."""
        ...

    async def start_replica(self, name: str, config: Path, log: Path) -> Child:
        """A replica with the configuration in the file `config`; what it says is appended to `log`."""
        ...

    async def start_load(self, spec: Path, log: Path) -> Child:
        """A load generator for the `LoadSpec` in the file `spec`."""
        ...

    async def connect(self, broker_url: str, cluster_id: str, members: tuple[str, ...]) -> ClientConnection:
        """A connection of this process to the cluster."""
        ...


class Processes:
    """The host of the real world: each replica and load generator a process of the operating system."""

    world: World = "real"

    async def start_broker(self, choice: str | None, logs: Path) -> RunningBroker:
        """See `Host.start_broker`; raises `BrokerError`."""
        return await Broker.start(choice, logs)

    async def start_replica(self, name: str, config: Path, log: Path) -> Child:
        """See `Host.start_replica`; raises `ClusterError`."""
        return await ChildProcess.start(
            python_command("workbench.replica", str(config)), log, python_environment(), name=name
        )

    async def start_load(self, spec: Path, log: Path) -> Child:
        """See `Host.start_load`; raises `ClusterError`."""
        return await ChildProcess.start(
            python_command("workbench.client.load", str(spec)), log, python_environment(), name="the load generator"
        )

    async def connect(self, broker_url: str, cluster_id: str, members: tuple[str, ...]) -> ClientConnection:
        """See `Host.connect`; raises `BrokerError`."""
        return await ClientConnection.open(broker_url, cluster_id, members)
