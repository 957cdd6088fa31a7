"""Which tables a changeset of SQLite cannot hold, or not every row of: found in the schema, with what to do about it.

A changeset knows a row by the bytes of its primary key, or by its rowid where there is none. That is not enough for

- a key that may be NULL: SQLite allows it in tables with a rowid, and changesets leave such rows out;
- a key under a collation that takes different texts for equal (NOCASE): `UPDATE t SET k = 'A' WHERE k = 'a'` becomes
  two changes that do not fit each other;
- a key of a column without a type, where 1 and 1.0 are equal and not the same: refused by a guard;
- a table without a key, whose rows are known by their rowid: sessions cannot be trusted with them (`changesets.py`);
- such a table with a column called `_rowid_`, the name by which changesets reach for rowids.

Rows of the first kind, and whole tables of the second and last, are captured as images (`image_capture.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import apsw

from workbench.log_formats.base import INTERNAL_PREFIX, run
from workbench.log_formats.table_shapes import quoted

_COLUMNS_MAX = 1_999  # besides the rowid

_VISIBLE = f"""t.schema = 'main' AND t.type = 'table'
        AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT GLOB '{INTERNAL_PREFIX}*'"""

_COLUMNS = f"""
    SELECT t.name, t.wr, t.strict, x.name, upper(x.type), x."notnull", x.dflt_value, x.pk, x.hidden
    FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS x WHERE {_VISIBLE} ORDER BY t.name, x.cid"""

_UNIQUE = f"""
    SELECT t.name, i.name, i.origin, x.name, x.coll
    FROM pragma_table_list AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_xinfo(i.name) AS x
    WHERE {_VISIBLE} AND i."unique" AND x.key ORDER BY t.name, i.seq, x.seqno"""

_FULL_TEXT = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage = 0"
_CONTENT = re.compile(r"[,(]\s*content\s*=\s*('(?:[^']|'')+'|\"(?:[^\"]|\"\")+\"|\w+)", re.IGNORECASE)
_CONTENT_ROWID = re.compile(r"[,(]\s*content_rowid\s*=", re.IGNORECASE)


@dataclass(slots=True)
class Column:
    """One stored or generated column."""

    name: str
    type: str
    is_never_null: bool
    default: str | None
    key: int
    is_generated: bool


@dataclass(slots=True)
class Unique:
    """A UNIQUE index, or that of the primary key: columns with their collations; None for an expression."""

    is_key: bool
    columns: list[tuple[str | None, str]] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """What the schema says of one table."""

    name: str
    without_rowid: bool
    strict: bool
    columns: list[Column] = field(default_factory=list)
    unique: dict[str, Unique] = field(default_factory=dict)

    @property
    def stored(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if not column.is_generated)

    @property
    def key(self) -> list[Column]:
        """The columns of the primary key, in its order."""
        return sorted((column for column in self.columns if column.key), key=lambda column: column.key)

    @property
    def key_index(self) -> Unique | None:
        """The index of the primary key: none when it is the rowid."""
        return next((index for index in self.unique.values() if index.is_key), None)

    @property
    def rowid(self) -> str:
        """A name that reaches the rowid; empty when columns hide it, or there is none."""
        taken = {column.name.casefold() for column in self.columns}
        return "" if self.without_rowid else next((n for n in ("_rowid_", "rowid", "oid") if n not in taken), "")

    @property
    def has_hidden_rowid(self) -> bool:
        """Whether rows have a rowid that is no part of them and no key: it may differ between replicas."""
        return not self.without_rowid and (self.key_index is not None or (not self.key and self.is_keyless_by_image))

    @property
    def is_keyless_by_image(self) -> bool:
        return not self.key and any(column.name.casefold() == "_rowid_" for column in self.columns)

    @property
    def is_by_rowid(self) -> bool:
        """Whether its rows have no key, and are known by their rowid everywhere."""
        return not self.key and not self.is_keyless_by_image

    @property
    def nullable_key(self) -> tuple[str, ...]:
        """The key columns that may be NULL."""
        if self.without_rowid or self.key_index is None:
            return ()
        return tuple(column.name for column in self.key if not column.is_never_null)

    @property
    def is_whole(self) -> bool:
        """Whether all rows of the table are captured as images."""
        index = self.key_index
        loose = index is not None and any(collation.upper() != "BINARY" for _, collation in index.columns)
        return loose or self.is_keyless_by_image

    @property
    def has_unique_expression(self) -> bool:
        return any(name is None for index in self.unique.values() for name, _ in index.columns)

    @property
    def untyped_key(self) -> tuple[str, ...]:
        """The key columns in which an integer and a real number may be equal."""
        if self.key_index is None or self.is_whole:
            return ()
        return tuple(
            column.name
            for column in self.key
            if (column.type == "ANY" if self.strict else not column.type or "BLOB" in column.type)
        )


def read_tables(connection: apsw.Connection) -> dict[str, Table]:
    """Every table of clients' that is not virtual, by name."""
    tables: dict[str, Table] = {}
    for name, without_rowid, strict, column, kind, never_null, default, key, hidden in run(connection, _COLUMNS):
        table = tables.setdefault(name, Table(name, bool(without_rowid), bool(strict)))
        table.columns.append(Column(column, kind, bool(never_null), default, key, bool(hidden)))
    for name, index, origin, column, collation in run(connection, _UNIQUE):
        if name in tables:
            tables[name].unique.setdefault(index, Unique(origin == "pk")).columns.append((column, collation))
    return tables


def guards(table: Table) -> list[tuple[str, str]]:
    """(condition on NEW, reason to refuse the row) for what neither a changeset nor an image can hold."""
    found = []
    if table.nullable_key and not table.is_whole and (table.has_unique_expression or not table.rowid):
        condition = " OR ".join(f"NEW.{quoted(name)} IS NULL" for name in table.nullable_key)
        found.append((condition, f"NULL in the primary key of {table.name}: rows of this table must have a key"))
    for name in table.untyped_key:
        new = f"NEW.{quoted(name)}"
        found.append(
            (
                f"typeof({new}) = 'real' AND {new} = CAST({new} AS INTEGER)",
                f"a real number that equals an integer, in the primary key of {table.name} (give the column a type)",
            )
        )
    return found


def schema_refusal(connection: apsw.Connection, tables: dict[str, Table]) -> str:
    """Why rows could not be captured under this schema, or the empty string."""
    for table in tables.values():
        if table.is_by_rowid and len(table.stored) > _COLUMNS_MAX:
            return f"{table.name} has {len(table.stored)} columns and no primary key: at most {_COLUMNS_MAX} then"
        if (table.is_whole or not table.key) and not table.without_rowid and not table.rowid:
            return f"the columns of {table.name} hide its rowid, by which its rows would be known (rename one of them)"
        if (table.is_whole or table.is_by_rowid) and table.has_unique_expression:
            return (
                f"a UNIQUE index on an expression, in table {table.name}, whose rows are not known by the bytes of a"
                " key: rows that REPLACE deletes could not be captured"
            )
        if table.nullable_key and table.has_unique_expression:
            condition = " OR ".join(f"{quoted(name)} IS NULL" for name in table.nullable_key)
            if run(connection, f"SELECT 1 FROM main.{quoted(table.name)} WHERE {condition} LIMIT 1"):
                return (
                    f"a UNIQUE index on an expression, in table {table.name}, which has NULL in its primary key: rows"
                    " that REPLACE deletes could not be captured"
                )
    for name, sql in run(connection, _FULL_TEXT):
        content = _CONTENT.search(sql)
        if content and not _CONTENT_ROWID.search(sql):
            source = next((t for t in tables.values() if t.name.casefold() == _plain(content[1]).casefold()), None)
            if source is not None and source.has_hidden_rowid:
                return (
                    f"{name} finds the rows of {source.name} by their rowid, which is no part of them and may differ"
                    " between replicas (give the table an INTEGER PRIMARY KEY)"
                )
    return ""


def _plain(name: str) -> str:
    mark = name[0]
    return name[1:-1].replace(mark * 2, mark) if mark in "'\"" else name
