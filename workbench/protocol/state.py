"""What a replica is whatever its role, and the effects it has asked for but not yet returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.config import AckPolicy, Limits, Timing
from workbench.protocol.effects import Effect, Rewind
from workbench.protocol.inputs import Queried
from workbench.protocol.log_view import LogView
from workbench.protocol.messages import Entry, Outcome, Position, Read, ReadReply
from workbench.protocol.replies import answer_queries
from workbench.protocol.sessions import SessionTable

NANOSECONDS_PER_MS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What a replica's disk says when it starts; the database has been brought to `log`'s end already."""

    term: int = 0
    voted_for: str = ""
    term_starts: Sequence[tuple[int, int]] = ()
    last_index: int = 0
    sessions: SessionTable = field(default_factory=SessionTable)


@dataclass(kw_only=True, slots=True)
class ReplicaState:
    """Shared by the duties of every role. Only the duty of the present role, and `Replica`, change it."""

    name: str
    members: tuple[str, ...]
    log_format: str
    ack: AckPolicy
    limits: Limits
    timing: Timing
    term: int
    voted_for: str
    log: LogView
    sessions: SessionTable
    durable: int
    """Entries up to here are on disk and belong to `log`."""
    applied: int
    """Entries up to here are visible in the database and belong to `log`."""
    committed: int = 0
    leader: str = ""
    rewinding: int = 0
    """Rewinds that storage has not answered yet."""
    reading: int = 0
    """Reads that were admitted and have no answer yet."""
    refused_messages: int = 0
    """Messages that made no sense: from a stranger, meant for somebody else, or with bytes that are no entries."""
    effects: list[Effect] = field(default_factory=list)

    @classmethod
    def recover(
        cls,
        *,
        name: str,
        members: tuple[str, ...],
        log_format: str,
        ack: AckPolicy,
        limits: Limits,
        timing: Timing,
        recovered: Recovered,
    ) -> ReplicaState:
        """The state of a replica that has just started."""
        return cls(
            name=name,
            members=members,
            log_format=log_format,
            ack=ack,
            limits=limits,
            timing=timing,
            term=recovered.term,
            voted_for=recovered.voted_for,
            log=LogView(recovered.term_starts, recovered.last_index),
            sessions=recovered.sessions,
            durable=recovered.last_index,
            applied=recovered.last_index,
        )

    @property
    def others(self) -> tuple[str, ...]:
        """All members but this one."""
        return tuple(member for member in self.members if member != self.name)

    def ask(self, *effects: Effect) -> None:
        """Add effects, in order, to those of the present call."""
        self.effects.extend(effects)

    def take(self, entry: Entry) -> None:
        """Take note of an entry that now follows the last one in this replica's log."""
        self.log.append(entry.position)
        self.sessions.record(entry)

    def commit(self, index: int) -> None:
        """Entries up to `index` survive every failover."""
        if index > self.committed:
            self.committed = index
            self.sessions.commit(index)

    def rewind(self, to: Position) -> None:
        """Drop the entries behind `to`. Storage has been given every entry of the log by now."""
        self.log.truncate(to.index)
        self.sessions.truncate(to.index)
        self.durable = min(self.durable, to.index)
        self.applied = min(self.applied, to.index)
        self.committed = min(self.committed, to.index)
        self.rewinding += 1
        self.ask(Rewind(to))

    def rewound(self, to: Position) -> None:
        """A rewind is done; everything up to `to` is on disk and visible, unless a later one goes further back."""
        self.rewinding -= 1
        if not self.rewinding:
            self.became_durable(to)
            self.became_applied(to)

    def became_durable(self, position: Position) -> None:
        """The log is on disk up to `position`.

        While a rewind is under way this may speak of an entry that was dropped, even if the log holds the same
        position once more: it came back in memory only.
        """
        if not self.rewinding and self.log.holds(position):
            self.durable = max(self.durable, position.index)

    def became_applied(self, position: Position) -> None:
        """The database shows `position`; see `became_durable`."""
        if not self.rewinding and self.log.holds(position):
            self.applied = max(self.applied, position.index)

    def admit_reads(self, reads: Sequence[Read]) -> tuple[Sequence[Read], tuple[ReadReply, ...]]:
        """Reads that there is room for, and refusals of the rest."""
        room = max(0, self.limits.waiting_transactions_max - self.reading)
        admitted = reads[:room]
        self.reading += len(admitted)
        reason = "too many reads are waiting"
        refused = (ReadReply(read.session, read.request, Outcome.OVERLOADED, reason=reason) for read in reads[room:])
        return admitted, tuple(refused)

    def answer_reads(self, queried: Queried) -> None:
        """Pass answers on to the clients that asked."""
        self.reading -= len(queried.answers)
        self.ask(*answer_queries(queried))
