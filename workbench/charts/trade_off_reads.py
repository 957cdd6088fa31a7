"""What fresh reads cost those who read, and the leader."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workbench.charts.style import ack_colour, ack_marker, finish, new_figure, no_data, number, percent, quiet_axes
from workbench.charts.trade_off_run import NOTHING, conditions, policies
from workbench.results import RunFolder

_TITLE = "What does a fresh read cost?"
_LATENCY = "read_latency_from_send_ms"


def draw_reads(run: RunFolder) -> Figure:
    """How long the reads of each policy take, and how many of them the leader answers."""
    table = policies(run)
    if table.empty:
        return no_data(NOTHING, _TITLE, run)
    names = list(dict.fromkeys(table["read_policy"]))
    figure, (times, shares) = new_figure(1.9 + 0.52 * len(names), columns=2, sharey=True, width_ratios=[3, 2])
    acks = list(dict.fromkeys(table["ack"]))
    for _, row in table.iterrows():
        lane = (acks.index(row["ack"]) - (len(acks) - 1) / 2) * 0.62 / max(len(acks), 1)
        y = len(names) - 1 - names.index(row["read_policy"]) - lane
        _draw_row(times, shares, row, y, label=names[0] == row["read_policy"])
    _set_axes(times, shares, names)
    reading = "Mark: mean time of a read since it was sent; the line ends at the 99th percentile."
    return finish(figure, _finding(table), run, conditions(run), reading)


def _draw_row(times: Axes, shares: Axes, row: pd.Series, y: float, *, label: bool) -> None:
    ack = str(row["ack"])
    look = {"color": ack_colour(ack), "marker": ack_marker(ack), "markersize": 6, "markeredgecolor": "white"}
    times.hlines(y, row[f"{_LATENCY}_mean"], row[f"{_LATENCY}_p99"], color=ack_colour(ack), linewidth=1.4)
    times.plot([row[f"{_LATENCY}_mean"]], [y], linestyle="", label=ack if label else None, **look)  # type: ignore[arg-type]
    shares.plot([row["leader_share"]], [y], linestyle="", **look)  # type: ignore[arg-type]


def _set_axes(times: Axes, shares: Axes, names: list[str]) -> None:
    times.set_yticks(range(len(names)), names[::-1])
    times.set_ylim(-0.6, len(names) - 0.4)
    times.set_xscale("log")
    times.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    times.xaxis.set_minor_locator(NullLocator())
    times.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    times.set_xlabel("time of a read, ms")
    times.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, frameon=False, fontsize=8.5, handletextpad=0.2)
    shares.set_xlim(-0.04, 1.04)
    shares.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    shares.set_xlabel("reads answered by the leader")
    for axes in (times, shares):
        quiet_axes(axes)


def _finding(table: pd.DataFrame) -> str:
    """The dearest reads and the cheapest, and how many the leader has to answer."""
    means = table.groupby("read_policy", sort=False)[f"{_LATENCY}_mean"].median()
    dear, cheap = str(means.idxmax()), "any" if "any" in means.index else str(means.idxmin())
    share = table.groupby("read_policy", sort=False)["leader_share"].mean()
    most = [str(name) for name in share.index if share[name] > 0.99]
    parts = []
    if dear != cheap and means[dear] > 1.5 * means[cheap]:
        takes, beside = number(float(means[dear])), number(float(means[cheap]))
        parts.append(f"A read takes {takes} ms under {dear}, {beside} ms under {cheap}")
    if most and len(most) < len(share):
        rest = float(share[share <= 0.99].mean())
        parts.append(f"the leader answers all reads under {' and '.join(most)}, {percent(rest)} under the others")
    return "; ".join(parts) or "Reads of all policies cost about the same"


def reads_alt(run: RunFolder) -> str:
    """The chart in words."""
    table = policies(run)
    if table.empty:
        return NOTHING
    parts = []
    for name, rows in table.groupby("read_policy", sort=False):
        mean, share = rows[f"{_LATENCY}_mean"].median(), rows["leader_share"].mean()
        parts.append(f"{name}: {number(float(mean))} ms, {percent(float(share))} answered by the leader")
    return (
        "Mean time of a read and the share of reads that the leader answers, for each read policy and ack policy. "
        f"Medians over the ack policies: {'; '.join(parts)}."
    )
