"""Everything that a replica can ask of the world, and in which order it must happen.

Ordering contract, which every driver keeps:

1. `SaveTerm` is durable before any later effect, of this call or of a later one, begins.
2. The storage effects (all that are neither `SaveTerm` nor sent somewhere) are carried out one after another, in the
   order in which they were returned. Only the copying that `MakeSnapshot` begins goes on beside them.
3. `Append` syncs the log before it answers `Durable`, and before the next storage effect begins. So a `Commit` or
   `Apply` behind it never shows an entry that is not on disk.
4. What is sent (`Send`, `Broadcast`, `Reply`, `TellClients`, `Answer`) leaves at once, without waiting for storage
   effects before it: the core returns an acknowledgement only after the input that allows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from workbench.protocol.messages import AppendEntries, Message, Read, ReadReply, SnapshotChunk, WriteReply
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import LoggedEntry, Position, Transaction


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
    """Apply entries to the database; answered by `Applied` with the last position, or by `Diverged`. Then this and
    every later one does nothing until the database is made anew."""

    entries: tuple[LoggedEntry, ...]


@dataclass(frozen=True, slots=True)
class Rewind:
    """Drop every entry behind `to` from the log, written out first where people can read them, and bring the
    database back to the state that the remaining log describes; answered by `Rewound`."""

    to: Position


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Make the database anew from what the disk has besides it; answered by `Rebuilt`, or by `Diverged` when that would
    not make it what the leader's is."""


@dataclass(frozen=True, slots=True)
class Query:
    """Answer reads, each for the client named beside it; answered by `Queried`."""

    reads: tuple[tuple[str, Read], ...]


@dataclass(frozen=True, slots=True)
class SendLog:
    """Read entries after `header.previous` from the log, at most `bytes_max` of them, and send them to `to` under
    `header`. If the first of them alone is longer, a piece of it is sent, from byte `offset` on, as an `EntryPiece`.
    Nothing is sent when a `DropLog` before it has dropped them."""

    to: str
    header: AppendEntries
    bytes_max: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class MakeSnapshot:
    """Begin to copy the database as it is now; answered by `SnapshotCopied` when the copy is on disk, or by
    `SnapshotAbandoned`. Other effects are carried out meanwhile. One copy at a time; any `Rewind` or `InstallSnapshot`
    before it is sealed abandons it, which is answered."""


@dataclass(frozen=True, slots=True)
class SealSnapshot:
    """Put what the core knows at the copy's position beside it, durably: from now on it can replace the log up to
    there; answered by `SnapshotSealed`. Everything up to `state.position` is committed. Nothing happens when a `Rewind`
    has abandoned the copy in the meantime: that was answered."""

    state: SnapshotState


@dataclass(frozen=True, slots=True)
class DropLog:
    """Drop entries up to `index`, which a sealed snapshot covers, but keep about `bytes_kept` of log for followers that
    are a little behind; answered by `LogDropped`."""

    index: int
    bytes_kept: int


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Send a piece of the newest sealed snapshot to `to`: from `header.offset` on if `header.snapshot` is its name,
    else from its beginning. The header comes without data, size and checksum; at most `bytes_max` bytes go with it."""

    to: str
    header: SnapshotChunk
    bytes_max: int


@dataclass(frozen=True, slots=True)
class SaveChunk:
    """Keep a piece of a leader's snapshot; answered by `ChunkSaved`. One that does not match its checksum or continue
    what is held is not kept; one that begins another snapshot replaces what is held."""

    chunk: SnapshotChunk


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """Let the received snapshot take the place of log and database, entries behind index `kept` of the log written out
    first where people can read them; answered by `Installed` or `InstallFailed`."""

    kept: int


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
class TellClients:
    """A message to all client processes."""

    message: Message


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a request of whoever runs the cluster: `refusal` in one line, or empty."""

    request: int
    reply_to: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """End this replica's process, for `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Replies to one client process; a driver may put several of them into one message."""

    client: str
    writes: tuple[WriteReply, ...] = ()
    reads: tuple[ReadReply, ...] = ()


StorageEffect: TypeAlias = (
    Execute
    | Commit
    | Abandon
    | Append
    | Apply
    | Rewind
    | Rebuild
    | Query
    | SendLog
    | MakeSnapshot
    | SealSnapshot
    | DropLog
    | SendSnapshot
    | SaveChunk
    | InstallSnapshot
)
NetworkEffect: TypeAlias = Send | Broadcast | Reply | TellClients | Answer | Leave
Effect: TypeAlias = SaveTerm | StorageEffect | NetworkEffect
