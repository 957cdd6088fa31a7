"""A whole cluster in virtual time: real cores, simulated network, clocks and disks, clients, and the laws watching.

One seed decides everything. The world keeps the contract of `effects.py` as a real driver does: what is sent leaves at
once, terms are durable before that, storage does one thing after the other and takes its time. After everything that
happens the laws are checked; what breaks one raises `LawBroken`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from random import Random

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.errors import StorageError
from workbench.protocol.codec import decode, encode
from workbench.protocol.effects import (
    Answer,
    Append,
    Broadcast,
    Effect,
    Leave,
    Reply,
    SaveTerm,
    Send,
    StorageEffect,
    TellClients,
)
from workbench.protocol.inputs import Input, Received, Rewound, Tick
from workbench.protocol.messages import Campaign, ClientBatch, LeaderNews, Message, ReplyBatch
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.snapshot import Recovered
from workbench.protocol.state import ReplicaState
from workbench.simulator.clients import Client
from workbench.simulator.disks import Disks, MemoryDisks
from workbench.simulator.events import Events
from workbench.simulator.habits import draw_habits
from workbench.simulator.laws import LawBroken, Laws
from workbench.simulator.ledgers import check_ledger
from workbench.simulator.memory_format import Workload
from workbench.simulator.network import Network
from workbench.simulator.node import Node

_MS = 1_000_000
_SYNC_MS = (0.3, 1.2)
_WORK_MS = (0.02, 0.1)
_COPY_MS = (2.0, 20.0)
_WAKE_NS = 20_000
"""From the storage thread to the event loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """What one world is made of."""

    seed: int
    followers: int = 2
    clients: int = 4
    ack: AckPolicy
    limits: Limits
    timing: Timing
    protections: Protections


class World:
    """Replicas `replica-1..n`, clients `client-1..m`. `nodes` has all replicas that ever were, `names` those to ask."""

    def __init__(self, config: WorldConfig, disks: Disks | None = None) -> None:
        self.config = config
        self.disks = MemoryDisks() if disks is None else disks
        self.random = Random(config.seed)
        self.events = Events()
        self.network = Network(self.events, self.random, self._deliver)
        self.names = tuple(f"replica-{number}" for number in range(1, config.followers + 2))
        self.first_members = self.names
        protections = config.protections
        self.laws = Laws(
            len(self.names),
            config.ack,
            elected=protections.up_to_date_check and protections.fencing,
            leases=protections.fencing and protections.check_quorum,
            downgrades=config.timing.downgrade_ms > 0,
            changes=self.disks.workload.changes,
        )
        self.nodes: dict[str, Node] = {}
        self.paused: set[str] = set()
        self.observers: set[str] = set()
        self.disk_factor: dict[str, float] = {}
        """By how much a replica's storage is slower than it should be."""
        self.clock_ahead_ns: dict[str, int] = {}
        self._drifts: dict[str, tuple[int, float]] = {}
        """Replica -> since when its clock runs how fast."""
        self.left: Counter[str] = Counter()
        """Replicas that ended themselves."""
        self._held_back: dict[str, list[Message]] = {}
        """What has come for replicas that are paused."""
        self._lives: Counter[str] = Counter()
        """How often a replica was started; what belongs to an earlier life does nothing."""
        self._busy: set[str] = set()
        self._sessions = 0
        self._trace = hashlib.blake2b(digest_size=16)
        for name in self.names:
            self.add_node(name)
        self.clients = {
            (name := f"client-{number}"): Client(self, name, Random(f"{config.seed}/{name}"), habits)
            for number, habits in enumerate(draw_habits(Random(f"{config.seed}/habits"), config.clients), start=1)
        }
        self.handle(self.names[0], Received((Campaign(0, ""),)))

    @property
    def trace_hash(self) -> str:
        """Of everything that has happened: equal for equal seeds, on any machine."""
        return self._trace.hexdigest()

    def run_for(self, milliseconds: float) -> None:
        """Let time pass, and everything happen that it brings."""
        self.events.run_until(self.events.now + int(milliseconds * _MS))

    # Replicas.

    def add_node(self, name: str, *, observer: bool = False) -> None:
        """Start a replica with an empty disk."""
        if observer:
            self.observers.add(name)
        if name not in self.names:
            self.names = (*self.names, name)
        self.nodes[name] = self.disks.add(name, self)
        self.restart(name)

    def _core(self, name: str, recovered: Recovered) -> Replica:
        config = self.config
        state = ReplicaState.recover(
            name=name,
            log_format=self.disks.log_format,
            layout=self.disks.layout,
            ack=config.ack,
            limits=config.limits,
            timing=config.timing,
            protections=config.protections,
            random=self.random.random,
            recovered=recovered,
            observer=name in self.observers,
        )
        return Replica(state, self._clock(name), recovered.incoming)

    def _clock(self, name: str) -> int:
        now = self.events.now
        since, rate = self._drifts.get(name, (now, 1.0))
        return now + self.clock_ahead_ns.get(name, 0) + int((now - since) * (rate - 1.0))

    def let_drift(self, name: str, rate: float) -> None:
        """Let a replica's clock run `rate` times as fast as it should, from what it shows now."""
        self.clock_ahead_ns[name] = self._clock(name) - self.events.now
        self._drifts[name] = (self.events.now, rate)

    def _begin_life(self, name: str) -> None:
        self._lives[name] += 1
        life = self._lives[name]
        tick_ns = int(self.config.timing.tick_ms * _MS)

        def tick() -> None:
            if self._lives[name] == life and self.nodes[name].up:
                if name not in self.paused:
                    self.handle(name, Tick())
                self.events.after(tick_ns, tick)

        self.events.after(tick_ns * self.random.random(), tick)

    def crash(self, name: str, *, forgets: bool) -> None:
        """End a replica's process; with `forgets`, its disk loses what was not synced. Of what storage was at, any part
        may be there."""
        node = self.nodes[name]
        self._end(name, node.jobs[0] if name in self._busy and node.jobs else None, forgets=forgets)

    def _end(self, name: str, under_way: StorageEffect | None, *, forgets: bool) -> None:
        self.nodes[name].end(self.random, under_way, forgets=forgets)
        self._lives[name] += 1
        self._busy.discard(name)
        self.paused.discard(name)
        self._held_back.pop(name, None)

    def restart(self, name: str) -> None:
        """Start a replica on the disk that it left."""
        node = self.nodes[name]
        node.core = self._core(name, node.recover())
        self._begin_life(name)

    def pause(self, name: str) -> None:
        """Stop a process without its noticing."""
        self.paused.add(name)

    def resume(self, name: str) -> None:
        """Let it go on: it finds everything that has come meanwhile at once."""
        self.paused.discard(name)
        messages = self._held_back.pop(name, [])
        if self.nodes[name].up:
            if messages:
                self.handle(name, Received(tuple(messages)))
            self._work(name)

    def leader(self) -> Node | None:
        """Whoever leads in the newest term."""
        leaders = [node for node in self.nodes.values() if node.up and node.core.role is Role.LEADER]
        return max(leaders, key=lambda node: node.core.state.term, default=None)

    # Messages.

    def _deliver(self, source: str, target: str, frame: bytes) -> None:
        self._note(f"{source}>{target}", frame)
        if target in self.clients:
            self._deliver_to_client(self.clients[target], frame)
            return
        node = self.nodes[target]
        if not node.up:
            return
        message = decode(frame)
        if isinstance(message, ClientBatch):
            self.laws.asked(message.reads)
        if target in self.paused:
            self._held_back.setdefault(target, []).append(message)
        else:
            self.handle(target, Received((message,)))

    def _note(self, what: str, content: bytes = b"") -> None:
        self._trace.update(b"%d %s %s\n" % (self.events.now, what.encode(), content))

    @staticmethod
    def _deliver_to_client(client: Client, frame: bytes) -> None:
        match decode(frame):
            case ReplyBatch() as batch:
                client.receive(batch)
            case LeaderNews(leader=leader):
                client.heard_of_leader(leader)

    def ask(self, client: str, replica: str, batch: ClientBatch) -> None:
        """Requests of a client set out."""
        self.disks.workload.asked(batch.writes)
        self.network.send(client, replica, encode(batch))

    @property
    def workload(self) -> Workload:
        """What clients ask."""
        return self.disks.workload

    def new_session(self) -> int:
        """A number that no session has had."""
        self._sessions += 1
        return self._sessions

    # The contract in effects.py.

    def handle(self, name: str, happened: Input) -> None:
        """Give an input to a core, do what it asks, and check the laws."""
        node = self.nodes[name]
        if self.left[name] or not node.up:
            return
        if isinstance(happened, Received):
            for message in happened.messages:
                if isinstance(message, ClientBatch):
                    self.laws.asked_writes(message.writes)
        state = node.core.state
        term, members, role = state.term, state.members, node.core.role
        downgraded = node.core.is_downgraded
        effects = node.core.handle(happened, self._clock(name))
        self._check_committed(node, members)
        downgraded |= node.core.is_downgraded
        for effect in effects:
            if isinstance(effect, Reply):
                self.laws.replied(name, effect.writes, term, node.log, members, downgraded=downgraded)
                self.laws.read(name, effect.reads, term, node.log)
            self._carry_out(node, effect)
            if node.disk_failed:
                return
        if node.core.role is Role.LEADER:
            self.laws.leads(name, state.term, state.log)
        if isinstance(happened, Rewound) or role is not node.core.role:
            check_ledger(state, self.laws)
        self.laws.received(name, state.log)
        self._work(name)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case SaveTerm(term, voted_for):
                try:
                    node.save_term(term, voted_for)
                except StorageError as error:
                    self._disk_failed(node, None, error)
            case Send(to, message):
                self._send(node.name, to, message, encode(message))
            case Broadcast(message):
                frame = encode(message)
                for other in self.names:
                    if other != node.name:
                        self._send(node.name, other, message, frame)
            case Reply(client, writes, reads):
                state = node.core.state
                batch = ReplyBatch(node.name, state.leader, writes, reads, state.term, state.committed)
                self.network.send(node.name, client, encode(batch))
            case TellClients(message):
                frame = encode(message)
                for client in self.clients:
                    self.network.send(node.name, client, frame)
            case Answer():
                pass
            case Leave():
                self.left[node.name] += 1
                self.crash(node.name, forgets=False)
            case _:
                node.jobs.append(effect)

    def _send(self, source: str, target: str, message: Message, frame: bytes) -> None:
        self.laws.sent(source, target, message)
        self.network.send_to_replica(source, target, frame)

    def _check_committed(self, node: Node, members: tuple[str, ...]) -> None:
        state = node.core.state
        if state.committed > state.log.last.index:
            raise LawBroken("law 6: an entry that does not exist is committed")
        for index in range(node.committed + 1, state.committed + 1):
            disks = {other.name: other.log for other in self.nodes.values()}
            self.laws.committed(state.log.position_at(index), state.term, disks, members)
        node.committed = state.committed

    # Storage.

    def _work(self, name: str) -> None:
        """Let storage begin its next piece of work, if it has nothing to do."""
        node = self.nodes[name]
        if name in self._busy or not node.jobs or name in self.paused or not node.up:
            return
        self._busy.add(name)
        life = self._lives[name]
        self.events.after(self._duration_ns(name, node.jobs[0]), lambda: self._finish(name, life))

    def _duration_ns(self, name: str, effect: StorageEffect) -> float:
        low, high = _SYNC_MS if isinstance(effect, Append) else _WORK_MS
        return (low + (high - low) * self.random.random()) * self.disk_factor.get(name, 1.0) * _MS

    def _finish(self, name: str, life: int) -> None:
        if self._lives[name] != life:
            return
        node = self.nodes[name]
        self._busy.discard(name)
        was_copying = node.copying is not None
        job = node.jobs[0]
        self._note(f"{name} {type(job).__name__}")
        try:
            node.perform()
        except StorageError as error:
            self._disk_failed(node, job, error)
            return
        if node.copying is not None and not was_copying:
            self._plan_copy(name, life)
        self._answer(name, life)
        self._work(name)

    def _disk_failed(self, node: Node, job: StorageEffect | None, error: StorageError) -> None:
        """Storage could not do its work, which ends the process, and may only be if a fault wanted it."""
        if not node.disk_failed:
            raise error
        self._note(f"{node.name} ends")
        self._end(node.name, None if node.disk_is_full else job, forgets=False)

    def _plan_copy(self, name: str, life: int) -> None:
        node = self.nodes[name]
        copy = node.copying

        def finish() -> None:
            if self._lives[name] == life and node.copying is copy:
                try:
                    node.finish_copy()
                except StorageError as error:
                    self._disk_failed(node, None, error)
                    return
                self._answer(name, life)

        low, high = _COPY_MS
        self.events.after((low + (high - low) * self.random.random()) * _MS, finish)

    def _answer(self, name: str, life: int) -> None:
        """Bring what storage has answered to the core, one by one, each a little later than the one before."""
        node = self.nodes[name]
        while node.answers:
            self.events.after(_WAKE_NS, partial(self._hear, name, life, node.answers.popleft()))

    def _hear(self, name: str, life: int, answer: Input | Send) -> None:
        if self._lives[name] != life:
            return
        if name in self.paused:
            self.events.after(_MS, lambda: self._hear(name, life, answer))
        elif isinstance(answer, Send):
            self._carry_out(self.nodes[name], answer)
        else:
            self.handle(name, answer)
