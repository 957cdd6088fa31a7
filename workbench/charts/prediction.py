"""The chart of `workbench predict`: how probably a read is fresh, by how long after the acknowledgement it begins."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from workbench.charts.style import BLUE, FAINT, INK, finish, mix, new_figure, number, quiet_axes, style
from workbench.metrics.prediction import FRACTIONS, Prediction

_POINTS = 240


def draw(prediction: Prediction) -> Figure:
    """One curve with its band, and the times after which 90, 99 and 99.9 % of the reads are fresh."""
    with style():
        figure, (axes,) = new_figure(3.9)
        end = _end_ms(prediction)
        times = np.concatenate(([0.0], np.geomspace(end / 2000, end, _POINTS)))
        shares = 100 * np.array([prediction.p_consistent(float(t)) for t in times])
        bands = 100 * np.array([prediction.p_consistent_interval(float(t)) for t in times])
        axes.fill_between(times, bands[:, 0], bands[:, 1], color=mix(BLUE, "#ffffff", 0.7), linewidth=0)
        axes.plot(times, shares, color=BLUE, linewidth=2)
        axes.plot([0], [shares[0]], "o", color=BLUE, markersize=7, clip_on=False, zorder=4)
        for name, share in FRACTIONS.items():
            t_ms = prediction.t_visibility_ms(share)
            if t_ms == 0:
                continue  # so many are from the beginning
            axes.plot([t_ms], [100 * share], "D", color=INK, markersize=4.5, zorder=4, clip_on=False)
            axes.annotate(
                f"{100 * float(name):g} % after {number(t_ms)} ms",
                (t_ms, 100 * share),
                xytext=(6, -13) if t_ms < 0.7 * end else (-2, -15),
                ha="left" if t_ms < 0.7 * end else "right",
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
        axes.set_xlim(0, end)
        room = 100 - shares[0] or 100.0  # a strict quorum has nothing to tell apart
        axes.set_ylim(max(0.0, 100 - 1.15 * room), 100 + 0.02 * room)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g} %")
        axes.set_xlabel("ms from the write's acknowledgement to the beginning of the read")
        axes.set_ylabel("fresh reads")
        axes.tick_params(labelcolor=FAINT)
        quiet_axes(axes, grid="y")
        conditions = [
            f"{prediction.trials:,} trials",
            f"seed {prediction.seed}",
            "band: 95 % interval of the trials",
            "WARS model and fit: Bailis et al., VLDB 2012",
        ]
        return finish(figure, _title(prediction), None, conditions)


def alt_text(prediction: Prediction) -> str:
    """What the chart shows, in words and figures."""
    times = ", ".join(
        f"{100 * share:g} % after {number(prediction.t_visibility_ms(share))} ms" for share in FRACTIONS.values()
    )
    return f"Share of fresh reads over the time since the write's acknowledgement. {_title(prediction)}; {times}."


def _end_ms(prediction: Prediction) -> float:
    """Up to 99.9 %, if that takes any time at all."""
    return 1.15 * max(prediction.t_visibility_ms(0.999), 1.0)


def _title(prediction: Prediction) -> str:
    quorum, at_once = prediction.quorum, prediction.p_consistent()
    share = "all" if at_once == 1 else f"{100 * at_once:.1f} %"
    fresh = "fresh" if prediction.k == 1 else f"among the {prediction.k} newest versions"
    return (
        f"{prediction.fit.name}, N = {quorum.n}, R = {quorum.r}, W = {quorum.w}: right after the acknowledgement"
        f" {share} of reads are {fresh}"
    )
