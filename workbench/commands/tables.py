"""What a finished run looks like in a terminal: its table with units, its finding in a sentence, its verdicts.

Each headline experiment has its own choice of columns; any other run shows the columns of its summary as they are.
The same columns are shown by notebooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.charts.tables import Shown, finding, shown_table
from workbench.commands.terminal import console, make_table, plain, shown_path, verdict_lines
from workbench.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.results import RunFolder


def print_run(folder: RunFolder) -> None:
    """Everything that a person wants to know at the end of `workbench run`."""
    screen = console()
    print_result(screen, folder)
    screen.print()
    screen.print(verdict_lines(folder.verdicts, folder.info.get("claims", {})))
    bad = {name: verdict for name, verdict in folder.checks.items() if verdict.status != "valid"}
    failed = {name: bad.pop(name) for name in folder.required_checks if name in bad}
    if failed:
        screen.print("\nChecks of the history that must hold, and do not: nothing that was measured counts:")
        screen.print(verdict_lines(failed))
    if bad:
        screen.print("\nChecks of the history that are not valid (an expected anomaly shows up here, too):")
        screen.print(verdict_lines(bad))
    screen.print(f"\nrun folder: {plain(shown_path(folder.path))}", soft_wrap=True)
    screen.print(f"a page with charts: workbench report {plain(shown_path(folder.path))}", soft_wrap=True)


def print_result(screen: Console, folder: RunFolder) -> None:
    """The table and the finding."""
    shown = shown_table(folder)
    title = f"{folder.experiment}: {folder.info.get('question', '')}"
    _print_table(screen, title, shown)
    try:
        screen.print(f"[bold]{plain(finding(folder))}.[/bold]")
    except RunError:  # an experiment without charts has no sentence yet
        return


def _print_table(screen: Console, title: str, shown: Shown) -> None:
    headings = [(f"{column.heading}\n{column.unit}" if column.unit else column.heading) for column in shown.columns]
    justify = ["right" if column.numeric else "left" for column in shown.columns]
    table = make_table(plain(title), list(zip(headings, justify, strict=True)))  # type: ignore[arg-type]
    for row in shown.rows:
        table.add_row(*map(plain, row))
    screen.print(table)
