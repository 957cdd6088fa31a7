"""The picture of a watch: a staircase a replica, and a dot for each write that was acknowledged.

The further a follower's staircase runs to the right of the dots, the older is the past that it shows. The figure is
made once and its lines get new data for each frame, since making one takes longer than drawing it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from workbench.charts.chart import Chart
from workbench.charts.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    quiet_axes,
    style,
)

if TYPE_CHECKING:
    from workbench.widgets.watching import Sight

WINDOW_S = 8.0
_COLOURS = (BLUE, GREEN, VERMILION, PURPLE, ORANGE, SKY)
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
DPI = 100


class WatchChart:
    """A figure for the replicas named, painted as often as wanted."""

    def __init__(self, replicas: Sequence[str], leader: str) -> None:
        self._replicas = replicas
        self._leader = leader
        with style():
            self._figure, (self._axes,) = new_figure(3.5)
            self._lines = {}
            for place, name in enumerate(replicas):
                (self._lines[name],) = self._axes.plot(
                    [],
                    [],
                    drawstyle="steps-post",
                    linewidth=5 if name == leader else 2.4,
                    alpha=0.35 if name == leader else 1,
                    linestyle="-" if name == leader else _DASHES[place % len(_DASHES)],
                    color=_COLOURS[place % len(_COLOURS)],
                    label=f"{name} (leader)" if name == leader else name,
                )
            (self._acknowledged,) = self._axes.plot(
                [], [], linestyle="", marker="o", markersize=7, color=INK, zorder=5, label="acknowledged"
            )
            self._axes.set(xlabel="seconds", ylabel="count that a read returns")
            self._axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            self._axes.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
            quiet_axes(self._axes, grid="y")
            self._title = self._axes.set_title("", fontsize=12.5, color=INK, pad=10)
            self._hint = self._axes.text(0.5, 0.5, "", transform=self._axes.transAxes, ha="center", color=FAINT)

    def paint(self, writes: Sequence[tuple[float, int]], sights: Sequence[Sight], now_s: float) -> Chart:
        """The last seconds as a picture with its finding as title and alt text."""
        start_s = max(0.0, now_s - WINDOW_S)
        shown = [sight for sight in sights if sight.began_s >= start_s]
        for name, line in self._lines.items():
            mine = [sight for sight in shown if sight.replica == name]
            line.set_data([sight.began_s for sight in mine], [sight.value for sight in mine])
        recent = [(at_s, value) for at_s, value in writes if at_s >= start_s and value > 0]
        self._acknowledged.set_data([at_s for at_s, _ in recent], [value for _, value in recent])
        self._axes.set_xlim(start_s, start_s + WINDOW_S if now_s >= WINDOW_S or not shown else max(now_s, 1.0))
        values = [sight.value for sight in shown] or [0, 1]
        self._axes.set_ylim(min(values) - 0.6, max(*values, min(values) + 3) + 0.6)
        sentence = finding(shown, self._replicas)
        self._title.set_text(sentence)
        self._hint.set_text("" if shown else "press Start")
        buffer = io.BytesIO()
        with style():
            self._figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None, "Description": sentence})
        count = f" {writes[-1][1]} writes were acknowledged." if writes else ""
        return Chart(buffer.getvalue(), f"Count that reads of each replica returned over time. {sentence}.{count}")


def finding(sights: Sequence[Sight], replicas: Sequence[str]) -> str:
    """Who showed the past how often, in one sentence."""
    if not sights:
        return "Nobody has read anything yet"
    shares = []
    for name in replicas:
        mine = [sight for sight in sights if sight.replica == name]
        stale = [sight for sight in mine if sight.stale]
        if stale:
            behind = max(sight.acknowledged - sight.value for sight in stale)
            writes = "1 write" if behind == 1 else f"{behind} writes"
            shares.append(f"{name} in {100 * len(stale) / len(mine):.0f} % of its reads, up to {writes} behind")
    if not shares:
        return "No read was older than an acknowledged write"
    return "The past was returned by " + "; ".join(shares)
