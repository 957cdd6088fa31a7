"""The chart of a located divergence: where along the log rows of which table began to differ, and why.

    draw_divergence(divergence.rows(), entries=divergence.entries, run=run)

Entries are on the x axis, every table has a lane, and a mark stands where a statement made rows of it differ: its
colour and shape tell the cause, its number how many rows. Rows of which no entry is known stand in a column of their
own, at the right. The rows are those of `workbench.inspection.divergence.Divergence`, or of a run's table of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workbench.charts.style import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    finish,
    mix,
    new_figure,
    quiet_axes,
)
from workbench.results import RunFolder

CAUSE_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "random": ("random values", VERMILION, "o"),
    "time": ("the time", ORANGE, "s"),
    "session_state": ("counters of the connection", PURPLE, "D"),
    "limit": ("LIMIT without a total order", BLUE, "^"),
    "generated_keys": ("keys in an open order", GREEN, "v"),
    "trigger_keys": ("keys made by a trigger", mix(GREEN, "#ffffff", 0.45), "<"),
    "conflict_order": ("conflicts in an open order", SKY, ">"),
    "several_matches": ("several matches", mix(BLUE, "#ffffff", 0.5), "P"),
    "aggregate_order": ("aggregates in an open order", mix(PURPLE, "#000000", 0.35), "X"),
    "random_rowid": ("a random rowid", mix(VERMILION, "#ffffff", 0.5), "p"),
    "engine": ("the engine's version", mix(ORANGE, "#000000", 0.35), "h"),
    "physical": ("the file's layout", mix(SKY, "#000000", 0.4), "*"),
}
"""Cause -> what it is called here, its colour and its marker."""
_UNKNOWN = ("no unsafe statement", FAINT, "o")
_LABELLED_MAX = 24
"""Marks up to which each has its statement written beside it."""
_STATEMENT_CHARACTERS, _STATEMENT_CHARACTERS_MIN = 60, 14
_LANE_IN = 0.56
_LETTER_IN = 0.068
_AXES_IN = 7.7
"""About how wide a letter of a statement is, and the axes."""
_LANES_MAX = 12


def draw_divergence(rows: Iterable[Mapping[str, Any]], *, entries: int, run: RunFolder | None = None) -> Figure:
    """One figure; `entries` is the index of the last entry, `run` puts its conditions into the caption."""
    marks = _marks(rows)
    if marks.empty:
        figure, (axes,) = new_figure(2.4)
        axes.axis("off")
        axes.text(0.5, 0.5, "No row differs between the replicas.", ha="center", va="center", color=FAINT, fontsize=11)
        return finish(figure, "All replicas hold the same rows", run)
    tables = _lanes(marks)
    figure, (axes,) = new_figure(1.75 + _LANE_IN * len(tables))
    unknown_at = entries + max(1.0, 0.07 * entries)
    _draw_lanes(axes, tables, entries, unknown_at if marks["index"].isna().any() else None)
    for lane, table in enumerate(tables):
        _draw_lane(axes, marks[marks["table"] == table], lane, unknown_at, labelled=len(marks) <= _LABELLED_MAX)
    _draw_legend(axes, marks)
    conditions = [f"{_rows(marks['rows'].sum())} with other values", f"log of {entries:,} entries"]
    if len(tables) < marks["table"].nunique():
        conditions.append(f"{marks['table'].nunique() - len(tables)} more tables are not shown")
    reading = "A mark: here a statement made rows of this table differ; its number: how many rows."
    return finish(figure, _title(marks), run, conditions, reading)


def divergence_alt(rows: Iterable[Mapping[str, Any]], *, entries: int) -> str:
    """What the figure shows, for people who do not see it."""
    marks = _marks(rows)
    if marks.empty:
        return f"No divergence is shown: after {entries:,} entries all replicas hold the same rows."
    parts = []
    for row in marks.itertuples():
        where = "no known entry" if pd.isna(row.index_) else f"entry {int(row.index_)}"
        parts.append(f"{row.table}: {_rows(row.rows)} since {where} ({_look(row.cause)[0]})")
    return f"Where along a log of {entries:,} entries rows began to differ. " + "; ".join(parts) + "."


def _marks(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One line for each table, entry and cause, with the number of differing rows and one of the statements."""
    frame = pd.DataFrame([dict(row) for row in rows])
    if frame.empty:
        return pd.DataFrame()
    frame["cause"] = frame["cause"].fillna("")
    frame["statement"] = frame["statement"].fillna("")
    grouped = frame.groupby(["table", "index", "cause"], dropna=False, sort=False)
    marks = grouped.agg(rows=("key", "nunique"), statement=("statement", "first")).reset_index()
    marks["index_"] = marks["index"]
    return marks.sort_values(["index", "table"], kind="stable", na_position="last").reset_index(drop=True)


def _lanes(marks: pd.DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(marks["table"])][:_LANES_MAX]


def _look(cause: str) -> tuple[str, str, str]:
    return CAUSE_LOOKS.get(str(cause), (str(cause).replace("_", " "), FAINT, "o") if cause else _UNKNOWN)


def _draw_lanes(axes: Axes, tables: list[str], entries: int, unknown_at: float | None) -> None:
    for lane in range(len(tables)):
        axes.plot([0.5, entries + 0.5], [lane, lane], color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
    axes.set_yticks(range(len(tables)), tables)
    axes.set_ylim(len(tables) - 0.35, -0.6)
    axes.set_xlim(0.2, (unknown_at + max(0.6, 0.04 * entries)) if unknown_at else entries + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    ticks = [tick for tick in axes.get_xticks() if 1 <= tick <= entries and float(tick).is_integer()]
    axes.set_xticks(ticks)
    axes.set_xlabel("entry of the log")
    quiet_axes(axes)
    axes.tick_params(axis="y", labelsize=10.5, labelcolor=INK, length=0)
    if unknown_at:
        axes.axvline(entries + (unknown_at - entries) * 0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.text(unknown_at, len(tables) - 0.3, "entry\nunknown", ha="center", va="top", fontsize=8, color=FAINT)


def _draw_lane(axes: Axes, marks: pd.DataFrame, lane: int, unknown_at: float, *, labelled: bool) -> None:
    """The marks of one table, each with the number of its rows and, where there is room, its statement."""
    places = [unknown_at if pd.isna(index) else float(index) for index in marks["index"]]
    low, high = axes.get_xlim()
    letter = _LETTER_IN / _AXES_IN * (high - low)
    free_from = low
    for number_, (row, at) in enumerate(zip(marks.itertuples(), places, strict=True)):
        _, colour, marker = _look(str(row.cause))
        face = colour if row.cause else "white"
        axes.plot(
            [at], [lane], marker=marker, markersize=11, color=colour, markerfacecolor=face, linestyle="", zorder=3
        )
        below: dict[str, Any] = {
            "xytext": (0, -9),
            "textcoords": "offset points",
            "ha": "center",
            "va": "top",
            "fontsize": 8.5,
        }
        axes.annotate(f"{int(row.rows):,}", (at, lane), color=INK, **below)
        ends = places[number_ + 1] if number_ + 1 < len(places) else high
        if labelled and row.statement and at != unknown_at:
            free_from = _draw_statement(axes, " ".join(str(row.statement).split()), at, lane, free_from, ends, letter)


def _draw_statement(
    axes: Axes, text: str, at: float, lane: int, free_from: float, free_to: float, letter: float
) -> float:
    """Write a statement beside its mark, at the side with more room, as much of it as fits; where the room goes on."""
    before, behind = (at - free_from) / letter - 3, (free_to - at) / letter - 3
    right = behind >= min(len(text), _STATEMENT_CHARACTERS) or behind >= before
    room = int(min(_STATEMENT_CHARACTERS, behind if right else before))
    if room < _STATEMENT_CHARACTERS_MIN:
        return at
    shown = text if len(text) <= room else text[: room - 1] + "…"
    place: dict[str, Any] = {
        "xytext": (9 if right else -9, 4),
        "ha": "left" if right else "right",
        "va": "bottom",
        "fontsize": 8,
    }
    axes.annotate(
        shown, (at, lane), textcoords="offset points", color=FAINT, family="DejaVu Sans Mono", zorder=4, **place
    )
    return at + (len(shown) + 2) * letter if right else at


def _draw_legend(axes: Axes, marks: pd.DataFrame) -> None:
    handles = []
    for cause in dict.fromkeys(marks["cause"]):
        name, colour, marker = _look(cause)
        face = colour if cause else "white"
        handles.append(
            Line2D([], [], color=colour, marker=marker, markerfacecolor=face, markersize=9, linestyle="", label=name)
        )
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=min(4 if len(handles) <= 8 else 3, len(handles)),
        frameon=False,
        fontsize=9,
        handletextpad=0.2,
        columnspacing=1.4,
    )


def _title(marks: pd.DataFrame) -> str:
    known = marks.dropna(subset=["index"])
    tables = list(dict.fromkeys(marks["table"]))
    count = int(marks["rows"].sum())
    of = str(tables[0]) if len(tables) == 1 else f"{len(tables)} tables"
    where = f"{_rows(count)} of {of} {'differs' if count == 1 else 'differ'}"
    if known.empty:
        return f"{where}, and no entry of the log says why"
    causes = sorted({_look(cause)[0] for cause in known["cause"] if cause})
    why = ""
    if causes:
        why = f": {' and '.join(causes)}" if len(causes) <= 2 else f", for {len(causes)} reasons"
    return f"{where}; it began with entry\u00a0{int(known['index'].iloc[0])}{why}"


def _rows(count: float) -> str:
    return "1 row" if count == 1 else f"{int(count):,} rows"
