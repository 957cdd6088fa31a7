"""The files of a WAL replica: the database, SQLite's scratch beside it, and the position file.

The position file holds, behind a checksum, the page size and the last entry that the database file durably holds; it is
replaced whole. A database without one is new: every replica begins with the same single page, byte for byte.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import apsw
import msgspec

from workbench.errors import ConfigurationError, StorageError
from workbench.log_formats.base import strict_decoder
from workbench.protocol.values import Position
from workbench.storage.client_policy import one_line
from workbench.storage.files import Files
from workbench.storage.sqlite_connection import DATABASE_NAME, check_page_size, open_connection

POSITION_NAME = "applied.position"

_CHECKSUM_BYTES = 8
_NEW_NAME = f"{DATABASE_NAME}.new"
_SCRATCH_SUFFIXES = ("-wal", "-shm", "-journal")


class PositionFile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Content of the position file, behind its checksum."""

    page_size: int
    position: Position


_decode_position = strict_decoder(PositionFile)


class WalFiles:
    """The files in one replica's directory."""

    def __init__(self, directory: Path, page_size: int, files: Files) -> None:
        self.layer = files
        self.database = directory / DATABASE_NAME
        self.wal = directory / f"{DATABASE_NAME}-wal"
        self._directory = directory
        self._position = directory / POSITION_NAME
        self._page_size = page_size

    def find_or_create(self) -> Position:
        """What the database durably holds; it is made when there is none.

        Raises `StorageError` for damaged files, `ConfigurationError` for those of something else.
        """
        self.remove_scratch()
        data = self.layer.read(self._position)
        if data is not None:
            return self._read_position(data)
        image = self._first_image()
        if self.database.exists() and self.layer.read(self.database) != image:
            raise ConfigurationError(
                f"{self._directory} holds a database of another log format or program", hint="use an empty directory"
            )
        self.layer.write_atomically(self.database, image)
        self.write_position(Position())
        return Position()

    def write_position(self, position: Position) -> None:
        """Replace the position file durably. Raises `StorageError`."""
        content = msgspec.msgpack.encode(PositionFile(self._page_size, position))
        try:
            self.layer.write_atomically(self._position, _checksum(content) + content)
        except OSError as error:
            raise StorageError(f"cannot write {self._position}: {one_line(error)}") from error

    def remove_scratch(self) -> None:
        """Delete what SQLite keeps beside the database; no connection may be open."""
        for name in (
            _NEW_NAME,
            *(base + suffix for base in (DATABASE_NAME, _NEW_NAME) for suffix in _SCRATCH_SUFFIXES),
        ):
            path = self._directory / name
            if path.exists():
                self.layer.remove(path)

    def _read_position(self, data: bytes) -> Position:
        checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        if checksum != _checksum(content):
            raise StorageError(f"{self._position} does not match its checksum", hint="rebuild the replica")
        stored = _decode_position(content)
        check_page_size(self._directory, stored.page_size, self._page_size)
        if not self.database.exists():
            raise StorageError(f"{self.database} is missing", hint="rebuild the replica")
        return stored.position

    def _first_image(self) -> bytes:
        """An empty database in WAL mode."""
        path = self._directory / _NEW_NAME
        try:
            connection = open_connection(path, self._page_size)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.close()
        except apsw.Error as error:
            raise StorageError(f"cannot make {path}: {one_line(error)}") from error
        image = self.layer.read(path)
        self.remove_scratch()
        assert image is not None
        return image


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
