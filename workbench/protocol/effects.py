"""Everything that a replica can ask of the world, and in which order it must happen.

Ordering contract, which every driver keeps:

1. `SaveTerm` is durable before any later effect, of this call or of a later one, begins.
2. The storage effects (`Execute`, `Append`, `Commit`, `Abandon`, `Apply`, `Rewind`, `Query`, `SendLog`) are carried
   out one after another, in the order in which they were returned.
3. `Append` syncs the log before it answers `Durable`, and before the next storage effect begins. So a `Commit` or
   `Apply` behind it never shows an entry that is not on disk.
4. `Send`, `Broadcast` and `Reply` leave at once, without waiting for storage effects before them: the core returns
   an acknowledgement only after the input that allows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from workbench.protocol.messages import (
    AppendEntries,
    LoggedEntry,
    Message,
    Position,
    Read,
    ReadReply,
    Transaction,
    WriteReply,
)


@dataclass(frozen=True, slots=True)
class SaveTerm:
    """Make the term, and the vote in it, durable."""

    term: int
    voted_for: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a group as the entry at `position`; answered by `Executed`, never by `Applied`."""

    position: Position
    group: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Show the executed group to reads; answered by `Applied`."""

    position: Position


@dataclass(frozen=True, slots=True)
class Abandon:
    """Undo the executed group, which was never logged."""


@dataclass(frozen=True, slots=True)
class Append:
    """Append to the replication log with one sync; answered by `Durable` with the last position.

    Unless it is `urgent`, that answer may wait for the next one: nobody waits for durability alone.
    """

    entries: tuple[LoggedEntry, ...]
    urgent: bool = True


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply entries to the database; answered by `Applied` with the last position."""

    entries: tuple[LoggedEntry, ...]


@dataclass(frozen=True, slots=True)
class Rewind:
    """Drop every entry behind `to` from the log, written out first where people can read them, and bring the
    database back to the state that the remaining log describes; answered by `Rewound`."""

    to: Position


@dataclass(frozen=True, slots=True)
class Query:
    """Answer reads, each for the client named beside it; answered by `Queried`."""

    reads: tuple[tuple[str, Read], ...]


@dataclass(frozen=True, slots=True)
class SendLog:
    """Read entries after `header.previous` from the log, at most `bytes_max` of them (but at least one, if there is
    one), and send them to `to` under `header`."""

    to: str
    header: AppendEntries
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Send:
    """A message to one replica."""

    to: str
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A message to all other replicas, sent once."""

    message: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """Replies to one client process; a driver may put several of them into one message."""

    client: str
    writes: tuple[WriteReply, ...] = ()
    reads: tuple[ReadReply, ...] = ()


StorageEffect: TypeAlias = Execute | Commit | Abandon | Append | Apply | Rewind | Query | SendLog
NetworkEffect: TypeAlias = Send | Broadcast | Reply
Effect: TypeAlias = SaveTerm | StorageEffect | NetworkEffect
