"""Reading a replication log back after a crash: what is a torn tail, and what is damage.

A power loss may tear or drop, in any order, what was written since the last sync, and nothing else. So bytes that
are no valid record, where entry `i` should stand, are

- **cut**, with everything behind them, when they may be unsynced: they stand in the last segment, and no valid
  record behind them was written after entry `i` had become durable (every record says what was durable before it);
- **corruption** otherwise: in an earlier segment (each is synced before the next one is created), behind them a
  record that was written after entry `i` was durable, entry `i` at or below what the caller knows to have been
  durable, a segment missing, or a valid record that does not continue the one before it.

What cannot be told apart: damage within what was written between the last two syncs before the crash. It is cut, and
reported. A caller narrows this by `known_durable_index`, such as the entry that the database says it has applied.

A log begins with entry 1, or later where a snapshot covers what is missing: its first segments were dropped one by one,
or it was reset (`log_reset.py`; a reset that was begun is carried out first).

A segment file without a whole header is the rest of an interrupted creation and is removed; records are only ever
written behind a header that is durable. Nothing else is changed on disk before all checks have passed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import ConfigurationError, LogCorruption
from workbench.storage.files import Files
from workbench.storage.log_reset import finish_reset, segment_names, segment_path
from workbench.storage.log_segment import (
    HEADER_BYTES,
    VERSION,
    Header,
    Scan,
    decode_header,
    later_records,
    scan_records,
    segment_seed,
)

_HINT = "move the replica's directory away, and let it join again from the leader"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a log had to throw away; `cut_bytes` is 0 when the log was whole."""

    cut_bytes: int = 0
    cut_records: int = 0
    """Valid records behind the damage that went with it. None of them can have been durable before the damaged one."""
    path: str = ""
    offset: int = 0
    reason: str = ""


@dataclass(slots=True)
class Segment:
    """One segment file: where each of its records starts (8 bytes an entry), and where the last one ends."""

    path: Path
    first_index: int
    previous_term: int
    seed: int
    end: int = HEADER_BYTES
    offsets: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def last_index(self) -> int:
        """Index of the last entry; `first_index - 1` when there is none."""
        return self.first_index + len(self.offsets) - 1

    def end_of(self, index: int) -> int:
        """Offset at which the record of `index` ends."""
        place = index - self.first_index + 1
        return self.offsets[place] if place < len(self.offsets) else self.end

    def count_within(self, first_index: int, bytes_max: int) -> int:
        """How many records from `first_index` on fit into `bytes_max` bytes."""
        place = first_index - self.first_index
        limit = self.offsets[place] + bytes_max
        if self.end <= limit:
            return len(self.offsets) - place
        return max(0, bisect_right(self.offsets, limit, place) - 1 - place)


@dataclass(slots=True)
class Recovered:
    """The log as found: its segments, (first index, term) of each term, and what was cut."""

    segments: list[Segment]
    terms: list[tuple[int, int]]
    recovery: Recovery


def recover(
    files: Files, directory: Path, *, identity: bytes, known_durable_index: int = 0, covered_index: int = 0
) -> Recovered:
    """Check the log in `directory`, cut its torn tail, and make durable what is left.

    Entries up to `covered_index` may be missing at the beginning. Raises `LogCorruption`, `ConfigurationError` for a
    log of another identity or version, `StorageError`.
    """
    finish_reset(files, directory)
    names = segment_names(files, directory)
    found = Recovered([], [], Recovery())
    unfinished: Path | None = None
    data, scan = b"", None
    for name in names:
        path = directory / name
        content = files.read(path) or b""
        header = decode_header(content)
        if header is None and name == names[-1] and len(content) <= HEADER_BYTES:
            unfinished = path
            found.recovery = Recovery(len(content), 0, str(path), 0, "the creation of a segment was interrupted")
            break
        data = content
        scan = _read_segment(found, path, header, data, identity, covered_index)
        if scan.damage:
            found.recovery = _judge_damage(found.segments[-1], data, scan, is_last=name == names[-1])
    last_index = found.segments[-1].last_index if found.segments else 0
    if last_index < known_durable_index:
        raise LogCorruption(
            f"the log in {directory} ends at entry {last_index}, but entry {known_durable_index} was durable",
            path=found.recovery.path or str(directory),
            offset=found.recovery.offset,
            hint=_HINT,
        )
    if unfinished is not None:
        files.remove(unfinished)
    if found.segments and scan is not None:
        _settle(files, found.segments[-1], data, max(scan.durable_index, known_durable_index))
    files.sync_directory(directory)
    return found


def _read_segment(
    found: Recovered, path: Path, header: Header | None, data: bytes, identity: bytes, covered_index: int
) -> Scan:
    """Check one segment against those before it, and add it to them."""
    if header is None:
        raise LogCorruption(f"{path}: the segment's header is damaged", path=str(path), hint=_HINT)
    _check_owner(path, header, identity)
    if path.name != segment_path(path.parent, header.first_index).name:
        raise LogCorruption(f"{path}: begins with entry {header.first_index}, not as named", path=str(path), hint=_HINT)
    _check_follows(found, path, header, covered_index)
    segment = Segment(path, header.first_index, header.previous_term, segment_seed(data))
    try:
        scan = scan_records(
            data, seed=segment.seed, first_index=segment.first_index, previous_term=segment.previous_term
        )
    except ValueError as error:
        raise LogCorruption(f"{path}: {error}", path=str(path), hint=_HINT) from error
    segment.offsets, segment.end = scan.offsets, scan.end
    found.segments.append(segment)
    found.terms += scan.terms
    return scan


def _check_follows(found: Recovered, path: Path, header: Header, covered_index: int) -> None:
    """Raise unless the segment at `path` continues those before it, or may be the first."""
    previous = (header.previous_term, header.first_index - 1)
    if found.segments:
        before = found.segments[-1]
        last = (found.terms[-1][1] if found.terms else found.segments[0].previous_term, before.last_index)
        if previous == last:
            return
        reason = f"but the segments before it end at {last[0]}.{last[1]}: one of them is missing or was cut"
    else:
        if previous == (0, 0) or 0 < previous[1] <= covered_index:
            return
        covered = f"but no snapshot covers more than entry {covered_index}" if covered_index else "which is missing"
        reason = f"{covered}: the segments before it are missing"
    raise LogCorruption(f"{path}: follows entry {previous[0]}.{previous[1]}, {reason}", path=str(path), hint=_HINT)


def _check_owner(path: Path, header: Header, identity: bytes) -> None:
    if header.version != VERSION:
        raise ConfigurationError(
            f"{path}: a replication log of version {header.version}", hint=f"this workbench reads version {VERSION}"
        )
    if header.identity != identity:
        raise ConfigurationError(
            f"{path}: belongs to another cluster or replica ({header.identity.hex()}, not {identity.hex()})",
            hint="give the replica a directory of its own",
        )


def _judge_damage(segment: Segment, data: bytes, scan: Scan, *, is_last: bool) -> Recovery:
    """The cut that the damage behind `scan.end` calls for. Raises `LogCorruption` when it cannot be a torn tail."""
    index = segment.last_index + 1
    later = list(later_records(data, scan.end, seed=segment.seed))
    witness = next((found for found in later if found.durable_index >= index), None)
    if not is_last or witness is not None:
        proof = f"entry {witness.index} was written after it" if witness else "later segments were written after it"
        raise LogCorruption(
            f"{segment.path}, offset {scan.end}: {scan.damage}, but entry {index} was durable here: {proof}",
            path=str(segment.path),
            offset=scan.end,
            hint=_HINT,
        )
    return Recovery(len(data) - scan.end, len(later), str(segment.path), scan.end, scan.damage)


def _settle(files: Files, segment: Segment, data: bytes, durable_index: int) -> None:
    """Cut the last segment behind its last record, and write again what is not proven to be on disk: after a sync
    that failed, the page cache shows records that the disk never got, and a sync alone would not write them."""
    if durable_index < segment.first_index:
        start = HEADER_BYTES
    else:
        start = segment.end_of(min(durable_index, segment.last_index))
    file = files.open_append(segment.path)
    try:
        if segment.end < len(data):
            file.truncate(segment.end)
        if start < segment.end:
            file.pwrite(memoryview(data)[start : segment.end], start)
        file.sync()
    finally:
        file.close()
