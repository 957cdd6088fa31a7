"""`workbench simulate`: many clusters in virtual time, each with clients, faults and bad luck drawn from one seed, the
laws checked after everything that happens; then without faults, when all must come right. With `--bug`, seeds are tried
until one catches a planted bug.
"""

from __future__ import annotations

import argparse
import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_json, nearest
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.faults.schedules import Schedule
    from workbench.simulator.bug import Bug
    from workbench.simulator.run import Simulated
    from workbench.simulator.swarm import Swarm

_SEEDS_MAX = 10_000_000
_SHOWN_MAX = 10
_SHRUNK_MAX = 4
"""So many failures get a smaller schedule; the schedules of others are kept as they are."""
_OUTPUT = Path("data/simulated")


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--seeds", metavar="A:B", help="from A up to, but not with, B (default: 0:100; with --bug, 0:1000)"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.toml", help="one schedule of faults for every seed")
    parser.add_argument("--bug", metavar="NAME", help="plant a bug, and stop when a seed catches it; `list` shows all")
    parser.add_argument(
        "--log-format",
        metavar="F",
        help="memory (default): fast; statement, logical, mixed, wal: real storage on disks that forget",
    )
    parser.add_argument("--twice", action="store_true", help="simulate each seed once more: it must come to the same")
    parser.add_argument("--no-shrink", action="store_true", help="leave schedules that fail as long as they are")
    parser.add_argument(
        "--output",
        type=Path,
        default=_OUTPUT,
        metavar="DIR",
        help=f"where to write schedules that fail (default: {_OUTPUT})",
    )
    add_json(parser)


@dataclass(slots=True)
class _Run:
    """What was asked for, and what came of it. `kept`: seed -> the schedule to replay, and the file it is in."""

    bug: Bug | None
    faults: Path | None
    log_format: str
    twice: bool
    wanted: int
    swarm: Swarm
    interrupted: bool = False
    kept: dict[int, tuple[Schedule, Path]] = field(default_factory=dict)

    def replay(self, one: Simulated) -> str:
        """The command that fails in the same way."""
        words = ["workbench", "simulate", "--seeds", f"{one.seed}:{one.seed + 1}"]
        if self.bug is not None:
            words[2:2] = ["--bug", self.bug.name]
        if self.log_format != _usual_format(self.bug):
            words[2:2] = ["--log-format", self.log_format]
        if self.twice:
            words.append("--twice")
        if one.seed in self.kept:
            words += ["--faults", str(self.kept[one.seed][1])]
        elif self.faults is not None:
            words += ["--faults", str(self.faults)]
        return shlex.join(words)

    @property
    def exit_code(self) -> int:
        """Of the worst failure; of a planted bug that was caught, the one of its class."""
        from workbench.simulator.run import EXIT_CODES

        if self.bug is not None and any(one.failure == self.bug.failure for one in self.swarm.failed):
            return EXIT_CODES[self.bug.failure]
        return 130 if self.interrupted and not self.swarm.failed else self.swarm.exit_code


def run(arguments: argparse.Namespace) -> int:
    """Simulate; 0 when nothing went wrong, 1 for a broken law, 4 when a cluster did not recover, 5 for a crash."""
    if arguments.bug == "list":
        _list_bugs()
        return 0
    bug = _bug(arguments.bug)
    seeds = _seeds(arguments.seeds or ("0:100" if bug is None else "0:1000"))
    from workbench.commands.terminal import print_json
    from workbench.faults.schedules import check_schedule, load_schedule
    from workbench.simulator.disks import check_format, check_strikes
    from workbench.simulator.swarm import Swarm

    log_format = arguments.log_format or _usual_format(bug)
    check_format(log_format)
    schedule = None
    if arguments.faults is not None:
        schedule = load_schedule(arguments.faults)
        check_schedule(schedule, ("replica-1", "replica-2", "replica-3"), "simulated", aims=True)
        check_strikes(schedule, log_format)
    done, began = _Run(bug, arguments.faults, log_format, arguments.twice, len(seeds), Swarm()), time.perf_counter()
    _simulate(done, seeds, schedule)
    if schedule is None and done.swarm.failed:
        _keep(done, arguments.output, shrink=not arguments.no_shrink and not done.interrupted)
    wall_s = time.perf_counter() - began
    if arguments.json:
        print_json(_document(done, wall_s))
    else:
        _print(done, wall_s)
    return done.exit_code


def _bug(name: str | None) -> Bug | None:
    from workbench.simulator.zoo import BUGS

    if name is None:
        return None
    for bug in BUGS:
        if bug.name == name:
            return bug
    raise ConfigurationError(f"unknown bug {name!r}", hint=nearest(name, (bug.name for bug in BUGS), "bugs"))


def _usual_format(bug: Bug | None) -> str:
    from workbench.simulator.disks import MEMORY

    return MEMORY if bug is None else bug.log_format


def _simulate(done: _Run, seeds: range, schedule: Schedule | None) -> None:
    from workbench.commands.terminal import progress
    from workbench.simulator.swarm import run_seeds

    swarm, began = done.swarm, time.perf_counter()
    with progress("simulate") as tell:
        try:
            for one in run_seeds(seeds, schedule=schedule, bug=done.bug, log_format=done.log_format, twice=done.twice):
                swarm.add(one)
                rate = swarm.messages / (time.perf_counter() - began)
                tell(
                    swarm.seeds / len(seeds),
                    f"{swarm.seeds:,} of {len(seeds):,} seeds, {rate:,.0f} messages/s, {len(swarm.failed)} failed",
                )
                if done.bug is not None and one.failure == done.bug.failure:
                    break
        except KeyboardInterrupt:
            done.interrupted = True


def _keep(done: _Run, folder: Path, *, shrink: bool) -> None:
    """Write the schedule of every failure to a file, shrunk if it can be."""
    from workbench.commands.terminal import progress
    from workbench.faults.schedules import as_toml
    from workbench.simulator.swarm import shrink_all

    schedules = {one.seed: one.schedule for one in done.swarm.failed}
    chosen = done.swarm.failed[-1:] if done.bug is not None else done.swarm.failed[:_SHRUNK_MAX]
    if shrink:
        with progress("shrink") as tell:
            try:
                for number, (one, smaller) in enumerate(shrink_all(chosen, bug=done.bug), start=1):
                    schedules[one.seed] = smaller
                    tell(number / len(chosen), f"seed {one.seed}: {len(smaller)} of {len(one.schedule)} faults")
            except KeyboardInterrupt:
                done.interrupted = True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in done.swarm.failed:
            path = folder / f"{done.bug.name if done.bug else 'seed'}-{one.seed}.toml"
            path.write_text(
                f"# seed {one.seed}, {one.failure}: {one.reason}\n\n{as_toml(schedules[one.seed])}", "utf-8"
            )
            done.kept[one.seed] = (schedules[one.seed], path)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {folder}: {error.strerror}", hint="--output DIR") from error


def _seeds(text: str) -> range:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise ConfigurationError(f"--seeds {text!r}", hint="two numbers, as in 0:100")
    seeds = range(int(match[1]), int(match[2]))
    if not 0 < len(seeds) <= _SEEDS_MAX:
        raise ConfigurationError(f"--seeds {text} are {len(seeds)} seeds", hint=f"at least 1, at most {_SEEDS_MAX:,}")
    return seeds


def _failed(done: _Run, one: Simulated) -> dict[str, Any]:
    kept = done.kept.get(one.seed)
    return {
        "seed": one.seed,
        "failure": one.failure,
        "law": one.law,
        "reason": one.reason,
        "replay": done.replay(one),
        "schedule": str(kept[1] if kept else done.faults or ""),
        "faults_kept": len(kept[0] if kept else one.schedule),
        "faults_of": len(one.schedule),
        "trace_hash": one.trace_hash,
    }


def _document(done: _Run, wall_s: float) -> dict[str, Any]:
    swarm = done.swarm
    return {
        "log_format": done.log_format,
        "seeds": swarm.seeds,
        "messages": swarm.messages,
        "entries": swarm.entries,
        "faults": dict(sorted(swarm.faults.items())),
        "simulated_s": round(swarm.simulated_s, 3),
        "wall_s": round(wall_s, 3),
        "violations": len(swarm.failed),
        "failed": [_failed(done, one) for one in swarm.failed],
        "interrupted": done.interrupted,
        **({"trace_hash": swarm.trace_hash} if swarm.seeds == 1 else {}),
        **({"bug": done.bug.name} if done.bug else {}),
    }


def _list_bugs() -> None:
    from workbench.commands.terminal import console, make_table, plain
    from workbench.simulator.zoo import BUGS

    table = make_table("Planted bugs", [("bug", "left"), ("area", "left"), ("fails by", "left"), ("breaks", "left")])
    table.columns[0].no_wrap = True  # a name is to be copied
    for bug in BUGS:
        table.add_row(plain(bug.name), plain(bug.area), bug.failure, plain(bug.breaks))
    console().print(table)


def _print(done: _Run, wall_s: float) -> None:
    from workbench.commands.terminal import console, make_table, plain

    screen, swarm = console(), done.swarm
    what = (
        f"interrupted after {swarm.seeds:,} of {done.wanted:,} seeds" if done.interrupted else f"{swarm.seeds:,} seeds"
    )
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
            plain(f"seed {one.seed}, {one.failure}: {one.reason}\n  replay it: {done.replay(one)}"), soft_wrap=True
        )
        if one.seed in done.kept:
            schedule, path = done.kept[one.seed]
            screen.print(plain(f"  {len(schedule)} of {len(one.schedule)} faults kept in {path}"), soft_wrap=True)
    if len(swarm.failed) > _SHOWN_MAX:
        screen.print(plain(f"and {len(swarm.failed) - _SHOWN_MAX:,} more"))
    verdict = f"{len(swarm.failed):,} seeds FAILED" if swarm.failed else "no law was broken, and everything came right"
    if done.bug is not None:
        caught = any(one.failure == done.bug.failure for one in swarm.failed)
        verdict = f"the planted bug {done.bug.name} was {'caught' if caught else 'NOT caught'}"
    screen.print(plain(verdict), soft_wrap=True)
