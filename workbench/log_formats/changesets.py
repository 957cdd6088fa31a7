"""Changesets written and read without SQLite, where it cannot.

Written: for tables without a primary key, whose rows are known by their rowid. SQLite's own sessions can note such
tables, but not rightly: once more than 127 of their rows have changed, a row that is changed again is noted twice (in
3.54.1; `tests/storage/test_changesets.py` shows it). The format is public (https://sqlite.org/session/changeset.html):
for each table a header, then its changes. Whoever applies or reads them finds no difference.

Read: where text is not valid UTF-8, which APSW cannot give to Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import apsw

from workbench.errors import CodecError
from workbench.log_formats.row_images import as_text, encode_image
from workbench.log_formats.row_parts import Image

_INSERT: Final = b"\x12\x00"
_DELETE: Final = b"\x09\x00"
_UPDATE: Final = b"\x17\x00"
_UNDEFINED: Final = b"\x00"
_NULL: Final = b"\x05"
_pack_integer = struct.Struct(">Bq").pack
_pack_real = struct.Struct(">Bd").pack


def rowid_changeset(table: str, columns: int, rows: Iterable[tuple[int, Image | None, Image | None]]) -> bytes:
    """The changeset for rows (rowid, what it was, what it is) of a table with so many stored columns."""
    header = b"".join((b"T", _varint(columns + 1), b"\x01", bytes(columns), table.encode(), b"\x00"))
    changes = [change for rowid, old, new in rows if (change := _change(rowid, old, new))]
    return b"".join((header, *changes)) if changes else b""


def _change(rowid: int, old: Image | None, new: Image | None) -> bytes:
    """One change, or nothing where there is none."""
    key = _pack_integer(1, rowid)
    if old is None:
        return b"" if new is None else b"".join((_INSERT, key, *map(_value, new)))
    if new is None:
        return b"".join((_DELETE, key, *map(_value, old)))
    same = [encode_image((a,)) == encode_image((b,)) for a, b in zip(old, new, strict=True)]
    if all(same):
        return b""
    parts = [_UPDATE, key]
    parts += (_UNDEFINED if equal else _value(value) for value, equal in zip(old, same, strict=True))
    parts.append(_UNDEFINED)
    parts += (_UNDEFINED if equal else _value(value) for value, equal in zip(new, same, strict=True))
    return b"".join(parts)


class Change(NamedTuple):
    """One change, with the attributes of `apsw.TableChange`; `apsw.no_change` stands where a value is not said."""

    name: str
    op: str
    old: Image | None
    new: Image | None


_OPERATIONS: Final = {0x12: "INSERT", 0x09: "DELETE", 0x17: "UPDATE"}


def read_changes(changeset: bytes) -> Iterator[Change]:
    """All changes, in their order. Raises `CodecError` for bytes that are no changeset."""
    place, columns, name = 0, 0, ""
    try:
        while place < len(changeset):
            kind = changeset[place]
            if kind == ord("T"):
                columns, place = _read_varint(changeset, place + 1)
                end = changeset.index(0, place + columns)
                name, place = changeset[place + columns : end].decode(), end + 1
                continue
            place += 2
            old = new = None
            if kind != 0x12:
                old, place = _read_record(changeset, place, columns)
            if kind != 0x09:
                new, place = _read_record(changeset, place, columns)
            yield Change(name, _OPERATIONS[kind], old, new)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CodecError(f"not a changeset: it ends, or makes no sense, at byte {place}") from error


def _read_record(data: bytes, place: int, columns: int) -> tuple[Image, int]:
    values: list[Any] = []
    for _ in range(columns):
        kind = data[place]
        place += 1
        match kind:
            case 0:
                values.append(apsw.no_change)
            case 1 | 2:
                values.append(struct.unpack_from(">q" if kind == 1 else ">d", data, place)[0])
                place += 8
            case 3 | 4:
                length, place = _read_varint(data, place)
                raw = data[place : place + length]
                place += length
                if len(raw) != length:
                    raise IndexError
                values.append(raw if kind == 4 else as_text(raw))
            case 5:
                values.append(None)
            case _:
                raise KeyError(kind)
    return tuple(values), place


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for _ in range(8):
        byte = data[place]
        place += 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place
    raise ValueError("too long")


def _value(value: Any) -> bytes:
    match value:
        case None:
            return _NULL
        case int():
            return _pack_integer(1, value)
        case float():
            return _pack_real(2, value)
        case str():
            text = value.encode()
            return b"\x03" + _varint(len(text)) + text
        case [text]:
            return b"\x03" + _varint(len(text)) + bytes(text)
        case _:
            return b"\x04" + _varint(len(value)) + bytes(value)


def _varint(number: int) -> bytes:
    """SQLite's variable-length integers, for numbers below 2**56."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
