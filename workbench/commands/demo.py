"""`workbench demo`: the three headline experiments, small, and one page about all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_broker, add_json, add_output, add_seed

if TYPE_CHECKING:
    from workbench.commands.terminal import Tell
    from workbench.results import RunFolder

_SIZES: dict[str, dict[str, Any]] = {
    "log_formats": {"parts": "load,costs,unsafe"},
    "write_latency": {"ack": "async,semi_sync:1,quorum,sync", "follower_delay_ms": "20", "duration_s": 0.8},
    "stale_reads": {"follower_delay_ms": "0,40", "duration_s": 0.8},
}
"""Experiment -> what differs from its `ci` profile: small enough for all three to take well under a minute."""


def configure(parser: Parser) -> None:
    """Declare the options."""
    add_seed(parser)
    add_broker(parser)
    add_output(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run all three; the exit code is that of all their claims."""
    from workbench.checkers.verdict import Verdict
    from workbench.commands.execute import execute
    from workbench.commands.terminal import console, plain, progress, shown_path
    from workbench.experiments.registry import experiment

    screen = console()
    if not arguments.json:
        screen.print("Three questions, put to real replicas on this machine. This takes under a minute.\n")
    folders: list[RunFolder] = []
    for place, (name, size) in enumerate(_SIZES.items(), start=1):
        with progress(f"{place}/{len(_SIZES)} {name}") as tell:
            folders.append(
                execute(
                    experiment(name),
                    profile="ci",
                    seed=arguments.seed,
                    broker=arguments.broker,
                    output=arguments.output,
                    overrides=size,
                    tell=tell,
                )
            )
        if not arguments.json:
            _print_experiment(folders[-1])
    with progress("report") as tell:
        report = _write_report(folders, arguments.output, tell)
    if arguments.json:
        from workbench.commands.terminal import print_json

        print_json({"runs": [folder.to_json() for folder in folders], "report": shown_path(report)})
    else:
        screen.print("[bold]Run folders, with all that was measured[/bold]")
        for folder in folders:
            screen.print(f"  {plain(shown_path(folder.path))}", soft_wrap=True)
        screen.print(f"[bold]Report with charts[/bold]\n  {plain(shown_path(report))}", soft_wrap=True)
        screen.print("\nNext: `make lab` opens the notebooks, `workbench experiments` lists what else can be asked.")
    return Verdict.all({folder.experiment: folder.conclusion for folder in folders}).exit_code


def _print_experiment(folder: RunFolder) -> None:
    from workbench.commands.tables import print_result
    from workbench.commands.terminal import console, verdict_lines

    screen = console()
    print_result(screen, folder)
    sentences = folder.info.get("claims", {})
    judged = folder.verdicts | folder.required_checks
    failed = {name: verdict for name, verdict in judged.items() if verdict.status != "valid"}
    valid = sum(verdict.status == "valid" for verdict in folder.verdicts.values())
    screen.print(f"{valid} of {len(folder.verdicts)} claims held." + (" Not these:" if failed else ""))
    if failed:
        screen.print(verdict_lines(failed, sentences))
    screen.print()


def _write_report(folders: list[RunFolder], output: Path | None, tell: Tell) -> Path:
    from workbench.charts.report import write_report
    from workbench.run_listing import runs_root

    tell(0.0, "writing")
    return write_report(folders, runs_root(output) / "demo-report.html")
