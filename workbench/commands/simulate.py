"""`workbench simulate`: many clusters in virtual time, each with clients, faults and bad luck drawn from one seed, the
laws checked after everything that happens; then without faults, when all must come right.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_json
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.simulator.run import Simulated
    from workbench.simulator.swarm import Swarm

_SEEDS_MAX = 10_000_000
_SHOWN_MAX = 10


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--seeds", default="0:100", metavar="A:B", help="from A up to, but not with, B (default: 0:100)"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.toml", help="one schedule of faults for every seed")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Simulate; 0 when nothing went wrong, 1 for a broken law, 4 when a cluster did not recover, 5 for a crash."""
    seeds = _seeds(arguments.seeds)
    from workbench.commands.terminal import print_json, progress
    from workbench.faults.schedules import check_schedule, load_schedule
    from workbench.simulator.swarm import Swarm, run_seeds

    schedule = None
    if arguments.faults is not None:
        schedule = load_schedule(arguments.faults)
        check_schedule(schedule, ("replica-1", "replica-2", "replica-3"), "simulated")
    swarm, began, interrupted = Swarm(), time.perf_counter(), False
    with progress("simulate") as tell:
        try:
            for one in run_seeds(seeds, schedule=schedule):
                swarm.add(one)
                tell(swarm.seeds / len(seeds), f"{swarm.seeds:,} of {len(seeds):,} seeds, {len(swarm.failed)} failed")
        except KeyboardInterrupt:
            interrupted = True
    wall_s = time.perf_counter() - began
    if arguments.json:
        print_json(_document(swarm, wall_s, interrupted=interrupted))
    else:
        _print(swarm, wall_s, len(seeds), interrupted=interrupted)
    return 130 if interrupted and not swarm.failed else swarm.exit_code


def _seeds(text: str) -> range:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise ConfigurationError(f"--seeds {text!r}", hint="two numbers, as in 0:100")
    seeds = range(int(match[1]), int(match[2]))
    if not 0 < len(seeds) <= _SEEDS_MAX:
        raise ConfigurationError(f"--seeds {text} are {len(seeds)} seeds", hint=f"at least 1, at most {_SEEDS_MAX:,}")
    return seeds


def _replay(one: Simulated) -> str:
    return f"workbench simulate --seeds {one.seed}:{one.seed + 1}"


def _document(swarm: Swarm, wall_s: float, *, interrupted: bool) -> dict[str, Any]:
    return {
        "seeds": swarm.seeds,
        "messages": swarm.messages,
        "entries": swarm.entries,
        "faults": dict(sorted(swarm.faults.items())),
        "simulated_s": round(swarm.simulated_s, 3),
        "wall_s": round(wall_s, 3),
        "violations": len(swarm.failed),
        "failed": [
            {"seed": one.seed, "failure": one.failure, "reason": one.reason, "replay": _replay(one)}
            for one in swarm.failed
        ],
        "interrupted": interrupted,
    }


def _print(swarm: Swarm, wall_s: float, wanted: int, *, interrupted: bool) -> None:
    from workbench.commands.terminal import console, make_table, plain

    screen = console()
    what = f"interrupted after {swarm.seeds:,} of {wanted:,} seeds" if interrupted else f"{swarm.seeds:,} seeds"
    screen.print(
        plain(
            f"{what}: {swarm.messages:,} messages and {swarm.entries:,} entries in {swarm.simulated_s:,.0f} s of "
            f"virtual time, {wall_s:.1f} s of real time"
        ),
        soft_wrap=True,
    )
    table = make_table("Faults that took effect", [("fault", "left"), ("times", "right")])
    for kind, count in sorted(swarm.faults.items()):
        table.add_row(plain(kind), f"{count:,}")
    screen.print(table)
    for one in swarm.failed[:_SHOWN_MAX]:
        screen.print(
            plain(f"seed {one.seed}, {one.failure}: {one.reason}\n  replay it: {_replay(one)}"), soft_wrap=True
        )
    if len(swarm.failed) > _SHOWN_MAX:
        screen.print(plain(f"and {len(swarm.failed) - _SHOWN_MAX:,} more"))
    verdict = f"{len(swarm.failed):,} seeds FAILED" if swarm.failed else "no law was broken, and everything came right"
    screen.print(plain(verdict), soft_wrap=True)
