"""Charts of `follower_crash`: what clients got around the crash, and which entries the follower had, got and missed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.spans import Rule, spans_of
from workbench.charts.style import (
    GREEN,
    INK,
    SKY,
    VERMILION,
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

_TITLE = "A follower crashes and comes back"
_NOTHING = "No crash was recorded, so there is nothing to show."
_RULES = (
    Rule("down", frozenset({"killed"}), frozenset({"restarted"})),
    Rule("starts", frozenset({"restarted"}), frozenset({"asks for what it missed"})),
    Rule("catches up", frozenset({"asks for what it missed"}), frozenset({"caught up"})),
)
_LOOKS = {**LOOKS, "starts": Look(mix(SKY, "#ffffff", 0.5))}
_MARKS = {"killed": (VERMILION, "-"), "restarted": (INK, "-"), "caught up": (mix(GREEN, "#000000", 0.3), "--")}
_RATE_MINIMUM = 100
"""With fewer entries, how fast they came says more of the first answer than of the rest."""
_NEEDED = {"ack", "position_on_disk", "first_entry_fetched", "entries_missed", "entries_fetched", "entries_sent_twice"}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"rates": _draw_rates(run), "positions": _draw_positions(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {"rates": _rates_alt(run), "positions": _positions_alt(run)}


def _cells(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not _NEEDED.issubset(summary.columns):
        return pd.DataFrame()
    return summary[summary["position_recovered"] != "0.0"]


# Rates over time.


def _draw_rates(run: RunFolder) -> Figure:
    cells, events, rates = _cells(run), table_of(run, "events"), table_of(run, "rates")
    if cells.empty or events.empty or rates.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, panels = new_timeline([f"Ack policy {ack}" for ack in cells["ack"]], lanes=1, shared=False)
    end_ms = max(end_of(rates[rates["cell"] == cell]) for cell in cells["cell"])
    for place, (_, row) in enumerate(cells.iterrows()):
        of_cell = events[events["cell"] == row["cell"]]
        draw_timeline(
            panels[place],
            rates[rates["cell"] == row["cell"]],
            marks=[
                Mark(event.at_ms, event.event, *_MARKS[event.event], event.event)
                for event in of_cell.itertuples()
                if event.event in _MARKS
            ],
            spans=spans_of(of_cell, _RULES, end_of(rates[rates["cell"] == row["cell"]])),
            looks=_LOOKS,
        )
        for axes in panels[place]:
            axes.set_xlim(0, end_ms / 1e3)
            if place < len(cells) - 1:
                axes.set_xlabel("")
    reading = f"Operations that ended well, in tenths of a second. Reads go to {_where(run)}."
    return finish(figure, _rates_title(cells), run, [_conditions(cells)], reading)


def _where(run: RunFolder) -> str:
    policy = str(run.parameters.get("read_policy", "any"))
    words = {"any": "any replica: one that is down is asked in vain, and another one after a while"}
    return words.get(policy, {"leader": "the leader", "sticky": "one replica a session"}.get(policy, policy))


def _conditions(cells: pd.DataFrame) -> str:
    return f"{int(cells['followers'].iloc[0])} followers, one of them killed by SIGKILL"


def _rates_title(cells: pd.DataFrame) -> str:
    parts = []
    for _, row in cells.iterrows():
        waits = row["writes_per_s_down"] < 0.02 * row["writes_per_s_before"]
        parts.append(f"under {row['ack']} writes {'wait until it is back' if waits else 'go on'}")
    return f"While a follower is down, {', '.join(parts)}"


def _rates_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = [
        f"{row['ack']}: {number(row['writes_per_s_before'])} writes and {number(row['reads_per_s_before'])} reads a "
        f"second before the crash, {number(row['writes_per_s_down'])} and {number(row['reads_per_s_down'])} while it "
        f"was down for {number(row['down_ms'] / 1e3)} s; back and caught up "
        f"{number((row['restart_ms'] + row['catch_up_ms']) / 1e3)} s after the restart"
        for _, row in cells.iterrows()
    ]
    return "Rates of successful writes and reads over time around the crash of a follower. " + "; ".join(parts) + "."


# Positions.


def _index(text: str) -> int:
    return int(str(text).partition(".")[2])


def _draw_positions(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (axes,) = new_figure(1.75 + 0.95 * len(cells))
    ends = [_index(row["position_on_disk"]) + int(row["entries_fetched"]) for _, row in cells.iterrows()]
    for place, (_, row) in enumerate(cells.iterrows()):
        _draw_log(axes, place, row, max(ends))
    axes.set_yticks(range(len(cells)), [f"ack policy\n{ack}" for ack in cells["ack"]])
    axes.set_ylim(len(cells) - 0.5, -0.62)
    axes.set_xlim(0, max(ends) * 1.02)
    axes.set_xlabel("index of the entry in the log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(axis="y", labelsize=10, labelcolor=INK)
    quiet_axes(axes)
    reading = "Grey: on the follower's disk when it was killed. Green: fetched after its return. Positions: term.index."
    return finish(figure, _positions_title(cells), run, [_conditions(cells)], reading)


def _draw_log(axes: Axes, place: int, row: pd.Series, end: int) -> None:
    had, fetched = _index(row["position_on_disk"]), int(row["entries_fetched"])
    first, twice = _index(row["first_entry_fetched"]), int(row["entries_sent_twice"])
    axes.barh(place, had, color="#b9c0cb", height=0.36, linewidth=0)
    axes.barh(place, fetched, left=max(first - 1, 0), color=GREEN, height=0.36, linewidth=0)
    if twice:
        axes.barh(place, min(twice, had), left=max(had - twice, 0), color=VERMILION, height=0.16, linewidth=0)
    axes.plot([had, had], [place - 0.3, place + 0.3], color=INK, linewidth=1.6)
    words = f"{fetched:,} fetched, {twice:,} sent twice"
    if fetched >= _RATE_MINIMUM:
        words += f": {round(row['catch_up_entries_per_s'], -2):,.0f} entries/s"
    is_inside = fetched > 0.45 * end
    _write(axes, had + fetched / 2 if is_inside else had + fetched, place, words, "center" if is_inside else "left")
    side = "right" if had > 0.3 * end else "left"
    _write(axes, had, place - 0.36, f"on disk up to {row['position_on_disk']}", side, INK)
    side = "left" if had < 0.7 * end else "right"
    _write(axes, had, place + 0.36, f"first fetched {row['first_entry_fetched']}", side, mix(GREEN, "#000000", 0.4))


def _write(axes: Axes, at: float, height: float, text: str, side: str, colour: str = "") -> None:
    """`side`: where the text ends (right), begins (left) or has its middle. Without a colour it stands on or behind a
    bar."""
    axes.annotate(
        text,
        (at, height),
        xytext=({"left": 5, "right": -5}.get(side, 0), 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=9,
        color=colour or ("white" if side == "center" else INK),
        fontweight="bold" if colour else "normal",
    )


def _positions_title(cells: pd.DataFrame) -> str:
    row = cells.loc[cells["entries_fetched"].idxmax()]
    twice = int(cells["entries_sent_twice"].sum())
    again = "none of them twice" if twice == 0 else f"{twice} that it had already"
    return (
        f"Killed at {row['position_on_disk']}, it asks for {row['first_entry_fetched']} and gets "
        f"{int(row['entries_fetched']):,} entries in {number(row['catch_up_ms'])} ms, {again}"
    )


def _positions_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = [
        f"{row['ack']}: on disk up to {row['position_on_disk']}, first fetched {row['first_entry_fetched']}, "
        f"{int(row['entries_fetched'])} entries fetched in {number(row['catch_up_ms'])} ms, "
        f"{int(row['entries_sent_twice'])} of them sent twice"
        for _, row in cells.iterrows()
    ]
    return "Bars of a follower's log: what it had on disk at its crash, and what it fetched. " + "; ".join(parts) + "."
