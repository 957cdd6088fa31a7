"""Digests of a database: equal on two replicas exactly when their tables hold the same rows.

For each user table over its rows in key order, and one over the schema under the key `(schema)`. Rows are hashed in
the MessagePack form of their values, which tells NULL, integers, floats (bit for bit; SQLite stores NaN as NULL), text
and blobs apart, and which any engine can make. Rules:

- -0.0 is hashed as 0.0: they are equal in SQL, and changesets leave out a change from one to the other.
- Rowids are not part of a row, except where they are the primary key; they only order tables without one.
- Rows whose key may be NULL, which is then no key, are ordered by it and by all columns: by value, then by type.
- A virtual table is hashed by the rows that it shows; its shadow tables may be laid out differently.
- Text that is not valid UTF-8 is hashed as the blob of its bytes, with its type beside it, in the whole table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import apsw
import msgspec

from workbench.log_formats.base import INTERNAL_PREFIX

SCHEMA_KEY = "(schema)"

_CHUNK_ROWS = 1_000  # part of the definition: rows are hashed in MessagePack arrays of so many
_DIGEST_BYTES = 16
_ORDER_COLUMNS_MAX = 400
_MINUS_ZERO, _ZERO = b"\xcb\x80" + bytes(7), b"\xcb" + bytes(8)
_encode = msgspec.msgpack.Encoder().encode

_TABLES = f"""
    SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
        AND (name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR name = 'sqlite_sequence') AND name NOT GLOB '{INTERNAL_PREFIX}*'
    ORDER BY name"""

_NULLABLE_KEY = """
    SELECT 1 FROM pragma_table_info(?) WHERE pk AND NOT "notnull"
        AND EXISTS (SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk') LIMIT 1"""
"""A key that is the rowid has no index, and is never NULL."""

_SCHEMA = f"""
    SELECT type, name, tbl_name, sql FROM sqlite_schema
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT GLOB '{INTERNAL_PREFIX}*' ORDER BY type, name"""


def rows_digest(rows: Iterable[tuple[Any, ...]]) -> str:
    """Hex digest over rows in the order given."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK_ROWS)):
        digest.update(_encode(chunk).replace(_MINUS_ZERO, _ZERO))
    return digest.hexdigest()


def database_digest(connection: apsw.Connection) -> dict[str, str]:
    """Table name -> digest, for the tables that clients can see, and `SCHEMA_KEY` -> digest of the schema."""
    cursor = connection.cursor()
    tables = [name for (name,) in cursor.execute(_TABLES)]
    digests = {name: table_digest(cursor, name) for name in tables}
    digests[SCHEMA_KEY] = rows_digest(cursor.execute(_SCHEMA))
    return digests


def table_digest(cursor: apsw.Cursor, table: str) -> str:
    """Digest of one table's rows in key order."""
    names, keys = hashed_columns(cursor, table)
    columns = [quoted(name) for name in names]
    order = ", ".join(map(quoted, keys)) or _rowid(names)
    if table == "sqlite_sequence":
        order = "name"
    elif keys and cursor.execute(_NULLABLE_KEY, (table, table)).fetchall():
        order += ", " + _all_columns(columns)
    elif not keys and "_rowid_" in map(str.casefold, names):
        order = _all_columns(columns)  # rowids differ: the logical format knows rows of such tables by all they hold
    source = f"FROM {quoted(table)}" + (f" ORDER BY {order}" if order else "")
    try:
        return rows_digest(cursor.execute(f"SELECT {', '.join(columns)} {source}"))
    except UnicodeDecodeError:
        return rows_digest(_typed_rows(cursor.connection, columns, source))


def _typed_rows(connection: apsw.Connection, columns: list[str], source: str) -> Iterator[tuple[Any, ...]]:
    """Rows with the type before each value, and texts as blobs. Read in two: SQLite returns 2,000 columns at most."""
    kinds = connection.execute(f"SELECT {', '.join(f'typeof({name})' for name in columns)} {source}")
    raw = ", ".join(f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in columns)
    for kind, row in zip(kinds, connection.execute(f"SELECT {raw} {source}"), strict=True):
        yield tuple(chain.from_iterable(zip(kind, row, strict=True)))


def hashed_columns(cursor: apsw.Cursor, table: str) -> tuple[list[str], list[str]]:
    """Names of the columns whose values are hashed, and of those of the primary key in its order."""
    found = cursor.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    keys = sorted((int(key), str(name)) for name, key in found if key)
    return [str(name) for name, _ in found], [name for _, name in keys]


def _all_columns(columns: list[str]) -> str:
    """An order that leaves only rows side by side which are the same."""
    return ", ".join(f"{name} COLLATE BINARY, typeof({name})" for name in columns[:_ORDER_COLUMNS_MAX])


def page_digests(pages: Iterator[bytes]) -> tuple[str, ...]:
    """Digest of each page of a database file."""
    return tuple(hashlib.blake2b(page, digest_size=_DIGEST_BYTES).hexdigest() for page in pages)


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _rowid(columns: list[str]) -> str:
    """A name by which the rowid can be reached: columns may hide all but one, or all."""
    taken = {column.casefold() for column in columns}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), "")
