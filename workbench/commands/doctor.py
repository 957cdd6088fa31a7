"""`workbench doctor`: what is installed, which broker would be used, and whether what matters for measurements holds.

The checks that take a machine's word for nothing are done for real: two writes to the broker that Nagle's algorithm
would hold back, fdatasync where run folders go, and a cluster of three replicas. Exit code 3 when something that is
needed is missing.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbench.commands import EXIT_UNKNOWN
from workbench.commands.arguments import Parser, add_broker, add_json

if TYPE_CHECKING:
    from workbench.commands.checkup import Finding

_SIGNS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "missing": "[red]missing[/red]"}


def configure(parser: Parser) -> None:
    """Declare the options."""
    add_broker(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check everything and print what was found."""
    from workbench.commands.checkup import check_all
    from workbench.commands.running import run_to_end
    from workbench.commands.terminal import print_json, progress

    with progress("doctor") as tell:
        findings = run_to_end(check_all(arguments.broker, tell))
    missing = any(finding.status == "missing" for finding in findings)
    if arguments.json:
        print_json({"ok": not missing, "checks": findings})
    else:
        _print(findings)
    return EXIT_UNKNOWN if missing else 0


def _print(findings: list[Finding]) -> None:
    from rich.table import Table

    from workbench.commands.terminal import console, plain

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        hint = f"\n{finding.hint}" if finding.hint else ""
        table.add_row(_SIGNS[finding.status], finding.name, plain(finding.text + hint))
    screen = console()
    screen.print(table)
    missing = [finding.name for finding in findings if finding.status == "missing"]
    screen.print(plain(f"\nneeded, but missing: {', '.join(missing)}" if missing else "\nall that is needed is here"))
