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

from typing import TypeAlias

from workbench.protocol.messages import AppendEntries, Message, Read, ReadReply, SnapshotChunk, WriteReply
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import LoggedEntry, Position, Transaction, Value


class SaveTerm(Value, frozen=True):
    """Make the term, and the vote in it, durable."""

    term: int
    voted_for: str


class Execute(Value, frozen=True):
    """Execute a group as the entry at `position`; answered by `Executed`, never by `Applied`."""

    position: Position
    group: tuple[Transaction, ...]


class Commit(Value, frozen=True):
    """Show the executed group to reads; answered by `Applied`."""

    position: Position


class Abandon(Value, frozen=True):
    """Undo the executed group, which was never logged."""


class Append(Value, frozen=True):
    """Append to the replication log with one sync; answered by `Durable` with the last position.

    Unless it is `urgent`, that answer may wait for the next one: nobody waits for durability alone.
    """

    entries: tuple[LoggedEntry, ...]
    urgent: bool = True


class Apply(Value, frozen=True):
    """Apply entries to the database; answered by `Applied` with the last position, or by `Diverged`. Then this and
    every later one does nothing until the database is made anew."""

    entries: tuple[LoggedEntry, ...]


class Rewind(Value, frozen=True):
    """Drop every entry behind `to` from the log, written out first where people can read them, and bring the
    database back to the state that the remaining log describes; answered by `Rewound`."""

    to: Position


class Rebuild(Value, frozen=True):
    """Make the database anew from what the disk has besides it; answered by `Rebuilt`, or by `Diverged` when that would
    not make it what the leader's is."""


class Query(Value, frozen=True):
    """Answer reads, each for the client named beside it; answered by `Queried`."""

    reads: tuple[tuple[str, Read], ...]


class SendLog(Value, frozen=True):
    """Read entries after `header.previous` from the log, at most `bytes_max` of them, and send them to `to` under
    `header`. If the first of them alone is longer, a piece of it is sent, from byte `offset` on, as an `EntryPiece`.
    Nothing is sent when a `DropLog` before it has dropped them."""

    to: str
    header: AppendEntries
    bytes_max: int
    offset: int = 0


class MakeSnapshot(Value, frozen=True):
    """Begin to copy the database as it is now; answered by `SnapshotCopied` when the copy is on disk, or by
    `SnapshotAbandoned`. Other effects are carried out meanwhile. One copy at a time; any `Rewind` or `InstallSnapshot`
    before it is sealed abandons it, which is answered."""


class SealSnapshot(Value, frozen=True):
    """Put what the core knows at the copy's position beside it, durably: from now on it can replace the log up to
    there; answered by `SnapshotSealed`. Everything up to `state.position` is committed. Nothing happens when a `Rewind`
    has abandoned the copy in the meantime: that was answered."""

    state: SnapshotState


class DropLog(Value, frozen=True):
    """Drop entries up to `index`, which a sealed snapshot covers, but keep about `bytes_kept` of log for followers that
    are a little behind; answered by `LogDropped`."""

    index: int
    bytes_kept: int


class SendSnapshot(Value, frozen=True):
    """Send a piece of the newest sealed snapshot to `to`: from `header.offset` on if `header.snapshot` is its name,
    else from its beginning. The header comes without data, size and checksum; at most `bytes_max` bytes go with it."""

    to: str
    header: SnapshotChunk
    bytes_max: int


class SaveChunk(Value, frozen=True):
    """Keep a piece of a leader's snapshot; answered by `ChunkSaved`. One that does not match its checksum or continue
    what is held is not kept; one that begins another snapshot replaces what is held."""

    chunk: SnapshotChunk


class InstallSnapshot(Value, frozen=True):
    """Let the received snapshot take the place of log and database, entries behind index `kept` of the log written out
    first where people can read them; answered by `Installed` or `InstallFailed`."""

    kept: int


class Send(Value, frozen=True):
    """A message to one replica."""

    to: str
    message: Message


class Broadcast(Value, frozen=True):
    """A message to all other replicas, sent once."""

    message: Message


class TellClients(Value, frozen=True):
    """A message to all client processes."""

    message: Message


class Answer(Value, frozen=True):
    """The end of a request of whoever runs the cluster: `refusal` in one line, or empty."""

    request: int
    reply_to: str
    refusal: str = ""


class Leave(Value, frozen=True):
    """End this replica's process, for `reason`."""

    reason: str


class Reply(Value, frozen=True):
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
