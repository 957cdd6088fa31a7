"""A replica's data in DuckDB: `open_duckdb_store`. It follows and serves reads, and never leads.

DuckDB syncs each commit, and the position of an entry is written in the same transaction as its effects: so the
database says which entry it is at, and what the replication log holds behind that is applied again. Rules:

- Under the logical format, rows are what travels: see `duckdb_logical.py`. Under the formats that carry SQL, the SQL is
  executed as it is: see `duckdb_statements.py`.
- It makes no snapshots of its own: another replica could not use them. It begins with a leader's (`duckdb_restore.py`).
- Entries wait a moment for others before they are brought in together. Whoever reads sees them; a crash leaves them to
  the log. One that does not fit may be found then only: `apply` raises it when it is called next.
- After an error the database is as it was committed last, and `applied` says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw

from workbench.config import Limits, LogFormatName
from workbench.errors import CodecError, ConfigurationError, DivergedError, StorageError, WorkbenchError
from workbench.failpoints import hit
from workbench.log_formats.logical import decode_body
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.base import Execution, QueryResult, Store
from workbench.storage.database_copy import CopyRefused, DatabaseCopy
from workbench.storage.duckdb import DATABASE_NAME, Connection, Error, connect, reason
from workbench.storage.duckdb_digest import tables_digest
from workbench.storage.duckdb_logical import Tables
from workbench.storage.duckdb_own_tables import own_tables_digest
from workbench.storage.duckdb_pages import UNREADABLE, PagesStore
from workbench.storage.duckdb_reads import Reader
from workbench.storage.duckdb_rows import DivergedRow
from workbench.storage.duckdb_schema import SCHEMA
from workbench.storage.duckdb_statements import Statements
from workbench.storage.files import Files
from workbench.storage.sqlite_connection import check_follows

_WAITING_MAX = 2_000
_LINGER_S = 0.1
"""A commit costs milliseconds, and a statement one, however many rows it has: so entries wait for each other so long. A
read or a digest does not find them waiting."""
_FAILED = (Error, apsw.Error, OSError, RuntimeError, ValueError, OverflowError)

_logger = logging.getLogger(__name__)


def open_duckdb_store(
    directory: Path, log_format: LogFormatName, limits: Limits, files: Files, *, page_size: int
) -> Store:
    """Open, or create, the database of a replica in `directory`. Raises `StorageError` or `ConfigurationError`.

    Under the WAL format a cluster refuses such a replica, unless it was told not to check the layout.
    """
    files.make_directory(directory)
    if log_format == "wal":
        return PagesStore(directory, page_size, files)
    store = DuckDBStore(directory, log_format, limits)
    files.sync_directory(directory)
    return store


class DuckDBStore:
    """`Store` for a replica that only follows."""

    def __init__(
        self, directory: Path, log_format: LogFormatName, limits: Limits, *, file_name: str = DATABASE_NAME
    ) -> None:
        self._name = log_format
        self._path = directory / file_name
        self._connection = connect(self._path)
        self.tables = Tables(self._connection)
        self._statements = Statements(self._connection)
        self._reader = Reader(self._connection, limits)
        self._is_open = False
        self._waiting = 0
        """Entries that were noted, and are not committed."""
        self._waits_since_s = 0.0
        self._failure: CodecError | DivergedError | None = None
        try:
            self._applied = self._noted = self._prepare(directory)
        except WorkbenchError:
            self._connection.close()
            raise
        except _FAILED as error:
            self._connection.close()
            raise StorageError(f"cannot open {self._path}: {reason(error)}") from error

    @property
    def applied(self) -> Position:
        return self._noted

    @property
    def _holds_rows(self) -> bool:
        return self._name == "logical"

    # It never leads.

    def execute(self, group: Sequence[Transaction], position: Position) -> Execution:
        raise StorageError("a replica in DuckDB cannot execute writes: it only follows")

    def commit(self) -> None:
        raise AssertionError("nothing was executed")

    def abandon(self) -> None:
        """Nothing was executed."""

    def begin_copy(self) -> DatabaseCopy:
        raise CopyRefused("a replica in DuckDB makes no snapshots: no other replica could use them")

    def end_copy(self) -> None:
        """There is no copy."""

    # Following.

    def apply(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        if self._failure is not None:
            raise self._failure
        check_follows(self._noted, entries, self._name)
        entry = entries[0]
        try:
            self._begin()
            for entry in entries:
                if entry.changes_data:
                    self._apply(entry)
        except BaseException as error:
            self._roll_back()
            raise _not_applied(entry, error) from error
        if not self._waiting:
            self._waits_since_s = time.monotonic()
        self._noted = entries[-1].position
        self._waiting += len(entries)
        if self._waiting >= _WAITING_MAX or time.monotonic() - self._waits_since_s >= _LINGER_S:
            self._settle()

    def _begin(self) -> None:
        if not self._is_open:
            self._connection.execute("BEGIN")
            self._is_open = True

    def _settle(self) -> None:
        """Bring in and commit what was noted. Raises as `apply`."""
        if self._noted == self._applied:
            return
        try:
            self._begin()
            changed = self._holds_rows and self.tables.save()
            hit("apply.half")
            self._write_position(self._noted)
            self._connection.execute("COMMIT")
        except BaseException as error:
            position = self._noted
            self._roll_back()
            raise _not_applied(Entry(position.term, position.index, "", (), b""), error) from error
        self._applied, self._waiting, self._is_open = self._noted, 0, False
        if changed:
            self._schema_changed()

    def _apply(self, entry: Entry) -> None:
        if not self._holds_rows:
            self._statements.apply(entry.body, entry.position)
            return
        self.tables.rows.position = entry.position
        for part in decode_body(entry.body).parts:
            self.tables.apply(part)

    def rewind(self, to: Position, dropped: Iterable[Entry]) -> bool:
        if not self._holds_rows:
            return False  # a statement does not say what it replaced
        try:
            self._settle()
            self._begin()
            for entry in dropped:
                if entry.changes_data and not self._undo(entry):
                    self._roll_back()
                    return False
            changed = self.tables.save()
            hit("rewind.half")
            self._write_position(to)
            self._connection.execute("COMMIT")
        except (*_FAILED, CodecError, DivergedError) as error:
            self._roll_back()
            _logger.warning("cannot take back the changes behind %s, so the database is made anew: %s", to, error)
            return False
        self._applied = self._noted = to
        self._is_open = False
        if changed:
            self._schema_changed()
        return True

    def _undo(self, entry: Entry) -> bool:
        self.tables.rows.position = entry.position
        return all(self.tables.undo(part) for part in reversed(decode_body(entry.body).parts))

    def _roll_back(self) -> None:
        """Everything is as it was committed last."""
        try:
            self._connection.execute("ROLLBACK")
        except Error:
            _logger.debug("nothing to roll back")
        self._noted, self._waiting, self._is_open = self._applied, 0, False
        if self._holds_rows:
            self.tables.load()

    def _schema_changed(self) -> None:
        for what in self.tables.rows.widened:
            _logger.info("a column was widened: %s", what)
        self.tables.rows.widened.clear()
        self.tables.renew_views()
        for view, why in self.tables.left_out_views.items():
            _logger.info("view %s is left out: %s", view, why)

    # Reads.

    def query(self, statement: Statement) -> QueryResult:
        if failure := self._why_not_settled():
            return QueryResult(error=failure)
        return self._reader.query(statement)

    def digest(self) -> dict[str, str]:
        if failure := self._why_not_settled():
            return {UNREADABLE: failure}
        try:
            if self._holds_rows:
                return tables_digest(self._connection, self.tables)
            return own_tables_digest(self._connection)
        except Error as error:
            raise StorageError(f"the database cannot be read: {reason(error)}") from error

    def _why_not_settled(self) -> str:
        """Bring in what waits; why it does not fit, which `apply` will raise when it is called next."""
        if self._failure is None:
            try:
                self._settle()
            except (CodecError, DivergedError) as error:
                self._failure = error
        return self._failure.message if self._failure is not None else ""

    def close(self) -> None:
        try:
            if self._failure is None:
                self._settle()
        except (CodecError, StorageError) as error:
            _logger.warning("what was noted last is left to the log: %s", error)
        try:
            self._connection.close()
        except Error as error:
            raise StorageError(f"cannot close {self._path}: {reason(error)}") from error
        self.tables.mirror.close()

    # Its place.

    def begin_restore(self) -> None:
        """Let the new, empty database take the rows of a snapshot."""
        self._connection.execute("BEGIN")

    def finish_restore(self, position: Position) -> None:
        """The rows are those of a snapshot at `position`."""
        if self._holds_rows:
            self.tables.save()
        self._write_position(position)
        self._connection.execute("COMMIT")
        self._connection.execute("CHECKPOINT")
        self._applied = self._noted = position

    @property
    def connection(self) -> Connection:
        """For making tables of a snapshot, between `begin_restore` and `finish_restore`."""
        return self._connection

    def _write_position(self, position: Position) -> None:
        hit("position.before_save")
        self._connection.execute(f'UPDATE {SCHEMA}.position SET term = ?, "index" = ?', [position.term, position.index])

    def _prepare(self, directory: Path) -> Position:
        """Bring a new or an old database into working order, and find out where it stands."""
        execute = self._connection.execute
        made = execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = ? AND NOT internal", [SCHEMA]).fetchall()
        if not made:
            if execute("SELECT 1 FROM duckdb_tables() WHERE NOT internal").fetchall():
                raise ConfigurationError(f"{directory} holds a database of another program", hint="use an empty one")
            execute("BEGIN")
            execute(f"CREATE SCHEMA {SCHEMA}")
            execute(f'CREATE TABLE {SCHEMA}.position (log_format VARCHAR, term BIGINT, "index" BIGINT)')
            execute(f"INSERT INTO {SCHEMA}.position VALUES (?, 0, 0)", [self._name])
            if self._holds_rows:
                self.tables.create()
            execute("COMMIT")
        ((name, term, index),) = execute(f'SELECT log_format, term, "index" FROM {SCHEMA}.position').fetchall()
        if name != self._name:
            raise ConfigurationError(
                f"{directory} holds a database of the {name} log format, not {self._name}",
                hint="all replicas of a cluster use one log format",
            )
        if self._holds_rows:
            self.tables.load()
            self.tables.renew_views()
        return Position(int(term), int(index))


def _not_applied(entry: Entry, error: BaseException) -> BaseException:
    """The error to raise where `entry` could not be applied."""
    match error:
        case DivergedRow():
            return DivergedError(f"entry {error.position}: {error.message}", hint=error.hint)
        case DivergedError():
            return DivergedError(f"entry {entry.position}: {error.message}", hint=error.hint)
        case CodecError():
            return CodecError(f"entry {entry.position}: {error.message}", hint=error.hint)
        case Error() | apsw.Error() | OSError():
            return StorageError(f"cannot apply entry {entry.position}: {reason(error)}")
        case _:
            return error
