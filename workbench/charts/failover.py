"""Charts of `failover`: what clients got while leaders were killed, and how long each kill kept them waiting."""

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
    VERMILION,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    quiet_axes,
    table_of,
)
from workbench.charts.timeline import Mark, draw_timeline, end_of, new_timeline
from workbench.results import RunFolder

RULES = (
    Rule("leads", frozenset({"leads"}), frozenset({"cut off", "killed"})),
    Rule("cut off", frozenset({"cut off"}), frozenset({"killed"})),
    Rule("down", frozenset({"killed"}), frozenset({"restarted"})),
    Rule("catches up", frozenset({"restarted"}), frozenset({"caught up"})),
)
_MARKS = {
    "killed": ("{} killed", VERMILION, "-"),
    "leads": ("{} leads", BLUE, "--"),
    "restarted": ("restarted", GREEN, ":"),
}
_TITLE = "Which acknowledged writes survive?"
_NOTHING = "No leader was killed, so there is nothing to show."
_COLUMNS = {
    "ack",
    "kill",
    "leader",
    "successor",
    "election_ms",
    "recovery_ms",
    "lost_acknowledged_writes",
    "took_effect",
}
_TOLD_MAX = 6
_WAIT, _FIRST = mix(ORANGE, "#ffffff", 0.15), mix(BLUE, "#ffffff", 0.15)
_AGAIN, _LOST = mix(GREEN, "#ffffff", 0.3), VERMILION


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"timeline": _draw_timeline(run), "recovery": _draw_recovery(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    kills = _kills(run)
    if kills.empty:
        return dict.fromkeys(("timeline", "recovery"), _NOTHING)
    told = _told(kills)
    return {
        "timeline": "Rates of successful writes and reads over time, each replica's state below, kills marked. " + told,
        "recovery": "Bars of the time from each kill to a new leader and to its first acknowledged write; beside them "
        "how many acknowledged writes the rewind dropped. " + told,
    }


def _told(kills: pd.DataFrame) -> str:
    """Kill by kill while they are few, then from the least to the most."""
    lost = int(kills["lost_acknowledged_writes"].sum())
    if len(kills) > _TOLD_MAX:
        waits = kills["recovery_ms"].dropna()
        between = f"{number(waits.min())} to {number(waits.max())}" if len(waits) else "never"
        return (
            f"{len(kills)} kills; first acknowledged write of the new leader after {between} ms; "
            f"{lost} acknowledged writes lost."
        )
    parts = [
        f"kill {row['kill']}: {row['leader']}, then {row['successor'] or 'nobody'} leads; first acknowledged write "
        f"after {number(row['recovery_ms'])} ms; {number(row['lost_acknowledged_writes'])} acknowledged writes lost"
        for _, row in kills.iterrows()
    ]
    return ". ".join(parts) + "."


def _kills(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not set(summary.columns).issuperset(_COLUMNS):
        return pd.DataFrame()
    return summary


def _draw_timeline(run: RunFolder) -> Figure:
    kills, rates, events = _kills(run), table_of(run, "rates"), table_of(run, "events")
    if kills.empty or rates.empty or events.empty:
        return no_data(_NOTHING, _TITLE, run)
    lanes = [f"replica-{number + 1}" for number in range(int(run.parameters.get("followers", 2)) + 1)]
    figure, (panels,) = new_timeline([f"Writes acknowledged under {_ack(kills)}"], lanes=len(lanes))
    spans = spans_of(events, RULES, end_of(rates))
    draw_timeline(panels, rates, marks=_marks(events), spans=spans, lanes=lanes)
    reading = (
        "Successful operations in each tenth of a second; what failed or stayed in doubt would stand on top in red. "
        "Below, each replica: dark blue while it leads, hatched while it is down."
    )
    return finish(figure, _finding(kills, run), run, _conditions(run), reading)


def _marks(events: pd.DataFrame) -> list[Mark]:
    """Kills with their numbers; elections and returns where there is room."""
    marks, kill = [], 0
    for row in events.sort_values("at_ms", kind="stable").itertuples():
        kill += row.event == "killed"
        if row.event in _MARKS and row.at_ms > 0:
            words, colour, dashes = _MARKS[str(row.event)]
            short = str(kill) if row.event == "killed" else ""
            marks.append(Mark(row.at_ms, words.format(row.replica), colour, dashes, short))
    return marks


def _ack(kills: pd.DataFrame) -> str:
    return str(kills["ack"].iloc[0])


def _conditions(run: RunFolder) -> list[str]:
    told = {
        "rate_per_s": "{} operations due a second",
        "election_timeout_ms": "election time-out {} ms",
        "cut_off_ms": "leaders cut off for {} ms before they are killed",
    }
    return [words.format(number(float(run.parameters[name]))) for name, words in told.items() if name in run.parameters]


def _finding(kills: pd.DataFrame, run: RunFolder) -> str:
    """What the kills cost: time and acknowledged writes."""
    lost = int(kills["lost_acknowledged_writes"].sum())
    made = f"Killing the leader {_times(len(kills))} under {_ack(kills)}"
    if lost:
        noun = "write that was" if lost == 1 else "writes that were"
        return f"{made} lost {lost:,} {noun} acknowledged{_written_down(run, lost)}"
    median = float(kills["recovery_ms"].median())
    wait = f", and stopped writes for about {number(median / 1e3)} s each time" if np.isfinite(median) else ""
    return f"{made} lost no acknowledged write{wait if len(kills) > 1 else wait.removesuffix(' each time')}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _written_down(run: RunFolder, lost: int) -> str:
    found = run.invariants.get("lost_acknowledged_writes_in_rollback")
    return "; all of them are written down in rollback/" if found == lost else ""


def _draw_recovery(run: RunFolder) -> Figure:
    kills = _kills(run)
    if kills.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (left, right) = new_figure(1.95 + 0.3 * len(kills), columns=2, sharey=True, width_ratios=[3, 2])
    places = range(len(kills))
    _draw_waits(left, kills, run)
    _draw_dropped(right, kills)
    left.set_yticks(places, [_kill_words(row) for _, row in kills.iterrows()])
    left.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    for axes in (left, right):
        axes.set_ylim(len(kills) - 0.4, -0.6)
        quiet_axes(axes)
    reading = (
        "Left, orange: nobody leads; blue: a new leader has not acknowledged anything yet; grey: when silence makes a "
        "follower stand for election. Right, green: retried, and took effect again; red: lost."
    )
    return finish(figure, _recovery_finding(kills), run, _conditions(run), reading)


def _kill_words(row: pd.Series) -> str:
    return f"{row['kill']}   {row['leader']} → {row['successor'] or 'nobody'}"


def _draw_waits(axes: Axes, kills: pd.DataFrame, run: RunFolder) -> None:
    recovery = kills["recovery_ms"].to_numpy(dtype=float)
    election = np.fmin(kills["election_ms"].to_numpy(dtype=float), recovery)
    end = float(np.nanmax(np.append(recovery, 1.0))) * 1.16
    begin, last = _election_window(run)
    if last > 0:
        axes.axvspan(begin, min(last, end), color="#eceef2", zorder=0)
    places = np.arange(len(kills))
    axes.barh(places, np.nan_to_num(election), height=0.6, color=_WAIT, linewidth=0, zorder=2)
    rest = np.nan_to_num(recovery - election)
    axes.barh(places, rest, left=np.nan_to_num(election), height=0.6, color=_FIRST, linewidth=0, zorder=2)
    for place, value in enumerate(recovery):
        text = f"{number(value)} ms" if np.isfinite(value) else "no acknowledged write"
        _annotate(axes, value if np.isfinite(value) else 0.0, place, text)
    axes.set_xlim(0, end)
    axes.set_xlabel("ms from SIGKILL to the first acknowledged write")


def _election_window(run: RunFolder) -> tuple[float, float]:
    """When a follower stands for election, counted from the kill: it has heard nothing since the cut."""
    timeout, cut = (float(run.parameters.get(name, 0)) for name in ("election_timeout_ms", "cut_off_ms"))
    return max(timeout - cut, 0.0), max(2 * timeout - cut, 0.0)


def _draw_dropped(axes: Axes, kills: pd.DataFrame) -> None:
    again = _column(kills, "took_effect_again")
    lost = _column(kills, "lost_acknowledged_writes")
    places = np.arange(len(kills))
    axes.barh(places, again, height=0.6, color=_AGAIN, linewidth=0)
    axes.barh(places, lost, left=again, height=0.6, color=_LOST, linewidth=0)
    for place, (back, gone) in enumerate(zip(again, lost, strict=True)):
        text = f"{number(gone)} lost" if gone else f"{number(back)}, none lost" if back else "none"
        _annotate(axes, back + gone, place, text)
    axes.set_xlim(0, max(float((again + lost).max(initial=0)), 1.0) * 1.5)
    axes.set_xlabel("dropped acknowledged writes")


def _column(kills: pd.DataFrame, name: str) -> np.ndarray:
    return kills[name].to_numpy(dtype=float) if name in kills else np.zeros(len(kills))


def _annotate(axes: Axes, value: float, place: int, text: str) -> None:
    axes.annotate(
        text, (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9, color=INK, zorder=4
    )


def _recovery_finding(kills: pd.DataFrame) -> str:
    recovery = kills["recovery_ms"].dropna()
    if recovery.empty:
        return "After no kill did a new leader acknowledge a write"
    if len(recovery) == 1:
        return f"{number(float(recovery.iloc[0]))} ms after the leader's death its successor acknowledged a write"
    low, high = number(float(recovery.min())), number(float(recovery.max()))
    return f"A new leader acknowledged its first write {low} to {high} ms after the old one was killed"
