"""What travels between replicas, clients and whoever runs a cluster.

`codec.py` turns messages into bytes and back; docs/protocol.md tells who sends what, and when.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from workbench.protocol.fault_messages import Disconnect, SetClock, SetDisk, SetLinks
from workbench.protocol.values import NotNegative, Position, Row, Statement, StatementResult, Transaction, Wire

# Between clients and replicas.


class Read(Wire, frozen=True):
    """One read-only statement of a session, and on which terms a replica may answer it.

    `from_leader`: only the leader, while its lease lasts. `linearizable`: only the leader, once everything that it had
    executed when it read is committed, and a majority has answered a round begun after the read arrived. `after`: what
    is applied must contain this position. `lag_entries_max`, `lag_ms_max`: at most so far behind the leader; negative
    for no bound.
    """

    session: int
    request: int
    statement: Statement
    from_leader: bool = False
    linearizable: bool = False
    after: Position = Position()
    lag_entries_max: int = -1
    lag_ms_max: float = -1.0


class ClientBatch(Wire, frozen=True, tag=1):
    """Everything that one client process had to say in one turn of its loop; replies go to its inbox."""

    client: str
    writes: tuple[Transaction, ...] = ()
    reads: tuple[Read, ...] = ()


class Outcome(enum.IntEnum):
    """How an operation ended; see DefiniteError and IndefiniteError."""

    OK = 0
    REFUSED = 1
    """Definite: the SQL was refused or failed."""
    NOT_LEADER = 2
    """Definite: ask `leader`, if it is known."""
    OVERLOADED = 3
    """Definite: a queue was full."""
    INDEFINITE = 4
    """The write may have happened."""
    NOT_READY = 5
    """Of reads: this replica cannot answer on the terms of the read; another one may."""
    LOST_POSITION = 6
    """Of reads: the position that the read asked for was dropped by a rewind."""
    EXPIRED = 7
    """Of writes: the session is unknown, and may have been forgotten; not executed now, but perhaps before."""


class WriteReply(Wire, frozen=True):
    """The end of one write. `member` is its place among the entry's members; `reason` explains any other outcome."""

    session: int
    sequence: int
    outcome: Outcome
    position: Position = Position()
    member: int = 0
    results: tuple[StatementResult, ...] = ()
    reason: str = ""


class ReadReply(Wire, frozen=True):
    """The end of one read: what the replica had applied when it read, and the rows."""

    session: int
    request: int
    outcome: Outcome
    position: Position = Position()
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    reason: str = ""


class ReplyBatch(Wire, frozen=True, tag=2):
    """Replies of one replica to one client process; `leader` is the one that the replica believes in, in `term`, and
    `committed` its committed index."""

    replica: str
    leader: str
    writes: tuple[WriteReply, ...] = ()
    reads: tuple[ReadReply, ...] = ()
    term: int = 0
    committed: int = 0


# Between replicas.


class AppendEntries(Wire, frozen=True, tag=3):
    """Entries that follow `previous` in the leader's log; without entries, a heartbeat.

    `last` is the leader's last index at the time of sending, `committed` its committed index, `sent_ns` its clock.
    """

    term: int
    leader: str
    previous: Position
    last: int
    committed: int
    entries: tuple[bytes, ...] = ()
    sent_ns: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the entries."""
        return sum(map(len, self.entries))

    def with_entries(self, entries: tuple[bytes, ...]) -> AppendEntries:
        """The same message with other entries."""
        return AppendEntries(self.term, self.leader, self.previous, self.last, self.committed, entries, self.sent_ns)


class Progress(Wire, frozen=True, tag=4):
    """How far a follower is: the indices it has received, has durable and has applied.

    All three count entries that matched the log of the leader of `term`. `echo_ns` is the newest `sent_ns` that it has
    had from that leader: the leader's lease counts from there. `observer`: it follows, and is not to be counted.
    """

    term: int
    replica: str
    received: int
    durable: int
    applied: int
    echo_ns: int = 0
    observer: bool = False


class Fetch(Wire, frozen=True, tag=5):
    """A follower asks for the entries after `after`, a position of its own log.

    Of the next entry it holds the first `offset` bytes already. `observer`: see `Progress`.
    """

    term: int
    replica: str
    after: Position
    offset: NotNegative = 0
    observer: bool = False


class Mismatch(Wire, frozen=True, tag=6):
    """The leader's answer to a fetch after a position that its log does not hold: try after `at` or before it."""

    term: int
    leader: str
    at: Position


class RequestVote(Wire, frozen=True, tag=7):
    """A candidate asks for a vote in `term`; `last` is the end of its log.

    `pre`: it asks only whether it would get one; nobody's term changes. `transfer`: the present leader wants it so.
    """

    term: int
    candidate: str
    last: Position
    pre: bool = False
    transfer: bool = False


class Vote(Wire, frozen=True, tag=8):
    """The answer to a request of the same `term`; a refusal may carry a newer term instead."""

    term: int
    voter: str
    granted: bool
    pre: bool = False


class TakeOver(Wire, frozen=True, tag=9):
    """The leader asks an up-to-date follower to stand for election at once."""

    term: int
    leader: str


class SnapshotNeeded(Wire, frozen=True, tag=10):
    """The leader's answer to a fetch of entries that it does not keep any more, or to a new replica's first fetch."""

    term: int
    leader: str


class FetchSnapshot(Wire, frozen=True, tag=11):
    """A follower asks for a piece of a snapshot from byte `offset` on: of the one called `snapshot`, or, if that is
    empty or not to be had, of the leader's choice from the beginning. `layout` tells what it could use; empty:
    it takes anything. `covers`: a snapshot from before the entry at this index is of no use."""

    term: int
    replica: str
    snapshot: str
    offset: NotNegative
    layout: str
    covers: NotNegative = 0


class SnapshotChunk(Wire, frozen=True, tag=12):
    """Bytes of the snapshot named `snapshot`, of `size` bytes altogether, from `offset` on, with their CRC-32."""

    term: int
    leader: str
    snapshot: str
    size: NotNegative
    offset: NotNegative
    data: bytes
    checksum: int


class JoinRefused(Wire, frozen=True, tag=13):
    """The leader will not have the replica, whose process ends with `reason`."""

    term: int
    leader: str
    reason: str


class EntryPiece(Wire, frozen=True, tag=14):
    """Bytes from `offset` on of an entry of `size` bytes that is too long for one message: the one at `entry`, which
    follows `header.previous`. The header, without entries, says what it would say in an `AppendEntries`."""

    header: AppendEntries
    entry: Position
    size: NotNegative
    offset: NotNegative
    data: bytes


# Between whoever runs the cluster and one replica's process.


class Campaign(Wire, frozen=True, tag=16):
    """Stand for election now. For a new cluster, whose replicas need not wait for silence."""

    request: int
    reply_to: str


class Inspect(Wire, frozen=True, tag=18):
    """Ask for the replica's status; `digests` asks for the digests of its tables too."""

    request: int
    reply_to: str
    digests: bool = False


class ReplicaStatus(Wire, frozen=True, tag=19):
    """One replica as it sees itself. Counters are cumulative since its process started; times are nanoseconds.

    `refusal` says why the request that this answers was refused; empty when it was not. `notes` are facts in words,
    such as the windows in which semi-synchronous acknowledgement was given up.
    """

    request: int
    name: str
    role: str
    term: int
    leader: str
    last: Position
    durable: int
    applied: int
    committed: int
    counters: dict[str, int]
    digests: dict[str, str]
    members: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    refusal: str = ""
    notes: dict[str, str] = msgspec.field(default_factory=dict)


class AddMember(Wire, frozen=True, tag=20):
    """Let a replica, whose process runs, join: it is sent a snapshot, catches up, and then becomes a member."""

    request: int
    reply_to: str
    name: str


class RemoveMember(Wire, frozen=True, tag=21):
    """A member counts no more."""

    request: int
    reply_to: str
    name: str


class TransferLeadership(Wire, frozen=True, tag=22):
    """Hand the leadership to a member, once it has everything."""

    request: int
    reply_to: str
    to: str


class LeaderNews(Wire, frozen=True, tag=23):
    """Told to all clients by a new leader, so that those who wait for the old one need not wait on."""

    term: int
    leader: str


Message: TypeAlias = (
    ClientBatch
    | ReplyBatch
    | AppendEntries
    | Progress
    | Fetch
    | Mismatch
    | RequestVote
    | Vote
    | TakeOver
    | SnapshotNeeded
    | FetchSnapshot
    | SnapshotChunk
    | JoinRefused
    | EntryPiece
    | Campaign
    | SetLinks
    | Inspect
    | ReplicaStatus
    | AddMember
    | RemoveMember
    | TransferLeadership
    | LeaderNews
    | SetDisk
    | SetClock
    | Disconnect
)


def sender_of(message: Message) -> str:
    """The replica that a message between replicas says it comes from; empty for all others."""
    match message:
        case AppendEntries() | Mismatch() | TakeOver() | SnapshotNeeded() | SnapshotChunk() | JoinRefused():
            return message.leader
        case EntryPiece(header=header):
            return header.leader
        case Progress() | Fetch() | FetchSnapshot():
            return message.replica
        case RequestVote():
            return message.candidate
        case Vote():
            return message.voter
        case _:
            return ""
