"""`workbench compare RUN RUN`: ratios of the figures of two runs, with intervals; what proves nothing is `unknown`.

A difference is what is asked about here, so it is no failure: the exit code is 0, and 3 if nothing could be told.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from workbench.commands import EXIT_UNKNOWN
from workbench.commands.arguments import Parser, add_json, add_seed
from workbench.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.metrics.comparing import MeasuredRun
    from workbench.results import RunFolder

_COLOURS = {"higher": "yellow", "lower": "yellow", "no difference": "green", "unknown": "dim"}


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("first", metavar="RUN", help="a run folder: its path, or its name in data/runs")
    parser.add_argument("second", metavar="RUN", help="another one, of which the figures are divided by the first's")
    add_seed(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    from workbench.commands.terminal import progress
    from workbench.metrics.comparing import compare_runs
    from workbench.results import RunFolder

    folders = [RunFolder.open(name) for name in (arguments.first, arguments.second)]
    first, second = (_measured(folder) for folder in folders)
    if not set(first.operations["cell"]) & set(second.operations["cell"]):
        raise RunError(
            f"{folders[0].path.name} and {folders[1].path.name} have no cell with operations in common",
            hint="compare runs of one experiment with the same parameters, such as before and after a change",
        )
    with progress("compare") as tell:
        tell(0.0, "drawing blocks")
        found = compare_runs(first, second, seed=arguments.seed)
    if arguments.json:
        _print_json(folders, found)
    else:
        _print(folders, found)
    return EXIT_UNKNOWN if (found["verdict"] == "unknown").all() else 0


def _measured(folder: RunFolder) -> MeasuredRun:
    from workbench.metrics.comparing import MeasuredRun

    warm_up_s = folder.parameters.get("warmup_s")
    return MeasuredRun(folder.operations, None if warm_up_s is None else float(warm_up_s))


def _print_json(folders: list[RunFolder], found: pd.DataFrame) -> None:
    from workbench.commands.terminal import print_json
    from workbench.strict_json import plain

    print_json({"runs": [str(folder.path) for folder in folders], "figures": plain(found.to_dict(orient="records"))})


def _print(folders: list[RunFolder], found: pd.DataFrame) -> None:
    from workbench.commands.terminal import console, make_table, plain

    screen = console()
    for name, folder in zip(("first", "second"), folders, strict=True):
        screen.print(plain(f"{name}: {folder.path.name}"), soft_wrap=True)
    for cell, rows in found.groupby("cell", sort=False):
        table = make_table(
            plain(str(cell) or "all operations"),
            [
                ("figure", "left"),
                ("first", "right"),
                ("second", "right"),
                ("ratio", "right"),
                ("95 % interval", "right"),
                ("verdict", "left"),
            ],
        )
        for row in rows.to_dict(orient="records"):
            what = row["figure"] if row["kind"] == "all" else f"{row['kind']} {row['figure']}"
            verdict = f"[{_COLOURS[row['verdict']]}]{row['verdict']}[/]"
            if row["reason"]:
                verdict += plain(f": {row['reason']}")
            bounds = "–" if math.isnan(row["ratio_low"]) else f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
            table.add_row(what, _figure(row["first"]), _figure(row["second"]), _figure(row["ratio"]), bounds, verdict)
        screen.print(table)
    screen.print(
        "Ratios are second by first. Intervals are bootstrapped over blocks of time within each run; they do not know"
        " what another day, or another machine, would change: repeat runs for that.",
        style="dim",
    )


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.3f}"
