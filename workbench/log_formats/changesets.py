"""Changesets written by hand, for tables without a primary key, whose rows are known by their rowid.

SQLite's own sessions can note such tables, but not rightly: once more than 127 of their rows have changed, a row that
is changed again is noted twice (in 3.54.1, and visibly so: `tests/storage/test_changesets.py`). The format is public
(https://sqlite.org/session/changeset.html): for each table a header, then its changes. Whoever applies or reads them
finds no difference.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from workbench.log_formats.row_images import encode_image
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
    parts = [b"T", _varint(columns + 1), b"\x01", bytes(columns), table.encode(), b"\x00"]
    header = len(parts)
    for rowid, old, new in rows:
        key = _pack_integer(1, rowid)
        if old is None and new is not None:
            parts += (_INSERT, key, *map(_value, new))
        elif old is not None and new is None:
            parts += (_DELETE, key, *map(_value, old))
        elif old is not None and new is not None:
            same = [encode_image((a,)) == encode_image((b,)) for a, b in zip(old, new, strict=True)]
            if not all(same):
                parts += (_UPDATE, key)
                parts += (_UNDEFINED if equal else _value(value) for value, equal in zip(old, same, strict=True))
                parts.append(_UNDEFINED)
                parts += (_UNDEFINED if equal else _value(value) for value, equal in zip(new, same, strict=True))
    return b"".join(parts) if len(parts) > header else b""


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
