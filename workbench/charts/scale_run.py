"""What the charts of `scale` read: the curves of a run, and the recorded run of the other world beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.charts.style import BLUE, GREEN, VERMILION, number
from workbench.errors import WorkbenchError
from workbench.results import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"
NOTHING = "No cluster was measured, so there is nothing to show."
NETWORK_COLOURS = {"lan": BLUE, "wan-3-regions": GREEN, "wan-5-regions": VERMILION}
NETWORK_WORDS = {"lan": "in one place", "wan-3-regions": "in 3 regions", "wan-5-regions": "in 5 regions"}
_COLUMNS = {"size", "voters", "network", "fan_out", "failover_ms_p50", "latency_ms_p50", "messages_in_per_s"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Cells that differ in their size alone. `voters` 0: all vote."""

    network: str
    voters: int
    fan_out: str
    cells: pd.DataFrame

    @property
    def words(self) -> str:
        """Its name on a chart."""
        who = f"{self.voters} vote" if self.voters else "all vote"
        how = "" if self.fan_out == "broker" else ", without a broker"
        return f"{who}, {NETWORK_WORDS.get(self.network, self.network)}{how}"

    @property
    def colour(self) -> str:
        """One for each network."""
        return NETWORK_COLOURS.get(self.network, BLUE)

    @property
    def dashes(self) -> str:
        """A line style for who votes and how messages travel, since colour alone tells nobody everything."""
        return ("--" if self.voters else "-") if self.fan_out == "broker" else (":" if self.voters else "-.")

    @property
    def marker(self) -> str:
        """Likewise."""
        return "s" if self.voters else "o"

    @property
    def largest(self) -> pd.Series:
        """Its largest cluster."""
        return self.cells.iloc[-1]


def curves(run: RunFolder, fan_out: str = "") -> list[Curve]:
    """All curves of a run, those in one place and with all voters first; with `fan_out` only those."""
    cells = run.summary
    if cells.empty or not set(cells.columns).issuperset(_COLUMNS):
        return []
    cells = cells.assign(few=cells["voters"].where(cells["voters"] < cells["size"], 0))
    found = []
    for (network, way, few), some in cells.groupby(["network", "fan_out", "few"], sort=False):
        if not fan_out or way == fan_out:
            ordered = some.sort_values("size")
            found.append(Curve(network=str(network), voters=int(few), fan_out=str(way), cells=ordered))
    return found


def main_curves(run: RunFolder) -> list[Curve]:
    """The curves of the fan-out that the run has first."""
    found = curves(run)
    return [curve for curve in found if curve.fan_out == found[0].fan_out] if found else []


def measured(run: RunFolder) -> pd.DataFrame:
    """Cells of real processes: of this run, or of the recorded one, where the project's examples are at hand."""
    return _cells_of(run, "real")


def simulated(run: RunFolder) -> pd.DataFrame:
    """Simulated cells of the same kind: all vote, in one place, with a broker."""
    return _cells_of(run, "simulated")


def _cells_of(run: RunFolder, world: str) -> pd.DataFrame:
    found = run if run.info.get("world") == world else _companion(world)
    alike = [one for one in curves(found, "broker") if one.network == "lan" and not one.voters] if found else []
    return alike[0].cells if alike else pd.DataFrame()


def _companion(world: str) -> RunFolder | None:
    for name in ("scale", "scale_real"):
        try:
            found = RunFolder.open(EXAMPLES / name)
        except WorkbenchError:
            continue
        if found.info.get("world") == world:
            return found
    return None


def conditions(run: RunFolder) -> list[str]:
    """For the caption."""
    told = {
        "ack": "ack policy {}",
        "heartbeat_ms": "a heartbeat each {} ms",
        "election_timeout_ms": "election timeout {} ms or what the voters need",
    }
    shown = {name: _told(run.parameters[name]) for name in told if name in run.parameters}
    is_simulated = run.info.get("world") == "simulated"
    where = "simulated" if is_simulated else "real processes on one machine"
    seed = [f"seed {run.seed}"] if is_simulated else []  # of real ones, the caption tells more
    return [where, *(told[name].format(value) for name, value in shown.items()), *seed]


def surroundings(run: RunFolder) -> RunFolder | None:
    """What captions tell of machine and broker: nothing, where they do not matter."""
    return run if run.info.get("world") == "real" else None


def _told(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return number(float(value)) if isinstance(value, int | float) else str(value)
