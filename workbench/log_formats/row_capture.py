"""Taking the changes of rows that statements make on a leader, whatever the statements are.

    capture = RowCapture(connection)   # once for a connection
    capture.lead()                     # the connection executes clients' statements from now on
    capture.start()                    # inside the open transaction: note changes from now on
    ...                                # statements run; triggers and cascades are noted with them
    parts = capture.finish()           # all that changed, in order, while the transaction is still open
    capture.discard()                  # or: it was rolled back, or is not wanted

Around a statement that changes the schema, be anything noted or not:

    parts += capture.take()            # what changed before it belongs before it
    capture.before_schema_change()
    ...                                # the statement
    parts += capture.after_schema_change(sql)   # raises `StatementError` for what could not be captured
    capture.resume()                   # if changes are noted

Rules:

- One session of SQLite notes everything; nothing else may use sessions or preupdate hooks on this connection.
- FTS5 keeps its changes in memory until COMMIT, or until a savepoint is released: without one around the statements
  its rows are missing.
- Rows that a session cannot note rightly are noted by triggers (`image_capture.py`). Those that a changeset cannot hold
  travel as images: what is removed before the changeset, what is added behind it.
- `sqlite_sequence` is invisible to sessions and travels as it stands.
- CREATE TABLE ... AS travels as the CREATE TABLE that SQLite made of it, and its rows.
"""

from __future__ import annotations

import re

import apsw

from workbench.errors import StatementError
from workbench.log_formats.base import run, set_enforcement
from workbench.log_formats.image_capture import ImageCapture
from workbench.log_formats.key_kinds import Table, read_tables, schema_refusal
from workbench.log_formats.row_parts import Changes, Part, RowPart, SchemaChange, Sequences, is_captured
from workbench.log_formats.table_shapes import SequenceRows, has_sequences, quoted, read_sequences

_MAY_COPY = re.compile(r"\bCREATE\b.*?\bTABLE\b.*?\bAS\b", re.IGNORECASE | re.DOTALL)
"""Every CREATE TABLE ... AS, and some others."""
_NEWEST = "SELECT rowid, name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY rowid DESC LIMIT 1"


class RowCapture:
    """Notes the changes of rows on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._session: apsw.Session | None = None
        self._sequences: SequenceRows = ()
        self._images = ImageCapture(connection)
        self._whole: frozenset[str] = frozenset()
        """Tables all of whose rows are captured as images."""
        self._schema_known = False
        self._has_sequences = False
        self._tables: dict[str, Table] | None = None
        """As of a change of the schema just now."""
        self._newest_before = 0

    def lead(self) -> None:
        """Prepare the connection for executing clients' statements."""
        set_enforcement(self._connection, on=True)
        self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        self._schema_known = False

    def start(self) -> None:
        """Note changes from now on. A transaction is open."""
        self._learn_schema()
        self._images.forget()
        self._sequences = self._read_sequences()
        self.resume()

    def take(self) -> list[RowPart]:
        """What has changed since `start` or `resume`; nothing is noted from now on."""
        if self._session is None:
            return []
        changeset = self._session.changeset()
        self._close_session()
        if not self._images.has_noted:
            return [Changes(changeset)] if changeset else []
        removed, more, added = self._images.take()
        changes = [Changes(changeset + more)] if changeset or more else []
        return [*removed, *changes, *added]

    def resume(self) -> None:
        """Note changes again."""
        self._learn_schema()
        session = apsw.Session(self._connection, "main")
        if self._has_sequences or self._whole:
            session.table_filter(self._is_in_changesets)
        session.attach()
        self._session = session
        self._images.is_noting = True

    def finish(self) -> list[RowPart]:
        """What has changed since the last `resume`, or `start`, and the sequences if they did since `start`."""
        parts = self.take()
        if self._has_sequences and (rows := self._read_sequences()) != self._sequences:
            parts.append(Sequences(rows))
        return parts

    def discard(self) -> None:
        """Forget what was noted. The schema may be another one, too."""
        self._close_session()
        self._images.forget()
        self._schema_known = False
        self._tables = None

    def before_schema_change(self) -> None:
        """A statement that changes the schema runs next."""
        self._schema_known = False
        self._tables = None
        self._newest_before = next((rowid for rowid, _, _ in run(self._connection, _NEWEST)), 0)

    def after_schema_change(self, sql: str) -> list[Part]:
        """It has succeeded: what it travels as. Raises `StatementError` when rows could not be captured any more."""
        self._tables = read_tables(self._connection)
        if reason := schema_refusal(self._connection, self._tables):
            raise StatementError(reason)
        if _MAY_COPY.search(sql):
            for rowid, name, created in run(self._connection, _NEWEST):
                if rowid > self._newest_before and (changeset := self._all_rows(name)):
                    return [SchemaChange(created), Changes(changeset)]
        return [SchemaChange(sql)]

    def _all_rows(self, table: str) -> bytes:
        """A changeset that inserts all rows of a new table: its difference from an empty one."""
        name = quoted(table)
        if not run(self._connection, f"SELECT 1 FROM main.{name} LIMIT 1"):
            return b""
        self._cursor.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM main.{name} LIMIT 0")
        try:
            session = apsw.Session(self._connection, "main")
            session.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, 1)
            session.diff("temp", table)
            changeset: bytes = session.changeset()
            session.close()
        finally:
            self._cursor.execute(f"DROP TABLE temp.{name}")
        return changeset

    def _is_in_changesets(self, table: str) -> bool:
        return is_captured(table) and table not in self._whole

    def _close_session(self) -> None:
        self._images.is_noting = False
        if self._session is not None:
            self._session.close()
            self._session = None

    def _read_sequences(self) -> SequenceRows:
        if not self._has_sequences:
            return ()
        return read_sequences(self._connection)

    def _learn_schema(self) -> None:
        if not self._schema_known:
            self._has_sequences = has_sequences(self._connection)
            tables = self._tables or read_tables(self._connection)
            self._tables = None
            self._images.watch(tables)
            self._whole = frozenset(name for name, table in tables.items() if table.is_whole)
            self._schema_known = True
