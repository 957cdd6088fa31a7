"""Digests of DuckDB's tables that are those of the same rows in SQLite: see `digest.py` for what is hashed, and how.

Rows come in the order of SQLite's keys, and values with SQLite's types. What cannot be compared says so: its digest is
`LEFT_OUT` and the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workbench.storage.base import LEFT_OUT
from workbench.storage.digest import SCHEMA_KEY, hashed_columns, rows_digest
from workbench.storage.duckdb import Connection
from workbench.storage.duckdb_logical import Tables
from workbench.storage.duckdb_reads import fetched
from workbench.storage.duckdb_schema import SCHEMA, Column, Table
from workbench.storage.duckdb_values import BadText, Reading, order_by, tag_of

ORDER_COLUMNS_MAX = 400  # as in `digest.py`
SEQUENCES = "sqlite_sequence"
_ANOTHER_ENGINE = "the schema is DuckDB's own"
_NO_KEYS_MADE = "a replica that never leads makes no keys"


def tables_digest(connection: Connection, tables: Tables) -> dict[str, str]:
    """Table name -> digest of its rows, or why there is none."""
    cursor = tables.mirror.connection.cursor()
    digests = {}
    for table in tables.mirror.catalog.tables:
        names, _ = hashed_columns(cursor, table.name)
        columns = {column.name: column for column in table.shown}
        digests[table.name] = table_digest(connection, table, [columns[name] for name in names])
    digests |= {name: LEFT_OUT + why for name, why in tables.mirror.left_out.items()}
    if tables.mirror.has_sequences():
        digests[SEQUENCES] = LEFT_OUT + _NO_KEYS_MADE
    digests[SCHEMA_KEY] = LEFT_OUT + _ANOTHER_ENGINE
    return digests


def table_digest(connection: Connection, table: Table, columns: Sequence[Column]) -> str:
    """Digest of one table of rows, in key order."""
    place = f"{SCHEMA}.{table.physical}"
    order = [term for key in table.key for term in order_by(key.physical, key.kind, key.collation)]
    if table.key_is_loose:
        order += [term for column in columns[:ORDER_COLUMNS_MAX] for term in _order_of_all(column)]
    reading = Reading((column.physical, column.kind) for column in columns)
    has_bad_text = _has_bad_text(connection, place, columns)
    connection.execute(f"SELECT {reading.sql} FROM {place} ORDER BY {', '.join(order)}")
    rows = reading.rows(fetched(connection))
    return rows_digest(_typed(rows) if has_bad_text else rows)


def _order_of_all(column: Column) -> list[str]:
    terms = order_by(column.physical, column.kind)
    return [*terms, f"union_tag({column.physical})::VARCHAR"] if column.kind == "any" else terms


def _has_bad_text(connection: Connection, place: str, columns: Iterable[Column]) -> bool:
    tests = [f"union_tag({column.physical}) = 'bad_text'" for column in columns if column.kind == "any"]
    if not tests:
        return False
    connection.execute(f"SELECT 1 FROM {place} WHERE {' OR '.join(tests)} LIMIT 1")
    return bool(connection.fetchall())


def _typed(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        typed: list[object] = []
        for value in row:
            tag = "null" if value is None else tag_of(value)
            is_text = tag in ("text", "bad_text")
            typed += ["text" if is_text else tag, value.encode() if tag == "text" else value]
        yield tuple(bytes(value) if isinstance(value, BadText) else value for value in typed)
