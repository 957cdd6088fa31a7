"""Observers: replicas that follow whoever leads, and count for nothing."""

from __future__ import annotations

from tests.protocol.scenes import add, cluster, outcomes, role, run, run_until_led, state, write_many
from tests.protocol.world import World, converged
from workbench.config import Limits
from workbench.protocol.leading import Leading
from workbench.protocol.messages import Outcome
from workbench.protocol.roles import Role

OBSERVER = "duckdb-1"


def observed(*, followers: int = 2, seed: int = 0) -> World:
    """A cluster with an observer that has found its leader."""
    world = cluster(followers=followers, seed=seed)
    write_many(world, 1, 3)
    world.add_node(OBSERVER, observer=True)
    run(world, 3_000)
    assert converged(world)
    return world


def followed(world: World) -> tuple[str, ...]:
    duty = world.leader().core._duty
    assert isinstance(duty, Leading)
    return duty._followers.observers


def test_it_gets_a_snapshot_and_every_entry_and_is_no_member() -> None:
    world = observed()
    assert followed(world) == (OBSERVER,)
    assert world.nodes[OBSERVER].installed
    assert OBSERVER not in state(world, "replica-1").members
    write_many(world, 4, 8)
    run(world, 500)
    assert converged(world)


def test_it_finds_a_leader_that_has_no_follower_to_speak_to() -> None:
    assert followed(observed(followers=0)) == (OBSERVER,)


def test_what_it_holds_acknowledges_and_commits_nothing() -> None:
    world = observed(followers=1)
    committed = state(world, "replica-1").committed
    world.crash("replica-2")
    write_many(world, 4, 4)
    run(world, 200)
    assert state(world, OBSERVER).durable == state(world, "replica-1").durable > committed
    assert state(world, "replica-1").committed == committed
    assert outcomes(world, 1).count(Outcome.OK) == 3


def test_it_neither_stands_nor_is_asked_for_a_vote() -> None:
    world = observed()
    world.crash("replica-1")
    world.crash("replica-2")
    run(world, 5_000)
    assert role(world, OBSERVER) is Role.FOLLOWER
    assert state(world, OBSERVER).counts["elections"] == 0
    assert role(world, "replica-3") is Role.CANDIDATE, "whoever is left, stands, and has no majority"


def test_it_goes_over_to_the_next_leader() -> None:
    world = observed()
    world.crash("replica-1")
    leader = run_until_led(world)
    write_many(world, 4, 5)
    run(world, 2_000)
    assert followed(world) == (OBSERVER,)
    assert world.nodes[OBSERVER].log == leader.log


def test_it_finds_its_leader_again_when_that_has_forgotten_it() -> None:
    world = observed(followers=0)
    world.crash("replica-1")
    world.restart("replica-1")
    run(world, 5_000)
    assert followed(world) == (OBSERVER,)
    write_many(world, 4, 4)
    run(world, 500)
    assert converged(world)


def test_a_leader_forgets_one_that_is_silent() -> None:
    world = observed()
    world.crash(OBSERVER)
    run(world, 30_000, every=20)
    assert followed(world) == ()


def test_it_cannot_be_made_a_member() -> None:
    world = observed()
    assert "it never becomes a member" in add(world, OBSERVER)
    assert not add(world, "replica-4", request=2)
    run(world, 2_000)
    assert "replica-4" in state(world, "replica-1").members
    assert followed(world) == (OBSERVER,)


def test_its_log_is_bounded_by_the_snapshots_of_its_leader() -> None:
    world = cluster(limits=Limits(retained_log_bytes_max=1_000))
    world.add_node(OBSERVER, observer=True)
    write_many(world, 1, 100)
    run(world, 3_000)
    assert converged(world)
    assert world.laws.happened["snapshots of observers"] > 1
    assert state(world, OBSERVER).log.first_index > 50
    assert state(world, OBSERVER).log_bytes < 3_000
    assert not any(name.startswith(OBSERVER) for name in world.snapshots), "it makes none of its own"
    world.crash(OBSERVER)
    world.restart(OBSERVER)
    write_many(world, 101, 102)
    run(world, 2_000)
    assert converged(world)
