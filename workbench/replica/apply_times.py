"""When which entry became visible at a replica, and when it answered reads: a file beside its log, written while
`ClusterConfig.apply_times` is on.

A record each time that entries were applied, or executed and committed by a leader (term and index of the last of them,
after the database had them), and each time that reads were answered (their number). Times are nanoseconds of the host's
monotonic clock. Nothing else depends on the file: it is neither synced nor read by the replica, and after a crash its
end may be missing or torn.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from workbench import clock
from workbench.protocol.values import Position

FILE_NAME = "apply-times"

_RECORD = struct.Struct("<cqqq")
_APPLIED, _READ = b"a", b"r"


@dataclass(frozen=True, slots=True)
class AppliedAt:
    """Everything up to (term, index) is visible from `time_ns` on."""

    term: int
    index: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class ReadAt:
    """So many reads were answered together."""

    reads: int
    time_ns: int


class ApplyTimes:
    """Appends records to the file in the replica's `directory`; each is handed to the operating system at once."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / FILE_NAME).open("ab", buffering=0)

    def note_applied(self, position: Position) -> None:
        """Everything up to `position` is visible now."""
        self._file.write(_RECORD.pack(_APPLIED, position.term, position.index, clock.now_ns()))

    def note_reads(self, reads: int) -> None:
        """So many reads were answered now."""
        self._file.write(_RECORD.pack(_READ, reads, 0, clock.now_ns()))

    def close(self) -> None:
        """Further notes fail."""
        self._file.close()


def read_apply_times(directory: Path) -> tuple[list[AppliedAt], list[ReadAt]]:
    """Every whole record of the replica with that directory, in order; none where nothing was written down."""
    path = directory / FILE_NAME
    data = path.read_bytes() if path.exists() else b""
    applied, reads = [], []
    for kind, first, second, time_ns in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
        if kind == _APPLIED:
            applied.append(AppliedAt(first, second, time_ns))
        else:
            reads.append(ReadAt(first, time_ns))
    return applied, reads
