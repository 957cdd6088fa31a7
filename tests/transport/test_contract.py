"""What every `Transport` keeps, whatever lies behind it: the claims of `workbench/transport/base.py`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.transport.recorder import PATIENCE_S, Recorder, until
from workbench.cluster.broker import Broker
from workbench.errors import BrokerError
from workbench.transport.base import Handler, Inbound, Transport
from workbench.transport.memory import MemoryBroker
from workbench.transport.mqtt import connect_mqtt

Connect = Callable[[Handler], Awaitable[Transport]]


@pytest.fixture(params=["memory", pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto")), "amqtt"])
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connect]:
    """Makes transports that share a broker, and closes them at the end."""
    opened: list[Transport] = []
    if request.param == "memory":
        memory = MemoryBroker(automatic=True)

        async def connect_one(handler: Handler) -> Transport:
            opened.append(memory.connect(handler))
            return opened[-1]

        yield connect_one
    else:
        async with await Broker.start(request.param, tmp_path) as broker:

            async def connect_one(handler: Handler) -> Transport:
                opened.append(await connect_mqtt(broker.url, identifier=f"test-{len(opened)}", handler=handler))
                return opened[-1]

            yield connect_one
            for transport in opened:
                await transport.close()


async def test_a_message_reaches_every_subscriber_of_its_topic_unchanged(connect: Connect):
    first, second, other = Recorder(), Recorder(), Recorder()
    await (await connect(first)).subscribe("a/x", "a/y")
    await (await connect(second)).subscribe("a/x")
    await (await connect(other)).subscribe("a/y")
    payload = bytes(range(256)) * 40
    publisher = await connect(Recorder())
    publisher.publish("a/x", payload)
    publisher.publish("a/y", b"")
    await first.until(2)
    await second.until(1)
    await other.until(1)
    assert first.messages == [("a/x", payload), ("a/y", b"")]
    assert second.messages == [("a/x", payload)]
    assert other.messages == [("a/y", b"")]


async def test_messages_of_one_publisher_and_topic_stay_in_order(connect: Connect):
    recorder = Recorder()
    receiver = await connect(recorder)
    await receiver.subscribe("t")
    publishers = [await connect(Recorder()) for _ in range(2)]
    for number in range(1000):
        for name, publisher in enumerate(publishers):
            publisher.publish("t", b"%d %d" % (name, number))
    await recorder.until(2000)
    for name in range(2):
        mine = [payload for payload in recorder.payloads() if payload.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, number) for number in range(1000)]


async def test_a_publisher_gets_its_own_messages_if_it_subscribed(connect: Connect):
    recorder = Recorder()
    transport = await connect(recorder)
    await transport.subscribe("t")
    transport.publish("t", b"me")
    await recorder.until(1)


async def test_nothing_is_kept_for_later_subscribers(connect: Connect):
    early, late = Recorder(), Recorder()
    publisher = await connect(Recorder())
    await (await connect(early)).subscribe("t")
    publisher.publish("t", b"before")
    await early.until(1)
    await (await connect(late)).subscribe("t")
    publisher.publish("t", b"after")
    await late.until(1)
    assert late.payloads() == [b"after"]


async def test_after_unsubscribing_nothing_comes_any_more(connect: Connect):
    recorder = Recorder()
    receiver = await connect(recorder)
    publisher = await connect(Recorder())
    await receiver.subscribe("t", "end")
    await receiver.unsubscribe("t")
    publisher.publish("t", b"lost")
    publisher.publish("end", b"end")
    await recorder.until(1)
    assert recorder.messages == [("end", b"end")]


async def test_outgoing_bytes_count_what_was_published_and_return_to_zero(connect: Connect):
    recorder = Recorder()
    await (await connect(recorder)).subscribe("t")
    publisher = await connect(Recorder())
    for _ in range(10):
        publisher.publish("t", bytes(100))
    assert 0 <= publisher.outgoing_bytes <= 1000
    await recorder.until(10)
    await until(lambda: publisher.outgoing_bytes == 0)


async def test_what_a_handler_raises_ends_the_transport_and_comes_out_of_closed(connect: Connect):
    calls = 0

    def broken(_: Sequence[Inbound]) -> None:
        nonlocal calls
        calls += 1
        raise LookupError("mine")

    receiver = await connect(broken)
    await receiver.subscribe("t")
    witness = Recorder()
    await (await connect(witness)).subscribe("t")
    publisher = await connect(Recorder())
    publisher.publish("t", b"1")
    with pytest.raises(LookupError, match="mine"):
        async with asyncio.timeout(PATIENCE_S):
            await receiver.closed()
    publisher.publish("t", b"2")
    await witness.until(2)
    assert calls == 1
    with pytest.raises(LookupError, match="mine"):
        await receiver.closed()


async def test_closing_ends_closed_without_an_error_and_later_calls_fail_or_drop(connect: Connect):
    transport = await connect(Recorder())
    waiting = asyncio.create_task(transport.closed())
    await asyncio.sleep(0)
    await transport.close()
    await asyncio.wait_for(waiting, PATIENCE_S)
    transport.publish("t", b"dropped")
    assert transport.outgoing_bytes == 0
    with pytest.raises(BrokerError):
        await transport.subscribe("t")
    await transport.close()
