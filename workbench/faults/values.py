"""Faults as values: one vocabulary for the simulator and for real clusters.

A fault begins at a time, lasts for a time (0: until everything is healed), and strikes targets: replicas by name, or by
what they are at that moment. Whoever carries it out says what it struck; a fault that found nothing to strike did not
take effect. Times are milliseconds from the beginning of a schedule.

A fault with a `moment` is *aimed*: from `at_ms` on it waits until that happens, and strikes just then. Only who sees
the whole cluster at once can aim, so only simulated worlds do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from workbench.config import check_range
from workbench.errors import ConfigurationError

World = Literal["real", "simulated"]
Shape = Literal["isolate", "one_way", "mute", "halves", "bridge", "ring"]
Distribution = Literal["constant", "exponential", "pareto"]
Moment = Literal["", "election", "write", "change", "split", "rewind"]

TARGETS: Final = ("one", "minority", "majority", "leader", "all")
"""What a target may be besides the name of a replica."""
_BOTH: Final = frozenset[World]({"real", "simulated"})
_SIMULATED: Final = frozenset[World]({"simulated"})
_MS_MAX: Final = 86_400_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What all faults have in common. Raises `ConfigurationError` for values that make no sense."""

    kind: ClassVar[str] = ""
    worlds: ClassVar[frozenset[World]] = _BOTH

    at_ms: float
    for_ms: float = 0.0
    target: str = "one"
    moment: Moment = ""
    """`election`: somebody has been elected; `write`: the leader has logged an entry that is not committed yet;
    `change`: a change of members; `split`: more than one takes itself for the leader; `rewind`: a replica drops
    entries."""

    def __post_init__(self) -> None:
        if self.moment not in get_args(Moment):
            known = ", ".join(moment for moment in get_args(Moment) if moment)
            raise ConfigurationError(f"unknown moment {self.moment!r}", hint=f"one of {known}")
        check_range(f"at_ms of {self.kind}", self.at_ms, 0, _MS_MAX, " ms")
        check_range(f"for_ms of {self.kind}", self.for_ms, 0, _MS_MAX, " ms")
        self.check()

    def check(self) -> None:
        """Raise `ConfigurationError` for a value of the fault's own that makes no sense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash(Fault):
    """SIGKILL; started again after `for_ms`. What was written stays, synced or not."""

    kind: ClassVar[str] = "crash"


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLoss(Fault):
    """The machine is off; on again after `for_ms`. What was not synced is gone, or torn."""

    kind: ClassVar[str] = "power_loss"
    worlds: ClassVar[frozenset[World]] = _SIMULATED


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause(Fault):
    """SIGSTOP: it does nothing, and does not notice."""

    kind: ClassVar[str] = "pause"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut(Fault):
    """A broken network between replicas.

    `isolate`: the targets are cut off from the others; `one_way`: they hear nothing, but are heard; `mute`: they hear
    everything, but nobody hears them; `halves`: two parts that do not hear each other; `bridge`: two parts with one
    replica that hears both; `ring`: each hears only a majority, and everybody another one. `flap_ms`: broken and whole
    in turns, each for so long.
    """

    kind: ClassVar[str] = "cut"

    shape: Shape = "isolate"
    flap_ms: float = 0.0

    def check(self) -> None:
        if self.shape not in get_args(Shape):
            raise ConfigurationError(f"unknown shape {self.shape!r}", hint="one of " + ", ".join(get_args(Shape)))
        check_range("flap_ms", self.flap_ms, 0, _MS_MAX, " ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay(Fault):
    """What the targets receive from other replicas comes later: by `ms` on average.

    `pareto`: nine of ten messages by two thirds of `ms`, the rest with a heavy tail. Order is kept.
    """

    kind: ClassVar[str] = "delay"

    ms: float = 50.0
    distribution: Distribution = "constant"

    def check(self) -> None:
        check_range("ms of delay", self.ms, 0, 60_000, " ms")
        if self.distribution not in get_args(Distribution):
            known = ", ".join(get_args(Distribution))
            raise ConfigurationError(f"unknown distribution {self.distribution!r}", hint=f"one of {known}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth(Fault):
    """The targets receive at most so many bytes a second: heartbeats wait behind batches of entries (congestion)."""

    kind: ClassVar[str] = "bandwidth"

    bytes_per_s: float = 100_000.0

    def check(self) -> None:
        check_range("bytes_per_s", self.bytes_per_s, 1, 1e12)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss(Fault):
    """A fraction of the messages that the targets should receive from other replicas is lost."""

    kind: ClassVar[str] = "loss"

    fraction: float = 0.1

    def check(self) -> None:
        check_range("fraction", self.fraction, 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplication(Loss):
    """A fraction of the messages comes twice."""

    kind: ClassVar[str] = "duplication"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reordering(Loss):
    """A fraction of the messages is overtaken by later ones."""

    kind: ClassVar[str] = "reordering"


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowDisk(Fault):
    """Storage takes `factor` times as long."""

    kind: ClassVar[str] = "slow_disk"

    factor: float = 50.0

    def check(self) -> None:
        check_range("factor", self.factor, 1, 1e6)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskFull(Fault):
    """The replication log of the targets can grow no more."""

    kind: ClassVar[str] = "disk_full"


@dataclass(frozen=True, kw_only=True, slots=True)
class FailingSync(Fault):
    """The next sync of the targets fails, which ends their processes; started again after `for_ms`.

    What was not synced may be on the disk or not: nobody may count on it.
    """

    kind: ClassVar[str] = "failing_sync"


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage(Fault):
    """The database of the targets changes behind their back: an entry will not fit."""

    kind: ClassVar[str] = "damage"
    worlds: ClassVar[frozenset[World]] = _SIMULATED


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockJump(Fault):
    """The clocks of the targets jump ahead by `ms`."""

    kind: ClassVar[str] = "clock_jump"

    ms: float = 1_000.0

    def check(self) -> None:
        check_range("ms of clock_jump", self.ms, 0, 3_600_000, " ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockDrift(Fault):
    """The clocks of the targets run `rate` times as fast as they should. They are never set back."""

    kind: ClassVar[str] = "clock_drift"

    rate: float = 1.2

    def check(self) -> None:
        check_range("rate of clock_drift", self.rate, 0.1, 10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect(Fault):
    """The connection of the targets to the broker is cut, with all that is on its way; made again after `for_ms`."""

    kind: ClassVar[str] = "disconnect"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerDown(Fault):
    """Nobody hears anybody: the broker is stopped, and started again after `for_ms`."""

    kind: ClassVar[str] = "broker_down"


@dataclass(frozen=True, kw_only=True, slots=True)
class Join(Fault):
    """A new replica joins."""

    kind: ClassVar[str] = "join"


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal(Fault):
    """A follower is removed from the members."""

    kind: ClassVar[str] = "removal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer(Fault):
    """The leadership is handed over on purpose."""

    kind: ClassVar[str] = "transfer"


AnyFault: TypeAlias = (
    Crash
    | PowerLoss
    | Pause
    | Cut
    | Delay
    | Bandwidth
    | Loss
    | Duplication
    | Reordering
    | SlowDisk
    | DiskFull
    | FailingSync
    | Damage
    | ClockJump
    | ClockDrift
    | Disconnect
    | BrokerDown
    | Join
    | Removal
    | Transfer
)
KINDS: Final[dict[str, type[Fault]]] = {kind.kind: kind for kind in get_args(AnyFault)}


def as_table(fault: Fault) -> dict[str, Any]:
    """The fault as a TOML table has it: its kind, and what differs from the defaults."""
    table: dict[str, Any] = {"kind": fault.kind}
    for one in fields(fault):
        value = getattr(fault, one.name)
        if value != one.default:
            table[one.name] = value
    return table


def from_table(table: dict[str, Any]) -> Fault:
    """The fault that `as_table` gave. Raises `ConfigurationError`."""
    values = dict(table)
    kind = values.pop("kind", "")
    if kind not in KINDS:
        raise ConfigurationError(f"unknown fault {kind!r}", hint="one of " + ", ".join(KINDS))
    known = {one.name: one for one in fields(KINDS[kind])}
    for name, value in values.items():
        if name not in known:
            raise ConfigurationError(f"{kind} has no {name!r}", hint="it has " + ", ".join(known))
        expected = str if known[name].type in {"str", "Shape", "Distribution", "Moment"} else (int, float)
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ConfigurationError(f"{name} of {kind} is {value!r}", hint=f"its type is {known[name].type}")
    if "at_ms" not in values:
        raise ConfigurationError(f"a {kind} without at_ms", hint="when does it happen?")
    return KINDS[kind](**values)
