"""A replica whose database does not fit an entry: it serves nobody, says why, and makes its database anew."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import ask, cluster, drain, reading, role, run, run_until_led, state, write_many
from tests.protocol.world import World, converged
from workbench.config import Limits
from workbench.protocol.divergence import REBUILDS_MAX
from workbench.protocol.messages import Outcome, TakeOver
from workbench.protocol.roles import Role

BROKEN = "replica-3"


def diverged(damage: str) -> World:
    """`replica-3` has just found out, and storage has not begun to mend it."""
    world = cluster()
    write_many(world, 1, 3)
    world.nodes[BROKEN].damage = damage
    ask(world, 1, 4, 4)
    world.store_all("replica-1")
    while not state(world, BROKEN).diverged:
        if world.nodes[BROKEN].answers:
            world.answer(BROKEN)
        elif world.nodes[BROKEN].jobs:
            world.store(BROKEN)
        else:
            world.deliver()
    return world


def test_it_refuses_reads_with_the_reason_until_the_database_is_made_anew() -> None:
    world = diverged("log")
    reply = reading(world, 1, BROKEN)
    assert reply is not None
    assert reply.outcome is Outcome.NOT_READY
    assert reply.reason == f"{BROKEN} has diverged: an entry does not fit"
    run(world, 200)
    reply = reading(world, 2, BROKEN)
    assert reply is not None
    assert reply.outcome is Outcome.OK
    assert converged(world)
    assert state(world, BROKEN).notes["diverged_before"] == "an entry does not fit"


def test_a_read_that_waits_for_a_position_is_refused_when_it_diverges() -> None:
    world = cluster()
    write_many(world, 1, 3)
    world.nodes[BROKEN].damage = "snapshot"
    ask(world, 1, 4, 4)
    world.store_all("replica-1")
    world.read(9, 1, "k1", BROKEN, after=state(world, "replica-1").log.last)
    assert state(world, BROKEN).reading == 1
    drain(world)
    (reply,) = [reply for reply in world.reads if reply.request == 1]
    assert reply.outcome is Outcome.NOT_READY
    assert "has diverged" in reply.reason


def test_where_its_own_disk_does_not_help_a_snapshot_of_the_leader_does_and_its_log_stays() -> None:
    world = diverged("snapshot")
    log = list(world.nodes[BROKEN].log)
    assert len(log) == state(world, "replica-1").log.last.index
    run(world, 2_000)
    assert world.laws.happened["mended by a snapshot"] == 1
    assert not state(world, BROKEN).diverged
    assert world.nodes[BROKEN].log[: len(log)] == log
    assert not world.nodes[BROKEN].rollback
    assert converged(world)


def test_entries_become_durable_there_meanwhile_so_that_commits_need_not_wait() -> None:
    """Both followers have diverged: a snapshot needs a commit, and a commit one of them."""
    world = diverged("snapshot")
    world.nodes["replica-2"].damage = "snapshot"
    for number in range(5, 9):
        ask(world, 1, number, number)
    run(world, 3_000)
    assert world.laws.happened["mended by a snapshot"] == 2
    assert converged(world)


def test_it_does_not_stand_for_election() -> None:
    world = diverged("snapshot")
    world.receive(BROKEN, TakeOver(state(world, BROKEN).term, "replica-1"))
    assert role(world, BROKEN) is Role.FOLLOWER
    world.crash("replica-1")
    assert run_until_led(world).name == "replica-2"


def test_a_new_leader_that_finds_out_leads_no_more() -> None:
    world = cluster()
    write_many(world, 1, 3)
    world.nodes[BROKEN].damage = "log"
    ask(world, 1, 4, 4)
    world.store_all("replica-1")
    world.deliver_to(BROKEN)
    world.appoint(BROKEN)
    assert state(world, BROKEN).applied < 5, "what it was to apply still waits"
    world.store_all(BROKEN)
    assert role(world, BROKEN) is Role.FOLLOWER
    run_until_led(world)
    run(world, 2_000)
    assert converged(world)


def test_who_diverges_again_and_again_ends_itself() -> None:
    world = cluster(limits=Limits())
    for number in range(1, REBUILDS_MAX + 2):
        world.nodes[BROKEN].damage = "log"
        write_many(world, number, number)
    assert f"made anew {REBUILDS_MAX} times, and has diverged again" in world.left[BROKEN]
    assert state(world, BROKEN).counts["divergences"] == REBUILDS_MAX + 1


@pytest.mark.parametrize("damage", ["log", "snapshot"])
def test_an_observer_mends_itself_too(damage: str) -> None:
    world = cluster()
    world.add_node("observer", observer=True)
    write_many(world, 1, 3)
    run(world, 1_000)
    world.nodes["observer"].damage = damage
    write_many(world, 4, 5)
    run(world, 2_000)
    assert state(world, "observer").counts["divergences"] == 1
    assert converged(world)
