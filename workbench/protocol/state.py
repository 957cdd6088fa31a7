"""What a replica is whatever its role, and the effects it has asked for but not yet returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.protocol.effects import Effect, Rewind, SaveTerm
from workbench.protocol.ledger import Ledger
from workbench.protocol.log_view import LogView
from workbench.protocol.milestones import Milestones
from workbench.protocol.snapshot import Recovered, SnapshotState
from workbench.protocol.values import Entry, Position

NANOSECONDS_PER_MS = 1_000_000
_COUNTS = ("elections", "elections_won", "downgrades", "divergences")


@dataclass(kw_only=True, slots=True)
class ReplicaState:
    """Shared by the duties of every role. Only the duty of the present role, and `Replica`, change it."""

    name: str
    log_format: str
    layout: str
    """What the other members must have in common with this one, in words; empty: nobody looks."""
    ack: AckPolicy
    limits: Limits
    timing: Timing
    protections: Protections
    random: Callable[[], float]
    """The only randomness: a number in [0, 1) for the next election timeout."""
    observer: bool
    """It follows whoever leads, and counts for nothing."""
    term: int
    voted_for: str
    log: LogView
    ledger: Ledger
    base: Position
    """Position of the newest sealed snapshot of this replica's own disk."""
    log_bytes: int
    """Bytes of the entries behind `base`."""
    sealing: int = 0
    """Index of the snapshot that storage was asked to seal: no rewind leads back behind that either."""
    durable: int
    """Entries up to here are on disk and belong to `log`."""
    applied: int
    """Entries up to here are visible in the database and belong to `log`."""
    committed: int
    leader: str = ""
    diverged: str = ""
    """Why the database is not what the leader's is; then it serves nobody, and is about to be made anew."""
    rewinding: int = 0
    """Rewinds that storage has not answered yet."""
    reading: int = 0
    """Reads that were admitted and have no answer yet."""
    refused_messages: int = 0
    """Messages that made no sense: from a stranger, meant for somebody else, or with bytes that are no entries."""
    milestones: Milestones = field(default_factory=Milestones)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    """Since the process started: elections stood for (in a new term) and won, windows of given-up semi-sync, times that
    the database turned out to differ from the leader's."""
    notes: dict[str, str] = field(default_factory=dict)
    """Facts in words that belong into the status."""
    effects: list[Effect] = field(default_factory=list)
    election_timeout_ns: int = field(init=False)
    """The shortest silence after which anybody stands for election."""

    def __post_init__(self) -> None:
        self.election_timeout_ns = self.ns(self.timing.election_timeout_ms)

    @classmethod
    def recover(
        cls,
        *,
        name: str,
        log_format: str,
        layout: str,
        ack: AckPolicy,
        limits: Limits,
        timing: Timing,
        protections: Protections,
        random: Callable[[], float],
        recovered: Recovered,
        observer: bool = False,
    ) -> ReplicaState:
        """The state of a replica that has just started."""
        state = cls(
            name=name,
            log_format=log_format,
            layout=layout,
            ack=ack,
            limits=limits,
            timing=timing,
            protections=protections,
            random=random,
            observer=observer,
            term=recovered.term,
            voted_for=recovered.voted_for,
            log=LogView(),
            ledger=recovered.ledger,
            base=recovered.base,
            log_bytes=0,
            durable=0,
            applied=0,
            committed=0,
        )
        state.install(recovered)
        state.milestones.started = state.log.last
        return state

    def install(self, recovered: Recovered) -> None:
        """Take over what the disk holds: at the start, and when a snapshot has taken the place of log and database."""
        self.log = LogView(recovered.term_starts, recovered.last_index, recovered.first_index)
        self.ledger = recovered.ledger
        self.base = recovered.base
        self.log_bytes = recovered.log_bytes
        self.durable = recovered.last_index
        self.applied = recovered.last_index if recovered.applied is None else recovered.applied.index
        self.committed = 0
        self.commit(recovered.base.index)

    # Who counts.

    @property
    def members(self) -> tuple[str, ...]:
        """All members, this replica included if it is one."""
        return self.ledger.membership.current

    @property
    def is_member(self) -> bool:
        """Whether this replica counts. Before it has joined, and after it was removed, it does not."""
        return self.name in self.members

    @property
    def others(self) -> tuple[str, ...]:
        """All members but this one."""
        return tuple(member for member in self.members if member != self.name)

    @property
    def majority(self) -> int:
        """How many members are more than half of them."""
        return len(self.members) // 2 + 1

    # Time.

    def ns(self, milliseconds: float) -> int:
        """Nanoseconds of a duration of the configuration."""
        return int(milliseconds * NANOSECONDS_PER_MS)

    @property
    def lease_ns(self) -> int:
        """How long a majority's answer keeps a leader in office, from the sending of what it answered."""
        return self.election_timeout_ns * 9 // 10

    # Effects.

    def ask(self, *effects: Effect) -> None:
        """Add effects, in order, to those of the present call."""
        self.effects.extend(effects)

    def save_term(self, term: int, voted_for: str) -> None:
        """Be in `term`, durably before anybody hears of it."""
        self.term, self.voted_for = term, voted_for
        self.ask(SaveTerm(term, voted_for))

    # The log.

    def take(self, entry: Entry, size_bytes: int) -> None:
        """Take note of an entry that now follows the last one in this replica's log."""
        self.log.append(entry.position)
        self.ledger.record(entry)
        self.log_bytes += size_bytes

    def commit(self, index: int) -> None:
        """Entries up to `index` survive every failover."""
        if index > self.committed:
            self.committed = index
            self.ledger.commit(index)

    def rewind(self, to: Position) -> None:
        """Drop the entries behind `to`. Storage has been given every entry of the log by now."""
        self.log.truncate(to.index)
        self.ledger.truncate(to.index)
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

    def snapshot_state(self, position: Position) -> SnapshotState:
        """What a snapshot at `position`, which is committed, must say besides the database."""
        starts = tuple(start for start in self.log.term_starts if start[1] <= position.index)
        return SnapshotState(position, starts, self.ledger.image_at(position.index))
