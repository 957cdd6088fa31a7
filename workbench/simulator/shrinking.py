"""A smaller schedule of faults that leads to the same failure: faults are left out by delta debugging (Zeller and
Hildebrandt, 2002), then made shorter.

Bounded in runs and in virtual time, so that it comes to the same on every machine, unless a bound in seconds is asked
for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from workbench.faults.schedules import Schedule
from workbench.simulator.injector import Injector
from workbench.simulator.run import Simulated, simulate
from workbench.simulator.world import World

_RUNS_MAX = 120
_SHORTEST_MS = 20.0
_LATER, _LATER_S = 1.25, 0.5
"""So much later than the failure, as a factor and in seconds more, what has not failed is taken to be well."""


class _Enough(Exception):
    """The bounds are reached."""


def shrink_failure(failed: Simulated, runs_max: int = _RUNS_MAX, seconds_max: float = math.inf) -> Schedule:
    """A schedule that breaks the same law in the same seed, as small as the bounds allow; an empty one where messages
    alone are enough. What had not struck before the failure is left out first."""
    deadline = time.monotonic() + seconds_max
    limit_ns = int((_LATER * failed.simulated_s + _LATER_S) * 1e9)
    injectors: list[Injector] = []

    def watch(world: World, injector: Injector) -> None:
        world.events.at(limit_ns, _enough)
        injectors.append(injector)

    def fails(schedule: Schedule) -> bool:
        if time.monotonic() >= deadline:
            raise _Enough
        again = simulate(failed.seed, schedule=schedule, watch=watch, log_format=failed.log_format)
        return again.fails_like(failed)

    if not runs_max or not fails(failed.schedule):
        return failed.schedule
    struck = [one.fault for one in injectors[0].struck]
    before = tuple(fault for fault in failed.schedule if fault in struck)
    try:
        if fails(()):
            return ()
        smaller = before if fails(before) else failed.schedule
    except _Enough:
        return failed.schedule
    return shrink(smaller, fails, runs_max)


def _enough() -> None:
    """Ends a simulation, which takes it for a crash of its own."""
    raise _Enough


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], runs_max: int = _RUNS_MAX) -> Schedule:
    """The smallest schedule that was found to fail; `schedule` itself does. One fault is always kept."""
    best, runs = schedule, 0

    def attempt(smaller: Schedule) -> bool:
        nonlocal best, runs
        runs += 1
        if runs > runs_max:
            raise _Enough
        if not smaller or not fails(smaller):
            return False
        best = smaller
        return True

    try:
        _leave_out(lambda: best, attempt)
        _shorten(lambda: best, attempt)
    except _Enough:
        pass
    return best


def _leave_out(best: Callable[[], Schedule], attempt: Callable[[Schedule], bool]) -> None:
    size = len(best()) // 2
    while size:
        start = 0
        while start < len(best()):
            now = best()
            if not attempt((*now[:start], *now[start + size :])):
                start += size
        size //= 2


def _shorten(best: Callable[[], Schedule], attempt: Callable[[Schedule], bool]) -> None:
    for place in range(len(best())):
        while (fault := best()[place]).for_ms > _SHORTEST_MS:
            now, shorter = best(), replace(fault, for_ms=round(fault.for_ms / 2, 1))
            if not attempt((*now[:place], shorter, *now[place + 1 :])):
                break
