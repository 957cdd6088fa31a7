"""The WAL format: which bytes of the database changed, as whole pages, taken from SQLite's own write-ahead log.

The `-wal` file is a header of 32 bytes, then frames of 24 bytes and a page; a frame whose "size after commit" is not
zero ends a transaction. A body holds the last image of each page that the group changed, and the size of the
database in pages. It fits only a database with the same page size, engine and history. Rules:

- Parsing is pure and separate from reading; `WalCapture` does the reading.
- A frame counts only under the salts of the file's header. Checksums are verified where the bytes may come from
  another boot (`verify=True`); a leader reads what its own process has just written.
- The frames of a group end with a commit frame, or the group is not whole and nothing is shipped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from workbench.config import LogFormatName
from workbench.errors import CodecError, DivergedError, StorageError
from workbench.log_formats.base import StatementFacts, strict_decoder
from workbench.protocol.values import Statement

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682  # its last bit says in which byte order checksums are computed
_VERSION = 3_007_000


class PageImage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What page `number`, counted from 1, holds now."""

    number: int
    image: bytes


class WalBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The pages that a group changed. `database_pages` is the size of the database after it; 0: nothing changed."""

    page_size: int
    database_pages: int
    pages: tuple[PageImage, ...]


class WalHeader(msgspec.Struct, frozen=True):
    """What is needed of the header of a `-wal` file."""

    page_size: int
    salts: tuple[int, int]
    big_endian_checksums: bool
    checksum: tuple[int, int]


_encode = msgspec.msgpack.Encoder().encode
_decode_structure = strict_decoder(WalBody)


def encode_body(page_size: int, database_pages: int, pages: dict[int, bytes]) -> bytes:
    """The body for `pages`, by number."""
    return _encode((page_size, database_pages, sorted(pages.items())))


def decode_body(body: bytes, page_size: int | None) -> WalBody:
    """Read a body for a database with pages of `page_size` bytes, of any size for `None`.

    Raises `CodecError` or `DivergedError`.
    """
    decoded = _decode_structure(body)
    if page_size is None:
        page_size = decoded.page_size
    elif decoded.page_size != page_size:
        raise DivergedError(
            f"pages of {decoded.page_size} bytes do not fit a database with pages of {page_size}",
            hint="all replicas of a WAL cluster need the same page size",
        )
    before = 0
    for page in decoded.pages:
        if len(page.image) != page_size:
            raise CodecError(f"not a WalBody: page {page.number} has {len(page.image)} bytes, not {page_size}")
        if not before < page.number <= decoded.database_pages:
            raise CodecError(f"not a WalBody: page {page.number} after {before} of {decoded.database_pages}")
        before = page.number
    if (decoded.database_pages and not decoded.pages) or not 0 <= decoded.database_pages < 2**32:
        raise CodecError(f"not a WalBody: {decoded.database_pages} pages in the database, none changed")
    return decoded


def parse_header(data: bytes) -> WalHeader:
    """Read the first bytes of a `-wal` file. Raises `StorageError`."""
    if len(data) < HEADER_BYTES:
        raise StorageError(f"a -wal file of {len(data)} bytes has no header")
    magic, version, page_size, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack_from(data)
    if magic | 1 != _MAGIC | 1 or version != _VERSION:
        raise StorageError("the -wal file is not one of SQLite's")
    big_endian = bool(magic & 1)
    if wal_checksum(data[:24], (0, 0), big_endian=big_endian) != (sum_1, sum_2):
        raise StorageError("the header of the -wal file does not match its checksum")
    return WalHeader(page_size, (salt_1, salt_2), big_endian, (sum_1, sum_2))


def parse_frames(data: bytes, header: WalHeader, *, verify: bool = False) -> tuple[dict[int, bytes], int]:
    """The last image of each page in whole frames, and the size of the database in pages after the last one.

    `verify` checks the checksums as well, for which `data` must begin with the file's first frame. Raises
    `StorageError` when a frame is not of this file's present life, is torn, or the last one ends no transaction.
    """
    pages: dict[int, bytes] = {}
    database_pages = 0
    step = FRAME_HEADER_BYTES + header.page_size
    running = header.checksum
    if len(data) % step:
        raise StorageError("the -wal file ends in the middle of a frame")
    for start in range(0, len(data), step):
        number, database_pages, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(data, start)
        if (salt_1, salt_2) != header.salts:
            raise StorageError("a frame of the -wal file belongs to an earlier life of it")
        image = data[start + FRAME_HEADER_BYTES : start + step]
        if verify:
            running = wal_checksum(data[start : start + 8], running, big_endian=header.big_endian_checksums)
            running = wal_checksum(image, running, big_endian=header.big_endian_checksums)
            if running != (sum_1, sum_2):
                raise StorageError(f"frame {start // step + 1} of the -wal file does not match its checksum")
        pages[number] = image
    if data and not database_pages:
        raise StorageError("the -wal file ends in the middle of a transaction")
    # A transaction that shrinks the database may have spilled pages which it gave up afterwards.
    return {number: image for number, image in pages.items() if number <= database_pages}, database_pages


def schema_version(first_page: bytes) -> bytes:
    """The part of the database's header that changes with the schema, or by a pragma that sets a number there."""
    return first_page[40:72]


def wal_checksum(data: bytes, start: tuple[int, int], *, big_endian: bool) -> tuple[int, int]:
    """SQLite's checksum over `data` (a multiple of 8 bytes), going on from `start`."""
    first, second = start
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(data) // 4}I", data)
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & 0xFFFFFFFF
        second = (second + words[place + 1] + first) & 0xFFFFFFFF
    return first, second


class WalCapture:
    """The leader's view of its own `-wal` file: what the last commit appended. The hooks have nothing to note."""

    def __init__(self, path: Path, page_size: int) -> None:
        self._path = path
        self._page_size = page_size
        self._descriptor = -1
        self._header: WalHeader | None = None
        self._read_frames = 0
        self.frames = 0
        """Frames in the file, as SQLite has told."""

    @property
    def name(self) -> LogFormatName:
        return "wal"

    @property
    def length(self) -> int:
        """Length in bytes of the part of the file that counts."""
        return self.offset(self.frames)

    def offset(self, frames: int) -> int:
        """Where frame `frames + 1` begins."""
        return HEADER_BYTES + frames * (FRAME_HEADER_BYTES + self._page_size) if frames else 0

    def refusal(self, facts: StatementFacts) -> str:
        return ""  # whatever changes bytes can travel

    def begin_group(self) -> None:
        """The group's frames will be those behind the ones already read."""

    def begin_transaction(self, *, changes_schema: bool) -> None:
        """Nothing is captured before the commit."""

    def before_schema_change(self) -> None:
        """The schema is pages, too."""

    def after_schema_change(self, sql: str) -> None:
        """The schema is pages, too."""

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        """Nothing is captured before the commit."""

    def finish_group(self) -> bytes:
        """The body of the group, after its COMMIT. Raises `StorageError`."""
        if self.frames == self._read_frames:
            return encode_body(self._page_size, 0, {})
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        if self._header is None:
            self._header = parse_header(os.pread(self._descriptor, HEADER_BYTES, 0))
            if self._header.page_size != self._page_size:
                raise StorageError(f"the -wal file has pages of {self._header.page_size} bytes, not {self._page_size}")
        start, end = max(self.offset(self._read_frames), HEADER_BYTES), self.offset(self.frames)
        data = os.pread(self._descriptor, end - start, start)
        if len(data) != end - start:
            raise StorageError(f"the -wal file has {start + len(data)} bytes, SQLite says {end}")
        pages, database_pages = parse_frames(data, self._header)
        self._read_frames = self.frames
        return encode_body(self._page_size, database_pages, pages)

    def discard_group(self) -> None:
        """A rolled back transaction leaves no frames that count."""

    def restart(self) -> None:
        """The file was truncated by a checkpoint: the next frame is the first, under new salts."""
        self._header = None
        self._read_frames = self.frames = 0

    def rewind(self, frames: int) -> None:
        """The file was cut behind its first `frames` frames."""
        self._read_frames = self.frames = frames

    def close(self) -> None:
        """Release the descriptor; the file may be deleted then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._header = None
