"""The policies ranked by what they cost somebody who has said what slow writes, stale reads and losses are worth.

One bar a policy, made of its points in each respect, so that the reason for its rank can be seen. The same figure
serves a run's chart (every weight is 1) and the sliders of a notebook.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    finish,
    new_figure,
    no_data,
    number,
    quiet_axes,
)
from workbench.charts.trade_off_run import NOTHING, conditions, policies
from workbench.metrics.weighing import WEIGHED, Weighed, weigh
from workbench.results import RunFolder

EQUAL_WEIGHTS: Mapping[str, float] = {respect.column: 1.0 for respect in WEIGHED}
COLOURS = dict(zip((respect.column for respect in WEIGHED), (BLUE, SKY, VERMILION, PURPLE, ORANGE), strict=True))
_HATCHES = dict(zip((respect.column for respect in WEIGHED), ("", "///", "", "...", "\\\\\\"), strict=True))
_TITLE = "Which policy costs least?"
_TIE_SHARE = 0.15
"""What costs so little more than the best costs about the same: another run might turn it round."""
_PARTS_MAX = 2
_CUT_SHARE = 3.0
"""Bars that are so many times as long as the median one are cut off."""


def draw_ranking(run: RunFolder) -> Figure:
    """The ranking in which every unit of every respect weighs the same."""
    table = policies(run)
    if table.empty:
        return no_data(NOTHING, _TITLE, run)
    rows: list[dict[str, Any]] = table.to_dict(orient="records")
    return ranking_figure(weigh(rows, EQUAL_WEIGHTS), EQUAL_WEIGHTS, run)


def ranking_alt(run: RunFolder) -> str:
    """The chart in words."""
    table = policies(run)
    if table.empty:
        return NOTHING
    rows: list[dict[str, Any]] = table.to_dict(orient="records")
    return in_words(weigh(rows, EQUAL_WEIGHTS))


def in_words(ranked: Sequence[Weighed]) -> str:
    """The best one with the reason, then the others with their points."""
    named = ", ".join(f"{name_of(one)} {number(one.total)}" for one in ranked if not math.isnan(one.total))
    return f"Policies ranked by points, the cheapest first. {reason(ranked)}. Points: {named}."


def name_of(one: Weighed) -> str:
    """`sync · any`."""
    return f"{one.row['ack']} · {one.row['read_policy']}"


def reason(ranked: Sequence[Weighed]) -> str:
    """Which policy is best, of what its points are made, and what sets it apart from the next that is not about as
    good. One sentence or two, without the last full stop."""
    known = [one for one in ranked if not math.isnan(one.total)]
    if not known:
        return "Nothing can be ranked, since figures that count are unknown"
    best = known[0]
    ties = [one for one in known if one.total <= best.total * (1 + _TIE_SHARE)]
    if not best.total:
        return f"Nothing that weighs anything sets them apart: {len(ties)} of {len(known)} policies cost 0 points"
    words = {respect.column: respect.words for respect in WEIGHED}
    parts = sorted(((points, words[name]) for name, points in best.points.items() if points > 0), reverse=True)
    made_of = " + ".join(f"{number(points)} for {text}" for points, text in parts[:_PARTS_MAX])
    told = f"{name_of(best)} costs least: {number(best.total)} points ({made_of})"
    if len(ties) > 1:
        told += f"; about the same: {', '.join(name_of(one) for one in ties[1:])}"
    rest = known[len(ties) :]
    return f"{told}. {_against_next(best, rest[0], words)}" if rest else told


def _against_next(best: Weighed, other: Weighed, words: Mapping[str, str]) -> str:
    """Why the second is second: where it costs most more, and where it would have been cheaper."""
    more = {name: other.points[name] - best.points[name] for name in words}
    worst, gain = max(more, key=more.__getitem__), min(more, key=more.__getitem__)
    told = f"Next is {name_of(other)} with {number(other.total)}"
    told += f": {number(more[worst])} more for {words[worst]}"
    noticeable = -more[gain] > 0.1 * more[worst]
    return told + (f", {number(-more[gain])} less for {words[gain]}" if noticeable else "")


def ranking_figure(
    ranked: Sequence[Weighed], weights: Mapping[str, float], run: RunFolder | None = None, *, height_in: float = 0.0
) -> Figure:
    """The bars of `ranked`, the cheapest on top. Without `run` there are no words around them, which take longest."""
    shown = [one for one in ranked if not math.isnan(one.total)]
    figure, (axes,) = new_figure(height_in or 2.1 + 0.19 * max(len(shown), 4))
    limit = _limit(shown)
    for place, one in enumerate(shown):
        _draw_bar(axes, one, len(shown) - 1 - place, limit, best=place == 0)
    axes.set_yticks(range(len(shown)), [name_of(one) for one in reversed(shown)])
    for place, tick in enumerate(reversed(axes.get_yticklabels())):
        tick.set_fontweight("bold" if place == 0 else "normal")
        tick.set_color(INK)
    axes.set_xlim(0, limit * 1.12)
    axes.set_ylim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_xlabel("points")
    quiet_axes(axes)
    if shown:
        axes.legend(
            *_legend(axes), loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, frameon=False, fontsize=8.5,
            handlelength=1.2, columnspacing=1.2, handletextpad=0.4,
        )  # fmt: skip
    if run is None:
        return figure
    told = ", ".join(f"{number(weights.get(one.column, 0.0))} for each {one.unit_words}" for one in WEIGHED)
    left_out = len(ranked) - len(shown)
    caption = [f"Points: {told}", *([f"{left_out} policies with unknown figures left out"] if left_out else [])]
    return finish(figure, reason(ranked), run, [*caption, *conditions(run)])


def _limit(shown: Sequence[Weighed]) -> float:
    """Where the axis ends: one policy that costs far more than the others must not squeeze these."""
    totals = sorted(one.total for one in shown)
    if not totals or totals[-1] <= 0:
        return 1.0
    middle = totals[len(totals) // 2]
    return min(totals[-1], _CUT_SHARE * middle) if middle > 0 else totals[-1]


def _draw_bar(axes: Axes, one: Weighed, y: float, limit: float, *, best: bool) -> None:
    left = 0.0
    for respect in WEIGHED:
        points = one.points[respect.column]
        width = max(0.0, min(points, limit - left))
        axes.barh(
            y, width, left=left, height=0.72, color=COLOURS[respect.column], hatch=_HATCHES[respect.column],
            edgecolor="white", linewidth=0.6, label=respect.words if best else None,
        )  # fmt: skip
        left += points
    cut = one.total > limit
    axes.text(
        min(one.total, limit) + limit * 0.008, y, f"{'→ ' if cut else ''}{number(one.total)}", va="center",
        fontsize=8.5, color=INK if best else FAINT, fontweight="bold" if best else "normal",
    )  # fmt: skip


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return list(handles), [str(label) for label in labels]
