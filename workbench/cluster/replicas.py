"""The replica processes of one cluster: start them, ask them, say why they do not answer, end them.

Every wait here ends: with an answer, when the process has ended, or when its time is up. Whatever goes wrong is said
in one line that names the replica, and what its log said last.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import config_file
from workbench.client.connection import ClientConnection
from workbench.cluster.hosting import Child, Host, RunningBroker
from workbench.cluster.status import DOWN, ReplicaStatus
from workbench.config import ClusterConfig, ReplicaConfig
from workbench.errors import ClusterError, ConfigurationError
from workbench.protocol import messages
from workbench.protocol.messages import Inspect, Message

_ASK_AGAIN_S = 0.05
_ANSWER_S = 5.0
_DIGEST_S = 60.0
_STOP_S = 5.0
_WHAT_IT_IS = frozenset({"engine", "observer", "page_size", "layout_check", "reverse_unordered"})
"""Fields that stay what they were when a replica was started for the first time: its files fit nothing else."""


class Replicas:
    """The processes of the replicas of `config`, whose files are below `directory`. `names`: those that there are, if
    they are not the first ones any more."""

    def __init__(
        self,
        config: ClusterConfig,
        cluster_id: str,
        directory: Path,
        broker: RunningBroker,
        connection: ClientConnection,
        host: Host,
        names: tuple[str, ...] = (),
    ) -> None:
        self._config = config
        self._cluster_id = cluster_id
        self._directory = directory
        self._broker = broker
        self._host = host
        self.connection = connection
        self.names = names or config.replica_names
        """The replicas that there are, in the order in which they came."""
        self._processes: dict[str, Child] = {}
        self._own_fields: dict[str, dict[str, Any]] = {}

    @property
    def processes(self) -> list[Child]:
        """Those that have not ended."""
        return [process for process in self._processes.values() if process.returncode is None]

    def process(self, name: str) -> Child:
        """The process that was started last for a replica. Raises `ConfigurationError` for an unknown name."""
        if name not in self._processes:
            raise ConfigurationError(f"there is no replica {name!r}", hint="one of " + ", ".join(self._processes))
        return self._processes[name]

    # Start and end.

    async def start_all(self) -> None:
        """Start every replica and return when all answer. Raises `ClusterError` for the first that fails."""
        starting = [asyncio.create_task(self._start(name), name=f"start-{name}") for name in self.names]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()

    async def start(self, name: str, **changes: Any) -> None:
        """Start one replica on the disk it left. `changes` are fields of its configuration that differ.

        Raises `ClusterError`, also when it takes too long.
        """
        try:
            async with asyncio.timeout(self._config.start_timeout_s):
                await self._start(name, **changes)
        except TimeoutError:
            why = self._in_brackets(name)
            if (process := self._processes.get(name)) is not None:
                await process.kill()
            raise ClusterError(f"{name} was not ready within {self._config.start_timeout_s:g} s{why}") from None

    async def _start(self, name: str, **changes: Any) -> None:
        try:
            path = self._save_config(name, changes)
        except OSError as error:
            raise ClusterError(f"cannot write the files of {name}: {error}") from error
        log = self._directory / "logs" / f"{name}.log"
        process = self._processes[name] = await self._host.start_replica(name, path, log)
        while await self._try_to_ask(name, Inspect, _ASK_AGAIN_S) is None:
            if process.returncode is not None:
                raise ClusterError(self.why_down(name))

    def _save_config(self, name: str, changes: dict[str, Any]) -> Path:
        config = self._config
        directory = self.directory_of(name)
        directory.mkdir(parents=True, exist_ok=True)
        replica = ReplicaConfig(
            name=name,
            members=config.replica_names,
            cluster_id=self._cluster_id,
            broker_url=self._broker.url,
            directory=directory,
            log_format=config.log_format,
            ack=config.ack,
            link_delay_ms=config.follower_delay_ms,
            page_size=config.page_size,
            limits=config.limits,
            timing=config.timing,
            protections=config.protections,
            unsafe=config.unsafe,
            layout_check=config.layout_check,
            reverse_unordered=config.reverse_unordered and name != config.replica_names[0],
            apply_times=config.apply_times,
            seed=config.seed,
        )
        own = {name: value for name, value in changes.items() if name in _WHAT_IT_IS}
        own = self._own_fields.setdefault(name, own)
        path = directory / "config.json"
        config_file.save(replace(replica, **(own | changes)), path)
        return path

    def directory_of(self, name: str) -> Path:
        """Where a replica keeps its files."""
        return self._directory / "replicas" / name

    async def forget(self, name: str) -> None:
        """End a replica that counts no more, unless somebody has done so already. Its files stay."""
        process = self._processes.pop(name, None)
        self.names = tuple(one for one in self.names if one != name)
        if process is not None:
            await process.terminate(_STOP_S)

    async def stop(self) -> None:
        """End every process, gently if there is time."""
        processes = self._processes.values()
        try:
            await asyncio.gather(*(process.terminate(_STOP_S) for process in processes))
        except asyncio.CancelledError:  # whoever waits for us is in a hurry
            await asyncio.gather(*(process.kill() for process in processes))
            raise

    # Asking.

    async def inspect_all(self, *, digests: bool = False) -> list[ReplicaStatus]:
        """The status of every replica, in the order of their names."""
        names = self.names
        return list(await asyncio.gather(*(self._inspect(name, digests=digests) for name in names)))

    async def _inspect(self, name: str, *, digests: bool) -> ReplicaStatus:
        if reason := self.why_down(name):
            return ReplicaStatus(name=name, role=DOWN, reason=reason)
        timeout_s = _DIGEST_S if digests else _ANSWER_S
        status = await self._try_to_ask(
            name, lambda request, reply_to: Inspect(request, reply_to, digests=digests), timeout_s
        )
        if status is None:
            reason = self.why_down(name) or f"no answer within {timeout_s:g} s{self._in_brackets(name)}"
            return ReplicaStatus(name=name, role=DOWN, reason=reason)
        return ReplicaStatus.from_message(status)

    async def ask(self, name: str, make: Callable[[int, str], Message]) -> ReplicaStatus:
        """Send what `make(request, reply_to)` returns; the status that the replica answers with, and which says why if
        it refuses.

        Raises `ClusterError` when there is no answer.
        """
        process = self.process(name)
        status = await self._try_to_ask(name, make, _ANSWER_S)
        if status is None:
            what = f"{name} did not answer within {_ANSWER_S:g} s{self._in_brackets(name)}"
            raise ClusterError(what if process.returncode is None else self.why_down(name))
        return ReplicaStatus.from_message(status)

    async def _try_to_ask(
        self, name: str, make: Callable[[int, str], Message], timeout_s: float
    ) -> messages.ReplicaStatus | None:
        """None when the time was up or the replica's process has ended."""
        process = self.process(name)
        answer = asyncio.ensure_future(self.connection.control(name, make, timeout_s))
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait((answer, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        status = answer.result() if answer.done() else None
        assert status is None or isinstance(status, messages.ReplicaStatus)
        return status

    # Why there is no answer.

    def why_down(self, name: str) -> str:
        """Why a replica cannot answer; the empty string when its process is at work."""
        process = self._processes.get(name)
        if process is None:
            return f"{name} belongs to the cluster no more"
        if process.returncode is not None:
            return _how_ended(name, process)
        return f"{name} is paused" if process.is_paused else ""

    def trouble(self) -> str:
        """What is known of processes, the broker's among them, that cannot answer."""
        broker = self._broker.process
        troubles = [self.why_down(name) for name in self._processes]
        if broker is not None and broker.returncode is not None:
            troubles.insert(0, _how_ended(f"the broker {self._broker.info.name}", broker))
        return "; ".join(filter(None, troubles))

    def _in_brackets(self, name: str) -> str:
        trouble = self.why_down(name) or self.connection.trouble()
        return f" ({trouble})" if trouble else ""


def _how_ended(name: str, process: Child) -> str:
    status = process.returncode or 0
    if status < 0:
        return f"{name} was ended by {signal.Signals(-status).name}"
    return f"{name} ended with status {status}: {last_line(process)}"


def last_line(process: Child) -> str:
    """What a process said last, without the time and level that its log puts before it."""
    lines = process.last_log_lines(1)
    return re.sub(r"^[\d:.]+ [A-Z]+ ", "", lines[0]) if lines else f"it left no word in {process.log_path}"
