"""The folder `incoming/`: as much of a snapshot as has come from a leader.

`snapshot` holds the bytes from the beginning, `held` says which snapshot that is and how many of them are durable:
after a crash nothing more is claimed. It is written down every few megabytes, and when the last byte has come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from workbench.errors import CodecError
from workbench.failpoints import hit
from workbench.log_formats.base import strict_decoder
from workbench.protocol.messages import SnapshotChunk
from workbench.protocol.values import Position
from workbench.storage.files import Files, OpenFile
from workbench.storage.snapshot_file import SnapshotFile

RECORD_BYTES: Final = 8 * 1024 * 1024

_CHECKSUM_BYTES = 4


class Held(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The first `held` bytes of the snapshot `name`, of `size` bytes altogether."""

    name: str = ""
    size: int = 0
    held: int = 0


_decode = strict_decoder(Held)


class Incoming:
    """The received part of one snapshot."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory
        self._record = directory / "held"
        self._path = directory / "snapshot"
        self._file: OpenFile | None = None
        files.make_directory(directory)
        self._held = self._recorded = self._recover()

    @property
    def held(self) -> tuple[str, int]:
        """Name of the snapshot, and how many bytes of it are here."""
        return self._held.name, self._held.held

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here, durably."""
        return 0 < self._held.size == self._recorded.held

    def save(self, chunk: SnapshotChunk) -> None:
        """Keep a piece, if it is whole and continues what is held, or begins another snapshot."""
        end = chunk.offset + len(chunk.data)
        if crc32(chunk.data) != chunk.checksum or end > chunk.size:
            return
        if chunk.offset == 0 and chunk.snapshot != self._held.name:
            self.discard()
            self._held = Held(chunk.snapshot, chunk.size, 0)
        if (chunk.snapshot, chunk.size, chunk.offset) != (self._held.name, self._held.size, self._held.held):
            return
        hit("chunk.before_write")
        file = self._open()
        file.pwrite(chunk.data, chunk.offset)
        hit("chunk.after_write")
        self._held = Held(chunk.snapshot, chunk.size, end)
        if end == chunk.size or end - self._recorded.held >= RECORD_BYTES:
            self._write_down()

    def open(self) -> OpenFile:
        """The whole file, for reading; the caller closes it."""
        return self._files.open(self._path)

    def position(self) -> Position:
        """Which entry the whole snapshot here is of."""
        file = self.open()
        try:
            return SnapshotFile(file).position
        finally:
            file.close()

    def leave(self) -> Path:
        """Where the whole file is, which somebody else takes away; nothing is held any more."""
        self._close()
        self._held = self._recorded = Held()
        return self._path

    def discard(self) -> None:
        """Throw away what is held. The record goes first: it must never speak of other bytes."""
        self._close()
        for path in (self._record, self._path):
            if path.name in self._files.list(self._directory):
                self._files.remove(path)
                self._files.sync_directory(self._directory)
        self._held = self._recorded = Held()

    def close(self) -> None:
        """Release the file."""
        self._close()

    def _write_down(self) -> None:
        self._open().sync()
        hit("chunk.before_record")
        content = msgspec.msgpack.encode(self._held)
        self._files.write_atomically(self._record, crc32(content).to_bytes(_CHECKSUM_BYTES, "big") + content)
        hit("chunk.after_record")
        self._recorded = self._held

    def _recover(self) -> Held:
        """What is durable; nothing where that is not certain, since it can be sent again."""
        data = self._files.read(self._record) or b""
        checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        try:
            found = _decode(content)
        except CodecError:
            found = Held()
        if crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum or self._open().size < found.held:
            found = Held()
        if found == Held():
            self.discard()
        return found

    def _open(self) -> OpenFile:
        if self._file is None:
            self._file = self._files.open(self._path)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
