"""What people see in a terminal: tables on standard output, progress on standard error.

Results go to standard output, everything else to standard error, so that a pipe carries results only. A bar is drawn
where standard error is a terminal that can move its cursor; elsewhere progress is plain lines, and few of them.
NO_COLOR, dumb terminals and narrow ones are rich's business; output into a pipe is not cut to 80 columns.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.checkers.verdict import Verdict

_PIPE_WIDTH = 120
_COLOURS = {"valid": "green", "invalid": "red", "unknown": "yellow"}
_LINE_STEP = 0.25
"""Growth of the fraction done after which plain progress says so again."""

Tell = Callable[[float, str], None]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would exit with status 1, which means invalid here


def console(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return _Console(stderr=stderr, highlight=False, width=width, emoji=False)


def plain(text: str) -> str:
    """`text` with square brackets kept as they are."""
    return escape(text)


def make_table(title: str, columns: Sequence[tuple[str, Literal["left", "right"]]]) -> Table:
    """An empty table; a heading may have its unit in a second line."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for heading, justify in columns:
        table.add_column(heading, justify=justify, vertical="top", overflow="fold")
    return table


def verdict_lines(verdicts: Mapping[str, Verdict], sentences: Mapping[str, str] | None = None) -> Table:
    """One line a verdict: its status as a word, its name or sentence, and why where it is not valid."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, verdict in verdicts.items():
        text = (sentences or {}).get(name, name)
        reason = "" if verdict.status == "valid" or not verdict.reason else f"\n{verdict.reason}"
        table.add_row(Text(verdict.status, style=_COLOURS[verdict.status]), text + reason)
    return table


def shown_path(path: Path) -> str:
    """A path as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        relative = os.path.relpath(path)
        return relative if len(relative) <= len(str(path)) else str(path)
    return str(path)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Tell]:
    """Show how far something has come; gives the function to tell it with: `tell(fraction, text)`."""
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield _line_teller(title)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = [
        TextColumn("{task.fields[title]}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="ellipsis", no_wrap=True)),
    ]
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("starting", total=1.0, title=title)

        def tell(fraction: float, text: str) -> None:
            bar.update(task, completed=fraction, description=text)

        yield tell


def _line_teller(title: str) -> Tell:
    said = -1.0

    def tell(fraction: float, text: str) -> None:
        nonlocal said
        if fraction >= said + _LINE_STEP:
            said = fraction
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{title}: {100 * fraction:3.0f} % {text}\n")
                sys.stderr.flush()

    return tell


def print_json(document: object) -> None:
    """The one JSON document of `--json`."""
    from workbench.strict_json import dumps

    sys.stdout.write(dumps(document))
    sys.stdout.flush()
