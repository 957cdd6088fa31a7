"""What travels: positions, entries, and the messages between replicas and clients.

Every value is an immutable `msgspec.Struct` in array form, so that the wire carries no field names. A field may be
added only at the end, with a default. `codec.py` turns messages into bytes and back; docs/protocol.md tells who
sends what, and when.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    SqlValue: TypeAlias = None | int | float | str | bytes
    """A value as SQLite stores it; integers lie in [-2**63, 2**63)."""
else:
    # msgspec cannot tell text from bytes in a union; MessagePack does, and SQLite refuses any other type.
    SqlValue = Any

NotNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
"""Checked where a message is decoded."""

Row: TypeAlias = tuple[SqlValue, ...]


class Wire(msgspec.Struct, frozen=True, array_like=True):
    """Base of everything that is encoded: immutable, fields by place."""


class Position(Wire, frozen=True, order=True):
    """(term, index) of an entry; never reused. `Position(0, 0)` is before the first entry."""

    term: NotNegative = 0
    index: NotNegative = 0

    def __str__(self) -> str:
        return f"{self.term}.{self.index}"


class Statement(Wire, frozen=True):
    """One SQL statement with its positional parameters."""

    sql: str
    parameters: Row = ()


class Transaction(Wire, frozen=True):
    """One client transaction: all of its statements or none. (session, sequence) makes retries take effect once."""

    session: int
    sequence: int
    statements: tuple[Statement, ...]


class StatementResult(Wire, frozen=True):
    """What one statement of a write did: rows changed, and the rows of a RETURNING clause."""

    changes: int
    rows: tuple[Row, ...] = ()


class Member(Wire, frozen=True):
    """A client transaction listed in the entry that carries it, with the reply that a retry gets again."""

    session: int
    sequence: int
    results: tuple[StatementResult, ...] = ()


class Entry(Wire, frozen=True):
    """What the leader executed at once. `kind` is `""` for the empty entry of a new term, else a log format's name,
    which alone understands `body`."""

    term: int
    index: int
    kind: str
    members: tuple[Member, ...]
    body: bytes

    @property
    def position(self) -> Position:
        return Position(self.term, self.index)


class LoggedEntry(NamedTuple):
    """An entry together with the bytes that stand for it in every log and message; encoded once, by its leader."""

    entry: Entry
    encoded: bytes


# Between clients and replicas.


class Read(Wire, frozen=True):
    """One read-only statement of a session. `from_leader` asks a replica that does not lead to refuse."""

    session: int
    request: int
    statement: Statement
    from_leader: bool = False


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
    """Replies of one replica to one client process; `leader` is the one that the replica believes in."""

    replica: str
    leader: str
    writes: tuple[WriteReply, ...] = ()
    reads: tuple[ReadReply, ...] = ()


# Between replicas.


class AppendEntries(Wire, frozen=True, tag=3):
    """Entries that follow `previous` in the leader's log; without entries, a heartbeat.

    `last` is the leader's last index at the time of sending, `committed` its committed index.
    """

    term: int
    leader: str
    previous: Position
    last: int
    committed: int
    entries: tuple[bytes, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of the entries."""
        return sum(map(len, self.entries))

    def with_entries(self, entries: tuple[bytes, ...]) -> AppendEntries:
        """The same message with other entries."""
        return AppendEntries(self.term, self.leader, self.previous, self.last, self.committed, entries)


class Progress(Wire, frozen=True, tag=4):
    """How far a follower is: the indices it has received, has durable and has applied.

    All three count entries that matched the log of the leader of `term`.
    """

    term: int
    replica: str
    received: int
    durable: int
    applied: int


class Fetch(Wire, frozen=True, tag=5):
    """A follower asks for the entries after `after`, a position of its own log."""

    term: int
    replica: str
    after: Position


class Mismatch(Wire, frozen=True, tag=6):
    """The leader's answer to a fetch after a position that its log does not hold: try after `at` or before it."""

    term: int
    leader: str
    at: Position


# Between whoever runs the cluster and one replica's process.


class Appoint(Wire, frozen=True, tag=16):
    """Lead in a term newer than any that the replica knows."""

    request: int
    reply_to: str


class SetLinkDelay(Wire, frozen=True, tag=17):
    """Hold every message from other replicas back by `delay_ms`."""

    request: int
    reply_to: str
    delay_ms: float


class Inspect(Wire, frozen=True, tag=18):
    """Ask for the replica's status; `digests` asks for the digests of its tables too."""

    request: int
    reply_to: str
    digests: bool = False


class ReplicaStatus(Wire, frozen=True, tag=19):
    """One replica as it sees itself. Counters are cumulative since its process started; times are nanoseconds."""

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


Message: TypeAlias = (
    ClientBatch
    | ReplyBatch
    | AppendEntries
    | Progress
    | Fetch
    | Mismatch
    | Appoint
    | SetLinkDelay
    | Inspect
    | ReplicaStatus
)
