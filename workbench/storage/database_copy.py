"""A copy of a database's main file, made while its replica goes on working.

The store that owns the file holds it still for as long as the copy lasts: commits go to SQLite's `-wal`, checkpoints
wait. The follower of the WAL format, which writes pages straight into the file, says which ones (`changed`), and they
are copied again. `run` works on a thread of its own, everything else on the storage thread. Rules:

- After `finish` the copy is, byte for byte, the main file of a database at `position`, and nothing is durable yet.
- Whatever changes the file in another way says so first (`spoil`); a spoilt copy is thrown away.
- A page is marked as changed after it was written, so that whoever takes the mark reads what was written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from workbench.errors import StorageError
from workbench.failpoints import hit
from workbench.protocol.values import Position
from workbench.storage.files import OpenFile

_PIECE_BYTES: Final = 1024 * 1024
_SYNC_BYTES: Final = 4 * 1024 * 1024
"""Written at most before a sync: a file system that journals in order lets the log's own syncs wait for it."""
_ROUNDS_MAX: Final = 16
_PAGES_LEFT: Final = 64
"""Pages changed meanwhile that may be left to `finish`, which the storage thread waits for."""
WAL_BYTES_MAX: Final = 256 * 1024 * 1024
"""Length of SQLite's `-wal` at which a copy is given up, so that a checkpoint can happen."""


class CopyRefused(StorageError):
    """The main file does not hold the whole database now."""


class DatabaseCopy:
    """One copy on its way. `position` is what the main file holds; it moves with a follower's page writes."""

    def __init__(self, source: OpenFile, *, size: int, page_size: int, position: Position) -> None:
        self._source = source
        self._page_size = page_size
        self._lock = threading.Lock()
        self._changed = bytearray(size // page_size)
        """A byte for each page, not zero if it was changed since it was copied last."""
        self.size = size
        self.position = position
        self.spoilt = ""
        """Why the copy is worthless; empty while it is not."""

    # The store's side.

    def spoil(self, reason: str) -> None:
        """The file changes in a way that cannot be followed."""
        self.spoilt = self.spoilt or reason

    def changed(self, numbers: list[int], database_pages: int) -> None:
        """Pages `numbers`, counted from 1, were written, and the file now has `database_pages` pages."""
        with self._lock:
            before = self.size // self._page_size
            if database_pages > len(self._changed):
                self._changed.extend(bytes(database_pages - len(self._changed)))
            for number in numbers:
                self._changed[number - 1] = 1
            for place in range(before, database_pages):
                self._changed[place] = 1  # zeros, but for those just written; the copy may hold older pages there
            self.size = database_pages * self._page_size

    # Copying.

    def run(self, target: OpenFile) -> None:
        """Copy everything but the last few changed pages. On a thread of its own."""
        offset = unsynced = 0
        while offset < self.size and not self.spoilt:
            data = self._source.pread(min(_PIECE_BYTES, self.size - offset), offset)
            if not data:
                break  # it has become shorter
            target.pwrite(data, offset)
            hit("copy.chunk")
            offset += len(data)
            unsynced += len(data)
            if unsynced >= _SYNC_BYTES:
                target.sync()
                unsynced = 0
        for _ in range(_ROUNDS_MAX):
            if self.spoilt or self._copy_changed(target) <= _PAGES_LEFT:
                break
            target.sync()
        hit("copy.before_finish")

    def finish(self, target: OpenFile) -> None:
        """Copy the last changed pages, and give the copy its length. On the storage thread, which changes nothing
        meanwhile."""
        self._copy_changed(target)
        if self.size and not self._source.pread(1, self.size - 1):
            self.spoil("the database's file is shorter than the database")
        target.truncate(self.size)

    def _copy_changed(self, target: OpenFile) -> int:
        """How many pages had been changed."""
        count = 0
        for number in self._take_changed():
            count += 1
            offset = (number - 1) * self._page_size
            target.pwrite(self._source.pread(self._page_size, offset), offset)
        return count

    def _take_changed(self) -> Iterator[int]:
        with self._lock:
            taken = bytes(self._changed)
            self._changed = bytearray(len(taken))
        place = taken.find(1)
        while place >= 0:
            if place * self._page_size < self.size:
                yield place + 1
            place = taken.find(1, place + 1)
