"""A whole cluster inside one test: real cores, an in-memory network with a seeded order, in-memory disks.

Nothing runs by itself: `step` delivers one message, finishes one storage effect, brings its answer to the core or lets
time pass, chosen by a seeded generator, and the laws of `laws.py` are checked all the while. A disk remembers what was
synced; a crash forgets the rest.
"""

from __future__ import annotations

import random
from itertools import pairwise

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.protocol.codec import decode, encode
from workbench.protocol.effects import Answer, Broadcast, Effect, Leave, Reply, SaveTerm, Send, TellClients
from workbench.protocol.following import Following
from workbench.protocol.inputs import Input, Received, Tick
from workbench.protocol.leading import Leading
from workbench.protocol.ledger import Ledger
from workbench.protocol.messages import (
    AppendEntries,
    ClientBatch,
    LeaderNews,
    Message,
    Progress,
    Read,
    ReadReply,
    RequestVote,
    TakeOver,
    Vote,
    WriteReply,
)
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.snapshot import Recovered
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Statement, Transaction
from workbench.simulator.laws import Laws
from workbench.simulator.memory_disk import MemoryNode
from workbench.simulator.memory_format import Snapshot

CLIENT = "client-1"
MS = 1_000_000


LENIENT = Protections(check_quorum=False, pre_vote=False, up_to_date_check=False)
"""For scenarios that say themselves who leads when."""


class World:
    """A cluster of `replica-1..n`. `seed` decides everything that is not given.

    Without `protections`, whoever is appointed leads, and no lease is needed. `elected` promises that leaders other
    than the first are the most up to date of a majority (`elect`, or real elections): committed entries must survive.
    """

    def __init__(
        self,
        *,
        followers: int = 2,
        ack: AckPolicy,
        seed: int = 0,
        limits: Limits | None = None,
        timing: Timing | None = None,
        protections: Protections = LENIENT,
        elected: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.ack = ack
        self.limits = limits or Limits()
        self.timing = timing or Timing()
        self.protections = protections
        self.laws = Laws(
            followers + 1,
            ack,
            elected=elected,
            leases=protections.fencing and protections.check_quorum,
            downgrades=self.timing.downgrade_ms > 0,
        )
        self.names = tuple(f"replica-{number}" for number in range(1, followers + 2))
        """All replicas that there are; those that join are added."""
        self.first_members = self.names
        self.observers: set[str] = set()
        """Replicas that never count."""
        self.now = MS
        self.network: list[tuple[str, str, bytes]] = []
        self.writes: list[WriteReply] = []
        self.reads: list[ReadReply] = []
        self.answers: dict[int, str] = {}
        """Request of whoever runs the cluster -> why it was refused, or nothing."""
        self.news: list[LeaderNews] = []
        self.left: dict[str, str] = {}
        """Replicas that ended themselves, and why."""
        self.loss = 0.0
        """Chance of a message to get lost."""
        self.duplication = 0.0
        """Chance of a message to stay on its way though it was delivered."""
        self.reordering = 0.0
        """Chance of a message to overtake those before it on its link."""
        self.slow_disks: set[str] = set()
        """Replicas whose storage seldom gets its turn."""
        self.paused: set[str] = set()
        """Replicas that do nothing, and do not notice."""
        self.cut_off: set[str] = set()
        """Replicas that hear nothing from other replicas, nor are heard."""
        self.cut_links: set[tuple[str, str]] = set()
        """(from, to): links that carry nothing."""
        self.clock_ms: dict[str, float] = {}
        """By how much a replica's clock is ahead of `now`; negative: behind."""
        self.tick_ms_max = 40.0
        """The longest time between two ticks in `step`."""
        self.message_bytes_max = 0
        """Size of the largest message so far; a queue holds one even if it is over the bound."""
        self.snapshots: dict[str, Snapshot] = {}
        self.nodes: dict[str, MemoryNode] = {}
        for name in self.names:
            self.add_node(name)

    def add_node(self, name: str, *, observer: bool = False) -> MemoryNode:
        """A replica with an empty disk."""
        if name not in self.names:
            self.names = (*self.names, name)
        if observer:
            self.observers.add(name)
        recovered = Recovered(ledger=Ledger(self.first_members))
        node = self.nodes[name] = MemoryNode(
            name=name,
            laws=self.laws,
            snapshots=self.snapshots,
            first_members=self.first_members,
        )
        node.core = self._core(name, recovered)
        return node

    def _core(self, name: str, recovered: Recovered) -> Replica:
        state = ReplicaState.recover(
            name=name,
            log_format="memory",
            layout="in memory",
            ack=self.ack,
            limits=self.limits,
            timing=self.timing,
            protections=self.protections,
            random=self.rng.random,
            recovered=recovered,
            observer=name in self.observers,
        )
        return Replica(state, self._clock(name), recovered.incoming)

    def _clock(self, name: str) -> int:
        return self.now + int(self.clock_ms.get(name, 0) * MS)

    # What a test does.

    def receive(self, name: str, *messages: Message) -> None:
        """Give messages to a replica at once, past the network."""
        self.handle(name, Received(messages))

    def appoint(self, name: str = "replica-1") -> None:
        """Let a replica lead, by votes that nobody gave."""
        state = self.nodes[name].core.state
        other = next(one for one in self.names if one != name) if len(self.names) > 1 else ""
        self.receive(name, TakeOver(state.term, state.leader or other))
        self.network = [one for one in self.network if one[0] != name or not isinstance(decode(one[2]), RequestVote)]
        self.receive(name, *(Vote(state.term, voter, granted=True) for voter in state.others))
        assert self.nodes[name].core.role is Role.LEADER

    def elect(self, voters: tuple[str, ...] | None = None) -> str:
        """Let the most up to date of `voters` (default: everybody who is up) lead; the others vote by their terms."""
        voters = voters or tuple(name for name, node in self.nodes.items() if node.up)
        assert len(voters) > len(self.names) // 2
        winner = max(voters, key=lambda name: self.nodes[name].core.state.log.last)
        self.depose(winner)
        for name in voters:
            if name != winner:
                self.receive(name, Progress(self.nodes[winner].term[0], winner, 0, 0, 0))
        return winner

    def depose(self, by: str) -> None:
        """Let `by` lead in a term that nobody knows yet, whatever the others hold."""
        node = self.nodes[by]
        term = max(node.term[0] for node in self.nodes.values())
        other = next(name for name in self.names if name != by)
        if node.term[0] < term or node.core.role is Role.LEADER:
            self.receive(by, Progress(term + (node.term[0] == term), other, 0, 0, 0))
        self.appoint(by)

    def write(self, session: int, sequence: int, key: str, value: object, to: str = "replica-1") -> None:
        self.receive(to, ClientBatch(CLIENT, (transaction(session, sequence, key, value),)))

    def read(
        self, session: int, request: int, key: str, to: str, *, from_leader: bool = False, **terms: object
    ) -> None:
        read = Read(session, request, Statement("get", (key,)), from_leader, **terms)  # type: ignore[arg-type]
        self.laws.asked((read,))
        self.receive(to, ClientBatch(CLIENT, (), (read,)))

    def crash(self, name: str) -> None:
        """Power off: what was not synced is gone, and what reaches it while it is down gets lost."""
        self.nodes[name].power_off()

    def restart(self, name: str) -> None:
        """Recover from the disk, as `ReplicaStorage.recover` does."""
        node = self.nodes[name]
        node.core = self._core(name, node.recover())

    def leader(self) -> MemoryNode:
        """Whoever leads in the newest term."""
        return max(self.leaders(), key=lambda node: node.core.state.term)

    def leaders(self) -> list[MemoryNode]:
        """All that believe they lead."""
        return [node for node in self.nodes.values() if node.up and node.core.role is Role.LEADER]

    def describe(self) -> str:
        """Who is where, for people."""
        lines = []
        for name, node in self.nodes.items():
            state = node.core.state
            place = f"term {state.term}, log {state.log.last}, applied {state.applied}, committed {state.committed}"
            lines.append(f"{name}: {node.core.role}, {place}, follows {state.leader or 'nobody'} in {state.members}")
        return "\n".join(lines)

    def settle(self, steps: int = 20_000) -> None:
        """Run until a silence longer than the longest wait for a retry brought nothing new."""
        for _ in range(steps):
            if not self.step(time_too=False):
                before = self._progress()
                for _ in range(45):
                    self.tick_all(100)
                    while self.step(time_too=False):
                        pass
                    if self._progress() != before:
                        break
                else:
                    return
        raise AssertionError("the cluster does not come to rest")

    def _progress(self) -> list[object]:
        states = [node.core.state for node in self.nodes.values()]
        return [(state.term, state.applied, state.log.last) for state in states]

    def tick_all(self, milliseconds: float = 20) -> None:
        self.now += int(milliseconds * MS)
        for name, node in list(self.nodes.items()):
            if node.up and name not in self.paused:
                self.handle(name, Tick())

    def step(self, *, time_too: bool = True) -> bool:
        """Do one thing that can be done now; whether there was one."""
        choices: list[tuple[str, int | str]] = [("deliver", place) for place in self._deliverable()]
        for name, node in self.nodes.items():
            if name in self.paused or (time_too and name in self.slow_disks and self.rng.random() < 0.95):
                continue
            choices += [("store", name)] * bool(node.jobs) + [("answer", name)] * bool(node.answers)
            choices += [("copy", name)] * (node.copying is not None)
        if time_too:
            choices.append(("tick", ""))
        if not choices:
            return False
        match self.rng.choice(choices):
            case "deliver", int(place):
                self.deliver(place)
            case "deliver", str(name):
                self._deliver_inbox(name)
            case "store", str(name):
                self.store(name)
            case "answer", str(name):
                self.answer(name)
            case "copy", str(name):
                self.nodes[name].finish_copy()
            case _:
                self.tick_all(self.rng.random() * self.tick_ms_max)
        return True

    def _deliverable(self) -> list[int | str]:
        """The first message of every link; now and then, any; or everything that is on its way to one replica."""
        places = [place for place, one in enumerate(self.network) if one[1] not in self.paused]
        if places and self.rng.random() < self.reordering:
            return [self.rng.choice(places)]
        if places and self.rng.random() < 0.1:
            return [self.network[self.rng.choice(places)][1]]
        first: dict[tuple[str, str], int] = {}
        for place in places:
            first.setdefault(self.network[place][:2], place)
        return [*first.values()]

    # One step.

    def deliver(self, place: int = 0) -> None:
        """Deliver a message; whoever is down misses it."""
        _, target, frame = self.network[place]
        if self.rng.random() >= self.duplication:
            del self.network[place]
        if self.nodes[target].up:
            message = decode(frame)
            self._note_reads(message)
            self.receive(target, message)

    def _deliver_inbox(self, name: str) -> None:
        """Deliver at once what had gathered while a replica was busy."""
        inbox = [decode(frame) for _, target, frame in self.network if target == name]
        self.network = [one for one in self.network if one[1] != name]
        if self.nodes[name].up:
            for message in inbox:
                self._note_reads(message)
            self.receive(name, *inbox)

    def _note_reads(self, message: Message) -> None:
        if isinstance(message, ClientBatch):
            self.laws.asked(message.reads)

    def deliver_all(self) -> None:
        """Deliver everything that is on its way, and whatever that sets on its way, in order."""
        while self.network:
            self.deliver()

    def deliver_to(self, name: str) -> None:
        """Deliver what is on its way to one replica, in order."""
        while (place := next((place for place, one in enumerate(self.network) if one[1] == name), None)) is not None:
            self.deliver(place)

    def store(self, name: str) -> None:
        """Finish one storage effect, without telling the core."""
        self.nodes[name].perform()

    def answer(self, name: str) -> None:
        """Bring one answer of storage to the core."""
        answer = self.nodes[name].answers.popleft()
        if isinstance(answer, Send):
            self._carry_out(self.nodes[name], [answer])
        else:
            self.handle(name, answer)

    def store_all(self, name: str) -> None:
        """Finish everything that storage has to do, and whatever its answers set off."""
        node = self.nodes[name]
        while node.jobs or node.answers:
            if node.answers:
                self.answer(name)
            else:
                self.store(name)

    # The world's side of the contract in effects.py.

    def handle(self, name: str, happened: Input) -> None:
        node = self.nodes[name]
        if name in self.left:
            return
        self.now += 1  # nothing happens at the same time as anything else
        if isinstance(happened, Received):
            for message in happened.messages:
                if isinstance(message, ClientBatch):
                    self.laws.asked_writes(message.writes)
        term = node.core.state.term  # a leader may acknowledge and step down over one batch of messages
        members = node.core.state.members
        downgraded = node.core.is_downgraded
        effects = node.core.handle(happened, self._clock(name))
        self._show_committed(node, members)
        self._carry_out(node, effects, term, members, downgraded=downgraded or node.core.is_downgraded)
        self._show_laws(node)

    def _carry_out(
        self,
        node: MemoryNode,
        effects: list[Effect],
        replied_in: int = 0,
        members: tuple[str, ...] = (),
        *,
        downgraded: bool = False,
    ) -> None:
        for effect in effects:
            match effect:
                case SaveTerm(term, voted_for):
                    node.save_term(term, voted_for)
                case Send(to, message):
                    self.send(node.name, to, message)
                case Broadcast(message):
                    for other in self.names:
                        if other != node.name:
                            self.send(node.name, other, message)
                case Reply():
                    self.writes += effect.writes
                    self.reads += effect.reads
                    self.laws.replied(node.name, effect.writes, replied_in, node.log, members, downgraded=downgraded)
                    self.laws.read(node.name, effect.reads, replied_in, node.log)
                case TellClients(message):
                    assert isinstance(message, LeaderNews)
                    self.news.append(message)
                case Answer(request, _, refusal):
                    self.answers[request] = refusal
                case Leave(reason):
                    self.left[node.name] = reason
                case _:
                    node.jobs.append(effect)

    def send(self, source: str, target: str, message: Message) -> None:
        """Put a message on its way."""
        if source != "client":
            self.laws.sent(source, target, message)
        if isinstance(message, AppendEntries):
            self.message_bytes_max = max(self.message_bytes_max, message.size_bytes)
        is_cut = source != "client" and (bool({source, target} & self.cut_off) or (source, target) in self.cut_links)
        if not is_cut and self.rng.random() >= self.loss:
            self.network.append((source, target, encode(message)))

    # Laws.

    def _show_committed(self, node: MemoryNode, members: tuple[str, ...]) -> None:
        state = node.core.state
        assert state.committed <= state.log.last.index, "an entry that does not exist is committed"
        for index in range(node.committed + 1, state.committed + 1):
            disks = {other.name: other.log for other in self.nodes.values()}
            self.laws.committed(state.log.position_at(index), state.term, disks, members)
        node.committed = state.committed

    def _show_laws(self, node: MemoryNode) -> None:
        state = node.core.state
        if node.core.role is Role.LEADER:
            self.laws.leads(node.name, state.term, state.log)
        self.laws.received(node.name, state.log)
        self._check_bounds(node)

    def _check_bounds(self, node: MemoryNode) -> None:
        """Every queue is bounded by configuration, however slow disks and followers are."""
        duty, limits = node.core._duty, self.limits
        assert 0 <= node.core.state.reading <= limits.waiting_transactions_max
        if isinstance(duty, Leading):
            assert len(duty._writes) <= limits.waiting_transactions_max
            own = node.core.state.log.last.index - duty._acknowledged
            assert len(duty._unacknowledged) <= own + len(node.core.state.ledger.sessions) + 1
        else:
            assert isinstance(duty, Following)
            size = sum(len(logged.encoded) for logged in duty._received)
            assert size == duty._received_bytes <= max(limits.unacknowledged_bytes_max, self.message_bytes_max)
            assert 0 <= duty._stash.size_bytes <= limits.unacknowledged_bytes_max


def transaction(session: int, sequence: int, key: str, value: object, born: int = 0) -> Transaction:
    """A write of the tests' only verb."""
    return Transaction(session, sequence, (Statement("set", (key, value)),), born)  # type: ignore[arg-type]


def agreed(world: World) -> bool:
    """Whether there is one leader, whose members have its log, committed and applied."""
    leaders = world.leaders()
    if len(leaders) != 1:
        return False
    members = [world.nodes[name] for name in leaders[0].core.state.members]
    return all(
        node.log == leaders[0].log and node.core.state.committed == node.applied == len(node.log) for node in members
    )


def converged(world: World) -> bool:
    """Whether all replicas have the same log and have applied it."""
    nodes = list(world.nodes.values())
    return all(one.log == other.log for one, other in pairwise(nodes)) and all(
        node.applied == len(node.log) for node in nodes
    )
