"""Schedules that fail are made smaller, and what they fail by stays."""

from __future__ import annotations

from workbench.faults.values import Crash, Fault, Loss, Pause
from workbench.simulator.shrinking import shrink

SCHEDULE = (
    Crash(at_ms=10, for_ms=400, target="leader"),
    Pause(at_ms=20, for_ms=50),
    Loss(at_ms=30, for_ms=900),
    Pause(at_ms=40, for_ms=800, target="leader"),
    Crash(at_ms=50, for_ms=100),
)


def test_only_the_faults_that_matter_are_left_and_they_are_short() -> None:
    def fails(schedule: tuple[Fault, ...]) -> bool:
        return any(one.kind == "crash" and one.target == "leader" for one in schedule) and any(
            one.kind == "pause" and one.for_ms >= 100 for one in schedule
        )

    smallest = shrink(SCHEDULE, fails)
    assert [(one.kind, one.target) for one in smallest] == [("crash", "leader"), ("pause", "leader")]
    assert smallest[0].for_ms <= 25
    assert smallest[1].for_ms == 100


def test_one_fault_is_always_kept_and_the_bound_on_runs_is_kept() -> None:
    asked = []

    def fails(schedule: tuple[Fault, ...]) -> bool:
        asked.append(schedule)
        return False

    assert len(shrink(SCHEDULE, lambda _: True)) == 1
    assert shrink(SCHEDULE, fails, runs_max=3) == SCHEDULE
    assert len(asked) == 3


def test_what_always_needs_all_of_it_stays_as_it_is() -> None:
    assert shrink(SCHEDULE, lambda schedule: schedule == SCHEDULE) == SCHEDULE
