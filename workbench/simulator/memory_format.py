"""What the memory disk keeps: entries whose bodies are the assignments that were made, and snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from workbench.protocol.outcomes import Execution, Refused
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import Entry, LoggedEntry, Member, Statement, StatementResult, Transaction
from workbench.simulator.laws import changes


class Workload(Protocol):
    """What clients ask of a database of some kind, and what must come of it."""

    def write(self, keys: Sequence[str], value: str, *, is_first: bool) -> tuple[Statement, ...]:
        """Assign `value` to all `keys`. `is_first`: there may be no table yet."""
        ...

    def read(self, key: str) -> Statement:
        """What `key` holds: one row with one value, or none."""
        ...

    def asked(self, writes: Iterable[Transaction]) -> None:
        """Clients have sent these."""
        ...

    def changes(self, entry: Entry) -> dict[str, object]:
        """What `entry` assigns."""
        ...


class MemoryWorkload:
    """The statements of a database that is a dictionary, and whose entries say themselves what they assign."""

    def write(self, keys: Sequence[str], value: str, *, is_first: bool) -> tuple[Statement, ...]:
        """As a `Workload`: there is always a table."""
        return tuple(Statement("set", (key, value)) for key in keys)

    def read(self, key: str) -> Statement:
        """As a `Workload`."""
        return Statement("get", (key,))

    def asked(self, writes: Iterable[Transaction]) -> None:
        """As a `Workload`."""

    def changes(self, entry: Entry) -> dict[str, object]:
        """As a `Workload`."""
        return changes(entry)


@dataclass(frozen=True)
class Snapshot:
    """A database as of one position, what the core says of it, and the log that it stands for."""

    name: str
    state: SnapshotState
    data: dict[str, object]
    covered: list[LoggedEntry]


def execute(data: Mapping[str, object], group: Iterable[Transaction]) -> tuple[Execution, dict[str, object]]:
    """Execute client transactions, whose statements are `set` with a key and a value; and the data behind them."""
    changed = dict(data)
    members, refused, body = [], [], []
    for transaction in group:
        statements = transaction.statements
        unknown = [statement.sql for statement in statements if statement.sql != "set"]
        if unknown:
            refused.append(Refused(transaction.session, transaction.sequence, f"no such verb: {unknown[0]}"))
            continue
        assigned = [statement.parameters for statement in statements]
        changed |= {str(key): value for key, value in assigned}
        body += assigned
        results = tuple(StatementResult(1) for _ in statements)
        members.append(Member(transaction.session, transaction.sequence, results))
    return Execution(tuple(members), tuple(refused), msgspec.msgpack.encode(body) if members else b""), changed
