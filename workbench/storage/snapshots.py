"""The folder `snapshots/`: the newest sealed snapshot, a copy that may become one, and one that is being installed.

    00000000000000000123-4.snapshot   sealed: the database at entry 4.123
    installing                        received and whole: log and database are being replaced by it
    copying                           a copy of the own database; nothing, after a crash

A name is the commit point: each is given durably, by renaming a file that is durable already. Older snapshots are
removed after that. While `installing` exists, nothing else in the replica's directory counts but its term.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.failpoints import hit
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import Position
from workbench.storage.files import Files, OpenFile
from workbench.storage.snapshot_file import Measured, SnapshotFile, write_manifest

_COPYING = "copying"
_INSTALLING = "installing"
_SEALED = re.compile(r"\d{20}-\d+\.snapshot")


class Snapshots:
    """One replica's snapshots. `maker` begins the names of those made here, bytes from `draw` end them."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        maker: str,
        log_format: str,
        page_size: int,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._files = files
        self._directory = directory
        self._maker = maker
        self._log_format = log_format
        self._page_size = page_size
        self._draw = draw
        self._copy: OpenFile | None = None
        files.make_directory(directory)
        names = files.list(directory)
        files.sync_directory(directory)  # a name that is seen must not vanish behind what it replaces
        self._remove(name for name in names if name == _COPYING)
        sealed = [name for name in names if _SEALED.fullmatch(name)]
        self.is_installing = _INSTALLING in names
        name = _INSTALLING if self.is_installing else sealed[-1] if sealed else ""
        self.newest = self._open(name) if name else None
        """The snapshot that the log may begin behind."""
        self._remove_older()

    @property
    def base(self) -> Position:
        """Position of the newest snapshot; `Position()` when there is none."""
        return self.newest.position if self.newest else Position()

    # Making one.

    def begin_copy(self) -> OpenFile:
        """An empty file for a copy of the database."""
        assert self._copy is None, "one copy at a time"
        self._copy = self._files.open(self._directory / _COPYING)
        self._copy.truncate(0)
        return self._copy

    def discard_copy(self) -> None:
        """The copy is worthless."""
        assert self._copy is not None
        self._copy.close()
        self._copy = None
        self._remove([_COPYING])

    def seal(self, measured: Measured, state: SnapshotState) -> None:
        """Make the copy the newest snapshot, durably, and remove the older ones."""
        assert self._copy is not None
        position = state.position
        name = f"{self._maker}-{position}-{self._draw(6).hex()}"
        write_manifest(self._copy, name, measured, state, log_format=self._log_format, page_size=self._page_size)
        hit("snapshot.seal.before_sync")
        self._copy.sync()
        self._copy.close()
        self._copy = None
        hit("snapshot.seal.before_rename")
        self._give_name(_COPYING, position)
        hit("snapshot.seal.after_rename")
        self._remove_older()
        hit("snapshot.seal.after")

    # Installing one.

    def begin_install(self, received: Path) -> None:
        """Let the durable file at `received` take the place of everything: the point of no return."""
        self._files.rename(received, self._directory / _INSTALLING)
        self._replace_newest(_INSTALLING)
        self.is_installing = True

    def finish_install(self) -> None:
        """Log and database are those of the snapshot."""
        assert self.newest is not None
        assert self.is_installing
        self._remove_older()
        self._give_name(_INSTALLING, self.newest.position)
        self.is_installing = False

    def adopt(self, received: Path, position: Position) -> None:
        """Let the durable file at `received`, a snapshot at `position`, take the place of the newest one. The log goes
        on behind it: only the database has to be made anew."""
        name = f"{position.index:020}-{position.term}.snapshot"
        self._files.rename(received, self._directory / name)
        self._replace_newest(name)
        self._remove_older()

    def close(self) -> None:
        """Release the files."""
        if self.newest is not None:
            self.newest.close()
        if self._copy is not None:
            self._copy.close()

    def _open(self, name: str) -> SnapshotFile:
        return SnapshotFile(self._files.open(self._directory / name))

    def _replace_newest(self, name: str) -> None:
        if self.newest is not None:
            self.newest.close()
        self.newest = self._open(name)

    def _give_name(self, temporary: str, position: Position) -> None:
        name = f"{position.index:020}-{position.term}.snapshot"
        self._files.rename(self._directory / temporary, self._directory / name)
        self._replace_newest(name)

    def _remove_older(self) -> None:
        names = self._files.list(self._directory)
        self._remove(n for n in names if self.newest and _SEALED.fullmatch(n) and n != self.newest.path.name)

    def _remove(self, names: Iterable[str]) -> None:
        removed = False
        for name in names:
            self._files.remove(self._directory / name)
            removed = True
        if removed:
            self._files.sync_directory(self._directory)
