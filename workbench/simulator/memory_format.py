"""What the memory disk keeps: entries whose bodies are the assignments that were made, and snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from workbench.protocol.outcomes import Execution, Refused
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import LoggedEntry, Member, StatementResult, Transaction


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
