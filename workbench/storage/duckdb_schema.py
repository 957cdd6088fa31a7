"""The leader's schema on a replica that is no SQLite: a database of SQLite in memory, without rows.

Changes of the schema reach a replica as SQL in SQLite's dialect. They are executed here as they are, and what has
become of each table is read off afterwards: `Mirror.execute` returns the steps that do the same to the tables that hold
the rows. Rules:

- A table is the same as before if it has the same root page: that survives ALTER TABLE ... RENAME, and nothing else.
- One statement is one step. ALTER TABLE appends a column, drops one or renames one.
- The rows of an FTS5 table are those of its table `..._content`. Tables that keep their rows in no such way are left
  out, with the reason.
- Tables of rows have names of their own, which never change, so that renaming is nothing but another view.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import apsw
import msgspec

from workbench.errors import DivergedError, StorageError
from workbench.log_formats.base import INTERNAL_PREFIX, set_enforcement
from workbench.storage.duckdb_values import BadText, Kind, affinity, first_kind, quoted

SCHEMA: Final = "_workbench"
"""The schema of DuckDB that holds the tables of rows; clients see views of them."""
_PAGE_SIZE: Final = 512  # the image is stored after each change of the schema
_TYPE_OF_AFFINITY: Final = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "numeric": "NUMERIC", "blob": ""}
_MODULE = re.compile(r"\bUSING\s+(\w+)", re.IGNORECASE)

_TABLES = f"""
    SELECT t.name, t.type, t.strict, s.rootpage, s.sql FROM pragma_table_list AS t JOIN sqlite_schema AS s
        ON s.name = t.name AND s.type = 'table'
    WHERE t.schema = 'main' AND t.type IN ('table', 'virtual')
        AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT GLOB '{INTERNAL_PREFIX}*'
    ORDER BY t.name"""
_SHADOWS = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
_VIEWS = "SELECT name, sql FROM sqlite_schema WHERE type = 'view' ORDER BY rowid"
_COLUMNS = "SELECT name, type, hidden, pk FROM pragma_table_xinfo(?) ORDER BY cid"
_NULLABLE_KEY = """
    SELECT 1 FROM pragma_table_info(?) WHERE pk AND NOT "notnull"
        AND EXISTS (SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk') LIMIT 1"""
_REFERRING = f"""
    SELECT 1 FROM pragma_table_list AS t JOIN pragma_foreign_key_list(t.name) AS f
    WHERE t.schema = 'main' AND f."table" = ? COLLATE NOCASE AND t.name NOT GLOB '{INTERNAL_PREFIX}*' LIMIT 1"""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table of rows. `key`: its place in the primary key, from 1, or 0."""

    name: str
    physical: str = ""
    kind: Kind
    affinity: str
    key: int = 0
    is_hidden: bool = False
    """A rowid, which SELECT * does not show."""
    is_generated: bool = False
    collation: str = "BINARY"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `source` is its name in changesets, whose columns are `stored`."""

    name: str
    source: str
    physical: str = ""
    schema: str = SCHEMA
    columns: tuple[Column, ...]
    renumbers: bool = False
    """VACUUM gives its rows new rowids: it has neither a key nor an index."""
    key_is_loose: bool = False
    """Its key may be NULL, or it has none that changesets could name: rows are told apart by all that they hold."""

    @property
    def stored(self) -> list[Column]:
        return [column for column in self.columns if not column.is_generated]

    @property
    def generated(self) -> list[Column]:
        return [column for column in self.columns if column.is_generated]

    @property
    def shown(self) -> list[Column]:
        return [column for column in self.columns if not column.is_hidden]

    @property
    def key(self) -> list[Column]:
        return sorted((column for column in self.columns if column.key), key=lambda column: column.key)

    @property
    def rowid_name(self) -> str:
        """A name by which SQLite knows the rowid. Raises `StorageError` when columns hide them all."""
        taken = {column.name.casefold() for column in self.shown}
        for name in ("rowid", "_rowid_", "oid"):
            if name not in taken:
                return name
        raise StorageError(f"the rowid of table {self.name} cannot be reached: columns hide all its names")


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """All tables, and the number of the next physical name."""

    tables: tuple[Table, ...] = ()
    next_number: int = 1


@dataclass(frozen=True, slots=True)
class Created:
    """`table` is new, and empty."""

    table: Table


@dataclass(frozen=True, slots=True)
class Dropped:
    """`table` is gone."""

    table: Table


@dataclass(frozen=True, slots=True)
class ColumnAdded:
    """`column` is the last one of `table` now; in rows that exist it holds `default`, unless it is generated."""

    table: Table
    column: Column
    default: object


@dataclass(frozen=True, slots=True)
class ColumnDropped:
    """`column` is gone from `table`."""

    table: Table
    column: Column


Step: TypeAlias = Created | Dropped | ColumnAdded | ColumnDropped


class Mirror:
    """The schema, as SQLite sees it, and the tables that follow from it."""

    def __init__(self, image: bytes = b"", catalog: Catalog | None = None) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        if image:
            self.connection.deserialize("main", image)
        self.connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        self.connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        set_enforcement(self.connection, on=False)
        self.catalog = catalog or Catalog()
        self.left_out: dict[str, str] = {}
        """Table -> why its rows are not here."""
        self.ignored: frozenset[str] = frozenset()
        """Tables whose changes mean nothing here: what virtual tables keep beside their rows."""
        self._learn()

    def close(self) -> None:
        """Release the memory."""
        self.connection.close()

    def image(self) -> bytes:
        """What `Mirror` can be made of again, beside the catalog."""
        return self.connection.serialize("main")

    @property
    def by_source(self) -> dict[str, Table]:
        """The tables by their names in changesets."""
        return {table.source: table for table in self.catalog.tables}

    def views(self) -> list[tuple[str, str]]:
        """(name, SQL) of the views."""
        return self._rows(_VIEWS)

    def has_sequences(self) -> bool:
        """Whether there ever was an AUTOINCREMENT table."""
        return bool(self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"))

    def is_referred_to(self, table: str) -> bool:
        """Whether a foreign key leads to `table`: dropping it may change other tables' rows."""
        return bool(self._rows(_REFERRING, table))

    def replace(self, table: Table) -> None:
        """`table` has changed in a way that the schema does not show, such as the kind of a column."""
        tables = tuple(table if known.physical == table.physical else known for known in self.catalog.tables)
        self.catalog = msgspec.structs.replace(self.catalog, tables=tables)

    def execute(self, sql: str) -> list[Step]:
        """Execute a statement that changes the schema; what it means for the tables of rows, in order.

        Raises `DivergedError` when it cannot be executed here.
        """
        before = self._by_root()
        try:
            self.connection.execute(sql).fetchall()
        except (apsw.Error, ValueError) as error:
            raise DivergedError(
                f"cannot execute {sql!r:.200}: {' '.join(str(error).split())}",
                hint="this replica's schema differs from the leader's",
            ) from error
        return self._compare(before)

    def _compare(self, before: dict[int, Table]) -> list[Step]:
        found = self._learn()
        steps: list[Step] = [Dropped(table) for root, table in before.items() if root not in found]
        tables: list[Table] = []
        for root, seen in found.items():
            known = before.get(root)
            if known is None:
                tables.append(self._named(seen))
                steps.append(Created(tables[-1]))
                continue
            columns, changes = self._columns(known, seen)
            tables.append(msgspec.structs.replace(seen, physical=known.physical, columns=columns))
            for change, column in changes:
                if change == "added":
                    default = None if column.is_generated else self._default_of(tables[-1], column)
                    steps.append(ColumnAdded(tables[-1], column, default))
                else:
                    steps.append(ColumnDropped(tables[-1], column))
        self.catalog = msgspec.structs.replace(self.catalog, tables=tuple(tables))
        return steps

    def _columns(self, known: Table, seen: Table) -> tuple[tuple[Column, ...], list[tuple[str, Column]]]:
        """The columns of a table that was there before, and which was added or dropped."""
        old, new = list(known.columns), list(seen.columns)
        changes = []
        if len(new) == len(old) - 1:
            place = next((n for n, column in enumerate(new) if column.name != old[n].name), len(new))
            changes.append(("dropped", old.pop(place)))
        kept = [
            msgspec.structs.replace(column, physical=before.physical, kind=before.kind)
            for before, column in zip(old, new, strict=False)
        ]
        for column in new[len(old) :]:
            kept.append(msgspec.structs.replace(column, physical=self._number("c")))
            changes.append(("added", kept[-1]))
        return tuple(kept), changes

    def _default_of(self, table: Table, column: Column) -> object:
        """What rows that exist hold in a column that was added: its default, with its affinity."""
        ((default,),) = self._rows(
            "SELECT dflt_value FROM pragma_table_xinfo(?) WHERE name = ?", table.name, column.name
        )
        if default is None:
            return None
        for expression in (default, f"({default})"):  # the parentheses that it was written with are not kept
            try:
                return self._evaluated(f"{_TYPE_OF_AFFINITY[column.affinity]} DEFAULT {expression}")
            except apsw.SQLError:
                continue
        return None  # not constant: SQLite takes that for a table without rows only

    def _evaluated(self, definition: str) -> object:
        """The default of a column that is defined so."""
        self.connection.execute(f"CREATE TABLE temp.added (value {definition})")
        try:
            self.connection.execute("INSERT INTO temp.added DEFAULT VALUES")
            ((data,),) = self._rows("SELECT CAST(value AS BLOB) FROM temp.added")
            try:
                ((value,),) = self._rows("SELECT value FROM temp.added")
            except UnicodeDecodeError:
                return BadText(data)
            return value
        finally:
            self.connection.execute("DROP TABLE temp.added")

    # Rows for a moment, where only SQLite knows what they lead to.

    def generated_values(self, table: Table, rows: Sequence[Sequence[object]]) -> list[tuple[Any, ...]]:
        """The generated columns of `rows`, which hold the stored ones. One row at a time: nothing can collide."""
        wanted = ", ".join(quoted(column.name) for column in table.generated)
        select = f"SELECT {wanted} FROM {quoted(table.name)}"
        found = []
        for row in rows:
            self.insert(table, row)
            found += self._rows(select)
            self.connection.execute(f"DELETE FROM {quoted(table.name)}")
        return found

    def insert(self, table: Table, row: Sequence[object]) -> None:
        """Put a row of the stored columns into the database in memory."""
        names, marks, values = [], [], []
        for column, value in zip(table.stored, row, strict=True):
            names.append(table.rowid_name if column.is_hidden else quoted(column.name))
            marks.append("CAST(? AS TEXT)" if isinstance(value, BadText) else "?")
            values.append(bytes(value) if isinstance(value, BadText) else value)
        sql = f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES ({', '.join(marks)})"
        self.connection.execute(sql, values)

    # Reading the schema off.

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        return self.connection.execute(sql, parameters).fetchall()

    def _number(self, letter: str) -> str:
        number = self.catalog.next_number
        self.catalog = msgspec.structs.replace(self.catalog, next_number=number + 1)
        return f"{letter}{number}"

    def _named(self, table: Table) -> Table:
        columns = tuple(msgspec.structs.replace(column, physical=self._number("c")) for column in table.columns)
        return msgspec.structs.replace(table, physical=self._number("t"), columns=columns)

    def _by_root(self) -> dict[int, Table]:
        roots = dict(self._rows("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
        return {roots[table.source]: table for table in self.catalog.tables}

    def _learn(self) -> dict[int, Table]:
        """Root page -> table, as the schema has them now; notes what is left out."""
        shadows = {name for (name,) in self._rows(_SHADOWS)}
        self.left_out = {}
        tables: dict[int, Table] = {}
        roots = dict(self._rows("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
        for name, kind, strict, root, sql in self._rows(_TABLES):
            if kind == "table":
                tables[root] = self._table(name, bool(strict))
                continue
            content = f"{name}_content"
            found = self._full_text_table(name, content) if content in shadows else None
            if found is not None:
                tables[roots[content]] = found
            else:
                self.left_out[name] = _why_left_out(sql)
        held = {table.source for table in tables.values()}
        self.ignored = frozenset(shadows - held)
        return tables

    def _table(self, name: str, strict: bool) -> Table:
        columns = list(self._columns_of(name, strict))
        has_key = any(column.key for column in columns)
        by_image = not has_key and any(column.name.casefold() == "_rowid_" for column in columns)
        if not has_key and not by_image:
            columns.insert(0, Column(name="rowid", kind="integer", affinity="integer", key=1, is_hidden=True))
        indexed = has_key or bool(self._rows("SELECT 1 FROM pragma_index_list(?) LIMIT 1", name))
        return Table(
            name=name,
            source=name,
            columns=tuple(columns),
            renumbers=not indexed and not by_image,
            key_is_loose=by_image or bool(self._rows(_NULLABLE_KEY, name, name)),
        )

    def _columns_of(self, name: str, strict: bool) -> Iterator[Column]:
        for column, declared, hidden, key in self._rows(_COLUMNS, name):
            if hidden == 1:
                continue
            collation = self.connection.column_metadata("main", name, column)[1] if key else "BINARY"
            yield Column(
                name=column,
                kind=first_kind(declared, strict=strict),
                affinity=affinity(declared, strict=strict),
                key=key,
                is_generated=hidden in (2, 3),
                collation=collation,
            )

    def _full_text_table(self, name: str, content: str) -> Table | None:
        """An FTS5 table by its rows; None when it keeps no rows of its own."""
        shown = [column for column, _, hidden, _ in self._rows(_COLUMNS, name) if hidden != 1]
        held = self._rows(_COLUMNS, content)
        if len(held) < 1 + len(shown):
            return None
        identity = Column(name="rowid", kind="integer", affinity="integer", key=1, is_hidden=True)
        columns = [Column(name=column, kind="text", affinity="blob") for column in shown]
        extra = [
            Column(name=column, kind="text", affinity="blob", is_hidden=True) for column, *_ in held[1 + len(shown) :]
        ]
        return Table(name=name, source=content, columns=(identity, *columns, *extra))


def _why_left_out(sql: str) -> str:
    module = _MODULE.search(sql)
    name = module[1].lower() if module else ""
    if name == "fts5":
        return "an FTS5 table without content of its own"
    return f"a virtual table of module {name}, which keeps its rows in a form of its own"
