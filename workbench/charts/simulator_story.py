"""The headline of `simulator`: faults and replicas' states on one axis of time.

Simulated: a failure as its seed had drawn it, and below with only the faults that matter. Real: the rate of
acknowledged writes, and all that struck the cluster meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from workbench.charts.simulator_run import NOTHING, STRUCK, bugs_of, caption, fault_colour, is_real, real_row, words_of
from workbench.charts.style import BLUE, FAINT, INK, VERMILION, finish, mix, new_figure, no_data, number, table_of
from workbench.charts.timeline import LOOKS, Look
from workbench.results import RunFolder

_TITLE = "Can bad luck be repeated?"
_LOOKS = {
    "leader": LOOKS["leads"],
    "candidate": Look(mix("#E69F00", "#ffffff", 0.3)),
    "down": LOOKS["down"],
    "paused": LOOKS["paused"],
    "silent": Look("#e3e6eb", "...."),
}
"""Followers are a mere line."""
_STATE_WORDS = {"leader": "leads", "candidate": "stands"}
_LANE_IN = 0.2
_LANES_NAMED_MAX = 16
_CHARACTER_SHARE = 0.0092
"""Of the axes' width, for one character of a fault's name."""
_SHORTEST_SHARE = 0.004


class _Bar(NamedTuple):
    lane: int
    kind: str
    from_s: float
    to_s: float


def draw(run: RunFolder) -> Figure:
    """The headline."""
    return _draw_real(run) if is_real(run) else _draw_failure(run)


def alt_text(run: RunFolder) -> str:
    """What it shows, in words."""
    if is_real(run):
        row = real_row(run)
        if not row or table_of(run, "states").empty:
            return NOTHING
        return (
            f"Acknowledged writes a second, faults by kind and states of replicas over time. {_real_finding(row)}. "
            f"Leaders changed {int(row['leader_changes'])} times."
        )
    bug = _shown_bug(run)
    if bug is None:
        return NOTHING
    return (
        f"Two timelines of seed {int(bug['seed'])} with the bug {bug['bug']}, each with its faults and the states of "
        f"all replicas: above with all {int(bug['faults_drawn'])} faults that were drawn, below with "
        f"{int(bug['faults_kept'])}. Both end when this happens: {bug['reason']}."
    )


# Simulated.


def _shown_bug(run: RunFolder) -> pd.Series | None:
    """Of the bugs that were caught, and whose stories were kept, the one that is told with the fewest faults.

    Those that need no fault at all come last.
    """
    bugs, states = bugs_of(run), table_of(run, "states")
    if bugs.empty or states.empty or "faults_kept" not in bugs:
        return None
    told = bugs[(bugs["violations"] > 0) & bugs["bug"].isin(states["cell"])]
    if told.empty:
        return None
    return told.sort_values("faults_kept", key=lambda kept: kept.replace(0, np.inf), kind="stable").iloc[0]


def _draw_failure(run: RunFolder) -> Figure:
    bug = _shown_bug(run)
    if bug is None:
        return no_data(NOTHING, _TITLE, run)
    parts = []
    for schedule in ("drawn", "kept"):
        states, struck = (
            table[(table["cell"] == bug["bug"]) & (table["schedule"] == schedule)] if len(table) else table
            for table in (table_of(run, "states"), table_of(run, "struck"))
        )
        parts.append((states, struck))
    ends_s = [float(bug["simulated_s"]), float(bug["kept_simulated_s"])]
    width_s = 1.03 * max(ends_s)
    bars = [_pack(struck, width_s) for _, struck in parts]
    replicas = [_replicas(states) for states, _ in parts]
    heights = [_LANE_IN * max(lanes, 1) + 0.1 for pair in zip(map(_lanes, bars), map(len, replicas), strict=True)
               for lanes in pair]  # fmt: skip
    figure, axes = new_figure(sum(heights) + 2.75, rows=4, sharex=True, gridspec_kw={"height_ratios": heights})
    titles = (
        f"As drawn: {int(bug['faults_drawn'])} faults, of which {len(parts[0][1])} had struck by then",
        f"Shrunk: {int(bug['faults_kept'])} of them, and the same law breaks",
    )
    for place, (title, end_s) in enumerate(zip(titles, ends_s, strict=True)):
        above, below = axes[2 * place], axes[2 * place + 1]
        above.set_title(title)
        _draw_faults(above, bars[place], width_s)
        _draw_states(below, parts[place][0], replicas[place], width_s)
        for one in (above, below):
            one.axvline(end_s, color=VERMILION, linewidth=2, zorder=6)
            one.tick_params(labelbottom=one is axes[-1])
    axes[-1].set_xlim(0, width_s)
    axes[-1].set_xlabel("seconds of virtual time")
    reading = (
        "Upper bars: faults, while they last. Lower bars: what a replica is, if it is not a follower. Orange line: "
        f"{bug['reason']}."
    )
    kept, drawn = int(bug["faults_kept"]), int(bug["faults_drawn"])
    enough = (
        f"{kept} of its {drawn} faults {'is' if kept == 1 else 'are'} enough"
        if kept
        else f"needs none of its {drawn} faults for it"
    )
    title = f"Seed {int(bug['seed'])} breaks {bug['law']} whenever it is run, and {enough}"
    return finish(figure, title, None, [f"planted bug: {words_of(bug['bug'])}", *caption(run)], reading)


# Real.


def _real_finding(row: Mapping[str, Any]) -> str:
    minutes = float(row["under_faults_s"]) / 60
    lost = row["lost_acknowledged_writes"]
    rest = "what became of them is unknown" if lost is None or pd.isna(lost) else f"{int(lost) or 'none'} lost"
    time = f"{number(60 * minutes)} s" if minutes < 1.5 else f"{number(round(minutes, 1))} minutes"
    return (
        f"{row['faults']} faults of {row['kinds']} kinds in {time}: "
        f"{int(row['acknowledged_writes']):,} acknowledged writes, {rest}"
    )


def _draw_real(run: RunFolder) -> Figure:
    row, states, struck, rates = real_row(run), *(table_of(run, name) for name in ("states", "struck", "rates"))
    if not row or states.empty or rates.empty:
        return no_data(NOTHING, _TITLE, run)
    width_s = max(float(states["to_ms"].max()), float(rates["at_ms"].max())) / 1e3
    shown = struck[struck["took_effect"].astype(bool)] if len(struck) else struck
    bars = _pack(shown, width_s)
    replicas = _replicas(states)
    heights = [1.3, _LANE_IN * max(_lanes(bars), 1) + 0.1, _LANE_IN * len(replicas) + 0.1]
    figure, axes = new_figure(sum(heights) + 1.7, rows=3, sharex=True, gridspec_kw={"height_ratios": heights})
    _draw_rate(axes[0], rates)
    _draw_faults(axes[1], bars, width_s)
    _draw_states(axes[2], states, replicas, width_s)
    if any(bar.kind.startswith("_") for bar in bars):
        _explain_colours(axes[1])
    for one in axes:
        one.tick_params(labelbottom=one is axes[-1])
    axes[-1].set_xlim(0, width_s)
    axes[-1].set_xlabel("seconds since the load began")
    reading = (
        "From above: what the clients got; faults that took effect, while they last; what each replica is, if it is no "
        "follower. Blue: it leads; yellow: it stands for election; hatched: down, paused, or (grey) without an answer."
    )
    return finish(figure, _real_finding(row), None, caption(run), reading)


def _draw_rate(axes: Axes, rates: pd.DataFrame) -> None:
    writes = rates[rates["kind"] == "write"].sort_values("at_ms")
    second = (writes["at_ms"] // 1e3).astype(int)
    ok = writes.groupby(second)["ok_per_s"].mean()
    if len(ok):
        edges = np.append(ok.index.to_numpy(dtype=float), float(ok.index[-1]) + 1.0)
        axes.stairs(ok.to_numpy(dtype=float), edges, fill=True, color=mix(BLUE, "#ffffff", 0.55), linewidth=0)
        axes.set_ylim(0, 2.5 * max(float(ok.median()), 1.0))
    axes.set_ylabel("writes/s")
    sns.despine(ax=axes, left=True)
    axes.grid(visible=False, axis="x")


# Bars.


def _pack(struck: pd.DataFrame, width_s: float) -> list[_Bar]:
    """A lane for each fault, so that neither bars nor names cover each other; without names if there are too many."""
    if struck.empty:
        return []
    rows = [
        (str(row.kind), float(row.from_ms) / 1e3, float(row.to_ms) / 1e3)
        for row in struck.sort_values("from_ms", kind="stable").itertuples()
    ]
    named = _lay(rows, width_s, names=True)
    return named if _lanes(named) <= _LANES_NAMED_MAX else _lay(rows, width_s, names=False)


def _lay(rows: Sequence[tuple[str, float, float]], width_s: float, *, names: bool) -> list[_Bar]:
    free_s: list[float] = []
    bars = []
    for kind, from_s, to_s in rows:
        end_s = max(to_s, from_s + _SHORTEST_SHARE * width_s)
        taken_s = max(end_s, from_s + _CHARACTER_SHARE * width_s * (len(kind) + 2)) if names else end_s
        lane = next((number for number, until_s in enumerate(free_s) if until_s <= from_s), len(free_s))
        if lane == len(free_s):
            free_s.append(0.0)
        free_s[lane] = taken_s
        bars.append(_Bar(lane, kind if names else "", from_s, end_s))
    kinds = [kind for kind, *_ in rows]
    return [bar if names else bar._replace(kind=f"_{kind}") for bar, kind in zip(bars, kinds, strict=True)]


def _lanes(bars: Sequence[_Bar]) -> int:
    return max((bar.lane + 1 for bar in bars), default=0)


def _draw_faults(axes: Axes, bars: Sequence[_Bar], width_s: float) -> None:
    for bar in bars:
        colour = fault_colour(bar.kind.removeprefix("_"))
        axes.barh(bar.lane, bar.to_s - bar.from_s, left=bar.from_s, height=0.86, color=colour, linewidth=0, zorder=3)
        if not bar.kind.startswith("_"):
            axes.text(
                bar.from_s + 0.003 * width_s, bar.lane, words_of(bar.kind), va="center_baseline", fontsize=7.5,
                color=INK, zorder=5, clip_on=False,
            )  # fmt: skip
    axes.set_ylim(max(_lanes(bars), 1) - 0.4, -0.6)
    axes.set_yticks([(max(_lanes(bars), 1) - 1) / 2], ["faults"])
    _bare(axes)


def _explain_colours(axes: Axes) -> None:
    """What was struck, in the colours of the faults."""
    handles = [Patch(color=fault_colour(kinds[0]), label=struck) for struck, kinds in STRUCK.items()]
    axes.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0.0, 0.99), frameon=False, fontsize=8,
        handlelength=1.0, columnspacing=1.2, borderaxespad=0.0,
    )  # fmt: skip


def _replicas(states: pd.DataFrame) -> list[str]:
    return sorted(states["replica"].unique(), key=lambda name: (len(name), name))


def _draw_states(axes: Axes, states: pd.DataFrame, replicas: Sequence[str], width_s: float) -> None:
    """One row a replica; what it is stands in the bar, where there is room."""
    for place, name in enumerate(replicas):
        own = states[states["replica"] == name]
        axes.plot(
            [float(own["from_ms"].min()) / 1e3, float(own["to_ms"].max()) / 1e3], [place, place], color="#c9ced6",
            linewidth=1.2, zorder=1,
        )  # fmt: skip
        for row in own[own["state"].isin(_LOOKS)].itertuples():
            look = _LOOKS[str(row.state)]
            length_s = max(row.to_ms - row.from_ms, 1.0) / 1e3
            axes.broken_barh(
                [(row.from_ms / 1e3, length_s)], (place - 0.4, 0.8), facecolor=look.colour, hatch=look.hatch,
                edgecolor="white", linewidth=0.3, zorder=3,
            )  # fmt: skip
            words = _STATE_WORDS.get(str(row.state), str(row.state)) + (f", term {row.term}" if row.term else "")
            if _CHARACTER_SHARE * width_s * len(words) < length_s:
                text = axes.text(row.from_ms / 1e3 + length_s / 2, place, words, ha="center", va="center_baseline",
                                 fontsize=7.5, color=INK, zorder=5)  # fmt: skip
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5})
    axes.set_yticks(range(len(replicas)), list(replicas))
    axes.set_ylim(len(replicas) - 0.4, -0.6)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.tick_params(axis="y", labelsize=8.5, labelcolor=INK, length=0)
    axes.grid(visible=False)
    axes.tick_params(axis="x", labelcolor=FAINT)
    sns.despine(ax=axes, left=True)
