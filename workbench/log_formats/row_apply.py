"""Bringing changes of rows into a follower's database, exactly as a leader made them.

    applier = RowApplier(connection)   # once for a connection
    applier.follow()                   # the connection applies parts from now on: triggers and foreign keys off
    applier.apply(part)                # inside the open transaction; also `undo(part)`
    applier.after_apply()              # the transaction is committed, or rolled back

A format that executes statements, too, surrounds them with `statements_run`, or says `schema_changed` after them.
Rules:

- Triggers and foreign keys are off: their effects are in the changeset. A statement that changes the schema runs with
  both on, as on the leader (DROP TABLE deletes rows, which cascades).
- `apply` of SQLite skips, in silence, changes to tables that are missing or have another shape: every change is
  looked at first. Any conflict is divergence.
- `sqlite_sequence` changes only as the leader says.
- Changes of FTS5 arrive through its shadow tables, after which the page cache must be reset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import apsw

from workbench.errors import CodecError, DivergedError
from workbench.log_formats.base import NO_DIVERGENCE, diverged, set_enforcement
from workbench.log_formats.changesets import Change
from workbench.log_formats.image_capture import drop_triggers
from workbench.log_formats.key_kinds import Table, read_tables
from workbench.log_formats.parking import WIDE_COLUMNS, apply_parked
from workbench.log_formats.row_images import ImageWriter, check_images
from workbench.log_formats.row_parts import Changes, Part, RowImages, SchemaChange, Sequences
from workbench.log_formats.single_change import SingleChange
from workbench.log_formats.table_shapes import (
    SequenceRows,
    Shape,
    has_sequences,
    has_virtual_tables,
    read_sequences,
    table_shapes,
    unique_tables,
)

_TRIED_MAX: Final = 100
"""Updates of a table with UNIQUE indexes that SQLite may try one by one; it takes their square."""

_SMALL_BYTES: Final = 4_096

_CONFLICTS = {
    apsw.SQLITE_CHANGESET_DATA: "the row has other values",
    apsw.SQLITE_CHANGESET_NOTFOUND: "there is no such row",
    apsw.SQLITE_CHANGESET_CONFLICT: "a row with this key exists already",
    apsw.SQLITE_CHANGESET_CONSTRAINT: "a constraint does not allow it",
    apsw.SQLITE_CHANGESET_FOREIGN_KEY: "a foreign key does not allow it",
}


class _Looked(NamedTuple):
    """What was seen of a changeset."""

    updates: dict[str, int]
    """Rows updated in each table with UNIQUE indexes."""
    wide: set[str]
    """Tables of so many columns that SQLite cannot apply their changes."""
    only: Change | None
    """The only change of a small changeset."""


class RowApplier:
    """Applies parts on one connection. All methods raise `DivergedError` or `CodecError` for what does not fit."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._shapes: dict[str, Shape] | None = None
        self._tables: dict[str, Table] | None = None
        self._unique_places: dict[str, tuple[int, ...]] = {}
        self._single = SingleChange(connection)
        self._unique: frozenset[str] = frozenset()
        self._has_virtual_tables = False
        self._has_sequences = False

    def follow(self) -> None:
        """Prepare the connection for applying parts."""
        set_enforcement(self._connection, on=False)
        self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # it protects shadow tables
        drop_triggers(self._connection)  # a leader's, which would be in the way of changes of the schema
        self.schema_changed()

    def schema_changed(self) -> None:
        """A statement has changed the schema, or a rollback may have."""
        self._shapes = self._tables = None
        self._unique_places = {}
        self._single.forget()

    def apply(self, part: Part) -> None:
        """Bring one part into the open transaction."""
        match part:
            case Changes(changeset):
                self._apply_changes(changeset)
            case SchemaChange(sql):
                self._apply_schema_change(sql)
            case Sequences(rows):
                self._apply_sequences(rows)
            case RowImages():
                self._apply_images(part)

    def undo(self, part: Part) -> bool:
        """Take one applied part back, in the open transaction; False when it does not say how."""
        match part:
            case Changes(changeset):
                self._apply_changes(apsw.Changeset.invert(changeset))
            case RowImages(table, removed, added):
                self._apply_images(RowImages(table, added, removed))
            case _:
                return False  # what a schema or a sequence was before is not said
        return True

    def after_apply(self) -> None:
        """The transaction is committed, or rolled back."""
        self._learn_schema()
        if self._has_virtual_tables:
            self._connection.file_control("main", apsw.SQLITE_FCNTL_RESET_CACHE, 0)

    @contextmanager
    def statements_run(self) -> Iterator[None]:
        """Statements of the leader are executed as it did: with triggers and foreign keys."""
        set_enforcement(self._connection, on=True)
        try:
            yield
        finally:
            set_enforcement(self._connection, on=False)

    def _apply_changes(self, changeset: bytes) -> None:
        conflicts: list[str] = []
        reasons: list[int] = []

        def note(reason: int, change: apsw.TableChange) -> int:
            reasons.append(reason)
            what = _CONFLICTS.get(reason, f"reason {reason}")
            conflicts.append(f"{change.op} on table {change.name}, {_values(change):.120}: {what}")
            return apsw.SQLITE_CHANGESET_ABORT

        looked = self._look_through(changeset)
        updates, wide = looked.updates, looked.wide
        sequences = read_sequences(self._connection) if self._has_sequences else ()
        if looked.only is not None:
            table = self._learn_tables().get(looked.only.name)
            self._single.broke = ""
            if table is not None and self._single.apply(table, *looked.only[1:]):
                self._restore_sequences(sequences)
                return
        try:
            if not wide and max(updates.values(), default=0) <= _TRIED_MAX:
                try:
                    apsw.Changeset.apply(changeset, self._connection, conflict=note)
                    if looked.only is not None and self._single.broke:
                        raise DivergedError(
                            f"{looked.only.op} on table {looked.only.name} replaces a row that the leader does"
                            f" not have: {self._single.broke}"
                        )
                    self._restore_sequences(sequences)
                    return
                except apsw.Error:
                    if not updates or reasons != [apsw.SQLITE_CHANGESET_CONSTRAINT]:
                        raise
            tables = self._learn_tables()
            apply_parked(self._connection, changeset, [tables[name] for name in {*updates, *wide}], note)
            self._restore_sequences(sequences)
        except NO_DIVERGENCE:
            raise
        except (apsw.Error, UnicodeDecodeError) as error:
            if conflicts:
                raise DivergedError(
                    f"a change of the leader does not fit: {conflicts[0]}",
                    hint="this replica's database differs from the leader's",
                ) from error
            raise diverged("apply a changeset", error) from error

    def _look_through(self, changeset: bytes) -> _Looked:
        """Raise unless every change fits a table."""
        shapes = self._learn_schema()
        name = None
        is_unique = False
        updates: dict[str, int] = {}
        wide: set[str] = set()
        only: Change | None = None
        count = 0 if len(changeset) <= _SMALL_BYTES else 1
        try:
            for change in apsw.Changeset.iter(changeset):
                if change.name != name:
                    name = change.name
                    if shapes.get(name) != (change.column_count, frozenset(change.pk_columns)):
                        raise DivergedError(
                            f"the leader changed table {name} with {change.column_count} stored columns and key columns"
                            f" {sorted(change.pk_columns)}: this replica has no such table"
                        )
                    is_unique = name in self._unique
                    if change.column_count > WIDE_COLUMNS:
                        wide.add(name)
                if is_unique and change.op == "UPDATE" and self._touches_unique(change):
                    updates[name] = updates.get(name, 0) + 1
                count += 1
                only = _as_value(change) if count == 1 else None
        except (apsw.Error, UnicodeDecodeError) as error:
            raise CodecError(f"not a changeset: {error}") from error
        return _Looked(updates, wide, only)

    def _touches_unique(self, change: apsw.TableChange) -> bool:
        """Whether an update may pass through another row's UNIQUE values."""
        places = self._unique_places.get(change.name)
        if places is None:
            places = self._unique_places[change.name] = _unique_places(self._learn_tables()[change.name])
        try:
            new = change.new
        except UnicodeDecodeError:
            return True
        return new is not None and any(new[place] is not apsw.no_change for place in places)

    def _apply_schema_change(self, sql: str) -> None:
        self.schema_changed()
        try:
            with self.statements_run():
                self._cursor.execute(sql).fetchall()
        except NO_DIVERGENCE:
            raise
        except (apsw.Error, ValueError) as error:
            raise diverged(f"execute {sql!r:.200}", error) from error

    def _apply_images(self, part: RowImages) -> None:
        check_images((*part.removed, *part.added))
        table = self._learn_tables().get(part.table)
        if table is None or not (table.is_whole or table.nullable_key):
            raise DivergedError(f"the leader changed table {part.table}: this replica has none that is known by images")
        try:
            ImageWriter(self._cursor, table).write(part)
        except NO_DIVERGENCE:
            raise
        except (apsw.Error, ValueError, OverflowError) as error:
            raise diverged(f"write a row of {part.table}", error) from error

    def _restore_sequences(self, before: SequenceRows) -> None:
        """Inserted rows raise them, also where the leader's row got its key by an UPDATE, which does not: a part of
        their own says how they stand."""
        if self._has_sequences and read_sequences(self._connection) != before:
            self._apply_sequences(before)

    def _apply_sequences(self, rows: SequenceRows) -> None:
        try:
            self._cursor.execute("DELETE FROM sqlite_sequence")
            self._cursor.executemany("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", rows)
        except (apsw.Error, OverflowError) as error:
            raise diverged("set sqlite_sequence", error) from error

    def _learn_schema(self) -> dict[str, Shape]:
        if self._shapes is None:
            self._shapes = table_shapes(self._connection)
            self._has_sequences = has_sequences(self._connection)
            self._unique = unique_tables(self._connection)
            self._has_virtual_tables = has_virtual_tables(self._connection)
        return self._shapes

    def _learn_tables(self) -> dict[str, Table]:
        if self._tables is None:
            self._tables = read_tables(self._connection)
        return self._tables


def _unique_places(table: Table) -> tuple[int, ...]:
    """Where, in a change, the columns are that UNIQUE indexes are made of."""
    first = 0 if table.key else 1
    names = {name for index in table.unique.values() if not index.is_key for name, _ in index.columns}
    generated = {column.name for column in table.columns if column.is_generated}
    everything = None in names or names & generated
    return tuple(place for place, name in enumerate(table.stored, first) if everything or name in names)


def _as_value(change: apsw.TableChange) -> Change | None:
    """A change that stays when the next one is looked at; none when Python cannot hold its text."""
    try:
        return Change(change.name, change.op, change.old, change.new)
    except UnicodeDecodeError:
        return None


def _values(change: apsw.TableChange) -> str:
    try:
        return repr(change.old if change.new is None else change.new)
    except UnicodeDecodeError:
        return "(with text that is not valid UTF-8)"
