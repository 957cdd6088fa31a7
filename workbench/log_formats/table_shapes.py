"""What the logical format must know of the schema: the shape of each table in a changeset, and which tables allow NULL
in their primary key.

A changeset names stored columns by place; generated columns are not counted, and a table without a primary key has
its rowid as first column and key.
"""

from __future__ import annotations

from itertools import count

import apsw

from workbench.log_formats.base import INTERNAL_PREFIX, run

Shape = tuple[int, frozenset[int]]
"""Number of stored columns, and the places of those in the primary key."""

_numbers = count(1)  # a trigger keeps its name when its table is renamed, so it cannot be named after the table

_COLUMNS = f"""
    SELECT t.name, x.pk FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS x
    WHERE t.schema = 'main' AND t.type IN ('table', 'shadow') AND x.hidden = 0
        AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT GLOB '{INTERNAL_PREFIX}*'
    ORDER BY t.name, x.cid"""

_NULLABLE_KEYS = f"""
    SELECT t.name, x.name FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS x
    WHERE t.schema = 'main' AND t.type = 'table' AND t.wr = 0 AND x.pk > 0 AND x."notnull" = 0
        AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT GLOB '{INTERNAL_PREFIX}*'
        AND EXISTS (SELECT 1 FROM pragma_index_list(t.name) WHERE origin = 'pk')
    ORDER BY t.name, x.pk"""


def table_shapes(connection: apsw.Connection) -> dict[str, Shape]:
    """Every table that a changeset may name."""
    keys: dict[str, list[int]] = {}
    for table, key in run(connection, _COLUMNS):
        keys.setdefault(table, []).append(key)
    shapes: dict[str, Shape] = {}
    for table, columns in keys.items():
        places = frozenset(place for place, key in enumerate(columns) if key)
        shapes[table] = (len(columns), places) if places else (len(columns) + 1, frozenset({0}))
    return shapes


def has_virtual_tables(connection: apsw.Connection) -> bool:
    """Whether a table, such as one of FTS5, keeps its rows in shadow tables."""
    return bool(run(connection, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 LIMIT 1"))


def has_sequences(connection: apsw.Connection) -> bool:
    """Whether there ever was an AUTOINCREMENT table."""
    return bool(run(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"))


def null_key_guards(connection: apsw.Connection) -> list[str]:
    """Statements that create the missing temporary triggers which refuse NULL in a primary key."""
    keys: dict[str, list[str]] = {}
    for table, column in run(connection, _NULLABLE_KEYS):
        keys.setdefault(table, []).append(column)
    if not keys:
        return []
    guarded = {
        table.casefold()
        for (table,) in run(
            connection,
            f"SELECT tbl_name FROM sqlite_temp_schema WHERE type = 'trigger' AND name GLOB '{INTERNAL_PREFIX}*'",
        )
    }
    statements = []
    for table, columns in keys.items():
        if table.casefold() not in guarded:
            statements += [_guard(table, columns, event) for event in ("INSERT", "UPDATE")]
    return statements


def _guard(table: str, columns: list[str], event: str) -> str:
    of = " OF " + ", ".join(map(_name, columns)) if event == "UPDATE" else ""
    condition = " OR ".join(f"NEW.{_name(column)} IS NULL" for column in columns)
    reason = f"NULL in the primary key of {table}: the logical log format cannot carry such a row".replace("'", "''")
    return (
        f"CREATE TEMP TRIGGER {INTERNAL_PREFIX}guard_{next(_numbers)} BEFORE {event}{of} ON main.{_name(table)}"
        f" WHEN {condition} BEGIN SELECT RAISE(ABORT, '{reason}'); END"
    )


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
