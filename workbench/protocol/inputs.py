"""Everything that can happen to a replica. `Replica.handle` is told the time of its handling with each.

Times are nanoseconds of the host's monotonic clock; in the simulator, of virtual time. An answer of storage carries no
time of its own: the process may have been stopped since it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from workbench.protocol.messages import Message, Read
from workbench.protocol.outcomes import Execution, QueryResult
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import Position


@dataclass(frozen=True, slots=True)
class Received:
    """Everything that was waiting in the inbox, in the order of its arrival."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; comes every `Timing.tick_ms`."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The answer to `Execute`. The group's effects wait, invisible, for `Commit` or `Abandon`."""

    position: Position
    execution: Execution


@dataclass(frozen=True, slots=True)
class Durable:
    """The replication log is on disk up to `position`."""

    position: Position


@dataclass(frozen=True, slots=True)
class Applied:
    """The database shows everything up to `position`."""

    position: Position


@dataclass(frozen=True, slots=True)
class Queried:
    """Answers to `Query`, read from a database that showed everything up to `position`."""

    position: Position
    answers: tuple[tuple[str, Read, QueryResult], ...]


@dataclass(frozen=True, slots=True)
class Rewound:
    """The log ends at `position` on disk, and the database shows exactly that."""

    position: Position


@dataclass(frozen=True, slots=True)
class Diverged:
    """An entry does not fit the database, for `reason`: it is not what the leader's is. It still shows `position`, and
    nothing is applied to it until it is made anew. `finally_`: making it anew has not helped."""

    position: Position
    reason: str
    finally_: bool = False


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The answer to `Rebuild`: the database was made anew, and shows everything up to `position`, the log's end."""

    position: Position


@dataclass(frozen=True, slots=True)
class SnapshotCopied:
    """A copy of the database as of `position` is on disk; it is nothing until it is sealed."""

    position: Position


@dataclass(frozen=True, slots=True)
class SnapshotAbandoned:
    """The copy could not be finished, or was overtaken by a rewind."""

    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotSealed:
    """The snapshot at `position` is complete and durable."""

    position: Position


@dataclass(frozen=True, slots=True)
class LogDropped:
    """The log on disk begins with the entry at `first_index` now."""

    first_index: int


@dataclass(frozen=True, slots=True)
class ChunkSaved:
    """The first `size_bytes` of the snapshot `snapshot` are held."""

    snapshot: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Installed:
    """Log and database are those of a snapshot now."""

    recovered: Recovered


@dataclass(frozen=True, slots=True)
class InstallFailed:
    """The received snapshot cannot be used, and was thrown away; everything is as before."""

    reason: str


Input: TypeAlias = (
    Received
    | Tick
    | Executed
    | Durable
    | Applied
    | Queried
    | Rewound
    | Diverged
    | Rebuilt
    | SnapshotCopied
    | SnapshotAbandoned
    | SnapshotSealed
    | LogDropped
    | ChunkSaved
    | Installed
    | InstallFailed
)
