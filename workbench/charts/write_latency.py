"""Charts of `write_latency`: how long a write waits under each ack policy, as percentiles and as distributions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from workbench.charts.style import (
    FAINT,
    INK,
    ack_colour,
    ack_marker,
    count_range,
    finish,
    new_figure,
    no_data,
    number,
    quiet_axes,
    table_of,
)
from workbench.results import RunFolder

_PERCENTILES = {"latency_ms_p50": ("p50", 1.0), "latency_ms_p90": ("p90", 0.55), "latency_ms_p99": ("p99", 0.25)}
_DASHES = ("-", "--", ":", "-.")
_TITLE = "How long a write waits for its followers"
_NOTHING = "No write was acknowledged, so there is no latency to show."


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"percentiles": _draw_percentiles(run), "distribution": _draw_distribution(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    cells = _cells(run)
    if cells.empty:
        return dict.fromkeys(("percentiles", "distribution"), _NOTHING)
    parts = [
        f"{row['label']} with {number(row['follower_delay_ms'])} ms delay: median {number(row['latency_ms_p50'])} ms, "
        f"99th percentile {number(row['latency_ms_p99'])} ms"
        for _, row in cells.iterrows()
    ]
    figures = "; ".join(parts) + "."
    return {
        "percentiles": "Percentiles of write latency for each ack policy, on a logarithmic axis. " + figures,
        "distribution": "Share of writes acknowledged within a time, one curve an ack policy. " + figures,
    }


def _cells(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not {"ack", "followers", "follower_delay_ms", "writes", *_PERCENTILES} <= set(summary.columns):
        return pd.DataFrame()
    cells = summary[summary["writes"] > 0].copy()
    many = cells["followers"].nunique() > 1
    cells["label"] = [
        f"{ack}, {count} follower{'s' if count != 1 else ''}" if many else ack
        for ack, count in zip(cells["ack"], cells["followers"], strict=True)
    ]
    return cells


def _draw_percentiles(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    delays, labels = sorted(cells["follower_delay_ms"].unique()), list(dict.fromkeys(cells["label"]))
    height = 0.55 + 0.42 * len(labels)
    figure, panels = new_figure(1.35 + height * len(delays), rows=len(delays), sharex=True)
    for delay, axes in zip(delays, panels, strict=True):
        _draw_ladder(axes, cells[cells["follower_delay_ms"] == delay], labels, delay)
    low, high = cells["latency_ms_p50"].min(), cells["latency_ms_p99"].max()
    _log_axis(panels[-1], low / 1.7, high * 1.9)
    panels[-1].set_xlabel("latency from the intended start, ms (logarithmic)")
    reading = (
        "From left to right: median, 90th and 99th percentile of the latency; the figures are the first and the last."
    )
    return finish(figure, _finding(cells), run, [_count(cells)], reading)


def _draw_ladder(axes: Axes, cells: pd.DataFrame, labels: list[str], delay: float) -> None:
    for _, cell in cells.iterrows():
        place, colour = labels.index(cell["label"]), ack_colour(cell["ack"])
        values = [float(cell[column]) for column in _PERCENTILES]
        axes.plot(
            [values[0], values[-1]], [place, place], color=colour, alpha=0.45, linewidth=3, solid_capstyle="round"
        )
        for value, (_, alpha) in zip(values, _PERCENTILES.values(), strict=True):
            axes.plot(value, place, marker=ack_marker(cell["ack"]), color=colour, markersize=9, alpha=alpha, mew=0)
        for value, side in ((values[0], -1), (values[-1], 1)):
            axes.annotate(
                number(value),
                (value, place),
                xytext=(8 * side, 0),
                textcoords="offset points",
                ha="right" if side < 0 else "left",
                va="center",
                fontsize=9,
                color=INK if side < 0 else FAINT,
                fontweight="bold" if side < 0 else "normal",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=10.5, labelcolor=INK)
    axes.set_title(_delay_words(delay))
    if delay > 0:
        axes.axvline(delay, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
    quiet_axes(axes)


def _delay_words(delay: float) -> str:
    return f"Followers hear the leader {number(delay)} ms late (dashed)" if delay > 0 else "No delay added"


def _log_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [base * 10.0**power for power in range(-3, 6) for base in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(shown) if len(shown) < 14 else LogLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _draw_distribution(run: RunFolder) -> Figure:
    cells = _cells(run)
    table = table_of(run, "latencies")
    if cells.empty or table.empty:
        return no_data(_NOTHING, _TITLE, run)
    delays = sorted(cells["follower_delay_ms"].unique())
    figure, panels = new_figure(1.5 + 2.35 * len(delays), rows=len(delays), sharex=True)
    for delay, axes in zip(delays, panels, strict=True):
        here = cells[cells["follower_delay_ms"] == delay]
        samples = {cell: table.loc[table["cell"] == cell, "latency_ms"] for cell in here["cell"]}
        _draw_curves(axes, here, samples)
        axes.set_title(_delay_words(delay))
        if delay > 0:
            axes.axvline(delay, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
    values = table["latency_ms"]
    _log_axis(panels[-1], float(values.min()) / 1.3, float(values.quantile(0.999)) * 1.5)
    panels[-1].set_xlabel("latency from the intended start, ms (logarithmic)")
    return finish(figure, _slowest(cells), run, [_count(cells)], "Beside each curve's name: its median.")


def _draw_curves(axes: Axes, cells: pd.DataFrame, samples: dict[str, pd.Series]) -> None:
    """One curve a cell, dashed for the larger numbers of followers; beside them their names, the fastest on top."""
    sizes = sorted(cells["followers"].unique())
    for _, cell in cells.iterrows():
        ordered = np.sort(samples[cell["cell"]].to_numpy(dtype=float))
        share = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
        axes.step(
            ordered,
            share,
            where="post",
            color=ack_colour(cell["ack"]),
            linewidth=2,
            linestyle=_DASHES[sizes.index(cell["followers"]) % len(_DASHES)],
        )
    named = cells.sort_values("latency_ms_p50", kind="stable")
    gap, size = min(0.19, 0.92 / len(named)), 10 if len(named) <= 8 else 7
    for place, (_, cell) in enumerate(named.iterrows()):
        text = f"{cell['label']}  {number(cell['latency_ms_p50'])} ms"
        where = (1.01, 0.92 - gap * place)
        axes.text(
            *where,
            text,
            transform=axes.transAxes,
            color=ack_colour(cell["ack"]),
            va="center",
            fontweight="bold",
            fontsize=size,
        )
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_ylabel("writes acknowledged")
    axes.grid(visible=True, axis="both")
    sns.despine(ax=axes, left=True)


def _count(cells: pd.DataFrame) -> str:
    rates = cells["achieved_rate_per_s"] if "achieved_rate_per_s" in cells else pd.Series(dtype=float)
    rate = f" at about {number(float(rates.median()))} a second" if len(rates.dropna()) else ""
    return f"{count_range(cells['writes'])} writes a policy and delay{rate}"


def _far(cells: pd.DataFrame, column: str) -> tuple[pd.Series, str]:
    """The column by ack policy at the longest delay, and that delay in words."""
    delay = cells["follower_delay_ms"].max()
    values = cells[cells["follower_delay_ms"] == delay].groupby("ack", sort=False)[column].median()
    return values, f" when followers are {number(delay)} ms away" if delay > 0 else ""


def _finding(cells: pd.DataFrame) -> str:
    """The medians of the fastest and the slowest policy, in words."""
    medians, far = _far(cells, "latency_ms_p50")
    if len(medians) < 2:
        return f"Under {medians.index[0]}, half of the writes wait less than {number(medians.iloc[0])} ms{far}"
    fast, slow = str(medians.idxmin()), str(medians.idxmax())
    return (
        f"A write waits {number(medians[slow])} ms under {slow}, {number(medians[fast])} ms under {fast}{far} (medians)"
    )


def _slowest(cells: pd.DataFrame) -> str:
    """The 99th percentiles of the fastest and the slowest policy, in words."""
    tails, far = _far(cells, "latency_ms_p99")
    parts = [
        f"{number(tails[ack])} ms under {ack}" for ack in dict.fromkeys((str(tails.idxmax()), str(tails.idxmin())))
    ]
    return f"One write in a hundred waits more than {', '.join(parts)}{far}"
