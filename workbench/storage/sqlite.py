"""A replica's SQLite database: `open_store`, and what the stores of all log formats share.

One connection, which owns the database exclusively, and one thread. Rules:

- What clients send goes through `GroupRunner` and its policy; nothing else executes their SQL on a leader.
- `TransactionalStore` (statement, mixed, logical) writes the position of an entry in the same transaction as its
  effects, so the database itself says which entry it is at. A commit does not sync (checkpoints do): after a power loss
  the database is an older consistent state, and what the replication log holds after `applied` is applied again.
- `WalStore` (`sqlite_wal.py`) works on pages, and keeps its position outside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import apsw

from workbench.config import Limits, LogFormatName, UnsafePolicy
from workbench.errors import CodecError, ConfigurationError, DivergedError, StorageError
from workbench.failpoints import hit
from workbench.log_formats.base import INTERNAL_PREFIX, run
from workbench.log_formats.choosing import new_clock, new_format
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.alone import VACUUM, run_alone
from workbench.storage.base import Execution, QueryResult, Store
from workbench.storage.client_policy import one_line
from workbench.storage.database_copy import WAL_BYTES_MAX, CopyRefused, DatabaseCopy
from workbench.storage.digest import database_digest
from workbench.storage.files import Files, LocalFiles, OpenFile
from workbench.storage.groups import GroupRunner, refusals, refuse_all, too_long
from workbench.storage.sqlite_connection import (
    DATABASE_NAME,
    check_follows,
    check_page_size,
    checkpoint,
    not_applied,
    open_connection,
)
from workbench.storage.sqlite_wal import WalStore
from workbench.storage.wal_files import POSITION_NAME

_logger = logging.getLogger(__name__)

_CHECKPOINT_BYTES = 16 * 1024 * 1024
"""Length of SQLite's own log at which a commit checkpoints, and syncs: some 20 ms, so not too often."""
_POSITION_TABLE = f"{INTERNAL_PREFIX}position"


def open_store(
    directory: Path,
    log_format: LogFormatName,
    limits: Limits,
    *,
    page_size: int = 4096,
    unsafe: UnsafePolicy = "allow",
    layout_check: bool = True,
    reverse_unordered: bool = False,
    files: Files | None = None,
) -> Store:
    """Open, or create, the database of a replica in `directory`.

    `unsafe`, `layout_check` and `reverse_unordered` are those of `ReplicaConfig`. Afterwards `applied` says where
    recovery must go on: the caller applies the entries of its log that follow. Raises `StorageError` when the database
    cannot be opened, `ConfigurationError` when it was made with another log format or page size.
    """
    files = LocalFiles() if files is None else files
    files.make_directory(directory)
    if log_format == "wal":
        return WalStore(directory, limits, page_size, files, layout_check=layout_check)
    if (directory / POSITION_NAME).exists():
        raise ConfigurationError(
            f"{directory} holds a database of the wal log format, not {log_format}",
            hint="all replicas of a cluster use one log format",
        )
    store = TransactionalStore(
        directory, log_format, limits, page_size, files, unsafe=unsafe, reverse_unordered=reverse_unordered
    )
    files.sync_directory(directory)
    return store


class TransactionalStore:
    """`Store` for log formats whose entries are executed or applied in a transaction of SQLite."""

    def __init__(
        self,
        directory: Path,
        log_format: LogFormatName,
        limits: Limits,
        page_size: int,
        files: Files,
        *,
        unsafe: UnsafePolicy = "allow",
        reverse_unordered: bool = False,
    ) -> None:
        self._directory = directory
        self._files = files
        self._page_size = page_size
        self._copy: DatabaseCopy | None = None
        self._main_file: OpenFile | None = None  # once open, it stays so: see `files.py` on locks
        self._wal_frames = 0
        self._name = log_format
        self._pending: Position | None = None
        self._pending_alone = False
        self._leads: bool | None = None
        self._clock = new_clock(log_format, unsafe)
        try:
            self._connection = open_connection(
                directory / DATABASE_NAME,
                page_size,
                reverse_unordered=reverse_unordered,
                vfs=self._clock.name if self._clock else "",
            )
        except StorageError:
            self._forget_clock()
            raise
        self._cursor = self._connection.cursor()
        try:
            self._applied = self._prepare(page_size)
        except apsw.Error as error:
            self._close_connection()
            raise StorageError(f"cannot open {directory / DATABASE_NAME}: {one_line(error)}") from error
        except ConfigurationError:
            self._close_connection()
            raise
        self._format, watch = new_format(self._connection, log_format, unsafe, self._clock)
        self._vacuum_body = self._format.encode_alone(VACUUM)
        self._limits = limits
        self._runner = GroupRunner(self._connection, self._format, limits, watch)

    @property
    def applied(self) -> Position:
        return self._applied

    @property
    def connection(self) -> apsw.Connection:
        """What owns the database, for those who watch it; whoever changes something by it breaks the store."""
        return self._connection

    def execute(self, group: Sequence[Transaction], position: Position) -> Execution:
        assert self._pending is None, "the executed group must be committed or abandoned first"
        assert position.index == self._applied.index + 1, f"entry {position} cannot follow {self._applied}"
        self._take_role(leads=True)
        refused: dict[int, str] = {}
        body = b""
        if len(group) == 1 and group[0].runs_alone:
            members, statement = self._runner.run_alone(group[0], refused, moves_pages=False)
            if members:
                body = self._format.encode_alone(statement)
                self._pending, self._pending_alone = position, True
            return Execution(tuple(members), refusals(group, refused), body)
        try:
            members = self._runner.run(group, refused)
            if members:
                body = self._format.finish_group()
                self._pending = position
            if reason := too_long(body, self._limits):
                self.abandon()
                return Execution((), refuse_all(group, refused, reason), b"")
        except apsw.Error as error:
            self._runner.roll_back()
            raise StorageError(f"cannot execute entry {position}: {one_line(error)}") from error
        return Execution(tuple(members), refusals(group, refused), body)

    def commit(self) -> None:
        assert self._pending is not None, "nothing was executed"
        try:
            if self._pending_alone:
                self._vacuum(self._pending)
            else:
                self._write_position(self._pending)
                self._cursor.execute("COMMIT")
        except apsw.Error as error:
            raise StorageError(f"cannot commit entry {self._pending}: {one_line(error)}") from error
        self._applied, self._pending, self._pending_alone = self._pending, None, False
        self._bound_copy()

    def abandon(self) -> None:
        self._pending, self._pending_alone = None, False
        self._runner.roll_back()

    def apply(self, entries: Sequence[Entry]) -> None:
        assert self._pending is None, "the executed group must be committed or abandoned first"
        if not entries:
            return
        check_follows(self._applied, entries, self._name)
        if any(entry.changes_data for entry in entries):
            self._take_role(leads=False)
        for alone, together in groupby(entries, lambda entry: entry.changes_data and entry.body == self._vacuum_body):
            if alone:
                for entry in together:
                    self._apply_alone(entry)
            else:
                self._apply_together(list(together))

    def _apply_alone(self, entry: Entry) -> None:
        try:
            self._vacuum(entry.position)
        except apsw.Error as error:
            raise not_applied(entry, error) from error
        self._runner.schema_may_have_changed()
        self._applied = entry.position
        self._bound_copy()

    def _apply_together(self, entries: Sequence[Entry]) -> None:
        entry = entries[0]
        self._cursor.execute("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                if entry.changes_data:
                    self._format.apply(entry.body)
                    if not self._connection.in_transaction:
                        raise DivergedError("the entry ended the transaction in which it was applied")
            hit("apply.half")
            self._write_position(entry.position)
            self._cursor.execute("COMMIT")
        except BaseException as error:
            self._roll_back_apply()
            raise not_applied(entry, error) from error
        self._format.after_apply()
        self._runner.schema_may_have_changed()
        self._applied = entry.position
        self._bound_copy()

    def rewind(self, to: Position, dropped: Iterable[Entry]) -> bool:
        assert self._pending is None, "the executed group must be committed or abandoned first"
        assert self._copy is None, "a copy must be ended first"
        self._take_role(leads=False)
        self._cursor.execute("BEGIN IMMEDIATE")
        try:
            if not all(self._format.undo(entry.body) for entry in dropped if entry.changes_data):
                self._roll_back_apply()
                return False
            hit("rewind.half")
            self._write_position(to)
            self._cursor.execute("COMMIT")
            self._format.after_apply()
            self._applied = to
            checkpoint(self._connection)
        except (apsw.Error, CodecError, CopyRefused, DivergedError) as error:
            self._roll_back_apply()
            _logger.warning("cannot take back the changes behind %s, so the database is made anew: %s", to, error)
            return False
        return True

    # A copy of the main file.

    def begin_copy(self) -> DatabaseCopy:
        assert self._pending is None, "the executed group must be committed or abandoned first"
        assert self._copy is None, "one copy at a time"
        path = self._directory / DATABASE_NAME
        try:
            checkpoint(self._connection)
            self._connection.set_wal_hook(self._note_frames)  # in the place of SQLite's own, which checkpoints
        except apsw.Error as error:
            raise StorageError(f"cannot checkpoint {path}: {one_line(error)}") from error
        if self._main_file is None:
            self._main_file = self._files.open(path)
        size = path.stat().st_size
        self._copy = DatabaseCopy(self._main_file, size=size, page_size=self._page_size, position=self._applied)
        return self._copy

    def end_copy(self) -> None:
        self._copy = None
        self._connection.wal_autocheckpoint(_CHECKPOINT_BYTES // self._page_size)

    def _note_frames(self, _connection: apsw.Connection, _database: str, frames: int) -> int:
        self._wal_frames = frames
        return apsw.SQLITE_OK

    def _bound_copy(self) -> None:
        """A copy that takes too long gives way to a checkpoint, which comes with the next commit."""
        if self._copy is not None and self._wal_frames * self._page_size > WAL_BYTES_MAX and not self._copy.spoilt:
            self._copy.spoil(f"more than {WAL_BYTES_MAX} bytes were written meanwhile")
            self._connection.wal_autocheckpoint(_CHECKPOINT_BYTES // self._page_size)

    # Reads.

    def query(self, statement: Statement) -> QueryResult:
        assert self._pending is None, "a read would see what is not logged"
        return self._runner.query(statement)

    def digest(self) -> dict[str, str]:
        assert self._pending is None, "a digest would see what is not logged"
        return database_digest(self._connection)

    def close(self) -> None:
        if self._pending is not None:
            self.abandon()
        if self._copy is not None:
            self._copy.spoil("the database was closed")
        try:
            self._close_connection()
        except apsw.Error as error:
            raise StorageError(f"cannot close {self._directory / DATABASE_NAME}: {one_line(error)}") from error
        if self._main_file is not None:
            self._main_file.close()

    def _close_connection(self) -> None:
        self._connection.close()
        self._forget_clock()

    def _forget_clock(self) -> None:
        if self._clock is not None:
            self._clock.unregister()

    def _roll_back_apply(self) -> None:
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")
        self._format.after_apply()

    def _take_role(self, *, leads: bool) -> None:
        if self._leads is not leads:
            self._leads = leads
            (self._format.lead if leads else self._format.follow)()
            self._runner.schema_may_have_changed()

    def _write_position(self, position: Position) -> None:
        hit("position.before_save")
        self._cursor.execute(f'UPDATE {_POSITION_TABLE} SET term = ?, "index" = ?', (position.term, position.index))

    def _vacuum(self, position: Position) -> None:
        """VACUUM, which is a transaction of its own, as the effect of the entry at `position`.

        A mark says that it is under way, and opening goes on with it: repeated, it changes nothing more. The database
        is never at a position that it does not say.
        """
        self._cursor.execute(f'UPDATE {_POSITION_TABLE} SET term = -?, "index" = ?', (position.term, position.index))
        run_alone(self._connection, VACUUM)
        hit("apply.half")
        self._write_position(position)

    def _prepare(self, page_size: int) -> Position:
        """Bring a new or an old database into working order, and find out where it stands."""
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL").fetchall()
        execute("PRAGMA synchronous = NORMAL").fetchall()
        self._connection.wal_autocheckpoint(_CHECKPOINT_BYTES // page_size)
        execute(f"PRAGMA journal_size_limit = {2 * _CHECKPOINT_BYTES}").fetchall()  # it grows while a copy is made
        names = [name for (name,) in execute("SELECT name FROM sqlite_schema")]
        if names and _POSITION_TABLE not in names:
            raise ConfigurationError(
                f"{self._directory} holds a database of another log format or program", hint="use an empty directory"
            )
        if not names:
            execute("BEGIN IMMEDIATE")
            execute(f'CREATE TABLE {_POSITION_TABLE} (log_format TEXT, term INTEGER, "index" INTEGER)')
            execute(f"INSERT INTO {_POSITION_TABLE} VALUES (?, 0, 0)", (self._name,))
            execute("COMMIT")
        ((name, term, index),) = run(self._connection, f'SELECT log_format, term, "index" FROM {_POSITION_TABLE}')
        if name != self._name:
            raise ConfigurationError(
                f"{self._directory} holds a database of the {name} log format, not {self._name}",
                hint="all replicas of a cluster use one log format",
            )
        ((found,),) = run(self._connection, "PRAGMA page_size")
        check_page_size(self._directory, int(found), page_size)
        position = Position(abs(int(term)), int(index))
        if term < 0:
            self._vacuum(position)
        return position
