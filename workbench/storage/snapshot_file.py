"""A snapshot as one file: a database as of one position, then the manifest, then a trailer. What travels is the file.

    database   the main file of SQLite
    manifest   MessagePack of `Manifest`: whose and what it is, digest and checksums of the database, the core's state
    trailer    magic 8s | manifest length u64 | digest of the manifest 16s

The manifest stands at the end, since it is known last; the file gets its name only once it is whole and durable. A
*piece* lies within one chunk of the database, of which the manifest has the CRC-32, or within what follows it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from workbench.errors import CodecError, LogCorruption
from workbench.log_formats.base import strict_decoder
from workbench.protocol.snapshot import SnapshotState, decode_state, encode_state
from workbench.protocol.values import Position
from workbench.storage.files import OpenFile

CHUNK_BYTES: Final = 1024 * 1024

_MAGIC = b"WBSNAP01"
_DIGEST_BYTES = 16
_TRAILER = struct.Struct(f"<8sQ{_DIGEST_BYTES}s")
_HINT = "move the replica's directory away, and let it join again from the leader"


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a snapshot says about itself. `checksums`: the CRC-32 of each `chunk_bytes` of the database; `digest`: of
    all of it; `state`: an encoded `SnapshotState`."""

    name: str
    position: Position
    log_format: str
    page_size: int
    database_bytes: int
    chunk_bytes: int
    digest: bytes
    checksums: tuple[int, ...]
    state: bytes


class Measured(NamedTuple):
    """Digest and checksums of a database file."""

    database_bytes: int
    digest: bytes
    checksums: tuple[int, ...]


class Piece(NamedTuple):
    """Bytes of a snapshot, and their CRC-32."""

    data: bytes
    checksum: int


_decode_manifest = strict_decoder(Manifest)


def measure(file: OpenFile, size: int, *, stopped: Callable[[], bool] = lambda: False) -> Measured:
    """Read the first `size` bytes of `file`, unless `stopped` says that nobody wants to know any more."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    checksums: list[int] = []
    for offset in range(0, size, CHUNK_BYTES):
        if stopped():
            break
        data = file.pread(min(CHUNK_BYTES, size - offset), offset)
        digest.update(data)
        checksums.append(crc32(data))
    return Measured(size, digest.digest(), tuple(checksums))


def write_manifest(
    file: OpenFile, name: str, measured: Measured, state: SnapshotState, *, log_format: str, page_size: int
) -> None:
    """Make a snapshot of the database in `file`. Not durable yet."""
    manifest = msgspec.msgpack.encode(
        Manifest(
            name=name,
            position=state.position,
            log_format=log_format,
            page_size=page_size,
            database_bytes=measured.database_bytes,
            chunk_bytes=CHUNK_BYTES,
            digest=measured.digest,
            checksums=measured.checksums,
            state=encode_state(state),
        )
    )
    file.truncate(measured.database_bytes)
    file.pwrite(manifest + _TRAILER.pack(_MAGIC, len(manifest), _digest(manifest)), measured.database_bytes)


class SnapshotFile:
    """A whole snapshot, open for reading. Raises `LogCorruption` where it is not what was written."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.size = file.size
        manifest = self._read_manifest()
        self.name = manifest.name
        self.position = manifest.position
        self.log_format = manifest.log_format
        self.page_size = manifest.page_size
        self.database_bytes = manifest.database_bytes
        self._chunk_bytes = manifest.chunk_bytes
        self._digest = manifest.digest
        self._checksums = manifest.checksums

    @property
    def path(self) -> Path:
        """Where it was opened."""
        return self._file.path

    def state(self) -> SnapshotState:
        """What the core knew at `position`; read anew, since it may be long."""
        try:
            return decode_state(self._read_manifest().state)
        except CodecError as error:
            raise self._damaged(self.database_bytes, error.message) from error

    def verify(self) -> None:
        """Read the whole database, and raise unless it is what the manifest says."""
        found = measure(self._file, self.database_bytes)
        if (found.digest, found.checksums) != (self._digest, self._checksums):
            raise self._damaged(0, "the database does not match its digest")

    def piece(self, offset: int, bytes_max: int) -> Piece:
        """Bytes from `offset` on, at most `bytes_max`; none at the end. A chunk that is read whole is checked."""
        end = self.size
        if offset < self.database_bytes:
            end = min(self.database_bytes, (offset // self._chunk_bytes + 1) * self._chunk_bytes)
        data = self._file.pread(max(0, min(end - offset, bytes_max)), offset)
        checksum = crc32(data)
        is_whole = offset % self._chunk_bytes == 0 and offset + len(data) == end <= self.database_bytes
        if is_whole and checksum != self._checksums[offset // self._chunk_bytes]:
            raise self._damaged(offset, "a chunk does not match its checksum")
        return Piece(data, checksum)

    def copy_database(self, target: OpenFile) -> None:
        """Write the database into the empty `target`, checking it on the way. Not durable yet."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for offset in range(0, self.database_bytes, CHUNK_BYTES):
            data = self._file.pread(min(CHUNK_BYTES, self.database_bytes - offset), offset)
            digest.update(data)
            target.pwrite(data, offset)
        if digest.digest() != self._digest:
            raise self._damaged(0, "the database does not match its digest")

    def read_database(self, bytes_max: int) -> bytes:
        """The whole database. Raises `CodecError` when it is longer than that."""
        if self.database_bytes > bytes_max:
            raise CodecError(f"a database of more than {bytes_max} bytes is not looked into")
        return self._file.pread(self.database_bytes, 0)

    def close(self) -> None:
        """Release the descriptor."""
        self._file.close()

    def _read_manifest(self) -> Manifest:
        trailer = self._file.pread(_TRAILER.size, max(0, self.size - _TRAILER.size))
        if len(trailer) < _TRAILER.size:
            raise self._damaged(0, "too short")
        magic, length, digest = _TRAILER.unpack(trailer)
        start = self.size - _TRAILER.size - length
        if magic != _MAGIC or start < 0:
            raise self._damaged(self.size - _TRAILER.size, "it has no end")
        data = self._file.pread(length, start)
        if _digest(data) != digest:
            raise self._damaged(start, "the manifest does not match its digest")
        try:
            manifest = _decode_manifest(data)
        except CodecError as error:
            raise self._damaged(start, error.message) from error
        if manifest.database_bytes != start or manifest.chunk_bytes < 1:
            raise self._damaged(start, "the manifest does not fit the file")
        return manifest

    def _damaged(self, offset: int, reason: str) -> LogCorruption:
        return LogCorruption(
            f"{self._file.path}: a damaged snapshot: {reason}", path=str(self._file.path), offset=offset, hint=_HINT
        )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
