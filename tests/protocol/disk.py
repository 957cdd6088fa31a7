"""One replica of the in-memory world: its core, what its disk holds, what its storage still has to do.

`Node.perform` is the tests' counterpart of `ReplicaStorage.perform`, and stricter: it asserts the ordering contract of
`effects.py`. The database is a dictionary; the "log format" is the list of assignments made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tests.protocol.laws import START, Laws, changes
from workbench.protocol.effects import (
    Abandon,
    Append,
    Apply,
    Commit,
    Execute,
    Query,
    Rewind,
    Send,
    SendLog,
    StorageEffect,
)
from workbench.protocol.inputs import Applied, Durable, Executed, Input, Queried, Rewound
from workbench.protocol.messages import (
    Entry,
    LoggedEntry,
    Member,
    Position,
    Read,
    StatementResult,
    Transaction,
)
from workbench.protocol.outcomes import Execution, QueryResult, Refused
from workbench.protocol.replica import Replica
from workbench.protocol.sessions import SessionTable
from workbench.protocol.state import Recovered


@dataclass
class Node:
    """One replica: its core, what its disk holds, what its storage still has to do."""

    name: str
    laws: Laws
    core: Replica
    log: list[LoggedEntry] = field(default_factory=list)
    term: tuple[int, str] = (0, "")
    data: dict[str, object] = field(default_factory=dict)
    applied: int = 0
    open_group: dict[str, object] | None = None
    jobs: deque[StorageEffect] = field(default_factory=deque)
    answers: deque[Input | Send] = field(default_factory=deque)
    """What storage has done and the core has not heard of."""
    rollback: list[Entry] = field(default_factory=list)
    up: bool = True
    committed: int = 0
    """The core's committed index when the laws looked last."""

    @property
    def last(self) -> Position:
        """Position of the last entry on disk."""
        return self.log[-1].entry.position if self.log else START

    def power_off(self) -> None:
        """Everything that was not on disk is gone."""
        self.up = False
        self.jobs.clear()
        self.answers.clear()
        self.open_group = None

    def recover(self) -> Recovered:
        """Bring the database to the end of the log; say what a new core must know."""
        sessions = SessionTable()
        starts: list[tuple[int, int]] = []
        for logged in self.log:
            sessions.record(logged.entry)
            sessions.commit(logged.entry.index - 1)
            if not starts or starts[-1][0] != logged.entry.term:
                starts.append((logged.entry.term, logged.entry.index))
        self._rebuild()
        self.up, self.committed = True, 0
        return Recovered(
            term=self.term[0],
            voted_for=self.term[1],
            term_starts=starts,
            last_index=len(self.log),
            sessions=sessions,
        )

    def perform(self, now: int) -> None:
        """Carry out the next storage effect."""
        effect = self.jobs.popleft()
        allowed = Append | Commit | Abandon | SendLog
        assert self.open_group is None or isinstance(effect, allowed), f"{effect} in an open group"
        match effect:
            case Execute(position, group):
                self.answers.append(Executed(now, position, self._execute(group)))
            case Append(entries):
                self._append(entries)
                self.answers.append(Durable(now, self.last))
            case Commit(position):
                assert len(self.log) >= position.index, "committed before it was durable"
                assert self.open_group is not None
                self.data, self.open_group = self.open_group, None
                self.applied = position.index
                self.laws.applied(self.name, position, self.data)
                self.answers.append(Applied(now, position))
            case Apply(entries):
                self._apply(entries)
                self.answers.append(Applied(now, entries[-1].entry.position))
            case Abandon():
                self.open_group = None
            case Rewind(to):
                self._rewind(to)
                self.answers.append(Rewound(now, to))
            case Query(reads):
                at = self.log[self.applied - 1].entry.position if self.applied else START
                self.answers.append(
                    Queried(now, at, tuple((client, read, self._query(read)) for client, read in reads))
                )
            case SendLog():
                self.answers.append(self._read_log(effect))

    def _execute(self, group: Iterable[Transaction]) -> Execution:
        data = dict(self.data)
        members, refused, body = [], [], []
        for transaction in group:
            (statement,) = transaction.statements
            if statement.sql == "set":
                key, value = statement.parameters
                data[str(key)] = value
                body.append((key, value))
                members.append(Member(transaction.session, transaction.sequence, (StatementResult(1),)))
            else:
                reason = f"no such verb: {statement.sql}"
                refused.append(Refused(transaction.session, transaction.sequence, reason))
        self.open_group = data if members else None
        return Execution(tuple(members), tuple(refused), msgspec.msgpack.encode(body) if members else b"")

    def _append(self, entries: tuple[LoggedEntry, ...]) -> None:
        for logged in entries:
            assert logged.entry.index == len(self.log) + 1, "the log must continue without a gap"
            self.laws.appended(self.name, logged, self.last)
            self.log.append(logged)

    def _apply(self, entries: Iterable[LoggedEntry]) -> None:
        for entry, _ in entries:
            assert len(self.log) >= entry.index, "applied before it was durable"
            assert entry.index == self.applied + 1, "law 3: entries are applied in order, each once"
            self.data = {**self.data, **changes(entry)}
            self.applied = entry.index
            self.laws.applied(self.name, entry.position, self.data)

    def _rewind(self, to: Position) -> None:
        assert to.index <= len(self.log), f"rewind to {to}, the log ends at {self.last}"
        self.rollback += [logged.entry for logged in self.log[to.index :]]
        del self.log[to.index :]
        assert self.last == to
        if self.applied > to.index:
            self._rebuild()

    def _rebuild(self) -> None:
        self.data, self.applied = {}, 0
        self._apply(self.log)

    def _query(self, read: Read) -> QueryResult:
        value = self.data.get(str(read.statement.parameters[0]))
        return QueryResult(("value",), ((value,),) if value is not None else ())  # type: ignore[arg-type]

    def _read_log(self, effect: SendLog) -> Send:
        payloads: list[bytes] = []
        for logged in self.log[effect.header.previous.index :]:
            if payloads and sum(map(len, payloads)) + len(logged.encoded) > effect.bytes_max:
                break
            payloads.append(logged.encoded)
        return Send(effect.to, effect.header.with_entries(tuple(payloads)))
