"""Real storage in virtual time: what a replica's storage does is done, and takes as long as the world says.

One effect after the other, each at the end of its time, so that a process that is killed has not done what it was at.
The effects themselves cost the host what they cost; syncs are left out, since the host's power does not fail.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from workbench.config import ReplicaConfig
from workbench.protocol.effects import Append, StorageEffect
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage, StorageAnswer
from workbench.simulator.durations import COPY_MS, SYNC_MS, WAKE_NS, WORK_MS, drawn_ms
from workbench.storage.files import LocalFile, LocalFiles, OpenFile


class _UnsyncedFile(LocalFile):
    __slots__ = ()

    def _flush(self) -> None:
        """The system has it, which is enough where no power fails."""


class _UnsyncedFiles(LocalFiles):
    def _open(self, path: object, *, counted: bool) -> OpenFile:
        return _UnsyncedFile(self, path, counted=counted)  # type: ignore[arg-type]

    def _flush_directory(self, directory: object) -> None:
        """As `_UnsyncedFile`."""


class VirtualDisk:
    """The disk of a replica whose process lives in this one."""

    def __init__(self, config: ReplicaConfig) -> None:
        self._files = _UnsyncedFiles(bytes_max=config.limits.disk_bytes_max)

    def open(self, config: ReplicaConfig, counters: Counters) -> ReplicaStorage:
        """The storage on it, for `ReplicaDriver`."""
        return ReplicaStorage(config, counters, files=self._files, copies_beside=False)

    @property
    def factor(self) -> float:
        """How many times as long as it should it takes."""
        return self._files.faults.factor if self._files.faults is not None else 1.0


class VirtualStorage:
    """A `StorageRunner`."""

    def __init__(
        self,
        storage: ReplicaStorage,
        *,
        answered: Callable[[Sequence[StorageAnswer]], None],
        failed: Callable[[Exception], None],
        disk: VirtualDisk,
        random: Random,
    ) -> None:
        self._storage = storage
        self._disk = disk
        self._answered = answered
        self._failed = failed
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[StorageEffect | Callable[[], Sequence[StorageAnswer]]] = deque()
        self._began_s = 0.0
        self._is_busy = False
        self._has_failed = False
        self._digests: list[asyncio.Future[dict[str, str]]] = []
        self._idle: list[asyncio.Future[None]] = []
        storage.wake_by(self._copied)

    @property
    def busy_ms(self) -> float:
        """How long it has been at what it does now, in virtual time."""
        return (self._loop.time() - self._began_s) * 1e3 if self._is_busy else 0.0

    def submit(self, effects: Sequence[StorageEffect]) -> None:
        """As `StorageThread.submit`."""
        self._jobs.extend(effects)
        self._begin()

    async def digest(self) -> dict[str, str]:
        """As `StorageThread.digest`."""
        future: asyncio.Future[dict[str, str]] = self._loop.create_future()
        self._digests.append(future)
        self._begin()
        return await future

    async def stop(self) -> None:
        """As `StorageThread.stop`."""
        while self._is_busy or self._jobs:
            idle: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def _copied(self) -> None:
        """A copy for a snapshot has come further: that took its time."""
        delay_s = drawn_ms(self._random, COPY_MS) / 1e3
        self._loop.call_later(delay_s, self._go_on)

    def _go_on(self) -> None:
        self._jobs.append(self._storage.proceed)
        self._begin()

    def _begin(self) -> None:
        if self._is_busy or self._has_failed:
            return
        if not self._jobs:
            self._take_digests()
            idle, self._idle = self._idle, []
            for future in idle:
                if not future.done():
                    future.set_result(None)
            return
        self._is_busy, self._began_s = True, self._loop.time()
        takes = SYNC_MS if isinstance(self._jobs[0], Append) else WORK_MS
        self._loop.call_later(self._disk.factor * drawn_ms(self._random, takes) / 1e3, self._finish)

    def _finish(self) -> None:
        self._is_busy = False
        job = self._jobs.popleft()
        try:
            answers = job() if callable(job) else self._storage.perform(job)
        except Exception as error:  # noqa: BLE001  whatever it is, it ends the replica
            self._has_failed = True
            self._failed(error)
            return
        if answers:
            self._loop.call_later(WAKE_NS / 1e9, self._answered, answers)
        if self._digests and not self._storage.is_in_group:
            self._take_digests()
        self._begin()

    def _take_digests(self) -> None:
        if not self._digests or self._storage.is_in_group:
            return
        wanted, self._digests = self._digests, []
        digest = self._storage.digest()
        for future in wanted:
            if not future.done():
                future.set_result(digest)
