"""Incoming makes batches without starving the handler; Outgoing keeps order and its bound."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from workbench.transport.base import Inbound
from workbench.transport.queues import Incoming, Outgoing


def message(number: int) -> Inbound:
    return ("t", b"%d" % number)


async def test_what_arrives_in_one_turn_is_handed_over_together_in_the_next():
    batches: list[Sequence[Inbound]] = []
    incoming = Incoming(batches.append, lambda error: pytest.fail(repr(error)))
    for number in range(4):
        incoming.add(message(number))
    assert (len(incoming), batches) == (4, [])
    await asyncio.sleep(0)
    assert batches == [[message(number) for number in range(4)]]
    incoming.add(message(4))
    await asyncio.sleep(0)
    assert batches[1:] == [[message(4)]]


async def test_after_an_error_the_handler_is_left_alone():
    calls = 0
    errors: list[Exception] = []

    def handler(batch: Sequence[Inbound]) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("mine")

    incoming = Incoming(handler, errors.append)
    for _ in range(2):
        incoming.add(message(1))
        for _ in range(5):
            await asyncio.sleep(0)
    assert calls == 1
    assert [str(error) for error in errors] == ["mine"]


async def test_outgoing_keeps_order_and_counts_bytes():
    outgoing = Outgoing(10_000)
    for number in range(100):
        outgoing.add(*message(number))
    assert outgoing.bytes == 190
    assert [outgoing.take() for _ in range(100)] == [message(number) for number in range(100)]
    assert outgoing.bytes == 0
    assert not outgoing
    await outgoing.none()


async def test_beyond_the_bound_messages_are_dropped_and_counted_and_logged_once(caplog: pytest.LogCaptureFixture):
    outgoing = Outgoing(1000)
    with caplog.at_level(logging.WARNING):
        for _ in range(25):
            outgoing.add("t", bytes(100))
    assert len(outgoing) == 10
    assert outgoing.bytes == 1000
    assert outgoing.dropped == 15
    assert len(caplog.records) == 1


async def test_dropping_everything_frees_the_room():
    outgoing = Outgoing(1000)
    outgoing.add("t", bytes(1000))
    outgoing.drop_all("no connection")
    assert (outgoing.dropped, outgoing.bytes, len(outgoing)) == (1, 0, 0)
    await outgoing.none()
    outgoing.add("t", bytes(1000))
    assert outgoing.dropped == 1
