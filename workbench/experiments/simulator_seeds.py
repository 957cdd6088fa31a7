"""`simulator` in the simulated world: seeds that are run twice; planted bugs that are caught, shrunk and replayed.

Everything here follows from the seeds: no row depends on how fast the machine is, or how many cores it has.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Outcome, Row
from workbench.experiments.simulator_claims import judge_simulated
from workbench.experiments.simulator_story import Story, tell
from workbench.faults.schedules import Schedule
from workbench.faults.values import KINDS, as_table
from workbench.simulator.bug import Bug
from workbench.simulator.run import Simulated, simulate
from workbench.simulator.shrinking import shrink_failure
from workbench.simulator.swarm import run_seeds, start_workers
from workbench.simulator.zoo import BUGS

if TYPE_CHECKING:
    from workbench.experiments.simulator import Parameters

T = TypeVar("T")
NO_BUG = "no bug"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caught:
    """A planted bug: how many seeds were tried, and of the one that caught it the story as drawn and as shrunk."""

    bug: Bug
    tried: int
    drawn: Story | None = None
    kept: Story | None = None
    again: Simulated | None = None
    """The shrunk schedule, replayed without anybody watching."""


async def conduct_simulated(context: Context, parameters: Parameters) -> Outcome:
    """Seeds without a bug first, all of them, then all of them again; then the bugs, on all cores."""
    progress = _Progress(context, parameters)
    seeds = range(context.seed, context.seed + parameters.seeds)
    first = await _run_all(seeds, progress)
    again = await _run_all(seeds[::-1], progress)
    places = asyncio.Semaphore(os.cpu_count() or 1)
    chosen = [bug for name in parameters.bugs for bug in BUGS if bug.name == name]

    async def catch(bug: Bug) -> Caught:
        async with places:
            return await _catch(bug, parameters, progress)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(catch(bug), name=bug.name) for bug in chosen]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one line says it
    return _outcome([first[seed] for seed in seeds], [again[seed] for seed in seeds], [task.result() for task in tasks])


class _Progress:
    """How far a run is, in steps of about the same length."""

    def __init__(self, context: Context, parameters: Parameters) -> None:
        self._context = context
        self._bug_steps = 2 + parameters.shrink_runs // 2
        self._steps = 2 * parameters.seeds + self._bug_steps * len(parameters.bugs)
        self._done = 0

    def step(self, text: str) -> None:
        self._done += 1
        self._context.progress(min(self._done / self._steps, 1.0), text)

    def bug(self, text: str) -> None:
        self._done += self._bug_steps - 1
        self.step(text)


async def _run_all(seeds: Sequence[int], progress: _Progress) -> dict[int, Simulated]:
    done = {}
    for one in run_seeds(seeds):
        done[one.seed] = one
        progress.step(f"seed {one.seed}")
        await asyncio.sleep(0)  # whoever wants to end this can
    return done


# A bug.


async def _catch(bug: Bug, parameters: Parameters, progress: _Progress) -> Caught:
    """Try seeds from the first one that is known to catch it, and tell the story of the one that does."""
    workers = start_workers(1, bug)
    try:
        found = await _search(workers, bug, parameters.tries)
        if found is None:
            return Caught(bug=bug, tried=parameters.tries)
        kept = await _in(workers, shrink_failure, found, parameters.shrink_runs)
        return Caught(
            bug=bug,
            tried=found.seed - bug.first_seed + 1,
            drawn=await _in(workers, tell, found.seed, None, bug.log_format),
            kept=await _in(workers, tell, found.seed, kept, bug.log_format),
            again=await _in(workers, _simulate, found.seed, kept, bug.log_format),
        )
    except BrokenProcessPool as broken:
        raise ConfigurationError(
            f"the bug {bug.name} could not be planted in a process of its own",
            hint="a script's imports of workbench belong below `if __name__ == '__main__':`",
        ) from broken
    finally:
        workers.shutdown(wait=True, cancel_futures=True)
        progress.bug(f"bug {bug.name}")


async def _search(workers: ProcessPoolExecutor, bug: Bug, tries: int) -> Simulated | None:
    for seed in range(bug.first_seed, bug.first_seed + tries):
        found = await _in(workers, _simulate, seed, None, bug.log_format)
        if found.failure == bug.failure:
            return found
    return None


async def _in(workers: ProcessPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.wrap_future(workers.submit(function, *arguments))


def _simulate(seed: int, schedule: Schedule | None, log_format: str) -> Simulated:
    return simulate(seed, schedule=schedule, log_format=log_format)


# Results.


def _outcome(first: Sequence[Simulated], again: Sequence[Simulated], caught: Sequence[Caught]) -> Outcome:
    seeds = [_seed_row(one, other) for one, other in zip(first, again, strict=True)]
    bugs = [_bug_row(one) for one in caught]
    failed = [one for one in first if one.failure]
    return Outcome(
        summary=[_plain_row(first, seeds), *bugs],
        tables={
            "seeds": seeds,
            "bugs": bugs,
            "faults": _fault_rows(first),
            "states": _story_rows(caught, lambda story: story.states),
            "struck": _story_rows(caught, lambda story: story.struck),
            "kept_faults": _kept_rows(caught),
        },
        verdicts=judge_simulated(seeds, bugs),
        invariants={
            "converged": not any(one.failure == "liveness" for one in failed),
            "lost_acknowledged_writes": None if failed else 0,
            "violations": len(failed),
            "seeds_told_alike": sum(row["told_alike"] for row in seeds),
            "bugs_caught": sum(row["violations"] for row in bugs),
            "replica_processes": 0,
        },
    )


def _seed_row(one: Simulated, other: Simulated) -> Row:
    return {
        "seed": one.seed,
        "messages": one.messages,
        "entries": one.entries,
        "simulated_s": one.simulated_s,
        "faults_drawn": len(one.schedule),
        "faults": one.faults.total(),
        "failure": one.failure,
        "reason": one.reason,
        "trace_hash": one.trace_hash,
        "trace_hash_again": other.trace_hash,
        "told_alike": one.trace_hash == other.trace_hash and one.reason == other.reason,
    }


def _plain_row(first: Sequence[Simulated], seeds: Sequence[Row]) -> Row:
    return {
        "cell": NO_BUG,
        "bug": "",
        "area": "",
        "seeds": len(first),
        "messages": sum(one.messages for one in first),
        "entries": sum(one.entries for one in first),
        "simulated_s": round(sum(one.simulated_s for one in first), 6),
        "faults_drawn": sum(len(one.schedule) for one in first),
        "faults": sum(one.faults.total() for one in first),
        "violations": sum(bool(one.failure) for one in first),
        "told_alike": sum(row["told_alike"] for row in seeds),
    }


def _bug_row(one: Caught) -> Row:
    row: Row = {"cell": one.bug.name, "bug": one.bug.name, "area": one.bug.area, "breaks": one.bug.breaks}
    row |= {"seeds": one.tried, "violations": int(one.drawn is not None)}
    if one.drawn is None or one.kept is None or one.again is None:
        return row
    drawn, kept = one.drawn.end, one.kept.end
    return row | {
        "messages": drawn.messages,
        "entries": drawn.entries,
        "simulated_s": drawn.simulated_s,
        "faults": drawn.faults.total(),
        "seed": drawn.seed,
        "failure": drawn.failure,
        "law": drawn.law,
        "reason": drawn.reason,
        "faults_drawn": len(drawn.schedule),
        "faults_kept": len(kept.schedule),
        "kept_reason": kept.reason,
        "kept_simulated_s": kept.simulated_s,
        "replayed_law": one.again.law,
        "trace_hash": kept.trace_hash,
        "replayed_trace_hash": one.again.trace_hash,
        "told_alike": int(kept.trace_hash == one.again.trace_hash),
        "replays_alike": int(one.again.fails_like(drawn) and one.again.reason == kept.reason),
    }


def _fault_rows(first: Sequence[Simulated]) -> list[Row]:
    """One row a kind, of all seeds without a bug."""
    drawn = Counter(fault.kind for one in first for fault in one.schedule)
    took_effect = sum((one.faults for one in first), Counter())
    return [{"cell": NO_BUG, "kind": kind, "planned": drawn[kind], "took_effect": took_effect[kind]} for kind in KINDS]


def _story_rows(caught: Iterable[Caught], part: Callable[[Story], list[Row]]) -> list[Row]:
    return [
        row | {"cell": one.bug.name, "schedule": schedule}
        for one in caught
        for schedule, story in (("drawn", one.drawn), ("kept", one.kept))
        if story is not None
        for row in part(story)
    ]


def _kept_rows(caught: Iterable[Caught]) -> list[Row]:
    """One row a fault of a shrunk schedule; `values`: what it has besides."""
    rows = []
    for one in caught:
        for fault in one.kept.end.schedule if one.kept is not None else ():
            values = as_table(fault)
            common = {name: values.pop(name, getattr(fault, name)) for name in ("kind", "at_ms", "for_ms", "target")}
            told = ", ".join(f"{name}={value}" for name, value in values.items())
            rows.append({"cell": one.bug.name, **common, "values": told})
    return rows
