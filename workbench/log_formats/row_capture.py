"""Taking the changes of rows that statements make on a leader, whatever the statements are.

    capture = RowCapture(connection)   # once for a connection
    capture.lead()                     # the connection executes clients' statements from now on
    capture.start()                    # inside the open transaction: note changes from now on
    ...                                # statements run; triggers and cascades are noted with them
    parts = capture.finish()           # all that changed, in order, while the transaction is still open
    capture.discard()                  # or: it was rolled back, or is not wanted

`take` and `resume` stand around a statement that changes the schema (after it, `schema_changed`): what changed before
it belongs before it. Rules:

- One session of SQLite notes everything; nothing else may use sessions or preupdate hooks on this connection.
- FTS5 keeps its changes in memory until COMMIT, or until a savepoint is released: without one around the statements
  its rows are missing.
- What a changeset cannot hold is refused while it runs: rows with NULL in their primary key, by temporary triggers on
  the tables that would allow one. `sqlite_sequence` is invisible to sessions and travels as it stands.
"""

from __future__ import annotations

import apsw

from workbench.log_formats.base import run, set_enforcement
from workbench.log_formats.row_parts import Changes, RowPart, Sequences, is_captured
from workbench.log_formats.table_shapes import has_sequences, null_key_guards


class RowCapture:
    """Notes the changes of rows on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._session: apsw.Session | None = None
        self._sequences: tuple[tuple[str | None, int | None], ...] = ()
        self._schema_known = False
        self._has_sequences = False

    def lead(self) -> None:
        """Prepare the connection for executing clients' statements."""
        set_enforcement(self._connection, on=True)
        self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        self.schema_changed()

    def schema_changed(self) -> None:
        """A statement has changed the schema, or a rollback may have."""
        self._schema_known = False

    def start(self) -> None:
        """Note changes from now on. A transaction is open."""
        self._learn_schema()
        self._sequences = self._read_sequences()
        self.resume()

    def take(self) -> list[RowPart]:
        """What has changed since `start` or `resume`; nothing is noted from now on."""
        if self._session is None:
            return []
        changeset = self._session.changeset()
        self._close_session()
        return [Changes(changeset)] if changeset else []

    def resume(self) -> None:
        """Note changes again."""
        self._learn_schema()
        session = apsw.Session(self._connection, "main")
        session.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, 1)
        if self._has_sequences:
            session.table_filter(is_captured)
        session.attach()
        self._session = session

    def finish(self) -> list[RowPart]:
        """What has changed since the last `resume`, or `start`, and the sequences if they did since `start`."""
        parts = self.take()
        if self._has_sequences and (rows := self._read_sequences()) != self._sequences:
            parts.append(Sequences(rows))
        return parts

    def discard(self) -> None:
        """Forget what was noted."""
        self._close_session()
        self.schema_changed()

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _read_sequences(self) -> tuple[tuple[str | None, int | None], ...]:
        if not self._has_sequences:
            return ()
        return tuple(run(self._connection, "SELECT name, seq FROM sqlite_sequence ORDER BY rowid"))

    def _learn_schema(self) -> None:
        if not self._schema_known:
            self._has_sequences = has_sequences(self._connection)
            for sql in null_key_guards(self._connection):
                self._cursor.execute(sql)
            self._schema_known = True
