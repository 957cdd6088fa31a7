"""The shape that each table has in a changeset, and what else applying one must know of the schema.

A changeset names stored columns by place; generated columns are not counted, and a table without a primary key has
its rowid as first column and key.
"""

from __future__ import annotations

import apsw

from workbench.log_formats.base import INTERNAL_PREFIX, run

Shape = tuple[int, frozenset[int]]
"""Number of stored columns, and the places of those in the primary key."""

SequenceRows = tuple[tuple[str | None, int | None], ...]
"""Rows of `sqlite_sequence`: a table with AUTOINCREMENT, and the largest key that it ever made."""

_COLUMNS = f"""
    SELECT t.name, x.pk FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS x
    WHERE t.schema = 'main' AND t.type IN ('table', 'shadow') AND x.hidden = 0
        AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT GLOB '{INTERNAL_PREFIX}*'
    ORDER BY t.name, x.cid"""


_UNIQUE = """
    SELECT DISTINCT t.name FROM pragma_table_list AS t JOIN pragma_index_list(t.name) AS i
    WHERE t.schema = 'main' AND t.type = 'table' AND i."unique" AND i.origin <> 'pk'"""


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


def unique_tables(connection: apsw.Connection) -> frozenset[str]:
    """The tables with a UNIQUE index besides that of their primary key."""
    return frozenset(name for (name,) in run(connection, _UNIQUE))


def has_virtual_tables(connection: apsw.Connection) -> bool:
    """Whether a table, such as one of FTS5, keeps its rows in shadow tables."""
    return bool(run(connection, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 LIMIT 1"))


def has_sequences(connection: apsw.Connection) -> bool:
    """Whether there ever was an AUTOINCREMENT table."""
    return bool(run(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"))


def read_sequences(connection: apsw.Connection) -> SequenceRows:
    """The content of `sqlite_sequence`, which must exist."""
    return tuple(run(connection, "SELECT name, seq FROM sqlite_sequence ORDER BY rowid"))


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
