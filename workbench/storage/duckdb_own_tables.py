"""Tables that SQL made in DuckDB: in its own dialect, with its own types, under the leader's names.

They are what a follower of the formats has that carry SQL. What they hold is compared like any other table, and rows of
the mixed format can be brought in as far as the types allow. No column is widened: SQL that comes later relies on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from workbench.errors import DivergedError
from workbench.storage.base import LEFT_OUT
from workbench.storage.digest import SCHEMA_KEY, rows_digest
from workbench.storage.duckdb import Connection
from workbench.storage.duckdb_reads import fetched, sqlite_rows
from workbench.storage.duckdb_schema import Column, Table
from workbench.storage.duckdb_values import Kind, order_by, quoted

_TABLES: Final = (
    "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' AND NOT internal ORDER BY table_name"
)
_COLUMNS: Final = """
    SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?
    ORDER BY column_index"""
_KEY: Final = """
    SELECT constraint_column_names FROM duckdb_constraints()
    WHERE schema_name = 'main' AND table_name = ? AND constraint_type = 'PRIMARY KEY'"""
_INTEGERS: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BOOLEAN"})


class OwnSchema:
    """What DuckDB says of its tables: for `Rows`, in the place of a mirror of the leader's schema."""

    ignored: frozenset[str] = frozenset()

    def __init__(self, connection: Connection) -> None:
        names = [str(name) for (name,) in connection.execute(_TABLES).fetchall()]
        self.by_source = {name: _table(connection, name) for name in names}

    def generated_values(self, table: Table, rows: Sequence[Sequence[object]]) -> list[tuple[Any, ...]]:
        """DuckDB makes them itself."""
        raise DivergedError(f"table {table.name} has generated columns")


def _table(connection: Connection, name: str) -> Table:
    key = _key(connection, name)
    columns = tuple(
        Column(
            name=column,
            physical=quoted(column),
            kind=_kind(kind),
            affinity="",
            key=key.index(column) + 1 if column in key else 0,
        )
        for column, kind in connection.execute(_COLUMNS, [name]).fetchall()
    )
    return Table(name=name, source=name, physical=quoted(name), schema="main", columns=columns)


def _key(connection: Connection, name: str) -> list[str]:
    found = connection.execute(_KEY, [name]).fetchall()
    return [str(column) for column in found[0][0]] if found else []


def _kind(data_type: str) -> Kind:
    if data_type.startswith("UNION"):
        return "any"
    if data_type in _INTEGERS:
        return "integer"
    if data_type in ("FLOAT", "DOUBLE") or data_type.startswith("DECIMAL"):
        return "real"
    return "blob" if data_type == "BLOB" else "text"


def own_tables_digest(connection: Connection) -> dict[str, str]:
    """Table name -> digest of its rows, in the order of its primary key, or as they came."""
    digests = {}
    for table in OwnSchema(connection).by_source.values():
        order = [term for column in table.key for term in order_by(column.physical, _ordered_as(column))] or ["rowid"]
        connection.execute(f"SELECT * FROM main.{table.physical} ORDER BY {', '.join(order)}")
        digests[table.name] = rows_digest(sqlite_rows(fetched(connection)))
    digests[SCHEMA_KEY] = LEFT_OUT + "the schema is DuckDB's own"
    return digests


def _ordered_as(column: Column) -> Kind:
    return "any" if column.kind == "any" else "blob"  # which leaves it to DuckDB
