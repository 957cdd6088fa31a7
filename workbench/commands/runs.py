"""`workbench runs`: the run folders that are there, the history of one as JSON Lines, and the end of old ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.commands.arguments import Parser, add_json, nearest, whole_number
from workbench.errors import ConfigurationError

_ACTIONS = ("list", "export", "prune")


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("action", nargs="?", default="list", metavar="list|export|prune", help="default: list")
    parser.add_argument("run", nargs="?", metavar="RUN", help="export: a run folder, its path or its name in data/runs")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="export: where the history goes (default: history.jsonl in the run)"
    )
    parser.add_argument("--keep", type=whole_number(0, 10**9), metavar="N", help="prune: keep the newest N")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="the folder of run folders (default: WORKBENCH_RUNS, else data/runs)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, export or prune."""
    if arguments.action not in _ACTIONS:
        raise ConfigurationError(
            f"unknown action {arguments.action!r}", hint=nearest(arguments.action, _ACTIONS, "actions")
        )
    if arguments.action != "export":
        for name, value in (("RUN", arguments.run), ("--output", arguments.output)):
            if value is not None:
                raise ConfigurationError(f"{name} goes with export", hint="workbench runs export RUN")
    if arguments.action == "prune":
        return _prune(arguments)
    if arguments.keep is not None:
        raise ConfigurationError("--keep goes with prune", hint="workbench runs prune --keep 10")
    return _export(arguments) if arguments.action == "export" else _list(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from workbench.commands.terminal import console, plain, print_json, shown_path
    from workbench.history_tables import write_history
    from workbench.results import RunFolder

    if arguments.run is None:
        raise ConfigurationError("export needs a run", hint="workbench runs export RUN; `workbench runs` lists them")
    folder = RunFolder.open(arguments.run)
    target: Path = arguments.output or folder.path / "history.jsonl"
    sent = int(folder.operations["invoked_ns"].notna().sum())
    try:
        write_history(folder.operations, target)
    except OSError as error:
        raise ConfigurationError(f"cannot write {target}: {error.strerror}", hint="choose another --output") from error
    if arguments.json:
        print_json({"history": str(target), "operations": sent})
        return 0
    where = plain(shown_path(target))
    console().print(f"{sent:,} operations in {where}; judge it: workbench check sessions {where}", soft_wrap=True)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from workbench.commands.terminal import console, make_table, plain, print_json, shown_path
    from workbench.run_listing import list_runs, runs_root

    listings = list_runs(arguments.root)
    if arguments.json:
        print_json(
            [{**{name: getattr(one, name) for name in one.__slots__}, "path": str(one.path)} for one in listings]
        )
        return 0
    screen = console()
    if not listings:
        screen.print(f"no runs in {plain(shown_path(runs_root(arguments.root)))} yet; `workbench demo` makes three")
        return 0
    table = make_table(
        plain(f"Runs in {shown_path(runs_root(arguments.root))}, newest first"),
        [("run", "left"), ("status", "left"), ("profile", "left"), ("seed", "right")],
    )
    for one in listings:
        table.add_row(plain(one.path.name), one.status, one.profile, "" if one.seed is None else str(one.seed))
    screen.print(table)
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    from workbench.commands.terminal import console, plain, print_json, shown_path
    from workbench.run_listing import prune_runs, runs_root

    if arguments.keep is None:
        raise ConfigurationError("prune needs --keep N", hint="workbench runs prune --keep 10 keeps the newest ten")
    removed = prune_runs(arguments.root, keep=arguments.keep)
    if arguments.json:
        print_json({"removed": [str(path) for path in removed]})
        return 0
    screen = console()
    for path in removed:
        screen.print(plain(f"deleted {path.name}"), soft_wrap=True)
    count = f"{len(removed)} run{'' if len(removed) == 1 else 's'}"
    screen.print(plain(f"{count} deleted in {shown_path(runs_root(arguments.root))}, the newest {arguments.keep} kept"))
    return 0
