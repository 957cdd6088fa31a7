"""The simulated network: order, and what each fault does to it."""

from __future__ import annotations

from random import Random

import pytest

from workbench.simulator.events import Events
from workbench.simulator.network import Network

MS = 1_000_000


class Wire:
    """A network, and what has arrived: (when in milliseconds, to, frame)."""

    def __init__(self) -> None:
        self.events = Events()
        self.arrived: list[tuple[float, str, bytes]] = []
        self.network = Network(self.events, Random(1), self._take)

    def _take(self, _source: str, target: str, frame: bytes) -> None:
        self.arrived.append((self.events.now / MS, target, frame))

    def send(self, count: int = 200, size: int = 4) -> None:
        for number in range(count):
            self.network.send_to_replica("a", "b", b"%04d" % number + bytes(size - 4))

    def frames(self) -> list[int]:
        self.events.run_until(self.events.now + 10**12)
        return [int(frame[:4]) for _, _, frame in self.arrived]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_order_is_kept(wire: Wire) -> None:
    wire.send()
    assert wire.frames() == list(range(200))


def test_delays_keep_order_too(wire: Wire) -> None:
    wire.network.inbound("b").delay_ms = 50
    wire.network.inbound("b").distribution = "pareto"
    wire.send()
    assert wire.frames() == list(range(200))
    assert wire.arrived[0][0] > 15


@pytest.mark.parametrize("distribution", ["constant", "exponential", "pareto"])
def test_delays_have_about_their_mean(wire: Wire, distribution: str) -> None:
    inbound = wire.network.inbound("b")
    inbound.delay_ms, inbound.distribution = 30, distribution
    drawn = [wire.network._delay(inbound) / MS for _ in range(5_000)]
    low, high = (29, 31) if distribution == "constant" else (24, 36)
    assert low < sum(drawn) / len(drawn) < high
    assert max(drawn) <= 3_000


def test_loss_duplication_and_reordering(wire: Wire) -> None:
    inbound = wire.network.inbound("b")
    inbound.loss = 0.3
    wire.send()
    assert 100 < len(wire.frames()) < 180
    inbound.loss, inbound.duplication = 0.0, 0.3
    wire.arrived.clear()
    wire.send()
    assert 220 < len(wire.frames()) < 300
    inbound.duplication, inbound.reordering, inbound.delay_ms = 0.0, 0.3, 5
    wire.arrived.clear()
    wire.send()
    frames = wire.frames()
    assert sorted(frames) == list(range(200))
    assert frames != sorted(frames)


def test_a_narrow_link_lets_heartbeats_wait_behind_batches(wire: Wire) -> None:
    wire.network.inbound("b").bytes_per_s = 10_000
    wire.send(count=10, size=1_000)
    wire.send(count=1, size=4)
    wire.frames()
    assert wire.arrived[-1][0] > 1_000


def test_cuts_add_up_and_what_is_on_its_way_is_lost(wire: Wire) -> None:
    wire.send(count=1)
    wire.network.cut([("a", "b")])
    wire.network.cut([("a", "b")])
    assert wire.frames() == []
    wire.network.mend([("a", "b")])
    wire.send(count=1)
    assert wire.frames() == []
    wire.network.mend([("a", "b")])
    wire.send(count=1)
    assert wire.frames() == [0]
    wire.network.is_down = True
    wire.send(count=1)
    assert wire.frames() == [0]


def test_a_lost_connection_takes_along_what_is_on_its_way_and_nobody_hears_anybody(wire: Wire) -> None:
    wire.send(count=1)
    wire.network.disconnect("b")
    wire.network.reconnect("b")
    assert wire.frames() == []
    wire.network.disconnect("a")
    wire.send(count=1)
    wire.network.send("client", "a", b"9999")
    assert wire.frames() == []
    wire.network.reconnect("a")
    wire.send(count=1)
    assert wire.frames() == [0]
