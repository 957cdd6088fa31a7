"""Charts of `split_brain`: who acknowledged what when, where in the log two leaders did, and what clients got."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.spans import Rule, spans_of
from workbench.charts.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    few_ticks,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
    table_of,
)
from workbench.charts.timeline import Mark, draw_timeline, end_of, new_timeline
from workbench.results import RunFolder

OLD_COLOUR, NEW_COLOUR = ORANGE, BLUE
RULES = (
    Rule("leads", frozenset({"leads", "still leads"}), frozenset({"paused", "cut off"})),
    Rule("paused", frozenset({"paused"}), frozenset({"resumed"})),
    Rule("cut off", frozenset({"cut off"}), frozenset({"mended"})),
)
_BUCKET_MS = 100.0
_INDICES_MAX = 80
_LOST = "lost_acknowledged_writes"
_TITLE = "Who stops the old leader?"
_NOTHING = "No write was acknowledged, so there is nothing to show."
_COLUMNS = {
    "cell",
    "ack",
    "how",
    "fencing",
    "double_acknowledgements",
    "old_term",
    "new_term",
    "old_leader",
    "new_leader",
}
_AWAY = {"pause": ("paused", "resumed"), "cut": ("cut off", "mended")}
_HOW_WORDS = {
    "pause": "the old leader is paused (SIGSTOP), then goes on",
    "cut": "the old leader is cut off, then mended",
}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"leaders": _draw_leaders(run), "positions": _draw_positions(run), "timeline": _draw_timeline(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    cells = _cells(run)
    if cells.empty:
        return dict.fromkeys(("leaders", "positions", "timeline"), _NOTHING)
    parts = [
        f"{'with' if row['fencing'] else 'without'} fencing, {row['how']}: "
        f"{number(row['double_acknowledgements'])} indices acknowledged by both leaders"
        for _, row in cells.iterrows()
    ]
    told = "; ".join(parts) + "."
    return {
        "leaders": "Acknowledged writes a second of the old and of the new leader over time, a panel for each way to "
        "stop the old leader, with fencing and without. " + told,
        "positions": "Which index of the log was acknowledged by the old leader, by the new one, and by both. " + told,
        "timeline": "Rates of successful writes and reads over time, and each replica's state, with fencing and "
        "without. " + told,
    }


def _cells(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    if summary.empty or not set(summary.columns).issuperset(_COLUMNS):
        return pd.DataFrame()
    return summary if len(table_of(run, "acknowledged")) else pd.DataFrame()


# Who acknowledges what.


def _draw_leaders(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    hows = list(dict.fromkeys(cells["how"]))
    fencings = sorted(cells["fencing"].unique(), reverse=True)
    figure, panels = new_figure(
        1.75 + 1.85 * len(hows), rows=len(hows), columns=len(fencings), sharex=True, sharey=True
    )
    acknowledged, events = table_of(run, "acknowledged"), table_of(run, "events")
    end_ms = float(acknowledged["at_ms"].max()) + _BUCKET_MS
    for axes, (how, fencing) in zip(panels, [(how, fencing) for how in hows for fencing in fencings], strict=True):
        found = cells[(cells["how"] == how) & (cells["fencing"] == fencing)]
        if found.empty:
            axes.axis("off")
            continue
        _draw_leader_panel(axes, found.iloc[0], acknowledged, events, end_ms)
    for axes in panels[-len(fencings) :]:
        axes.set_xlabel("seconds since the load began")
    for axes in panels[:: len(fencings)]:
        axes.set_ylabel("acknowledged writes/s")
    panels[0].set_ylim(0, _top(acknowledged))
    panels[0].yaxis.set_major_locator(few_ticks())
    reading = (
        "Orange: acknowledged by the old leader; blue: by the new one; grey: the old one is away. Black ticks: an "
        "index is acknowledged for the second time, for another entry."
    )
    return finish(figure, _finding(cells), run, _conditions(run, cells), reading)


def _top(acknowledged: pd.DataFrame) -> float:
    """Bursts after an election are cut off: what matters is who acknowledges at all."""
    counts = acknowledged.groupby(["cell", "term", acknowledged["at_ms"] // _BUCKET_MS]).size() / (_BUCKET_MS / 1e3)
    return min(float(counts.max()), 3.5 * float(counts.median())) * 1.25


def _draw_leader_panel(
    axes: Axes, cell: pd.Series, acknowledged: pd.DataFrame, events: pd.DataFrame, end_ms: float
) -> None:
    writes = acknowledged[acknowledged["cell"] == cell["cell"]]
    edges = np.arange(0, end_ms + _BUCKET_MS, _BUCKET_MS)
    is_old = writes["replica"] == cell["old_leader"]
    for part, colour in ((writes[~is_old], NEW_COLOUR), (writes[is_old], OLD_COLOUR)):
        rates = np.histogram(part["at_ms"], edges)[0] / (_BUCKET_MS / 1e3)
        axes.stairs(rates, edges / 1e3, fill=True, color=colour, alpha=0.35, linewidth=0)
        axes.stairs(rates, edges / 1e3, color=colour, linewidth=1.5)
    away = _away(events[events["cell"] == cell["cell"]] if len(events) else events, str(cell["how"]))
    if away is not None:
        axes.axvspan(*away, color="#e8eaee", zorder=0)
    doubles = _double_times(writes)
    if len(doubles):
        axes.plot(
            doubles / 1e3, [0.965] * len(doubles), "|", color=INK, ms=7, mew=0.9, transform=axes.get_xaxis_transform()
        )
    count = int(cell["double_acknowledgements"])
    axes.set_title(f"{'With' if cell['fencing'] else 'Without'} fencing, {_AWAY[str(cell['how'])][0]}")
    words = f"{number(count)} double acknowledgement{'' if count == 1 else 's'}"
    axes.set_title(words, loc="right", fontsize=9, fontweight="normal")
    axes.set_xlim(0, end_ms / 1e3)
    sns.despine(ax=axes, left=True)
    axes.grid(visible=False, axis="x")


def _away(events: pd.DataFrame, how: str) -> tuple[float, float] | None:
    """From when to when the old leader was away, in seconds."""
    if events.empty:
        return None
    begin, end = (events.loc[events["event"] == name, "at_ms"].min() / 1e3 for name in _AWAY[how])
    return (float(begin), float(end)) if np.isfinite([begin, end]).all() else None


def _double_times(writes: pd.DataFrame) -> np.ndarray:
    """When each index was acknowledged under its second term, in ms."""
    first = writes.groupby(["index", "term"])["at_ms"].min().reset_index()
    both = first[first.groupby("index")["term"].transform("nunique") > 1]
    return np.sort(both.groupby("index")["at_ms"].max().to_numpy(dtype=float))


def _finding(cells: pd.DataFrame) -> str:
    is_fenced = cells["fencing"].astype(bool)
    fenced, unfenced = (cells.loc[which, "double_acknowledgements"] for which in (is_fenced, ~is_fenced))
    parts = []
    if len(unfenced):
        total = int(unfenced.sum())
        parts.append(
            f"Without fencing two leaders acknowledged different writes at {total:,} places in the log"
            if total
            else "Without fencing no index happened to be acknowledged twice"
        )
    if len(fenced):
        total = int(fenced.sum())
        words = "none" if not total and parts else f"{'No' if not total else f'{total:,}'} double acknowledgements"
        parts.append(f"with fencing at {words}" if parts and not total else f"{words} with fencing")
    return "; ".join(parts)


def _conditions(run: RunFolder, cells: pd.DataFrame) -> list[str]:
    told = {
        "rate_per_s": "{} operations due a second",
        "election_timeout_ms": "election time-out {} ms",
    }
    found = [
        words.format(number(float(run.parameters[name]))) for name, words in told.items() if name in run.parameters
    ]
    if "insistent_fraction" in run.parameters:
        found.append(f"{percent(float(run.parameters['insistent_fraction']))} of the sessions ask the old leader only")
    return [f"ack policy {cells['ack'].iloc[0]}", *found]


# Where in the log.


def _draw_positions(run: RunFolder) -> Figure:
    cells, title = _cells(run), "Where did two leaders acknowledge different entries?"
    if cells.empty:
        return no_data(_NOTHING, title, run)
    worst = cells.sort_values("double_acknowledgements", kind="stable").iloc[-1]
    acknowledged = table_of(run, "acknowledged")
    writes = acknowledged[acknowledged["cell"] == worst["cell"]]
    indices = writes.groupby("index")["term"].nunique()
    twice = indices[indices > 1].index.to_numpy(dtype=int)
    if not len(twice):
        return no_data("No index was acknowledged twice, in any cell.", title, run)
    low = int(twice.min()) - 6
    high = min(int(writes["index"].max()), int(twice.max()) + 6, low + _INDICES_MAX)
    figure, (axes,) = new_figure(2.75)
    _draw_indices(axes, writes[writes["index"].between(low, high)], worst, twice[twice <= high])
    axes.set_xlim(low - 0.8, high + 0.8)
    shown = f"{worst['how']}, without fencing: indices {low} to {high} of {int(writes['index'].max())}"
    first = int(twice[0])
    reading = "A mark: clients were told of the success of a write in the entry at this index. Lines: two such entries."
    more = f" and {len(twice) - 1:,} others" if len(twice) > 1 else ""
    finding = f"At index {first}{more}, clients of both leaders were told of a success"
    return finish(figure, finding, run, [shown], reading)


def _draw_indices(axes: Axes, writes: pd.DataFrame, cell: pd.Series, twice: np.ndarray) -> None:
    is_old = (writes["term"] == cell["old_term"]).to_numpy(dtype=bool)
    axes.vlines(twice, 0, 1, color=mix(INK, "#ffffff", 0.55), linewidth=1.1, zorder=1)
    rows = ((1, writes[is_old], OLD_COLOUR, "s"), (0, writes[~is_old], NEW_COLOUR, "o"))
    for place, part, colour, marker in rows:
        indices = part["index"].unique()
        axes.plot(indices, [place] * len(indices), marker, color=colour, markersize=5.5, mew=0, zorder=3)
    names = [f"{cell['new_leader']}, term {cell['new_term']}", f"{cell['old_leader']}, term {cell['old_term']}"]
    axes.set_yticks([0, 1], names)
    axes.tick_params(axis="y", labelsize=10, labelcolor=INK)
    axes.set_ylim(-0.5, 1.5)
    axes.set_xlabel("index in the replication log")
    quiet_axes(axes)
    axes.grid(visible=False)


# What clients got.


def _draw_timeline(run: RunFolder) -> Figure:
    cells, rates, events = _cells(run), table_of(run, "rates"), table_of(run, "events")
    if cells.empty or rates.empty or events.empty:
        return no_data(_NOTHING, _TITLE, run)
    shown = cells[cells["how"] == cells["how"].iloc[0]]
    lanes = [f"replica-{place + 1}" for place in range(int(run.parameters.get("followers", 2)) + 1)]
    titles = [f"{'With' if fencing else 'Without'} fencing" for fencing in shown["fencing"]]
    figure, grids = new_timeline(titles, lanes=len(lanes))
    for panels, (_, cell) in zip(grids, shown.iterrows(), strict=True):
        here, happened = (table[table["cell"] == cell["cell"]] for table in (rates, events))
        marks = [
            Mark(row.at_ms, f"{row.replica} {row.event}", FAINT if row.event == "leads" else INK, "--")
            for row in happened.itertuples()
            if row.event in {"leads", *_AWAY[str(cell["how"])]} and row.at_ms > 0
        ]
        draw_timeline(panels, here, marks=marks, spans=spans_of(happened, RULES, end_of(here)), lanes=lanes)
    conditions = [_HOW_WORDS[str(shown["how"].iloc[0])], *_conditions(run, cells)]
    reading = "Successful operations in each tenth of a second; red on top: failed for certain, or in doubt."
    return finish(figure, _timeline_finding(shown), run, conditions, reading)


def _timeline_finding(cells: pd.DataFrame) -> str:
    """What became of the writes that were acknowledged."""
    is_fenced = cells["fencing"].astype(bool)
    lost = {True: cells.loc[is_fenced, _LOST], False: cells.loc[~is_fenced, _LOST]} if _LOST in cells else {}
    parts = []
    for fencing, words in ((False, "without fencing"), (True, "with fencing")):
        counts = lost.get(fencing, pd.Series(dtype=float))
        if len(counts) and counts.notna().all():
            total = int(counts.sum())
            parts.append(f"{words} {f'{total:,}' if total else 'none'}")
    if not parts:
        return "What clients of both leaders got while the old one was away, and after its return"
    return f"Acknowledged writes that were lost when the replicas agreed again: {', '.join(parts)}"
