"""Clusters of up to a thousand replicas in virtual time, for questions of size: real cores, and little besides.

Beside the swarm's world (`world.py`), which checks every law after every step: here are no faults but killed leaders,
no snapshots and no reads, and of the laws those that cost nothing a message: one leader a term, logs without gaps,
nothing shown that is not on disk, and in the end that all logs agree and no acknowledged write is missing. What the
swarm leaves out is modelled here: the time of CPUs and of the broker (`scale_network.py`, `scale_replica.py`).

Each replica is a machine of its own: their CPUs and disks do not wait for one another. The client is in the region of
the first leader; its own CPU takes no time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.faults.draws import below
from workbench.protocol.codec import encode
from workbench.protocol.messages import (
    Campaign,
    ClientBatch,
    LeaderNews,
    Message,
    Outcome,
    ReplyBatch,
    RequestVote,
    WriteReply,
)
from workbench.protocol.replica import Replica
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position, Statement, Transaction
from workbench.simulator.events import Events
from workbench.simulator.laws import LawBroken
from workbench.simulator.scale_network import Costs, FanOut, Profile, ScaledNetwork
from workbench.simulator.scale_replica import ScaledReplica

_MS = 1_000_000
RETRY_MS = 300.0
"""A client that hears nothing asks another replica after this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledConfig:
    """What one world is made of."""

    seed: str
    size: int
    """Replicas."""
    voters: int
    """So many of them are members: they vote, may lead and count for acknowledgements. The others are observers."""
    profile: Profile
    ack: AckPolicy
    timing: Timing
    fan_out: FanOut = "broker"
    jitter: str = "exponential"
    """How a message's delay between regions is drawn, as in `faults.delays`."""
    jitter_share: float = 0.05
    """The mean jitter, as a share of the way."""
    value_bytes: int = 100
    costs: Costs = field(default_factory=Costs)


@dataclass(slots=True)
class Write:
    """One write of the client. Times are nanoseconds; 0: not yet."""

    sequence: int
    invoked_ns: int
    acknowledged_ns: int = 0
    position: Position = field(default_factory=Position)
    leader: str = ""
    """Who acknowledged it."""


Condition = Callable[[], bool]


class ScaledWorld:
    """Replicas `replica-1..n`, of which the first leads at the beginning, and one client."""

    def __init__(self, config: ScaledConfig) -> None:
        self.config = config
        self.costs = config.costs
        self.random = Random(config.seed)
        self.events = Events()
        self.names = tuple(f"replica-{number}" for number in range(1, config.size + 1))
        places = [config.profile.place_of(number) for number in range(config.size)]
        self.network = ScaledNetwork(
            self.events,
            self.random,
            config.profile,
            [*places, 0],
            config.costs,
            fan_out=config.fan_out,
            jitter=config.jitter,
            jitter_share=config.jitter_share,
        )
        self._client_end = config.size
        self._others = [tuple(other for other in range(config.size) if other != one) for one in range(config.size)]
        members = self.names[: config.voters]
        self.replicas = [ScaledReplica(self, number, name, members) for number, name in enumerate(self.names)]
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.reigns: dict[int, tuple[str, int]] = {}
        """Term -> who led in it, and since when."""
        self.client = ScaledClient(self)
        self.shown_ns: dict[int, dict[int, int]] = {}
        """Index of an entry that is watched -> number of a replica -> when its database first showed it."""
        self.candidates: dict[str, int] = {}
        """Who has asked for a vote, or for the promise of one, and when first; cleared by whoever watches."""
        for replica in self.replicas[: config.voters]:
            self.start(replica)
        self.replicas[0].receive(Campaign(0, ""), 0)

    def start(self, replica: ScaledReplica) -> None:
        """Start a replica on the disk that it has."""
        replica.start(self.config.timing.tick_ms)

    def settle(self, patience_ms: float) -> bool:
        """Let the first leader begin; then start the observers, which have its log already. Whether all have it."""
        if not self.run_until(self.settled, patience_ms=patience_ms):
            return False
        leader = self.leader
        assert leader is not None
        for observer in self.replicas[self.config.voters :]:
            observer.log, observer.term = list(leader.log), (leader.term[0], "")
            self.start(observer)
        return self.run_until(self.settled, patience_ms=patience_ms)

    # Time.

    def run_for(self, milliseconds: float) -> None:
        """Let time pass, and everything happen that it brings."""
        self.events.run_until(self.events.now + int(milliseconds * _MS))

    def run_until(self, condition: Condition, *, patience_ms: float, step_ms: float = 5.0) -> bool:
        """Let time pass until `condition` holds, looking every `step_ms`; False if it does not within `patience_ms`."""
        deadline = self.events.now + int(patience_ms * _MS)
        while not condition():
            if self.events.now >= deadline:
                return False
            self.run_for(step_ms)
        return True

    # What replicas need.

    def recovered(self, replica: ScaledReplica) -> Replica:
        """See `ReplicaWorld`."""
        config, recovered = self.config, replica.what_disk_says()
        state = ReplicaState.recover(
            name=replica.name,
            log_format="memory",
            layout="",
            ack=config.ack,
            limits=Limits(),
            timing=config.timing,
            protections=Protections(),
            random=self.random.random,
            recovered=recovered,
            observer=replica.number >= config.voters,
        )
        return Replica(state, self.events.now)

    def send(self, source: ScaledReplica, to: str, message: Message, at: int) -> None:
        """See `ReplicaWorld`."""
        self._send(source, (self._numbers[to],), message, at)

    def broadcast(self, source: ScaledReplica, message: Message, at: int) -> int:
        """See `ReplicaWorld`. Without a broker the sender sends to each of the others."""
        others = self._others[source.number]
        send_ns = int(self.costs.send_us * 1_000)
        if self.config.fan_out == "broker":
            self._send(source, others, message, at + send_ns)
            return at + send_ns
        for other in others:
            at += send_ns
            self._send(source, (other,), message, at)
        return at

    def _send(self, source: ScaledReplica, targets: tuple[int, ...], message: Message, at: int) -> None:
        size = len(encode(message))
        source.counts.sent(message, size, len(targets))
        if isinstance(message, RequestVote) and source.name not in self.candidates:
            self.candidates[source.name] = self.events.now

        def deliver(target: int) -> None:
            if at <= source.died_ns:  # what was still to be sent then never was
                self.replicas[target].receive(message, size)

        self.network.send(source.number, targets, at, deliver)

    def tell_client(self, source: ScaledReplica, message: Message, at: int) -> None:
        """See `ReplicaWorld`."""
        source.counts.sent(message, len(encode(message)), 1)

        def deliver(_: int) -> None:
            if at <= source.died_ns:
                self.client.receive(message)

        self.network.send(source.number, (self._client_end,), at, deliver)

    def began_to_lead(self, replica: ScaledReplica) -> None:
        """See `ReplicaWorld`. Raises `LawBroken` for a second leader in a term."""
        assert replica.core is not None
        term = replica.core.state.term
        if term in self.reigns:
            raise LawBroken(f"law 1: {self.reigns[term][0]} and {replica.name} lead in term {term}")
        self.reigns[term] = (replica.name, self.events.now)

    def showed(self, replica: ScaledReplica, index: int) -> None:
        """See `ReplicaWorld`."""
        for watched, shown in self.shown_ns.items():
            if watched <= index:
                shown.setdefault(replica.number, self.events.now)

    # What the client needs.

    def ask(self, number: int, batch: ClientBatch) -> None:
        """A request of the client sets out."""
        size = len(encode(batch))
        self.network.send(
            self._client_end, (number,), self.events.now, lambda target: self.replicas[target].receive(batch, size)
        )

    # What people ask.

    def number_of(self, name: str) -> int:
        """The number of a replica."""
        return self._numbers[name]

    @property
    def leader(self) -> ScaledReplica | None:
        """Whoever leads in the newest term."""
        leaders = [replica for replica in self.replicas if replica.leads and replica.core is not None]
        return max(leaders, key=lambda one: one.core.state.term if one.core else 0, default=None)

    def settled(self) -> bool:
        """Whether somebody leads, and everybody who is up has and shows all that is in that one's log."""
        leader = self.leader
        if leader is None or leader.core is None:
            return False
        end, last = len(leader.log), leader.last
        return leader.core.state.committed == end and all(
            one.core is None or (one.last == last and one.applied == end) for one in self.replicas
        )

    def logs_agree(self) -> bool:
        """Whether all replicas that are up have the same log, entry for entry."""
        logs = [replica.log for replica in self.replicas if replica.core is not None]
        first = [logged.encoded for logged in logs[0]]
        return all([logged.encoded for logged in log] == first for log in logs[1:])

    def lost_writes(self) -> int:
        """How many acknowledged writes are not in the leader's log."""
        leader = self.leader
        entries = leader.log if leader is not None else []
        kept = {member.sequence for entry, _ in entries for member in entry.members}
        return sum(1 for write in self.client.writes if write.acknowledged_ns and write.sequence not in kept)


class ScaledClient:
    """One session that writes one thing after the other, when it is told to, and asks until it is answered.

    As real sessions it asks whoever it takes for the leader, follows news of another one, and asks somebody else when
    nobody answers, with the same number: a write takes effect once.
    """

    def __init__(self, world: ScaledWorld) -> None:
        self._world = world
        self._leader = 0
        self.writes: list[Write] = []
        self._value = "x" * world.config.value_bytes
        self._tries = 0

    @property
    def is_waiting(self) -> bool:
        """Whether its last write has no acknowledgement."""
        return bool(self.writes) and not self.writes[-1].acknowledged_ns

    def write(self) -> Write:
        """Begin the next write."""
        assert not self.is_waiting, "one after the other"
        self.writes.append(Write(len(self.writes) + 1, self._world.events.now))
        self._ask(self._leader)
        return self.writes[-1]

    def _ask(self, number: int) -> None:
        self._tries += 1
        sequence, tries = self.writes[-1].sequence, self._tries
        transaction = Transaction(1, sequence, (Statement("set", (sequence, self._value)),))
        self._world.ask(number, ClientBatch("client", (transaction,)))

        def retry() -> None:
            if self.is_waiting and tries == self._tries:
                self._ask(below(self._world.random, len(self._world.replicas)))

        self._world.events.after(RETRY_MS * _MS, retry)

    def receive(self, message: Message) -> None:
        """What a replica has said."""
        match message:
            case LeaderNews(leader=leader):
                self._follow(leader)
            case ReplyBatch(writes=replies) as batch:
                for reply in replies:
                    self._on_reply(reply, batch)

    def _follow(self, leader: str) -> None:
        self._leader = self._world.number_of(leader)
        if self.is_waiting:
            self._ask(self._leader)

    def _on_reply(self, reply: WriteReply, batch: ReplyBatch) -> None:
        write = self.writes[-1]
        if not self.is_waiting or reply.sequence != write.sequence:
            return
        if reply.outcome is Outcome.OK:
            write.acknowledged_ns, write.position = self._world.events.now, reply.position
            write.leader = batch.replica
            self._leader = self._world.number_of(batch.replica)
        elif reply.outcome is Outcome.NOT_LEADER and batch.leader and batch.leader != batch.replica:
            self._follow(batch.leader)
