"""A located divergence in a terminal: the values that differ, and below them the entries that made them differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from workbench.commands.terminal import make_table, plain
from workbench.inspection.divergence import DivergedValue, Divergence
from workbench.inspection.value_text import shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

VALUES_SHOWN: Final = 12
_CELL_CHARACTERS = 48
_REPLICAS_SHOWN = 4
_STATEMENT_CHARACTERS = 160


def print_divergence(screen: Console, divergence: Divergence) -> None:
    """Print a table of values and a list of entries, both cut, and what could not be found out."""
    shown = divergence.values[:VALUES_SHOWN]
    if shown:
        screen.print(_values_table(divergence, shown))
    if len(divergence.values) > len(shown):
        screen.print(f"and {len(divergence.values) - len(shown):,} more values: --json names them")
    for line in _entry_lines(divergence):
        screen.print(plain(line))
    for one in divergence.tables:
        if one.note:
            screen.print(plain(f"{one.name}: {one.note}"))
    for note in divergence.notes:
        screen.print(plain(note))


def _values_table(divergence: Divergence, shown: Sequence[DivergedValue]) -> Table:
    """A column for each replica; one for all of them where they are many."""
    by_replica = len(divergence.replicas) <= _REPLICAS_SHOWN
    headings = divergence.replicas if by_replica else ("values",)
    columns = ("table", "row", "column", *headings, "entry", "cause")
    table = make_table("Values that differ", [(name, "left") for name in columns])
    for value in shown:
        cells = [shortened(value.values.get(name, ""), _CELL_CHARACTERS) for name in divergence.replicas]
        if not by_replica:
            cells = ["\n".join(_grouped(divergence.replicas, cells))]
        at = str(value.position) if value.position else "unknown"
        row = [value.table, shortened(value.key, _CELL_CHARACTERS), value.column, *cells, at, value.cause or "–"]
        table.add_row(*map(plain, row))
    return table


def _grouped(replicas: Sequence[str], cells: Sequence[str]) -> list[str]:
    """`VALUE on replica-1, replica-3` for each distinct value."""
    holders: dict[str, list[str]] = {}
    for name, cell in zip(replicas, cells, strict=True):
        holders.setdefault(cell, []).append(name)
    return [f"{cell} on {', '.join(names)}" for cell, names in holders.items()]


def divergence_document(divergence: Divergence) -> dict[str, Any]:
    """The same for `--json`, whole."""
    return {
        "summary": divergence.summary,
        "reference": divergence.reference,
        "tables": [
            {"table": one.name, "replicas": list(one.replicas), "rows": one.rows, "note": one.note}
            for one in divergence.tables
        ],
        "values": divergence.rows(),
        "first_entry": divergence.first_entry,
        "notes": list(divergence.notes),
    }


def _entry_lines(divergence: Divergence) -> list[str]:
    """One line for each entry and reason, oldest first."""
    found: dict[tuple[int, int, str, str], None] = {}
    for value in divergence.values:
        if value.position is not None:
            found[value.position.term, value.position.index, value.statement, value.reason] = None
    lines = []
    for term, index, statement, reason in sorted(found):
        text = shortened(" ".join(statement.split()), _STATEMENT_CHARACTERS) or "rows"
        lines.append(f"entry {term}.{index}: {text}\n  {reason}")
    return lines[:VALUES_SHOWN]
