"""What clients got while a cluster was disturbed: rates of reads and writes over time, and who was in which state.

    figure, (panels,) = new_timeline(["the cell"], lanes=3)
    draw_timeline(panels, rates, marks=[Mark(1_200, "replica-1 killed")], spans=spans_of(events, RULES, end_ms))

A timeline has two panels, writes and reads, and with lanes a third one that shows each replica's state as bars. Rates
are rows of `workbench.metrics.rates_over_time`, of one cell; what did not end well is stacked on top of what did. Marks
are moments, each a line through all panels; states come from `workbench.charts.spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.spans import Span
from workbench.charts.style import BLUE, FAINT, GREEN, INK, VERMILION, few_ticks, mix, new_figure, number

KIND_COLOURS = {"write": BLUE, "read": GREEN}
LABEL_ROWS_MAX = 3
_LABEL_SIZE = 8.5
_LABEL_ROW_POINTS = 11.5
_LABEL_GAP_POINTS = 5.0
_USUAL_MAX = 4.0
"""How many times the usual rate fits."""
_RATE_HEIGHT_IN, _LANE_HEIGHT_IN = 1.25, 0.26


class Mark(NamedTuple):
    """A moment, as a line. `short`: its label where there are too many marks for all labels; empty: it is left out."""

    at_ms: float
    label: str = ""
    colour: str = INK
    dashes: str = "-"
    short: str = ""


class Look(NamedTuple):
    """How a state's bar looks. `hatch` as matplotlib has it."""

    colour: str
    hatch: str = ""


LOOKS: Mapping[str, Look] = {
    "leads": Look(mix(BLUE, "#ffffff", 0.25)),
    "down": Look(mix(VERMILION, "#ffffff", 0.55), "////"),
    "paused": Look(mix(VERMILION, "#ffffff", 0.7), "...."),
    "cut off": Look(mix(VERMILION, "#ffffff", 0.7), "xxxx"),
    "catches up": Look(mix(GREEN, "#ffffff", 0.55)),
}
"""States that mean the same in every chart."""


def end_of(rates: pd.DataFrame) -> float:
    """The end of the last bucket, in ms; 0 without any."""
    times = np.unique(rates["at_ms"]) if len(rates) else np.array([])
    return float(times[-1] + _bucket_ms(times)) if len(times) else 0.0


def new_timeline(titles: Sequence[str], *, lanes: int = 0, shared: bool = True) -> tuple[Figure, list[list[Axes]]]:
    """A figure with one timeline a title, one below the other, each with its panels.

    `lanes`: how many rows the panel of states has. `shared`: one time axis for all of them.
    """
    rows = 3 if lanes else 2
    lanes_in = 0.12 + _LANE_HEIGHT_IN * lanes
    heights = [_RATE_HEIGHT_IN, _RATE_HEIGHT_IN, lanes_in][:rows] * len(titles)
    figure, axes = new_figure(
        sum(heights) + 1.15 + 0.75 * len(titles),
        rows=len(heights),
        gridspec_kw={"height_ratios": heights},
        sharex=shared,
    )
    panels = [axes[at : at + rows] for at in range(0, len(axes), rows)]
    for (first, *_), title in zip(panels, titles, strict=True):
        first.set_title(title)
    return figure, panels


def draw_timeline(
    panels: Sequence[Axes],
    rates: pd.DataFrame,
    *,
    marks: Sequence[Mark] = (),
    spans: Sequence[Span] = (),
    lanes: Iterable[str] = (),
    looks: Mapping[str, Look] = LOOKS,
) -> None:
    """Draw one cell into its panels. `lanes`: the names of all lanes from top to bottom, by default those of spans."""
    end_ms = max([end_of(rates), *(span.to_ms for span in spans)])
    for axes, kind in zip(panels, KIND_COLOURS, strict=False):
        _draw_rates(axes, rates[rates["kind"] == kind], kind)
    for axes in panels:
        axes.set_xlim(0, max(end_ms, 1.0) / 1e3)
        axes.tick_params(labelbottom=axes is panels[-1])
    if len(panels) > 2:
        _draw_spans(panels[2], spans, list(lanes) or sorted({span.lane for span in spans}), looks)
    panels[-1].set_xlabel("seconds since the load began")
    for mark in _label_marks(panels[0], marks):
        for axes in panels:
            axes.axvline(mark.at_ms / 1e3, color=mark.colour, linestyle=mark.dashes, linewidth=1.1, zorder=4)


def _bucket_ms(times: np.ndarray) -> float:
    return float(np.diff(times).min()) if len(times) > 1 else 100.0


def _draw_rates(axes: Axes, rates: pd.DataFrame, kind: str) -> None:
    colour = KIND_COLOURS[kind]
    at_ms = rates["at_ms"].to_numpy(dtype=float)
    ok, bad = (rates[name].to_numpy(dtype=float) for name in ("ok_per_s", "not_ok_per_s"))
    if len(at_ms):
        at_s = np.append(at_ms, at_ms[-1] + _bucket_ms(at_ms)) / 1e3
        axes.stairs(ok, at_s, fill=True, color=mix(colour, "#ffffff", 0.6), linewidth=0)
        axes.stairs(ok, at_s, color=colour, linewidth=1.3)
        if bad.any():
            axes.stairs(ok + bad, at_s, baseline=ok, fill=True, color=VERMILION, linewidth=0)
    _scale(axes, at_ms, ok + bad)
    axes.set_ylabel(f"{kind}s/s")
    axes.yaxis.set_major_locator(few_ticks())
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    sns.despine(ax=axes, left=True)
    axes.grid(visible=False, axis="x")


def _scale(axes: Axes, at_ms: np.ndarray, rates: np.ndarray) -> None:
    """Room for what is usual: the bursts in which all is done that had to wait are cut off, or else nothing could be
    seen but them. The highest one says how high it is."""
    highest = float(rates.max(initial=1.0))
    usual = float(np.median(rates[rates > 0])) if (rates > 0).any() else highest
    top = min(highest * 1.08, usual * _USUAL_MAX)
    axes.set_ylim(0, top)
    if highest > top:
        at_s = at_ms[int(rates.argmax())] / 1e3
        text = axes.text(
            at_s, top * 0.96, f" bursts up to {number(highest)}", fontsize=8, color=INK, va="top", zorder=6
        )
        text.set_horizontalalignment("right" if at_s > at_ms[-1] / 2e3 else "left")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8})


def _draw_spans(axes: Axes, spans: Sequence[Span], lanes: Sequence[str], looks: Mapping[str, Look]) -> None:
    """One row a lane; a state's name stands in its bar where there is room."""
    for place, lane in enumerate(lanes):
        axes.axhline(place, color="#c9ced6", linewidth=1, zorder=1)
        for span in (one for one in spans if one.lane == lane):
            look = looks.get(span.state, Look(FAINT))
            bounds = [(span.from_ms / 1e3, (span.to_ms - span.from_ms) / 1e3)]
            axes.broken_barh(
                bounds, (place - 0.4, 0.8), facecolor=look.colour, hatch=look.hatch, edgecolor="white", zorder=3
            )
    axes.set_yticks(range(len(lanes)), list(lanes))
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True)
    _lay_out(axes)
    for span in spans:
        if span.lane in lanes:
            _name_span(axes, span, lanes.index(span.lane))


def _name_span(axes: Axes, span: Span, place: int) -> None:
    middle = (span.from_ms + span.to_ms) / 2e3
    text = axes.text(middle, place, span.state, ha="center", va="center", fontsize=8, color=INK, zorder=5)
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
    left, right = (axes.transData.transform((at_ms / 1e3, 0))[0] for at_ms in (span.from_ms, span.to_ms))
    if text.get_window_extent().width > right - left - 4:
        text.remove()


def _label_marks(axes: Axes, marks: Sequence[Mark]) -> list[Mark]:
    """Write the labels above `axes`, each at its line, so that none covers another; the marks that are to be drawn."""
    _lay_out(axes)
    shown = list(marks)
    rows = _rows_of(axes, shown)
    if max(rows, default=0) >= LABEL_ROWS_MAX:
        shown = [mark._replace(label=mark.short) for mark in marks if mark.short]
        rows = [min(row, LABEL_ROWS_MAX - 1) for row in _rows_of(axes, shown)]
    for mark, row in zip(shown, rows, strict=True):
        axes.annotate(
            mark.label,
            (mark.at_ms / 1e3, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + _LABEL_ROW_POINTS * row),
            textcoords="offset points",
            ha="right" if _is_left_of(axes, mark) else "left",
            va="bottom",
            fontsize=_LABEL_SIZE,
            color=mark.colour,
            annotation_clip=False,
        )
    if rows and axes.get_title(loc="left"):
        axes.set_title(axes.get_title(loc="left"), pad=8 + _LABEL_ROW_POINTS * (max(rows) + 1))
    return shown


def _lay_out(axes: Axes) -> None:
    """Let the figure decide where everything stands, so that lengths on it are known."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()


def _width(axes: Axes, label: str) -> float:
    """In pixels."""
    text = axes.text(0, 0, label, fontsize=_LABEL_SIZE)
    width = float(text.get_window_extent().width)
    text.remove()
    return width


def _is_left_of(axes: Axes, mark: Mark) -> bool:
    """A label begins at its line; one that would leave the axes on the right ends there."""
    end: float = axes.transData.transform((mark.at_ms / 1e3, 0))[0] + _width(axes, mark.label)
    return end > float(axes.bbox.x1)


def _rows_of(axes: Axes, marks: Sequence[Mark]) -> list[int]:
    """The lowest row in which each label covers no earlier one."""
    gap = _LABEL_GAP_POINTS * axes.figure.dpi / 72
    taken: list[list[tuple[float, float]]] = []
    rows = []
    for mark in marks:
        at, width = axes.transData.transform((mark.at_ms / 1e3, 0))[0], _width(axes, mark.label)
        low, high = (at - width, at) if _is_left_of(axes, mark) else (at, at + width)
        free = (
            row for row, used in enumerate(taken) if all(high + gap <= one or low >= two + gap for one, two in used)
        )
        row = next(free, len(taken))
        if row == len(taken):
            taken.append([])
        taken[row].append((low, high))
        rows.append(row)
    return rows
