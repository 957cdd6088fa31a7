"""Files of a replica, opened by somebody who must change nothing: `ReadOnlyFile`, and the newest snapshot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

from workbench.errors import ConfigurationError, LogCorruption, StorageError
from workbench.storage.files import Buffer
from workbench.storage.snapshot_file import SnapshotFile

_SEALED = re.compile(r"\d{20}-\d+\.snapshot")
_INSTALLING = "installing"


class ReadOnlyFile:
    """An `OpenFile` that refuses to write. Raises `ConfigurationError` when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error

    @property
    def path(self) -> Path:
        return self._path

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pread(self, count: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._refuse()

    def append(self, data: Buffer) -> None:
        self._refuse()

    def truncate(self, size: int) -> None:
        self._refuse()

    def sync(self) -> None:
        self._refuse()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _refuse(self) -> NoReturn:
        raise StorageError(f"{self._path} is open for reading only")


def newest_snapshot(directory: Path) -> SnapshotFile | None:
    """The newest sealed snapshot in the folder `snapshots/`, if there is one; the caller closes it.

    Raises `LogCorruption` for a damaged one, and while one is being installed: the log is worth nothing then.
    """
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    if _INSTALLING in names:
        raise LogCorruption(
            f"{directory / _INSTALLING}: the replica was interrupted while it installed a snapshot",
            path=str(directory / _INSTALLING),
            hint="it finishes that when it starts",
        )
    for name in reversed(names):
        if _SEALED.fullmatch(name):
            return SnapshotFile(ReadOnlyFile(directory / name))
    return None
