"""Charts of `scale`: what grows with the number of replicas, with measured small clusters laid over the simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workbench.charts.scale_measured import draw_measured, measured_alt
from workbench.charts.scale_run import NETWORK_WORDS, NOTHING, Curve, conditions, main_curves, measured, surroundings
from workbench.charts.style import (
    BLACK,
    FAINT,
    INK,
    ORANGE,
    SKY,
    finish,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
)
from workbench.results import RunFolder

_TITLE = "What happens at a thousand replicas?"
_FIGURES = ("failover", "load", "writes", "measured")
_FAST_HEARTBEAT_MS = 100.0


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    if not main_curves(run):
        return {name: no_data(NOTHING, _TITLE, run) for name in _FIGURES}
    return {
        "failover": _draw_failover(run),
        "load": _draw_load(run),
        "writes": _draw_writes(run),
        "measured": draw_measured(run),
    }


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    found = main_curves(run)
    if not found:
        return dict.fromkeys(_FIGURES, NOTHING)

    def told(column: str, unit: str) -> str:
        return "; ".join(f"{curve.words}: {_ends(curve, column, unit)}" for curve in found)

    return {
        "failover": "Time from the death of a leader to the first acknowledgement of the next one, over the number of "
        f"replicas, with the election timeout. {told('failover_ms_p50', 'ms')}.",
        "load": "Messages a second that leave an idle leader, that the broker makes of them, and that come back to it, "
        "over the number of replicas; and how busy that keeps its CPU. Messages back: "
        f"{told('messages_in_per_s', 'a second')}.",
        "writes": "Time until a write is acknowledged, until nearly all followers show it, and the share of replicas "
        "that do not show it at its acknowledgement, over the number of replicas. Time: "
        f"{told('latency_ms_p50', 'ms')}. Stale: "
        + "; ".join(
            f"{curve.words}: {percent(float(curve.largest['stale_rate']))} at the most replicas" for curve in found
        )
        + ".",
        "measured": measured_alt(run),
    }


def _ends(curve: Curve, column: str, unit: str) -> str:
    first, last = curve.cells.iloc[0], curve.largest
    begin = f"{number(float(first[column]))} {unit} with {first['size']:,}"
    return begin if len(curve.cells) < 2 else f"{begin}, {number(float(last[column]))} with {last['size']:,}"


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Sizes on a logarithmic axis, each that was measured with its number."""
    axes.set_xscale("log")
    shown = sorted(set(sizes))
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("replicas")
    quiet_axes(axes, "y")


def _sizes(found: Sequence[Curve]) -> list[int]:
    return [int(size) for curve in found for size in curve.cells["size"]]


def _log_figures(axes: Axes) -> None:
    if not any(np.isfinite(line.get_ydata(orig=False)).any() for line in axes.lines):
        axes.axis("off")
        axes.text(0.5, 0.5, "Not to be seen\nfrom outside.", ha="center", color=FAINT, transform=axes.transAxes)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_minor_locator(NullLocator())


def _line(axes: Axes, curve: Curve, column: str, *, label: bool = True) -> None:
    axes.plot(
        curve.cells["size"], curve.cells[column], curve.dashes, color=curve.colour, marker=curve.marker, markersize=5,
        markeredgecolor="white", linewidth=1.6, label=curve.words if label else None, zorder=3,
    )  # fmt: skip
    low, high = f"{column}_low", f"{column}_high"
    if low in curve.cells:
        axes.fill_between(
            curve.cells["size"], curve.cells[low], curve.cells[high], color=curve.colour, alpha=0.15, linewidth=0
        )


def _legend_above(axes: Axes, columns: int = 2) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=8.5, handlelength=2.6)


# Failover.


def _draw_failover(run: RunFolder) -> Figure:
    found = main_curves(run)
    figure, (axes,) = new_figure(4.9)
    all_vote = next((curve for curve in found if not curve.voters), found[0])
    axes.plot(
        all_vote.cells["size"], all_vote.cells["election_timeout_ms"] / 1e3, color=FAINT, linewidth=1, linestyle=":",
        label="election timeout, where all vote",
    )  # fmt: skip
    for curve in found:
        seconds = curve.cells.filter(like="failover_ms_p50") / 1e3
        _line(axes, Curve(
            network=curve.network, voters=curve.voters, fan_out=curve.fan_out,
            cells=pd.concat([curve.cells["size"], seconds], axis=1),
        ), "failover_ms_p50")  # fmt: skip
    real = measured(run)
    if run.info.get("world") != "real" and not real.empty:
        _lay_over(axes, real, "failover_ms_p50", 1e-3)
    size_axis(axes, [*_sizes(found), *(real["size"].tolist() if not real.empty else [])])
    _log_figures(axes)
    top = max(float(curve.cells["failover_ms_p50"].max()) for curve in found) / 1e3
    ticks = (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if top > 10 else (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= 1.6 * top]))
    axes.set_ylabel("without a leader, s")
    _legend_above(axes, 3)
    reading = (
        "Median from the death of a leader to the first write that the next one acknowledges; shaded: 95 % interval."
    )
    return finish(figure, _failover_finding(found), surroundings(run), conditions(run), reading)


def _failover_finding(found: Sequence[Curve]) -> str:
    """How long the largest cluster is without a leader, where all vote and where few do."""
    all_vote = next((curve for curve in found if not curve.voters), None)
    few = next((curve for curve in found if curve.voters and all_vote and curve.network == all_vote.network), None)
    if all_vote is None:
        return f"A leader among {found[0].largest['size']:,} replicas is replaced in {_seconds(found[0])}"
    told = f"{all_vote.largest['size']:,} voters replace a leader in {_seconds(all_vote)}"
    if few is None or few.largest["size"] != all_vote.largest["size"]:
        return told
    return f"{told}; {few.voters} voters among {few.largest['size']:,} replicas do in {_seconds(few)}"


def _seconds(curve: Curve) -> str:
    return f"{number(float(curve.largest['failover_ms_p50']) / 1e3)} s"


# Load.


def _draw_load(run: RunFolder) -> Figure:
    found = [curve for curve in main_curves(run) if curve.network == main_curves(run)[0].network]
    all_vote = next((curve for curve in found if not curve.voters), found[0])
    figure, (messages, busy) = new_figure(4.4, columns=2, width_ratios=[1, 1])
    for column, colour, marker, words in (
        ("messages_in_per_s", ORANGE, "v", "come back to the leader"),
        ("messages_delivered_per_s", SKY, "^", "delivered: what it would send without a broker"),
        ("messages_out_per_s", BLACK, "o", "leave the leader"),
    ):
        if all_vote.cells[column].notna().any():
            shift = 1.04 if column == "messages_delivered_per_s" else 1.0
            messages.plot(
                all_vote.cells["size"], all_vote.cells[column] * shift, color=colour, marker=marker, markersize=6,
                markeredgecolor="white", label=words, linewidth=1.6,
            )  # fmt: skip
    messages.set_ylabel("messages/s, nothing to do")
    size_axis(messages, _sizes([all_vote]))
    _log_figures(messages)
    _legend_above(messages, 1)
    _draw_busy(busy, found, run)
    reading = "An idle leader speaks in heartbeats, and every replica answers each of them."
    return finish(figure, _load_finding(all_vote), surroundings(run), conditions(run), reading)


def _draw_busy(axes: Axes, found: Sequence[Curve], run: RunFolder) -> None:
    """How busy the leader's CPU is, and would be if it did what it does for each heartbeat more often."""
    heartbeat_ms = float(run.parameters.get("heartbeat_ms", _FAST_HEARTBEAT_MS))
    for curve in found:
        if curve.cells["leader_busy_share"].isna().all():
            continue
        _line(axes, curve, "leader_busy_share")
        if heartbeat_ms <= _FAST_HEARTBEAT_MS:
            continue
        idle = float(curve.cells["leader_busy_share"].iloc[0])
        faster = idle + (curve.cells["leader_busy_share"] - idle) * heartbeat_ms / _FAST_HEARTBEAT_MS
        words = f"with heartbeats each {_FAST_HEARTBEAT_MS:g} ms" if curve is found[0] else None
        axes.plot(curve.cells["size"], faster, color=FAINT, linewidth=1, linestyle=curve.dashes, label=words)
    if all(curve.cells["leader_busy_share"].isna().all() for curve in found):
        axes.axis("off")
        axes.text(0.5, 0.5, "How busy CPUs are, simulations tell.", ha="center", color=FAINT, transform=axes.transAxes)
        return
    _without_broker(axes, found[0], run)
    axes.axhline(1.0, color=INK, linewidth=0.9)
    axes.annotate(
        "all of its time", (0.01, 1.0), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        fontsize=7.8, color=INK,
    )  # fmt: skip
    size_axis(axes, _sizes(found))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("the leader's CPU is busy")
    _legend_above(axes, 1)


def _without_broker(axes: Axes, curve: Curve, run: RunFolder) -> None:
    """What it would be if the leader sent each message itself that the broker delivers now."""
    send_us = float(run.parameters.get("send_us", 0.0))
    if send_us and curve.fan_out == "broker":
        more = (curve.cells["messages_delivered_per_s"] - curve.cells["messages_out_per_s"]) * send_us / 1e6
        shares = curve.cells["leader_busy_share"] + more
        axes.plot(curve.cells["size"], shares, color=SKY, linewidth=1.2, linestyle="-.", label="and if it sent to each")


def _load_finding(curve: Curve) -> str:
    last = curve.largest
    out, back = float(last["messages_out_per_s"]), float(last["messages_in_per_s"])
    told = (
        f"With {last['size']:,} replicas an idle leader sends {number(out)} messages a second and gets {number(back)}"
    )
    busy = float(last["leader_busy_share"])
    return told if np.isnan(busy) else f"{told}: {percent(busy)} of its CPU"


# Writes.


def _draw_writes(run: RunFolder) -> Figure:
    found = main_curves(run)
    figure, panels = new_figure(4.9, columns=3)
    times, lags, stale = panels
    for curve in found:
        for axes, column in zip(panels, ("latency_ms_p50", "lag_ms_p99", "stale_rate"), strict=True):
            _line(axes, curve, column, label=axes is times)
        if curve.network != "lan" and not curve.voters:
            bound = curve.cells["latency_bound_ms"]
            times.plot(curve.cells["size"], bound, color=curve.colour, linewidth=0.9, linestyle=":")
    real = measured(run)
    if run.info.get("world") != "real" and not real.empty:
        for axes, column in ((times, "latency_ms_p50"), (stale, "stale_rate")):
            _lay_over(axes, real, column, 1.0, label=axes is times)
    for axes in panels:
        size_axis(axes, _sizes(found))
        axes.tick_params(axis="x", labelsize=7.5)
    _log_figures(times)
    _log_figures(lags)
    times.set_title("acknowledged after, ms\n(median)", fontsize=9)
    lags.set_title("shown by nearly all followers\nafter, ms (99th percentile)", fontsize=9)
    stale.set_title("replicas that do not show it\nwhen it is acknowledged", fontsize=9)
    stale.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    stale.set_ylim(-0.02, max(0.4, stale.get_ylim()[1]))
    lags.legend(*times.get_legend_handles_labels(), loc="center left", frameon=False, fontsize=7.5, handlelength=2.4)
    reading = "From the sending of a write. Dotted: what the network alone takes to a majority and back."
    return finish(figure, _writes_finding(found), surroundings(run), conditions(run), reading)


def _lay_over(axes: Axes, real: pd.DataFrame, column: str, scale: float, *, label: bool = True) -> None:
    """The measured small clusters."""
    axes.plot(
        real["size"], real[column] * scale, linestyle="", marker="D", markersize=7, markerfacecolor="none",
        markeredgecolor=BLACK, label="real processes, measured" if label else None, zorder=4,
    )  # fmt: skip


def _writes_finding(found: Sequence[Curve]) -> str:
    """How long the largest cluster takes to acknowledge, and who is stale then."""
    all_vote = next((curve for curve in found if not curve.voters), found[0])
    last = all_vote.largest
    took, lag = float(last["latency_ms_p50"]), float(last["lag_ms_p99"])
    told = f"With {last['size']:,} voters a write is acknowledged after {number(took)} ms"
    if lag < took:
        told += f", though nearly all show it after {number(lag)} ms"
    far = [curve for curve in found if curve.network != "lan" and not curve.voters]
    if not far:
        return told
    most = percent(float(far[-1].cells["stale_rate"].max()))
    where = NETWORK_WORDS.get(far[-1].network, far[-1].network)
    return f"{told}; {where} up to {most} of replicas are stale at that moment"
