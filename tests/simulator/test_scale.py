"""The world for many replicas: the protocol of real ones, the time of CPUs and of the broker, and its seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from workbench.config import AckPolicy, Timing
from workbench.errors import ConfigurationError
from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment
from workbench.experiments.scale_cells import Setting, summary_row
from workbench.experiments.scale_simulated import SimulatedScale
from workbench.simulator.events import Events
from workbench.simulator.laws import LawBroken
from workbench.simulator.scale import ScaledConfig, ScaledWorld
from workbench.simulator.scale_network import (
    HOP_MS,
    Costs,
    FanOut,
    ScaledNetwork,
    profile_of,
    suited_timeout_ms,
)

FREE = Costs(turn_us=0, handle_us=0, send_us=0, member_us=0, broker_take_us=0, broker_deliver_us=0)


def how(**changes: Any) -> SimulatedScale:
    usual: dict[str, Any] = {
        "seed": 1, "ack": AckPolicy.quorum(), "heartbeat_ms": 100.0, "writes": 3, "repetitions": 1, "idle_s": 1.0,
        "value_bytes": 10, "jitter": "exponential", "jitter_share": 0.05, "costs": Costs(),
    }  # fmt: skip
    return SimulatedScale(**usual | changes)


def setting(size: int, voters: int = 0, network: str = "lan", fan_out: str = "broker") -> Setting:
    return Setting(size=size, voters=voters or size, network=network, fan_out=fan_out, election_timeout_ms=500.0)


def row(size: int, voters: int = 0, network: str = "lan", fan_out: str = "broker", **changes: Any) -> dict[str, Any]:
    return summary_row(how(**changes).measure(setting(size, voters, network, fan_out)))


# Profiles.


def test_ways_between_regions_are_the_same_in_both_directions() -> None:
    for profile in map(profile_of, ("lan", "wan-3-regions", "wan-5-regions")):
        places = range(len(profile.regions))
        ways = {(one, other): profile.one_way_ms(one, other) for one in places for other in places}
        assert all(ways[one, other] == ways[other, one] for one, other in ways)
        assert all((way == 0) == (one == other) for (one, other), way in ways.items())


def test_a_majority_answers_from_the_nearest_regions() -> None:
    far = profile_of("wan-5-regions")
    hops_ms = 4 * HOP_MS[0]
    assert far.majority_round_trip_ms(5, leader=0, needed=2) == pytest.approx(75.0 + hops_ms)
    assert far.majority_round_trip_ms(5, leader=0, needed=4) == pytest.approx(165.0 + hops_ms)
    assert far.majority_round_trip_ms(6, leader=0, needed=1) == pytest.approx(hops_ms)
    assert far.majority_round_trip_ms(5, leader=0, needed=0) == 0.0


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown network 'moon'"):
        profile_of("moon")


# The network.


def arrivals(
    fan_out: FanOut, targets: tuple[int, ...], costs: Costs = FREE, *, sends: int = 1
) -> list[tuple[int, float]]:
    events, came = Events(), list[tuple[int, float]]()
    places = [0, 0, 0, 1, 1]
    profile = profile_of("wan-3-regions")
    network = ScaledNetwork(
        events, Random(1), profile, places, costs, fan_out=fan_out, jitter="constant", jitter_share=0.0
    )
    network.send(0, targets, events.now, lambda target: came.append((target, events.now / 1e6)))
    events.run_until(10**9)
    return came


@pytest.mark.parametrize("fan_out", ["broker", "direct"])
def test_a_message_takes_the_way_between_regions_and_two_hops(fan_out: FanOut) -> None:
    for target, came_ms in arrivals(fan_out, (1, 2, 3, 4)):
        way_ms = 15.5 if target in {3, 4} else 0.0
        assert way_ms + 2 * HOP_MS[0] <= came_ms <= way_ms + 2 * HOP_MS[1] + 0.001


@pytest.mark.parametrize("fan_out", ["broker", "direct"])
def test_messages_of_one_sender_arrive_in_their_order(fan_out: FanOut) -> None:
    events, came = Events(), list[int]()
    network = ScaledNetwork(
        events, Random(1), profile_of("lan"), [0, 0], FREE, fan_out=fan_out, jitter="constant", jitter_share=0.0
    )
    for number in range(50):
        network.send(0, (1,), events.now, lambda _, number=number: came.append(number))  # type: ignore[misc]
    events.run_until(10**9)
    assert came == list(range(50))


def test_a_broker_delivers_one_after_the_other() -> None:
    times = sorted(came_ms for _, came_ms in arrivals("broker", (1, 2), replace(FREE, broker_deliver_us=50_000)))
    assert times[1] - times[0] > 49
    assert max(came_ms for _, came_ms in arrivals("direct", (1, 2), replace(FREE, broker_deliver_us=50_000))) < 1


def test_more_voters_need_a_timeout_that_grows_with_their_square() -> None:
    assert suited_timeout_ms(200, Costs(), "broker") == pytest.approx(4 * suited_timeout_ms(100, Costs(), "broker"))
    assert suited_timeout_ms(200, Costs(), "direct") == pytest.approx(2 * suited_timeout_ms(100, Costs(), "direct"))


# Clusters.


def test_the_same_seed_tells_the_same_story() -> None:
    first = row(5)
    assert row(5) == first
    assert row(5, seed=2)["failover_ms_p50"] != first["failover_ms_p50"]


def test_the_leader_publishes_once_or_sends_to_everybody() -> None:
    brokered, direct = row(9), row(9, fan_out="direct")
    assert (brokered["messages_out_per_write"], brokered["messages_delivered_per_write"]) == (1, 8)
    assert (direct["messages_out_per_write"], direct["messages_delivered_per_write"]) == (8, 8)
    assert direct["messages_out_per_s"] == 8 * brokered["messages_out_per_s"]
    assert direct["leader_busy_share"] > brokered["leader_busy_share"]
    assert direct["broker_busy_share"] == 0 < brokered["broker_busy_share"]


def test_observers_get_everything_and_count_for_nothing() -> None:
    cell = how(repetitions=3).measure(setting(20, voters=3))
    assert cell.converged
    assert {one.successor for one in cell.failovers} <= {"replica-1", "replica-2", "replica-3"}
    assert {one.asked for one in cell.writes} == {20}
    assert cell.load.in_per_s > 15 * cell.load.out_per_s


def test_a_write_waits_for_a_majority_far_away() -> None:
    near, far = row(5), row(5, network="wan-5-regions")
    assert near["latency_ms_p50"] < 10
    assert far["latency_ms_p50"] > far["latency_bound_ms"] > 75
    assert far["stale_rate"] > 0 == near["stale_rate"]


def test_asynchronous_acknowledgements_leave_everybody_stale() -> None:
    cell = how(ack=AckPolicy.asynchronous()).measure(setting(5, network="wan-5-regions"))
    assert {one.stale for one in cell.writes} == {4}
    assert cell.writes[0].bound_ms < 1


def test_a_leader_whose_cpu_is_slow_answers_late_and_is_busy() -> None:
    usual, slow = row(9), row(9, costs=replace(Costs(), handle_us=3_000))
    assert slow["latency_ms_p50"] > usual["latency_ms_p50"] + 6
    assert slow["leader_busy_share"] > usual["leader_busy_share"]


def test_where_nobody_can_lead_the_cell_says_so() -> None:
    cell = how(costs=replace(Costs(), turn_us=400_000)).measure(setting(3))
    assert "nobody led" in cell.problem or "nobody acknowledged" in cell.problem
    assert summary_row(cell)["problem"] == cell.problem


def test_law_1_a_second_leader_in_a_term_is_noticed() -> None:
    world = ScaledWorld(
        ScaledConfig(seed="1", size=3, voters=3, profile=profile_of("lan"), ack=AckPolicy.quorum(), timing=Timing())
    )
    assert world.settle(1_000)
    with pytest.raises(LawBroken, match="law 1: replica-1 and replica-1 lead in term 1"):
        world.began_to_lead(world.replicas[0])


# The experiment.


async def test_all_claims_hold_in_a_small_run(tmp_path: Path) -> None:
    value = experiment("scale")
    run = await run_experiment(value, profile="ci", output=tmp_path)
    assert {claim: verdict.status for claim, verdict in run.verdicts.items()} == dict.fromkeys(value.claims, "valid")
    assert run.invariants == {
        "converged": True,
        "kills": 20,
        "kills_that_took_effect": 20,
        "largest_cluster": 40,
        "lost_acknowledged_writes": 0,
        "replica_processes": 0,
        "world": "simulated",
    }
    assert len(run.table("failovers")) == 20
