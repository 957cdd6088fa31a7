"""The chart of prediction against measurement of `stale_reads`: how probably a read is stale, by the age of the write.

One panel a delay, of the ack policy and read policy with the most stale reads. The line is the model's, made of the
first half of the cell; the marks are the reads of the second half.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.style import (
    FAINT,
    INK,
    READ_POLICY_COLOURS,
    few_ticks,
    finish,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
    table_of,
)
from workbench.results import RunFolder

PANELS_MAX = 3
_FAR = 0.05
"""An error from which on the prediction is no good: lags have changed between the halves."""
_TITLE = "Stale reads, predicted and measured"
_NOTHING = "No prediction: no read of a second half came soon after a write, or no lag of a first half is known."
_CELL = ["ack", "read_policy", "follower_delay_ms"]


def draw_prediction(run: RunFolder) -> Figure:
    """Prediction over measurement, or why there is none."""
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    bins, curves = table_of(run, "prediction"), table_of(run, "prediction_curve")
    figure, panels = new_figure(4.2, columns=len(cells), sharey=True)
    for axes, (_, cell) in zip(panels, cells.iterrows(), strict=True):
        _draw_panel(axes, cell, _of(bins, cell), _of(curves, cell))
    drawn = bins.merge(cells[_CELL], on=_CELL)
    panels[0].set_ylim(0, 104 * max(float(drawn["stale_rate_high"].max()), 0.05))
    panels[0].set_ylabel("stale reads")
    panels[len(cells) // 2].set_xlabel("ms since the last write to the key was acknowledged")
    first = cells.iloc[0]
    conditions = [
        f"ack policy {first['ack']}, reads from {first['read_policy']}",
        f"{int(cells['second_half_reads'].min()):,} reads or more a panel",
    ]
    reading = (
        "Line: predicted from the lag of the followers in the first half of the run. Marks: reads of the second half, "
        "with their 95 % interval."
    )
    return finish(figure, _title(cells), run, conditions, reading)


def prediction_alt(run: RunFolder) -> str:
    """What the figure shows, in words and figures."""
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = [
        f"{number(cell['follower_delay_ms'])} ms delay: predicted {percent(cell['predicted_stale_rate'])}, "
        f"measured {percent(cell['second_half_stale_rate'])}, "
        f"mean distance of the curves {_points(cell['prediction_curve_error'])}"
        for _, cell in cells.iterrows()
    ]
    return (
        "Share of stale reads over the age of the last write: a line predicted from the followers' lag in the first "
        "half, and marks measured in the second. " + "; ".join(parts) + "."
    )


def _cells(run: RunFolder) -> pd.DataFrame:
    """The cells to show: all delays of the ack policy and read policy with the most stale reads."""
    summary, bins = run.summary, table_of(run, "prediction")
    if bins.empty or not {*_CELL, "predicted_stale_rate", "second_half_stale_rate"} <= set(summary.columns):
        return pd.DataFrame()
    known = summary[summary["prediction_error"].notna()]
    drawn = known.merge(bins[_CELL].drop_duplicates(), on=_CELL)
    if drawn.empty:
        return drawn
    most = drawn.sort_values(["second_half_stale_rate", "predicted_stale_rate"], kind="stable").iloc[-1]
    same = drawn[(drawn["ack"] == most["ack"]) & (drawn["read_policy"] == most["read_policy"])]
    chosen: pd.DataFrame = same.sort_values("follower_delay_ms").tail(PANELS_MAX)
    return chosen


def _of(table: pd.DataFrame, cell: pd.Series) -> pd.DataFrame:
    if table.empty:
        return table
    mask = np.logical_and.reduce([table[name] == cell[name] for name in _CELL])
    chosen: pd.DataFrame = table[mask]
    return chosen


def _draw_panel(axes: Axes, cell: pd.Series, bins: pd.DataFrame, curve: pd.DataFrame) -> None:
    colour = READ_POLICY_COLOURS.get(str(cell["read_policy"]), FAINT)
    rates, low, high = (100 * bins[name].to_numpy() for name in ("stale_rate", "stale_rate_low", "stale_rate_high"))
    axes.errorbar(
        bins["age_ms"],
        rates,
        yerr=[np.clip(rates - low, 0, None), np.clip(high - rates, 0, None)],
        fmt="o",
        color=colour,
        markersize=6,
        elinewidth=1.2,
        zorder=3,
        clip_on=False,
    )
    axes.plot(curve["age_ms"], 100 * curve["predicted_stale_rate"], color=INK, linewidth=1.8, zorder=4)
    axes.set_title(
        f"delay {number(cell['follower_delay_ms'])} ms: predicted {percent(cell['predicted_stale_rate'])},\n"
        f"measured {percent(cell['second_half_stale_rate'])}"
    )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(few_ticks())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    quiet_axes(axes, grid="y")


def _title(cells: pd.DataFrame) -> str:
    worst = cells.loc[cells["prediction_error"].abs().idxmax()]
    error = abs(float(worst["prediction_error"]))
    if error > _FAR:
        return f"The followers' lag in the first half does not tell the second: {_points(error)} off at most"
    return f"The followers' lag alone predicts how many reads are stale, within {_points(error)} of what was measured"


def _points(share: float) -> str:
    """A difference of shares, in percentage points."""
    value = 100 * share
    return f"{value:.1f} percentage point{'' if f'{value:.1f}' == '1.0' else 's'}"
