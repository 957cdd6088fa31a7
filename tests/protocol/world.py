"""A whole cluster inside one test: real cores, an in-memory network with a seeded order, in-memory disks.

Nothing runs by itself: `step` delivers one message, finishes one storage effect, brings its answer to the core or lets
time pass, chosen by a seeded generator, and the laws of `laws.py` are checked all the while. A disk remembers what was
synced; a crash forgets the rest.
"""

from __future__ import annotations

import random
from itertools import pairwise

from tests.protocol.disk import Node
from tests.protocol.laws import Laws
from workbench.config import AckPolicy, Limits, Timing
from workbench.protocol.codec import decode, encode
from workbench.protocol.effects import Broadcast, Effect, Reply, SaveTerm, Send
from workbench.protocol.inputs import Input, Received, Tick
from workbench.protocol.leading import Leading
from workbench.protocol.messages import (
    AppendEntries,
    Appoint,
    ClientBatch,
    Message,
    Progress,
    Read,
    ReadReply,
    Statement,
    Transaction,
    WriteReply,
)
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.state import Recovered, ReplicaState

CLIENT = "client-1"
MS = 1_000_000


class World:
    """A cluster of `replica-1..n`. `seed` decides everything that is not given.

    `elected` promises that leaders other than the first come from `elect` alone: committed entries must survive.
    """

    def __init__(
        self,
        *,
        followers: int = 2,
        ack: AckPolicy,
        seed: int = 0,
        limits: Limits | None = None,
        elected: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.ack = ack
        self.limits = limits or Limits()
        self.laws = Laws(followers + 1, ack, elected=elected)
        self.names = tuple(f"replica-{number}" for number in range(1, followers + 2))
        self.now = 0
        self.network: list[tuple[str, str, bytes]] = []
        self.writes: list[WriteReply] = []
        self.reads: list[ReadReply] = []
        self.loss = 0.0
        """Chance of a message to get lost."""
        self.duplication = 0.0
        """Chance of a message to stay on its way though it was delivered."""
        self.reordering = 0.0
        """Chance of a message to overtake those before it on its link."""
        self.slow_disks: set[str] = set()
        """Replicas whose storage seldom gets its turn."""
        self.message_bytes_max = 0
        """Size of the largest message so far; a queue holds one even if it is over the bound."""
        self.nodes = {name: Node(name, self.laws, self._core(name, Recovered())) for name in self.names}

    def _core(self, name: str, recovered: Recovered) -> Replica:
        return Replica(
            ReplicaState.recover(
                name=name,
                members=self.names,
                log_format="memory",
                ack=self.ack,
                limits=self.limits,
                timing=Timing(),
                recovered=recovered,
            )
        )

    # What a test does.

    def receive(self, name: str, *messages: Message) -> None:
        """Give messages to a replica at once, past the network."""
        self.handle(name, Received(self.now, messages))

    def appoint(self, name: str = "replica-1") -> None:
        self.receive(name, Appoint(0, ""))

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
        term = max(node.term[0] for node in self.nodes.values())
        other = next(name for name in self.names if name != by)
        if self.nodes[by].term[0] < term:
            self.receive(by, Progress(term, other, 0, 0, 0))
        self.appoint(by)

    def write(self, session: int, sequence: int, key: str, value: object, to: str = "replica-1") -> None:
        self.receive(to, ClientBatch(CLIENT, (transaction(session, sequence, key, value),)))

    def read(self, session: int, request: int, key: str, to: str, *, from_leader: bool = False) -> None:
        read = Read(session, request, Statement("get", (key,)), from_leader)
        self.receive(to, ClientBatch(CLIENT, (), (read,)))

    def crash(self, name: str) -> None:
        """Power off: what was not synced is gone, and what reaches it while it is down gets lost."""
        self.nodes[name].power_off()

    def restart(self, name: str) -> None:
        """Recover from the disk, as `ReplicaStorage.recover` does."""
        node = self.nodes[name]
        node.core = self._core(name, node.recover())

    def leader(self) -> Node:
        """Whoever leads in the newest term."""
        leaders = [node for node in self.nodes.values() if node.up and node.core.role is Role.LEADER]
        return max(leaders, key=lambda node: node.core.state.term)

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
        for name, node in self.nodes.items():
            if node.up:
                self.handle(name, Tick(self.now))

    def step(self, *, time_too: bool = True) -> bool:
        """Do one thing that can be done now; whether there was one."""
        choices: list[tuple[str, int | str]] = [("deliver", place) for place in self._deliverable()]
        for name, node in self.nodes.items():
            if time_too and name in self.slow_disks and self.rng.random() < 0.95:
                continue
            choices += [("store", name)] * bool(node.jobs) + [("answer", name)] * bool(node.answers)
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
            case _:
                self.tick_all(self.rng.random() * 40)
        return True

    def _deliverable(self) -> list[int | str]:
        """The first message of every link; now and then, any; or everything that is on its way to one replica."""
        if self.network and self.rng.random() < self.reordering:
            return [self.rng.randrange(len(self.network))]
        if self.network and self.rng.random() < 0.1:
            return [self.rng.choice(self.network)[1]]
        first: dict[tuple[str, str], int] = {}
        for place, (source, target, _) in enumerate(self.network):
            first.setdefault((source, target), place)
        return [*first.values()]

    # One step.

    def deliver(self, place: int = 0) -> None:
        """Deliver a message; whoever is down misses it."""
        _, target, frame = self.network[place]
        if self.rng.random() >= self.duplication:
            del self.network[place]
        if self.nodes[target].up:
            self.receive(target, decode(frame))

    def _deliver_inbox(self, name: str) -> None:
        """Deliver at once what had gathered while a replica was busy."""
        inbox = [decode(frame) for _, target, frame in self.network if target == name]
        self.network = [one for one in self.network if one[1] != name]
        if self.nodes[name].up:
            self.receive(name, *inbox)

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
        self.nodes[name].perform(self.now)

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
        term = node.core.state.term  # a leader may acknowledge and step down over one batch of messages
        self._carry_out(node, node.core.handle(happened), term)
        self._show_laws(node)

    def _carry_out(self, node: Node, effects: list[Effect], replied_in: int = 0) -> None:
        for effect in effects:
            match effect:
                case SaveTerm(term, voted_for):
                    self.laws.saved_term(node.name, term, voted_for)
                    node.term = (term, voted_for)
                case Send(to, message):
                    self.send(node.name, to, message)
                case Broadcast(message):
                    for other in self.names:
                        if other != node.name:
                            self.send(node.name, other, message)
                case Reply():
                    self.writes += effect.writes
                    self.reads += effect.reads
                    self.laws.replied(node.name, effect.writes, replied_in, node.log)
                case _:
                    node.jobs.append(effect)

    def send(self, source: str, target: str, message: Message) -> None:
        """Put a message on its way."""
        if isinstance(message, AppendEntries):
            self.laws.sent(source, message.term)
            self.message_bytes_max = max(self.message_bytes_max, message.size_bytes)
        if self.rng.random() >= self.loss:
            self.network.append((source, target, encode(message)))

    # Laws.

    def _show_laws(self, node: Node) -> None:
        state = node.core.state
        if node.core.role is Role.LEADER:
            self.laws.leads(node.name, state.term)
        self.laws.received(node.name, state.log)
        assert state.committed <= state.log.last.index, "an entry that does not exist is committed"
        for index in range(node.committed + 1, state.committed + 1):
            self.laws.committed(state.log.position_at(index), [other.log for other in self.nodes.values()])
        node.committed = state.committed
        self._check_bounds(node)

    def _check_bounds(self, node: Node) -> None:
        """Every queue is bounded by configuration, however slow disks and followers are."""
        duty, limits = node.core._duty, self.limits
        assert 0 <= node.core.state.reading <= limits.waiting_transactions_max
        if isinstance(duty, Leading):
            assert len(duty._writes) <= limits.waiting_transactions_max
            own = node.core.state.log.last.index - duty._acknowledged
            assert len(duty._unacknowledged) <= max(1, own)
        else:
            size = sum(len(logged.encoded) for logged in duty._received)
            assert size == duty._received_bytes <= max(limits.unacknowledged_bytes_max, self.message_bytes_max)
            assert 0 <= duty._stash.size_bytes <= limits.unacknowledged_bytes_max


def transaction(session: int, sequence: int, key: str, value: object) -> Transaction:
    """A write of the tests' only verb."""
    return Transaction(session, sequence, (Statement("set", (key, value)),))  # type: ignore[arg-type]


def converged(world: World) -> bool:
    """Whether all replicas have the same log and have applied it."""
    nodes = list(world.nodes.values())
    return all(one.log == other.log for one, other in pairwise(nodes)) and all(
        node.applied == len(node.log) for node in nodes
    )
