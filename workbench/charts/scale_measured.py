"""Measured small clusters laid over simulated ones, with the error between them stated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.scale_run import conditions, measured, simulated, surroundings
from workbench.charts.style import BLACK, BLUE, FAINT, finish, new_figure, no_data, number, quiet_axes
from workbench.results import RunFolder

_TITLE = "How near does the simulation come?"
_MISSING = "There is no run of the other world with clusters of the same size, so there is nothing to compare."
_FIGURES = (
    ("failover_ms_p50", "without a leader, ms"),
    ("latency_ms_p50", "a write, ms"),
    ("messages_out_per_s", "idle: messages/s\nthat leave the leader"),
    ("messages_in_per_s", "idle: messages/s\nthat come to it"),
)
_SHORT = {
    "failover_ms_p50": "failover time",
    "latency_ms_p50": "time of a write",
    "messages_out_per_s": "messages out",
    "messages_in_per_s": "messages in",
}


def compared(run: RunFolder) -> pd.DataFrame:
    """A row for each size that both worlds have, with `_simulated` and `_measured` columns; empty without any."""
    first, second = simulated(run), measured(run)
    if first.empty or second.empty:
        return pd.DataFrame()
    return first.merge(second, on="size", suffixes=("_simulated", "_measured")).sort_values("size")


def errors(table: pd.DataFrame) -> dict[str, float]:
    """Figure -> by how much the simulated one differs from the measured on average over the sizes, as a share of it."""
    found = {}
    for column, _ in _FIGURES:
        ratios = (
            (table[f"{column}_simulated"] / table[f"{column}_measured"]).replace([np.inf, -np.inf], np.nan).dropna()
        )
        found[column] = float(np.exp(np.log(ratios).mean()) - 1) if len(ratios) else float("nan")
    return found


def draw_measured(run: RunFolder) -> Figure:
    """Four figures side by side, over the sizes that both worlds have."""
    table = compared(run)
    if table.empty:
        return no_data(_MISSING, _TITLE, run)
    figure, panels = new_figure(3.6, columns=len(_FIGURES))
    found = errors(table)
    for axes, (column, words) in zip(panels, _FIGURES, strict=True):
        _draw_panel(axes, table, column)
        axes.set_title(f"{words}\n({_signed(found[column])})", fontsize=9)
    _tell_of_syncs(panels[1], measured(run), simulated(run))
    panels[2].legend(loc="lower center", frameon=False, fontsize=8.5)
    reading = (
        "In brackets: by how much the simulated figure is off, on average over the sizes. "
        "Bars: 95 % interval of the median."
    )
    return finish(figure, _finding(found), surroundings(run), conditions(run), reading)


def _draw_panel(axes: Axes, table: pd.DataFrame, column: str) -> None:
    places = np.arange(len(table))
    for shift, world, colour, marker in ((-0.12, "simulated", BLUE, "o"), (0.12, "measured", BLACK, "D")):
        values = table[f"{column}_{world}"].to_numpy(dtype=float)
        low, high = (table.get(f"{column}_{end}_{world}") for end in ("low", "high"))
        bars = None if low is None or high is None else np.abs(np.vstack([values - low, high - values]))
        axes.errorbar(
            places + shift, values, yerr=bars, color=colour, marker=marker, linestyle="", markersize=6,
            markerfacecolor="white" if world == "measured" else colour, linewidth=1.3, label=world,
        )  # fmt: skip
    axes.set_xticks(places, [f"{size:g}" for size in table["size"]])
    axes.set_xlim(-0.5, len(table) - 0.5)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    axes.set_xlabel("replicas")
    quiet_axes(axes, "y")


def _tell_of_syncs(axes: Axes, real: pd.DataFrame, virtual: pd.DataFrame) -> None:
    """A write waits for disks: how fast these were."""
    if "sync_ms_mean" in real and "sync_ms_mean" in virtual:
        took, supposed = (number(float(table["sync_ms_mean"].mean())) for table in (real, virtual))
        axes.set_ylim(0, axes.get_ylim()[1] * 1.35)
        words = f"a sync took {took} ms,\nsimulated {supposed} ms"
        axes.text(0.03, 0.97, words, va="top", fontsize=7.8, color=FAINT, transform=axes.transAxes)


def _signed(error: float) -> str:
    return "unknown" if np.isnan(error) else f"{'+' if error >= 0 else '−'}{number(abs(100 * error))} %"


def _finding(found: dict[str, float]) -> str:
    parts = [
        f"{_SHORT[column]} {_signed(found[column])}"
        for column in ("failover_ms_p50", "latency_ms_p50", "messages_in_per_s")
        if not np.isnan(found[column])
    ]
    return "Simulated against measured small clusters: " + _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts) if parts else "nothing could be compared"


def measured_alt(run: RunFolder) -> str:
    """The chart in words."""
    table = compared(run)
    if table.empty:
        return _MISSING
    told = []
    for _, row in table.iterrows():
        figures = ", ".join(
            f"{_SHORT[column]} {number(float(row[f'{column}_simulated']))} simulated and "
            f"{number(float(row[f'{column}_measured']))} measured"
            for column, _ in _FIGURES
        )
        told.append(f"{row['size']:g} replicas: {figures}")
    return "Simulated and measured figures of small clusters side by side. " + "; ".join(told) + "."
