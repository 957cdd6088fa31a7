"""A disk that forgets: `Files` whose power can be cut, whose syncs can fail, and which can be full.

Writes go to real files at once (so that SQLite sees them, as through the page cache), and are remembered for each
file until it is synced. `power_loss` then leaves what a real disk might: of every unsynced write any sectors, of
every unsynced truncation or change of a name either state (names of one directory change in order, as in a journal),
and nothing else. Contract: what was synced is always left whole.

SQLite writes its files itself, behind the back of this layer. It syncs them at checkpoints, and a power loss may take
any end of its `-wal`, every frame of which is checksummed. The main file of a WAL replica (`shares_main_file`) is
synced by this layer, also for what SQLite has written into it: until then any sector may be the old one.

- `power_after(n)`: the n-th operation from now on raises `PowerCut`, and so do all that follow.
- `fail_sync()`: the next sync fails as fsync does: the pages count as clean from then on but never reach the disk.
- `is_full`: files of the replication log can grow no more; of what is appended a half is written, as on a real disk.
- `kill`: the process ends, the machine does not. `power_loss`: the machine ends, too. Either can leave what is left in
  another directory (`kill_into`, `power_loss_into`), for a process that cannot be made to release its files.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random

from workbench.faults.draws import choose
from workbench.storage.files import Buffer, LocalFile, LocalFiles, OpenFile

SECTOR_BYTES = 512
_MAIN_FILE = "database.sqlite"
_SCRATCH = tuple(_MAIN_FILE + suffix for suffix in ("-wal", "-shm", "-journal"))


def tear_scratch(random: Random, directory: Path) -> None:
    """Do to SQLite's own logs below `directory` what a power loss may: their ends are gone. No connection is open."""
    for path in sorted(directory.rglob(_MAIN_FILE + "-wal")):
        if random.random() < 0.7:
            os.truncate(path, int(random.random() * (path.stat().st_size + 1)))


class PowerCut(BaseException):
    """The machine is off. Not an `Exception`: nothing that handles errors may go on."""


class _Content:
    """What one file (not one name) holds durably, and what was done to it since: (offset, data), or (size, None)."""

    def __init__(self, durable: bytes | bytearray = b"") -> None:
        self.durable = bytearray(durable)
        self.unsynced: list[tuple[int, bytes | None]] = []

    def copy(self) -> _Content:
        """The same once more."""
        other = _Content(self.durable)
        other.unsynced = list(self.unsynced)
        return other

    def behind(self, actual: bytes) -> None:
        """Somebody else has written, too: the file holds `actual` now, none of it durable but what was."""
        self.unsynced = [(len(actual), None), (0, actual)]

    def settle(self) -> None:
        for place, data in self.unsynced:
            if data is None:
                _set_length(self.durable, place)
            else:
                _write(self.durable, place, data)
        self.unsynced.clear()

    def tear(self, random: Random) -> None:
        """Keep what a power loss may leave of the unsynced operations."""
        keep = choose(random, (0.0, 0.5, 0.9, 1.0))
        for place, data in self.unsynced:
            if data is None:
                if random.random() < keep:
                    _set_length(self.durable, place)
                continue
            if random.random() < keep:  # the new length may arrive without the data
                _set_length(self.durable, max(len(self.durable), place + int(random.random() * (len(data) + 1))))
            start = 0
            while start < len(data):
                end = min(len(data), start + SECTOR_BYTES - (place + start) % SECTOR_BYTES)
                if random.random() < keep:
                    _write(self.durable, place + start, data[start:end])
                start = end
        self.unsynced.clear()


def _set_length(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _set_length(content, offset)
    content[offset : offset + len(data)] = data


class _FaultyFile(LocalFile):
    def __init__(self, disk: FaultyFiles, path: Path, *, counted: bool) -> None:
        self._disk = disk
        self._content = disk.content(path)
        super().__init__(disk, path, counted=counted)
        disk.opened.append(self)

    def _write(self, data: Buffer, offset: int) -> int:
        self._disk.step()
        self._content.unsynced.append((offset, bytes(data)))
        return super()._write(data, offset)

    def _cut(self, size: int) -> None:
        self._disk.step()
        self._content.unsynced.append((size, None))
        super()._cut(size)

    def _flush(self) -> None:
        self._disk.step()
        if self._disk.sync_fails:
            self._disk.sync_fails, self._disk.sync_has_failed = False, True
            self._content.unsynced.clear()
            raise OSError(errno.EIO, "Input/output error")
        self._disk.note_foreign_writes(self._path)
        self._content.settle()


class FaultyFiles(LocalFiles):
    """The disk of one replica. `shares_main_file`: the replica writes into SQLite's main file itself."""

    def __init__(self, *, bytes_max: int = 0, shares_main_file: bool = False) -> None:
        super().__init__(bytes_max=bytes_max)
        self.steps = 0
        self.sync_fails = False
        """The next sync will fail."""
        self.sync_has_failed = False
        """One has, since the last `kill`."""
        self.is_full = False
        self.opened: list[LocalFile] = []
        self._foreign = _SCRATCH if shares_main_file else (_MAIN_FILE, *_SCRATCH)
        self._shared = _MAIN_FILE if shares_main_file else ""
        self._cut_at: int | None = None
        self._names: dict[Path, _Content] = {}
        self._durable_names: dict[Path, _Content] = {}
        self._unsynced_names: dict[Path, list[dict[Path, _Content | None]]] = {}

    def power_after(self, operations: int) -> None:
        """Cut the power after so many more operations."""
        self._cut_at = self.steps + operations

    def fail_sync(self) -> None:
        """Let the next sync fail."""
        self.sync_fails = True

    def step(self) -> None:
        """One operation on the disk is about to happen."""
        if self._cut_at is not None and self.steps >= self._cut_at:
            raise PowerCut
        self.steps += 1

    def room(self, wanted: int) -> int:
        return wanted // 2 if self.is_full else super().room(wanted)

    def content(self, path: Path) -> _Content:
        """What is remembered of the file at `path`; a name that is new is not durable yet."""
        if path not in self._names:
            if path.exists():
                self._names[path] = self._durable_names[path] = _Content(path.read_bytes())
            else:
                self.step()
                self._change_names(path.parent, {path: _Content()})
        return self._names[path]

    def kill(self) -> None:
        """End the process but not the machine: everything written is still seen, and still not durable."""
        for file in self.opened:
            file.close()
        self.opened.clear()
        self._counted.clear()
        self._cut_at = None
        self.sync_fails = self.sync_has_failed = False

    def power_loss(self, random: Random) -> None:
        """Turn the machine off and on: only what was durable, and a random part of the rest, is left."""
        for path in list(self._names):
            self.note_foreign_writes(path)
        self.kill()
        self._forget_names(random)
        for path in self._names:
            path.unlink(missing_ok=True)
        for path, content in self._durable_names.items():
            content.tear(random)
            path.write_bytes(content.durable)
        self._names = dict(self._durable_names)

    def power_loss_into(self, random: Random, old: Path, new: Path) -> None:
        """What a power loss leaves of the directory `old`, as the directory `new`: for processes that still have files
        of `old` open, which a real one would not survive."""
        shutil.copytree(old, new)
        for path in self._names:
            self.note_foreign_writes(path)
        self.kill()
        self._forget_names(random)
        for path in self._names:
            (new / path.relative_to(old)).unlink(missing_ok=True)
        for path, content in self._durable_names.items():
            content.tear(random)
            (new / path.relative_to(old)).write_bytes(content.durable)
        tear_scratch(random, new)

    def kill_into(self, old: Path, new: Path) -> FaultyFiles:
        """What a process that is killed leaves of the directory `old`, as the directory `new` on the disk that is
        returned: everything written is still seen, and still not durable. The process can write nothing more."""
        shutil.copytree(old, new)
        successor = FaultyFiles(bytes_max=self._bytes_max, shares_main_file=bool(self._shared))
        successor.is_full = self.is_full
        contents = {id(content): content for content in (*self._names.values(), *self._durable_names.values())}
        for change in (change for changes in self._unsynced_names.values() for change in changes):
            contents |= {id(content): content for content in change.values() if content is not None}
        copies = {key: content.copy() for key, content in contents.items()}

        def moved(names: Mapping[Path, _Content | None]) -> dict[Path, _Content | None]:
            return {
                new / path.relative_to(old): None if content is None else copies[id(content)]
                for path, content in names.items()
            }

        _apply(successor._names, moved(self._names))
        _apply(successor._durable_names, moved(self._durable_names))
        for directory, changes in self._unsynced_names.items():
            successor._unsynced_names[new / directory.relative_to(old)] = [moved(change) for change in changes]
        self.end()
        return successor

    def end(self) -> None:
        """Nothing can be done here any more."""
        self.kill()
        self._cut_at = 0

    def _forget_names(self, random: Random) -> None:
        """Let any beginning of the changes of names that were not synced have reached the disk."""
        for changes in self._unsynced_names.values():
            for change in changes[: choose(random, (0, len(changes), int(random.random() * (len(changes) + 1))))]:
                _apply(self._durable_names, change)
        self._unsynced_names.clear()

    def note_foreign_writes(self, path: Path) -> None:
        """Take note of what SQLite has written into `path`, if it is a main file that this layer syncs."""
        if path.name == self._shared and path in self._names and path.exists():
            self._names[path].behind(path.read_bytes())

    def _open(self, path: Path, *, counted: bool) -> OpenFile:
        if path.name in self._foreign:
            self.step()
            file = LocalFile(self, path, counted=counted)
            self.opened.append(file)
            return file
        return _FaultyFile(self, path, counted=counted)

    def _replace(self, source: Path, target: Path) -> None:
        self.step()
        if target.name in self._foreign:
            assert not self._names[source].unsynced, "SQLite is given a file that is not durable"
            self._change_names(target.parent, {source: None})
        else:
            if target.exists():
                self.content(target)
            self._change_names(target.parent, {target: self._names[source], source: None})
        os.replace(source, target)

    def _unlink(self, path: Path) -> None:
        self.step()
        if path.name not in self._foreign:
            self.content(path)
            self._change_names(path.parent, {path: None})
        super()._unlink(path)

    def _flush_directory(self, directory: Path) -> None:
        self.step()
        for change in self._unsynced_names.pop(directory, []):
            _apply(self._durable_names, change)

    def _change_names(self, directory: Path, change: dict[Path, _Content | None]) -> None:
        self._unsynced_names.setdefault(directory, []).append(change)
        _apply(self._names, change)


def _apply(names: dict[Path, _Content], change: dict[Path, _Content | None]) -> None:
    for path, content in change.items():
        if content is None:
            names.pop(path, None)
        else:
            names[path] = content
