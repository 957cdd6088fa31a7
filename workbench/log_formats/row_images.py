"""Reading whole rows as images, and finding and writing them again: what `RowImages` needs on both sides.

Exactly the same row is meant, not an equal one: 1 is not 1.0, and text is compared by its bytes. Text that is not
valid UTF-8, which Python cannot hold, is read and written as the blob of its bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from workbench.errors import CodecError, DivergedError
from workbench.log_formats.key_kinds import Table
from workbench.log_formats.row_parts import Image, RowImages
from workbench.log_formats.table_shapes import quoted

_ONE_BY_ONE_MAX: Final = 20
"""Rows to find by SQL, each on its own; more are looked up among all that may be meant."""
_COMPARED_MAX: Final = 50
"""Columns that SQL compares: enough to leave few rows to look at."""

encode_image = msgspec.msgpack.Encoder().encode
"""Bytes that are equal for the same image, and only then."""
_decode = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


def decode_image(code: bytes) -> Image:
    """What `encode_image` was given."""
    return _decode(code)


class ImageReader:
    """Reads the images of the rows of a table that meet a condition."""

    def __init__(self, connection: apsw.Connection, table: Table, condition: str) -> None:
        self._connection = connection
        self._columns = [quoted(name) for name in table.stored]
        self._source = f"FROM main.{quoted(table.name)} WHERE {condition}"
        self._sql = f"SELECT {', '.join(self._columns)} {self._source}"

    def read(self, values: Sequence[Any]) -> list[Image]:
        """The images, in the order of the rows."""
        try:
            images: list[Image] = self._connection.execute(self._sql, values).fetchall()
            return images
        except UnicodeDecodeError:
            return self._read_raw(values)

    def _read_raw(self, values: Sequence[Any]) -> list[Image]:
        typed = ", ".join(f"typeof({name})" for name in self._columns)
        raw = ", ".join(
            f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in self._columns
        )
        kinds: list[Image] = self._connection.execute(f"SELECT {typed} {self._source}", values).fetchall()
        found: list[Image] = self._connection.execute(f"SELECT {raw} {self._source}", values).fetchall()
        return [tuple(map(_text, row, kind)) for row, kind in zip(found, kinds, strict=True)]


def read_images(connection: apsw.Connection, table: Table, condition: str, values: Sequence[Any]) -> list[Image]:
    """The images of the rows that meet `condition`."""
    return ImageReader(connection, table, condition).read(values)


def _text(value: Any, kind: str) -> Any:
    return as_text(value) if kind == "text" else value


def as_text(raw: bytes) -> str | list[bytes]:
    """The bytes of a text as an image holds them."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return [raw]


def insert_image(cursor: apsw.Cursor, table: str, columns: Sequence[str], image: Image) -> None:
    """Insert one row; `table` and `columns` are quoted."""
    places = ", ".join("CAST(? AS TEXT)" if isinstance(value, list) else "?" for value in image)
    cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", bound(image))


class ImageWriter:
    """Brings the images of one part into a table of a follower's. Raises `DivergedError` or `CodecError`."""

    def __init__(self, cursor: apsw.Cursor, table: Table) -> None:
        self._cursor = cursor
        self._table = table
        self._name = f"main.{quoted(table.name)}"
        self._key = [column.name for column in table.key]
        self._identity = [table.rowid] if table.rowid else [quoted(name) for name in self._key]

    def write(self, part: RowImages) -> None:
        """Delete what is removed, then insert what is added."""
        count = len(self._table.stored)
        for image in (*part.removed, *part.added):
            if len(image) != count:
                raise DivergedError(
                    f"the leader changed table {part.table} with {len(image)} stored columns: here it has {count}"
                )
        for identity in self._find(part.removed):
            self._cursor.execute(f"DELETE FROM {self._name} WHERE {self._is_identity}", identity)
        columns = [quoted(name) for name in self._table.stored]
        for image in part.added:
            insert_image(self._cursor, self._name, columns, image)

    @property
    def _is_identity(self) -> str:
        return " AND ".join(f"{name} IS ?" for name in self._identity)

    def _find(self, images: Sequence[Image]) -> Iterator[tuple[Any, ...]]:
        """The identity of one row for each of `images`."""
        taken: set[bytes] = set()
        if len(images) <= _ONE_BY_ONE_MAX:
            for image in images:
                wanted = encode_image(image)
                condition, values = self._resembles(image)
                for identity in self._identities(condition, values):
                    if encode_image(identity) not in taken and self._image(identity) == wanted:
                        taken.add(encode_image(identity))
                        yield identity
                        break
                else:
                    raise self._missing(image)
            return
        by_image: dict[bytes, list[tuple[Any, ...]]] = defaultdict(list)
        nullable = " OR ".join(f"{quoted(name)} IS NULL" for name in self._table.nullable_key)
        for identity in self._identities("1" if self._table.is_whole or not nullable else nullable, ()):
            by_image[self._image(identity)].append(identity)
        for image in images:
            identities = by_image[encode_image(image)]
            if not identities:
                raise self._missing(image)
            yield identities.pop()

    def _resembles(self, image: Image) -> tuple[str, list[Any]]:
        """A condition that the row meets, and few others do."""
        stored = self._table.stored
        places = [stored.index(name) for name in self._key]
        places += [place for place in range(len(stored)) if place not in places]
        chosen = [place for place in places if not isinstance(image[place], list)][:_COMPARED_MAX]
        return " AND ".join(f"{quoted(stored[place])} IS ?" for place in chosen) or "1", [image[p] for p in chosen]

    def _identities(self, condition: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        sql = f"SELECT {', '.join(self._identity)} FROM {self._name} WHERE {condition}"
        return self._cursor.execute(sql, values).fetchall()

    def _image(self, identity: tuple[Any, ...]) -> bytes:
        (image,) = read_images(self._cursor.connection, self._table, self._is_identity, identity)
        return encode_image(image)

    def _missing(self, image: Image) -> DivergedError:
        return DivergedError(
            f"DELETE on table {self._table.name}, {image!r:.120}: there is no such row",
            hint="this replica's database differs from the leader's",
        )


def check_images(images: Iterable[Image]) -> None:
    """Raise `CodecError` for values that no row of SQLite's has."""
    for image in images:
        for value in image:
            if isinstance(value, list):
                if len(value) != 1 or not isinstance(value[0], bytes):
                    raise CodecError("an image of a row holds an array that is no text")
            elif not (value is None or type(value) in (int, float, str, bytes)):
                raise CodecError(f"an image of a row holds a value of type {type(value).__name__}")
            elif type(value) is int and not -(2**63) <= value < 2**63:
                raise CodecError("an image of a row holds an integer outside of 64 bits")


def bound(image: Sequence[Any]) -> list[Any]:
    """Values to bind, where each place of a text that is not UTF-8 stands in a CAST."""
    return [value[0] if isinstance(value, list) else value for value in image]
