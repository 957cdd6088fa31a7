"""Where replicas differ, and what made them: the values that locating a divergence gives.

    report = await cluster.converged()
    if not report.ok and report.digests:
        divergence = await locate(cluster, report)       # workbench.inspection.locating
        pandas.DataFrame(divergence.rows())              # one line a value that differs
        divergence.summary                               # one sentence
        workbench.charts.divergence.draw_divergence(divergence.rows(), entries=divergence.entries)

`locate` reads from every replica of a running cluster, and from the files of one replica, and changes nothing. It is
for quiet moments, as `Cluster.converged` is. Rules:

- What was not looked at is said (`DivergedTable.note`): rows are compared up to a bound.
- A cause is named only where the log shows it: the entry is the newest one that touched the row when the log is
  executed again from its beginning, or from a snapshot. Where that leads nowhere, `DivergedValue.reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.protocol.values import Position

ABSENT: Final = "(absent)"
"""The value of a row, or of a table, that a replica does not have."""
WHOLE_ROW: Final = "(row)"
"""The column of a row that some replica does not have at all."""
WHOLE_TABLE: Final = "(table)"
"""The column of a table that some replica does not have, or has with other columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DivergedValue:
    """One value that is not the same everywhere; `values` gives it as SQL text, for each replica."""

    table: str
    key: str
    """As in `id=3`; `rowid=3` in a table without a primary key; the whole row where it has no rowid to be seen."""
    column: str
    values: Mapping[str, str]
    position: Position | None = None
    """The newest entry that touched the row, as far as the log tells."""
    statement: str = ""
    """What touched it in that entry; empty where the entry has no statements."""
    cause: str = ""
    """Why the statement is unsafe: a `Cause` of `log_formats/nondeterminism.py`; empty where none is known."""
    reason: str = ""
    """The cause in words, or why none can be named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DivergedTable:
    """One table whose digest is not the same everywhere."""

    name: str
    replicas: tuple[str, ...]
    """Those that differ from the reference."""
    rows: int
    """Differing rows that were found; more may exist where `note` says so."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """Everything that was found out; `reference` is the replica that the others were compared with."""

    reference: str
    replicas: tuple[str, ...]
    tables: tuple[DivergedTable, ...]
    values: tuple[DivergedValue, ...]
    entries: int
    """Index of the last entry."""
    first_entry: int = 1
    """The first entry that the log, or the snapshot before it, could tell of."""
    notes: tuple[str, ...] = field(default=())
    """What could not be found out, one line each."""

    @property
    def summary(self) -> str:
        """One sentence: how many rows of which tables differ, and the causes."""
        if not self.tables:
            return "no table differs"
        counted = [
            f"{one.rows:,} {'row' if one.rows == 1 else 'rows'} of {one.name}" if one.rows else one.name
            for one in self.tables
        ]
        causes = sorted({value.cause for value in self.values if value.cause})
        positions = sorted({value.position for value in self.values if value.position is not None})
        text = f"{_listed(counted)} {'differs' if _is_one(self.tables) else 'differ'}"
        if positions:
            found = ", ".join(map(str, positions[:4])) + (", ..." if len(positions) > 4 else "")
            text += f" since {'entry' if len(positions) == 1 else 'entries'} {found}"
        return text + (f" ({', '.join(causes)})" if causes else "")

    def rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a value, for a DataFrame; the replicas' values stand in columns of their own.

        Columns: table, key, column, one for each replica, term, index (of the entry; None where it is not known),
        statement, cause, reason.
        """
        return [
            {
                "table": value.table,
                "key": value.key,
                "column": value.column,
                **{name: value.values.get(name, "") for name in self.replicas},
                "term": value.position.term if value.position else None,
                "index": value.position.index if value.position else None,
                "statement": value.statement,
                "cause": value.cause,
                "reason": value.reason,
            }
            for value in self.values
        ]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _is_one(tables: tuple[DivergedTable, ...]) -> bool:
    return len(tables) == 1 and tables[0].rows <= 1
