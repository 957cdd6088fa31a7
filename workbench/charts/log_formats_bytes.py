"""Charts of what a write costs as it grows, and of what different writes cost, in each log format."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from workbench.charts.style import (
    FAINT,
    INK,
    LOG_FORMAT_COLOURS,
    conditions_of,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    quiet_axes,
    separate,
    table_of,
)
from workbench.results import RunFolder

_BULK = "bulk_update"
_MARKERS = {"statement": "o", "wal": "s", "logical": "^", "mixed": "D"}
_CARRIES = {"statement": "a statement", "wal": "pages", "logical": "rows", "mixed": "the mixed format"}
_TITLE = "What exactly does the leader send?"
_NOTHING = "No costs were measured, so there is nothing to show."
_LABEL_ROOM = 1.9
"""How much further than the last point the axis goes, as a share of its decades, for labels."""


def _costs(run: RunFolder, *, bulk: bool) -> pd.DataFrame:
    costs = table_of(run, "costs")
    if costs.empty:
        return costs
    return costs[(costs["workload"] == _BULK) == bulk]


def _crossings(run: RunFolder) -> pd.DataFrame:
    """The pairs of lines that cross: not those of which one is below the other everywhere."""
    crossings = table_of(run, "crossings")
    return crossings[crossings["from_rows"] > 1] if len(crossings) else pd.DataFrame({"from_rows": []})


# Bytes and time against rows changed.


def draw_bytes(run: RunFolder) -> Figure:
    """Bytes of one entry, and the follower's time for it, against the rows that one statement changes."""
    bulk = _costs(run, bulk=True)
    if bulk.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (left, right) = new_figure(4.35, columns=2, width_ratios=[1, 1])
    _draw_growth(left, bulk, "body_bytes", _bytes_words)
    _draw_growth(right, bulk, "follower_us", _time_words)
    left.set_title("Shipped to followers, bytes")
    right.set_title("Each follower applies, CPU time")
    _mark_crossings(left, bulk, _crossings(run))
    reading = (
        "One UPDATE of neighbouring rows; both axes in powers of ten. A statement says what to do, whatever it takes; "
        "rows and pages say what became of it."
    )
    return finish(figure, _bytes_title(run), None, _conditions(run), reading)


def _draw_growth(axes: Axes, bulk: pd.DataFrame, column: str, words: FuncFormatter) -> None:
    ends = []
    for log_format, costs in bulk.groupby("log_format", sort=False):
        shown = costs.dropna(subset=[column]).sort_values("rows")
        name = str(log_format)
        colour = LOG_FORMAT_COLOURS.get(name, FAINT)
        axes.plot(
            shown["rows"],
            shown[column],
            marker=_MARKERS.get(name, "o"),
            color=colour,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.8,
            linewidth=2,
            zorder=3,
        )
        if len(shown):
            ends.append((name, float(shown["rows"].iloc[-1]), float(shown[column].iloc[-1])))
    axes.set(xscale="log", yscale="log", xlabel="rows changed by one statement")
    low, high = (float(value) for value in (bulk[column].min(), bulk[column].max()))
    axes.set_ylim(low / 2.2, high * 2.6)
    _decades(axes, bulk["rows"])
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(words)
    quiet_axes(axes, grid="y")
    _label_ends(axes, ends, high / low)


def _decades(axes: Axes, rows: pd.Series) -> None:
    """A tick a decade, and room for the names of the lines behind the last one."""
    least, most = float(rows.min()), float(rows.max())
    axes.set_xlim(least / 1.35, most * (most / least) ** 0.24 * _LABEL_ROOM)
    ticks = [float(rows) for rows in 10.0 ** np.arange(np.floor(np.log10(least)), np.ceil(np.log10(most)) + 1)]
    axes.set_xticks([tick for tick in ticks if least <= tick <= most])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rows_words(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_ends(axes: Axes, ends: list[tuple[str, float, float]], span: float) -> None:
    places = separate([float(np.log10(value)) for _, _, value in ends], 0.062 * float(np.log10(span * 5.7)))
    for (name, rows, _), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (rows, 10**place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=10.5,
            fontweight="bold",
            color=mix(LOG_FORMAT_COLOURS.get(name, FAINT), "#000000", 0.25),
        )


def _mark_crossings(axes: Axes, bulk: pd.DataFrame, crossings: pd.DataFrame) -> None:
    """A ring where a line gets below another one, and from how many rows on."""
    for place, row in enumerate(crossings.sort_values("from_rows").itertuples()):
        rows = float(row.from_rows)
        of_larger = bulk[(bulk["log_format"] == row.larger)].dropna(subset=["body_bytes"]).sort_values("rows")
        at = 10 ** np.interp(np.log10(rows), np.log10(of_larger["rows"]), np.log10(of_larger["body_bytes"]))
        axes.plot([rows], [at], marker="o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=4)
        axes.annotate(
            f"from {_count(rows)} rows on\n{_CARRIES[row.smaller]} {_ships(row.smaller)} less",
            (rows, at),
            xytext=(72, 12) if place == 0 else (-8, 26),
            textcoords="offset points",
            ha="left" if place == 0 else "center",
            va="center" if place == 0 else "bottom",
            fontsize=9,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.9, "shrinkB": 7},
            zorder=5,
        )


def _ships(log_format: str) -> str:
    return "ship" if log_format == "wal" else "ships"


def _bytes_title(run: RunFolder) -> str:
    first, *others = [*_crossings(run).sort_values("from_rows").itertuples()] or [None]
    if first is not None:
        carries = f"{_CARRIES[first.smaller]} {_ships(first.smaller)}"
        start = f"{carries[0].upper()}{carries[1:]} less than the changed rows from {_count(first.from_rows)} rows on"
        return ", ".join([start, *(f"{_CARRIES[row.smaller]} from {_count(row.from_rows)} on" for row in others)])
    bulk = _costs(run, bulk=True).dropna(subset=["body_bytes"])
    most = bulk[bulk["rows"] == bulk["rows"].max()].set_index("log_format")["body_bytes"]
    least, largest = most.idxmin(), most.idxmax()
    return (
        f"For {_rows(bulk['rows'].max())} changed the {largest} format ships {number(most.max())} bytes, "
        f"the {least} format {number(most.min())}"
    )


def bytes_alt(run: RunFolder) -> str:
    """What `draw_bytes` shows."""
    bulk = _costs(run, bulk=True)
    if bulk.empty:
        return _NOTHING
    parts = []
    for log_format, costs in bulk.groupby("log_format", sort=False):
        shown = costs.dropna(subset=["body_bytes"]).sort_values("rows")
        if len(shown):
            first, last = shown.iloc[0], shown.iloc[-1]
            parts.append(
                f"{log_format}: {number(first['body_bytes'])} bytes for {_rows(first['rows'])}, "
                f"{number(last['body_bytes'])} bytes and {_time(last['follower_us'])} of a follower's time for "
                f"{_rows(last['rows'])}"
            )
    crossings = [
        f"{_CARRIES[row.smaller]} {_ships(row.smaller)} less than rows from {_count(row.from_rows)} rows on"
        for row in _crossings(run).itertuples()
    ]
    return "Lines of bytes, and of CPU time, against the rows that one statement changes. " + (
        "; ".join([*parts, *crossings]) + "."
    )


# Different writes.

_PANELS = {
    "body_bytes": "Shipped",
    "capture_us": "Leader captures",
    "follower_us": "Follower applies",
}


def _workloads(run: RunFolder) -> pd.DataFrame:
    costs = _costs(run, bulk=False)
    if costs.empty:
        return costs
    return costs.assign(capture_us=(costs["leader_us"] - costs["plain_us"]).clip(lower=0.5))


def draw_workloads(run: RunFolder) -> Figure:
    """Bytes and CPU time of one transaction of each workload, a mark a format."""
    costs = _workloads(run)
    if costs.empty:
        return no_data(_NOTHING, _TITLE, run)
    words = list(dict.fromkeys(costs["words"]))
    figure, axes = new_figure(2.1 + 0.36 * len(words), columns=len(_PANELS), sharey=True)
    for panel, (column, title) in zip(axes, _PANELS.items(), strict=True):
        _draw_marks(panel, costs, words, column)
        panel.set_title(title)
    axes[0].set_yticks(range(len(words)), words)
    axes[0].tick_params(axis="y", labelsize=10, labelcolor=INK)
    axes[0].set_ylim(len(words) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    legend = axes[1].legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(labels), frameon=False, fontsize=10
    )
    legend.set_in_layout(False)  # it is wider than its panel, and must not push the others away
    axes[1].set_xlabel(" \n")
    reading = (
        "One transaction of each kind, on one core; scales in powers of ten. Middle: what the leader takes beyond what "
        "SQLite alone takes to execute it."
    )
    return finish(figure, _workloads_title(costs), None, _conditions(run), reading)


def _draw_marks(axes: Axes, costs: pd.DataFrame, words: list[str], column: str) -> None:
    formats = list(dict.fromkeys(costs["log_format"]))
    for place, one in enumerate(words):
        values = costs.loc[costs["words"] == one, column].dropna()
        if len(values):
            axes.plot([values.min(), values.max()], [place, place], color="#c9ced6", linewidth=1.4, zorder=1)
    for shift, log_format in enumerate(formats):
        shown = costs[costs["log_format"] == log_format]
        axes.plot(
            shown[column],
            [words.index(one) + (shift - (len(formats) - 1) / 2) * 0.2 for one in shown["words"]],
            linestyle="none",
            marker=_MARKERS.get(str(log_format), "o"),
            markersize=7.5,
            markeredgecolor="white",
            markeredgewidth=0.8,
            color=LOG_FORMAT_COLOURS.get(str(log_format), FAINT),
            label=str(log_format),
            zorder=3,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_bytes_words if column == "body_bytes" else _time_words)
    quiet_axes(axes)


def _workloads_title(costs: pd.DataFrame) -> str:
    sizes = costs.pivot_table(index="words", columns="log_format", values="body_bytes", sort=False)
    if "wal" not in sizes or "logical" not in sizes:
        return "What one transaction costs, by what it does"
    factor = sizes["wal"] / sizes["logical"]
    most = factor.idxmax()
    return (
        f"Pages cost most where one row touches many of them: {number(factor.max())} times the bytes of the row "
        f"for “{most}”"
    )


def workloads_alt(run: RunFolder) -> str:
    """What `draw_workloads` shows."""
    costs = _workloads(run)
    if costs.empty:
        return _NOTHING
    parts = []
    for words, rows in costs.groupby("words", sort=False):
        figures = ", ".join(
            f"{row.log_format} {number(row.body_bytes)} bytes, {number(row.capture_us)} µs captured, "
            f"{number(row.follower_us)} µs applied"
            for row in rows.itertuples()
        )
        parts.append(f"{words}: {figures}")
    return "Marks of bytes and CPU time for one transaction of each kind. " + "; ".join(parts) + "."


def _conditions(run: RunFolder) -> list[str]:
    row_bytes = run.parameters.get("row_bytes")
    beside = [f"{row_bytes} bytes beside each counter"] if row_bytes else []
    alone = "two databases of one process, without broker, replication log and fsync"
    return [alone, *beside, *conditions_of(run, clustered=False)]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _rows(value: float) -> str:
    return f"{_count(value)} {'row' if value == 1 else 'rows'}"


def _rows_words(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{value:,.0f}"


def _time(value_us: float) -> str:
    if value_us >= 1e6:
        return f"{number(value_us / 1e6)} s"
    return f"{number(value_us / 1e3)} ms" if value_us >= 1e3 else f"{number(value_us)} µs"


def _bytes(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} MB"
    return f"{value / 1e3:g} kB" if value >= 1e3 else f"{value:g} B"


_bytes_words = FuncFormatter(lambda value, _: _bytes(value))
_time_words = FuncFormatter(lambda value, _: _time(value))
