"""`workbench explain "SQL"`: how each log format would replicate a statement, found out by really doing it.

Whether it is safe and why, the entry that would travel, and whether a follower that applied it holds the same rows. A
statement whose replicas differ is what is asked about here, so it is no failure: the exit code is 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.arguments import Parser, add_json
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.inspection.explaining import Explanation, Outcome

_LINES_SHOWN = 6
_TABLE_WIDTH_MIN = 90


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("sql", metavar="SQL", help="a statement; several are explained as one transaction")
    parser.add_argument(
        "--schema",
        type=Path,
        metavar="FILE.sql",
        help="a script that makes the tables, and rows if you like (default: they are guessed from the statement)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Explain; a statement that cannot be executed raises `StatementError`."""
    if arguments.schema is not None and arguments.schema.is_dir():
        raise ConfigurationError(f"{arguments.schema} is a directory", hint="--schema takes a SQL script")
    from workbench.commands.terminal import console, print_json
    from workbench.inspection.explaining import explain

    explanation = explain(arguments.sql, arguments.schema)
    if arguments.json:
        print_json(explanation.to_json())
    else:
        _print(console(), explanation)
    return 0


def _print(screen: Console, explanation: Explanation) -> None:
    from workbench.commands.terminal import plain

    for sql in explanation.statements:
        screen.print(plain(sql), style="bold", soft_wrap=True)
    if len(explanation.statements) > 1:
        screen.print(f"explained as one transaction of {len(explanation.statements)} statements", soft_wrap=True)
    for sql in explanation.assumed:
        screen.print(plain(f"assumed: {sql}"), soft_wrap=True)
    if explanation.reads_only:
        screen.print("\nNothing is replicated: it only reads, on the replica that is asked.", soft_wrap=True)
        return
    screen.print()
    _print_causes(screen, explanation)
    _print_outcomes(screen, explanation)
    screen.print(plain(_legend(explanation)), style="dim")


def _legend(explanation: Explanation) -> str:
    size = sum(len(sql.encode("utf-8", "surrogatepass")) for sql in explanation.statements)
    return (
        f"body: what the format made of it, and how much more that is than the {size:,} bytes of SQL; entry: with"
        " position, session and reply, as it travels. Leader and follower are real; the follower's clock is an hour"
        " ahead, and where SQL leaves the order of rows open it reads them the other way round."
    )


def _print_causes(screen: Console, explanation: Explanation) -> None:
    from rich.padding import Padding

    from workbench.commands.terminal import plain

    if not explanation.causes:
        screen.print("[green]safe[/green]: executed again, the SQL has the same effect on every replica")
        return
    for one in explanation.causes:
        pinned = "" if one.pinnable else " (cannot be pinned)"
        screen.print(f"[red]unsafe[/red] as a statement: [bold]{plain(one.cause)}[/bold]{pinned}", soft_wrap=True)
        screen.print(Padding(plain(f"{one.what}: {one.reason}"), (0, 0, 0, 2)))


def _print_outcomes(screen: Console, explanation: Explanation) -> None:
    unsafe = bool(explanation.causes)
    rows = []
    for (log_format, *_), alike in groupby(explanation.outcomes, key=_alike):
        outcomes = list(alike)
        rows.append((log_format, [one.unsafe for one in outcomes if one.unsafe], outcomes[0]))
    if screen.width < _TABLE_WIDTH_MIN:
        _print_stacked(screen, rows, unsafe=unsafe)
    else:
        _print_table(screen, rows, unsafe=unsafe)


def _print_table(screen: Console, rows: list[tuple[str, list[str], Outcome]], *, unsafe: bool) -> None:
    from workbench.commands.terminal import make_table, plain

    table = make_table(
        "",
        [
            ("format", "left"),
            ("follower", "left"),
            ("body\nbytes", "right"),
            ("beyond\nthe SQL", "right"),
            ("entry\nbytes", "right"),
            ("what travels, and what the follower does", "left"),
        ],
    )
    table.title = None
    for log_format, policies, one in rows:
        sizes = (
            ("", "", "") if one.refused else (f"{one.body_bytes:,}", f"{one.beyond_bytes:+,}", f"{one.entry_bytes:,}")
        )
        table.add_row("\n  ".join([log_format, *policies]), _verdict(one), *sizes, plain(_story(one, unsafe=unsafe)))
    screen.print(table)


def _print_stacked(screen: Console, rows: list[tuple[str, list[str], Outcome]], *, unsafe: bool) -> None:
    """Where a table would have no room for what travels."""
    from rich.padding import Padding

    from workbench.commands.terminal import plain

    for log_format, policies, one in rows:
        name = f"{log_format} ({', '.join(policies)})" if policies else log_format
        sizes = f", body {one.body_bytes:,} bytes ({one.beyond_bytes:+,}), entry {one.entry_bytes:,}"
        screen.print(f"\n[bold]{name}[/bold]: {_verdict(one)}{'' if one.refused else sizes}")
        screen.print(Padding(plain(_story(one, unsafe=unsafe)), (0, 0, 0, 2)))
    screen.print()


def _alike(one: Outcome) -> tuple[str, str, str, int]:
    """What policies that made the same of the statement have in common: they share a line."""
    differing = one.unsafe if one.agrees is False else ""  # each shows its own values
    return one.log_format, one.refused or differing, str(one.content), one.body_bytes


def _verdict(one: Outcome) -> str:
    if one.refused:
        return "[yellow]refused[/yellow]"
    if one.not_applied:
        return "[red]cannot apply[/red]"
    return "[green]equal[/green]" if one.agrees else "[red]DIFFERS[/red]"


def _story(one: Outcome, *, unsafe: bool) -> str:
    from workbench.commands.entry_text import content_lines

    if one.refused:
        return f"the leader refuses it: {one.refused}"
    lines = content_lines(one.content, _LINES_SHOWN)
    lines.append(f"→ {follower_does(one)}")
    if unsafe and one.agrees and one.unsafe == "allow":
        lines.append("→ equal only here: other rows, another moment or another version of SQLite may make them differ")
    if one.not_applied:
        lines.append(f"→ {one.not_applied}")
    for difference in one.differences:
        if not difference.column:
            lines.append(f"→ {difference.table} differs")
            continue
        place = f"{difference.table}, {difference.key}, {difference.column}"
        lines.append(f"→ {place}: {difference.leader} on the leader, {difference.follower} on the follower")
    return "\n".join(lines)


def follower_does(one: Outcome) -> str:
    """What a follower does with the entry, in a sentence."""
    kinds = [_kind(part) for part in one.content]
    if one.log_format == "wal":
        return "writes the pages into its file, and never looks at rows"
    does = []
    if "sql" in kinds:
        does.append("executes the SQL again" + (", with what the leader saw put back" if "pinned" in kinds else ""))
    if "rows" in kinds:
        does.append("writes the rows as the leader had them, without triggers")
    return ", and ".join(does) or "has nothing to do"


def _kind(part: Mapping[str, object]) -> str:
    return "sql" if "sql" in part else "pinned" if "pinned_time" in part else "rows"
