"""What a follower holds and its leader does not: it is dropped, wherever it is, and nothing else (laws 3 and 6)."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import cluster, drain, role, run, run_until_led, state
from tests.protocol.world import World, converged
from workbench.config import AckPolicy, Protections
from workbench.protocol.effects import Append, Rewind
from workbench.protocol.messages import AppendEntries, Progress
from workbench.protocol.roles import Role
from workbench.protocol.values import Position


def parted(dropped: int) -> World:
    """`replica-2` was sent entries 2 to `dropped` + 1 by `replica-1`, and then `replica-3`, which has none of them,
    began to lead. Nothing of this has been delivered to `replica-2`."""
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    world.settle()
    for number in range(1, dropped + 1):
        world.write(1, number, "x", number)
        world.store_all("replica-1")
    world.network = [one for one in world.network if one[1] == "replica-2"]
    return world


def another_leads(world: World) -> None:
    world.network.clear()
    world.depose("replica-3")
    world.write(2, 1, "y", 1, to="replica-3")
    world.settle()


@pytest.mark.parametrize("where", ["in memory", "being written", "on disk", "applied", "everywhere"])
def test_law_3_entries_are_dropped_wherever_they_are_and_all_of_them_are_kept_for_people(where: str) -> None:
    world = parted(8)
    node = world.nodes["replica-2"]
    if where == "everywhere":
        world.deliver()
        world.store_all("replica-2")  # the first is applied
        world.deliver()
        world.store("replica-2")  # the second is on disk, and the core has not heard of it
        world.deliver_to("replica-2")  # the rest waits in memory
    else:
        world.deliver_to("replica-2")
        if where == "being written":
            world.store("replica-2")
        elif where == "on disk":
            while len(node.log) < 9:
                world.store("replica-2")
                while node.answers:
                    world.answer("replica-2")
        elif where == "applied":
            world.store_all("replica-2")
    assert node.core.state.log.last == Position(1, 9)
    another_leads(world)
    assert [entry.index for entry in node.rollback] == list(range(2, 10)), "exactly these, once, in order"
    assert node.data == {"y": 1}
    assert converged(world)
    assert (node.core.state.durable, node.core.state.applied) == (3, 3)
    assert node.core.state.rewinding == 0


def test_law_3_a_crash_between_a_rewind_that_was_asked_for_and_its_end_is_harmless() -> None:
    world = parted(4)
    world.deliver_to("replica-2")
    world.store_all("replica-2")
    world.network.clear()
    world.depose("replica-3")
    world.write(2, 1, "y", 1, to="replica-3")
    world.store_all("replica-3")
    while not any(isinstance(job, Rewind) for job in world.nodes["replica-2"].jobs):
        world.deliver()
    assert state(world, "replica-2").rewinding == 1
    world.crash("replica-2")
    world.restart("replica-2")
    assert world.nodes["replica-2"].data == {"x": 4}, "the state of its old log"
    world.settle()
    assert converged(world)
    assert [entry.index for entry in world.nodes["replica-2"].rollback] == [2, 3, 4, 5]


def test_a_rewind_leaves_what_both_logs_hold() -> None:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    for number in range(1, 6):
        world.write(1, number, "x", number)
    world.settle()
    for number in range(6, 9):
        world.write(1, number, "x", number)
        world.store_all("replica-1")
    world.deliver_to("replica-2")
    world.store_all("replica-2")
    common = world.nodes["replica-3"].log[:]
    another_leads(world)
    node = world.nodes["replica-2"]
    assert node.data == world.nodes["replica-3"].data
    assert node.log[: len(common)] == common
    assert [entry.index for entry in node.rollback] == [len(common) + 1, len(common) + 2, len(common) + 3]


def test_what_is_left_after_a_rewind_is_on_disk_and_applied() -> None:
    """Though the answers about it came while the rewind was under way, and counted for nothing."""
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    world.settle()
    for number in (1, 2, 3, 4):
        world.write(1, number, "x", number)
        world.store_all("replica-1")
        if number == 2:
            world.deliver_to("replica-3")
            world.store_all("replica-3")
    world.deliver_to("replica-2")  # all of it in memory
    world.network.clear()
    world.depose("replica-3")
    node = world.nodes["replica-2"]
    while not node.core.state.rewinding:
        world.deliver()
    while node.core.state.rewinding:
        world.store("replica-2")
        while node.answers:
            world.answer("replica-2")
    assert (node.core.state.durable, node.core.state.applied) == (3, 3)


def test_law_2_an_answer_of_the_disk_about_a_dropped_entry_counts_for_nothing() -> None:
    """The disk says that the old entry at an index is durable when the new one there is in memory only."""
    world = parted(1)
    world.deliver_to("replica-2")
    world.store("replica-2")  # on disk; its answer is on the way
    world.network.clear()
    world.depose("replica-3")
    world.write(2, 1, "y", 1, to="replica-3")
    world.store_all("replica-3")
    while state(world, "replica-2").log.last.term == 1:
        world.deliver()
    world.answer("replica-2")
    assert state(world, "replica-2").durable == 1
    world.store_all("replica-2")
    assert state(world, "replica-2").durable == state(world, "replica-2").log.last.index


def test_law_6_an_old_leader_drops_what_it_alone_had_and_nothing_of_the_new_reign() -> None:
    world = cluster("async", protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    for session in (1, 2, 3):
        world.write(session, 1, f"k{session}", "old")
    run(world, 2_000)
    other = next(node.name for node in world.leaders() if node.name != "replica-1")
    world.write(4, 1, "k4", "new", to=other)
    run(world, 50)
    world.cut_off = set()
    run(world, 500)
    old = world.nodes["replica-1"]
    assert role(world, "replica-1") is Role.FOLLOWER
    assert sorted(member.session for entry in old.rollback for member in entry.members) == [1, 2, 3]
    assert {node.data.get("k4") for node in world.nodes.values()} == {"new"}
    world.laws.committed_survived(old.log)


def test_law_4_an_entry_that_a_minority_had_is_not_committed_by_counting_disks_alone() -> None:
    """Figure 8 of the Raft paper: an entry of an older term on a majority's disks may still be overwritten."""
    world = World(followers=4, ack=AckPolicy.quorum(), elected=True)
    world.appoint()
    world.settle()
    world.write(1, 1, "x", 1)
    world.store_all("replica-1")
    world.deliver_to("replica-2")
    world.store_all("replica-2")
    world.network.clear()
    world.crash("replica-1")
    world.elect(("replica-5", "replica-3", "replica-4"))
    leader = world.leader().name
    world.write(2, 1, "y", 1, to=leader)
    world.store_all(leader)
    world.network.clear()
    world.crash(leader)
    world.restart("replica-1")
    (third, *_) = [name for name in ("replica-3", "replica-4", "replica-5") if name != leader]
    world.receive("replica-1", Progress(9, third, 0, 0, 0))
    world.appoint("replica-1")
    held, world.network = world.network, []
    term = state(world, "replica-1").term
    for name in ("replica-2", third):
        world.receive("replica-1", Progress(term, name, 2, 2, 2))  # they have the old entry, not the new leader's
    assert state(world, "replica-1").committed < 2, "three disks of five hold entry 2, and it is not committed"
    assert [reply for reply in world.writes if reply.session == 1] == [], "law 4: nor acknowledged"
    world.network += held
    drain(world)
    assert state(world, "replica-1").committed == 3


def test_law_6_a_follower_takes_for_committed_only_what_it_knows_to_match() -> None:
    """The rest of its log may be another history, though the leader has as many entries, and all committed."""
    world = parted(3)
    world.deliver_to("replica-2")
    world.store_all("replica-2")
    follower = state(world, "replica-2")
    entry = world.nodes["replica-2"].log[1].encoded
    world.receive("replica-2", AppendEntries(7, "replica-3", Position(1, 1), 4, 4, (entry,), world.now))
    assert (follower.log.last, follower.committed) == (Position(1, 4), 2)


def test_a_rewind_gives_the_disk_first_what_it_lacks() -> None:
    world = parted(3)
    world.deliver()
    world.deliver_to("replica-2")
    another = world.nodes["replica-2"]
    world.network.clear()
    world.depose("replica-3")
    while not any(isinstance(job, Rewind) for job in another.jobs):
        world.deliver()
    before = [job for job in another.jobs if isinstance(job, Append)]
    assert [logged.entry.index for job in before for logged in job.entries] == [2, 3, 4]
    world.settle()
    assert run_until_led(world).name == "replica-3"
