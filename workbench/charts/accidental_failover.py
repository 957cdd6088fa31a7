"""Charts of `accidental_failover`: false failovers over congestion and timeout, and what they did to clients.

The heat map of a run has the recorded one of the other world beside it, where the project's examples are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from workbench.charts.style import (
    BLUE,
    FAINT,
    INK,
    VERMILION,
    finish,
    new_figure,
    no_data,
    number,
    quiet_axes,
    table_of,
)
from workbench.errors import WorkbenchError
from workbench.results import RunFolder

WINDOWS = ("before", "during", "after")
EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"
_TITLE = "When does a slow network depose a healthy leader?"
_NOTHING = "No cell was observed, so there is nothing to show."
_COLUMNS = {"cell", "congestion", "election_timeout_ms", "false_failovers", "false_failovers_per_min"}
_MAP = LinearSegmentedColormap.from_list("failovers", ["#f3f5f8", "#fde0c5", "#ee9a62", VERMILION, "#7a2d00"])
_PANELS_MAX = 3


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"failovers": _draw_map(run), "timeline": _draw_timeline(run), "windows": _draw_windows(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    cells = _cells(run)
    if cells.empty:
        return dict.fromkeys(("failovers", "timeline", "windows"), _NOTHING)
    told = "; ".join(
        f"{_congestion_words(row['congestion'])}, timeout {row['election_timeout_ms']:g} ms: "
        f"{number(row['false_failovers_per_min'])} a minute"
        for _, row in cells.iterrows()
    )
    rates = {window: _mean(cells, f"writes_per_s_{window}") for window in WINDOWS}
    clients = ", ".join(f"{number(rate)} {window}" for window, rate in rates.items())
    return {
        "failovers": "A heat map of false failovers a minute over congestion and election timeout. " + told + ".",
        "timeline": "Acknowledged writes a second over time at the shortest election timeout, one panel a congestion, "
        "times without a leader shaded, each new leader marked. " + told + ".",
        "windows": f"Acknowledged writes a second around false failovers, on average {clients}.",
    }


def _mean(cells: pd.DataFrame, name: str) -> float:
    values = cells[name].dropna() if name in cells else pd.Series(dtype=float)
    return float(values.mean()) if len(values) else float("nan")


def _cells(run: RunFolder) -> pd.DataFrame:
    """The cells with all protections; those of the others if there are no such."""
    summary = run.summary
    if summary.empty or not set(summary.columns).issuperset(_COLUMNS) or table_of(run, "rates").empty:
        return pd.DataFrame()
    if not {"pre_vote", "check_quorum"} <= set(summary.columns):
        return summary
    usual = summary[summary["pre_vote"].astype(bool) & summary["check_quorum"].astype(bool)]
    return usual if len(usual) else summary.drop_duplicates(["congestion", "election_timeout_ms"])


def _congestion_words(value: float) -> str:
    return f"{value:g} times the bandwidth" if value else "no bound"


def _conditions(run: RunFolder) -> list[str]:
    told = {
        "rate_per_s": "{} writes due a second",
        "value_bytes": "{} bytes each",
        "sessions": "{} sessions",
        "ack": "ack policy {}",
    }
    found = []
    for name, words in told.items():
        if name in run.parameters:
            value = run.parameters[name]
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            found.append(words.format(shown if isinstance(shown, str) else number(float(shown))))
    return found


# The map.


def _companion(run: RunFolder) -> RunFolder | None:
    """The recorded run of the other world."""
    other = "simulated" if run.info.get("world") == "real" else "real"
    for name in ("accidental_failover", "accidental_failover_simulated"):
        try:
            found = RunFolder.open(EXAMPLES / name)
        except WorkbenchError:
            continue
        if found.info.get("world") == other and not _cells(found).empty:
            return found
    return None


def _draw_map(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    companion = _companion(run)
    shown = [(run, cells)] + ([(companion, _cells(companion))] if companion is not None else [])
    shown.sort(key=lambda one: one[0].info.get("world") != "real")
    widths = [max(found["congestion"].nunique(), 2) for _, found in shown]
    timeouts = max(found["election_timeout_ms"].nunique() for _, found in shown)
    figure, panels = new_figure(2.25 + 0.55 * timeouts, columns=len(shown), width_ratios=widths)
    top = max(float(found["false_failovers_per_min"].max()) for _, found in shown)
    for axes, (one, found) in zip(panels, shown, strict=True):
        _draw_panel(axes, found, max(top, 1.0))
        world = "Real processes" if one.info.get("world") == "real" else "Simulated world"
        axes.set_title(world if one is run else f"{world}, a recorded run")
        if axes is not panels[0]:
            axes.set_ylabel("")
    reading = (
        "A cell: false failovers a minute. Below each load, how long the queue can hold a heartbeat back, "
        "to be compared with the timeout on the left."
    )
    return finish(figure, _finding(cells), run, _conditions(run), reading)


def _draw_panel(axes: Axes, cells: pd.DataFrame, top: float) -> None:
    grid = cells.pivot_table(index="election_timeout_ms", columns="congestion", values="false_failovers_per_min")
    grid = grid.sort_index(ascending=False)
    words = grid.map(lambda value: "–" if np.isnan(value) else "0" if value == 0 else f"{value:.0f}")
    sns.heatmap(
        grid,
        ax=axes,
        annot=words,
        fmt="",
        cmap=_MAP,
        vmin=0,
        vmax=top,
        cbar=False,
        linewidths=2,
        linecolor="white",
        annot_kws={"fontsize": 12, "fontweight": "bold"},
    )
    queues = cells.groupby("congestion")["queue_ms_max"].max() if "queue_ms_max" in cells else pd.Series(dtype=float)
    axes.set_xticklabels([_column_words(float(load), queues) for load in grid.columns], rotation=0)
    axes.set_yticklabels([f"{value:g}" for value in grid.index], rotation=0)
    axes.set_xlabel("offered bytes / bandwidth, and the longest queue")
    axes.set_ylabel("election timeout, ms")
    axes.tick_params(length=0)


def _column_words(load: float, queues: pd.Series) -> str:
    if not load:
        return "no bound"
    queue_ms = float(queues.get(load, float("nan")))
    return f"{load:g} ×\n" + (f"{number(queue_ms)} ms" if load > 1 and np.isfinite(queue_ms) else "short")


def _finding(cells: pd.DataFrame) -> str:
    worst = cells[cells["congestion"] == cells["congestion"].max()].sort_values("election_timeout_ms")
    short, long = worst.iloc[0], worst.iloc[-1]
    if not cells["false_failovers"].sum():
        return "No leader lost its place"
    if not short["false_failovers"]:
        return f"{int(cells['false_failovers'].sum())} healthy leaders were deposed"
    calm = cells.loc[cells["congestion"] == 0, "false_failovers"]
    without = "; without congestion none was" if len(calm) and not calm.sum() else ""
    begin = f"Under congestion a timeout of {short['election_timeout_ms']:g} ms deposes a healthy leader"
    often = f"{number(short['false_failovers_per_min'])} times a minute"
    if short["election_timeout_ms"] == long["election_timeout_ms"]:
        return f"{begin} {often}{without}"
    rest = "never" if not long["false_failovers"] else f"{number(long['false_failovers_per_min'])} times"
    return f"{begin} {often}, one of {long['election_timeout_ms']:g} ms {rest}{without}"


# Over time.


def _draw_timeline(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    shortest = cells[cells["election_timeout_ms"] == cells["election_timeout_ms"].min()].sort_values("congestion")
    places = np.unique(np.linspace(0, len(shortest) - 1, min(len(shortest), _PANELS_MAX)).round().astype(int))
    shown = shortest.iloc[places]
    figure, panels = new_figure(1.5 + 1.35 * len(shown), rows=len(shown), sharex=True, sharey=True)
    rates, failovers, events = (table_of(run, name) for name in ("rates", "failovers", "events"))
    for axes, (_, cell) in zip(panels, shown.iterrows(), strict=True):
        _draw_rates(axes, cell, *(_of(table, str(cell["cell"])) for table in (rates, failovers, events)))
    usual = rates.loc[(rates["kind"] == "write") & (rates["ok_per_s"] > 0), "ok_per_s"]
    panels[0].set_ylim(0, 2.2 * float(usual.median()) if len(usual) else 1)
    panels[0].set_xlim(left=0)
    panels[-1].set_xlabel("seconds since the load began")
    panels[len(panels) // 2].set_ylabel("acknowledged writes/s")
    reading = (
        "Grey: the link is slow. Orange: nobody leads. A line: another replica leads, though nobody has crashed. "
        "Bursts, in which all is acknowledged that had to wait, are cut off."
    )
    conditions = [f"election timeout {shown['election_timeout_ms'].iloc[0]:g} ms", *_conditions(run)]
    return finish(figure, _timeline_finding(shown), run, conditions, reading)


def _of(table: pd.DataFrame, cell: str) -> pd.DataFrame:
    return table[table["cell"] == cell] if len(table) else table


def _draw_rates(
    axes: Axes, cell: pd.Series, rates: pd.DataFrame, failovers: pd.DataFrame, events: pd.DataFrame
) -> None:
    writes = rates[rates["kind"] == "write"]
    at_s = writes["at_ms"].to_numpy(dtype=float) / 1e3
    step = float(np.median(np.diff(at_s))) if len(at_s) > 1 else 0.1
    edges = np.append(at_s, at_s[-1] + step) if len(at_s) else np.array([0.0, step])
    values = writes["ok_per_s"].to_numpy(dtype=float) if len(at_s) else np.zeros(1)
    axes.stairs(values, edges, fill=True, color=BLUE, alpha=0.35, linewidth=0, zorder=2)
    axes.stairs(values, edges, color=BLUE, linewidth=1.2, zorder=3)
    link = events.loc[events["event"] == "link", "at_ms"].to_numpy(dtype=float) / 1e3 if len(events) else []
    if len(link) == 2 and cell["congestion"]:
        axes.axvspan(link[0], link[1], color="#edeff3", zorder=0, linewidth=0)
    for row in failovers.itertuples():
        begin, end = row.at_ms / 1e3, (row.at_ms + row.elected_ms) / 1e3
        axes.axvspan(begin, end, color="#f6c9a0", zorder=1, linewidth=0)
        axes.axvline(end, color=VERMILION, linewidth=1.4, zorder=4)
    count = int(cell["false_failovers"])
    axes.set_title(f"{cell['congestion']:g} times what the link carries" if cell["congestion"] else "No bound")
    words = f"{count} false failover{'' if count == 1 else 's'}"
    axes.set_title(words, loc="right", fontsize=9, fontweight="normal", color=INK)
    quiet_axes(axes, "y")


def _timeline_finding(cells: pd.DataFrame) -> str:
    worst = cells.sort_values("false_failovers_per_min").iloc[-1]
    if not worst["false_failovers"] or "without_leader_share" not in cells:
        return "What clients got at the shortest election timeout"
    share = float(worst["without_leader_share"])
    return (
        f"{worst['congestion']:g} times what the link carries: {int(worst['false_failovers'])} healthy leaders deposed "
        f"in {number(float(worst['observed_s']))} s, and nobody leads for {100 * share:.0f} % of the time"
    )


# Before, during, after.


def _draw_windows(run: RunFolder) -> Figure:
    cells, failovers = _cells(run), table_of(run, "failovers")
    title = "What does a false failover do to clients?"
    if cells.empty:
        return no_data(_NOTHING, title, run)
    failovers = failovers[failovers["cell"].isin(cells["cell"])] if len(failovers) else failovers
    if failovers.empty:
        return no_data("No leader was deposed, so there is no before and after.", title, run)
    shown = cells[cells["false_failovers"] > 0].sort_values(["election_timeout_ms", "congestion"])
    figure, (axes,) = new_figure(2.1 + 0.5 * len(shown))
    colours = {"before": BLUE, "during": VERMILION, "after": "#e8a15c"}
    for place, (_, cell) in enumerate(shown.iterrows()):
        for shift, window in zip((-0.26, 0.0, 0.26), WINDOWS, strict=True):
            rate = float(cell[f"writes_per_s_{window}"])
            axes.barh(place + shift, np.nan_to_num(rate), height=0.24, color=colours[window], linewidth=0)
            words = f"{number(rate)} {window}" if np.isfinite(rate) else f"– {window} (too short)"
            axes.annotate(
                words, (np.nan_to_num(rate), place + shift), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=8.5, color=INK,
            )  # fmt: skip
    axes.set_yticks(
        range(len(shown)),
        [f"{row['election_timeout_ms']:g} ms, {row['congestion']:g} ×" for _, row in shown.iterrows()],
    )
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.set_xlabel("acknowledged writes/s")
    axes.margins(x=0.16)
    axes.tick_params(axis="y", labelcolor=FAINT)
    quiet_axes(axes)
    reading = (
        "Before: the old leader's last two timeouts. During: nobody leads. After: the new leader's first two, with the "
        "burst of all that had waited. A row: election timeout and congestion."
    )
    return finish(figure, _windows_finding(cells), run, _conditions(run), reading)


def _windows_finding(cells: pd.DataFrame) -> str:
    """What the same link carries at the shortest and at the longest timeout, where leaders are deposed most often."""
    load = cells.sort_values("false_failovers_per_min")["congestion"].iloc[-1] if len(cells) else 0.0
    same = cells[cells["congestion"] == load].sort_values("election_timeout_ms")
    short, long = same.iloc[0], same.iloc[-1]
    told = f"{number(float(short['writes_per_s']))} writes a second at {short['election_timeout_ms']:g} ms"
    if len(same) < 2:
        return f"With false failovers the link carries {told}"
    more = f"{number(float(long['writes_per_s']))} at {long['election_timeout_ms']:g} ms"
    return f"The same link at {load:g} times its bandwidth carries {told}, {more}"
