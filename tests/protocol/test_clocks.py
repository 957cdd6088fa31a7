"""Clocks that jump. Only leases rest on clocks, and only on how fast they go; nothing else may break.

A monotonic clock does not go back, but a host may sleep, and a process may be told a time that another one is not.
"""

from __future__ import annotations

import pytest

from tests.protocol.scenes import answer, ask, cluster, drain, outcomes, reading, run, run_until_led, state
from tests.protocol.test_random_schedules import Schedule
from tests.protocol.world import MS
from workbench.protocol.inputs import Tick
from workbench.protocol.messages import Outcome


@pytest.mark.parametrize("jump_ms", [300, 460, 1_000, 3_600_000])
def test_a_host_that_slept_goes_on_where_it_was_without_a_lease_from_before(jump_ms: int) -> None:
    world = cluster("async")
    ask(world, 1, 1)
    run(world, 50)
    world.now += jump_ms * MS
    reply = reading(world, 1, "replica-1", from_leader=True)
    assert reply is not None
    assert reply.outcome is (Outcome.OK if jump_ms < 450 else Outcome.NOT_LEADER)
    for name in ("replica-3", "replica-2", "replica-1"):  # whoever wakes up first
        world.handle(name, Tick())
    run(world, 1_000)
    assert (world.leader().name, state(world, "replica-1").term) == ("replica-1", 1), "nobody is taken for dead"
    ask(world, 1, 2)
    run(world, 50)
    assert outcomes(world, 1) == [Outcome.OK] * 2


def test_a_clock_that_goes_back_stands_still_until_it_has_caught_up() -> None:
    """The replica does nothing by itself in the meantime, and no harm."""
    world = cluster()
    world.clock_ms["replica-2"] = -300
    run(world, 200)
    assert state(world, "replica-2").leader == "replica-1"
    world.clock_ms["replica-1"] = -300
    ask(world, 1, 1)
    drain(world)
    assert outcomes(world, 1) == [Outcome.OK], "what is asked of it, it does"
    run(world, 1_000)
    assert len(world.leaders()) == 1
    assert state(world, "replica-1").term == 1


@pytest.mark.parametrize("who", ["replica-1", "replica-2"])
def test_clocks_that_differ_by_hours_make_no_difference(who: str) -> None:
    """Times are compared only with times of the same clock, but for bounds in milliseconds (one host, one clock)."""
    world = cluster()
    world.clock_ms[who] = 7_200_000
    run(world, 2_000)
    assert (world.leader().name, state(world, "replica-1").term) == ("replica-1", 1)
    world.read(9, 1, "k1", "replica-1", linearizable=True)
    world.read(9, 2, "k1", "replica-1", from_leader=True)
    drain(world)
    first, second = answer(world, 1), answer(world, 2)
    assert first is not None
    assert second is not None
    assert first.outcome is second.outcome is Outcome.OK
    world.crash("replica-1")
    run_until_led(world)


class JumpySchedule(Schedule):
    """Now and then a single replica's clock jumps. Leases are no judge's business here."""

    def __init__(self, seed: int, *, protected: bool) -> None:
        super().__init__(seed, protected=protected)
        self.world.laws.leases = False
        self.jumps = 0

    def move(self) -> None:
        super().move()
        if self.rng.random() < 0.02:
            name = self.rng.choice(self.world.names)
            before = self.world.clock_ms.get(name, 0.0)
            self.world.clock_ms[name] = before + self.rng.choice([-200, -50, 50, 500, 1_000_000])
            self.jumps += 1


@pytest.mark.parametrize("protected", [True, False])
def test_laws_that_rest_on_no_clock_hold_when_single_clocks_jump(protected: bool) -> None:
    jumps = 0
    for seed in range(20):
        schedule = JumpySchedule(seed, protected=protected)
        try:
            schedule.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        jumps += schedule.jumps
    assert jumps > 300
