"""One seed of `workbench simulate`, watched while it runs: what happens in worker processes, a planted bug's too.

Watching plans looks of its own among a world's events, and changes nothing of its story: the trace hash stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.experiments.base import Row
from workbench.experiments.simulator_states import State, States
from workbench.faults.schedules import Schedule
from workbench.simulator.disks import MEMORY
from workbench.simulator.injector import Injector
from workbench.simulator.run import Simulated, simulate
from workbench.simulator.world import World

_LOOK_NS = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What a seed came to, and how. Times are milliseconds of virtual time."""

    end: Simulated
    states: list[Row]
    """`replica`, `state`, `term`, `from_ms`, `to_ms`."""
    struck: list[Row]
    """Faults that took effect: `kind`, `target`, `from_ms`, `to_ms`."""


def tell(seed: int, schedule: Schedule | None = None, log_format: str = MEMORY) -> Story:
    """Run a seed, under faults of its own or under `schedule`, and look at its replicas all the time."""
    states = States()
    watched: list[tuple[World, Injector]] = []

    def watch(world: World, injector: Injector) -> None:
        watched.append((world, injector))
        _look(world, states)

    end = simulate(seed, schedule=schedule, watch=watch, log_format=log_format)
    struck: list[Row] = []
    for world, injector in watched:
        states.look(_states(world), world.events.now / 1e6)
        struck = [
            {
                "kind": one.fault.kind,
                "target": one.fault.target,
                "from_ms": one.from_ns / 1e6,
                "to_ms": (world.events.now if one.to_ns is None else one.to_ns) / 1e6,
            }
            for one in injector.struck
        ]
    return Story(end=end, states=states.rows(""), struck=struck)


def _look(world: World, states: States) -> None:
    states.look(_states(world), world.events.now / 1e6)
    world.events.after(_LOOK_NS, partial(_look, world, states))


def _states(world: World) -> dict[str, State]:
    return {name: _state(world, name) for name in world.names if not world.left[name]}


def _state(world: World, name: str) -> State:
    node = world.nodes[name]
    if not node.up:
        return "down", 0
    if name in world.paused:
        return "paused", 0
    role: Any = node.core.role
    return str(role.value), node.core.state.term
