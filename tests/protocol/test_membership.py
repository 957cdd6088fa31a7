"""Who counts: replicas that join, are removed, come back; one change at a time, each of them an entry of the log."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import (
    add,
    ask,
    cluster,
    drain,
    elections,
    outcomes,
    reading,
    remove,
    role,
    run,
    run_until_led,
    sent,
    state,
    write_many,
)
from tests.protocol.world import MS, World, converged
from workbench.config import Limits, Protections
from workbench.protocol.inputs import Tick
from workbench.protocol.leading import Leading
from workbench.protocol.messages import (
    AddMember,
    AppendEntries,
    Campaign,
    Outcome,
    Progress,
    RemoveMember,
    RequestVote,
    SnapshotNeeded,
    TakeOver,
    TransferLeadership,
    Vote,
)
from workbench.protocol.roles import Role
from workbench.protocol.values import MEMBERS_KIND

THREE = ("replica-1", "replica-2", "replica-3")


def members(world: World) -> set[tuple[str, ...]]:
    """Whom the replicas that are up, and members by their own word, take for the members."""
    up = [node.core.state for node in world.nodes.values() if node.up]
    return {one.members for one in up if one.is_member}


def joining(world: World) -> tuple[str, ...]:
    return world.leader().core.joining


def held_as_learner(world: World) -> int:
    """`replica-4` has everything on its disk and is no member, since another change is under way (`replica-3` was
    removed, and nobody else has heard of that). The leader's last index."""
    add(world, "replica-4")
    world.paused = {"replica-4"}
    drain(world)
    world.paused = {"replica-2", "replica-3", "replica-4"}
    assert remove(world, "replica-3") == ""
    ask(world, 1, 1)
    drain(world)
    last = state(world, "replica-1").log.last.index
    world.receive("replica-1", Progress(1, "replica-4", last, last, last, world.now))
    assert joining(world) == ("replica-4",)
    assert state(world, "replica-1").members == ("replica-1", "replica-2")
    return last


def resume(world: World, name: str) -> None:
    """One of those that were held back goes on."""
    world.paused -= {name}
    drain(world)


# Joining.


def test_a_replica_joins_by_snapshot_and_then_counts() -> None:
    world = cluster("sync/durable")
    write_many(world, 1, 5)
    assert add(world, "replica-4") == ""
    run(world, 1_000)
    node = world.nodes["replica-4"]
    assert len(node.installed) == 1, "by snapshot, though the leader has its whole log"
    assert members(world) == {(*THREE, "replica-4")}
    assert joining(world) == ()
    assert converged(world)
    world.paused = {"replica-4"}
    ask(world, 2, 1)
    run(world, 100)
    assert outcomes(world, 2) == [], "sync waits for it too"
    world.paused = set()
    run(world, 100)
    assert outcomes(world, 2) == [Outcome.OK]


@pytest.mark.parametrize("seed", range(5))
def test_a_replica_joins_while_writes_go_on_and_messages_get_lost(seed: int) -> None:
    limits = Limits(retained_log_bytes_max=300, catch_up_bytes_max=150)
    world = cluster(seed=seed, limits=limits)
    world.loss = 0.1
    add(world, "replica-4")
    for number in range(1, 60):
        if world.leaders():
            ask(world, 1, number, number)
        run(world, 20)
    world.loss = 0.0
    run(world, 2_000)
    assert members(world) == {(*THREE, "replica-4")}
    assert converged(world)


def test_law_4_a_replica_that_joins_does_not_count_for_acknowledgements() -> None:
    world = cluster("semi_sync:1")
    held_as_learner(world)
    assert outcomes(world, 1) == []
    resume(world, "replica-2")
    assert outcomes(world, 1) == [Outcome.OK]


def test_law_6_a_replica_that_joins_does_not_count_for_commits() -> None:
    world = cluster("async")
    last = held_as_learner(world)
    assert state(world, "replica-1").committed < last
    resume(world, "replica-2")
    assert state(world, "replica-1").committed == last


def test_law_5_a_replica_that_joins_does_not_count_for_leases() -> None:
    world = cluster("async")
    last = held_as_learner(world)
    world.now += 500 * MS
    world.receive("replica-1", Progress(1, "replica-4", last, last, last, world.now))
    reply = reading(world, 1, "replica-1", from_leader=True)
    assert reply is not None
    assert reply.outcome is Outcome.NOT_LEADER
    world.handle("replica-1", Tick())
    resume(world, "replica-2")
    reply = reading(world, 2, "replica-1", from_leader=True)
    assert reply is not None
    assert reply.outcome is Outcome.OK


def test_a_replica_that_joins_neither_stands_nor_counts_for_elections() -> None:
    world = cluster(protections=Protections(check_quorum=False, pre_vote=False))
    add(world, "replica-4")
    world.deliver_to("replica-4")
    for name in THREE:
        world.crash(name)
    run(world, 5_000)
    world.receive("replica-4", TakeOver(1, "replica-1"), Campaign(0, ""))
    assert state(world, "replica-4").counts["elections"] == 0
    assert role(world, "replica-4") is Role.FOLLOWER
    world.restart("replica-2")
    world.receive("replica-2", Campaign(0, ""))
    asked = {target for source, target, _ in world.network if source == "replica-2"}
    assert asked == {"replica-1", "replica-3"}
    world.receive("replica-2", Vote(2, "replica-4", granted=True))
    assert world.leaders() == []


def test_a_new_replica_waits_until_it_is_made_a_member() -> None:
    world = cluster()
    world.add_node("replica-4")
    run(world, 3_000)
    assert state(world, "replica-4").log.last.index == 0
    assert (elections(world), members(world)) == (1, {THREE})
    assert add(world, "replica-4") == ""
    run(world, 1_000)
    assert members(world) == {(*THREE, "replica-4")}


def test_a_replica_that_could_not_use_the_leaders_snapshots_is_refused_and_leaves() -> None:
    world = cluster()
    world.add_node("replica-4")
    state(world, "replica-4").layout = "another page size"
    add(world, "replica-4")
    run(world, 500)
    assert world.left == {"replica-4": "replica-4 has another page size; this cluster has in memory"}
    assert members(world) == {THREE}
    assert remove(world, "replica-4") == ""
    assert joining(world) == ()


def test_a_join_can_be_called_off_and_asked_for_again() -> None:
    world = cluster()
    world.add_node("replica-4")
    world.paused = {"replica-4"}
    assert add(world, "replica-4", 1) == ""
    assert add(world, "replica-4", 2) == "", "asking twice is fine"
    assert joining(world) == ("replica-4",)
    assert remove(world, "replica-4", 3) == ""
    assert joining(world) == ()
    world.paused = set()
    run(world, 500)
    assert members(world) == {THREE}
    assert add(world, "replica-4", 4) == ""
    run(world, 500)
    assert members(world) == {(*THREE, "replica-4")}


def test_a_join_that_is_called_off_in_the_last_moment_does_not_happen() -> None:
    """The leader has decided, and waits for a group that executes."""
    world = cluster()
    add(world, "replica-4")
    leader = world.nodes["replica-1"]
    world.paused = {"replica-4"}
    drain(world)
    ask(world, 1, 1)  # executes
    assert leader.jobs
    last = state(world, "replica-1").log.last.index
    world.receive("replica-1", Progress(1, "replica-4", last, last, last, world.now))
    duty = leader.core._duty
    assert isinstance(duty, Leading)
    assert duty._changes.due == (*THREE, "replica-4")
    assert remove(world, "replica-4") == ""
    world.paused = set()
    run(world, 500)
    assert members(world) == {THREE}


# One at a time, and when.


def test_members_change_one_at_a_time() -> None:
    world = cluster()
    world.paused = {"replica-2", "replica-3", "replica-4"}
    assert add(world, "replica-4", 1) == ""
    assert "replica-4 is joining" in add(world, "replica-5", 2)
    assert remove(world, "replica-3", 3) == ""
    assert "not committed yet" in remove(world, "replica-2", 4)
    drain(world)
    assert state(world, "replica-1").members == ("replica-1", "replica-2"), "counts from its append"
    assert "not committed yet" in remove(world, "replica-2", 5)
    world.paused = {"replica-4"}
    drain(world)
    run(world, 100)
    assert remove(world, "replica-2", 6) == ""


def test_law_6_members_change_only_once_an_entry_of_the_leaders_own_term_is_committed() -> None:
    """The bug of 2015: else two leaders may each have a majority of different members."""
    world = cluster()
    world.crash("replica-1")
    leader = run_until_led(world)
    (other,) = {"replica-2", "replica-3"} - {leader.name}
    world.crash(leader.name)
    world.restart("replica-1")
    world.restart(leader.name)
    world.elect()
    world.network.clear()
    new = world.leader().name
    assert "nothing of its term is committed yet" in remove(world, other if new != other else leader.name, 1)
    world.receive(new, AddMember(2, "", "replica-4"))
    assert "nothing of its term is committed yet" in world.answers[2]
    run(world, 500)
    assert members(world) == {THREE}
    assert remove(world, next(name for name in THREE if name != world.leader().name), 3) == ""


def test_a_rewind_undoes_a_change_of_members() -> None:
    world = cluster("async")
    world.cut_off = {"replica-1"}
    assert remove(world, "replica-3") == ""
    run(world, 100)
    assert state(world, "replica-1").members == ("replica-1", "replica-2")
    run(world, 2_000)
    leader = run_until_led(world)
    assert leader.name in {"replica-2", "replica-3"}
    world.cut_off = set()
    run(world, 1_000)
    assert state(world, "replica-1").members == THREE
    assert [entry.kind for entry in world.nodes["replica-1"].rollback] == [MEMBERS_KIND]
    assert members(world) == {THREE}
    world.crash("replica-1")
    world.restart("replica-1")
    assert state(world, "replica-1").members == THREE


@pytest.mark.parametrize("ack", ["async", "sync", "semi_sync:2"])
def test_a_change_of_members_is_committed_by_a_majority_whatever_the_ack_policy(ack: str) -> None:
    """So a dead member can be removed under `sync`, which then waits for it no more."""
    world = cluster(ack)
    world.crash("replica-3")
    ask(world, 1, 1)
    run(world, 100)
    assert outcomes(world, 1) == ([Outcome.OK] if ack == "async" else [])
    assert remove(world, "replica-3") == ""
    run(world, 100)
    assert state(world, "replica-1").ledger.membership.changed_at <= state(world, "replica-1").committed
    ask(world, 2, 1)
    run(world, 100)
    assert outcomes(world, 2) == ([] if ack == "semi_sync:2" else [Outcome.OK]), "two of one follower: never"
    world = cluster(ack)
    world.crash("replica-2")
    world.crash("replica-3")
    assert remove(world, "replica-3") == ""
    run(world, 100)
    assert state(world, "replica-1").ledger.membership.changed_at > state(world, "replica-1").committed


# Removing.


def test_what_cannot_be_removed_or_added_is_refused_with_the_reason() -> None:
    world = cluster()
    assert "leads" in remove(world, "replica-1", 1)
    assert "no member" in remove(world, "replica-9", 2)
    assert "member already" in add(world, "replica-2", 3)
    world.receive("replica-2", RemoveMember(4, "", "replica-3"))
    assert world.answers[4] == "replica-2 does not lead; replica-1 does, as far as it knows"
    alone = cluster(followers=0)
    assert "last member" in remove(alone, "replica-1", 1)


def test_a_leader_can_remove_the_other_of_two_and_go_on_alone() -> None:
    world = cluster(followers=1)
    world.crash("replica-2")
    assert remove(world, "replica-2") == ""
    ask(world, 1, 1)
    run(world, 2_000)
    assert outcomes(world, 1) == [Outcome.OK]
    assert role(world, "replica-1") is Role.LEADER
    world.crash("replica-1")
    world.restart("replica-1")
    assert run_until_led(world).name == "replica-1"


@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_replica_that_knows_of_its_removal_is_silent(pre_vote: bool) -> None:
    world = cluster(protections=Protections(pre_vote=pre_vote))
    remove(world, "replica-3")
    run(world, 200)
    assert not state(world, "replica-3").is_member
    world.cut_off = {"replica-3"}
    run(world, 5_000)
    world.cut_off = set()
    run(world, 2_000)
    assert (elections(world), state(world, "replica-1").term) == (1, 1)
    assert role(world, "replica-1") is Role.LEADER


@pytest.mark.parametrize("check_quorum", [True, False])
def test_a_replica_that_missed_its_removal_disturbs_nobody(check_quorum: bool) -> None:
    """It asks for promises of votes, and gets none."""
    world = cluster(protections=Protections(check_quorum=check_quorum))
    world.cut_off = {"replica-3"}
    remove(world, "replica-3")
    run(world, 5_000)
    assert state(world, "replica-3").is_member, "as far as it knows"
    assert role(world, "replica-3") is Role.CANDIDATE
    world.cut_off = set()
    run(world, 5_000)
    assert (elections(world), state(world, "replica-1").term) == (1, 1)
    world.crash("replica-1")
    run(world, 5_000)
    assert state(world, "replica-3").term == 1, "nor when the leader is gone: its log is too old"


def test_a_removed_replica_still_gives_a_leader_to_those_who_have_not_heard_of_its_removal() -> None:
    """The removal is in its log alone, and the leader that wrote it is gone: a majority is up, and must elect."""
    world = cluster(followers=3)
    world.cut_off = {"replica-2", "replica-3"}
    remove(world, "replica-4")
    run(world, 50)
    assert not state(world, "replica-4").is_member
    world.crash("replica-1")
    world.cut_off = set()
    leader = run_until_led(world)
    assert leader.name in {"replica-2", "replica-3"}
    run(world, 500)
    assert members(world) == {(*THREE, "replica-4")}, "the change is undone"
    world.restart("replica-1")
    run(world, 500)
    assert converged(world)


def test_law_6_a_removed_replica_gives_no_vote_against_what_was_committed_before_its_removal() -> None:
    world = cluster(followers=3, protections=Protections(check_quorum=False, pre_vote=False))
    ask(world, 1, 1)
    run(world, 50)
    before = state(world, "replica-4").log.last
    remove(world, "replica-4")
    world.deliver_to("replica-4")
    world.store_all("replica-4")
    assert not state(world, "replica-4").is_member
    assert state(world, "replica-4").committed == before.index
    for last, granted in ((before, True), (state(world, "replica-4").log.position_at(before.index - 1), False)):
        world.network.clear()
        world.receive("replica-4", RequestVote(5 + granted, "replica-2", last))
        (vote,) = sent(world, "replica-4", "replica-2")
        assert isinstance(vote, Vote)
        assert vote.granted is granted


def test_a_replica_that_was_removed_can_join_again_with_an_empty_disk() -> None:
    world = cluster()
    write_many(world, 1, 3)
    remove(world, "replica-3")
    run(world, 200)
    world.crash("replica-3")
    world.laws._terms.pop("replica-3")  # a new disk: what the old one said counts no more
    world.add_node("replica-3")
    world.nodes["replica-3"].core.state.ledger.membership.__init__(("replica-1", "replica-2"))  # type: ignore[misc]
    assert add(world, "replica-3", 5) == ""
    run(world, 1_000)
    assert len(world.nodes["replica-3"].installed) == 1
    assert members(world) == {THREE}
    assert converged(world)


# Changes of leader.


def test_a_new_leader_in_the_middle_of_a_join_knows_nothing_of_it_and_can_be_asked_again() -> None:
    world = cluster()
    write_many(world, 1, 3)
    add(world, "replica-4", 1)
    world.paused = {"replica-4"}
    drain(world)
    world.crash("replica-1")
    leader = run_until_led(world)
    world.paused = set()
    run(world, 1_000)
    assert members(world) == {THREE}
    assert leader.core.joining == ()
    world.restart("replica-1")
    run(world, 500)
    assert add(world, "replica-4", 2) == ""
    run(world, 1_000)
    assert members(world) == {(*THREE, "replica-4")}
    assert converged(world)


def test_a_new_leader_that_has_the_entry_of_a_join_carries_it_through() -> None:
    world = cluster()
    write_many(world, 1, 3)
    add(world, "replica-4", 1)
    for _ in range(20_000):
        world.step()
        if len(state(world, "replica-2").members) == 4:
            break
    assert state(world, "replica-1").committed < state(world, "replica-2").ledger.membership.changed_at
    world.crash("replica-1")
    leader = run_until_led(world)
    run(world, 500)
    assert len(leader.core.state.members) in {3, 4}
    world.restart("replica-1")
    run(world, 1_000)
    assert len(members(world)) == 1, "whichever it is, all agree"
    assert converged(world) or len(leader.core.state.members) == 3


def test_members_survive_crashes_and_snapshots() -> None:
    world = cluster(limits=Limits(retained_log_bytes_max=200))
    add(world, "replica-4")
    run(world, 500)
    remove(world, "replica-2")
    run(world, 200)
    write_many(world, 1, 30)
    run(world, 200)
    now = ("replica-1", "replica-3", "replica-4")
    assert state(world, "replica-4").base.index > state(world, "replica-4").ledger.membership.changed_at
    for name in now:
        world.crash(name)
        world.restart(name)
        assert state(world, name).members == now
    assert run_until_led(world).name in now


def test_the_leader_that_was_handed_over_from_can_be_removed() -> None:
    world = cluster()
    world.receive("replica-1", TransferLeadership(1, "", "replica-2"))
    run(world, 100)
    assert world.leader().name == "replica-2"
    assert remove(world, "replica-1", 2) == ""
    run(world, 500)
    assert members(world) == {("replica-2", "replica-3")}
    assert not any(isinstance(message, AppendEntries | SnapshotNeeded) for message in sent(world, "replica-1"))
