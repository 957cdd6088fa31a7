"""How a replica makes a snapshot of its own database: copied, then measured, then sealed when the core says so.

Copying and measuring take as long as they take and happen on a thread of their own; what needs the store happens on the
storage thread, which `wake` asks for. A copy goes through these steps, and can be abandoned before the last:

    begin     storage thread   the store holds its main file still
    copy      copying thread   all of it
    finish    storage thread   the pages changed meanwhile; the store is free again
    measure   copying thread   digest and checksums, and a sync: answered by `SnapshotCopied`
    seal      storage thread   what the core knows is put beside it: answered by `SnapshotSealed`

A full disk abandons the copy and hurts nobody else; any other failure of the disk ends the replica.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from workbench.errors import StorageError
from workbench.failpoints import hit
from workbench.protocol.inputs import SnapshotAbandoned, SnapshotCopied, SnapshotSealed
from workbench.protocol.snapshot import SnapshotState
from workbench.replica.counters import Counters
from workbench.storage.base import Store
from workbench.storage.database_copy import CopyRefused, DatabaseCopy
from workbench.storage.files import OpenFile, is_disk_full
from workbench.storage.snapshot_file import Measured, measure
from workbench.storage.snapshots import Snapshots

SnapshotAnswer: TypeAlias = SnapshotCopied | SnapshotAbandoned | SnapshotSealed

_DISK_FULL = "the disk is full"

_logger = logging.getLogger(__name__)


class _Work:
    """Something that a thread of its own does, or else is done at once; `woken` is called when it has ended."""

    def __init__(self, work: Callable[[], Measured | None], woken: Callable[[], None], *, beside: bool) -> None:
        self._work = work
        self._woken = woken
        self.has_ended = False
        self.result: Measured | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="copying", daemon=True) if beside else None
        if self._thread is not None:
            self._thread.start()
        else:
            self._run()

    def join(self) -> None:
        """Wait for its end."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:  # noqa: BLE001  reported where the answer is made
            self.error = error
        self.has_ended = True
        self._woken()


class SnapshotMaking:
    """The one copy that may be on its way. `wake` lets the storage thread call `proceed`; any thread calls it.

    `beside`: copying has a thread of its own. Without, everything is done in line, for tests that count operations.
    """

    def __init__(self, snapshots: Snapshots, counters: Counters, *, beside: bool = True) -> None:
        self._snapshots = snapshots
        self._counters = counters
        self._beside = beside
        self.wake: Callable[[], None] = lambda: None
        self._copy: DatabaseCopy | None = None
        self._target: OpenFile | None = None
        self._work: _Work | None = None
        self._is_finished = False
        self._measured: Measured | None = None

    @property
    def is_under_way(self) -> bool:
        """A copy was begun, and is neither sealed nor abandoned."""
        return self._copy is not None

    def begin(self, store: Store) -> list[SnapshotAnswer]:
        """Begin a copy of what `store` has applied."""
        assert self._copy is None, "one copy at a time"
        try:
            self._copy = store.begin_copy()
        except CopyRefused as refused:
            return [SnapshotAbandoned(refused.message)]
        hit("copy.begun")
        self._is_finished = False
        self._measured = None
        self._target = self._snapshots.begin_copy()
        self._start(self._run_copy)
        return []

    def proceed(self, store: Store) -> list[SnapshotAnswer]:
        """Do what the storage thread has to do next, if the copying thread has come so far."""
        work, copy, target = self._work, self._copy, self._target
        if work is None or copy is None or target is None or not work.has_ended:
            return []
        self._work = None
        error = work.error
        if error is None and not self._is_finished and not copy.spoilt:
            try:
                copy.finish(target)
            except OSError as failed:
                error = failed
        if isinstance(error, OSError) and is_disk_full(error):
            copy.spoil(_DISK_FULL)
        elif error is not None:
            raise StorageError(f"a snapshot could not be written: {error}") from error
        if not self._is_finished:
            store.end_copy()
            self._is_finished = True
        else:
            self._measured = work.result
        if copy.spoilt:
            return self.abandon(store, copy.spoilt)
        if self._measured is None:
            self._start(self._run_measure)
            return []
        return [SnapshotCopied(copy.position)]

    def wait(self) -> None:
        """Wait for the copying thread: `proceed` has something to do then, if anything is on its way."""
        if self._work is not None:
            self._work.join()

    def seal(self, state: SnapshotState) -> list[SnapshotAnswer]:
        """Make the copy a snapshot; nothing when it was abandoned. It is abandoned now when the disk is full."""
        if self._copy is None:
            return []
        assert self._measured is not None
        assert self._copy.position == state.position, f"{state.position} is not {self._copy.position}"
        try:
            self._snapshots.seal(self._measured, state)
        except OSError as error:
            if not is_disk_full(error):
                raise
            return self._discard(_DISK_FULL)
        self._copy = self._target = self._measured = None
        self._counters.snapshots_made += 1
        return [SnapshotSealed(state.position)]

    def abandon(self, store: Store, reason: str) -> list[SnapshotAnswer]:
        """Give up whatever is on its way."""
        if self._copy is None:
            return []
        self._copy.spoil(reason)
        self.wait()
        if not self._is_finished:
            store.end_copy()
        return self._discard(reason)

    def _discard(self, reason: str) -> list[SnapshotAnswer]:
        self._snapshots.discard_copy()
        self._copy = self._target = self._work = self._measured = None
        _logger.warning("a copy of the database was abandoned: %s", reason)
        return [SnapshotAbandoned(reason)]

    def _start(self, work: Callable[[DatabaseCopy, OpenFile], Measured | None]) -> None:
        copy, target = self._copy, self._target
        assert copy is not None
        assert target is not None
        self._work = _Work(lambda: work(copy, target), self.wake, beside=self._beside)

    @staticmethod
    def _run_copy(copy: DatabaseCopy, target: OpenFile) -> None:
        copy.run(target)

    @staticmethod
    def _run_measure(copy: DatabaseCopy, target: OpenFile) -> Measured:
        target.sync()
        hit("copy.after_finish")
        return measure(target, copy.size, stopped=lambda: bool(copy.spoilt))
