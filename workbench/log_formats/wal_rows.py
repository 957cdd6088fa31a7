"""The rows that bodies of the WAL format change: the database before and after each of them, opened and compared.

Both are kept in memory, so only databases of a bounded size can be looked into. Pages say to which table they belong
(`dbstat`); the rows of these tables are read in key order from both sides, and what is not on both is the difference.
Rules:

- Nothing is guessed: what cannot be compared (a table whose columns changed) is named, not described.
- Shadow tables stand for their virtual table; the workbench's own tables and those of SQLite are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

import apsw

from workbench.errors import CodecError
from workbench.log_formats.base import INTERNAL_PREFIX, run
from workbench.log_formats.describing import Described, named_values
from workbench.log_formats.wal import WalBody, decode_body

DATABASE_BYTES_MAX: Final = 32 * 1024 * 1024
ROWS_MAX: Final = 10_000
"""Rows described of one body; that there are more is said."""
_WAITING_MAX: Final = 50_000

_FORMAT_VERSIONS = slice(18, 20)  # of the file: 2 is WAL, which a database in memory cannot be

_TABLES = f"""
    SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual', 'shadow')
        AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT GLOB '{INTERNAL_PREFIX}*'"""


class _Table(NamedTuple):
    """A table as one side has it; `key` is its primary key, where that is not the rowid."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


class RowReader:
    """A database that bodies are brought into one by one. Raises `CodecError`, `DivergedError`, `apsw.Error`."""

    def __init__(self, image: bytes, page_size: int) -> None:
        self._image = bytearray(image)
        self._page_size = page_size
        self._before: apsw.Connection | None = None

    def advance(self, body: bytes) -> None:
        """Bring a body in without looking at it."""
        self._write(decode_body(body, self._page_size))
        self._close_before()

    def describe(self, body: bytes) -> list[Described]:
        """The rows and the parts of the schema that `body` changes, which follows what was brought in before."""
        decoded = decode_body(body, self._page_size)
        before = self._before or _open(self._image)
        self._write(decoded)
        after = _open(self._image)
        try:
            return list(_differences(before, after, {page.number for page in decoded.pages}))
        finally:
            before.close()
            self._before = after

    def close(self) -> None:
        """Release the memory."""
        self._close_before()
        self._image.clear()

    def _write(self, body: WalBody) -> None:
        if not body.database_pages:
            return
        size = body.database_pages * self._page_size
        if size > DATABASE_BYTES_MAX:
            raise CodecError(f"a database of more than {DATABASE_BYTES_MAX} bytes is not looked into")
        del self._image[size:]
        self._image.extend(bytes(size - len(self._image)))
        for page in body.pages:
            start = (page.number - 1) * self._page_size
            self._image[start : start + self._page_size] = page.image

    def _close_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None


def _open(image: bytearray) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    if image:
        content = bytearray(image)
        content[_FORMAT_VERSIONS] = b"\x01\x01"
        connection.deserialize("main", bytes(content))
    return connection


def _differences(before: apsw.Connection, after: apsw.Connection, pages: set[int]) -> Iterator[Described]:
    yield from _schema_differences(before, after)
    old, new = _tables(before), _tables(after)
    touched = _touched(before, old, pages) | _touched(after, new, pages)
    count = 0
    for name in sorted(touched):
        if name in old and name in new and old[name] != new[name]:
            yield {"table": name, "unknown": "its columns were changed, so its rows cannot be compared"}
            continue
        for row in _row_differences(before, after, name, old.get(name), new.get(name)):
            count += 1
            if count > ROWS_MAX:
                yield {"unknown": f"more than {ROWS_MAX} rows were changed"}
                return
            yield row


def _schema_differences(before: apsw.Connection, after: apsw.Connection) -> Iterator[Described]:
    old, new = (
        dict(run(connection, "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
        for connection in (before, after)
    )
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield {"schema": name, "old": old.get(name), "new": new.get(name)}


def _tables(connection: apsw.Connection) -> dict[str, _Table | None]:
    """Name -> table; `None` for a shadow table."""
    found: dict[str, _Table | None] = {}
    for name, kind, without_rowid in run(connection, _TABLES):
        if kind == "shadow":
            found[name] = None
            continue
        columns = run(connection, "SELECT name, pk, hidden FROM pragma_table_xinfo(?)", (name,))
        key = tuple(column for column, place, _ in sorted(columns, key=lambda column: column[1]) if place)
        shown = tuple(column for column, _, hidden in columns if hidden != 1)
        found[name] = _Table(shown, key if without_rowid else ())
    return found


def _touched(connection: apsw.Connection, tables: dict[str, _Table | None], pages: set[int]) -> set[str]:
    """The tables, not the shadow ones, that one of `pages` belongs to, or belongs to an index of."""
    owners = dict(run(connection, "SELECT name, tbl_name FROM sqlite_schema"))
    touched: set[str] = set()
    for name, page in run(connection, "SELECT name, pageno FROM dbstat"):
        if page in pages:
            owner = owners.get(name, name)
            if owner in tables:
                touched.add(owner if tables[owner] is not None else _virtual_table_of(owner, tables))
    return touched - {""}


def _virtual_table_of(shadow: str, tables: dict[str, _Table | None]) -> str:
    candidates = [name for name, table in tables.items() if table is not None and shadow.startswith(f"{name}_")]
    return max(candidates, key=len, default="")


def _row_differences(
    before: apsw.Connection, after: apsw.Connection, name: str, old: _Table | None, new: _Table | None
) -> Iterator[Described]:
    gone: dict[object, tuple[object, ...]] = {}
    come: dict[object, tuple[object, ...]] = {}
    columns = (old or new or _Table((), ())).columns
    for left, right in zip_longest(_rows(before, name, old), _rows(after, name, new)):
        if left is not None and right is not None and left[0] == right[0] and _same(left[1], right[1]):
            continue
        # Behind a row that is on one side only, the two sides run one apart: what waits here is seldom much.
        for one, here, there in ((left, gone, come), (right, come, gone)):
            if one is None:
                continue
            if one[0] in there and _same(there[one[0]], one[1]):
                del there[one[0]]
            else:
                here[one[0]] = one[1]
        if len(gone) + len(come) > _WAITING_MAX:
            yield {"table": name, "unknown": f"more than {_WAITING_MAX} rows differ"}
            return
    for key in (*gone, *(key for key in come if key not in gone)):
        operation = "UPDATE" if key in gone and key in come else "DELETE" if key in gone else "INSERT"
        row: Described = {"table": name, "operation": operation}
        if key in gone:
            row["old"] = named_values(gone[key], columns)
        if key in come:
            row["new"] = named_values(come[key], columns)
        yield row


def _rows(connection: apsw.Connection, name: str, table: _Table | None) -> Iterator[tuple[object, tuple[object, ...]]]:
    """(key, row) in the order of the keys."""
    if table is None:
        return
    listed = ", ".join(map(_quoted, table.columns))
    taken = {column.casefold() for column in table.columns}
    rowid = next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), "")
    key = ", ".join(map(_quoted, table.key)) or rowid or listed
    count = len(table.key) or 1
    if not (table.key or rowid):
        count = len(table.columns)
    for row in connection.execute(f"SELECT {key}, {listed} FROM {_quoted(name)} ORDER BY {key}"):
        yield row[:count], row[count:]


def _same(left: Sequence[object], right: Sequence[object]) -> bool:
    return left == right and all(type(a) is type(b) for a, b in zip(left, right, strict=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
