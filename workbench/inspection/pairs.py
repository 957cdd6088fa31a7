"""A leader and a follower without a network: real stores in a directory, for trying one transaction out.

    pair = Pair(directory, "statement", "pin")
    pair.execute_before(schema); pair.begin()  # both are equal now
    tried = pair.run(statements)
    pair.differing()                           # none while both hold the same rows

The follower lives under less fortunate conditions than the leader, as it may anywhere: its clock is an hour ahead
while it applies (`late_clock`), and where SQL leaves the order of rows open it reads them the other way round.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from workbench.config import Limits, LogFormatName, UnsafePolicy
from workbench.errors import StatementError, WorkbenchError
from workbench.inspection.comparing import Reader, RowDifference, Values, compare_table, shape_of
from workbench.protocol.codec import encode_entry
from workbench.protocol.values import Entry, Position, Row, Statement, Transaction
from workbench.storage.base import Store
from workbench.storage.digest import SCHEMA_KEY
from workbench.storage.sqlite import open_store

AHEAD_MS: Final = 3_600_000
_ROWS_MAX = 5
_SESSION = 1


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a transaction: its entry, or why the leader refused it, or the follower could not apply it."""

    entry: Entry | None = None
    entry_bytes: int = 0
    changes: int = 0
    rows: tuple[Row, ...] = ()
    refused: str = ""
    not_applied: str = ""


class Pair:
    """A leader and a follower in one log format. Raises what stores raise."""

    def __init__(self, directory: Path, log_format: LogFormatName, unsafe: UnsafePolicy = "allow") -> None:
        self._directory = directory
        self._log_format: LogFormatName = log_format
        self._unsafe: UnsafePolicy = unsafe
        self.entries: list[Entry] = []
        """Everything that was executed."""
        self._stores: dict[str, Store] = {}

    def execute_before(self, statements: Sequence[Statement]) -> str:
        """Let the leader execute what comes before, whatever it is; why it refused, or the empty string."""
        if "leader" not in self._stores:
            self._stores["leader"] = self._open("leader", unsafe="allow")
        return self._execute(self._stores["leader"], statements).refused

    def begin(self) -> None:
        """Let the follower be equal to the leader, whose policy counts from now on.

        It gets a copy of the files where executing the statements again would not make the same, and the entries
        elsewhere.
        """
        leader = self._stores.pop("leader", None)
        if leader is not None:
            leader.close()
            if self._log_format in ("statement", "mixed"):
                shutil.copytree(self._directory / "leader", self._directory / "follower")
        for name in ("leader", "follower"):
            store = self._stores[name] = self._open(name, unsafe=self._unsafe)
            store.apply(self.entries[store.applied.index :])

    def read(self, statement: Statement) -> None:
        """Run a statement that only reads. Raises `StatementError` when it is refused."""
        if error := self._stores["leader"].query(statement).error:
            raise StatementError(error)

    def run(self, statements: Sequence[Statement], clock: LateClock) -> Tried:
        """Execute one transaction on the leader, and apply its entry on the follower."""
        tried = self._execute(self._stores["leader"], statements)
        if tried.entry is None:
            return tried
        try:
            with clock.ahead():
                self._stores["follower"].apply([tried.entry])
        except WorkbenchError as error:
            return Tried(tried.entry, tried.entry_bytes, tried.changes, tried.rows, not_applied=str(error.message))
        return tried

    def differing(self) -> list[str]:
        """The tables whose digests differ."""
        left, right = (self._stores[name].digest() for name in ("leader", "follower"))
        return sorted(name for name in {*left, *right} if left.get(name) != right.get(name))

    def differences(self, table: str) -> list[RowDifference]:
        """Differing rows of `table`, the first few."""
        return asyncio.run(self._differences(table))

    def close(self) -> None:
        """Release the files."""
        for store in self._stores.values():
            store.close()

    async def _differences(self, table: str) -> list[RowDifference]:
        readers = {name: _reader(store) for name, store in self._stores.items()}
        shapes = [await shape_of(read, table) for read in readers.values()]
        if table == SCHEMA_KEY or shapes[0] is None or shapes[0] != shapes[1]:
            return []
        found, _ = await compare_table(readers, shapes[0], _ROWS_MAX)
        return found

    def _open(self, name: str, unsafe: UnsafePolicy) -> Store:
        return open_store(
            self._directory / name,
            self._log_format,
            Limits(),
            unsafe=unsafe if self._log_format == "statement" else "allow",
            reverse_unordered=name == "follower",
        )

    def _execute(self, leader: Store, statements: Sequence[Statement]) -> Tried:
        number = len(self.entries) + 1
        transaction = Transaction(_SESSION, number, tuple(statements))
        execution = leader.execute([transaction], Position(1, number))
        if execution.refused:
            return Tried(refused=execution.refused[0].reason)
        leader.commit()
        entry = Entry(1, number, self._log_format, execution.members, execution.body)
        self.entries.append(entry)
        results = execution.members[0].results
        rows = tuple(row for result in results for row in result.rows)
        return Tried(entry, len(encode_entry(entry).encoded), sum(result.changes for result in results), rows)


class LateClock(apsw.VFS):
    """SQLite's clock in this process, for connections opened after this was made. One at a time."""

    def __init__(self) -> None:
        self._ahead_ms = 0
        super().__init__("workbench-late-clock", "", makedefault=True)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """An hour ahead within the block."""
        self._ahead_ms = AHEAD_MS
        try:
            yield
        finally:
            self._ahead_ms = 0

    def xCurrentTimeInt64(self) -> int:  # noqa: N802  SQLite's name
        return int(super().xCurrentTimeInt64()) + self._ahead_ms


def _reader(store: Store) -> Reader:
    async def read(sql: str, parameters: Sequence[object]) -> Sequence[Values]:
        found = store.query(Statement(sql, tuple(parameters)))  # type: ignore[arg-type]
        if found.error:
            raise StatementError(found.error)
        return found.rows

    return read
