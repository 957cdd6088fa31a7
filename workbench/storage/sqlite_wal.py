"""The store of the WAL format: a leader whose commits are read back as pages, followers whose file is written page by
page, in one class, since a replica changes its role on the same connection.

The replication log is the truth and SQLite's `-wal` is scratch: opening deletes it. Rules:

- The main file changes only by checkpoints (leader; right after `commit`, when all that was executed is logged) and by
  page writes (follower). The position file says up to which entry the main file is durably whole; it is replaced
  after the main file was synced. Recovery applies what the replication log holds after it: page images may be
  applied twice, and cover every page that was torn since. Until then the file may be unreadable, so opening does
  not read it.
- `applied` therefore runs ahead of `durable_applied`, by a bounded number of bytes. The replication log must keep what
  lies between.
- SQLite notices page writes only after RESET_CACHE, which is a silent no-op while a transaction is open.
- A copy of the main file is made while commits go to the `-wal`; pages that a follower writes are copied again.
- Without `layout_check`, images of another size are written where pages of this database's size would be, which ruins
  it; reads then say so.
- A rewind cuts frames off the `-wal`, if it goes back no further than to what the main file holds.
- A connection that has written frames remembers the size of its `-wal` for good: a leader that steps down checkpoints,
  closes, deletes it and opens anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import apsw

from workbench.config import Limits
from workbench.errors import CodecError, DivergedError, StorageError
from workbench.failpoints import hit
from workbench.log_formats.wal import WalCapture, decode_body, schema_version
from workbench.protocol.values import Entry, Member, Position, Statement, Transaction
from workbench.storage.alone import VACUUM, run_alone
from workbench.storage.base import Execution, QueryResult
from workbench.storage.client_policy import one_line
from workbench.storage.database_copy import WAL_BYTES_MAX, CopyRefused, DatabaseCopy
from workbench.storage.digest import SCHEMA_KEY, database_digest, page_digests
from workbench.storage.files import Files, OpenFile
from workbench.storage.groups import GroupRunner, refusals, refuse_all, too_long
from workbench.storage.sqlite_connection import check_follows, checkpoint, not_applied, open_connection
from workbench.storage.wal_files import WalFiles

CHECKPOINT_BYTES = 16 * 1024 * 1024
"""Length of the `-wal` at which a leader checkpoints."""
PERSIST_BYTES = 16 * 1024 * 1024
PERSIST_ENTRIES = 20_000
"""A follower syncs its file after so many bytes of pages or entries; at most so much is applied again."""


class WalStore:
    """`Store` for the WAL format."""

    def __init__(
        self, directory: Path, limits: Limits, page_size: int, files: Files, *, layout_check: bool = True
    ) -> None:
        self._files = WalFiles(directory, page_size, files)
        self._path = self._files.database
        self._wal_path = self._files.wal
        self._limits = limits
        self._page_size = page_size
        self._is_careless = not layout_check
        self._durable_applied = self._applied = self._files.find_or_create()
        self._in_main_file = self._applied
        """The last entry of which the main file has something, be it durable or not; the `-wal` may have more."""
        self._frames_at: list[tuple[Position, int]] = []
        """(position of an entry, frames up to it) for those in the `-wal`."""
        self._copy: DatabaseCopy | None = None
        self._pending: Position | None = None
        self._frames_before = 0
        self._has_written = False
        self._auto_vacuum: Statement | None = None
        self._file_pages = -1
        self._unsynced_bytes = self._unsynced_entries = 0
        self._broken = ""
        self._schema_version = b""
        self._is_tuned_for_writing = False
        self._file: OpenFile = files.open(self._path)
        self._open()

    @property
    def applied(self) -> Position:
        return self._applied

    @property
    def durable_applied(self) -> Position:
        """Recovery after a power loss starts behind this entry: the replication log must keep all later ones."""
        return self._durable_applied

    def execute(self, group: Sequence[Transaction], position: Position) -> Execution:
        self._check_idle()
        assert position.index == self._applied.index + 1, f"entry {position} cannot follow {self._applied}"
        self._tune_for_writing()
        self._frames_before = self._capture.frames
        self._has_written = True
        refused: dict[int, str] = {}
        body = b""
        try:
            if len(group) == 1 and group[0].runs_alone:
                members = self._execute_alone(group[0], refused)
            elif (members := self._runner.run(group, refused)) and (reason := self._commit_to_wal()):
                return Execution((), refuse_all(group, refused, reason), b"")
            if members:
                body = self._capture.finish_group()
                self._pending = position
            if reason := too_long(body, self._limits):
                self.abandon()
                return Execution((), refuse_all(group, refused, reason), b"")
        except (apsw.Error, OSError) as error:
            self._runner.roll_back()
            raise StorageError(f"cannot execute entry {position}: {one_line(error)}") from error
        return Execution(tuple(members), refusals(group, refused), body)

    def commit(self) -> None:
        assert self._pending is not None, "nothing was executed"
        self._applied, self._pending = self._pending, None
        if self._capture.frames > self._frames_before:
            self._frames_at.append((self._applied, self._capture.frames))
        if self._capture.length > (CHECKPOINT_BYTES if self._copy is None else WAL_BYTES_MAX):
            self._checkpoint()

    def abandon(self) -> None:
        """Cut the frames of the group off the `-wal`, and let SQLite read it anew."""
        if self._pending is None:
            return
        self._pending = None
        self._cut_wal(self._frames_before)

    def apply(self, entries: Sequence[Entry]) -> None:
        self._check_idle()
        if not entries:
            return
        check_follows(self._applied, entries, "wal")
        if self._has_written and any(entry.changes_data for entry in entries):
            self._step_down()
        pages: dict[int, bytes] = {}
        database_pages = 0
        for entry in entries:
            if entry.changes_data:
                try:
                    body = decode_body(entry.body, None if self._is_careless else self._page_size)
                except (CodecError, DivergedError) as error:
                    raise not_applied(entry, error) from error
                if body.database_pages:
                    database_pages = body.database_pages
                    pages.update((page.number, page.image) for page in body.pages)
        if database_pages:
            self._in_main_file = entries[-1].position
            self._write_pages(pages, database_pages)
        self._applied = entries[-1].position
        if self._copy is not None and not self._capture.frames:
            self._copy.position = self._applied
        self._unsynced_entries += len(entries)
        if not self._capture.frames and (
            self._unsynced_bytes > PERSIST_BYTES or self._unsynced_entries > PERSIST_ENTRIES
        ):
            self._persist()

    def rewind(self, to: Position, dropped: Iterable[Entry]) -> bool:
        """Cut the frames of what is dropped off the `-wal`, if all of it is there."""
        self._check_idle()
        assert self._copy is None, "a copy must be ended first"
        if to.index < self._in_main_file.index:
            return False
        kept = bisect_right(self._frames_at, to.index, key=lambda at: at[0].index)
        frames = self._frames_at[kept - 1][1] if kept else 0
        if frames < self._capture.frames:
            self._cut_wal(frames)
        del self._frames_at[kept:]
        self._applied = to
        if to.index < self._durable_applied.index:  # what was dropped there has changed nothing
            self._write_position(to)
        return True

    def begin_copy(self) -> DatabaseCopy:
        self._check_idle()
        assert self._copy is None, "one copy at a time"
        if self._capture.frames:
            self._checkpoint()
        self._copy = DatabaseCopy(
            self._file, size=self._path.stat().st_size, page_size=self._page_size, position=self._applied
        )
        return self._copy

    def end_copy(self) -> None:
        self._copy = None

    def query(self, statement: Statement) -> QueryResult:
        self._check_idle()
        try:
            return self._runner.query(statement)
        except StorageError as error:
            if self._is_careless:
                return QueryResult(error=error.message)
            raise

    def digest(self) -> dict[str, str]:
        self._check_idle()
        try:
            return database_digest(self._connection)
        except apsw.Error as error:
            if self._is_careless:
                return {SCHEMA_KEY: f"the database cannot be read: {one_line(error)}"}
            raise StorageError(f"{self._path} cannot be read: {one_line(error)}") from error

    def page_digest(self) -> tuple[str, ...]:
        """Digest of each page of the main file, after a checkpoint: equal on all replicas at one position."""
        self._check_idle()
        if self._capture.frames:
            self._checkpoint()
        return page_digests(self._read_pages())

    def close(self) -> None:
        if self._copy is not None:
            self._copy.spoil("the database was closed")
        if self._pending is None and not self._broken:
            if self._capture.frames:
                self._checkpoint()
            elif self._applied != self._durable_applied:
                self._persist()
        self._close_connection()
        self._file.close()
        self._files.remove_scratch()

    # The leader's side

    def _tune_for_writing(self) -> None:
        """What must wait until recovery has made the database readable, since even this pragma reads it."""
        if not self._is_tuned_for_writing:
            try:
                self._connection.execute("PRAGMA synchronous = OFF").fetchall()  # the replication log is synced
                if self._auto_vacuum is not None:
                    run_alone(self._connection, self._auto_vacuum)
            except apsw.Error as error:
                raise StorageError(f"{self._path} cannot be read: {one_line(error)}") from error
            self._is_tuned_for_writing = True

    def _execute_alone(self, transaction: Transaction, refused: dict[int, str]) -> list[Member]:
        members, statement = self._runner.run_alone(transaction, refused, moves_pages=True)
        if members and statement.sql.startswith("PRAGMA auto_vacuum"):
            self._auto_vacuum = statement  # the connection remembers it until VACUUM; it may be another by then
        elif members and statement == VACUUM:
            self._auto_vacuum = None
        return members

    def _commit_to_wal(self) -> str:
        """COMMIT; the reason when there was no room, after which nothing of the group remains."""
        try:
            self._connection.execute("COMMIT")
        except (apsw.FullError, apsw.IOError) as error:
            self._runner.roll_back()
            return f"the database could not be written, nothing happened: {one_line(error)}"
        return ""

    def _note_frames(self, _connection: apsw.Connection, _database: str, frames: int) -> int:
        self._capture.frames = frames
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Move everything from the `-wal` into the main file. All of it is in the replication log."""
        assert self._pending is None, "a checkpoint would make durable what is not logged"
        if self._copy is not None:
            self._copy.spoil("the main file had to take what was written meanwhile")
        try:
            checkpoint(self._connection)
        except CopyRefused:
            self._in_main_file = self._applied  # a part of it is there already
            raise
        except apsw.Error as error:
            self._broken = one_line(error)
            raise StorageError(f"cannot checkpoint {self._path}: {one_line(error)}") from error
        self._capture.restart()
        if self._frames_at:
            self._in_main_file = self._frames_at[-1][0]
            self._frames_at.clear()
        self._persist()

    def _step_down(self) -> None:
        """Leader no more: leave nothing in the `-wal`, and forget it."""
        if self._capture.frames:
            self._checkpoint()
        self._close_connection()
        self._files.remove_scratch()
        self._open()
        self._file_pages = -1
        self._has_written = False
        self._auto_vacuum = None

    # The follower's side

    def _write_pages(self, pages: dict[int, bytes], database_pages: int) -> None:
        assert self._connection.txn_state("main") == apsw.SQLITE_TXN_NONE, (
            "a statement is open: RESET_CACHE does nothing"
        )
        size = self._page_size
        numbers = sorted(number for number in pages if number <= database_pages)
        try:
            for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
                adjacent = [number for _, number in run]
                self._file.pwrite(b"".join([pages[number] for number in adjacent]), (adjacent[0] - 1) * size)
            hit("apply.half")
            if database_pages != self._file_pages:
                self._file.truncate(database_pages * size)
                self._file_pages = database_pages
        except (OSError, StorageError) as error:
            self._broken = one_line(error)
            raise StorageError(f"cannot write pages into {self._path}: {one_line(error)}") from error
        if self._copy is not None:
            self._copy.changed(numbers, database_pages)
        self._connection.file_control("main", apsw.SQLITE_FCNTL_RESET_CACHE, 0)
        if 1 in pages and (version := schema_version(pages[1])) != self._schema_version:
            self._schema_version = version
            self._reload_schema()
        self._unsynced_bytes += len(numbers) * size

    def _reload_schema(self) -> None:
        try:
            self._runner.reload_schema()
        except apsw.Error as error:
            if not self._is_careless:
                raise StorageError(f"{self._path} cannot be read: {one_line(error)}") from error

    # Files

    def _persist(self) -> None:
        """Make the main file durable, which holds everything, and then its position."""
        assert not self._capture.frames, "the -wal holds a part of the database"
        try:
            self._file.sync()
        except StorageError as error:
            self._broken = error.message
            raise
        self._write_position(self._applied)
        self._unsynced_bytes = self._unsynced_entries = 0

    def _write_position(self, position: Position) -> None:
        hit("position.before_save")
        try:
            self._files.write_position(position)
        except StorageError as error:
            self._broken = error.message
            raise
        self._durable_applied = position

    def _open(self) -> None:
        self._connection = open_connection(self._path, self._page_size)
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._is_tuned_for_writing = False
        self._connection.wal_autocheckpoint(0)
        self._connection.set_wal_hook(self._note_frames)
        self._capture = WalCapture(self._wal_path, self._page_size)
        self._runner = GroupRunner(self._connection, self._capture, self._limits)

    def _cut_wal(self, frames: int) -> None:
        """Keep the first `frames` frames of the `-wal`, and let SQLite read it anew."""
        self._close_connection()
        wal = self._files.layer.open(self._wal_path)
        try:
            wal.truncate(self._capture.offset(frames))
        except OSError as error:
            raise StorageError(f"cannot truncate {self._wal_path}: {error.strerror}") from error
        finally:
            wal.close()
        hit("rewind.half")
        self._open()
        self._capture.rewind(frames)

    def _close_connection(self) -> None:
        self._capture.close()
        try:
            self._connection.close(True)
        except apsw.Error as error:
            raise StorageError(f"cannot close {self._path}: {one_line(error)}") from error

    def _check_idle(self) -> None:
        assert self._pending is None, "the executed group must be committed or abandoned first"
        if self._broken:
            raise StorageError(f"{self._path} has to be opened again: {self._broken}")

    def _read_pages(self) -> Iterator[bytes]:
        offset = 0
        while page := self._file.pread(self._page_size, offset):
            yield page
            offset += len(page)
