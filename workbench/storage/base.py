"""What a replica asks of its database: `Store`.

A store is synchronous and belongs to one thread. It never decides anything about replication: the core says
what to execute, commit, apply or read, and the driver calls the store in that order.

Ordering contract, for the leader: `execute` -> (the entry is appended to the replication log and synced) ->
`commit`. Between `execute` and `commit` no other call but `abandon` and `end_copy` is allowed, so nobody reads what is
not logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from workbench.protocol.outcomes import Execution, QueryResult, Refused
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.database_copy import DatabaseCopy

__all__ = ["LEFT_OUT", "Execution", "QueryResult", "Refused", "Store"]


LEFT_OUT: Final = "left out: "
"""Begins what stands in the place of a digest where another engine has nothing to compare; the reason follows."""


class Store(Protocol):
    """One replica's database."""

    @property
    def applied(self) -> Position:
        """Position of the last entry whose effects the database holds. After opening: where recovery must go on."""
        ...

    def execute(self, group: Sequence[Transaction], position: Position) -> Execution:
        """Execute `group` as the content of the entry at `position`, each transaction whole or not at all.

        An execution without members has been undone already; it needs neither `commit` nor `abandon`.
        Raises `StorageError` when the database itself fails.
        """
        ...

    def commit(self) -> None:
        """Make the executed group visible to reads. The entry is durable in the log by now."""
        ...

    def abandon(self) -> None:
        """Undo the executed group, which was never logged."""
        ...

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply entries that follow `applied` without a gap, all of them or none (a VACUUM among them is a whole of its
        own, as is what stands before and behind it: `applied` tells).

        Raises `DivergedError` where an entry does not fit the database.
        """
        ...

    def rewind(self, to: Position, dropped: Iterable[Entry]) -> bool:
        """Take back everything behind `to`, durably: `dropped` are the applied entries there, newest first.

        False when this cannot be done, or not soundly; the database is to be made anew then. Whoever calls this has
        ended a copy before.
        """
        ...

    def begin_copy(self) -> DatabaseCopy:
        """Hold the main file still, as of `applied`, for a copy of it. One at a time.

        Raises `CopyRefused` when the main file cannot be made to hold everything.
        """
        ...

    def end_copy(self) -> None:
        """The copy is finished, or given up: the main file may change again."""
        ...

    def query(self, statement: Statement) -> QueryResult:
        """Run one read-only statement on what is applied."""
        ...

    def digest(self) -> dict[str, str]:
        """Table name -> hex digest over its rows in key order; comparable across replicas and log formats."""
        ...

    def close(self) -> None:
        """Release files; the store can be opened again at the same place."""
        ...
