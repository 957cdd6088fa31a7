"""The leadership is handed over on purpose: nothing is lost, nobody waits for ever."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import (
    ask,
    cluster,
    drain,
    elections,
    outcomes,
    remove,
    role,
    run,
    run_until_led,
    sent,
    state,
)
from tests.protocol.world import World, converged
from workbench.config import Limits, Protections
from workbench.protocol.messages import Outcome, TakeOver, TransferLeadership
from workbench.protocol.roles import Role


def hand_over(world: World, to: str, request: int = 1) -> str:
    """Ask the leader to hand over; why not, if so."""
    world.receive(world.leader().name, TransferLeadership(request, "", to))
    return world.answers[request]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ack", ["async", "quorum", "sync"])
def test_nothing_that_was_acknowledged_is_lost_and_it_takes_no_election_timeout(ack: str, seed: int) -> None:
    world = cluster(ack, seed=seed)
    for session in range(1, 11):
        ask(world, session, 1)
        world.step(time_too=False)
    assert hand_over(world, "replica-3") == ""
    run(world, 200)
    assert world.leader().name == "replica-3"
    assert (state(world, "replica-3").term, elections(world)) == (2, 2)
    run(world, 200)
    for session in range(1, 11):
        (outcome,) = outcomes(world, session)
        assert outcome in {Outcome.OK, Outcome.NOT_LEADER}
        assert (f"k{session}" in world.leader().data) is (outcome is Outcome.OK), "law 8: both are definite"
    assert converged(world)


def test_the_next_leader_gets_everything_before_it_is_asked() -> None:
    world = cluster("async")
    world.slow_disks = {"replica-2"}
    for number in range(1, 6):
        ask(world, 1, number, number)
        world.store_all("replica-1")
    world.paused = {"replica-2"}
    hand_over(world, "replica-2")
    run(world, 300)
    assert not any(isinstance(message, TakeOver) for message in sent(world, "replica-1"))
    assert role(world, "replica-1") is Role.LEADER
    world.paused, world.slow_disks = set(), set()
    run(world, 100)
    assert world.leader().name == "replica-2"
    assert world.leader().data == {"k1": 5}
    assert elections(world) == 2


def test_law_8_writes_that_come_during_a_handover_wait_and_are_told_definitely_that_they_did_not_happen() -> None:
    world = cluster("quorum", limits=Limits(group_transactions_max=1))
    world.paused = {"replica-2", "replica-3"}
    ask(world, 1, 1)
    drain(world)  # logged, not acknowledged yet
    hand_over(world, "replica-2")
    ask(world, 2, 1)
    drain(world)
    assert len(world.nodes["replica-1"].log) == 2, "nothing is begun any more"
    world.paused = set()
    run(world, 100)
    assert world.leader().name == "replica-2"
    assert (outcomes(world, 1), outcomes(world, 2)) == ([Outcome.OK], [Outcome.NOT_LEADER])
    ask(world, 2, 1)
    run(world, 50)
    assert outcomes(world, 2) == [Outcome.NOT_LEADER, Outcome.OK]
    assert world.leader().data == {"k1": 1, "k2": 1}


def test_the_leader_goes_on_when_the_next_one_does_not_get_ready() -> None:
    world = cluster()
    world.crash("replica-2")
    ask(world, 1, 1)
    run(world, 50)
    assert hand_over(world, "replica-2") == ""
    ask(world, 2, 1)
    run(world, 400)
    assert outcomes(world, 2) == [], "it waits for the end of the handover"
    run(world, 200)
    assert outcomes(world, 2) == [Outcome.OK]
    assert (world.leader().name, state(world, "replica-1").term) == ("replica-1", 1)
    assert hand_over(world, "replica-3", 2) == ""
    run(world, 200)
    assert world.leader().name == "replica-3", "and hands over to another one"


@pytest.mark.parametrize("check_quorum", [True, False])
def test_the_leader_steps_down_when_the_one_that_it_has_asked_does_nothing(check_quorum: bool) -> None:
    """It may not trust itself any more; the others elect, perhaps it again. A write that waits is told so."""
    world = cluster(protections=Protections(check_quorum=check_quorum))
    hand_over(world, "replica-2")
    world.crash("replica-2")
    ask(world, 2, 1)
    run(world, 400)
    assert outcomes(world, 2) == []
    run(world, 200)
    assert role(world, "replica-1") is not Role.LEADER or state(world, "replica-1").term > 1
    assert outcomes(world, 2) == [Outcome.NOT_LEADER]
    leader = run_until_led(world)
    assert leader.core.state.term == 2
    ask(world, 2, 1)
    run(world, 100)
    assert outcomes(world, 2)[-1] is Outcome.OK


def test_what_cannot_be_handed_over_is_refused_with_the_reason() -> None:
    world = cluster()
    assert hand_over(world, "replica-1", 1) == "replica-1 leads already"
    assert "no member" in hand_over(world, "replica-9", 2)
    world.receive("replica-2", TransferLeadership(3, "", "replica-3"))
    assert world.answers[3] == "replica-2 does not lead; replica-1 does, as far as it knows"


def test_a_second_wish_is_refused_while_the_first_is_under_way_unless_it_is_the_same() -> None:
    world = cluster()
    world.paused = {"replica-2", "replica-3"}
    ask(world, 1, 1)
    drain(world)
    assert hand_over(world, "replica-2", 1) == ""
    assert hand_over(world, "replica-2", 2) == ""
    assert hand_over(world, "replica-3", 3) == "the leadership is on its way to replica-2"
    world.paused = set()
    run(world, 100)
    assert world.leader().name == "replica-2"


def test_a_handover_to_a_replica_that_is_removed_meanwhile_comes_to_nothing() -> None:
    world = cluster()
    world.paused = {"replica-3"}
    ask(world, 1, 1)
    run(world, 20)
    hand_over(world, "replica-3")
    assert remove(world, "replica-3") == ""
    run(world, 600)
    assert (world.leader().name, state(world, "replica-1").term) == ("replica-1", 1)
    ask(world, 2, 1)
    run(world, 50)
    assert outcomes(world, 2) == [Outcome.OK]


def test_a_candidate_with_a_transfer_is_voted_for_though_the_voters_hear_their_leader() -> None:
    world = cluster()
    run(world, 1_000)
    hand_over(world, "replica-3")
    run(world, 10)
    assert world.leader().name == "replica-3"
    before = elections(world)
    world.crash("replica-3")
    run(world, 400)
    assert elections(world) == before, "without a transfer, no haste"
    run_until_led(world)


def test_the_leadership_can_be_handed_round_and_round() -> None:
    world = cluster(followers=4)
    for turn in range(20):
        to = world.names[(turn + 1) % 5]
        assert hand_over(world, to, turn) == ""
        ask(world, 1, turn + 1, turn)
        run(world, 100)
        assert world.leader().name == to
    assert state(world, "replica-1").term == 21
    assert converged(world)
