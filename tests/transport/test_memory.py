"""The broker in memory: works without an event loop, and one seed gives one order."""

import random

import pytest

from workbench.errors import BrokerError
from workbench.transport.base import Inbound
from workbench.transport.memory import MemoryBroker


def run(seed: int | None) -> list[Inbound]:
    """Two publishers, two topics, one receiver; what it got, in order."""
    broker = MemoryBroker(None if seed is None else random.Random(seed))
    got: list[Inbound] = []
    receiver = broker.connect(got.extend)
    receiver.listen("x", "y")
    publishers = [broker.connect(lambda _: None) for _ in range(2)]
    for number in range(6):
        for name, publisher in enumerate(publishers):
            publisher.publish("xy"[number % 2], b"%d%d" % (name, number))
    assert broker.run_until_idle() == 12
    return got


def test_without_a_seed_messages_come_in_the_order_of_publishing():
    assert [payload for _, payload in run(None)] == [b"%d%d" % (name, n) for n in range(6) for name in range(2)]


def test_a_seed_shuffles_but_keeps_the_order_of_publisher_and_topic():
    orders = {tuple(run(seed)) for seed in range(20)}
    assert len(orders) > 10
    for order in orders:
        for topic in "xy":
            for name in b"01":
                numbers = [payload for at, payload in order if at == topic and payload[0] == name]
                assert numbers == sorted(numbers)
                assert len(numbers) == 3


def test_the_same_seed_gives_the_same_order():
    assert run(7) == run(7)


def test_delivering_one_by_one():
    broker = MemoryBroker()
    got: list[Inbound] = []
    broker.connect(got.extend).listen("t")
    publisher = broker.connect(lambda _: None)
    assert not broker.deliver_next()
    publisher.publish("t", b"1")
    publisher.publish("t", b"2")
    assert (broker.waiting, publisher.outgoing_bytes) == (2, 2)
    assert broker.deliver_next()
    assert got == [("t", b"1")]
    assert (broker.waiting, publisher.outgoing_bytes) == (1, 1)


def test_a_handler_may_publish_and_an_endless_exchange_is_noticed():
    broker = MemoryBroker()
    echo = broker.connect(lambda batch: echo.publish("t", batch[0][1]))
    echo.listen("t")
    echo.publish("t", b"again")
    with pytest.raises(BrokerError, match="still wait after 50"):
        broker.run_until_idle(50)


def test_what_a_handler_raises_comes_out_of_the_step():
    broker = MemoryBroker()

    def broken(_: object) -> None:
        raise LookupError("mine")

    broker.connect(broken).listen("t")
    broker.connect(print).publish("t", b"1")
    with pytest.raises(LookupError, match="mine"):
        broker.deliver_next()


async def test_a_lost_connection_ends_closed_and_loses_what_was_on_the_way_to_it():
    broker = MemoryBroker()
    got: list[Inbound] = []
    receiver = broker.connect(got.extend)
    receiver.listen("t")
    publisher = broker.connect(print)
    publisher.publish("t", b"lost")
    receiver.lose("pulled the plug")
    with pytest.raises(BrokerError, match="pulled the plug"):
        await receiver.closed()
    assert broker.run_until_idle() == 0
    assert publisher.outgoing_bytes == 0
    assert got == []
