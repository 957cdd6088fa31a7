"""A network for many replicas in one or several regions: how long a message takes, and what the broker has to do.

Two ways to fan out are modelled. `broker`: as with the workbench's MQTT, everything is published once to the broker of
the sender's region, which hands it to receivers there, and once to the broker of each other region that has some; each
broker does one thing after the other, at a cost for each message that it takes and delivers. `direct`: the sender sends
each receiver a message of its own, and there is no broker.

Round trips between regions are public figures: the average latencies between regions that IBM Cloud publishes for its
VPC, of 27 July to 25 August 2024 (github.com/ibm-cloud-docs/vpc, `_include-segments/network-latency.md`), rounded to
milliseconds there; of the two directions, which differ by at most 2 ms, the mean. One way takes half of it, and what a
jitter adds. Bandwidth has no bound here, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from workbench.errors import ConfigurationError
from workbench.faults.delays import draw_delay_ms
from workbench.simulator.durations import drawn_ms
from workbench.simulator.events import Events

FanOut = Literal["broker", "direct"]

HOP_MS: Final = (0.02, 0.1)
"""Between a process and the broker of its region, or another process there, one way: without what CPUs do about it.
With that, a message takes about `durations.TRANSIT_MS`."""
_MS, _US = 1_000_000, 1_000

_ROUND_TRIPS_MS: Final = {
    ("Dallas", "Washington DC"): 31.0,
    ("Dallas", "London"): 113.0,
    ("Dallas", "Tokyo"): 143.0,
    ("Dallas", "São Paulo"): 145.0,
    ("Washington DC", "London"): 75.0,
    ("Washington DC", "Tokyo"): 165.0,
    ("Washington DC", "São Paulo"): 118.5,
    ("London", "Tokyo"): 243.5,
    ("London", "São Paulo"): 187.5,
    ("Tokyo", "São Paulo"): 284.0,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Where replicas are: replica i of n in region i modulo the number of regions; the first leader in the first."""

    name: str
    regions: tuple[str, ...]

    def one_way_ms(self, source: int, target: int) -> float:
        """The way between two regions without jitter; 0 within one, where `HOP_MS` counts."""
        first, second = self.regions[source], self.regions[target]
        if first == second:
            return 0.0
        return _ROUND_TRIPS_MS.get((first, second), _ROUND_TRIPS_MS.get((second, first), 0.0)) / 2

    @property
    def round_trip_ms_max(self) -> float:
        """Between the two regions that are farthest apart."""
        places = range(len(self.regions))
        return 2 * max(self.one_way_ms(source, target) for source in places for target in places)

    def place_of(self, number: int) -> int:
        """The region of the replica with this number, from 0."""
        return number % len(self.regions)

    def majority_round_trip_ms(self, members: int, leader: int, needed: int) -> float:
        """The least time in which `needed` followers of the leader with number `leader` can answer it: the way there
        and back to the one that is nearest but `needed - 1`, through `HOP_MS` at its shortest."""
        if not needed:
            return 0.0
        place = self.place_of(leader)
        trips = sorted(
            2 * (self.one_way_ms(place, self.place_of(number)) + 2 * HOP_MS[0])
            for number in range(members)
            if number != leader
        )
        return trips[needed - 1]


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("lan", ("one place",)),
        Profile("wan-3-regions", ("Washington DC", "Dallas", "London")),
        Profile("wan-5-regions", ("Washington DC", "Dallas", "London", "São Paulo", "Tokyo")),
    )
}


def profile_of(name: str) -> Profile:
    """The profile of that name. Raises `ConfigurationError`."""
    if name not in PROFILES:
        raise ConfigurationError(f"unknown network {name!r}", hint="one of " + ", ".join(PROFILES))
    return PROFILES[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What CPUs take, in microseconds, and disks. `python bench/message_costs.py` measures the former; see
    docs/decisions/0017."""

    turn_us: float = 300.0
    """A replica's event loop wakes up: for a message, an answer of its storage, or a tick."""
    handle_us: float = 75.0
    """A message more in the same turn: received, decoded, handled."""
    send_us: float = 55.0
    """A message encoded and published."""
    member_us: float = 0.16
    """A leader that handles a follower's report looks at everybody's: so much for each member."""
    broker_take_us: float = 9.0
    """The broker takes a message."""
    broker_deliver_us: float = 8.0
    """The broker hands it to one receiver."""
    sync_ms: float = 0.75
    """A disk syncs an append: this on average, drawn evenly from 0.4 to 1.6 of it, as in `durations.SYNC_MS`."""


class ScaledNetwork:
    """Carries messages between endpoints, which are numbers; `places` has the region of each."""

    def __init__(
        self,
        events: Events,
        random: Random,
        profile: Profile,
        places: Sequence[int],
        costs: Costs,
        *,
        fan_out: FanOut,
        jitter: str,
        jitter_share: float,
    ) -> None:
        regions = range(len(profile.regions))
        self._events = events
        self._random = random
        self._places = places
        self._fan_out = fan_out
        self._take_ns = int(costs.broker_take_us * _US)
        self._deliver_ns = int(costs.broker_deliver_us * _US)
        self._ways_ms = [[profile.one_way_ms(source, target) for target in regions] for source in regions]
        self._jitter, self._jitter_share = jitter, jitter_share
        self._broker_free = [0 for _ in regions]
        """Region -> until when its broker is busy."""
        self._due: dict[tuple[int, int], int] = {}
        """What keeps its order, as a connection does -> when its last message comes."""
        self.broker_busy_ns = 0
        self.delivered = 0
        """Messages handed to endpoints."""

    def send(self, source: int, targets: Sequence[int], at: int, deliver: Callable[[int], None]) -> None:
        """Let `deliver(target)` happen for each target, when a message that leaves `source` at `at` comes there."""
        if self._fan_out == "direct":
            for target in targets:
                way_ns = self._hop_ns() + self._hop_ns() + self._way_ns(source, target)
                self._plan((source, target), at + way_ns, target, deliver)
            return
        place = self._places[source]
        came = self._in_order((-1 - source, place), at + self._hop_ns())
        self._events.at(came, lambda: self._publish(source, place, targets, deliver))

    def _publish(self, source: int, place: int, targets: Sequence[int], deliver: Callable[[int], None]) -> None:
        """A broker has a message of its own region: it hands it on there, and to the brokers of other regions."""
        by_place: dict[int, list[int]] = {}
        for target in targets:
            by_place.setdefault(self._places[target], []).append(target)
        here = by_place.pop(place, [])
        busy_until = self._take(place, len(here) + len(by_place))
        self._hand_out(place, here, busy_until - self._deliver_ns * len(by_place), deliver)
        for other, there in by_place.items():
            way_ns = int(self._drawn_way_ms(place, other) * _MS)
            due = self._in_order((-1 - source, other), busy_until + way_ns)
            self._events.at(due, lambda other=other, there=there: self._bridged(other, there, deliver))  # type: ignore[misc]

    def _bridged(self, place: int, targets: Sequence[int], deliver: Callable[[int], None]) -> None:
        self._hand_out(place, targets, self._take(place, len(targets)), deliver)

    def _take(self, place: int, deliveries: int) -> int:
        """The broker takes a message and hands it out so often; until when it is busy then."""
        work_ns = self._take_ns + self._deliver_ns * deliveries
        self.broker_busy_ns += work_ns
        self._broker_free[place] = max(self._events.now, self._broker_free[place]) + work_ns
        return self._broker_free[place]

    def _hand_out(self, place: int, targets: Sequence[int], until: int, deliver: Callable[[int], None]) -> None:
        left_at = until - self._deliver_ns * len(targets)
        for target in targets:
            left_at += self._deliver_ns
            self._plan((-1, target), left_at + self._hop_ns(), target, deliver)

    def _plan(self, order: tuple[int, int], due: int, target: int, deliver: Callable[[int], None]) -> None:
        self.delivered += 1
        self._events.at(self._in_order(order, due), lambda: deliver(target))

    def _in_order(self, order: tuple[int, int], due: int) -> int:
        due = self._due[order] = max(due, self._due.get(order, 0))
        return due

    def _hop_ns(self) -> int:
        return int(drawn_ms(self._random, HOP_MS) * _MS)

    def _way_ns(self, source: int, target: int) -> int:
        return int(self._drawn_way_ms(self._places[source], self._places[target]) * _MS)

    def _drawn_way_ms(self, source: int, target: int) -> float:
        way_ms = self._ways_ms[source][target]
        if not way_ms or not self._jitter_share:
            return way_ms
        return way_ms + draw_delay_ms(self._random.random, self._jitter_share * way_ms, self._jitter)


def suited_timeout_ms(voters: int, costs: Costs, fan_out: FanOut) -> float:
    """The shortest election timeout at which elections cannot choke on themselves.

    Between it and its double all voters would stand, one after the other, until somebody has won; each asks all others,
    and is answered by each. Through a broker that is 2 x voters messages a candidate and, at a timeout of T seconds,
    voters / T candidates a second: no more than it can carry. Without a broker, each voter has to answer voters / T
    requests a second.
    """
    if fan_out == "broker":
        return 2 * voters**2 * (costs.broker_take_us + costs.broker_deliver_us) / 1e3
    return voters * (costs.turn_us + costs.handle_us + costs.send_us) / 1e3
