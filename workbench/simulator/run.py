"""One seed: a cluster, its clients and its faults, all drawn from it; then a time without faults in which all must
come right.

What can go wrong: a law is broken (`correctness`), the cluster does not converge or serve any more though nothing keeps
it from it (`liveness`), or the code itself fails (`crash`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Literal

from workbench.faults.schedules import Schedule
from workbench.simulator.disks import MEMORY, aimed, disks_of, fitted
from workbench.simulator.drawing import draw_schedule, draw_world
from workbench.simulator.garbage import rare_collections
from workbench.simulator.injector import Injector
from workbench.simulator.judging import judge
from workbench.simulator.laws import LawBroken
from workbench.simulator.ledgers import judge_ledger
from workbench.simulator.world import World

Watch = Callable[[World, Injector], None]
Failure = Literal["", "correctness", "liveness", "crash"]

EXIT_CODES: Final[dict[Failure, int]] = {"": 0, "correctness": 1, "liveness": 4, "crash": 5}

_SAFETY_MS = 10_000.0
_LIVENESS_MS = 60_000.0
_STEP_MS = 500.0
_LAW_CHARACTERS_MAX = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """What one seed came to. `faults`: kind -> how many took effect; `schedule`: those that were planned."""

    seed: int
    log_format: str = MEMORY
    failure: Failure = ""
    reason: str = ""
    trace_hash: str = ""
    messages: int = 0
    entries: int = 0
    schedule: Schedule = ()
    faults: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    simulated_s: float = 0.0
    wall_s: float = 0.0

    @property
    def law(self) -> str:
        """What was broken, in a word or two: `law 6`, `history`; of a crash the class of the error."""
        head, colon, _ = self.reason.partition(":")
        if self.failure == "liveness":
            return self.reason.partition(" within ")[0]
        return head if colon and len(head) <= _LAW_CHARACTERS_MAX else "contract" if self.failure else ""

    def fails_like(self, other: Simulated) -> bool:
        """Whether the same was broken in the same way."""
        return (self.failure, self.law) == (other.failure, other.law)


class _NotLive(Exception):
    """The cluster has had time enough."""


def simulate(
    seed: int,
    *,
    schedule: Schedule | None = None,
    safety_ms: float = _SAFETY_MS,
    watch: Watch | None = None,
    log_format: str = MEMORY,
) -> Simulated:
    """Let the world of `seed` run, under faults of its own or under `schedule`, and judge it.

    `watch` is given the world before anything happens: it may look at it whenever it likes, and touch nothing.
    """
    began = time.perf_counter()
    random = Random(f"{seed}/world")
    config = fitted(draw_world(seed, random), log_format)
    if schedule is None:
        schedule = aimed(draw_schedule(random, safety_ms), log_format, random, safety_ms)
    world: World | None = None
    took_effect: Counter[str] = Counter()
    failure: Failure = ""
    reason = ""
    try:
        with rare_collections(), disks_of(log_format, seed) as disks:
            world = World(config, disks)
            injector = Injector(world, Random(f"{seed}/faults"))
            took_effect = injector.took_effect
            injector.plan(schedule)
            if watch is not None:
                watch(world, injector)
            world.run_for(safety_ms)
            injector.heal()
            _come_right(world)
            _judge_end(world)
    except LawBroken as broken:
        failure, reason = "correctness", str(broken)
    except _NotLive as stuck:
        failure, reason = "liveness", str(stuck)
    except Exception as error:  # noqa: BLE001  whatever it is, it is what the seed has found
        failure, reason = "crash", f"{type(error).__name__}: {' '.join(str(error).split())}"
    seen = _seen(world) if world is not None else {}
    return Simulated(
        seed=seed,
        log_format=log_format,
        failure=failure,
        reason=reason,
        schedule=schedule,
        faults=took_effect,
        wall_s=time.perf_counter() - began,
        **seen,
    )


def simulate_twice(seed: int, *, schedule: Schedule | None = None, log_format: str = MEMORY) -> Simulated:
    """As `simulate`; a seed that tells another story the second time has failed, whatever came of it."""
    first, second = (simulate(seed, schedule=schedule, log_format=log_format) for _ in range(2))
    if first.trace_hash == second.trace_hash and first.reason == second.reason:
        return replace(first, wall_s=first.wall_s + second.wall_s)
    reason = f"repetition: the trace was {first.trace_hash}, and {second.trace_hash} the second time"
    return replace(first, failure="correctness", reason=reason, wall_s=first.wall_s + second.wall_s)


def _seen(world: World) -> dict[str, Any]:
    return {
        "trace_hash": world.trace_hash,
        "messages": world.network.messages,
        "entries": world.laws.happened[f"{world.disks.log_format} entries"],
        "happened": world.laws.happened + world.network.happened,
        "simulated_s": world.events.now / 1e9,
    }


def _come_right(world: World) -> None:
    """Without faults the cluster agrees, and every client gets a write through; then nothing is left open."""
    for client in world.clients.values():
        client.behave()
    writes_before = {name: _ok_writes(world, name) for name in world.clients}
    deadline = world.events.now + int(_LIVENESS_MS * 1e6)
    while not all(_ok_writes(world, name) > writes_before[name] for name in world.clients):
        _wait(world, deadline, "clients get no write through")
    for client in world.clients.values():
        client.is_stopped = True
    while any(client.open for client in world.clients.values()) or not _agree(world):
        _wait(world, deadline, "the replicas do not agree")


def _wait(world: World, deadline: int, what: str) -> None:
    if world.events.now >= deadline:
        raise _NotLive(f"{what} within {_LIVENESS_MS / 1e3:g} s without faults: {describe(world)}")
    world.run_for(_STEP_MS)


def _ok_writes(world: World, name: str) -> int:
    return sum(one.kind == "write" and one.outcome == "ok" for one in world.clients[name].history)


def _agree(world: World) -> bool:
    leader = world.leader()
    if leader is None:
        return False
    members = [world.nodes[name] for name in leader.core.state.members]
    return all(
        node.up
        and node.log == leader.log
        and node.core.state.committed == node.applied == len(node.log)
        and not node.core.state.diverged
        for node in members
    )


def _judge_end(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    for name in leader.core.state.members:
        world.laws.no_effect_was_honest(world.nodes[name].log)
        world.laws.took_effect_once(world.nodes[name].log)
        judge_ledger(name, world.nodes[name].core.state.ledger, world.nodes[name].log, world.first_members)
    world.laws.same_databases(leader.name, {name: world.nodes[name].digest() for name in leader.core.state.members})
    for name, node in world.nodes.items():
        world.laws.dropped_are_kept(name, node.log, node.kept_aside())
    world.laws.committed_survived(leader.log)
    histories = {name: client.history for name, client in world.clients.items()}
    world.laws.happened += judge(histories, leader.log, survives=world.laws.survives)


def describe(world: World) -> str:
    """Who is where, for people."""
    parts = []
    for name, node in world.nodes.items():
        state = node.core.state
        what = node.core.role if node.up else "down"
        parts.append(f"{name} {what}, term {state.term}, log {state.log.last}, applied {state.applied}")
    return "; ".join(parts)
