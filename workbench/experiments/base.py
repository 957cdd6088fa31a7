"""An experiment as a value: a question, its parameters, a coroutine that measures, and the claims it judges.

`conduct` gets a `Context` (where to write, which seed, which broker, whom to tell of progress) and the parameters,
and returns an `Outcome`. It writes no run folder and draws nothing: `runner.py` keeps the folder, and charts read
folders only. A claim is a sentence that holds on any machine; figures that depend on the machine are reported in
the summary and judged by nobody. A claim about a cell that was not measured is not made; one that was measured
with fewer operations than its minimum is `unknown`.

Checkers judge the history, whatever is claimed. Some anomalies are what an experiment shows; what none of them shows is
named in `required_checks`, and decides with the claims how the run ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from workbench.checkers.verdict import Verdict
from workbench.errors import ConfigurationError
from workbench.experiments.parameters import PROFILES, ParameterInfo, choose_profile, nearest, parameters_of

if TYPE_CHECKING:
    import pandas as pd

    from workbench.cluster.hosting import Host
    from workbench.faults.values import World
P = TypeVar("P")
WORLDS = ("real", "simulated")
Row: TypeAlias = dict[str, Any]
Progress: TypeAlias = Callable[[float, str], None]
"""Told the fraction done, from 0 to 1, and what is being done."""


def silent(fraction: float, text: str) -> None:
    """A progress callback that tells nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What an experiment is given besides its parameters."""

    directory: Path
    """Where the clusters of this run keep their files and logs; one folder a cell."""
    seed: int
    broker: str | None = None
    """As `ClusterConfig.broker`."""
    host: Host | None = None
    """What runs its clusters; None: processes."""
    progress: Progress = silent
    notes: dict[str, Any] = field(default_factory=dict)
    """What the run learns about its surroundings (the broker's name, version and settings)."""

    @property
    def world(self) -> World:
        """Where its clusters run."""
        return "real" if self.host is None else self.host.world


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an experiment hands back: everything that goes into the run folder."""

    summary: Sequence[Row]
    """One row a cell, units in the column names."""
    verdicts: Mapping[str, Verdict]
    """Claim -> verdict; only claims of the experiment."""
    operations: pd.DataFrame | None = None
    """The table of operations of all cells."""
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Further tables by name, for charts and readers."""
    checks: Mapping[str, Verdict] = field(default_factory=dict)
    """Verdicts of checkers on the histories."""
    invariants: Mapping[str, Any] = field(default_factory=dict)
    """`converged`, `lost_acknowledged_writes`, ...: each a value that no machine changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment(Generic[P]):
    """One question that can be put to a real cluster, as a value. See the module's docstring."""

    name: str
    number: str
    """NN of its notebook."""
    question: str
    parameters: type[P]
    profiles: Mapping[str, Mapping[str, Any]]
    """`ci`, `quick`, `full` -> what differs from the defaults."""
    conduct: Callable[[Context, P], Awaitable[Outcome]]
    claims: Mapping[str, str]
    """Name of a claim -> the sentence."""
    minimums: Mapping[str, int] = field(default_factory=dict)
    """Kind of operation -> how many a cell needs before a claim about it is judged."""
    worlds: tuple[World, ...] = ("real",)
    """Where it can run; the first where nobody says."""
    required_checks: tuple[str, ...] = ()
    """Checks of the history that no claim expects to fail: where one does, what was measured counts for nothing."""

    def __post_init__(self) -> None:
        if set(self.profiles) != set(PROFILES):
            raise ConfigurationError(f"{self.name} has profiles {sorted(self.profiles)}", hint="ci, quick and full")
        for profile in PROFILES:
            self.resolve(profile)

    @property
    def parameter_infos(self) -> tuple[ParameterInfo, ...]:
        """What the command line and the widgets are made from."""
        return parameters_of(self.parameters)

    def choose_world(self, wanted: str | None = None) -> World:
        """`wanted` if the experiment can run there, its usual world by default. Raises `ConfigurationError`."""
        if wanted is None:
            return self.worlds[0]
        for world in self.worlds:
            if world == wanted:
                return world
        if wanted not in WORLDS:
            raise ConfigurationError(f"unknown world {wanted!r}", hint=nearest(wanted, WORLDS, "worlds"))
        raise ConfigurationError(f"{self.name} cannot run in the {wanted} world", hint="only in the " + self.worlds[0])

    def resolve(self, profile: str, overrides: Mapping[str, object] | None = None) -> P:
        """The parameters of `profile` with `overrides` (typed values, or text as after `--set`) on top.

        Raises `ConfigurationError` for an unknown name, a value of the wrong type or one out of its range.
        """
        infos = {info.name: info for info in self.parameter_infos}
        given: dict[str, object] = {**self.profiles[choose_profile(profile)], **(overrides or {})}
        for name in given:
            if name not in infos:
                raise ConfigurationError(
                    f"{self.name} has no parameter {name!r}", hint=nearest(name, infos, "parameters")
                )
        return self.parameters(**{name: infos[name].parse(value) for name, value in given.items()})
