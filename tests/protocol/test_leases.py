"""Who may act as a leader: leases from a majority, fencing, and what happens without either (law 5)."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import answer, ask, cluster, drain, outcomes, reading, role, run, run_until_led, sent, state
from tests.protocol.world import CLIENT, MS, World, transaction
from workbench.config import AckPolicy, Protections
from workbench.protocol.inputs import Tick
from workbench.protocol.messages import (
    AppendEntries,
    Campaign,
    ClientBatch,
    Outcome,
    Progress,
    RequestVote,
    TakeOver,
    TransferLeadership,
    Vote,
)
from workbench.protocol.roles import Role

LEASE_MS = 450
"""Nine tenths of the election timeout."""


def lone_round(world: World) -> int:
    """Let the leader speak once, and both followers hear it; its answers are on their way. When it spoke."""
    drain(world)
    world.now += 100 * MS
    world.handle("replica-1", Tick())
    world.deliver_to("replica-2")
    world.deliver_to("replica-3")
    return world.now


# The lease.


def test_law_5_a_lease_counts_from_the_sending_of_the_round_that_a_majority_answered() -> None:
    world = cluster("async")
    spoke_at = lone_round(world)
    world.now = spoke_at + 400 * MS  # the answers were slow
    world.deliver_to("replica-1")
    world.now = spoke_at + (LEASE_MS - 1) * MS
    first = reading(world, 1, "replica-1", from_leader=True)
    ask(world, 1, 1)
    world.store_all("replica-1")
    assert first is not None
    assert first.outcome is Outcome.OK
    assert outcomes(world, 1) == [Outcome.OK]
    world.now = spoke_at + LEASE_MS * MS
    second = reading(world, 2, "replica-1", from_leader=True)
    ask(world, 2, 1)
    world.store_all("replica-1")
    assert second is not None
    assert second.outcome is Outcome.NOT_LEADER
    assert outcomes(world, 2) == [], "async too"


def test_law_5_a_lease_is_shorter_than_the_time_for_which_a_follower_promises_no_vote() -> None:
    world = cluster()
    promise = state(world, "replica-2").election_timeout_ns
    assert state(world, "replica-1").lease_ns == LEASE_MS * MS < promise
    heard_at = lone_round(world)
    request = RequestVote(2, "replica-3", state(world, "replica-3").log.last)
    for waited, votes in ((promise - MS, 0), (promise, 1)):
        world.now = heard_at + waited
        world.network.clear()
        world.receive("replica-2", request)
        assert sum(isinstance(message, Vote) for message in sent(world, "replica-2")) == votes


def test_law_5_a_majority_must_answer_for_a_lease() -> None:
    world = cluster("async", followers=4)
    world.cut_off = {"replica-3", "replica-4", "replica-5"}
    run(world, LEASE_MS + 10)
    refused = reading(world, 1, "replica-1", from_leader=True)
    assert refused is not None
    assert refused.outcome is Outcome.NOT_LEADER
    world.cut_off = {"replica-4", "replica-5"}
    run(world, 200)
    answered = reading(world, 2, "replica-1", from_leader=True)
    assert answered is not None
    assert answered.outcome is Outcome.OK


def test_law_5_a_new_leader_has_no_lease_before_anybody_has_answered_it() -> None:
    """Not even in the first moments of a clock that begins with zero."""
    world = World(ack=AckPolicy.asynchronous(), protections=Protections(), elected=True)
    world.receive("replica-1", Campaign(0, ""))
    world.network = [one for one in world.network if one[1] != "replica-3"]
    world.deliver_to("replica-2")
    world.deliver_to("replica-1")
    assert role(world, "replica-1") is Role.LEADER
    refused = reading(world, 1, "replica-1", from_leader=True)
    ask(world, 1, 1)
    world.store_all("replica-1")
    assert refused is not None
    assert refused.outcome is Outcome.NOT_LEADER
    assert outcomes(world, 1) == []


# Stopped and restarted processes.


def stopped(world: World) -> None:
    """Ten seconds of SIGSTOP for `replica-1`; in the meantime another leads, and has acknowledged a write."""
    world.paused = {"replica-1"}
    run(world, 10_000)
    assert world.leader().name != "replica-1"
    ask(world, 2, 1)
    run(world, 100)
    assert outcomes(world, 2) == [Outcome.OK]
    world.paused = set()
    assert role(world, "replica-1") is Role.LEADER, "as far as it knows"


def test_law_5_a_leader_whose_process_was_stopped_acknowledges_nothing_when_it_resumes() -> None:
    """Its storage and its clients speak to it before any replica does."""
    world = cluster("async")
    ask(world, 4, 1)
    drain(world)
    assert outcomes(world, 4) == [Outcome.OK]
    ask(world, 1, 1)
    world.store("replica-1")
    world.answer("replica-1")
    world.store("replica-1")  # on disk, but the core has not heard of it
    stopped(world)
    world.store_all("replica-1")
    ask(world, 3, 1, to="replica-1")
    ask(world, 1, 1, to="replica-1")
    ask(world, 4, 1, to="replica-1")
    world.store_all("replica-1")
    assert outcomes(world, 1) == outcomes(world, 3) == []
    assert outcomes(world, 4) == [Outcome.OK], "nor again what it had acknowledged"
    run(world, 1_000)
    assert set(outcomes(world, 1) + outcomes(world, 3)) <= {Outcome.INDEFINITE, Outcome.NOT_LEADER}
    assert role(world, "replica-1") is Role.FOLLOWER


def test_law_5_a_leader_whose_process_was_stopped_answers_no_reads_as_one_when_it_resumes() -> None:
    world = cluster("async")
    world.read(9, 1, "k1", "replica-1", from_leader=True)
    world.store("replica-1")  # read, but the answer has not reached the core
    world.read(9, 2, "k1", "replica-1", from_leader=True)
    stopped(world)
    world.answer("replica-1")
    world.store_all("replica-1")
    world.read(9, 3, "k1", "replica-1", from_leader=True)
    world.store_all("replica-1")
    assert [(reply.request, reply.outcome) for reply in world.reads] == [
        (request, Outcome.NOT_LEADER) for request in (1, 2, 3)
    ]


def test_law_5_a_restarted_follower_keeps_the_promise_that_it_has_forgotten() -> None:
    world = cluster()
    lone_round(world)
    world.crash("replica-2")
    world.restart("replica-2")
    restarted_at = world.now
    request = RequestVote(2, "replica-3", state(world, "replica-3").log.last)
    timeout = state(world, "replica-2").election_timeout_ns
    for waited, votes in ((0, 0), (timeout - MS, 0), (timeout, 1)):
        world.now = restarted_at + waited
        world.network.clear()
        world.receive("replica-2", request)
        assert sum(isinstance(message, Vote) for message in sent(world, "replica-2")) == votes


def test_replicas_without_a_term_vote_at_once() -> None:
    """So that a new cluster need not wait for anything."""
    world = World(ack=AckPolicy.quorum(), protections=Protections(), elected=True)
    world.receive("replica-2", Campaign(0, ""))
    drain(world)
    assert world.leader().name == "replica-2"


# Handing over.


def asked_to_take_over(world: World) -> list[tuple[str, str, bytes]]:
    """`replica-1` hands over to `replica-2`; the request, held back."""
    world.receive("replica-1", TransferLeadership(1, "", "replica-2"))
    drain_but(world, "replica-2")
    held = [one for one in world.network if one[1] == "replica-2"]
    assert any(isinstance(message, TakeOver) for message in sent(world, "replica-1", "replica-2"))
    world.network = [one for one in world.network if one not in held]
    return held


def drain_but(world: World, name: str) -> None:
    world.paused = {name}
    drain(world)
    world.paused = set()


def test_law_5_who_has_asked_another_to_take_over_acts_as_a_leader_no_more() -> None:
    """The election does not wait for its lease: however late the request arrives, two must not act at once."""
    world = cluster("async")
    held = asked_to_take_over(world)
    refused = reading(world, 1, "replica-1", from_leader=True)
    assert refused is not None
    assert refused.outcome is Outcome.NOT_LEADER
    ask(world, 1, 1, to="replica-1")
    drain_but(world, "replica-2")
    assert outcomes(world, 1) == []
    world.network += held
    world.deliver_to("replica-2")
    world.deliver_to("replica-3")  # a vote, though it has just heard from replica-1
    world.deliver_to("replica-2")
    assert world.leader().name == "replica-2"
    assert role(world, "replica-1") is Role.LEADER, "it has not heard of that"
    world.store_all("replica-2")
    world.deliver_to("replica-3")
    world.store_all("replica-3")
    world.deliver_to("replica-2")  # a lease
    for request, to in ((2, "replica-1"), (3, "replica-2")):
        reading(world, request, to, from_leader=True)
    assert [reply.outcome for reply in world.reads] == [Outcome.NOT_LEADER, Outcome.NOT_LEADER, Outcome.OK]


def test_law_5_a_request_to_take_over_that_comes_in_a_later_reign_makes_no_second_leader() -> None:
    world = cluster("async", followers=4)
    held = asked_to_take_over(world)
    world.cut_off = {"replica-2"}
    run(world, 600)
    assert role(world, "replica-1") is Role.FOLLOWER, "nobody took over: its reign is over nevertheless"
    leader = run_until_led(world)
    assert leader.core.state.term == 2
    world.cut_off = set()
    world.network += held
    world.deliver_to("replica-2")
    assert state(world, "replica-2").term == 2, "it stands, in the term of the leader that it does not know"
    for request in range(10):
        drain(world)
        world.read(9, request, "k1", leader.name, from_leader=True)
        world.read(9, 100 + request, "k1", "replica-2", from_leader=True)
        run(world, 50)
    assert [node.name for node in world.leaders()] == [leader.name]
    assert leader.core.state.term == 2
    answered = [reply.request for reply in world.reads if reply.outcome is Outcome.OK]
    assert answered == list(range(10)), "and all by the one leader"


# No majority.


@pytest.mark.parametrize("ack", ["async", "quorum"])
def test_law_5_a_leader_that_hears_from_no_majority_stops_acknowledging_and_steps_down_after_a_while(ack: str) -> None:
    world = cluster(ack)
    world.cut_off = {"replica-1"}
    run(world, LEASE_MS + 10)
    ask(world, 1, 1, to="replica-1")
    run(world, 100)
    assert role(world, "replica-1") is Role.LEADER
    assert "k1" in world.nodes["replica-1"].data, "it executes, as a leader does"
    assert outcomes(world, 1) == []
    run(world, 600)
    assert role(world, "replica-1") is Role.FOLLOWER
    assert outcomes(world, 1) == [Outcome.INDEFINITE]
    world.cut_off = set()
    run(world, 1_000)
    assert world.nodes["replica-1"].data == world.leader().data == {}


def test_a_leader_that_was_stopped_hears_its_followers_out_before_it_gives_up() -> None:
    """Silence is counted in ticks: they answered while it was stopped, and have not elected another."""
    world = cluster()
    for name in ("replica-2", "replica-3"):
        world.nodes[name].core._election._patience_ns = 10**12
    world.paused = {"replica-1"}
    run(world, 5_000)
    world.paused = set()
    for _ in range(5):
        world.now += 20 * MS
        world.handle("replica-1", Tick())
    assert role(world, "replica-1") is Role.LEADER
    run(world, 500)
    ask(world, 1, 1)
    run(world, 100)
    assert outcomes(world, 1) == [Outcome.OK]
    assert state(world, "replica-1").term == 1


# Switched off.


@pytest.mark.parametrize("fencing", [True, False])
def test_law_5_without_fencing_two_leaders_acknowledge_at_the_same_index(fencing: bool) -> None:
    world = cluster("async", protections=Protections(fencing=fencing))
    world.cut_off = {"replica-1"}
    run(world, 2_000)
    other = next(node for node in world.leaders() if node.name != "replica-1")
    ask(world, 1, 1, to="replica-1")
    ask(world, 2, 1, to=other.name)
    run(world, 100)
    assert outcomes(world, 2) == [Outcome.OK]
    assert outcomes(world, 1) == [Outcome.NOT_LEADER if fencing else Outcome.OK]
    if not fencing:
        ask(world, 3, 1, to="replica-1")
        run(world, 100)
        indices = [{r.position.index for r in world.writes if r.session in which} for which in ((1, 3), (2,))]
        assert indices[0] & indices[1], "a double acknowledgement: two writes at one index"


@pytest.mark.parametrize("check_quorum", [True, False])
def test_without_check_quorum_a_leader_that_is_cut_off_goes_on_answering_from_the_past(check_quorum: bool) -> None:
    world = cluster("async", protections=Protections(check_quorum=check_quorum))
    world.cut_off = {"replica-1"}
    run(world, 5_000)
    other = next(node for node in world.leaders() if node.name != "replica-1")
    ask(world, 1, 1, "new", to=other.name)
    run(world, 100)
    world.read(9, 1, "k1", "replica-1", from_leader=True)
    ask(world, 2, 1, to="replica-1")
    run(world, 100)
    read = answer(world, 1)
    assert read is not None
    assert (read.outcome, read.rows) == (Outcome.NOT_LEADER if check_quorum else Outcome.OK, ())
    assert outcomes(world, 2) == [Outcome.NOT_LEADER if check_quorum else Outcome.OK]


def test_law_5_messages_of_an_older_term_are_answered_with_the_newer_one() -> None:
    world = cluster()
    world.receive("replica-2", Progress(9, "replica-3", 0, 0, 0))
    last = state(world, "replica-2").log.last
    for message in (
        AppendEntries(1, "replica-1", last, last.index, last.index, (), world.now),
        TakeOver(1, "replica-1"),
        RequestVote(1, "replica-1", last),
        RequestVote(2, "replica-1", last, pre=True),
    ):
        world.network.clear()
        world.receive("replica-2", message)
        (reply,) = sent(world, "replica-2", "replica-1")
        assert isinstance(reply, Progress | Vote)
        assert reply.term == 9
    assert (state(world, "replica-2").term, state(world, "replica-2").leader) == (9, "")
    world.receive("replica-1", ClientBatch(CLIENT, (transaction(1, 1, "k1", 1),)))
    world.deliver_to("replica-1")
    assert role(world, "replica-1") is Role.FOLLOWER
    assert outcomes(world, 1) == [Outcome.NOT_LEADER]
