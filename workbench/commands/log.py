"""`workbench log show`: the entries of a replica's replication log, decoded, without touching a file of it.

Of a replica's directory, a cluster's, or a run folder; also while the replica runs, and of a log with a torn tail.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.arguments import Parser, nearest, whole_number
from workbench.errors import ConfigurationError, LogCorruption

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.inspection.log_entries import LogEntries, LoggedContent
    from workbench.inspection.replica_files import ReplicaFiles

_ACTIONS = ("show",)
_ENTRIES_SHOWN = 20
_SESSIONS_SHOWN = 3
_TABLE_WIDTH_MIN = 70


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("action", metavar="ACTION", help="show")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="of a replica, of a cluster, or a run folder")
    parser.add_argument("--replica", default="", metavar="NAME", help="which one of them (default: the first)")
    parser.add_argument(
        "--from", dest="first", type=whole_number(0, 2**63 - 1), default=0, metavar="N", help="index of the first entry"
    )
    parser.add_argument(
        "--limit",
        type=whole_number(1, 2**63 - 1),
        metavar="N",
        help=f"entries at most (default: {_ENTRIES_SHOWN}; with --json all)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line for each entry, whole")


def run(arguments: argparse.Namespace) -> int:
    """Show; 0 also for a log with a torn tail, which is said."""
    if arguments.action not in _ACTIONS:
        raise ConfigurationError(
            f"unknown action {arguments.action!r}", hint=nearest(arguments.action, _ACTIONS, "actions")
        )
    from workbench.inspection.log_entries import LogEntries
    from workbench.inspection.replica_files import choose, find_replicas

    replicas = find_replicas(arguments.directory)
    chosen = choose(replicas, arguments.replica)
    try:
        entries = LogEntries(chosen)
        if arguments.json:
            for content in islice(entries.iterate(arguments.first), arguments.limit):
                sys.stdout.write(json.dumps(content.to_json(), ensure_ascii=False) + "\n")
            return 0
        _print(replicas, chosen, entries, arguments.first, arguments.limit or _ENTRIES_SHOWN)
    except LogCorruption as error:  # of a replica that runs it would be a failure; here it is what was asked about
        raise ConfigurationError(error.message, hint=error.hint) from error
    return 0


def _print(
    replicas: list[ReplicaFiles], chosen: ReplicaFiles, entries: LogEntries, first_index: int, limit: int
) -> None:
    from workbench.commands.terminal import console, plain, shown_path

    screen = console()
    shown = list(islice(entries.iterate(first_index), limit))
    last_index = entries.last_index()
    screen.print(plain(f"{chosen.label}: {_extent(entries, last_index)}, in {shown_path(chosen.log)}"), soft_wrap=True)
    if entries.snapshot is not None:
        screen.print(plain(f"a snapshot covers the entries up to {entries.snapshot}"), soft_wrap=True)
    others = [one.label for one in replicas if one != chosen]
    if others:
        screen.print(plain(f"also here, with --replica: {', '.join(others)}"), soft_wrap=True)
    _print_entries(screen, shown)
    if shown and shown[-1].position.index < last_index:
        left = last_index - shown[-1].position.index
        more = f"{left:,} more {'entry' if left == 1 else 'entries'}: --from {shown[-1].position.index + 1}"
        screen.print(plain(f"{more}, or --limit {limit + left} for all"), soft_wrap=True)
    elif not shown:
        screen.print(plain(f"no entry from {first_index} on" if last_index else "no entry yet"), soft_wrap=True)
    if entries.tail.left_bytes:
        screen.print(plain(_torn(entries)), soft_wrap=True)


def _extent(entries: LogEntries, last_index: int) -> str:
    files = f"{entries.size:,} bytes in {entries.segments} {'file' if entries.segments == 1 else 'files'}"
    if last_index < entries.first_index:
        return f"no entries, {files}"
    return f"entries {entries.first_index} to {last_index}, {files}"


def _torn(entries: LogEntries) -> str:
    tail = entries.tail
    return (
        f"torn tail: {tail.left_bytes:,} bytes at byte {tail.offset:,} of {Path(tail.path).name} are no entry "
        f"({tail.reason}): they are being written at this moment, or a replica that starts here will cut them"
    )


def _print_entries(screen: Console, shown: list[LoggedContent]) -> None:
    from rich.padding import Padding

    from workbench.commands.terminal import make_table, plain

    if not shown:
        return
    if screen.width < _TABLE_WIDTH_MIN:
        for one in shown:
            head = [str(one.position), one.time[11:23], one.kind or "first", f"{one.size:,} bytes"]
            screen.print("\n[bold]" + "  ".join(filter(None, head)) + "[/bold]")
            screen.print(Padding(plain(_content(one)), (0, 0, 0, 2)))
        screen.print()
        return
    table = make_table(
        "", [("position", "left"), ("time (UTC)", "left"), ("bytes", "right"), ("kind", "left"), ("content", "left")]
    )
    table.title = None
    for one in shown:
        table.add_row(str(one.position), one.time[11:23], f"{one.size:,}", one.kind or "first", plain(_content(one)))
    screen.print(table)


def _content(one: LoggedContent) -> str:
    from workbench.commands.entry_text import content_lines

    lines = []
    if one.transactions:
        listed = [f"{session:x}#{sequence}" for session, sequence in one.transactions[:_SESSIONS_SHOWN]]
        more = len(one.transactions) - _SESSIONS_SHOWN
        count = len(one.transactions)
        lines.append(
            f"{count} {'transaction' if count == 1 else 'transactions'}: {', '.join(listed)}"
            + (f" and {more:,} more" if more > 0 else "")
        )
    lines += content_lines(one.content)
    if not (one.kind or one.content):
        lines.append(f"the first entry of term {one.position.term}")
    if one.not_described:
        lines.append(f"not described: {one.not_described}")
    if one.rows_not_described:
        lines.append(f"rows not described: {one.rows_not_described}")
    return "\n".join(lines)
