"""Charts of `log_formats`: what writes cost in each format, what breaks each of them, and what it survives.

Only what a run has measured is drawn: each part of the experiment has its own figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts import log_formats_bytes as growth
from workbench.charts import log_formats_matrices as matrices
from workbench.charts.style import (
    INK,
    LOG_FORMAT_COLOURS,
    count_range,
    few_ticks,
    finish,
    new_figure,
    no_data,
    number,
    quiet_axes,
)
from workbench.results import RunFolder

_COSTS = {
    "body_bytes_per_write": ("Shipped to followers", "bytes a write"),
    "leader_execute_us_per_write": ("Leader executes and captures", "µs a write"),
    "follower_apply_us_per_write": ("Each follower applies", "µs a write"),
}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {name: draws(run) for name, (draws, _) in _figures(run).items()}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {name: words(run) for name, (_, words) in _figures(run).items()}


_Figure = tuple[Callable[[RunFolder], Figure], Callable[[RunFolder], str]]


def _figures(run: RunFolder) -> dict[str, _Figure]:
    """Those of the parts that were run; of all, where the run does not say."""
    figures: dict[str, dict[str, _Figure]] = {
        "costs": {
            "bytes": (growth.draw_bytes, growth.bytes_alt),
            "workloads": (growth.draw_workloads, growth.workloads_alt),
        },
        "load": {"costs": (_draw_costs, _costs_alt)},
        "unsafe": {
            "unsafe": (matrices.draw_unsafe, matrices.unsafe_alt),
            "divergence": (matrices.draw_divergence, matrices.divergence_alt),
        },
        "engines": {"engines": (matrices.draw_engines, matrices.engines_alt)},
    }
    parts = run.parameters.get("parts") or list(figures)
    return {name: figure for part, some in figures.items() if part in parts for name, figure in some.items()}


def _costs(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not {"log_format", "writes", *_COSTS} <= set(summary.columns):
        return pd.DataFrame()
    return summary[summary["writes"] > 0]


def _draw_costs(run: RunFolder) -> Figure:
    costs = _costs(run)
    if costs.empty:
        return no_data("No write was acknowledged, so there is no cost to show.", "What one write costs", run)
    figure, axes = new_figure(1.75 + 0.42 * len(costs), columns=len(_COSTS), sharey=True)
    for column, panel in zip(_COSTS, axes, strict=True):
        _draw_bars(panel, costs, column)
    writes = f"{count_range(costs['writes'])} single-row writes a format"
    return finish(figure, _costs_title(costs), run, [writes])


def _draw_bars(axes: Axes, costs: pd.DataFrame, column: str) -> None:
    heading, unit = _COSTS[column]
    sns.barplot(
        costs,
        x=column,
        y="log_format",
        hue="log_format",
        palette=LOG_FORMAT_COLOURS,
        errorbar=None,
        width=0.62,
        saturation=1,
        linewidth=0,
        legend=False,
        ax=axes,
    )
    for place, value in enumerate(costs[column]):
        axes.annotate(
            number(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10
        )
    axes.set(title=heading, xlabel=unit, ylabel="")
    axes.tick_params(axis="y", labelsize=11, labelcolor=INK)
    axes.set_xlim(0, max(costs[column].max() * 1.22, 1e-9))
    axes.xaxis.set_major_locator(few_ticks())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:g}")
    quiet_axes(axes)


def _costs_title(costs: pd.DataFrame) -> str:
    sizes = costs.set_index("log_format")["body_bytes_per_write"]
    if len(sizes) < 2:
        return f"One small write ships {number(sizes.iloc[0])} bytes in the {sizes.index[0]} format"
    most, least = sizes.idxmax(), sizes.idxmin()
    times = sizes.max() / max(sizes.min(), 1e-9)
    factor = number(round(times) if times >= 10 else times)
    return f"The {most} format ships {factor} times the bytes of the {least} format for the same small write"


def _costs_alt(run: RunFolder) -> str:
    costs = _costs(run)
    if costs.empty:
        return "No costs are shown: no write was acknowledged."
    parts = [
        f"{row['log_format']}: {number(row['body_bytes_per_write'])} bytes shipped, "
        f"{number(row['leader_execute_us_per_write'])} µs on the leader, "
        f"{number(row['follower_apply_us_per_write'])} µs on each follower"
        for _, row in costs.iterrows()
    ]
    return "Bars of the cost of one single-row write in each log format. " + "; ".join(parts) + "."
