"""Aimed faults strike when it is dangerous, and not before."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from workbench.errors import ConfigurationError
from workbench.faults.schedules import as_toml, check_schedule, load_schedule
from workbench.faults.values import Crash, Cut, Pause, Removal, Transfer
from workbench.simulator.drawing import draw_schedule
from workbench.simulator.injector import Injector
from workbench.simulator.run import simulate
from workbench.simulator.world import World

SEED = 1


def struck(*schedule: Crash | Cut | Pause | Removal | Transfer) -> tuple[list[tuple[str, float]], list[float]]:
    """(kind, ms) of what took effect, and when leaders were elected, looked at every millisecond."""
    found: list[Injector] = []
    elections: list[float] = []

    def watch(world: World, injector: Injector) -> None:
        found.append(injector)
        terms = set()

        def look() -> None:
            leader = world.leader()
            if leader is not None and leader.core.state.term not in terms:
                terms.add(leader.core.state.term)
                elections.append(world.events.now / 1e6)
            world.events.after(1e6, look)

        look()

    one = simulate(SEED, schedule=schedule, safety_ms=4_000, watch=watch)
    assert not one.failure, one.reason
    return [(one.fault.kind, one.from_ns / 1e6) for one in found[0].struck], elections


def test_a_fault_waits_for_the_next_election() -> None:
    unaimed, aimed = Crash(at_ms=1_000, for_ms=300, target="leader"), Pause(at_ms=500, for_ms=50, moment="election")
    (crash, pause), elections = struck(unaimed, aimed)
    assert (crash[0], pause[0]) == ("crash", "pause")
    second = elections[1]
    assert second > crash[1]
    assert second - 1 <= pause[1] <= second + 25


def test_a_fault_waits_for_a_change_of_members() -> None:
    (removal, pause), _ = struck(Removal(at_ms=2_000), Pause(at_ms=100, for_ms=50, target="leader", moment="change"))
    assert (removal[0], pause[0]) == ("removal", "pause")
    assert removal[1] <= pause[1] <= removal[1] + 25


def test_a_moment_that_never_comes_lets_the_fault_be() -> None:
    assert struck(Crash(at_ms=0, target="leader", moment="rewind"))[0] == []


def test_seeds_have_themes_and_aims_and_all_of_it_is_kept_as_toml(tmp_path: Path) -> None:
    schedules = [draw_schedule(Random(seed), 10_000) for seed in range(200)]
    assert {fault.moment for schedule in schedules for fault in schedule} == {
        "",
        "election",
        "write",
        "change",
        "split",
        "rewind",
    }
    assert min(len({fault.kind for fault in schedule}) for schedule in schedules) <= 4, "not every kind in every seed"
    path = tmp_path / "faults.toml"
    longest = max(schedules, key=len)
    path.write_text(as_toml(longest), encoding="utf-8")
    assert load_schedule(path) == longest


def test_only_who_sees_everything_can_aim() -> None:
    aimed = (Crash(at_ms=1, moment="election"),)
    check_schedule(aimed, ("replica-1",), "simulated", aims=True)
    with pytest.raises(ConfigurationError, match="fault 1: nobody here sees when 'election' happens"):
        check_schedule(aimed, ("replica-1",), "simulated")
    with pytest.raises(ConfigurationError, match="unknown moment 'elections'"):
        Crash(at_ms=1, moment="elections")  # type: ignore[arg-type]
