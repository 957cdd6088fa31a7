"""The core alone, one scenario a test, in the in-memory world."""

from __future__ import annotations

import pytest

from tests.protocol.world import World
from workbench.config import AckPolicy, Limits
from workbench.protocol.messages import Outcome
from workbench.protocol.roles import Role
from workbench.protocol.values import Position

POLICIES = ["async", "semi_sync:1", "semi_sync:1/received", "quorum", "sync", "sync/durable", "sync/received"]


def outcomes(world: World) -> list[Outcome]:
    return [reply.outcome for reply in world.writes]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_writes_are_acknowledged_and_reach_everybody(policy: str, seed: int) -> None:
    world = World(ack=AckPolicy.parse(policy), seed=seed)
    world.appoint()
    for number in range(1, 21):
        world.write(session=number % 4, sequence=number, key=f"k{number % 3}", value=number)
        for _ in range(int(world.rng.random() * 8)):
            world.step()
    world.settle()
    assert outcomes(world) == [Outcome.OK] * 20
    assert len({tuple(sorted(node.data.items())) for node in world.nodes.values()}) == 1
    assert world.nodes["replica-2"].data == {"k0": 18, "k1": 19, "k2": 20}


def test_first_entry_of_a_term_is_empty() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.settle()
    (first,) = world.nodes["replica-3"].log
    assert (first.entry.position, first.entry.kind) == (Position(1, 1), "")
    assert world.nodes["replica-1"].core.state.committed == 1


@pytest.mark.parametrize("seed", range(20))
def test_lost_messages_are_fetched_again(seed: int) -> None:
    world = World(ack=AckPolicy.asynchronous(), seed=seed)
    world.appoint()
    world.loss = 0.4
    for number in range(1, 31):
        world.write(session=1, sequence=number, key="x", value=number)
        for _ in range(6):
            world.step()
    world.loss = 0.0
    world.settle()
    assert [node.data.get("x") for node in world.nodes.values()] == [30, 30, 30]


def test_law_7_a_retry_takes_effect_once_and_gets_its_first_reply() -> None:
    world = World(ack=AckPolicy.quorum())
    world.appoint()
    world.write(session=7, sequence=1, key="x", value=1)
    world.settle()
    world.write(session=8, sequence=1, key="x", value=2)
    world.write(session=7, sequence=1, key="x", value=1)
    world.settle()
    first, *others = world.writes
    (again,) = [reply for reply in others if reply.session == 7]
    assert again == first
    assert world.nodes["replica-1"].data == {"x": 2}


def test_law_7_a_retry_while_the_write_waits_does_not_run_it_twice() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.settle()
    for _ in range(3):
        world.write(session=7, sequence=1, key="x", value=1)
        world.step(time_too=False)
    world.settle()
    assert set(outcomes(world)) == {Outcome.OK}
    assert len({reply.position for reply in world.writes}) == 1
    assert sum(len(logged.entry.members) for logged in world.nodes["replica-2"].log) == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_restarted_leader_gets_a_new_term_and_its_followers_drop_what_it_lacks(seed: int) -> None:
    world = World(ack=AckPolicy.asynchronous(), seed=seed)
    world.appoint()
    world.settle()
    for number in range(1, 6):
        world.write(session=number, sequence=1, key="x", value=number)
        for _ in range(int(world.rng.random() * 6)):
            world.step(time_too=False)
    world.crash("replica-1")
    while world.step(time_too=False):
        pass
    world.restart("replica-1")
    world.appoint()
    world.write(session=9, sequence=1, key="y", value=9)
    world.settle()
    assert world.nodes["replica-1"].core.state.term == 2
    assert len({tuple(sorted(node.data.items())) for node in world.nodes.values()}) == 1
    assert all(node.data["y"] == 9 for node in world.nodes.values())


def test_law_6_dropped_entries_are_kept_for_people() -> None:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    world.settle()
    world.write(session=5, sequence=1, key="x", value=5)
    world.store("replica-1")
    world.answer("replica-1")  # executed and shipped; the leader's own sync never happens
    world.deliver_all()
    world.store_all("replica-2")
    world.store_all("replica-3")
    assert world.nodes["replica-2"].data == {"x": 5}
    assert not world.writes, "law 4: the leader does not have it durable"
    world.crash("replica-1")
    world.restart("replica-1")
    world.appoint()
    world.settle()
    assert [entry.members[0].session for entry in world.nodes["replica-2"].rollback] == [5]
    assert world.nodes["replica-2"].data == {}


@pytest.mark.parametrize("seed", range(10))
def test_a_crashed_follower_catches_up(seed: int) -> None:
    limits = Limits(catch_up_bytes_max=200)
    world = World(ack=AckPolicy.quorum(), seed=seed, limits=limits)
    world.appoint()
    world.settle()
    world.crash("replica-3")
    for number in range(1, 41):
        world.write(session=1, sequence=number, key="x", value=number)
        for _ in range(5):
            world.step()
    world.restart("replica-3")
    world.settle()
    assert world.nodes["replica-3"].data == {"x": 40}
    assert outcomes(world) == [Outcome.OK] * 40


def test_a_slow_follower_leaves_the_live_stream() -> None:
    world = World(ack=AckPolicy.asynchronous(), limits=Limits(unacknowledged_bytes_max=500))
    world.appoint()
    world.settle()
    for number in range(1, 101):
        world.write(session=1, sequence=number, key="x", value=number)
        world.store_all("replica-1")
    waiting = sum(len(frame) for _, target, frame in world.network if target == "replica-2")
    assert waiting < 2_000, "bytes on the way to a follower are bounded"
    world.settle()
    assert world.nodes["replica-2"].data == {"x": 100}


def test_sync_waits_for_a_follower_that_is_down_and_says_so() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.settle()
    world.crash("replica-3")
    world.write(session=1, sequence=1, key="x", value=1)
    world.settle()
    assert not world.writes
    world.tick_all(6_000)
    (reply,) = world.writes
    assert reply.outcome is Outcome.INDEFINITE
    assert "sync waits for replica-3" in reply.reason


def test_law_5_an_old_leader_steps_down_when_it_hears_of_a_newer_term() -> None:
    world = World(ack=AckPolicy.quorum())
    world.appoint("replica-1")
    world.settle()
    world.appoint("replica-2")
    world.network = [frame for frame in world.network if frame[1] == "replica-3"]
    world.deliver_all()  # replica-3 follows the new leader; replica-1 knows nothing
    world.write(session=1, sequence=1, key="x", value=1, to="replica-1")
    world.write(session=2, sequence=1, key="x", value=2, to="replica-2")
    world.settle()
    by_session = {reply.session: reply.outcome for reply in world.writes}
    assert by_session[1] in {Outcome.INDEFINITE, Outcome.NOT_LEADER}
    assert by_session[2] is Outcome.OK
    assert world.nodes["replica-1"].core.role is Role.FOLLOWER
    assert [node.data for node in world.nodes.values()] == [{"x": 2}] * 3


def test_followers_refuse_what_only_a_leader_may_do() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.settle()
    world.write(session=1, sequence=1, key="x", value=1, to="replica-2")
    world.read(session=1, request=1, key="x", to="replica-2", from_leader=True)
    assert outcomes(world) == [Outcome.NOT_LEADER]
    assert [reply.outcome for reply in world.reads] == [Outcome.NOT_LEADER]


def test_a_leader_read_shows_nothing_that_is_not_logged() -> None:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    world.settle()
    world.write(session=1, sequence=1, key="x", value=1)
    world.store("replica-1")
    world.answer("replica-1")
    world.read(session=2, request=1, key="x", to="replica-1")
    assert not world.reads
    world.settle()
    (reply,) = world.reads
    assert (reply.rows, reply.position) == (((1,),), Position(1, 2))


def test_refused_transactions_do_not_disturb_their_group() -> None:
    world = World(ack=AckPolicy.sync())
    world.appoint()
    world.write(session=1, sequence=1, key="x", value=1)
    world.write(session=2, sequence=1, key="y", value=2)
    from workbench.protocol.inputs import Received
    from workbench.protocol.messages import ClientBatch
    from workbench.protocol.values import Statement, Transaction

    bad = Transaction(3, 1, (Statement("explode"),))
    world.handle("replica-1", Received((ClientBatch("client-1", (bad,)),)))
    world.settle()
    assert {reply.session: reply.outcome for reply in world.writes} == {
        1: Outcome.OK,
        2: Outcome.OK,
        3: Outcome.REFUSED,
    }


def test_too_many_waiting_transactions_are_refused_definitely() -> None:
    world = World(ack=AckPolicy.sync(), limits=Limits(waiting_transactions_max=2, group_transactions_max=1))
    world.appoint()
    for session in range(1, 6):
        world.write(session=session, sequence=1, key="x", value=session)
    assert outcomes(world).count(Outcome.OVERLOADED) == 2
    world.settle()
    assert outcomes(world).count(Outcome.OK) == 3
