"""Charts of `trade_off`: the map of all policies, what reads cost, and the ranking by weights."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from workbench.charts.labels import Label, box_around, place_labels
from workbench.charts.style import (
    FAINT,
    GRID,
    INK,
    ack_colour,
    few_ticks,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
    separate,
)
from workbench.charts.trade_off_ranking import draw_ranking, ranking_alt
from workbench.charts.trade_off_reads import draw_reads, reads_alt
from workbench.charts.trade_off_run import NOTHING, conditions, policies
from workbench.results import RunFolder

MARKERS = {"any": "o", "sticky": "s", "read_your_writes": "D", "leader": "^", "linearizable": "P"}
_TITLE = "What does freshness cost?"
_DODGE_PT = 6.0
_MARK_PT2, _LOST_PT2 = 34.0, 120.0
_LIGHT = 0.5


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"map": _draw_map(run), "reads": draw_reads(run), "ranking": draw_ranking(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {"map": _map_alt(run), "reads": reads_alt(run), "ranking": ranking_alt(run)}


def _map_alt(run: RunFolder) -> str:
    table = policies(run)
    if table.empty:
        return NOTHING
    parts = []
    for ack, rows in table.groupby("ack", sort=False):
        rates = ", ".join(
            f"{row['read_policy']} {percent(row['stale_rate_acknowledged'])}" for _, row in rows.iterrows()
        )
        parts.append(f"{_head(str(ack), rows.iloc[0]).replace(chr(10), ', ')}; stale reads: {rates}")
    front = ", ".join(f"{row['ack']} with {row['read_policy']}" for _, row in table[table["on_front"]].iterrows())
    return (
        "Every policy as a mark: across, how long its writes take; up, what share of its reads is stale; large marks "
        f"lost acknowledged writes. {'. '.join(parts)}. Not beaten in these three: {front}."
    )


def _draw_map(run: RunFolder) -> Figure:
    table = policies(run)
    if table.empty:
        return no_data(NOTHING, _TITLE, run)
    figure, (axes,) = new_figure(5.6)
    _set_axes(axes, table)
    reading = (
        "A mark is a policy; large ones lost acknowledged writes at the failover. Strong: no other policy is better in "
        "one of the three (writes, stale reads, losses) and worse in none. Hollow: stale also against a value that "
        "another read had returned."
    )
    finish(figure, _finding(table), run, conditions(run), reading)
    figure.draw_without_rendering()
    heads = _draw_heads(axes, table)
    labels, obstacles = [], heads
    for place, (_, row) in enumerate(table.iterrows()):
        label, hollow = _draw_policy(axes, row, table, place)
        labels.append(label)
        obstacles += hollow
    labels.sort(key=lambda label: (label.at[1], label.at[0]))
    place_labels(axes, labels, obstacles)
    return figure


def _set_axes(axes: Axes, table: pd.DataFrame) -> None:
    latency = table["write_latency_ms_p50"]
    top = max(float(table[["stale_rate", "stale_rate_acknowledged_high"]].max().max()), 0.02)
    axes.set_xscale("log")
    axes.set_xlim(float(latency.min()) / 1.6, float(latency.max()) * 2.4)
    axes.set_ylim(-0.07 * top, 1.34 * top)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_major_locator(few_ticks())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %" if value >= 0 else ""))
    axes.set_xlabel("median time of a write, ms")
    axes.set_ylabel("reads older than an acknowledged write")
    quiet_axes(axes, grid="y")


def _head(ack: str, row: pd.Series) -> str:
    lost = row["lost_writes_per_failover"]
    words = "losses unknown" if pd.isna(lost) else f"{number(lost)} lost" if lost else "none lost"
    if row["may_lose_writes"] and lost == 0:
        words += ", no promise"
    return f"{ack}\n{number(row['write_latency_ms_p50'])} ms\n{words}"


def _draw_heads(axes: Axes, table: pd.DataFrame) -> list[Bbox]:
    """A line for each ack policy, with its name, latency and losses on top; the boxes that these take."""
    shared = table.drop_duplicates("ack").sort_values("write_latency_ms_p50")
    y_px = axes.bbox.y1 - 2
    at_px = [float(axes.transData.transform((x, 0))[0]) for x in shared["write_latency_ms_p50"]]
    boxes = []
    texts = []
    for x_px, (_, row) in zip(at_px, shared.iterrows(), strict=True):
        axes.axvline(row["write_latency_ms_p50"], ymax=0.83, color=GRID, linewidth=1.2, zorder=0.5)
        text = axes.text(
            *_data(axes, x_px, y_px), _head(str(row["ack"]), row), ha="center", va="top",
            fontsize=9, fontweight="bold", color=mix(ack_colour(str(row["ack"])), INK, 0.25), linespacing=1.25,
        )  # fmt: skip
        text.set_in_layout(False)
        texts.append(text)
    width = max((text.get_window_extent().width for text in texts), default=0.0) + 8
    for text, x_px, line_px in zip(texts, separate(at_px, width), at_px, strict=True):
        text.set_position(_data(axes, x_px, y_px))
        box = text.get_window_extent()
        boxes.append(box)
        if abs(x_px - line_px) > 2:
            top = _data(axes, line_px, axes.bbox.y0 + 0.83 * axes.bbox.height)
            (line,) = axes.plot(*zip(_data(axes, x_px, box.y0 - 3), top, strict=True), color=GRID, linewidth=1.2)
            line.set_in_layout(False)
    return boxes


def _data(axes: Axes, x_px: float, y_px: float) -> tuple[float, float]:
    x, y = axes.transData.inverted().transform((x_px, y_px))
    return float(x), float(y)


def _draw_policy(axes: Axes, row: pd.Series, table: pd.DataFrame, place: int) -> tuple[Label, list[Bbox]]:
    """One policy's marks; its label, and what its hollow mark takes."""
    names = list(dict.fromkeys(table["read_policy"]))
    dodge_pt = (names.index(row["read_policy"]) - (len(names) - 1) / 2) * _DODGE_PT
    figure = axes.figure
    moved = axes.transData + ScaledTranslation(dodge_pt / 72, 0, figure.dpi_scale_trans)
    strong = bool(row["on_front"])
    colour = mix(ack_colour(str(row["ack"])), "#ffffff", 0.0 if strong else _LIGHT)
    marker = MARKERS.get(str(row["read_policy"]), "o")
    x, rate = float(row["write_latency_ms_p50"]), float(row["stale_rate_acknowledged"])
    area = _MARK_PT2 + (_LOST_PT2 if row["lost_writes_per_failover"] > 0 else 0.0)
    zorder = 4 if strong else 3
    axes.vlines(
        x, row["stale_rate_acknowledged_low"], row["stale_rate_acknowledged_high"], color=colour, linewidth=1.1,
        transform=moved, zorder=2,
    )  # fmt: skip
    axes.scatter(
        [x], [rate], s=area, marker=marker, color=colour, edgecolor="white", linewidth=0.8, transform=moved,
        zorder=zorder + place / 1e3,
    )  # fmt: skip
    hollow = []
    any_knowledge = float(row["stale_rate"])
    if any_knowledge - rate > 0.005:
        axes.scatter(
            [x], [any_knowledge], s=_MARK_PT2 * 0.6, marker=marker, facecolor="white", edgecolor=colour, linewidth=1,
            transform=moved, zorder=2.5,
        )  # fmt: skip
        hollow.append(box_around(tuple(moved.transform((x, any_knowledge))), 5.0))
    at = moved.transform((x, rate))
    radius_px = (area**0.5 / 2) * figure.dpi / 72
    label = Label(
        text=str(row["read_policy"]),
        at=(float(at[0]), float(at[1])),
        radius_px=float(radius_px),
        colour=INK if strong else mix(FAINT, "#ffffff", 0.15),
        bold=strong,
    )
    return label, hollow


def _finding(table: pd.DataFrame) -> str:
    """The ack policies whose writes take least and most, and what came of it for those who read from any replica."""
    ordered = table.sort_values("write_latency_ms_p50", kind="stable")
    parts = [
        _of_ack(table[table["ack"] == ack]) for ack in dict.fromkeys((ordered["ack"].iloc[0], ordered["ack"].iloc[-1]))
    ]
    return "; ".join(parts)


def _of_ack(rows: pd.DataFrame) -> str:
    """`async: writes take 1.5 ms, a failover loses 22, 32 % of the reads from any replica are stale`."""
    spread = rows[rows["read_policy"] == "any"]
    row = (spread if len(spread) else rows).iloc[0]
    lost, rate = row["lost_writes_per_failover"], row["stale_rate_acknowledged"]
    parts = [f"{row['ack']}: writes take {number(row['write_latency_ms_p50'])} ms"]
    if not pd.isna(lost):
        parts.append(f"a failover loses {number(lost) if lost else 'none'}")
    if not pd.isna(rate):
        reads = "from any replica" if row["read_policy"] == "any" else f"under {row['read_policy']}"
        parts.append(f"{percent(rate) if rate else 'none'} of the reads {reads} are stale")
    return ", ".join(parts)
