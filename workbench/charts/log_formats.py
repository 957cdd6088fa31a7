"""Charts of `log_formats`: what one write costs in each format, and which formats keep replicas equal."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbench.charts.style import (
    GREEN,
    INK,
    LOG_FORMAT_COLOURS,
    VERMILION,
    count_range,
    few_ticks,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    quiet_axes,
    table_of,
)
from workbench.results import RunFolder

_COSTS = {
    "body_bytes_per_write": ("Shipped to followers", "bytes a write"),
    "leader_execute_us_per_write": ("Leader executes and captures", "µs a write"),
    "follower_apply_us_per_write": ("Each follower applies", "µs a write"),
}
_CAUSES = {
    "deterministic": "Constants only",
    "random": "random()",
    "current_time": "CURRENT_TIMESTAMP",
}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"costs": _draw_costs(run), "convergence": _draw_convergence(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {"costs": _costs_alt(run), "convergence": _convergence_alt(run)}


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


def _matrix(run: RunFolder) -> pd.DataFrame:
    cells = table_of(run, "convergence")
    if cells.empty:
        return cells
    formats = list(dict.fromkeys(cells["log_format"]))
    causes = [cause for cause in _CAUSES if cause in set(cells["cause"])]
    return cells.pivot(index="log_format", columns="cause", values="outcome").loc[formats, causes]


_OUTCOMES = {"converged": ("replicas equal", GREEN), "diverged": ("replicas differ", VERMILION)}


def _draw_convergence(run: RunFolder) -> Figure:
    matrix = _matrix(run)
    if matrix.empty:
        return no_data("No comparison of the replicas was recorded.", "Do the replicas stay equal?", run)
    figure, (axes,) = new_figure(1.55 + 0.62 * len(matrix))
    for row, log_format in enumerate(matrix.index):
        for column, cause in enumerate(matrix.columns):
            _draw_cell(axes, column, row, str(matrix.loc[log_format, cause]))
    axes.set(xlim=(-0.5, len(matrix.columns) - 0.5), ylim=(len(matrix) - 0.5, -0.5))
    axes.set_xticks(range(len(matrix.columns)), [_CAUSES[cause] for cause in matrix.columns])
    axes.set_yticks(range(len(matrix)), list(matrix.index))
    axes.tick_params(length=0, labelsize=11, labelcolor=INK, top=False, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)
    return finish(figure, _convergence_title(matrix), run, ["compared by row digests after all entries were applied"])


def _draw_cell(axes: Axes, column: int, row: int, outcome: str) -> None:
    words, colour = _OUTCOMES.get(outcome, ("unknown", "#8a919d"))
    sign = {"converged": "=", "diverged": "≠"}.get(outcome, "?")
    face = mix(colour, "#ffffff", 0.78)
    box = Rectangle((column - 0.48, row - 0.44), 0.96, 0.88, facecolor=face, edgecolor=mix(colour, "#ffffff", 0.3))
    axes.add_patch(box)
    axes.text(
        column, row, f"{sign}  {words}", ha="center", va="center", fontsize=11, color=mix(colour, "#000000", 0.45)
    )


def _convergence_title(matrix: pd.DataFrame) -> str:
    diverged = [name for name in matrix.index if (matrix.loc[name] == "diverged").any()]
    if not diverged:
        return "The replicas stayed equal in every log format"
    others = [name for name in matrix.index if (matrix.loc[name] == "converged").all()]
    causes = [_CAUSES[cause] for cause in matrix.columns if (matrix.loc[diverged, cause] == "diverged").any()]
    verb = "keep" if len(others) > 1 else "keeps"
    contrast = f"; {' and '.join(others)} {verb} them equal" if others else ""
    return f"Under {' and '.join(causes)} the {' and '.join(diverged)} format lets replicas drift apart{contrast}"


def _convergence_alt(run: RunFolder) -> str:
    matrix = _matrix(run)
    if matrix.empty:
        return "No comparison of the replicas was recorded."
    parts = [
        f"{log_format}: "
        + ", ".join(f"{_CAUSES[str(cause)]} {matrix.loc[log_format, cause]}" for cause in matrix.columns)
        for log_format in matrix.index
    ]
    return "Table of log formats against kinds of value in a statement. " + "; ".join(parts) + "."
