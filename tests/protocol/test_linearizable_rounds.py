"""How much a linearizable read has a leader say: one round, which may serve many of them."""

from __future__ import annotations

from tests.protocol.world import CLIENT, MS, World
from workbench.config import AckPolicy
from workbench.protocol.messages import ClientBatch, Outcome, Read
from workbench.protocol.values import Statement


def led() -> World:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    world.settle()
    world.network.clear()
    world.reads.clear()
    return world


def read(world: World, request: int) -> None:
    world.read(1, request, "x", "replica-1", linearizable=True)
    world.store_all("replica-1")


def test_answers_that_come_late_set_off_no_further_rounds() -> None:
    world = led()
    world.now += MS
    reads = tuple(Read(1, request, Statement("get", ("x",)), linearizable=True) for request in range(1, 4))
    world.laws.asked(reads)
    world.receive("replica-1", ClientBatch(CLIENT, (), reads))
    world.store_all("replica-1")
    assert len(world.network) == 2, "one message to each follower, for all reads that arrived together"
    deliveries = 0
    while world.network:
        world.now += MS  # every message takes a while: an answer comes at a time of its own
        world.deliver()
        deliveries += 1
        assert deliveries <= 4, "two questions and two answers"
    assert [reply.outcome for reply in world.reads] == [Outcome.OK] * 3


def test_a_read_that_arrives_during_a_round_gets_one_of_its_own() -> None:
    world = led()
    world.now += MS
    read(world, 1)
    world.now += MS
    read(world, 2)
    assert len(world.network) == 4
    world.deliver_all()
    assert [reply.outcome for reply in world.reads] == [Outcome.OK] * 2


def test_a_round_that_gets_lost_is_made_up_for_by_the_next_heartbeat() -> None:
    world = led()
    world.now += MS
    read(world, 1)
    world.network.clear()
    world.tick_all(world.timing.heartbeat_ms)
    world.deliver_all()
    assert [reply.outcome for reply in world.reads] == [Outcome.OK]
