"""Charts of `simulator`: the story of a failure with and without the faults that do not matter, or of five minutes of
bad luck in a real cluster; how often each kind of fault took effect; how many faults each planted bug needs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.charts import simulator_story
from workbench.charts.simulator_run import (
    NOTHING,
    bugs_of,
    caption,
    fault_colour,
    is_real,
    real_row,
    seeds_row,
    words_of,
)
from workbench.charts.style import FAINT, INK, VERMILION, finish, new_figure, no_data, number, quiet_axes, table_of
from workbench.results import RunFolder


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    figures = {"story": simulator_story.draw(run), "faults": _draw_faults(run)}
    return figures if is_real(run) else figures | {"bugs": _draw_bugs(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    texts = {"story": simulator_story.alt_text(run), "faults": _faults_alt(run)}
    return texts if is_real(run) else texts | {"bugs": _bugs_alt(run)}


# Faults by kind.


def _kinds(run: RunFolder) -> pd.DataFrame:
    kinds = table_of(run, "faults")
    if kinds.empty or not {"kind", "planned", "took_effect"} <= set(kinds.columns):
        return pd.DataFrame()
    return kinds.sort_values(["took_effect", "planned"], ascending=False, kind="stable").reset_index(drop=True)


def _faults_finding(run: RunFolder, kinds: pd.DataFrame) -> str:
    count, different = int(kinds["took_effect"].sum()), int((kinds["took_effect"] > 0).sum())
    began = f"{count:,} faults of {different} kinds took effect"
    if is_real(run):
        row = real_row(run)
        lost = row.get("lost_acknowledged_writes")
        rest = "" if lost is None or pd.isna(lost) else f", {int(lost) or 'no'} acknowledged writes were lost"
        return f"{began}{rest}"
    row = seeds_row(run)
    broken = int(row.get("violations") or 0)
    laws = "no law was broken" if not broken else f"{broken} of them broke a law"
    return f"{began} in {int(row.get('seeds') or 0):,} seeds; {laws}"


def _faults_alt(run: RunFolder) -> str:
    kinds = _kinds(run)
    if kinds.empty:
        return NOTHING
    told = ", ".join(
        f"{words_of(row.kind)} {int(row.took_effect)} of {int(row.planned)}"
        for row in kinds.itertuples()
        if row.planned or row.took_effect
    )
    return f"How many faults of each kind took effect, of those that were planned: {told}."


def _draw_faults(run: RunFolder) -> Figure:
    kinds = _kinds(run)
    if kinds.empty:
        return no_data(NOTHING, "Which faults took effect?", run)
    figure, (axes,) = new_figure(1.35 + 0.235 * len(kinds))
    for place, row in enumerate(kinds.itertuples()):
        axes.barh(place, row.planned, height=0.72, color="#eef0f3", linewidth=0)
        axes.barh(place, row.took_effect, height=0.72, color=fault_colour(str(row.kind)), linewidth=0)
        axes.annotate(
            f"{int(row.took_effect):,} of {int(row.planned):,}",
            (max(row.planned, row.took_effect), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axes.set_yticks(range(len(kinds)), [words_of(kind) for kind in kinds["kind"]])
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.margins(x=0.1)
    axes.set_xlabel("faults")
    quiet_axes(axes)
    reading = (
        "Coloured: took effect. Grey: planned; it found nothing to strike, or left no trace that could be measured."
    )
    if not is_real(run):
        reading = "Coloured: took effect. Grey: planned, and found nothing to strike."
    return finish(figure, _faults_finding(run, kinds), None, caption(run), reading)


# Planted bugs.


def _bugs_finding(bugs: pd.DataFrame) -> str:
    caught = bugs[bugs["violations"] > 0]
    count = f"{len(caught)} of {len(bugs)}" if len(caught) < len(bugs) else f"All {len(bugs)}"
    if caught.empty or "faults_kept" not in caught:
        return f"{count} planted bugs are caught"
    drawn, kept = int(caught["faults_drawn"].sum()), int(caught["faults_kept"].sum())
    return f"{count} planted bugs are caught, and {kept} of {drawn} faults are enough for it"


def _bugs_alt(run: RunFolder) -> str:
    bugs = bugs_of(run)
    if bugs.empty:
        return NOTHING
    told = "; ".join(_bug_words(row) for _, row in bugs.iterrows())
    return f"Planted bugs, with the faults that their seeds had drawn and those that are enough: {told}."


def _bug_words(row: pd.Series) -> str:
    if not row["violations"]:
        return f"{row['bug']}, not caught by {int(row['seeds'])} seeds"
    faults = f"{int(row['faults_kept'])} of {int(row['faults_drawn'])} faults"
    return f"{row['bug']}, caught by seed {int(row['seed'])}, {faults}, {row['reason']}"


def _draw_bugs(run: RunFolder) -> Figure:
    bugs = bugs_of(run)
    if bugs.empty:
        return no_data(NOTHING, "Which planted bugs are caught?", run)
    figure, (axes,) = new_figure(1.5 + 0.62 * len(bugs))
    for place, (_, row) in enumerate(bugs.iterrows()):
        _draw_bug(axes, place, row)
    axes.set_yticks(range(len(bugs)), [f"{words_of(row['bug'])}\n({row['area']})" for _, row in bugs.iterrows()])
    axes.set_ylim(len(bugs) - 0.35, -0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    drawn = bugs["faults_drawn"] if "faults_drawn" in bugs else pd.Series([1.0])
    most = float(drawn.max(skipna=True) or 1)
    axes.set_xlim(-0.02 * most, 1.1 * most)
    axes.set_xlabel("faults in the schedule")
    quiet_axes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    reading = "Grey: faults that the seed had drawn. Orange: those that are enough to break the same law."
    return finish(figure, _bugs_finding(bugs), None, caption(run), reading)


def _draw_bug(axes: Axes, place: int, row: pd.Series) -> None:
    """What was drawn and what is kept, with a line between them; below, what broke."""
    words = f"not caught by {int(row['seeds'])} seeds"
    if row["violations"]:
        drawn, kept = float(row["faults_drawn"]), float(row["faults_kept"])
        axes.plot([kept, drawn], [place, place], color="#c9ced6", linewidth=3, zorder=2, solid_capstyle="round")
        axes.plot(drawn, place, "o", color=FAINT, markersize=9, zorder=3)
        axes.plot(kept, place, "o", color=VERMILION, markersize=11, zorder=4)
        for value in {kept, drawn}:
            axes.annotate(
                number(value), (value, place), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9,
                color=INK,
            )  # fmt: skip
        words = f"seed {int(row['seed'])}: {row['reason']}"
    axes.annotate(
        words, (0, place), xytext=(0, -17), textcoords="offset points", fontsize=8.5, color=INK
    )  # fmt: skip
