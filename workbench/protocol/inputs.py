"""Everything that can happen to a replica. `Replica.handle` is told the time of its handling with each.

Times are nanoseconds of the host's monotonic clock; in the simulator, of virtual time. An answer of storage carries no
time of its own: the process may have been stopped since it was made.
"""

from __future__ import annotations

from typing import TypeAlias

from workbench.protocol.messages import Message, Read
from workbench.protocol.outcomes import Execution, QueryResult
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import Position, Value


class Received(Value, frozen=True):
    """Everything that was waiting in the inbox, in the order of its arrival."""

    messages: tuple[Message, ...]


class Tick(Value, frozen=True):
    """Time has passed; comes every `Timing.tick_ms`."""


class Executed(Value, frozen=True):
    """The answer to `Execute`. The group's effects wait, invisible, for `Commit` or `Abandon`."""

    position: Position
    execution: Execution


class Durable(Value, frozen=True):
    """The replication log is on disk up to `position`."""

    position: Position


class Applied(Value, frozen=True):
    """The database shows everything up to `position`."""

    position: Position


class Queried(Value, frozen=True):
    """Answers to `Query`, read from a database that showed everything up to `position`."""

    position: Position
    answers: tuple[tuple[str, Read, QueryResult], ...]


class Rewound(Value, frozen=True):
    """The log ends at `position` on disk, and the database shows exactly that."""

    position: Position


class Diverged(Value, frozen=True):
    """An entry does not fit the database, for `reason`: it is not what the leader's is. It still shows `position`, and
    nothing is applied to it until it is made anew. `finally_`: making it anew has not helped."""

    position: Position
    reason: str
    finally_: bool = False


class Rebuilt(Value, frozen=True):
    """The answer to `Rebuild`: the database was made anew, and shows everything up to `position`, the log's end."""

    position: Position


class SnapshotCopied(Value, frozen=True):
    """A copy of the database as of `position` is on disk; it is nothing until it is sealed."""

    position: Position


class SnapshotAbandoned(Value, frozen=True):
    """The copy could not be finished, or was overtaken by a rewind."""

    reason: str


class SnapshotSealed(Value, frozen=True):
    """The snapshot at `position` is complete and durable."""

    position: Position


class LogDropped(Value, frozen=True):
    """The log on disk begins with the entry at `first_index` now."""

    first_index: int


class ChunkSaved(Value, frozen=True):
    """The first `size_bytes` of the snapshot `snapshot` are held."""

    snapshot: str
    size_bytes: int


class Installed(Value, frozen=True):
    """Log and database are those of a snapshot now."""

    recovered: Recovered


class InstallFailed(Value, frozen=True):
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
