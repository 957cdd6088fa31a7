"""Charts of `new_follower`: what clients noticed while a replica joined, and how long each step of joining took."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.spans import Rule, spans_of
from workbench.charts.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
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
from workbench.charts.timeline import LOOKS, Look, Mark, draw_timeline, end_of, new_timeline
from workbench.results import RunFolder

_TITLE = "A replica joins while writes go on"
_NOTHING = "No replica joined, so there is nothing to show."
_STEPS = {
    "start_ms": ("starts", mix(SKY, "#ffffff", 0.4)),
    "snapshot_wait_ms": ("waits for a snapshot", mix(PURPLE, "#ffffff", 0.45)),
    "snapshot_transfer_ms": ("receives it", ORANGE),
    "snapshot_install_ms": ("installs it", mix(ORANGE, "#ffffff", 0.55)),
    "catch_up_ms": ("catches up", GREEN),
}
_RULES = (
    Rule("starts", frozenset({"asked to join"}), frozenset({"asks the leader"})),
    Rule("waits", frozenset({"asks the leader"}), frozenset({"snapshot ready"})),
    Rule("receives", frozenset({"snapshot ready"}), frozenset({"snapshot received"})),
    Rule("installs", frozenset({"snapshot received"}), frozenset({"snapshot installed"})),
    Rule("catches up", frozenset({"snapshot installed"}), frozenset({"member"})),
    Rule("counts", frozenset({"member"}), frozenset()),
    Rule("makes a snapshot", frozenset({"snapshot begun"}), frozenset({"snapshot made"})),
)
_LOOKS = {
    **LOOKS,
    "starts": Look(_STEPS["start_ms"][1]),
    "waits": Look(_STEPS["snapshot_wait_ms"][1]),
    "receives": Look(_STEPS["snapshot_transfer_ms"][1]),
    "installs": Look(_STEPS["snapshot_install_ms"][1]),
    "catches up": Look(_STEPS["catch_up_ms"][1]),
    "counts": Look("#d5d9e0"),
    "makes a snapshot": Look(mix(BLUE, "#ffffff", 0.45)),
}
_MARKS = {"asked to join": (INK, "-"), "member": (mix(GREEN, "#000000", 0.3), "--")}
_PHASES = ("before", "during", "after")
_NEEDED = {"database_mb", "join_ms", "snapshot_position", "first_entry", *_STEPS}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"rates": _draw_rates(run), "steps": _draw_steps(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {"rates": _rates_alt(run), "steps": _steps_alt(run)}


def _cells(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not _NEEDED.issubset(summary.columns):
        return pd.DataFrame()
    return summary[summary["snapshot_position"] != "0.0"]


def _conditions(cells: pd.DataFrame) -> list[str]:
    followers = int(cells["followers"].iloc[0])
    return [
        f"a leader and {followers} follower{'s' if followers != 1 else ''} before",
        f"ack policy {cells['ack'].iloc[0]}",
    ]


def _size_words(row: pd.Series) -> str:
    return f"{number(row['database_mb'])} MB"


# Rates over time.


def _draw_rates(run: RunFolder) -> Figure:
    cells, events, rates = _cells(run), table_of(run, "events"), table_of(run, "rates")
    if cells.empty or events.empty or rates.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, panels = new_timeline(
        [f"A database of {_size_words(row)}" for _, row in cells.iterrows()], lanes=2, shared=False
    )
    for place, (_, row) in enumerate(cells.iterrows()):
        of_cell, rates_of_cell = events[events["cell"] == row["cell"]], rates[rates["cell"] == row["cell"]]
        marks = [
            Mark(event.at_ms, event.event, *_MARKS[event.event], event.event)
            for event in of_cell.itertuples()
            if event.event in _MARKS
        ]
        spans = spans_of(of_cell, _RULES, end_of(rates_of_cell))
        draw_timeline(panels[place], rates_of_cell, marks=marks, spans=spans, looks=_LOOKS)
        if place < len(cells) - 1:
            panels[place][-1].set_xlabel("")
    reading = (
        "Operations that ended well, in tenths of a second. Below: the leader makes a snapshot (blue), and what the "
    )
    reading += "new replica does."
    return finish(figure, _rates_title(cells), run, _conditions(cells), reading)


def _rates_title(cells: pd.DataFrame) -> str:
    row = cells.iloc[-1]
    seconds, rate, before = (
        number(value) for value in (row["join_ms"] / 1e3, row["writes_per_s_during"], row["writes_per_s_before"])
    )
    return (
        f"A replica joins with {_size_words(row)} in {seconds} s, while writes go on: {rate} a second, {before} before"
    )


def _rates_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = [
        f"{_size_words(row)}: member after {number(row['join_ms'] / 1e3)} s; {number(row['writes_per_s_before'])} "
        f"writes a second before, {number(row['writes_per_s_during'])} meanwhile, the longest gap without one "
        f"{number(row['write_gap_ms_during'])} ms; snapshot at {row['snapshot_position']}, first entry applied "
        f"{row['first_entry']}"
        for _, row in cells.iterrows()
    ]
    return "Rates of successful writes and reads over time while a replica joins. " + "; ".join(parts) + "."


# Steps, and what writers notice.


def _draw_steps(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (steps, latency) = new_figure(1.95 + 0.75 * len(cells), columns=2, width_ratios=[1.35, 1.0], sharey=True)
    longest_s = float(cells["join_ms"].max()) / 1e3
    for place, (_, row) in enumerate(cells.iterrows()):
        _draw_steps_of(steps, place, row, longest_s)
        _draw_latency(latency, place, row)
    steps.set_yticks(range(len(cells)), [_size_words(row) for _, row in cells.iterrows()])
    steps.set_ylim(len(cells) - 0.45, -0.55)
    steps.tick_params(axis="y", labelsize=10.5, labelcolor=INK)
    steps.set_xlim(0, longest_s * 1.18)
    steps.set_title("From the request to a member that counts")
    steps.set_xlabel("seconds")
    tails = [f"write_latency_ms_p99_{phase}" for phase in _PHASES]
    latency.set_xlim(0, max(float(cells[tails].max(axis=None)), 1.0) * 1.75)
    latency.xaxis.set_major_locator(few_ticks())
    latency.set_title("Latency of writes: median and p99")
    latency.set_xlabel("ms from the intended start")
    for axes in (steps, latency):
        quiet_axes(axes)
    conditions = [*_conditions(cells), f"{count_range(cells['writes'])} writes"]
    reading = "Left, in this order: the process " + ", ".join(words for words, _ in _STEPS.values()) + "."
    return finish(figure, _steps_title(cells), run, conditions, reading)


def _draw_steps_of(axes: Axes, place: int, row: pd.Series, longest_s: float) -> None:
    left = 0.0
    for name, (words, colour) in _STEPS.items():
        width = max(float(row[name]), 0.0) / 1e3
        axes.barh(place, width, left=left, color=colour, height=0.5, linewidth=0.6, edgecolor="white")
        if width > longest_s * (0.04 + 0.024 * len(words.split()[0])):
            axes.text(left + width / 2, place, words.split()[0], ha="center", va="center", fontsize=8.5, color=INK)
        left += width
    axes.annotate(
        f"{number(row['join_ms'] / 1e3)} s",
        (left, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
        fontweight="bold",
    )


def _draw_latency(axes: Axes, place: int, row: pd.Series) -> None:
    """A line from the median to the 99th percentile for each phase."""
    for line, phase in enumerate(_PHASES):
        median, tail = (float(row[f"write_latency_ms_{name}_{phase}"]) for name in ("p50", "p99"))
        if np.isnan(median):
            continue
        height = place + 0.24 * (line - 1)
        colour = GREEN if phase == "during" else "#8a919d"
        axes.plot([median, tail], [height, height], color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
        axes.plot([median], [height], "o", color=colour, markersize=6)
        axes.plot([tail], [height], "D", color=colour, markersize=5)
        axes.annotate(
            f"{phase}: {number(median)} and {number(tail)}",
            (tail, height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )


def _steps_title(cells: pd.DataFrame) -> str:
    row = cells.iloc[-1]
    before, during = (number(row[f"write_latency_ms_p99_{phase}"]) for phase in ("before", "during"))
    return (
        f"Its snapshot ends at {row['snapshot_position']}, the first entry it applies is {row['first_entry']}; "
        f"meanwhile one write in a hundred takes more than {during} ms ({before} ms before)"
    )


def _steps_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = []
    for _, row in cells.iterrows():
        steps = ", ".join(f"{words} {number(row[name])} ms" for name, (words, _) in _STEPS.items())
        tails = ", ".join(f"{number(row[f'write_latency_ms_p99_{phase}'])} ms {phase}" for phase in _PHASES)
        parts.append(f"{_size_words(row)}: {steps}; 99th percentile of write latency {tails}")
    return "Bars of how long each step of joining took, and the latency of writes meanwhile. " + "; ".join(parts) + "."
