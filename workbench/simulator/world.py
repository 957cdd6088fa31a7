"""A whole cluster in virtual time: real cores, simulated network, clocks and disks, clients, and the laws watching.

One seed decides everything. The world keeps the contract of `effects.py` as a real driver does: what is sent leaves at
once, terms are durable before that, storage does one thing after the other and takes its time. After everything that
happens the laws are checked; what breaks one raises `LawBroken`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import get_args

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
from workbench.simulator.clocks import Clocks
from workbench.simulator.disks import Disks, MemoryDisks
from workbench.simulator.durations import COPY_MS, SYNC_MS, WAKE_NS, WORK_MS, drawn_ms
from workbench.simulator.events import Events
from workbench.simulator.habits import draw_habits
from workbench.simulator.laws import LawBroken, Laws
from workbench.simulator.ledgers import check_ledger
from workbench.simulator.memory_format import Workload
from workbench.simulator.network import Network
from workbench.simulator.node import Node

_MS = 1_000_000
"""From the storage thread to the event loop."""
_TICK = Tick()
_STORAGE_EFFECTS = frozenset(get_args(StorageEffect))


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
        self.clocks = Clocks(self.events)
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
        self.left: Counter[str] = Counter()
        """Replicas that ended themselves."""
        self._held_back: dict[str, list[Message]] = {}
        """What has come for replicas that are paused."""
        self._lives: Counter[str] = Counter()
        """How often a replica was started; what belongs to an earlier life does nothing."""
        self._may_downgrade = config.timing.downgrade_ms > 0
        self._busy: set[str] = set()
        self.steps = 0
        """How often anything has happened to a replica: what is known of them stays true until the next step."""
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
        return Replica(state, self.clocks.shown(name), recovered.incoming)

    def _begin_life(self, name: str) -> None:
        self._lives[name] += 1
        life = self._lives[name]
        tick_ns = int(self.config.timing.tick_ms * _MS)

        def tick() -> None:
            if self._lives[name] == life and self.nodes[name].up:
                if name not in self.paused:
                    self.handle(name, _TICK)
                self.events.after(tick_ns, tick)

        self.events.after(tick_ns * self.random.random(), tick)

    def crash(self, name: str, *, forgets: bool) -> None:
        """End a replica's process; with `forgets`, its disk loses what was not synced. Of what storage was at, any part
        may be there."""
        node = self.nodes[name]
        self._end(name, node.jobs[0] if name in self._busy and node.jobs else None, forgets=forgets)

    def _end(self, name: str, under_way: StorageEffect | None, *, forgets: bool) -> None:
        self.nodes[name].end(self.random, under_way, forgets=forgets)
        self.steps += 1
        self._lives[name] += 1
        self._busy.discard(name)
        self.paused.discard(name)
        self._held_back.pop(name, None)

    def restart(self, name: str) -> None:
        """Start a replica on the disk that it left."""
        node = self.nodes[name]
        node.core = self._core(name, node.recover())
        self.steps += 1
        self._begin_life(name)

    def pause(self, name: str) -> None:
        """Stop a process without its noticing."""
        self.paused.add(name)
        self.steps += 1

    def resume(self, name: str) -> None:
        """Let it go on: it finds everything that has come meanwhile at once."""
        self.paused.discard(name)
        self.steps += 1
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
        if not self.nodes[target].up:
            return
        message = decode(frame)
        if type(message) is ClientBatch:
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
            case LeaderNews() as news:
                client.heard_of_leader(news.leader)

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
        if not node.up:
            return
        self.steps += 1
        if type(happened) is Received:
            for message in happened.messages:
                if type(message) is ClientBatch:
                    self.laws.asked_writes(message.writes)
        core = node.core
        state, role = core.state, core.role
        term, members = state.term, state.members
        downgraded = self._may_downgrade and core.is_downgraded
        effects = core.handle(happened, self.clocks.shown(name))
        if state.committed != node.committed or state.committed > state.log.last.index:
            self._check_committed(node, members)
        for effect in effects:
            if type(effect) is Reply:
                downgraded |= self._may_downgrade and core.is_downgraded
                self.laws.replied(name, effect.writes, term, node.log, members, downgraded=downgraded)
                self.laws.read(name, effect.reads, term, node.log)
            self._carry_out(node, effect)
            if node.disk_failed:
                return
        if core.role is Role.LEADER:
            self.laws.leads(name, state.term, state.log)
        if core.role is not role or type(happened) is Rewound:
            check_ledger(state, self.laws)
        self.laws.received(name, state.log)
        if node.jobs:
            self._work(name)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        if type(effect) in _STORAGE_EFFECTS:
            node.jobs.append(effect)  # type: ignore[arg-type]
            return
        match effect:
            case Send():
                self._send(node.name, effect.to, effect.message, encode(effect.message))
            case Broadcast():
                frame = encode(effect.message)
                for other in self.names:
                    if other != node.name:
                        self._send(node.name, other, effect.message, frame)
            case Reply():
                state = node.core.state
                batch = ReplyBatch(node.name, state.leader, effect.writes, effect.reads, state.term, state.committed)
                self.network.send(node.name, effect.client, encode(batch))
            case SaveTerm(term, voted_for):
                try:
                    node.save_term(term, voted_for)
                except StorageError as error:
                    self._disk_failed(node, None, error)
            case TellClients():
                frame = encode(effect.message)
                for client in self.clients:
                    self.network.send(node.name, client, frame)
            case Answer():
                pass
            case Leave():
                self.left[node.name] += 1
                self.crash(node.name, forgets=False)

    def _send(self, source: str, target: str, message: Message, frame: bytes) -> None:
        self.laws.sent(source, target, message)
        self.network.send_to_replica(source, target, frame)

    def _check_committed(self, node: Node, members: tuple[str, ...]) -> None:
        state = node.core.state
        if state.committed > state.log.last.index:
            raise LawBroken("law 6: an entry that does not exist is committed")
        disks = {other.name: other.log for other in self.nodes.values()}
        for index in range(node.committed + 1, state.committed + 1):
            self.laws.committed(state.log.position_at(index), state.term, disks, members)
        node.committed = state.committed

    # Storage.

    def _work(self, name: str) -> None:
        """Let storage begin its next piece of work, if it has nothing to do."""
        node = self.nodes[name]
        if name in self._busy or not node.jobs or name in self.paused or not node.up:
            return
        self._busy.add(name)
        takes = SYNC_MS if isinstance(node.jobs[0], Append) else WORK_MS
        lasts_ms = drawn_ms(self.random, takes) * self.disk_factor.get(name, 1.0)
        self.events.after(lasts_ms * _MS, self._finish, name, self._lives[name])

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
        self._answer(node, life)
        if node.jobs:
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
                self._answer(node, life)

        self.events.after(drawn_ms(self.random, COPY_MS) * _MS, finish)

    def _answer(self, node: Node, life: int) -> None:
        """Bring what storage has answered to the core, one by one, each a little later than the one before."""
        while node.answers:
            self.events.after(WAKE_NS, self._hear, node.name, life, node.answers.popleft())

    def _hear(self, name: str, life: int, answer: Input | Send) -> None:
        if self._lives[name] != life:
            return
        if name in self.paused:
            self.events.after(_MS, self._hear, name, life, answer)
        elif isinstance(answer, Send):
            self._carry_out(self.nodes[name], answer)
        else:
            self.handle(name, answer)
