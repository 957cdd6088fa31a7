"""What a session's operations return."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.protocol.values import Position, Row, StatementResult


@dataclass(frozen=True, slots=True)
class WriteResult:
    """An acknowledged write: the position of its entry, its place among the entry's members, and what it did."""

    position: Position
    member: int
    replica: str
    """The leader that acknowledged it."""
    results: tuple[StatementResult, ...]
    duration_ms: float
    sequence: int = 0
    """Its number in the session."""
    identifier: int = 0
    """The session's identifier under which it was written: with `sequence`, what logs and rollback files call it."""

    @property
    def changes(self) -> int:
        """Rows changed by all statements together."""
        return sum(result.changes for result in self.results)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of the last statement's RETURNING clause."""
        return self.results[-1].rows


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Rows, and the position that the replica had applied when it read them."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    position: Position
    replica: str
    duration_ms: float
