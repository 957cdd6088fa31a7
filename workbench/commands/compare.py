"""`workbench compare RUN RUN`: latencies, rates and shares (stale reads, lost writes) of two runs, by ratios and
differences with intervals; what proves nothing is `unknown`.

A difference is what is asked about here, so it is no failure: the exit code is 0, and 3 if nothing could be told.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.commands import EXIT_UNKNOWN
from workbench.commands.arguments import Parser, add_json, add_seed
from workbench.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.metrics.comparing import MeasuredRun
    from workbench.results import RunFolder

_NUMBERS = ("first", "second", "change", "95 % interval")
_BY_RATIO = ("latency_ms_p50", "latency_ms_p99", "achieved_per_s")
"""Figures that are told by their ratio; the others are shares, told by their difference."""
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
    from workbench.checkers.rolled_back import read_rollbacks, rolled_back_values
    from workbench.metrics.comparing import MeasuredRun

    warm_up_s = folder.parameters.get("warmup_s")
    operations = folder.operations
    entries = read_rollbacks(sorted(folder.path.glob("rollback/**/*.jsonl")))
    return MeasuredRun(
        operations,
        None if warm_up_s is None else float(warm_up_s),
        rolled_back_values(operations, entries) if entries else (),
        _lost_writes(folder.summary),
    )


def _lost_writes(summary: pd.DataFrame) -> dict[str, int]:
    """Cell -> acknowledged writes that were lost, where the experiment counts them."""
    if not {"cell", "lost_acknowledged_writes"} <= set(summary.columns):
        return {}
    counted = summary[summary["lost_acknowledged_writes"].notna()]
    lost = counted.groupby("cell")["lost_acknowledged_writes"].sum()
    return {str(cell): int(count) for cell, count in lost.items()}


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
        columns = [("figure", "left"), *((name, "right") for name in _NUMBERS), ("verdict", "left")]
        table = make_table(plain(str(cell) or "all operations"), columns)  # type: ignore[arg-type]
        for row in rows.to_dict(orient="records"):
            what = row["figure"] if row["kind"] == "all" else f"{row['kind']} {row['figure']}"
            numbers = (_figure(row["first"]), _figure(row["second"]), *_change(row))
            table.add_row(what, *numbers, f"[{_COLOURS[row['verdict']]}]{row['verdict']}[/]")
        screen.print(table, end="")
        for reason, unknown in rows[rows["reason"] != ""].groupby("reason", sort=False):
            named = ", ".join(f"{row.kind} {row.figure}" for row in unknown.itertuples())
            screen.print(plain(f"unknown: {named}: {reason}"), style="dim", soft_wrap=True)
    screen.print(
        "\nx: second by first; + and -: second less first. Intervals are bootstrapped over blocks of time within each"
        " run; they do not know what another day, or another machine, would change: repeat runs for that.",
        style="dim",
        soft_wrap=True,
    )


def _change(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    """The ratio with its interval, of a share the difference."""
    name, shown = ("ratio", "x {:,.3f}") if row["figure"] in _BY_RATIO else ("difference", "{:+,.3f}")
    change, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    interval = "–" if math.isnan(low) else f"{low:,.3f} to {high:,.3f}"
    return "–" if math.isnan(change) else shown.format(change), interval


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.3f}"
