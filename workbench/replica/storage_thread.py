"""The one thread on which a replica's storage works, so that heartbeats never wait for a disk or a long statement.

Effects are carried out in the order in which they were submitted. The copying for a snapshot has a thread beside it,
which asks for a turn between them. Answers, and the error that ends everything, come back on the event loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from workbench.protocol.effects import Append, StorageEffect
from workbench.replica.storage import ReplicaStorage, StorageAnswer


class StorageRunner(Protocol):
    """Carries out storage effects one after the other; what it is made of is `StorageThread`'s to document."""

    @property
    def busy_ms(self) -> float: ...

    def submit(self, effects: Sequence[StorageEffect]) -> None: ...

    async def digest(self) -> dict[str, str]: ...

    async def stop(self) -> None: ...


class RunStorage(Protocol):
    """Makes a `StorageRunner`; `StorageThread` is one."""

    def __call__(
        self,
        storage: ReplicaStorage,
        *,
        answered: Callable[[Sequence[StorageAnswer]], None],
        failed: Callable[[Exception], None],
    ) -> StorageRunner: ...


class StorageThread:
    """Runs storage effects; calls `answered` on the loop with answers, `failed` with the error that stopped it.

    Waking the loop costs more than most effects, so an answer that nobody waits for travels with the next one.
    """

    def __init__(
        self,
        storage: ReplicaStorage,
        *,
        answered: Callable[[Sequence[StorageAnswer]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._storage = storage
        self._answered = answered
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._busy_since_ns = 0
        self._digests: list[asyncio.Future[dict[str, str]]] = []
        """Who waits for digests. Belongs to the storage thread."""
        storage.wake_by(lambda: self._jobs.put(self._proceed))
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()

    @property
    def busy_ms(self) -> float:
        """How long the thread has been at what it does now; 0 when it has nothing to do."""
        since_ns = self._busy_since_ns
        return (time.monotonic_ns() - since_ns) / 1e6 if since_ns else 0.0

    def submit(self, effects: Sequence[StorageEffect]) -> None:
        """Carry out effects behind those submitted before."""
        self._jobs.put(lambda: self._perform(effects))

    async def digest(self) -> dict[str, str]:
        """The digests of the database, taken when no group waits to be committed."""
        future: asyncio.Future[dict[str, str]] = self._loop.create_future()
        self._jobs.put(lambda: self._digests.append(future))
        return await future

    def _take_digests(self) -> None:
        wanted, self._digests = self._digests, []
        digest = self._storage.digest()
        for future in wanted:
            self._call(partial(_resolve, future, digest))

    async def stop(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _perform(self, effects: Sequence[StorageEffect]) -> None:
        answers: list[StorageAnswer] = []
        for effect in effects:
            answers += self._storage.perform(effect)
            if answers and not (isinstance(effect, Append) and not effect.urgent):
                self._deliver(answers)
                answers = []
        if answers:
            self._deliver(answers)

    def _proceed(self) -> None:
        if answers := self._storage.proceed():
            self._deliver(answers)

    def _deliver(self, answers: Sequence[StorageAnswer]) -> None:
        self._call(lambda: self._answered(answers))

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._busy_since_ns = time.monotonic_ns()
                job()
                if self._digests and not self._storage.is_in_group:
                    self._take_digests()
                self._busy_since_ns = 0
        except Exception as error:  # noqa: BLE001  whatever it is, it ends the replica
            failure = error
            self._call(lambda: self._failed(failure))

    def _call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)


def _resolve(future: asyncio.Future[dict[str, str]], digest: dict[str, str]) -> None:
    if not future.done():
        future.set_result(digest)
