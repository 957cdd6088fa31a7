"""A smaller schedule of faults that leads to the same failure: faults are left out by delta debugging (Zeller and
Hildebrandt, 2002), then made shorter. Bounded in runs and in time; one fault is always kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from workbench.faults.schedules import Schedule
from workbench.simulator.run import Simulated, simulate

_RUNS_MAX = 120
_SECONDS_MAX = 20.0
_SHORTEST_MS = 20.0


class _Enough(Exception):
    """The bounds are reached."""


def shrink_failure(failed: Simulated) -> Schedule:
    """A schedule that breaks the same law in the same seed, as small as the bounds allow."""
    deadline = time.monotonic() + _SECONDS_MAX

    def fails(schedule: Schedule) -> bool:
        if time.monotonic() >= deadline:
            raise _Enough
        return simulate(failed.seed, schedule=schedule, log_format=failed.log_format).fails_like(failed)

    return shrink(failed.schedule, fails)


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], runs_max: int = _RUNS_MAX) -> Schedule:
    """The smallest schedule that was found to fail; `schedule` itself does."""
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
