"""Many seeds on all cores. Results come as they are ready; whoever stops waiting has those that came."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from workbench.faults.schedules import Schedule
from workbench.parent import EXIT_CODE_ORPHANED
from workbench.simulator.run import EXIT_CODES, Simulated, simulate

_CHECK_PARENT_S = 0.5


@dataclass(slots=True)
class Swarm:
    """What all seeds together came to."""

    seeds: int = 0
    messages: int = 0
    entries: int = 0
    simulated_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Simulated] = field(default_factory=list)

    def add(self, one: Simulated) -> None:
        """Count another seed."""
        self.seeds += 1
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


def run_seeds(seeds: Sequence[int], *, schedule: Schedule | None = None, workers: int = 0) -> Iterator[Simulated]:
    """Simulate every seed, on `workers` processes (0: one for each core), in the order in which they end."""
    workers = min(workers or os.cpu_count() or 1, len(seeds))
    if workers <= 1:
        yield from (simulate(seed, schedule=schedule) for seed in seeds)
        return
    executor = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(os.getpid(),)
    )
    try:
        futures = [executor.submit(partial(simulate, seed, schedule=schedule)) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _begin_worker(parent_id: int) -> None:
    """Ctrl-C is for the process that waits; it lets a seed that has begun come to its end. When that process is gone,
    however it ended, so is this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent_id,), name="watch-parent", daemon=True).start()


def _watch(parent_id: int) -> None:
    while os.getppid() == parent_id:
        time.sleep(_CHECK_PARENT_S)
    os._exit(EXIT_CODE_ORPHANED)
