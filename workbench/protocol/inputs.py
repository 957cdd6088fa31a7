"""Everything that can happen to a replica. Each input carries `at`, the time of its handling.

Times are nanoseconds of the host's monotonic clock; in the simulator, of virtual time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from workbench.protocol.messages import Message, Position, Read
from workbench.protocol.outcomes import Execution, QueryResult


@dataclass(frozen=True, slots=True)
class Received:
    """Everything that was waiting in the inbox, in the order of its arrival."""

    at: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; comes every `Timing.tick_ms`."""

    at: int


@dataclass(frozen=True, slots=True)
class Executed:
    """The answer to `Execute`. The group's effects wait, invisible, for `Commit` or `Abandon`."""

    at: int
    position: Position
    execution: Execution


@dataclass(frozen=True, slots=True)
class Durable:
    """The replication log is on disk up to `position`."""

    at: int
    position: Position


@dataclass(frozen=True, slots=True)
class Applied:
    """The database shows everything up to `position`."""

    at: int
    position: Position


@dataclass(frozen=True, slots=True)
class Queried:
    """Answers to `Query`, read from a database that showed everything up to `position`."""

    at: int
    position: Position
    answers: tuple[tuple[str, Read, QueryResult], ...]


@dataclass(frozen=True, slots=True)
class Rewound:
    """The log ends at `position` on disk, and the database shows exactly that."""

    at: int
    position: Position


Input: TypeAlias = Received | Tick | Executed | Durable | Applied | Queried | Rewound
