"""Injected faults of a replica's disk, as the file layer asks for them: slow, full, or failing to sync.

Only what passes the file layer is struck: the replication log, terms, snapshots, page images. What SQLite itself writes
to its files is not. Set by the event loop, obeyed by whichever thread uses the disk.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Iterator

WAIT_S_MAX = 5.0
"""The longest that one operation is held up."""


class DiskFaults:
    """What is wrong with one disk, and how often that was felt."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.is_full = False
        self.sync_fails = False
        self.slowed = 0
        """Operations that took longer."""
        self.slowed_ns = 0
        """How much longer."""
        self.refused = 0
        """Appends to the replication log for which there was no room."""
        self.failed_syncs = 0
        self._changed = threading.Event()

    @property
    def any(self) -> bool:
        """Whether anything is wrong."""
        return self.factor > 1 or self.is_full or self.sync_fails

    def change(self, *, factor: float = 1.0, is_full: bool = False, sync_fails: bool = False) -> None:
        """The disk is like this from now on; whoever is held up goes on."""
        self.factor, self.is_full, self.sync_fails = factor, is_full, sync_fails
        changed, self._changed = self._changed, threading.Event()
        changed.set()

    def room(self, wanted: int) -> int:
        """How many of `wanted` bytes the replication log may still grow by."""
        if not self.is_full:
            return wanted
        self.refused += 1
        return 0

    @contextlib.contextmanager
    def slowing(self) -> Iterator[None]:
        """Let the block take `factor` times as long."""
        changed, began_ns = self._changed, time.perf_counter_ns()
        yield
        extra_s = min((self.factor - 1) * (time.perf_counter_ns() - began_ns) / 1e9, WAIT_S_MAX)
        if extra_s > 0:
            self.slowed += 1
            waits_ns = time.perf_counter_ns()
            changed.wait(extra_s)
            self.slowed_ns += time.perf_counter_ns() - waits_ns

    def before_sync(self) -> None:
        """Raises the `OSError` of a sync that failed."""
        if self.sync_fails:
            self.failed_syncs += 1
            raise OSError(errno.EIO, "Input/output error (injected)")

    def counts(self) -> dict[str, int]:
        """Name -> value, of those that are not 0."""
        counted = {
            "disk_slowed": self.slowed,
            "disk_slowed_ms": self.slowed_ns // 1_000_000,
            "disk_refused": self.refused,
            "disk_failed_syncs": self.failed_syncs,
        }
        return {name: value for name, value in counted.items() if value}
