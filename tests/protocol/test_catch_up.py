"""Followers that miss something, have too much, or are slow: what is sent, how often, and what is kept meanwhile."""

from __future__ import annotations

from tests.protocol.world import MS, World, converged
from workbench.config import AckPolicy, Limits, Timing
from workbench.protocol.codec import decode
from workbench.protocol.following import Following
from workbench.protocol.inputs import Received, Tick
from workbench.protocol.leading import Leading
from workbench.protocol.messages import AppendEntries, Fetch, Message, Mismatch, Outcome, Progress, ReplyBatch
from workbench.protocol.roles import Role
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position


def started(**options: object) -> World:
    world = World(ack=AckPolicy.asynchronous(), **options)  # type: ignore[arg-type]
    world.appoint()
    world.settle()
    return world


def state_of(world: World, name: str) -> ReplicaState:
    return world.nodes[name].core.state


def write_many(world: World, first: int, last: int, to: str = "replica-1") -> None:
    """One entry each, on the leader's disk; followers hear of them when the test delivers."""
    for number in range(first, last + 1):
        world.write(1, number, "x", number, to=to)
        world.store_all(to)


def test_a_long_common_log_is_not_fetched_again_to_find_where_two_logs_part() -> None:
    """Catch-up goes on from where the logs agree, even if they agree over more than one answer to a fetch."""
    world = started(limits=Limits(catch_up_bytes_max=100))
    write_many(world, 1, 50)
    world.settle()
    leader = world.nodes["replica-1"]
    write_many(world, 51, 53)
    world.deliver_all()
    world.store_all("replica-2")
    del leader.log[-3:]  # as if the leader's disk had been slower than its followers'
    world.crash("replica-1")
    world.restart("replica-1")
    world.appoint()
    world.network.clear()
    sent: list[int] = []
    for _ in range(100):
        world.tick_all(100)
        while world.step(time_too=False):
            messages = [decode(frame) for _, _, frame in world.network]
            sent += [message.previous.index for message in messages if isinstance(message, AppendEntries)]
    assert converged(world)
    assert min(sent) >= 51, "nothing before the point where they part was sent again"
    assert [entry.index for entry in world.nodes["replica-2"].rollback] == [52, 53, 54]


def test_a_rewind_also_drops_entries_that_storage_has_not_been_given_yet() -> None:
    world = started()
    write_many(world, 1, 3)
    world.deliver_to("replica-2")  # its disk works on the first; the others wait in memory
    follower = world.nodes["replica-2"]
    assert (follower.core.state.log.last.index, len(follower.log)) == (4, 1)
    world.receive("replica-3", *(decode(frame) for _, target, frame in world.network[:2] if target == "replica-3"))
    world.network.clear()
    world.depose("replica-3")
    world.settle()
    assert converged(world)
    assert follower.data == world.nodes["replica-3"].data
    dropped = [entry.index for entry in follower.rollback]
    assert dropped, "what was dropped can be read, though it was in memory only"


def test_an_answer_about_a_dropped_entry_does_not_count_for_the_same_entry_come_back() -> None:
    world = started()
    follower = world.nodes["replica-2"].core
    before = world.nodes["replica-2"].core.state.log.last
    world.write(1, 1, "x", 1)
    world.store("replica-1")
    world.answer("replica-1")
    (entry,) = {decode(frame).entries for _, _, frame in world.network}  # type: ignore[union-attr]
    world.network.clear()
    world.receive("replica-2", AppendEntries(1, "replica-1", before, 2, 1, entry))
    world.store("replica-2")  # on disk, but the core has not heard of it
    other = b"\x95\x02\x02\xa0\x90\xc4\x00"
    world.receive("replica-2", AppendEntries(2, "replica-3", before, 2, 1, (other,)))
    world.receive("replica-2", AppendEntries(3, "replica-1", before, 2, 1, entry))
    world.answer("replica-2")
    assert follower.state.durable == 1, "the disk is still to drop the entry, and has not been given it again"
    world.store_all("replica-2")
    assert (follower.state.durable, follower.state.applied) == (2, 2)


def test_entries_that_overtook_one_another_are_kept_until_they_fit() -> None:
    world = started()
    write_many(world, 1, 5)
    world.network = [one for one in reversed(world.network) if one[1] == "replica-2"]
    while world.network and world.network[0][0] == "replica-1":
        world.deliver()  # the last one first
        fetches = [one for one in world.network if one[1] == "replica-1"]
        world.network = [one for one in world.network if one not in fetches]
    assert state_of(world, "replica-2").log.last.index == 6, "without anything being sent again"


def test_a_follower_that_is_behind_hears_of_new_entries_while_writes_go_on() -> None:
    world = started(limits=Limits(unacknowledged_bytes_max=500))
    write_many(world, 1, 50)  # more than may be on its way to replica-2
    world.deliver_all()
    world.store_all("replica-2")
    for number in range(51, 151):  # never silent for as long as a heartbeat
        write_many(world, number, number)
        world.tick_all(10)
        while world.step(time_too=False):
            pass
    assert world.nodes["replica-2"].core.state.log.last.index >= 145


def test_a_follower_that_died_for_good_costs_bounded_memory_and_blocks_nobody() -> None:
    world = started(limits=Limits(unacknowledged_bytes_max=500))
    world.crash("replica-3")
    for number in range(1, 501):
        write_many(world, number, number)
        world.deliver_all()
        world.store_all("replica-2")
    world.settle()
    leading = world.nodes["replica-1"].core._duty
    assert isinstance(leading, Leading)
    assert len(leading._window._indices) < 100
    assert len(leading._unacknowledged) == 0
    assert world.nodes["replica-2"].data == {"x": 500}


def test_waiting_for_a_policy_that_is_never_met_costs_bounded_memory() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.settle()
    world.crash("replica-3")
    for number in range(1, 1001):
        write_many(world, number, number)
        world.deliver_all()
        world.now += 20 * MS
        world.handle("replica-1", Tick())
    leading = world.nodes["replica-1"].core._duty
    assert isinstance(leading, Leading)
    assert len(leading._unacknowledged) <= 250, "five seconds of entries"
    assert [reply.outcome for reply in world.writes] == [Outcome.INDEFINITE] * 751


def test_sessions_are_bounded_where_nothing_gets_committed() -> None:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    write_many(world, 1, 1000)
    assert len(world.nodes["replica-1"].core.state.ledger.sessions._sessions[1]) <= 8


def test_a_slow_disk_holds_back_the_fetching_not_the_memory() -> None:
    limits = Limits(unacknowledged_bytes_max=500, catch_up_bytes_max=100)
    world = started(limits=limits)
    world.paused = {"replica-3"}  # nothing is delivered to it: it would stand for election
    write_many(world, 1, 200)
    for _ in range(100):
        world.deliver_to("replica-2")
        world.tick_all(100)
        world.deliver_to("replica-1")
        world.store_all("replica-1")
    follower = world.nodes["replica-2"]
    following = follower.core._duty
    assert isinstance(following, Following)
    assert len(follower.jobs) == 2, "one batch, to append and to apply"
    assert sum(len(logged.encoded) for logged in following._received) <= 500
    world.paused = set()
    world.settle()
    assert follower.data == {"x": 200}


def test_a_link_slower_than_the_retry_does_not_multiply_what_is_sent() -> None:
    """Round trip two seconds, retry after a quarter: almost everything comes once."""
    patient = Timing(election_timeout_ms=10_000)  # else the slow link costs the leader its followers
    world = started(limits=Limits(catch_up_bytes_max=1_000), timing=patient)
    world.crash("replica-2")
    write_many(world, 1, 500)
    world.network.clear()
    world.restart("replica-2")
    fetches: list[Position] = []
    on_its_way: list[tuple[int, bytes]] = []
    for _ in range(20_000):
        world.now += 20 * MS
        for name in ("replica-1", "replica-2"):
            world.handle(name, Tick())
        on_its_way += [(world.now + 2_000 * MS, frame) for _, target, frame in world.network if target == "replica-2"]
        for _, target, frame in world.network:
            if target == "replica-1":
                message = decode(frame)
                fetches += [message.after] if isinstance(message, Fetch) else []
                world.receive("replica-1", message)
        world.network.clear()
        world.store_all("replica-1")
        while on_its_way and on_its_way[0][0] <= world.now:
            world.receive("replica-2", decode(on_its_way.pop(0)[1]))
        world.store_all("replica-2")
        if world.nodes["replica-2"].core.state.log.last.index == 501:
            break
    assert world.nodes["replica-2"].data == {"x": 500}
    assert len(fetches) - len(set(fetches)) <= 4


def test_large_writes_do_not_share_an_entry_without_bound() -> None:
    world = started(limits=Limits(catch_up_bytes_max=1_000))
    for session in range(1, 31):
        world.write(session, 1, f"k{session}", "v" * 100)
    world.settle()
    entries = world.nodes["replica-2"].log
    assert max(len(logged.encoded) for logged in entries) < 1_500
    assert 4 <= len(entries) < 15, "and yet they are grouped"


def test_messages_that_make_no_sense_are_counted_and_change_nothing() -> None:
    world = started()
    write_many(world, 1, 3)
    world.settle()
    good = world.nodes["replica-1"].log[1].encoded
    last = world.nodes["replica-1"].last
    nonsense: list[Message] = [
        AppendEntries(1, "replica-9", last, 9, 9, (good,)),
        Progress(1, "stranger", 9, 9, 9),
        Fetch(1, "", Position()),
        ReplyBatch("replica-2", "replica-2"),
    ]
    for name in ("replica-1", "replica-2"):
        itself: list[Message] = [
            AppendEntries(9, name, last, 9, 9),
            Progress(9, name, 9, 9, 9),
            Mismatch(9, name, last),
        ]
        world.receive(name, *nonsense, *itself)
        late = 0 if name == "replica-1" else 2  # to a follower, what was meant for a leader merely comes late
        assert world.nodes[name].core.state.refused_messages == len(nonsense) + len(itself) - late
    world.receive("replica-1", Progress(1, "replica-2", 99, 99, 99), Fetch(1, "replica-2", Position(7, 99)))
    world.receive(
        "replica-2",
        AppendEntries(1, "replica-1", last, 9, 4, (b"not an entry",)),
        AppendEntries(1, "replica-1", last, 9, 4, (good,)),
        Mismatch(1, "replica-1", Position(5, 0)),
        AppendEntries(1, "replica-3", last, 9, 4),
    )
    world.handle("replica-2", Received(()))
    assert [node.core.state.term for node in world.nodes.values()] == [1, 1, 1]
    assert world.nodes["replica-1"].core.role is Role.LEADER
    assert world.nodes["replica-1"].core.state.committed == 4
    assert [node.core.state.log.last for node in world.nodes.values()] == [last] * 3
