"""Schedules of faults: drawn from a seed, written by hand, kept as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, get_args

from workbench.errors import ConfigurationError
from workbench.faults.draws import choose
from workbench.faults.values import (
    KINDS,
    TARGETS,
    Bandwidth,
    BrokerDown,
    ClockDrift,
    ClockJump,
    Crash,
    Cut,
    Damage,
    Delay,
    Disconnect,
    DiskFull,
    Distribution,
    Duplication,
    FailingSync,
    Fault,
    Join,
    Loss,
    Pause,
    PowerLoss,
    Removal,
    Reordering,
    Shape,
    SlowDisk,
    Transfer,
    World,
    as_table,
    from_table,
)

Schedule = tuple[Fault, ...]

_STRUCK: Final = ("one", "one", "leader", "leader", "minority", "majority", "all")
_FEW: Final = ("one", "leader", "minority")
_DRIFTS: Final = (0.95, 1.05)
"""A lease is a tenth shorter than an election timeout: any two of these clocks differ by less."""


def random_schedule(
    random: Random,
    duration_ms: float,
    count: int,
    world: World = "simulated",
    *,
    kinds: Collection[str] = frozenset(KINDS),
    every_kind: bool = False,
) -> Schedule:
    """`count` faults of those `kinds` that `world` can do within `duration_ms`, each of them over by then, in the order
    of their times. With `every_kind`, there is at least one of each, as far as `count` goes."""
    draws = [draw for kind, draw in _DRAW.items() if kind in kinds and world in KINDS[kind].worlds]
    faults = [draw(random, duration_ms) for draw in draws[:count]] if every_kind else []
    faults += [choose(random, draws)(random, duration_ms) for _ in range(count - len(faults))]
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _when(random: Random, duration_ms: float, longest_ms: float) -> dict[str, float]:
    at_ms = round(random.random() * duration_ms * 0.9, 1)
    return {"at_ms": at_ms, "for_ms": round(min(longest_ms * random.random() + 20, duration_ms - at_ms), 1)}


def _drawn(
    make: Callable[..., Fault], longest_ms: float, targets: Sequence[str], **draw: Callable[[Random], Any]
) -> Any:
    """A function that draws one fault: `draw` has a function for each value of its own."""

    def fault(random: Random, duration_ms: float) -> Fault:
        values = {name: one(random) for name, one in draw.items()}
        return make(**_when(random, duration_ms, longest_ms), target=choose(random, targets), **values)

    return fault


def _fraction(random: Random) -> float:
    return choose(random, (0.05, 0.2, 0.5))


_DRAW: Final = {
    "crash": _drawn(Crash, 1_500, _STRUCK),
    "power_loss": _drawn(PowerLoss, 1_500, _STRUCK),
    "pause": _drawn(Pause, 2_000, _STRUCK),
    "cut": _drawn(
        Cut,
        2_500,
        _FEW,
        shape=lambda random: choose(random, get_args(Shape)),
        flap_ms=lambda random: choose(random, (0.0, 0.0, 0.0, 80.0)),
    ),
    "delay": _drawn(
        Delay,
        2_500,
        _STRUCK,
        ms=lambda random: choose(random, (5.0, 50.0, 300.0)),
        distribution=lambda random: choose(random, get_args(Distribution)),
    ),
    "bandwidth": _drawn(Bandwidth, 2_000, _STRUCK, bytes_per_s=lambda random: choose(random, (20_000.0, 200_000.0))),
    "loss": _drawn(Loss, 2_000, _STRUCK, fraction=_fraction),
    "duplication": _drawn(Duplication, 2_000, _STRUCK, fraction=_fraction),
    "reordering": _drawn(Reordering, 2_000, _STRUCK, fraction=_fraction),
    "slow_disk": _drawn(SlowDisk, 2_000, _STRUCK, factor=lambda random: choose(random, (10.0, 100.0))),
    "disk_full": _drawn(DiskFull, 1_500, _STRUCK),
    "failing_sync": _drawn(FailingSync, 1_500, _STRUCK),
    "damage": _drawn(Damage, 0, ("one",)),
    "clock_jump": _drawn(ClockJump, 0, _FEW, ms=lambda random: choose(random, (10.0, 1_000.0, 100_000.0))),
    "clock_drift": _drawn(ClockDrift, 4_000, _STRUCK, rate=lambda random: choose(random, _DRIFTS)),
    "disconnect": _drawn(Disconnect, 1_000, _STRUCK),
    "broker_down": _drawn(BrokerDown, 1_000, ("all",)),
    "join": _drawn(Join, 0, ("one",)),
    "removal": _drawn(Removal, 0, ("one",)),
    "transfer": _drawn(Transfer, 0, ("one",)),
}
"""Kind -> a function that draws one."""


def check_schedule(schedule: Schedule, replicas: Sequence[str], world: World, *, aims: bool = False) -> None:
    """Raise `ConfigurationError` for what names a replica that there is not, or what `world` cannot do. `aims`: whether
    it sees the whole cluster at once, so that faults can wait for a moment."""
    for number, fault in enumerate(schedule, start=1):
        if fault.moment and not aims:
            raise ConfigurationError(
                f"fault {number}: nobody here sees when {fault.moment!r} happens", hint="only `workbench simulate` does"
            )
        if world not in fault.worlds:
            raise ConfigurationError(f"fault {number}: a {world} cluster cannot do {fault.kind}")
        if fault.target not in TARGETS and fault.target not in replicas:
            known = ", ".join((*TARGETS, *replicas))
            raise ConfigurationError(f"fault {number}: there is no replica {fault.target!r}", hint=f"one of {known}")


def load_schedule(path: Path) -> Schedule:
    """The schedule of a TOML file: one `[[fault]]` for each. Raises `ConfigurationError`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    tables = document.pop("fault", None)
    if document or not isinstance(tables, list):
        raise ConfigurationError(f"{path} is no schedule of faults", hint='it has [[fault]] tables with kind = "crash"')
    faults = []
    for number, table in enumerate(tables, start=1):
        try:
            faults.append(from_table(table))
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}, fault {number}: {error.message}", hint=error.hint) from error
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def as_toml(schedule: Schedule) -> str:
    """The text that `load_schedule` reads."""
    if not schedule:
        return "fault = []\n"
    lines: list[str] = []
    for fault in schedule:
        lines.append("[[fault]]")
        for name, value in as_table(fault).items():
            lines.append(f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value!r}")
        lines.append("")
    return "\n".join(lines)
