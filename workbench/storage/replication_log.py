"""The replication log on disk: the entries of one replica, in append-only segments with a checksum for each record.

Ordering contract: `append` writes, in one system call; nothing of it is durable before `sync`, one fdatasync, has
returned; what `truncate` drops is durably gone when it returns. A new segment is begun only after the old one was
synced, so one `sync` always makes everything appended durable. Entries are opaque here; only their (term, index) is
looked at. In memory the log costs eight bytes an entry, and a pair for each term.

A full disk raises `OSError` (`files.is_disk_full`) from `append`: the log is then as before, durably so, and goes on
when there is room. Every other failure of the disk is a `StorageError`, and ends the replica.

A log begins with entry 1, or behind entries that a snapshot covers: `drop` removes whole segments at its beginning,
`reset` begins it anew. `log_segment.py` has the bytes, `log_recovery.py` what opening does about a torn tail,
`log_reset.py` how a log begins anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from workbench.errors import LogCorruption
from workbench.failpoints import hit
from workbench.storage.files import Files, OpenFile
from workbench.storage.log_recovery import Recovered, Recovery, Segment, recover
from workbench.storage.log_reset import create_segment, reset_log, segment_path
from workbench.storage.log_segment import (
    PAYLOAD_BYTES_MAX,
    RECORD_BYTES,
    Record,
    check_record,
    encode_header,
    encode_records,
    segment_seed,
)

__all__ = ["Record", "Recovery", "ReplicationLog"]

_ITERATE_BYTES: Final = 1024 * 1024


class ReplicationLog:
    """One replica's log. Synchronous, for one thread, and for one process at a time."""

    def __init__(
        self, files: Files, directory: Path, identity: bytes, segment_bytes_max: int, recovered: Recovered
    ) -> None:
        """Use `ReplicationLog.open`."""
        self._files = files
        self._directory = directory
        self._identity = identity
        self._segment_bytes_max = segment_bytes_max
        self._segments = recovered.segments
        self._terms = recovered.terms
        self._old: OpenFile | None = None  # the earlier segment that was read last
        self.recovery = recovered.recovery
        if not self._segments:
            self._segments.append(self._create_segment(1, 0))
        self._file = files.open_append(self._segments[-1].path)
        self._durable_index = self._segments[-1].last_index

    @classmethod
    def open(
        cls,
        files: Files,
        directory: Path,
        *,
        identity: bytes,
        segment_bytes_max: int,
        known_durable_index: int = 0,
        covered_index: int = 0,
    ) -> ReplicationLog:
        """Open the log in `directory`, or begin one. What it holds afterwards is durable; what was cut is reported
        in `recovery`.

        `identity` is 1 to 32 bytes that no other log has. `known_durable_index` is an entry that the caller knows to
        have been durable (the one that the database has applied): a log that ends before it is damaged. So is one that
        begins behind the entry that follows `covered_index`, the last one that a snapshot covers.

        Raises `LogCorruption`, `ConfigurationError` for a log of another identity or version, `StorageError`,
        `OSError` when the disk is full.
        """
        files.make_directory(directory)
        recovered = recover(
            files,
            directory,
            identity=identity,
            known_durable_index=known_durable_index,
            covered_index=covered_index,
        )
        return cls(files, directory, identity, segment_bytes_max, recovered)

    @property
    def first_index(self) -> int:
        """Index of the first entry, or of the one that would be first."""
        return self._segments[0].first_index

    @property
    def last(self) -> tuple[int, int]:
        """(term, index) of the last entry, durable or not; of the one before the first when there is none."""
        return (self._terms[-1][1] if self._terms else self._segments[0].previous_term, self._segments[-1].last_index)

    @property
    def term_starts(self) -> list[tuple[int, int]]:
        """(term, index of its first entry) for each term that begins in the log, oldest first."""
        return [(term, first) for first, term in self._terms]

    @property
    def durable_index(self) -> int:
        """Every entry up to this one survives a power loss."""
        return self._durable_index

    def append(self, records: Sequence[Record]) -> None:
        """Write `records` behind `last`; not durable before `sync`.

        Raises `OSError` when the disk is full (nothing was appended), `StorageError`, and `ValueError` for records
        that do not continue the log.
        """
        if not records:
            return
        size = self._check_sequence(records)
        last_term = self.last[0]
        segment = self._segments[-1]
        if segment.offsets and segment.end + size > self._segment_bytes_max:
            segment = self._roll_over()
        data, offsets = encode_records(
            records, seed=segment.seed, offset=segment.end, durable_index=self._durable_index
        )
        hit("log.append.before_write")
        try:
            self._file.append(data)
        except OSError:
            # Synced, so that a power loss cannot bring back an entry whose client is told that it did not happen.
            self._file.truncate(segment.end)
            self.sync()
            raise
        hit("log.append.after_write")
        segment.offsets.extend(offsets)
        segment.end += len(data)
        for record in records:
            if record.term > last_term:
                last_term = record.term
                self._terms.append((record.index, record.term))

    def sync(self) -> None:
        """Make everything appended durable. Raises `StorageError`; the log is unusable then."""
        self._file.sync()
        hit("log.sync.after")
        self._durable_index = self._segments[-1].last_index

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`, also of the one just before the first; 0 at index 0; `None` elsewhere."""
        if index == 0:
            return 0
        if not self.first_index - 1 <= index <= self._segments[-1].last_index:
            return None
        begun = bisect_right(self._terms, index, key=lambda start: start[0])
        return self._terms[begun - 1][1] if begun else self._segments[0].previous_term

    def read(self, first_index: int, *, bytes_max: int, count_max: int) -> list[Record]:
        """Entries from `first_index` on: at most `count_max`, and `bytes_max` bytes as stored, but always at least
        one; none beyond the end. Raises `LogCorruption` when they are not what was written, `StorageError`."""
        if first_index < self.first_index:
            raise ValueError(f"entry {first_index} is asked for; the log begins at {self.first_index}")
        records: list[Record] = []
        while count_max > 0 and first_index <= self._segments[-1].last_index:
            segment = self._segment_of(first_index)
            fitting = segment.count_within(first_index, bytes_max)
            if fitting == 0 and records:
                break
            count = min(count_max, max(1, fitting))
            records += self._read_run(segment, first_index, count)
            bytes_max -= segment.end_of(first_index + count - 1) - segment.end_of(first_index - 1)
            count_max -= count
            first_index += count
        return records

    def size_of(self, index: int) -> int:
        """Bytes of the entry at `index`; 0 beyond the end."""
        if index > self._segments[-1].last_index:
            return 0
        segment = self._segment_of(index)
        return segment.end_of(index) - segment.offsets[index - segment.first_index] - RECORD_BYTES

    def read_part(self, index: int, offset: int, bytes_max: int) -> bytes:
        """Bytes of one entry from `offset` on. Its checksum is verified where they are the first. Raises as `read`."""
        segment = self._segment_of(index)
        if offset == 0:
            return self._read_run(segment, index, 1)[0].payload[:bytes_max]
        start = segment.offsets[index - segment.first_index] + RECORD_BYTES + offset
        return self._file_of(segment).pread(max(0, min(bytes_max, segment.end_of(index) - start)), start)

    def _segment_of(self, index: int) -> Segment:
        return self._segments[bisect_right(self._segments, index, key=lambda segment: segment.first_index) - 1]

    def iterate(self, first_index: int) -> Iterator[Record]:
        """All entries from `first_index` to the end, a few at a time in memory. Raises as `read`."""
        while records := self.read(first_index, bytes_max=_ITERATE_BYTES, count_max=4096):
            yield from records
            first_index = records[-1].index + 1

    def truncate(self, after_index: int) -> None:
        """Drop every entry after `after_index`, durably. An interrupted truncation leaves a log that ends somewhere
        between there and its old end. Raises `StorageError`."""
        if not self.first_index - 1 <= after_index <= self._segments[-1].last_index:
            raise ValueError(f"truncate after {after_index}; the log ends at {self._segments[-1].last_index}")
        if after_index == self._segments[-1].last_index:
            return
        hit("log.truncate.before")
        self._close_old()
        while after_index < self._segments[-1].first_index and len(self._segments) > 1:
            # Newest first and one by one: a power loss in between must not leave a hole.
            segment = self._segments.pop()
            self._file.close()
            self._files.remove(segment.path)
            self._files.sync_directory(self._directory)
            self._file = self._files.open_append(self._segments[-1].path)
            hit("log.truncate.segment_removed")
        while self._terms and self._terms[-1][0] > after_index:
            self._terms.pop()
        segment = self._segments[-1]
        if after_index < segment.last_index:
            kept = after_index - segment.first_index + 1
            segment.end = segment.offsets[kept]
            del segment.offsets[kept:]
            self._file.truncate(segment.end)
            hit("log.truncate.after_cut")
        self.sync()

    def drop(self, through_index: int, bytes_kept: int) -> int:
        """Drop whole segments at the beginning, durably: those that end at or before `through_index`, which a snapshot
        covers, while at least `bytes_kept` bytes stay; the last segment always does. Returns the new first index."""
        hit("log.drop.before")
        size = sum(segment.end for segment in self._segments)
        while len(self._segments) > 1:
            oldest = self._segments[0]
            if oldest.last_index > through_index or size - oldest.end < bytes_kept:
                break
            # Oldest first and one by one: a power loss in between must not leave a hole.
            if self._old is not None and self._old.path == oldest.path:
                self._close_old()
            self._files.remove(oldest.path)
            self._files.sync_directory(self._directory)
            hit("log.drop.segment_removed")
            size -= oldest.end
            del self._segments[0]
            while self._terms and self._terms[0][0] < self.first_index:
                del self._terms[0]
        return self.first_index

    @staticmethod
    def reset(files: Files, directory: Path, *, identity: bytes, term: int, index: int) -> None:
        """Drop everything in `directory`, durably, so that the log goes on behind the entry (`term`, `index`), which a
        snapshot covers. To be called while no log is open there. An interrupted reset leaves the log as it was, or the
        new, empty one. Raises `StorageError`."""
        reset_log(files, directory, encode_header(identity, index + 1, term))

    def close(self) -> None:
        """Release the files; syncs nothing."""
        self._close_old()
        self._file.close()

    def _check_sequence(self, records: Sequence[Record]) -> int:
        """Bytes that `records` take up. Raises `ValueError` when they do not continue the log."""
        size = 0
        last_term, last_index = self.last
        for record in records:
            term, index, payload = record.term, record.index, record.payload
            if index != last_index + 1 or term < last_term or term < 1:
                raise ValueError(f"entry {term}.{index} does not follow {last_term}.{last_index}")
            if len(payload) > PAYLOAD_BYTES_MAX:
                raise ValueError(f"entry {term}.{index} has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX}")
            last_term, last_index = term, index
            size += RECORD_BYTES + len(payload)
        return size

    def _roll_over(self) -> Segment:
        """Begin a new segment behind the last one, whose content becomes durable first."""
        self.sync()
        last_term, last_index = self.last
        segment = self._create_segment(last_index + 1, last_term)
        self._file.close()
        self._file = self._files.open_append(segment.path)
        self._segments.append(segment)
        return segment

    def _create_segment(self, first_index: int, previous_term: int) -> Segment:
        header = encode_header(self._identity, first_index, previous_term)
        path = segment_path(self._directory, first_index)
        create_segment(self._files, path, header)
        return Segment(path, first_index, previous_term, segment_seed(header))

    def _read_run(self, segment: Segment, first_index: int, count: int) -> list[Record]:
        """`count` records of one segment, by one system call, their checksums verified."""
        start = segment.offsets[first_index - segment.first_index]
        data = self._file_of(segment).pread(segment.end_of(first_index + count - 1) - start, start)
        records: list[Record] = []
        at = 0
        for index in range(first_index, first_index + count):
            found = check_record(data, at, seed=segment.seed, offset=start + at)
            if found is None or found.index != index or found.end + start != segment.end_of(index):
                raise LogCorruption(
                    f"{segment.path}, offset {start + at}: entry {index} is not what was written",
                    path=str(segment.path),
                    offset=start + at,
                    hint="restart the replica; if that refuses the log too, let it join again from the leader",
                )
            records.append(Record(found.term, index, data[at + RECORD_BYTES : found.end]))
            at = found.end
        return records

    def _file_of(self, segment: Segment) -> OpenFile:
        if segment is self._segments[-1]:
            return self._file
        if self._old is None or self._old.path != segment.path:
            self._close_old()
            self._old = self._files.open_append(segment.path)
        return self._old

    def _close_old(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None
