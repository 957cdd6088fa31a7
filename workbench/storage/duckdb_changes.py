"""The rows that a changeset of SQLite holds, text included that is not valid UTF-8.

`apsw` decodes changesets, but raises where a text is no text. Such a changeset is read by hand here: its form is simple
and documented (https://sqlite.org/session/changesetiter.html and the comments of sqlite3session.c):

    changeset   groups of changes, each: 'T', number of columns, a byte for each column (not 0: in the key), name, 0
    change      operation (9 DELETE, 18 INSERT, 23 UPDATE), 1 if it was indirect, then the old record and the new one,
                as far as the operation has them
    value       type (0 not there, 1 integer, 2 real, 3 text, 4 blob, 5 NULL), then 8 bytes, or a length and bytes
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import apsw

from workbench.errors import CodecError
from workbench.storage.duckdb_values import text_of

NO_CHANGE: Final = apsw.no_change
"""Stands for a value that an UPDATE leaves as it is, or does not tell."""
Record: TypeAlias = tuple[object, ...]

_DELETE, _INSERT, _UPDATE = 9, 18, 23
_INTEGER = struct.Struct(">q")
_REAL = struct.Struct(">d")


class Change(NamedTuple):
    """One row: `old` is None for an INSERT, `new` for a DELETE."""

    source: str
    columns: int
    key_places: frozenset[int]
    old: Record | None
    new: Record | None


def read_changes(changeset: bytes) -> Iterator[Change]:
    """The changes, in order. Raises `CodecError` for bytes that are no changeset."""
    count = 0
    name, columns, keys = "", 0, frozenset[int]()
    try:
        for change in apsw.Changeset.iter(changeset):
            if change.name != name:
                name, columns, keys = change.name, change.column_count, frozenset(change.pk_columns)
            found = Change(name, columns, keys, change.old, change.new)
            count += 1
            yield found
    except apsw.Error as error:
        raise CodecError(f"not a changeset: {error}") from error
    except UnicodeDecodeError:
        yield from islice(_read_by_hand(changeset), count, None)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) < count:
            raise CodecError(f"not a changeset: it ends at byte {len(self._data)}, within a value")
        self.at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """SQLite's variable-length integer."""
        found = 0
        for _ in range(8):
            byte = self.byte()
            found = found << 7 | byte & 0x7F
            if byte < 0x80:
                return found
        return found << 8 | self.byte()

    def until_zero(self) -> bytes:
        end = self._data.find(b"\0", self.at)
        if end < 0:
            raise CodecError("not a changeset: the name of a table does not end")
        taken = self._data[self.at : end]
        self.at = end + 1
        return taken

    def value(self) -> object:
        match self.byte():
            case 0:
                return NO_CHANGE
            case 1:
                return _INTEGER.unpack(self.take(8))[0]
            case 2:
                return _REAL.unpack(self.take(8))[0]
            case 3:
                return text_of(self.take(self.number()))
            case 4:
                return self.take(self.number())
            case 5:
                return None
            case other:
                raise CodecError(f"not a changeset: a value of type {other} at byte {self.at - 1}")

    def record(self, columns: int) -> Record:
        return tuple(self.value() for _ in range(columns))


def _read_by_hand(changeset: bytes) -> Iterator[Change]:
    data = _Bytes(changeset)
    name, columns, keys = "", 0, frozenset[int]()
    while data.at < len(changeset):
        start = data.at
        match data.byte():
            case 0x54:
                columns = data.number()
                keys = frozenset(place for place, flag in enumerate(data.take(columns)) if flag)
                name = data.until_zero().decode("utf-8", "replace")
                continue
            case operation if operation in (_DELETE, _INSERT, _UPDATE):
                data.byte()
                old = None if operation == _INSERT else data.record(columns)
                new = None if operation == _DELETE else data.record(columns)
                yield Change(name, columns, keys, old, new)
            case other:
                raise CodecError(f"not a changeset: an operation {other} at byte {start}")
