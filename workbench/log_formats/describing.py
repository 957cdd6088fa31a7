"""Entries in words that JSON can carry: what a body would change, for people who look at a log or at what was dropped.

`describe` gives one dictionary for each statement, changed row or set of pages, in order:

    statement  {"sql", "parameters"}; {"pinned_time", "seed"} before the transaction that gets them again
    mixed      the same, and rows as in logical
    logical    {"table", "operation", "old", "new"}: values by column, those that are known; {"sql"}; {"sequences"}
    wal        {"page_size", "database_pages", "pages"}: of the database afterwards; the numbers of the changed pages
    members    {"members"}
    expiry     {"expires_up_to"}: the index up to which sessions wrote last that are forgotten

A blob becomes {"blob": base64}, text that is not UTF-8 {"text": base64}, a number that JSON lacks {"real": text}.
`wal_rows.py` finds the rows in pages.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import apsw
import msgspec

from workbench.errors import CodecError
from workbench.log_formats import logical, pinning, row_parts, statement, wal
from workbench.log_formats.base import strict_decoder
from workbench.log_formats.changesets import Change, read_changes
from workbench.protocol import values

Described: TypeAlias = dict[str, object]
Columns: TypeAlias = Callable[[str], Sequence[str]]
"""Table -> the names of its stored columns; none when they are not known."""


@dataclass(frozen=True, slots=True)
class InvalidText:
    """Text that is not valid UTF-8, which Python cannot hold as such."""

    content: bytes


_decode_members = msgspec.msgpack.Decoder(tuple[str, ...])
_decode_horizon = msgspec.msgpack.Decoder(int)
_decode_pages = strict_decoder(wal.WalBody)


def describe(kind: str, body: bytes, columns: Columns = lambda _table: ()) -> list[Described]:
    """What the entry of `kind` with `body` changes. Raises `CodecError` for bytes that are no such body."""
    return list(iterate(kind, body, columns))


def iterate(kind: str, body: bytes, columns: Columns = lambda _table: ()) -> Iterator[Described]:
    """The same one by one: `columns` is asked for a table when its rows come, behind the statements before them."""
    try:
        match kind:
            case "statement" | "mixed":
                yield from _statements(body, columns)
            case "logical":
                yield from _parts(logical.decode_body(body).parts, columns)
            case "wal":
                pages = _decode_pages(body)
                numbers = [page.number for page in pages.pages]
                yield {"page_size": pages.page_size, "database_pages": pages.database_pages, "pages": numbers}
            case values.MEMBERS_KIND:
                yield {"members": list(_decode_members.decode(body))}
            case values.EXPIRY_KIND:
                yield {"expires_up_to": _decode_horizon.decode(body)}
            case values.EMPTY_KIND:
                return
            case _:
                raise CodecError(f"an entry of the unknown kind {kind!r}")
    except msgspec.MsgspecError as error:
        raise CodecError(f"not the body of an entry of kind {kind!r}: {error}") from error


def json_value(value: object) -> object:
    """A value of SQLite as JSON can carry it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"blob": base64.b64encode(value).decode()}
    if isinstance(value, InvalidText):
        return {"text": base64.b64encode(value.content).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": repr(value)}
    return value


def named_values(row: Iterable[object], names: Sequence[str]) -> Described:
    """Column -> value, by place where the names do not fit; what did not change is left out."""
    found = list(row)
    if len(found) == len(names) + 1:
        names = ("rowid", *names)
    elif len(found) != len(names):
        names = [str(place) for place in range(len(found))]
    return {name: json_value(value) for name, value in zip(names, found, strict=True) if value is not apsw.no_change}


def _statements(body: bytes, columns: Columns) -> Iterator[Described]:
    decoded = statement.decode_body(body)
    for are_rows, together in groupby(statement.in_order(decoded), _is_rows):
        if are_rows:
            yield from _parts(together, columns)
            continue
        for step in together:
            match step:
                case statement.StatementCall(text, parameters):
                    yield {"sql": decoded.texts[text], "parameters": [json_value(value) for value in parameters]}
                case statement.Pin(_, time_ms, seed):
                    yield {"pinned_time": pinning.time_text(time_ms), "seed": seed.hex()}


def _is_rows(step: object) -> bool:
    return not isinstance(step, statement.StatementCall | statement.Pin)


def _parts(parts: Iterable[object], columns: Columns) -> Iterator[Described]:
    for are_images, together in groupby(parts, lambda part: isinstance(part, row_parts.RowImages)):
        if are_images:
            yield from _images([part for part in together if isinstance(part, row_parts.RowImages)], columns)
            continue
        for part in together:
            match part:
                case row_parts.Changes(changeset):
                    yield from _rows(changeset, columns)
                case row_parts.SchemaChange(sql):
                    yield {"sql": sql}
                case row_parts.Sequences(rows):
                    yield {"sequences": {str(name): value for name, value in rows}}
                case _:
                    yield _unknown_part(part)


def _images(parts: Sequence[row_parts.RowImages], columns: Columns) -> Iterator[Described]:
    """Rows that go and rows that come, table by table. Which of several became which is not said, so that only one and
    one are read as a change."""
    for table in dict.fromkeys(part.table for part in parts):
        names = columns(table)
        of_table = [part for part in parts if part.table == table]
        old = [named_values(map(_image_value, image), names) for part in of_table for image in part.removed]
        new = [named_values(map(_image_value, image), names) for part in of_table for image in part.added]
        if len(old) == len(new) == 1:
            yield {"table": table, "operation": "UPDATE", "old": old[0], "new": new[0]}
            continue
        for operation, side, rows in (("DELETE", "old", old), ("INSERT", "new", new)):
            for row in rows:
                yield {"table": table, "operation": operation, side: row}


def _image_value(value: object) -> object:
    """Text that is not valid UTF-8 stands in an image as an array of its bytes."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], bytes):
        return InvalidText(value[0])
    return value


def _unknown_part(part: object) -> Described:
    """A part that this module has no words for, by its fields."""
    fields = msgspec.structs.asdict(part) if isinstance(part, msgspec.Struct) else {"value": part}
    return {"part": type(part).__name__, **{name: json_value(value) for name, value in fields.items()}}


def _rows(changeset: bytes, columns: Columns) -> list[Described]:
    try:
        return list(_row_changes(apsw.Changeset.iter(changeset), columns))
    except UnicodeDecodeError:  # text that is none, which APSW cannot give
        return list(_row_changes(read_changes(changeset), columns))
    except apsw.Error as error:
        raise CodecError(f"not a changeset: {error}") from error


def _row_changes(changes: Iterable[apsw.TableChange | Change], columns: Columns) -> Iterator[Described]:
    names: dict[str, Sequence[str]] = {}
    for change in changes:
        if change.name not in names:
            names[change.name] = columns(change.name)
        row: Described = {"table": change.name, "operation": change.op}
        for side, found in (("old", change.old), ("new", change.new)):
            if found is not None:
                row[side] = named_values(map(_image_value, found), names[change.name])
        yield row
