"""Charts of `stale_reads`: how often a read returns the past, and how old that past is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.stale_reads_prediction import draw_prediction, prediction_alt
from workbench.charts.style import (
    FAINT,
    INK,
    READ_POLICY_COLOURS,
    count_range,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
    separate,
    table_of,
)
from workbench.results import RunFolder

_TITLE = "How often a read returns the past"
_NOTHING = "No read followed a write, so there is no rate to show: unknown, not 0 %."
_BOX_MINIMUM = 10
"""Fewer ages than this are shown one by one."""
_MARKERS = {"leader": "s", "sticky": "^", "any": "o"}


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {
        "rates": _draw_rates(run),
        "prediction": draw_prediction(run),
        "ages": _draw_ages(run),
        "replicas": _draw_replicas(run),
    }


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {
        "rates": _rates_alt(run),
        "prediction": prediction_alt(run),
        "ages": _ages_alt(run),
        "replicas": _replicas_alt(run),
    }


def _cells(run: RunFolder) -> pd.DataFrame:
    summary = run.summary
    needed = {"ack", "read_policy", "follower_delay_ms", "reads", "stale_rate", "stale_rate_acknowledged"}
    if summary.empty or not needed <= set(summary.columns):
        return pd.DataFrame()
    return summary[(summary["reads"] > 0) & summary["stale_rate_acknowledged"].notna()]


def _colour(read_policy: str) -> str:
    return READ_POLICY_COLOURS.get(read_policy, FAINT)


def _draw_rates(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    acks, delays = list(dict.fromkeys(cells["ack"])), sorted(cells["follower_delay_ms"].unique())
    figure, panels = new_figure(4.5, columns=len(acks), sharey=True)
    top = 100 * max(cells["stale_rate_acknowledged_high"].max(), cells["stale_rate_high"].max(), 0.01) * 1.12
    for ack, axes in zip(acks, panels, strict=True):
        _draw_rate_panel(axes, cells[cells["ack"] == ack], delays, top)
        axes.set_title(f"Writes acknowledged under {ack}")
    panels[0].set_ylabel("stale reads, % (bars: 95 % interval)")
    reads = f"{count_range(cells['reads'])} reads a point"
    reading = (
        "Filled: older than an acknowledged write. "
        "Hollow, where it differs: or older than a value that someone had read."
        + (
            " Dash: predicted for the second half of the run, from the followers' lag in the first."
            if _is_predicted(cells)
            else ""
        )
    )
    return finish(figure, _rates_title(cells), run, [reads], reading)


def _draw_rate_panel(axes: Axes, cells: pd.DataFrame, delays: list[float], top: float) -> None:
    policies = list(dict.fromkeys(cells["read_policy"]))
    ends: dict[str, float] = {}
    for place, policy in enumerate(policies):
        rows = cells[cells["read_policy"] == policy].sort_values("follower_delay_ms")
        shift = 0.16 * (place - (len(policies) - 1) / 2)
        at = np.array([delays.index(delay) + shift for delay in rows["follower_delay_ms"]])
        differs = (rows["stale_rate"] != rows["stale_rate_acknowledged"]).to_numpy()
        _draw_points(axes, at[differs] + 0.05, rows[differs], "stale_rate", policy, filled=False)
        _draw_points(axes, at, rows, "stale_rate_acknowledged", policy, filled=True)
        if _is_predicted(rows):
            axes.hlines(100 * rows["predicted_stale_rate"], at - 0.13, at + 0.13, color=INK, linewidth=1.6, zorder=4)
        ends[policy] = 100 * float(rows["stale_rate_acknowledged"].iloc[-1])
    heights = separate(list(ends.values()), top * 0.065)
    for policy, height in zip(ends, heights, strict=True):
        axes.text(
            len(delays) - 0.62, height, policy, color=_colour(policy), va="center", fontweight="bold", fontsize=10.5
        )
    axes.set_xticks(range(len(delays)), [number(delay) if delay else "0" for delay in delays])
    axes.set_xlim(-0.45, len(delays) - 0.2)
    axes.set_ylim(min(0, min(heights) - top * 0.04) - top * 0.02, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel("delay of followers, ms")
    quiet_axes(axes, grid="y")


def _is_predicted(cells: pd.DataFrame) -> bool:
    return "predicted_stale_rate" in cells and bool(cells["predicted_stale_rate"].notna().any())


def _draw_points(axes: Axes, at: np.ndarray, rows: pd.DataFrame, name: str, policy: str, *, filled: bool) -> None:
    colour, rates = _colour(policy), 100 * rows[name].to_numpy(dtype=float)
    low, high = (100 * rows[f"{name}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    axes.errorbar(
        at,
        rates,
        yerr=[np.clip(rates - low, 0, None), np.clip(high - rates, 0, None)],
        color=colour if filled else mix(colour, "#ffffff", 0.45),
        marker=_MARKERS.get(policy, "D"),
        markersize=8 if filled else 6.5,
        markerfacecolor=colour if filled else "white",
        linewidth=1.8 if filled else 0,
        elinewidth=1.3,
        zorder=3 if filled else 2,
    )


def _rates_title(cells: pd.DataFrame) -> str:
    anywhere = cells[cells["read_policy"] == "any"]
    pool = anywhere if (anywhere["stale_rate_acknowledged"] > 0).any() else cells
    worst = pool.sort_values("stale_rate_acknowledged", kind="stable").iloc[-1]
    rate = worst["stale_rate_acknowledged"]
    if not rate > 0:
        return "No read returned a value older than an acknowledged write"
    delay = worst["follower_delay_ms"]
    late = f" {number(delay)} ms behind" if delay > 0 else ""
    of_reads = f"{percent(rate)} of reads from {_where(worst['read_policy'])}"
    title = f"With followers{late}, {of_reads} are stale under {worst['ack']}"
    fresh = [p for p in dict.fromkeys(cells["read_policy"]) if _never(cells[cells["read_policy"] == p])]
    return title + (f"; none from {_where(fresh[0])}" if fresh else "")


def _where(read_policy: str) -> str:
    return {"leader": "the leader", "any": "any replica", "sticky": "one replica a session"}.get(
        read_policy, read_policy
    )


def _never(cells: pd.DataFrame) -> bool:
    return bool((cells["stale_rate_acknowledged"] == 0).all())


def _rates_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = [
        f"{row['ack']}, {row['read_policy']}, {number(row['follower_delay_ms'])} ms delay: "
        f"{percent(row['stale_rate_acknowledged'])}, {percent(row['stale_rate'])}"
        for _, row in cells.iterrows()
    ]
    return (
        "Share of stale reads by ack policy, read policy and delay of the followers; "
        "first against acknowledged writes, then against any value known. " + "; ".join(parts) + "."
    )


def _ages(run: RunFolder) -> pd.DataFrame:
    ages = table_of(run, "ages")
    if ages.empty:
        return ages
    ages = ages.copy()
    ages["label"] = [
        f"{ack}, {policy}, {number(delay) if delay else 0} ms"
        for ack, policy, delay in zip(ages["ack"], ages["read_policy"], ages["follower_delay_ms"], strict=True)
    ]
    return ages


def _draw_ages(run: RunFolder) -> Figure:
    ages, title = _ages(run), "How old was what stale reads returned?"
    if ages.empty:
        return no_data("No read was stale, so there is no age to show.", title, run)
    labels = list(dict.fromkeys(ages["label"]))
    figure, (axes,) = new_figure(1.7 + 0.42 * len(labels))
    counts = ages["label"].value_counts()
    boxed = ages[ages["label"].map(counts) >= _BOX_MINIMUM]
    colours = {row["label"]: _colour(row["read_policy"]) for _, row in ages.iterrows()}
    sns.boxplot(
        boxed,
        x="age_ms",
        y="label",
        hue="label",
        order=labels,
        palette={label: mix(colour, "#ffffff", 0.55) for label, colour in colours.items()},
        whis=(5, 95),
        showfliers=False,
        width=0.55,
        saturation=1,
        linewidth=1.2,
        legend=False,
        ax=axes,
    )
    for place, label in enumerate(labels):
        _mark_age_row(axes, place, ages[ages["label"] == label])
    high = float(ages["age_ms"].quantile(0.98))
    axes.set_xlim(0, max(high, float(ages["follower_delay_ms"].max())) * 1.15)
    axes.set(xlabel="age in ms: how long a newer value had been known when the read began", ylabel="")
    axes.tick_params(axis="y", labelsize=10, labelcolor=INK)
    quiet_axes(axes)
    reading = "Boxes: the middle half, with the median; whiskers: 5 to 95 %; dashed: the delay of the followers."
    return finish(figure, _ages_title(ages), run, reading=reading)


def _ages_title(ages: pd.DataFrame) -> str:
    delay = float(ages["follower_delay_ms"].max())
    middle = float(ages.loc[ages["follower_delay_ms"] == delay, "age_ms"].median())
    late = f"With followers {number(delay)} ms behind, half" if delay > 0 else "Half"
    return f"{late} of the stale reads missed a write that was known for more than {number(middle)} ms"


def _mark_age_row(axes: Axes, place: int, rows: pd.DataFrame) -> None:
    if len(rows) < _BOX_MINIMUM:
        axes.plot(rows["age_ms"], [place] * len(rows), "o", color=_colour(rows["read_policy"].iloc[0]), markersize=5)
    delay = float(rows["follower_delay_ms"].iloc[0])
    if delay > 0:
        axes.plot([delay, delay], [place - 0.42, place + 0.42], color=INK, linestyle=(0, (3, 2)), linewidth=1.2)
    axes.annotate(
        f"n = {len(rows):,}",
        (1.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        color=FAINT,
    )


def _ages_alt(run: RunFolder) -> str:
    ages = _ages(run)
    if ages.empty:
        return "No read was stale, so there is no age to show."
    medians = ages.groupby("label", sort=False)["age_ms"].median()
    parts = [f"{label}: {number(age)} ms" for label, age in medians.items()]
    return "Box plots of the age of stale reads. Median by ack policy, read policy and delay: " + "; ".join(parts) + "."


def _draw_replicas(run: RunFolder) -> Figure:
    rows, title = _by_replica(run), "Which replica returns the past?"
    if rows.empty:
        return no_data(_NOTHING, title, run)
    replicas, policies = sorted(rows["replica"].unique()), list(dict.fromkeys(rows["read_policy"]))
    figure, panels = new_figure(1.55 + 0.5 * len(replicas), columns=len(policies), sharey=True, sharex=True)
    for policy, axes in zip(policies, panels, strict=True):
        here = rows[rows["read_policy"] == policy].set_index("replica")["stale_rate_acknowledged"].reindex(replicas)
        axes.barh(range(len(replicas)), 100 * here.fillna(0), color=_colour(policy), height=0.6, linewidth=0)
        for place, rate in enumerate(here):
            text = "no reads" if np.isnan(rate) else percent(rate)
            spot = 0.0 if np.isnan(rate) else 100 * rate
            axes.annotate(text, (spot, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_yticks(range(len(replicas)), [_replica_words(name, rows) for name in replicas])
        axes.set_ylim(len(replicas) - 0.5, -0.5)
        axes.set_xlim(0, max(100 * float(rows["stale_rate_acknowledged"].max()) * 1.3, 1))
        axes.set_title(f"read policy {policy}")
        axes.set_xlabel("stale reads, %")
        axes.tick_params(axis="y", labelsize=10.5, labelcolor=INK)
        quiet_axes(axes)
    where = rows.iloc[0]
    conditions = [f"ack policy {where['ack']}, delay of the followers {number(where['follower_delay_ms'])} ms"]
    return finish(figure, _replicas_title(rows), run, conditions)


def _replicas_title(rows: pd.DataFrame) -> str:
    stale = rows[rows["stale_rate_acknowledged"] > 0]
    if stale.empty:
        return "No replica returned a value older than an acknowledged write"
    if "role" in rows and (stale["role"] != "leader").all():
        return "Every stale read came from a follower: the leader has every acknowledged write"
    return "Which replica returns the past?"


def _replica_words(name: str, rows: pd.DataFrame) -> str:
    leads = rows.loc[rows["replica"] == name, "role"].eq("leader").any() if "role" in rows else False
    return f"{name} (leader)" if leads else name


def _by_replica(run: RunFolder) -> pd.DataFrame:
    """The rows of the most telling cell: the ack policy and delay with the highest rate of any replica."""
    rows = table_of(run, "by_replica")
    if rows.empty:
        return rows
    rows = rows[(rows["reads"] > 0) & rows["stale_rate_acknowledged"].notna()]
    if rows.empty:
        return rows
    worst = rows.sort_values("stale_rate_acknowledged", kind="stable").iloc[-1]
    chosen: pd.DataFrame = rows[
        (rows["ack"] == worst["ack"]) & (rows["follower_delay_ms"] == worst["follower_delay_ms"])
    ]
    return chosen


def _replicas_alt(run: RunFolder) -> str:
    rows = _by_replica(run)
    if rows.empty:
        return _NOTHING
    parts = [
        f"{row['replica']} under {row['read_policy']}: {percent(row['stale_rate_acknowledged'])}"
        for _, row in rows.iterrows()
    ]
    return "Bars of the share of stale reads by replica and read policy. " + "; ".join(parts) + "."
