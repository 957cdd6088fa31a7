"""What a seed stands for: a cluster, and the faults that strike it.

Not every seed has every kind of fault: where all of them strike at once, most of what one of them could have brought to
light does not happen (swarm testing: Groce and others, 2012). So each seed draws the kinds that it will have, and a
*theme*: something dangerous that happens in it again and again, often just when it matters (`moments.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.faults.draws import between, choose, some
from workbench.faults.schedules import Schedule, random_schedule
from workbench.faults.values import KINDS, Cut, Fault, Moment, Shape
from workbench.simulator.world import WorldConfig

_POLICIES = ("async", "semi_sync:1", "quorum", "quorum", "quorum/applied", "sync", "sync/durable", "sync/received")
_SMALL = Limits(
    group_transactions_max=3,
    waiting_transactions_max=8,
    unacknowledged_bytes_max=400,
    catch_up_bytes_max=120,
)
_BACKGROUND_MAX = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """Faults that belong together. `moments`: what they wait for, one drawn for each; "": nothing. `at_leader`: so many
    of them strike the leader, whomever they were drawn for. `shapes`: what cuts have, if it matters."""

    kinds: tuple[str, ...]
    moments: tuple[Moment, ...] = ("",)
    count: tuple[int, int]
    at_leader: float = 0.5
    shapes: tuple[Shape, ...] = ()


_CHANCE: Final = Theme(kinds=tuple(KINDS), count=(5, 25), at_leader=0.0)
_ELECTIONS: Final = Theme(
    kinds=("crash", "power_loss", "pause", "cut", "disconnect", "delay", "slow_disk", "transfer"),
    moments=("election", "election", "write", "rewind"),
    count=(5, 15),
    at_leader=0.8,
)
_FORKS: Final = Theme(
    kinds=("cut", "disconnect", "transfer"),
    moments=("write", "write", "election", "split", "rewind"),
    count=(5, 12),
    at_leader=0.9,
    shapes=("isolate", "isolate", "isolate", "halves", "bridge"),
)
_CHANGES: Final = Theme(kinds=("join", "removal"), moments=("", "election", "split", "split"), count=(4, 8))
_AFTER_CHANGES: Final = Theme(
    kinds=("crash", "power_loss", "cut", "pause", "disconnect", "transfer"),
    moments=("change", "change", "write", "election"),
    count=(5, 10),
    at_leader=0.8,
)
_HANDOVERS: Final = Theme(kinds=("transfer",), moments=("", "", "election"), count=(5, 12))
_LATE_NEWS: Final = Theme(kinds=("delay", "slow_disk", "duplication", "reordering"), count=(2, 6))
_LEASES: Final = Theme(
    kinds=("pause", "cut", "delay", "clock_drift", "crash"),
    moments=("", "write"),
    count=(6, 14),
    at_leader=0.6,
    shapes=("isolate", "isolate", "one_way", "mute"),
)
_THEMES: Final = {
    "chance": (_CHANCE,),
    "elections": (_ELECTIONS,),
    "forks": (_FORKS,),
    "members": (_CHANGES, _AFTER_CHANGES),
    "handovers": (_HANDOVERS, _LATE_NEWS),
    "leases": (_LEASES,),
}


def draw_world(seed: int, random: Random) -> WorldConfig:
    """The cluster of a seed."""
    ack = AckPolicy.parse(choose(random, _POLICIES))
    downgrade_ms = choose(random, (0.0, 200.0)) if ack.who == "semi_sync" else 0.0
    return WorldConfig(
        seed=seed,
        followers=choose(random, (2, 2, 3, 4)),
        clients=choose(random, (2, 4, 6)),
        ack=ack,
        limits=replace(
            _SMALL,
            retained_log_bytes_max=choose(random, (2_000, 1 << 26)),
            sessions_max=choose(random, (3, 6, 1_000, 1_000)),
        ),
        timing=Timing(
            downgrade_ms=downgrade_ms, ack_timeout_ms=1_500, session_expiry_ms=choose(random, (2_000.0, 8_000.0))
        ),
        protections=Protections(pre_vote=random.random() < 0.7, check_quorum=random.random() < 0.7),
    )


def draw_schedule(random: Random, duration_ms: float) -> Schedule:
    """The faults of a seed, in the order of their times."""
    name = choose(random, tuple(_THEMES))
    faults: list[Fault] = []
    for theme in _THEMES[name]:
        faults += _of_theme(random, duration_ms, theme)
    if name != "chance":
        faults += random_schedule(random, duration_ms, between(random, 0, _BACKGROUND_MAX), kinds=_a_few(random))
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _of_theme(random: Random, duration_ms: float, theme: Theme) -> list[Fault]:
    kinds = some(random, theme.kinds, between(random, (len(theme.kinds) + 1) // 2, len(theme.kinds)))
    faults = random_schedule(random, duration_ms, between(random, *theme.count), kinds=kinds)
    return [_aimed(random, theme, fault) for fault in faults]


def _aimed(random: Random, theme: Theme, fault: Fault) -> Fault:
    if isinstance(fault, Cut) and theme.shapes:
        fault = replace(fault, shape=choose(random, theme.shapes))
    moment = choose(random, theme.moments)
    return replace(fault, moment=moment, target="leader" if random.random() < theme.at_leader else fault.target)


def _a_few(random: Random) -> list[str]:
    """Kinds of faults that a seed has besides."""
    return some(random, tuple(KINDS), between(random, 1, 6))
