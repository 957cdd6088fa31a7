"""Many seeds on all cores. Results come as they are ready; whoever stops waiting has those that came."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from workbench.faults.schedules import Schedule
from workbench.simulator.bug import Bug
from workbench.simulator.disks import MEMORY
from workbench.simulator.run import EXIT_CODES, Simulated, simulate, simulate_twice
from workbench.simulator.shrinking import shrink_failure
from workbench.simulator.worker import begin

_SHRINK_SECONDS_MAX = 20.0
"""For each failure: somebody waits."""


@dataclass(slots=True)
class Swarm:
    """What all seeds together came to."""

    seeds: int = 0
    messages: int = 0
    entries: int = 0
    simulated_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Simulated] = field(default_factory=list)
    trace_hash: str = ""
    """Of the seed that came last."""

    def add(self, one: Simulated) -> None:
        """Count another seed."""
        self.seeds += 1
        self.trace_hash = one.trace_hash
        self.messages += one.messages
        self.entries += one.entries
        self.simulated_s += one.simulated_s
        self.faults += one.faults
        if one.failure:
            self.failed.append(one)
            self.failed.sort(key=lambda failed: failed.seed)

    @property
    def exit_code(self) -> int:
        """Of the worst kind of failure: correctness before crash before liveness."""
        kinds = {one.failure for one in self.failed}
        worst = next((kind for kind in ("correctness", "crash", "liveness") if kind in kinds), "")
        return EXIT_CODES[worst]  # type: ignore[index]


def run_seeds(
    seeds: Sequence[int],
    *,
    schedule: Schedule | None = None,
    workers: int = 0,
    bug: Bug | None = None,
    log_format: str = MEMORY,
    twice: bool = False,
) -> Iterator[Simulated]:
    """Simulate every seed, on `workers` processes (0: one for each core), in the order in which they end.

    With a planted `bug`, which takes a process of its own, in the order of the seeds. `twice`: each seed is simulated
    once more, which must come to the same.
    """
    one = partial(simulate_twice if twice else simulate, schedule=schedule, log_format=log_format)
    workers = min(workers or os.cpu_count() or 1, len(seeds))
    if workers <= 1 and bug is None:
        yield from map(one, seeds)
        return
    executor = start_workers(workers, bug)
    try:
        futures = [executor.submit(one, seed) for seed in seeds]
        for future in futures if bug is not None else as_completed(futures):
            yield future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def shrink_all(failed: Sequence[Simulated], *, bug: Bug | None = None) -> Iterator[tuple[Simulated, Schedule]]:
    """Each failure with a smaller schedule that leads to the same one."""
    executor = start_workers(min(os.cpu_count() or 1, len(failed)), bug)
    try:
        futures = [executor.submit(shrink_failure, one, seconds_max=_SHRINK_SECONDS_MAX) for one in failed]
        for one, future in zip(failed, futures, strict=True):
            yield one, future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def start_workers(workers: int, bug: Bug | None) -> ProcessPoolExecutor:
    """Processes of their own for simulated worlds, which the planted `bug` needs. They end with this one."""
    patch = bug.patch if bug is not None else None
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=begin, initargs=(os.getpid(), patch)
    )
