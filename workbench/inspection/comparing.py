"""The rows of one table on several replicas, read in key order and in pages, and those that differ somewhere.

    differences, note = await compare_table(readers, shape)

A reader asks one replica. Rules:

- Keys are matched, never ordered here: each engine has its own idea of the order, and a collation may lie behind it.
  A row waits until every replica has shown its key, or has none left; few wait where few differ.
- Rows read, rows waiting and differences are bounded. What was not compared is said in the note.
- Values are equal when their types are, too: 1 and 1.0 differ, as they do for digests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from workbench.errors import StatementError
from workbench.storage.digest import quoted

ROWS_READ_MAX: Final = 200_000
"""Rows of one table that are read from each replica."""
_PAGE_ROWS = 2_000
_WAITING_MAX = 50_000

Values: TypeAlias = tuple[object, ...]
Reader: TypeAlias = Callable[[str, Sequence[object]], Awaitable[Sequence[Values]]]
"""Runs one reading statement on one replica. Raises `StatementError` when the replica refuses it."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """How the rows of a table are told apart: by its primary key, by rowid where it has none, or as a whole."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    told_by: Literal["key", "rowid", "row"]

    @property
    def key_names(self) -> tuple[str, ...]:
        """What to call the parts of a key."""
        return ("rowid",) if self.told_by == "rowid" else self.key


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One key whose rows differ: replica -> row, or None where it has no such row."""

    shape: TableShape
    key: Values
    rows: Mapping[str, Values | None]


@dataclass(slots=True)
class _Stream:
    read: Reader
    offset: int = 0
    ended: bool = False
    repeated: dict[Values, int] = field(default_factory=dict)
    """How often a key came that is none: one with NULL in it, or a whole row."""


async def shape_of(read: Reader, name: str) -> TableShape | None:
    """The table as the replica behind `read` has it; None when there is none."""
    columns: list[str] = []
    keys: list[tuple[int, str]] = []
    for column, place in await read("SELECT name, pk FROM pragma_table_info(?)", (name,)):
        columns.append(str(column))
        if place:
            keys.append((int(str(place)), str(column)))
    if not columns:
        return None
    if name == "sqlite_sequence":
        return TableShape(name, tuple(columns), ("name",), "key")
    if keys:
        return TableShape(name, tuple(columns), tuple(column for _, column in sorted(keys)), "key")
    taken = {column.casefold() for column in columns}
    rowid = next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), "")
    if rowid:
        return TableShape(name, tuple(columns), (rowid,), "rowid")
    return TableShape(name, tuple(columns), tuple(columns), "row")


async def compare_table(
    readers: Mapping[str, Reader], shape: TableShape, rows_max: int
) -> tuple[list[RowDifference], str]:
    """The differing rows of one table, at most `rows_max`, and what was not compared. Raises `StatementError`."""
    try:
        return await _compare(readers, shape, rows_max, typed=False)
    except StatementError as error:
        if "UTF-8" not in error.message:
            raise
    return await _compare(readers, shape, rows_max, typed=True)


async def _compare(
    readers: Mapping[str, Reader], shape: TableShape, rows_max: int, *, typed: bool
) -> tuple[list[RowDifference], str]:
    streams = {name: _Stream(read) for name, read in readers.items()}
    waiting: dict[Values, dict[str, Values]] = {}
    found: list[RowDifference] = []
    read_rows = 0
    while not all(stream.ended for stream in streams.values()):
        for name, stream in streams.items():
            if not stream.ended:
                for key, row in await _next_page(stream, shape, typed=typed):
                    waiting.setdefault(key, {})[name] = row
        read_rows += _PAGE_ROWS
        _settle(waiting, streams, shape, found)
        if len(found) > rows_max:
            return found[:rows_max], f"more than {rows_max:,} rows differ"
        if len(waiting) > _WAITING_MAX or read_rows >= ROWS_READ_MAX:
            if all(stream.ended for stream in streams.values()):
                break
            found += await _look_up(waiting, streams, shape, rows_max - len(found), typed=typed)
            return found, f"its first {read_rows:,} rows were compared"
    return found, ""


def _settle(
    waiting: dict[Values, dict[str, Values]],
    streams: Mapping[str, _Stream],
    shape: TableShape,
    found: list[RowDifference],
) -> None:
    """Judge the keys that every replica has shown, or will never show."""
    done = []
    for key, rows in waiting.items():
        if all(name in rows or stream.ended for name, stream in streams.items()):
            done.append(key)
            if len(rows) < len(streams) or not all_same(list(rows.values())):
                found.append(RowDifference(shape, key, {name: rows.get(name) for name in streams}))
    for key in done:
        del waiting[key]


async def _next_page(stream: _Stream, shape: TableShape, *, typed: bool) -> list[tuple[Values, Values]]:
    """The next rows of one replica, with their keys. Where rows are large, fewer are read at once."""
    rows: list[Values] = []
    step = _PAGE_ROWS
    sql = f"SELECT {_listed(shape, typed=typed)} FROM {quoted(shape.name)} ORDER BY {_order(shape)} LIMIT ? OFFSET ?"
    while len(rows) < _PAGE_ROWS:
        try:
            page = await stream.read(sql, (min(step, _PAGE_ROWS - len(rows)), stream.offset))
        except StatementError:
            if step == 1:
                raise
            step = max(1, step // 16)
            continue
        rows += page
        stream.offset += len(page)
        if len(page) < min(step, _PAGE_ROWS - len(rows) + len(page)):
            stream.ended = True
            break
    return [_split(row, shape, stream, typed=typed) for row in rows]


def _split(row: Values, shape: TableShape, stream: _Stream, *, typed: bool) -> tuple[Values, Values]:
    values = tuple(map(_text_or_bytes, row[::2], row[1::2])) if typed else tuple(row)
    key, rest = values[: len(shape.key)], values[len(shape.key) :]
    if shape.told_by == "row" or None in key:
        count = stream.repeated[key] = stream.repeated.get(key, 0) + 1
        key = (*key, count)
    return key, rest


def _text_or_bytes(kind: object, value: object) -> object:
    if kind == "text" and isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


async def _look_up(
    waiting: Mapping[Values, Mapping[str, Values]],
    streams: Mapping[str, _Stream],
    shape: TableShape,
    rows_max: int,
    *,
    typed: bool,
) -> list[RowDifference]:
    """Ask for the keys that wait when reading stops, the oldest first."""
    found: list[RowDifference] = []
    where = " AND ".join(f"{quoted(name)} IS ?" for name in shape.key)
    sql = f"SELECT {_listed(shape, typed=typed)} FROM {quoted(shape.name)} WHERE {where} LIMIT 1"
    for key, rows in list(waiting.items())[:rows_max]:
        if len(key) > len(shape.key):
            continue  # one of several equal ones
        complete: dict[str, Values | None] = dict(rows)
        for name, stream in streams.items():
            if name not in rows:
                answer = await stream.read(sql, key)
                complete[name] = _split(answer[0], shape, _Stream(stream.read), typed=typed)[1] if answer else None
        if None in complete.values() or not all_same(list(complete.values())):
            found.append(RowDifference(shape, key, complete))
    return found


def _listed(shape: TableShape, *, typed: bool) -> str:
    names = [quoted(name) if shape.told_by != "rowid" or place else name for place, name in enumerate(shape.key)]
    names += map(quoted, shape.columns)
    if not typed:
        return ", ".join(names)
    return ", ".join(
        f"typeof({name}), CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in names
    )


def _order(shape: TableShape) -> str:
    return ", ".join(name if shape.told_by == "rowid" else quoted(name) for name in shape.key)


def all_same(rows: Sequence[object]) -> bool:
    """Whether all values are equal, and of equal types all the way down."""
    return all(_same(rows[0], row) for row in rows[1:])


def _same(left: object, right: object) -> bool:
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and left == right
