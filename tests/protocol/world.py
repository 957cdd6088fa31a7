"""A whole cluster inside one test: real cores, an in-memory network with a seeded order, in-memory disks.

Nothing runs by itself: `step` delivers one message, finishes one storage effect or lets time pass, chosen by a seeded
generator, and after every step the laws that can be seen from outside are checked. A disk remembers what was synced;
a crash forgets the rest. The database is a dictionary; the "log format" is the list of assignments made.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from workbench.config import AckPolicy, Limits, Timing
from workbench.protocol.codec import decode, decode_entry, encode
from workbench.protocol.effects import (
    Abandon,
    Append,
    Apply,
    Broadcast,
    Commit,
    Effect,
    Execute,
    Query,
    Reply,
    Rewind,
    SaveTerm,
    Send,
    SendLog,
)
from workbench.protocol.inputs import Applied, Durable, Executed, Input, Queried, Received, Tick
from workbench.protocol.messages import (
    AppendEntries,
    Appoint,
    ClientBatch,
    Entry,
    LoggedEntry,
    Member,
    Message,
    Outcome,
    Position,
    Read,
    ReadReply,
    Statement,
    StatementResult,
    Transaction,
    WriteReply,
)
from workbench.protocol.outcomes import Execution, QueryResult, Refused
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.sessions import SessionTable
from workbench.protocol.state import Recovered, ReplicaState

CLIENT = "client-1"
MS = 1_000_000


@dataclass
class Node:
    """One replica: its core, what its disk holds, what its storage still has to do."""

    name: str
    core: Replica
    log: list[LoggedEntry] = field(default_factory=list)
    synced: int = 0
    term: tuple[int, str] = (0, "")
    data: dict[str, object] = field(default_factory=dict)
    applied: int = 0
    open_group: dict[str, object] | None = None
    jobs: deque[Effect] = field(default_factory=deque)
    rollback: list[Entry] = field(default_factory=list)
    up: bool = True


class World:
    """A cluster of `replica-1..n`. `seed` decides everything that is not given."""

    def __init__(self, *, followers: int = 2, ack: AckPolicy, seed: int = 0, limits: Limits | None = None) -> None:
        self.rng = random.Random(seed)
        self.ack = ack
        self.limits = limits or Limits()
        self.names = tuple(f"replica-{number}" for number in range(1, followers + 2))
        self.now = 0
        self.network: list[tuple[str, str, bytes]] = []
        self.writes: list[WriteReply] = []
        self.reads: list[ReadReply] = []
        self.loss = 0.0
        self.leaders: dict[int, str] = {}
        self.appended: dict[Position, bytes] = {}
        self.nodes = {name: Node(name, self._core(name, Recovered())) for name in self.names}

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

    def appoint(self, name: str = "replica-1") -> None:
        self.handle(name, Received(self.now, (Appoint(0, ""),)))

    def write(self, session: int, sequence: int, key: str, value: object, to: str = "replica-1") -> None:
        transaction = Transaction(session, sequence, (Statement("set", (key, value)),))  # type: ignore[arg-type]
        self.handle(to, Received(self.now, (ClientBatch(CLIENT, (transaction,)),)))

    def read(self, session: int, request: int, key: str, to: str, *, from_leader: bool = False) -> None:
        read = Read(session, request, Statement("get", (key,)), from_leader)
        self.handle(to, Received(self.now, (ClientBatch(CLIENT, (), (read,)),)))

    def crash(self, name: str) -> None:
        """Power off: what was not synced, and what was on the way to it, is gone."""
        node = self.nodes[name]
        node.up = False
        del node.log[node.synced :]
        node.jobs.clear()
        self.network = [one for one in self.network if one[1] != name]

    def restart(self, name: str) -> None:
        """Recover from the disk, as `ReplicaStorage.recover` does."""
        old = self.nodes[name]
        sessions = SessionTable()
        starts: list[tuple[int, int]] = []
        node = Node(name, old.core, log=old.log, synced=len(old.log), term=old.term, rollback=old.rollback)
        for logged in node.log:
            sessions.record(logged.entry)
            if not starts or starts[-1][0] != logged.entry.term:
                starts.append((logged.entry.term, logged.entry.index))
        _apply(node, (logged.entry for logged in node.log))
        node.core = self._core(
            name,
            Recovered(
                term=node.term[0],
                voted_for=node.term[1],
                term_starts=starts,
                last_index=len(node.log),
                sessions=sessions,
            ),
        )
        self.nodes[name] = node

    def settle(self, steps: int = 20_000) -> None:
        """Run until nothing is left to do but wait, and four heartbeats (longer than a fetch is retried) brought nothing new."""
        for _ in range(steps):
            if not self.step(time_too=False):
                before = [(node.core.state.applied, node.core.state.log.last) for node in self.nodes.values()]
                for _ in range(4):
                    self.tick_all(120)
                    while self.step(time_too=False):
                        pass
                if before == [(node.core.state.applied, node.core.state.log.last) for node in self.nodes.values()]:
                    return
        raise AssertionError("the cluster does not come to rest")

    def tick_all(self, milliseconds: float = 20) -> None:
        self.now += int(milliseconds * MS)
        for name, node in self.nodes.items():
            if node.up:
                self.handle(name, Tick(self.now))

    def step(self, *, time_too: bool = True) -> bool:
        """Do one thing that can be done now; whether there was one."""
        choices: list[tuple[str, object]] = []
        first: dict[tuple[str, str], int] = {}
        for place, (source, target, _) in enumerate(self.network):
            first.setdefault((source, target), place)
        choices += [("deliver", place) for place in first.values()]
        choices += [("store", name) for name, node in self.nodes.items() if node.up and node.jobs]
        if time_too:
            choices.append(("tick", None))
        if not choices:
            return False
        kind, what = choices[int(self.rng.random() * len(choices))]
        if kind == "deliver":
            assert isinstance(what, int)
            self._deliver(what)
        elif kind == "store":
            assert isinstance(what, str)
            self._store(self.nodes[what])
        else:
            self.tick_all(self.rng.random() * 40)
        self.check_laws()
        return True

    # The world's side of the contract in effects.py.

    def handle(self, name: str, happened: Input) -> None:
        node = self.nodes[name]
        for effect in node.core.handle(happened):
            match effect:
                case SaveTerm(term, voted_for):
                    assert term > node.term[0] or (term, voted_for) == node.term, "a term or vote was taken back"
                    node.term = (term, voted_for)
                case Send(to, message):
                    self._send(name, to, message)
                case Broadcast(message):
                    for other in self.names:
                        if other != name:
                            self._send(name, other, message)
                case Reply():
                    self.writes += effect.writes
                    self.reads += effect.reads
                    self._check_acknowledged(node, effect.writes)
                case _:
                    node.jobs.append(effect)

    def _send(self, source: str, target: str, message: Message) -> None:
        if isinstance(message, AppendEntries):
            assert self.nodes[source].term[0] >= message.term, "law 1: the term was not durable when it was sent"
            for encoded in message.entries:
                entry = decode_entry(encoded).entry
                known = self.appended.setdefault(entry.position, encoded)
                assert known == encoded, f"two entries at {entry.position}"
        if self.nodes[target].up and self.rng.random() >= self.loss:
            self.network.append((source, target, encode(message)))

    def _deliver(self, place: int) -> None:
        _, target, frame = self.network.pop(place)
        self.handle(target, Received(self.now, (decode(frame),)))

    def _store(self, node: Node) -> None:
        effect = node.jobs.popleft()
        assert node.open_group is None or isinstance(effect, Append | Commit | Abandon | SendLog), f"{effect} in an open group"
        match effect:
            case Execute(position, group):
                self.handle(node.name, _execute(node, position, group, self.now))
            case Append(entries):
                assert entries[0].entry.index == len(node.log) + 1, "the log must continue without a gap"
                node.log += entries
                node.synced = len(node.log)
                self.handle(node.name, Durable(self.now, entries[-1].entry.position))
            case Commit(position):
                assert node.synced >= position.index, "committed before it was durable"
                assert node.open_group is not None
                node.data, node.open_group = node.open_group, None
                node.applied = position.index
                self.handle(node.name, Applied(self.now, position))
            case Apply(entries):
                assert node.synced >= entries[-1].entry.index, "applied before it was durable"
                _apply(node, (logged.entry for logged in entries))
                self.handle(node.name, Applied(self.now, entries[-1].entry.position))
            case Abandon():
                node.open_group = None
            case Rewind(to):
                node.rollback += [logged.entry for logged in node.log[to.index :]]
                del node.log[to.index :]
                node.synced = len(node.log)
                node.applied, node.data = 0, {}
                _apply(node, (logged.entry for logged in node.log))
            case Query(reads):
                answers = tuple((client, read, _query(node, read)) for client, read in reads)
                at = node.log[node.applied - 1].entry.position if node.applied else Position()
                self.handle(node.name, Queried(self.now, at, answers))
            case SendLog(to, header, bytes_max):
                payloads: list[bytes] = []
                for logged in node.log[header.previous.index :]:
                    if payloads and sum(map(len, payloads)) + len(logged.encoded) > bytes_max:
                        break
                    payloads.append(logged.encoded)
                self._send(node.name, to, header.with_entries(tuple(payloads)))

    # Laws.

    def check_laws(self) -> None:
        for node in self.nodes.values():
            state = node.core.state
            if node.core.role is Role.LEADER and node.up:
                assert self.leaders.setdefault(state.term, node.name) == node.name, "law 1: two leaders in a term"
        self._check_log_matching()
        self._check_state_is_log()

    def _check_log_matching(self) -> None:
        logs = [node.log for node in self.nodes.values()]
        for one in logs:
            for other in logs:
                for index in range(min(len(one), len(other)), 0, -1):
                    if one[index - 1].entry.term == other[index - 1].entry.term:
                        mine = [logged.encoded for logged in one[:index]]
                        assert mine == [logged.encoded for logged in other[:index]], "law 2: logs do not match"
                        break

    def _check_state_is_log(self) -> None:
        for node in self.nodes.values():
            expected = Node(node.name, node.core)
            _apply(expected, (logged.entry for logged in node.log[: node.applied]))
            assert node.data == expected.data, "law 3: the state is not the log"

    def _check_acknowledged(self, leader: Node, replies: Iterable[WriteReply]) -> None:
        for reply in replies:
            if reply.outcome is not Outcome.OK:
                continue
            index = reply.position.index
            assert leader.synced >= index, "law 4: acknowledged before the leader had it durable"
            holders = 0
            for node in self.nodes.values():
                if node is not leader:
                    level = {
                        "received": node.core.state.log.last.index,
                        "durable": node.synced,
                        "applied": node.applied,
                    }[self.ack.level]
                    holders += level >= index and node.core.state.log.holds(reply.position)
            needed = self.ack.followers_needed(len(self.names))
            assert holders >= needed, f"law 4: acknowledged with {holders} of {needed} followers"


def _execute(node: Node, position: Position, group: tuple[Transaction, ...], now: int) -> Executed:
    data = dict(node.data)
    members, refused, body = [], [], []
    for transaction in group:
        (statement,) = transaction.statements
        if statement.sql == "set":
            key, value = statement.parameters
            data[str(key)] = value
            body.append((key, value))
            members.append(Member(transaction.session, transaction.sequence, (StatementResult(1),)))
        else:
            refused.append(Refused(transaction.session, transaction.sequence, f"no such verb: {statement.sql}"))
    node.open_group = data if members else None
    execution = Execution(tuple(members), tuple(refused), msgspec.msgpack.encode(body) if members else b"")
    return Executed(now, position, execution)


def _apply(node: Node, entries: Iterable[Entry]) -> None:
    for entry in entries:
        assert entry.index == node.applied + 1, "law 3: entries are applied in order, each once"
        if entry.kind:
            node.data = {**node.data, **dict(msgspec.msgpack.decode(entry.body))}
        node.applied = entry.index


def _query(node: Node, read: Read) -> QueryResult:
    value = node.data.get(str(read.statement.parameters[0]))
    return QueryResult(("value",), ((value,),) if value is not None else ())  # type: ignore[arg-type]
