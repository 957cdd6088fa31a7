"""Reading a replication log that belongs to somebody else: nothing is locked, cut, removed or written.

`ReplicationLog.open` cuts a torn tail and finishes what was interrupted; a reader only says what it finds. The log may
be one that a replica is writing at this moment. Rules:

- The entries end where the first bytes stand that are no whole record: `LogTail` says what these bytes look like.
- Damage that no crash explains raises `LogCorruption`, as it does on opening: a segment missing, records that do not
  follow each other, a bad record in front of one that was written after it had become durable.
- A segment that vanishes while it is read was dropped by its owner, behind a snapshot: reading goes on with the next.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigurationError, LogCorruption
from workbench.storage.log_reset import RESET_NAME
from workbench.storage.log_segment import (
    HEADER_BYTES,
    RECORD_BYTES,
    VERSION,
    check_record,
    decode_header,
    describe_damage,
    later_records,
    segment_seed,
)

_SEGMENT_NAME = re.compile(r"\d{20}\.log")


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One entry as it lies on disk: `size` bytes at `offset` of the segment at `path`, `payload` among them."""

    term: int
    index: int
    payload: bytes
    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class LogTail:
    """What follows the last whole record; `left_bytes` is 0 when nothing does."""

    left_bytes: int = 0
    path: str = ""
    offset: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Segment:
    path: Path
    first_index: int
    previous_term: int


class LogReader:
    """The log in `directory`, as it was when this was made. Raises `ConfigurationError` where no log is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tail = LogTail()
        """Set when the iteration has come to the end."""
        self._segments: list[_Segment] = []
        self._open()

    @property
    def first_index(self) -> int:
        """Index of the first entry, or of the one that would be first."""
        return self._segments[0].first_index

    @property
    def last_start(self) -> int:
        """Index that the last segment begins with."""
        return self._segments[-1].first_index

    @property
    def segments(self) -> int:
        """How many segment files it has."""
        return len(self._segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(_size(segment.path) for segment in self._segments)

    def iterate(self, first_index: int = 0) -> Iterator[StoredRecord]:
        """The entries from `first_index`, or from the first one, to the end; one segment at a time in memory.

        Raises `LogCorruption`, `ConfigurationError` for a file that cannot be read.
        """
        place = max(0, bisect_right(self._segments, first_index, key=lambda one: one.first_index) - 1)
        last: tuple[int, int] | None = None
        for number, segment in enumerate(self._segments[place:], place):
            for record in self._records(segment, last, is_last=number == len(self._segments) - 1):
                last = (record.term, record.index)
                if record.index >= first_index:
                    yield record

    def _open(self) -> None:
        names = segment_names_of(self.directory)
        if not names:
            raise ConfigurationError(f"{self.directory} holds no replication log", hint="its segments are called *.log")
        if (self.directory / RESET_NAME).exists():
            raise LogCorruption(
                f"{self.directory}: the replica was interrupted while it began its log anew behind a snapshot",
                path=str(self.directory / RESET_NAME),
                hint="it finishes that when it starts",
            )
        for name in names:
            path = self.directory / name
            data = _read(path, HEADER_BYTES)
            if data is None:
                continue
            header = decode_header(data)
            if header is None and name == names[-1] and _size(path) <= HEADER_BYTES:
                self.tail = LogTail(len(data), str(path), 0, "the creation of a segment was interrupted")
                continue
            if header is None:
                raise LogCorruption(f"{path}: the segment's header is damaged", path=str(path))
            if header.version != VERSION:
                raise ConfigurationError(
                    f"{path}: a replication log of version {header.version}", hint=f"this workbench reads {VERSION}"
                )
            self._segments.append(_Segment(path, header.first_index, header.previous_term))
        if not self._segments:
            reason = self.tail.reason or "its segments vanished"
            raise ConfigurationError(f"{self.directory} holds no entry", hint=reason)

    def _records(self, segment: _Segment, last: tuple[int, int] | None, *, is_last: bool) -> Iterator[StoredRecord]:
        data = _read(segment.path)
        if data is None:
            return
        term, index = segment.previous_term, segment.first_index - 1
        if last is not None and last != (term, index):
            raise LogCorruption(
                f"{segment.path}: follows entry {term}.{index}, but the segments before it end at "
                f"{last[0]}.{last[1]}: one of them is missing or was cut",
                path=str(segment.path),
            )
        seed, at, view = segment_seed(data), HEADER_BYTES, memoryview(data)
        while at < len(data):
            found = check_record(view, at, seed=seed, offset=at)
            if found is None:
                self.tail = self._judge(segment.path, data, at, seed, index + 1, is_last=is_last)
                return
            if found.index != index + 1 or found.term < term:
                raise LogCorruption(
                    f"{segment.path}, offset {at}: entry {found.term}.{found.index} does not follow {term}.{index}",
                    path=str(segment.path),
                    offset=at,
                )
            term, index = found.term, found.index
            payload = data[at + RECORD_BYTES : found.end]
            yield StoredRecord(term, index, payload, segment.path, at, found.end - at)
            at = found.end

    @staticmethod
    def _judge(path: Path, data: bytes, at: int, seed: int, index: int, *, is_last: bool) -> LogTail:
        """What the bytes at `at` are, where entry `index` should stand."""
        reason = describe_damage(data, at)
        later = next((one for one in later_records(data, at, seed=seed) if one.durable_index >= index), None)
        if not is_last or later is not None:
            proof = f"entry {later.index} was written after it" if later else "later segments were written after it"
            raise LogCorruption(
                f"{path}, offset {at}: {reason}, but entry {index} was durable here: {proof}", path=str(path), offset=at
            )
        return LogTail(len(data) - at, str(path), at, reason)


def segment_names_of(directory: Path) -> list[str]:
    """Names of the segments in `directory`, oldest first. Raises `ConfigurationError`."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise ConfigurationError(f"cannot read {directory}: {error.strerror}") from error
    return [name for name in names if _SEGMENT_NAME.fullmatch(name)]


def _read(path: Path, count: int = -1) -> bytes | None:
    """The content of a file; `None` when it has just vanished."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
