"""One replica among very many: the real core, a CPU that takes its time, a disk that keeps no more than must be.

What is real is the core (`protocol/`), with every message that it wants sent. The disk answers storage effects in their
order, each after a drawn time, and has a log but no database: what is applied is an index. The CPU does one thing after
the other: everything that waits when it wakes is one turn, as in a real driver, and what is sent leaves one by one
behind it. There are no snapshots: logs stay short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

import msgspec

from workbench.config import Timing
from workbench.protocol.effects import (
    Abandon,
    Answer,
    Append,
    Apply,
    Broadcast,
    Commit,
    Effect,
    Execute,
    Reply,
    Rewind,
    SaveTerm,
    Send,
    SendLog,
    StorageEffect,
    TellClients,
)
from workbench.protocol.inputs import Applied, Durable, Executed, Input, Received, Rewound, Tick
from workbench.protocol.ledger import Ledger
from workbench.protocol.messages import AppendEntries, Message, Progress, ReplyBatch
from workbench.protocol.outcomes import Execution
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import LoggedEntry, Member, Position, StatementResult
from workbench.simulator.durations import WAKE_NS, WORK_MS, drawn_ms
from workbench.simulator.events import Events
from workbench.simulator.scale_network import Costs

_MS, _US = 1_000_000, 1_000
_NEVER: Final = 1 << 62


@dataclass(slots=True)
class Counts:
    """What one replica has done since its world began: sums, of which differences are read."""

    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    """What left it: a message to all others through the broker counts once."""
    bytes_out: int = 0
    deliveries: int = 0
    """What came of these: messages that somebody was to get."""
    delivered_bytes: int = 0
    entry_messages_out: int = 0
    """Of all this, what carried entries."""
    entry_bytes_out: int = 0
    entry_deliveries: int = 0
    entry_delivered_bytes: int = 0
    busy_ns: int = 0
    """CPU time."""
    candidacies: int = 0
    """Terms that it made to stand in."""

    def sent(self, message: Message, size_bytes: int, receivers: int) -> None:
        """A message has left."""
        self.messages_out += 1
        self.bytes_out += size_bytes
        self.deliveries += receivers
        self.delivered_bytes += size_bytes * receivers
        if isinstance(message, AppendEntries) and message.entries:
            self.entry_messages_out += 1
            self.entry_bytes_out += size_bytes
            self.entry_deliveries += receivers
            self.entry_delivered_bytes += size_bytes * receivers

    def since(self, before: Counts) -> Counts:
        """How far everything has grown."""
        return Counts(*(getattr(self, name) - getattr(before, name) for name in self.__slots__))


class ReplicaWorld(Protocol):
    """What a replica needs of its world."""

    events: Events
    random: Random
    costs: Costs

    def send(self, source: ScaledReplica, to: str, message: Message, at: int) -> None:
        """A message to one replica leaves at `at`."""
        ...

    def broadcast(self, source: ScaledReplica, message: Message, at: int) -> int:
        """A message to all others begins to leave at `at`; when the last of it has left."""
        ...

    def tell_client(self, source: ScaledReplica, message: Message, at: int) -> None:
        """A message to the client leaves at `at`."""
        ...

    def recovered(self, replica: ScaledReplica) -> Replica:
        """A core for the disk that this replica has."""
        ...

    def began_to_lead(self, replica: ScaledReplica) -> None:
        """It has just won an election."""
        ...

    def showed(self, replica: ScaledReplica, index: int) -> None:
        """Its database shows the entries up to `index` now."""
        ...


class ScaledReplica:
    """One replica. `number` from 0; `core` is None while it is down."""

    def __init__(self, world: ReplicaWorld, number: int, name: str, first_members: tuple[str, ...]) -> None:
        self.number = number
        self.name = name
        self.first_members = first_members
        self.log: list[LoggedEntry] = []
        self.term: tuple[int, str] = (0, "")
        self.applied = 0
        self.dropped: list[LoggedEntry] = []
        """What rewinds dropped."""
        self.died_ns = _NEVER
        self.life = 0
        self.counts = Counts()
        self.spoke_ns = 0
        """When it last said something to all others."""
        self._world = world
        self._events = world.events
        costs = world.costs
        self._turn_ns, self._handle_ns = int(costs.turn_us * _US), int(costs.handle_us * _US)
        self._send_ns = int(costs.send_us * _US)
        self._report_ns = int(costs.member_us * len(first_members) * _US)
        self._sync_ms = (costs.sync_ms * 2 / 5, costs.sync_ms * 8 / 5)  # in floating point, too, those of `durations`
        self._free_at = 0
        """Until when the CPU is busy."""
        self._inbox: list[Message] = []
        self._answers: list[Input | Send] = []
        self._tick_is_due = False
        self._wakes = False
        self._jobs: deque[StorageEffect] = deque()
        self._is_storing = False
        self._leads = False
        self.core: Replica | None = None

    # Life.

    def start(self, tick_ms: float) -> None:
        """Begin, or begin again, on the disk that is there. It ticks every `tick_ms`; a leader no less than usually."""
        self.life += 1
        self.died_ns = _NEVER
        self._free_at = self._events.now
        self.core = self._world.recovered(self)
        tick_ns, leading_ns, life = int(tick_ms * _MS), int(min(tick_ms, Timing().tick_ms) * _MS), self.life

        def tick() -> None:
            if self.life == life:
                self._tick_is_due = True
                self._wake_up()
                self._events.after(leading_ns if self._leads else tick_ns, tick)

        self._events.after(tick_ns * self._world.random.random(), tick)

    def kill(self) -> None:
        """The process is gone; what it has sent is on its way, and its log is what it was."""
        self.life += 1
        self.died_ns = self._events.now
        self.core = None
        self._inbox, self._answers = [], []
        self._tick_is_due = self._wakes = self._is_storing = self._leads = False
        self._jobs.clear()

    def what_disk_says(self) -> Recovered:
        """For a new core."""
        ledger = Ledger(self.first_members)
        starts: list[tuple[int, int]] = []
        for entry, _ in self.log:
            ledger.record(entry)
            if not starts or starts[-1][0] != entry.term:
                starts.append((entry.term, entry.index))
        self.applied = len(self.log)
        return Recovered(
            term=self.term[0],
            voted_for=self.term[1],
            term_starts=starts,
            last_index=len(self.log),
            log_bytes=sum(len(logged.encoded) for logged in self.log),
            ledger=ledger,
        )

    @property
    def leads(self) -> bool:
        """Whether it is up and takes itself for the leader."""
        return self._leads

    @property
    def last(self) -> Position:
        """Of the last entry on its disk."""
        return self.log[-1].entry.position if self.log else Position()

    # The CPU.

    def receive(self, message: Message, size_bytes: int) -> None:
        """A message has come."""
        if self.core is None:
            return
        self.counts.messages_in += 1
        self.counts.bytes_in += size_bytes
        self._inbox.append(message)
        self._wake_up()

    def _wake_up(self) -> None:
        if not self._wakes:
            self._wakes = True
            life = self.life
            self._events.at(self._free_at, lambda: self._turn(life))

    def _turn(self, life: int) -> None:
        """Everything that waits, in the order of a real driver: storage's answers, messages, then the tick."""
        if self.life != life or self.core is None:
            return
        self._wakes = False
        now = self._events.now
        self._free_at = now + self._turn_ns
        answers, self._answers = self._answers, []
        for answer in answers:
            if isinstance(answer, Send):
                self._carry_out([answer])
            else:
                self._handle(answer)
        if self._inbox:
            messages, self._inbox = tuple(self._inbox), []
            work_ns = self._handle_ns * len(messages)
            if self._leads:
                work_ns += self._report_ns * sum(type(message) is Progress for message in messages)
            self._free_at += work_ns
            self._handle(Received(messages))
        if self._tick_is_due:
            self._tick_is_due = False
            self._handle(Tick())
        self.counts.busy_ns += self._free_at - now

    def _handle(self, happened: Input) -> None:
        assert self.core is not None
        effects = self.core.handle(happened, self._events.now)
        leads = self.core.role is Role.LEADER
        if leads and not self._leads:
            self._world.began_to_lead(self)
        self._leads = leads
        self._carry_out(effects)

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        """What is sent leaves when the CPU is done with it; storage begins at once."""
        world = self._world
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._free_at += self._send_ns
                    world.send(self, to, message, self._free_at)
                case Broadcast(message):
                    self.spoke_ns = self._free_at
                    self._free_at = world.broadcast(self, message, self._free_at)
                case Reply(_, writes, reads):
                    assert self.core is not None
                    state = self.core.state
                    self._free_at += self._send_ns
                    batch = ReplyBatch(self.name, state.leader, writes, reads, state.term, state.committed)
                    world.tell_client(self, batch, self._free_at)
                case TellClients(message):
                    self._free_at += self._send_ns
                    world.tell_client(self, message, self._free_at)
                case SaveTerm(term, voted_for):
                    self.term = (term, voted_for)
                    if voted_for == self.name:
                        self.counts.candidacies += 1
                case Answer():
                    pass
                case _:
                    assert isinstance(effect, StorageEffect)
                    self._jobs.append(effect)
        self._store_next()

    # Storage.

    def _store_next(self) -> None:
        if self._is_storing or not self._jobs:
            return
        self._is_storing = True
        bounds = self._sync_ms if isinstance(self._jobs[0], Append) else WORK_MS
        life, takes_ns = self.life, drawn_ms(self._world.random, bounds) * _MS
        self._events.after(takes_ns, lambda: self._stored(life))

    def _stored(self, life: int) -> None:
        if self.life != life:
            return
        self._is_storing = False
        answer = self._perform(self._jobs.popleft())
        if answer is not None:
            self._events.after(WAKE_NS, lambda: self._answer(life, answer))
        self._store_next()

    def _answer(self, life: int, answer: Input | Send) -> None:
        if self.life == life:
            self._answers.append(answer)
            self._wake_up()

    def _perform(self, effect: StorageEffect) -> Input | Send | None:
        match effect:
            case Execute(position, group):
                done = tuple(Member(one.session, one.sequence, (StatementResult(1),)) for one in group)
                return Executed(
                    position, Execution(done, (), msgspec.msgpack.encode([one.statements for one in group]))
                )
            case Append(entries):
                for logged in entries:
                    assert logged.entry.index == len(self.log) + 1, "the log must continue without a gap"
                    self.log.append(logged)
                return Durable(self.last)
            case Commit(position):
                return self._show(position)
            case Apply(entries):
                return self._show(entries[-1].entry.position)
            case Abandon():
                return None
            case Rewind(to):
                self.dropped += self.log[to.index :]
                del self.log[to.index :]
                self.applied = min(self.applied, to.index)
                return Rewound(to)
            case SendLog(to, header, bytes_max):
                return Send(to, header.with_entries(self._read_log(header, bytes_max)))
        raise AssertionError(f"no replica here asks for {type(effect).__name__}")

    def _show(self, position: Position) -> Applied:
        assert position.index <= len(self.log), "shown before it was durable"
        self.applied = position.index
        self._world.showed(self, position.index)
        return Applied(position)

    def _read_log(self, header: AppendEntries, bytes_max: int) -> tuple[bytes, ...]:
        payloads: list[bytes] = []
        for logged in self.log[header.previous.index :]:
            if payloads and sum(map(len, payloads)) + len(logged.encoded) > bytes_max:
                break
            payloads.append(logged.encoded)
        return tuple(payloads)
