"""The one file layer: everything that a replica itself writes to disk goes through `Files`.

Replication log, hard state, page images of the WAL follower's database, rollback files: one door, so that tests
(and the simulator) can stand behind it, drop or tear what was not synced, and let a sync fail. Rules:

- Nothing is durable before `OpenFile.sync`; no new, renamed or removed name before `sync_directory`.
- A failed sync raises `StorageError`, and the file refuses everything afterwards: the kernel may have thrown the
  unwritten pages away, so that a second fsync would succeed and lie. The process has to end.
- A full disk raises `OSError` (see `is_disk_full`), since its caller can go on; other failures are `StorageError`.
- POSIX drops all locks of a process on a file when *any* descriptor of that file is closed. A file that SQLite has
  open as well must therefore stay open here for as long as its connection lives, and must not be passed to `read`.

Preallocation is left out on purpose: an append with its fdatasync took 241 us at the median, 198 us into space from
posix_fallocate, which is not worth a log whose end is no longer its length.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from workbench.errors import StorageError
from workbench.failpoints import hit
from workbench.storage.disk_faults import DiskFaults

Buffer: TypeAlias = bytes | bytearray | memoryview

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_SUCH_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


@dataclass(slots=True)
class Counters:
    """What has gone through a `Files` since it was made; only ever grows."""

    syncs: int = 0
    """fdatasync calls on files (one a batch and replica is the aim)."""
    directory_syncs: int = 0
    writes: int = 0
    """System calls that wrote."""
    bytes_written: int = 0


class OpenFile(Protocol):
    """One file, open for reading and writing. Belongs to one thread."""

    @property
    def path(self) -> Path: ...

    @property
    def size(self) -> int:
        """Length in bytes, what is not synced included."""
        ...

    def pread(self, count: int, offset: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end of the file."""
        ...

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all of `data` at `offset`."""
        ...

    def append(self, data: Buffer) -> None:
        """Write all of `data` at the end, in one system call. On `OSError` a part may stand there: truncate."""
        ...

    def truncate(self, size: int) -> None:
        """Make the file `size` bytes long."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable. Raises `StorageError`, after which the file is unusable."""
        ...

    def close(self) -> None:
        """Release the descriptor; syncs nothing."""
        ...


class Files(Protocol):
    """The disk of one replica."""

    @property
    def counters(self) -> Counters: ...

    def open(self, path: Path) -> OpenFile:
        """Open for reading and writing, created when absent."""
        ...

    def open_append(self, path: Path) -> OpenFile:
        """Open a file of the replication log, created when absent; its bytes count towards the quota."""
        ...

    def read(self, path: Path) -> bytes | None:
        """The whole content; `None` when there is no such file."""
        ...

    def write_atomically(self, path: Path, data: Buffer) -> None:
        """Replace a small file by `data`, durably: afterwards, and after a power loss, it is whole, old or new."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, durably, in the place of a file that has it; both names are in this replica's
        folders. After a power loss the file has one of the two."""
        ...

    def remove(self, path: Path) -> None: ...

    def list(self, directory: Path) -> list[str]:
        """Names in `directory`, sorted; none when it does not exist."""
        ...

    def make_directory(self, directory: Path) -> None:
        """Create `directory` durably, parents included; fine when it exists."""
        ...

    def sync_directory(self, directory: Path) -> None:
        """Make the names in `directory` durable."""
        ...


def is_disk_full(error: OSError) -> bool:
    """Whether `error` says that the disk, or the quota, has no room left."""
    return error.errno in _DISK_FULL


@contextmanager
def _failing_as_storage_error(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise
        raise StorageError(f"cannot {action} {path}: {error.strerror or error}") from error


def _flush(descriptor: int, *, whole: bool) -> None:
    """Make a file's data and length durable by the cheapest call that does so on this system. `whole` when its
    length shrank: that is metadata, which fdatasync need not write."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves the data in the drive's own cache
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in _NO_SUCH_SYNC:
                raise
    if whole or not hasattr(os, "fdatasync"):
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


class LocalFile:
    """An `OpenFile` on the real disk. A test layer overrides the methods `_write`, `_cut` and `_flush`."""

    __slots__ = ("_counted", "_descriptor", "_failed", "_files", "_path", "_size", "_truncated")

    def __init__(self, files: LocalFiles, path: Path, *, counted: bool) -> None:
        self._files = files
        self._path = path
        self._counted = counted
        self._failed = False
        self._truncated = False
        with _failing_as_storage_error("open", path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._size = os.fstat(self._descriptor).st_size
        if counted:
            files.count(path, self._size)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def size(self) -> int:
        return self._size

    def pread(self, count: int, offset: int) -> bytes:
        with _failing_as_storage_error("read", self._path):
            parts: list[bytes] = []
            while count > 0 and (data := os.pread(self._descriptor, count, offset)):
                parts.append(data)  # a single one but for reads beyond 2 GiB
                offset, count = offset + len(data), count - len(data)
            return b"".join(parts)

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._check_usable()
        with _failing_as_storage_error("write", self._path):
            self._write_all(data, offset)

    def append(self, data: Buffer) -> None:
        self._check_usable()
        faults = self._files.faults
        room = self._files.room(len(data)) if self._counted else len(data)
        if faults is not None and self._counted:
            room = min(room, faults.room(len(data)))
        try:
            with _failing_as_storage_error("append to", self._path):
                self._write_all(data if room == len(data) else memoryview(data)[:room], self._size)
        finally:
            if self._counted:
                self._files.count(self._path, self._size)
        if room < len(data):
            raise OSError(errno.ENOSPC, "the replication log may not grow: its quota is used up", str(self._path))

    def truncate(self, size: int) -> None:
        self._check_usable()
        with _failing_as_storage_error("truncate", self._path):
            self._cut(size)
        self._size = size
        self._truncated = True
        if self._counted:
            self._files.count(self._path, size)

    def sync(self) -> None:
        self._check_usable()
        self._files.counters.syncs += 1
        try:
            if (faults := self._files.faults) is None:
                self._flush()
            else:
                with faults.slowing():
                    faults.before_sync()
                    self._flush()
        except OSError as error:
            self._failed = True
            raise StorageError(
                f"cannot sync {self._path}: {error.strerror or error}",
                hint="what was written since the last sync may be lost; the replica has to restart",
            ) from error
        self._truncated = False

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _check_usable(self) -> None:
        if self._failed:
            raise StorageError(f"{self._path} is not used any more: an earlier sync of it failed")

    def _write_all(self, data: Buffer, offset: int) -> None:
        if (faults := self._files.faults) is None:
            self._write_through(data, offset)
        else:
            with faults.slowing():
                self._write_through(data, offset)

    def _write_through(self, data: Buffer, offset: int) -> None:
        counters = self._files.counters
        while len(data):
            written = self._write(data, offset)
            counters.writes += 1
            counters.bytes_written += written
            offset += written
            self._size = max(self._size, offset)
            if written == len(data):
                return
            data = memoryview(data)[written:]

    def _write(self, data: Buffer, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def _flush(self) -> None:
        _flush(self._descriptor, whole=self._truncated)


class LocalFiles:
    """`Files` on the real disk.

    `bytes_max` bounds the bytes that the files of the replication log (`open_append`) take up together, those found
    on opening included; truncating or removing such a file gives room back. 0 is no bound. A test layer overrides
    `_open`, `_replace`, `_unlink` and `_flush_directory`.
    """

    def __init__(self, *, bytes_max: int = 0) -> None:
        self.faults: DiskFaults | None = None
        """Injected; None as long as nothing is wrong, so that this costs one look."""
        self._counters = Counters()
        self._bytes_max = bytes_max
        self._counted: dict[Path, int] = {}

    @property
    def counters(self) -> Counters:
        return self._counters

    def open(self, path: Path) -> OpenFile:
        return self._open(path, counted=False)

    def open_append(self, path: Path) -> OpenFile:
        return self._open(path, counted=True)

    def read(self, path: Path) -> bytes | None:
        with _failing_as_storage_error("read", path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def write_atomically(self, path: Path, data: Buffer) -> None:
        temporary = path.with_name(path.name + ".tmp")
        file = self.open(temporary)
        try:
            file.truncate(0)
            file.pwrite(data, 0)
            file.sync()
        finally:
            file.close()
        self.rename(temporary, path)

    def rename(self, source: Path, target: Path) -> None:
        hit("files.before_replace")
        with _failing_as_storage_error("replace", target):
            self._replace(source, target)
        hit("files.after_replace")
        self.sync_directory(target.parent)
        if source.parent != target.parent:
            self.sync_directory(source.parent)

    def remove(self, path: Path) -> None:
        with _failing_as_storage_error("remove", path):
            self._unlink(path)
        self._counted.pop(path, None)
        hit("files.after_remove")

    def list(self, directory: Path) -> list[str]:
        with _failing_as_storage_error("list", directory):
            try:
                return sorted(os.listdir(directory))
            except FileNotFoundError:
                return []

    def make_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        self.make_directory(directory.parent)
        with _failing_as_storage_error("create", directory):
            directory.mkdir(exist_ok=True)
        self.sync_directory(directory.parent)

    def sync_directory(self, directory: Path) -> None:
        self._counters.directory_syncs += 1
        hit("files.before_directory_sync")
        try:
            if (faults := self.faults) is None:
                self._flush_directory(directory)
            else:
                with faults.slowing():
                    faults.before_sync()
                    self._flush_directory(directory)
        except OSError as error:
            if error.errno not in _NO_SUCH_SYNC:  # some network file systems cannot sync a directory at all
                raise StorageError(f"cannot sync the directory {directory}: {error.strerror or error}") from error
        hit("files.after_directory_sync")

    def room(self, wanted: int) -> int:
        """How many of `wanted` bytes still fit into the quota."""
        if self._bytes_max == 0:
            return wanted
        return max(0, min(wanted, self._bytes_max - sum(self._counted.values())))

    def count(self, path: Path, size: int) -> None:
        """Take note that the log's file `path` is now `size` bytes long."""
        self._counted[path] = size

    def _open(self, path: Path, *, counted: bool) -> OpenFile:
        return LocalFile(self, path, counted=counted)

    def _replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def _unlink(self, path: Path) -> None:
        os.unlink(path)

    def _flush_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
