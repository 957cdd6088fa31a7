"""Helpers for the tests of stores: a leader and followers without a network, whose log is a list of entries."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from workbench.config import Limits, LogFormatName, UnsafePolicy
from workbench.protocol.values import Entry, Member, Position, SqlValue, Statement, Transaction
from workbench.storage.base import Execution, Store
from workbench.storage.sqlite import open_store

Call = str | tuple[str, tuple[SqlValue, ...]]


def statement(call: Call) -> Statement:
    """SQL, or SQL with parameters."""
    return Statement(call) if isinstance(call, str) else Statement(*call)


def transaction(*calls: Call, session: int = 1, sequence: int = 1) -> Transaction:
    """One client transaction."""
    return Transaction(session, sequence, tuple(map(statement, calls)))


class Replicas:
    """Stores under one directory, all of one log format, and the log that they share."""

    def __init__(
        self,
        directory: Path,
        log_format: LogFormatName,
        limits: Limits | None = None,
        page_size: int = 4096,
        unsafe: UnsafePolicy = "allow",
    ) -> None:
        self.directory = directory
        self.log_format = log_format
        self.limits = limits or Limits()
        self.page_size = page_size
        self.unsafe: UnsafePolicy = unsafe
        self.log: list[Entry] = []
        self.stores: dict[str, Store] = {}

    def open(self, name: str, *, reverse_unordered: bool = False) -> Store:
        self.stores[name] = open_store(
            self.directory / name,
            self.log_format,
            self.limits,
            page_size=self.page_size,
            unsafe=self.unsafe,
            reverse_unordered=reverse_unordered,
        )
        return self.stores[name]

    def copy(self, name: str, copy: str) -> Path:
        """What the disk of a killed process would hold."""
        return Path(shutil.copytree(self.directory / name, self.directory / copy))

    def execute(self, store: Store, *group: Transaction) -> Execution:
        """Execute a group and append its entry to the log; the commit is the caller's."""
        position = Position(1, len(self.log) + 1)
        execution = store.execute(group, position)
        if execution.members:
            self.log.append(Entry(*_pair(position), self.log_format, execution.members, execution.body))
        return execution

    def write(self, store: Store, *group: Transaction) -> Execution:
        """Execute, append and commit."""
        execution = self.execute(store, *group)
        if execution.members:
            store.commit()
        return execution

    def do(self, store: Store, *calls: Call) -> Member:
        """Write one transaction that must not be refused."""
        execution = self.write(store, transaction(*calls))
        assert not execution.refused, execution.refused[0].reason
        return execution.members[0]

    def refusal(self, store: Store, *calls: Call) -> str:
        """Write one transaction that must be refused; the reason."""
        execution = self.write(store, transaction(*calls))
        assert not execution.members, f"not refused: {calls}"
        (refused,) = execution.refused
        assert "\n" not in refused.reason
        assert len(refused.reason) > 10
        return refused.reason

    def catch_up(self, store: Store, *, at_once: bool = False) -> None:
        """Apply what `store` lacks, entry by entry or together."""
        missing = self.log[store.applied.index :]
        for entries in [missing] if at_once else [[entry] for entry in missing]:
            store.apply(entries)

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


def rows(store: Store, sql: str, *parameters: SqlValue) -> Sequence[tuple[SqlValue, ...]]:
    """The rows of a read that must succeed."""
    result = store.query(Statement(sql, parameters))
    assert not result.error, result.error
    return result.rows


def _pair(position: Position) -> tuple[int, int]:
    return position.term, position.index
