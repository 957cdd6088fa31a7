"""The logical format: which rows changed and how, as SQLite changesets; changes of the schema travel as SQL.

One changeset for a whole group, taken before COMMIT and before each statement that changes the schema. Rules:

- Followers apply with triggers and foreign keys off: their effects are in the changeset. A statement that changes the
  schema runs there with both on, as on the leader (DROP TABLE deletes rows, which cascades).
- `apply` of SQLite skips, in silence, changes to tables that are missing or have another shape: every change is
  looked at first. Any conflict is divergence.
- What a changeset cannot hold is refused while it runs: rows with NULL in their primary key (by temporary triggers on
  the tables that would allow one), CREATE TABLE ... AS. `sqlite_sequence` is invisible to changesets and travels as
  it stands.
- FTS5 keeps its changes in memory until COMMIT, or until a savepoint is released: the one around each transaction is
  what brings them into the changeset. They arrive through its shadow tables, after which the page cache must be reset.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from workbench.config import LogFormatName
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.base import INTERNAL_PREFIX, NO_DIVERGENCE, StatementFacts, diverged, run, strict_decoder
from workbench.log_formats.table_shapes import has_sequences, has_virtual_tables, null_key_guards, table_shapes
from workbench.protocol.values import Statement


class Changes(msgspec.Struct, frozen=True, array_like=True, tag=0, forbid_unknown_fields=True):
    """Rows changed by every kind of statement, triggers and cascades included, since the part before."""

    changeset: bytes


class SchemaChange(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """A statement to execute."""

    sql: str


class Sequences(msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """The whole content of `sqlite_sequence`: the largest AUTOINCREMENT key that each table ever had."""

    rows: tuple[tuple[str | None, int | None], ...]


class LogicalBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Parts in order."""

    parts: tuple[Changes | SchemaChange | Sequences, ...]


_encode = msgspec.msgpack.Encoder().encode
decode_body = strict_decoder(LogicalBody)

_CONFLICTS = {
    apsw.SQLITE_CHANGESET_DATA: "the row has other values",
    apsw.SQLITE_CHANGESET_NOTFOUND: "there is no such row",
    apsw.SQLITE_CHANGESET_CONFLICT: "a row with this key exists already",
    apsw.SQLITE_CHANGESET_CONSTRAINT: "a constraint does not allow it",
    apsw.SQLITE_CHANGESET_FOREIGN_KEY: "a foreign key does not allow it",
}


def is_captured(table: str) -> bool:
    """Whether changesets hold the rows of `table`."""
    return not table.startswith(("sqlite_", INTERNAL_PREFIX))


class LogicalFormat:
    """Capture and apply of changesets on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._session: apsw.Session | None = None
        self._parts: list[Changes | SchemaChange | Sequences] = []
        self._parts_before = 0
        self._sequences: tuple[tuple[str | None, int | None], ...] = ()
        self._shapes: dict[str, tuple[int, frozenset[int]]] | None = None
        self._has_virtual_tables = False
        self._has_sequences = False

    @property
    def name(self) -> LogFormatName:
        return "logical"

    def refusal(self, facts: StatementFacts) -> str:
        if facts.copies_into_new_table:
            return (
                "CREATE TABLE ... AS is not possible under the logical log format: changesets cannot hold its rows"
                " (create the table first, then INSERT ... SELECT)"
            )
        return ""

    def lead(self) -> None:
        self._set_enforcement(on=True)
        self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        self._schema_changed()
        self._renew_guards()

    def follow(self) -> None:
        self._set_enforcement(on=False)
        self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # it protects shadow tables
        self._schema_changed()

    # On the leader

    def begin_group(self) -> None:
        self._parts = []
        self._refresh_schema()
        self._sequences = self._read_sequences()
        self._open_session()

    def begin_transaction(self, *, changes_schema: bool) -> None:
        self._parts_before = -1
        if changes_schema:  # whatever it does to the schema must be separable from the transactions before it
            self._take_changes()
            self._parts_before = len(self._parts)
            self._open_session()

    def before_schema_change(self) -> None:
        self._take_changes()

    def after_schema_change(self, sql: str) -> None:
        self._parts.append(SchemaChange(sql))
        self._schema_changed()
        self._renew_guards()
        self._refresh_schema()
        self._open_session()

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        if not accepted and self._parts_before >= 0:
            self._close_session()
            del self._parts[self._parts_before :]
            self._schema_changed()
            self._refresh_schema()
            self._open_session()

    def finish_group(self) -> bytes:
        self._take_changes()
        if self._has_sequences and (rows := self._read_sequences()) != self._sequences:
            self._parts.append(Sequences(rows))
        body = _encode(LogicalBody(tuple(self._parts)))
        self._parts = []
        return body

    def discard_group(self) -> None:
        self._close_session()
        self._parts = []
        self._schema_changed()

    def _open_session(self) -> None:
        session = apsw.Session(self._connection, "main")
        session.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, 1)
        if self._has_sequences:
            session.table_filter(is_captured)
        session.attach()
        self._session = session

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _take_changes(self) -> None:
        if self._session is None:
            return
        changeset = self._session.changeset()
        self._close_session()
        if changeset:
            self._parts.append(Changes(changeset))

    def _read_sequences(self) -> tuple[tuple[str | None, int | None], ...]:
        if not self._has_sequences:
            return ()
        return tuple(run(self._connection, "SELECT name, seq FROM sqlite_sequence ORDER BY rowid"))

    def _renew_guards(self) -> None:
        for sql in null_key_guards(self._connection):
            self._cursor.execute(sql)

    # On a follower

    def apply(self, body: bytes) -> None:
        for part in decode_body(body).parts:
            match part:
                case Changes(changeset):
                    self._apply_changes(changeset)
                case SchemaChange(sql):
                    self._apply_schema_change(sql)
                case Sequences(rows):
                    self._apply_sequences(rows)

    def undo(self, body: bytes) -> bool:
        parts = decode_body(body).parts
        if not all(isinstance(part, Changes) for part in parts):
            return False  # what a schema or a sequence was before is not said
        for part in reversed(parts):
            assert isinstance(part, Changes)
            self._apply_changes(apsw.Changeset.invert(part.changeset))
        return True

    def after_apply(self) -> None:
        self._refresh_schema()
        if self._has_virtual_tables:
            self._connection.file_control("main", apsw.SQLITE_FCNTL_RESET_CACHE, 0)

    def _apply_changes(self, changeset: bytes) -> None:
        conflicts: list[str] = []

        def note(reason: int, change: apsw.TableChange) -> int:
            what = _CONFLICTS.get(reason, f"reason {reason}")
            values = change.old if change.new is None else change.new
            conflicts.append(f"{change.op} on table {change.name}, {values!r:.120}: {what}")
            return apsw.SQLITE_CHANGESET_ABORT

        self._check_shapes(changeset)
        try:
            apsw.Changeset.apply(changeset, self._connection, conflict=note)
        except NO_DIVERGENCE:
            raise
        except apsw.Error as error:
            if conflicts:
                raise DivergedError(
                    f"a change of the leader does not fit: {conflicts[0]}",
                    hint="this replica's database differs from the leader's",
                ) from error
            raise diverged("apply a changeset", error) from error

    def _check_shapes(self, changeset: bytes) -> None:
        shapes = self._refresh_schema()
        name = None
        try:
            for change in apsw.Changeset.iter(changeset):
                if change.name != name:
                    name = change.name
                    if shapes.get(name) != (change.column_count, frozenset(change.pk_columns)):
                        raise DivergedError(
                            f"the leader changed table {name} with {change.column_count} stored columns and key columns"
                            f" {sorted(change.pk_columns)}: this replica has no such table"
                        )
        except (apsw.Error, UnicodeDecodeError) as error:
            raise CodecError(f"not a changeset: {error}") from error

    def _apply_schema_change(self, sql: str) -> None:
        self._schema_changed()
        self._set_enforcement(on=True)
        try:
            self._cursor.execute(sql).fetchall()
        except NO_DIVERGENCE:
            raise
        except (apsw.Error, ValueError) as error:
            raise diverged(f"execute {sql!r:.200}", error) from error
        finally:
            self._set_enforcement(on=False)

    def _apply_sequences(self, rows: tuple[tuple[str | None, int | None], ...]) -> None:
        try:
            self._cursor.execute("DELETE FROM sqlite_sequence")
            self._cursor.executemany("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", rows)
        except (apsw.Error, OverflowError) as error:
            raise diverged("set sqlite_sequence", error) from error

    # Both

    def _set_enforcement(self, *, on: bool) -> None:
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(on))
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, int(on))

    def _schema_changed(self) -> None:
        self._shapes = None

    def _refresh_schema(self) -> dict[str, tuple[int, frozenset[int]]]:
        if self._shapes is None:
            self._shapes = table_shapes(self._connection)
            self._has_virtual_tables = has_virtual_tables(self._connection)
            self._has_sequences = has_sequences(self._connection)
        return self._shapes
