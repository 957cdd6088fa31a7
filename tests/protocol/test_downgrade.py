"""Semi-synchronous acknowledgement is given up for a while, counted and noted, and taken up again."""

from __future__ import annotations

from tests.protocol.scenes import ask, cluster, outcomes, run, run_until_led, state
from tests.protocol.world import MS, World
from workbench.config import Timing
from workbench.protocol.messages import Outcome

PATIENT = Timing(downgrade_ms=200)


def with_a_dead_follower(timing: Timing = PATIENT, ack: str = "semi_sync:2") -> World:
    world = cluster(ack, timing=timing)
    world.crash("replica-3")
    return world


def windows(world: World, name: str = "replica-1") -> list[tuple[int, int, int, int]]:
    """(began, ended, first index, last index) of the windows that are over."""
    noted = state(world, name).notes.get("downgrades", "").split()
    return [tuple(int(part) for part in one.replace(":", "-").split("-")) for one in noted]  # type: ignore[misc]


def downgrades(world: World) -> int:
    return state(world, "replica-1").counts["downgrades"]


def test_a_window_opens_when_nothing_was_acknowledged_for_the_given_time() -> None:
    world = with_a_dead_follower()
    ask(world, 1, 1)
    run(world, 190)
    assert (outcomes(world, 1), downgrades(world)) == ([], 0)
    run(world, 20)
    assert (outcomes(world, 1), downgrades(world)) == ([Outcome.OK], 1)
    ask(world, 2, 1)
    run(world, 10)
    assert outcomes(world, 2) == [Outcome.OK], "as under async, as long as the window is open"
    assert windows(world) == []


def test_the_window_closes_when_the_followers_have_caught_up_and_is_noted() -> None:
    world = with_a_dead_follower()
    began = world.now
    for session in (1, 2, 3):
        ask(world, session, 1)
        run(world, 210)
    world.restart("replica-3")
    run(world, 500)
    ((opened, closed, first, last),) = windows(world)
    assert 200 * MS <= opened - began < 230 * MS
    assert opened < closed <= world.now
    assert (first, last) == (2, 4), "these were acknowledged, and a failover could have lost them"
    world.crash("replica-3")
    ask(world, 4, 1)
    run(world, 190)
    assert outcomes(world, 4) == [], "the policy holds again"
    run(world, 50)
    assert outcomes(world, 4) == [Outcome.OK]
    assert downgrades(world) == 2


def test_a_window_closes_although_writes_go_on() -> None:
    world = with_a_dead_follower()
    ask(world, 1, 1)
    run(world, 250)
    world.restart("replica-3")
    for number in range(1, 40):
        ask(world, 2, number, number)
        run(world, 10)
    assert len(windows(world)) == 1
    assert downgrades(world) == 1


def test_nothing_is_given_up_unless_it_is_asked_for_and_under_no_other_policy() -> None:
    for timing, ack in ((Timing(), "semi_sync:2"), (PATIENT, "sync/durable")):
        world = with_a_dead_follower(timing, ack)
        ask(world, 1, 1)
        run(world, 5_050)
        assert (outcomes(world, 1), downgrades(world)) == ([Outcome.INDEFINITE], 0)


def test_a_cluster_that_rests_opens_no_window() -> None:
    world = with_a_dead_follower()
    run(world, 2_000)
    assert downgrades(world) == 0


def test_law_5_a_leader_that_gave_the_policy_up_still_needs_its_lease() -> None:
    """The window allows to do without followers that are slow, not to acknowledge what another leader may deny."""
    world = with_a_dead_follower()
    world.cut_off = {"replica-1"}
    run(world, 500)
    ask(world, 1, 1, to="replica-1")
    run(world, 300)
    assert downgrades(world) == 1
    assert outcomes(world, 1) == []


def test_the_end_of_a_reign_ends_its_window_and_it_is_noted() -> None:
    world = with_a_dead_follower()
    ask(world, 1, 1)
    run(world, 300)
    world.cut_off = {"replica-1"}
    world.restart("replica-3")
    run(world, 1_500)
    ((opened, closed, first, last),) = windows(world)
    assert opened < closed
    assert (first, last) == (2, 2)
    world.cut_off = set()
    run_until_led(world)
    run(world, 500)
    assert len(windows(world)) == 1


def test_at_most_so_many_windows_are_noted() -> None:
    world = cluster("semi_sync:2", timing=Timing(downgrade_ms=20))
    for session in range(1, 61):
        world.paused = {"replica-3"}
        ask(world, session, 1)
        run(world, 40)
        world.paused = set()
        run(world, 40)
    assert downgrades(world) == 60
    assert len(windows(world)) == 50
