"""The tables of a DuckDB follower, kept in step with a leader's by the parts of logical entries.

What the database holds besides the views that clients see, all in the schema `_workbench`:

    position   the log format, and the last entry whose effects are here; written in the same transaction
    catalog    which table of rows stands for which table of the leader (JSON), and an image of the leader's schema
    t1, t2...  the tables of rows, without constraints: the leader has checked them

Views hold nothing: they are made anew after every change of the schema, and at opening. Rules:

- What a part means is decided by the schema that the parts before it have made.
- DROP TABLE deletes rows, which cascades to other tables, and fires their triggers. No part says what became of them:
  SQLite finds it out, on a copy of the rows in memory.
- VACUUM may give rows new rowids. A table that it does that to has neither a key nor an index, and its rows are
  numbered anew in the order that they have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import apsw
import msgspec

from workbench.errors import DivergedError, StorageError
from workbench.log_formats.base import set_enforcement
from workbench.log_formats.row_parts import Changes, Part, RowImages, SchemaChange, Sequences
from workbench.storage.client_policy import leading_keyword
from workbench.storage.duckdb import Connection, Error, reason
from workbench.storage.duckdb_changes import read_changes
from workbench.storage.duckdb_images import write_images
from workbench.storage.duckdb_rows import PENDING_ROWS_MAX, Rows
from workbench.storage.duckdb_schema import (
    SCHEMA,
    Catalog,
    Column,
    ColumnAdded,
    ColumnDropped,
    Created,
    Dropped,
    Mirror,
    Step,
    Table,
)
from workbench.storage.duckdb_values import TYPES, Staging, misfit, quoted

_GENERATED_ROWS: Final = 10_000
_SNAPSHOT_BYTES: Final = 16 * 1024 * 1024
_DROP = re.compile(r"\s*DROP\s+TABLE\b", re.IGNORECASE)
_VIEW = re.compile(
    r"""\s*CREATE\s+VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:(?:main|"main")\s*\.\s*)?"""
    r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[^\s("'`\[.]+)\s*""",
    re.IGNORECASE,
)
_NO_ROWS: Final = frozenset({"REINDEX", "ANALYZE", "PRAGMA"})
"""What says nothing about rows or columns, and is not executed here."""


class Tables:
    """All tables of one follower. Transactions are the caller's, who calls `load` again after a rollback."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._saved: Catalog | None = None
        self._schema_changed = False
        self.mirror = Mirror()
        self.rows = Rows(connection, self.mirror)
        self._views: dict[str, str] | None = None
        """The views of tables that the database has, by name; None while that is not known."""
        self._client_views: list[str] = []
        self.left_out_views: dict[str, str] = {}
        """View -> why DuckDB does not take it."""

    # What is kept in the database.

    def create(self) -> None:
        """Make the tables of a new database, inside a transaction."""
        self._connection.execute(f"CREATE TABLE {SCHEMA}.catalog (tables VARCHAR, schema BLOB)")
        self._connection.execute(f"INSERT INTO {SCHEMA}.catalog VALUES ('', '')")
        self.start(Mirror())
        self.save()

    def start(self, mirror: Mirror) -> None:
        """Go on with the schema that `mirror` holds."""
        self.mirror.close()
        self.mirror, self._saved, self._schema_changed = mirror, None, True
        self.rows = Rows(self._connection, mirror)

    def load(self) -> None:
        """Take what the database says for what is."""
        found = self._connection.execute(f"SELECT tables, schema FROM {SCHEMA}.catalog").fetchall()
        try:
            ((catalog, image),) = found
            mirror = Mirror(image, msgspec.json.decode(catalog, type=Catalog))
        except (ValueError, msgspec.MsgspecError, apsw.Error) as error:
            raise StorageError(f"the catalog in the database cannot be read: {error}") from error
        self.start(mirror)
        self._saved, self._schema_changed = mirror.catalog, False

    def save(self) -> bool:
        """Bring in what was noted, and keep the catalog if it has changed: then the views are to be made anew."""
        self.rows.flush()
        if self.mirror.catalog == self._saved and not self._schema_changed:
            return False
        self._connection.execute(
            f"UPDATE {SCHEMA}.catalog SET tables = ?, schema = ?",
            [msgspec.json.encode(self.mirror.catalog).decode(), self.mirror.image()],
        )
        self._saved, self._schema_changed = self.mirror.catalog, False
        return True

    def renew_views(self) -> None:
        """Let clients see the tables under the leader's names, and the leader's views as far as DuckDB takes them."""
        execute = self._connection.execute
        wanted = {table.name: _view_of(table) for table in self.mirror.catalog.tables}
        if self._views is None:
            found = execute(
                "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
            ).fetchall()
            gone, made = {str(name) for (name,) in found}, {}
        else:
            made = self._views
            gone = {*self._client_views, *(name for name, sql in made.items() if wanted.get(name) != sql)}
        execute("BEGIN")
        for name in gone:
            execute(f"DROP VIEW main.{quoted(name)}")
        for name, sql in wanted.items():
            if made.get(name) != sql:
                execute(sql)
        execute("COMMIT")
        self._views, self._client_views, self.left_out_views = wanted, [], {}
        for name, sql in self.mirror.views():
            try:
                execute(_VIEW.sub(lambda _, name=name: f"CREATE VIEW main.{quoted(name)} ", sql, count=1))  # type: ignore[misc]
                self._client_views.append(name)
            except Error as error:
                self.left_out_views[name] = reason(error)

    # Parts.

    def apply(self, part: Part) -> None:
        """Note or bring in one part. Raises `DivergedError` or `CodecError`."""
        match part:
            case Changes(changeset):
                for change in read_changes(changeset):
                    self.rows.change(change)
            case SchemaChange(sql):
                self.rows.flush()
                self._change_schema(sql)
            case RowImages():
                self.rows.flush()
                write_images(self.rows, part)
            case Sequences():
                pass  # which key comes next only a leader must know

    def undo(self, part: Part) -> bool:
        """Take one applied part back; False when it does not say how. Raises as `apply`."""
        match part:
            case Changes(changeset):
                self.apply(Changes(apsw.Changeset.invert(changeset)))
            case RowImages(table, removed, added):
                self.apply(RowImages(table, added, removed))
            case _:
                return False  # what a schema was before is not said
        return True

    def _change_schema(self, sql: str) -> None:
        keyword = leading_keyword(sql)
        if keyword == "VACUUM":
            self._renumber()
        elif keyword not in _NO_ROWS:
            self._schema_changed = True
            if _DROP.match(sql) and (followed := self._dropped_with_effects(sql)):
                self._apply_effects(sql, followed)
            for step in self.mirror.execute(sql):
                self.take(step)

    def take(self, step: Step) -> None:
        """Do to the tables of rows what a statement has done to the schema."""
        execute = self._connection.execute
        match step:
            case Created(table):
                columns = ", ".join(f"{column.physical} {TYPES[column.kind]}" for column in table.columns)
                execute(f"CREATE TABLE {SCHEMA}.{table.physical} ({columns})")
            case Dropped(table):
                execute(f"DROP TABLE {SCHEMA}.{table.physical}")
            case ColumnDropped(table, column):
                execute(f"ALTER TABLE {SCHEMA}.{table.physical} DROP COLUMN {column.physical}")
            case ColumnAdded(table, column, default):
                execute(f"ALTER TABLE {SCHEMA}.{table.physical} ADD COLUMN {column.physical} {TYPES[column.kind]}")
                if column.is_generated:
                    self._generate(table, column)
                elif default is not None:
                    self._fill(table, column, default)

    def _fill(self, table: Table, column: Column, value: object) -> None:
        kind = column.kind
        if misfit(kind, [value]) is not None:
            self.rows.widen(table, column, value)
            kind = "any"
        staging = Staging()
        staging.add("v", kind, [value])
        self._connection.execute(
            f"UPDATE {SCHEMA}.{table.physical} AS t SET {column.physical} = s.v FROM {staging.sql} AS s",
            staging.parameters,
        )

    def _generate(self, table: Table, column: Column) -> None:
        """Fill a generated column that was added, in parts that memory holds."""
        place = table.generated.index(column)
        order = ", ".join(f"{key.physical}" for key in table.key)
        keys = [number for number, stored in enumerate(table.stored) if stored.key]
        for offset in range(0, 2**62, _GENERATED_ROWS):
            rows = list(self.rows.read(table, f"ORDER BY {order} LIMIT {_GENERATED_ROWS} OFFSET {offset}"))
            if not rows:
                return
            values = [made[place] for made in self.mirror.generated_values(table, rows)]
            if (odd := misfit(column.kind, values)) is not None:
                self.rows.widen(table, column, odd)
                column = next(
                    known for known in self.mirror.by_source[table.source].columns if known.physical == column.physical
                )
            staging = Staging()
            staging.add("v", column.kind, values)
            for number in keys:
                staging.add(f"k{number}", table.stored[number].kind, [row[number] for row in rows])
            equal = " AND ".join(f"t.{table.stored[n].physical} IS NOT DISTINCT FROM s.k{n}" for n in keys)
            self._connection.execute(
                f"UPDATE {SCHEMA}.{table.physical} AS t SET {column.physical} = s.v FROM {staging.sql} AS s"
                f" WHERE {equal}",
                staging.parameters,
            )

    def _renumber(self) -> None:
        for table in self.mirror.catalog.tables:
            if table.renumbers:
                (rowid,) = (column.physical for column in table.key)
                place = f"{SCHEMA}.{table.physical}"
                self._connection.execute(
                    f"UPDATE {place} AS t SET {rowid} = s.n FROM"
                    f" (SELECT {rowid} AS r, row_number() OVER (ORDER BY {rowid}) AS n FROM {place}) AS s"
                    f" WHERE t.{rowid} = s.r"
                )

    # What only SQLite can tell.

    def _dropped_with_effects(self, sql: str) -> str:
        """The table that `sql` drops, if that may change rows of other tables; else the empty string."""
        dropped: list[str] = []

        def note(action: int, first: str | None, *_: object) -> int:
            if action == apsw.SQLITE_DROP_TABLE and first:
                dropped.append(first)
            return apsw.SQLITE_OK

        connection = self.mirror.connection
        connection.authorizer = note
        try:
            connection.execute(f"EXPLAIN {sql}").fetchall()
        except apsw.Error:
            return ""  # executing it will say why
        finally:
            connection.authorizer = None
        return dropped[0] if dropped and self.mirror.is_referred_to(dropped[0]) else ""

    def _apply_effects(self, sql: str, dropped: str) -> None:
        """Change the rows of other tables as DROP TABLE does by its foreign keys."""
        scratch = Mirror(self.mirror.image(), self.mirror.catalog)
        connection = scratch.connection
        try:
            for table in scratch.catalog.tables:
                for row in self.rows.read(table):
                    scratch.insert(table, row)
            session = apsw.Session(connection, "main")
            session.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, 1)
            gone = {dropped.casefold(), "sqlite_sequence"}
            session.table_filter(lambda name: name.casefold() not in gone)
            session.attach()
            set_enforcement(connection, on=True)
            connection.execute(sql)
            changeset = session.changeset()
            session.close()
        except apsw.Error as error:
            raise DivergedError(f"cannot execute {sql!r:.200}: {' '.join(str(error).split())}") from error
        finally:
            scratch.close()
        for change in read_changes(changeset):
            self.rows.change(change)
        self.rows.flush()

    def insert(self, table: Table, rows: Iterable[tuple[object, ...]]) -> None:
        """Insert rows of a snapshot, a bounded number at a time."""
        batch: list[tuple[object, ...]] = []
        size = 0
        for row in rows:
            batch.append(row)
            size += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(batch) >= PENDING_ROWS_MAX or size >= _SNAPSHOT_BYTES:
                self.rows.insert(self.mirror.by_source[table.source], batch)
                batch, size = [], 0
        if batch:
            self.rows.insert(self.mirror.by_source[table.source], batch)


def _view_of(table: Table) -> str:
    columns = ", ".join(f"{column.physical} AS {quoted(column.name)}" for column in table.shown)
    types = ", ".join(column.kind for column in table.shown)  # of which a view keeps note
    return f"CREATE VIEW main.{quoted(table.name)} AS SELECT {columns} FROM {SCHEMA}.{table.physical} /* {types} */"
