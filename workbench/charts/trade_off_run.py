"""What all charts of `trade_off` take from a run."""

from __future__ import annotations

import pandas as pd

from workbench.charts.style import number
from workbench.metrics.weighing import MAPPED, WEIGHED
from workbench.results import RunFolder

NOTHING = "No policy was measured, so there is nothing to show."


def policies(run: RunFolder) -> pd.DataFrame:
    """The rows of the summary that have a latency and reads; empty if the run has none."""
    summary = run.summary
    needed = {"ack", "read_policy", "on_front", "stale_rate", "reads", "writes"}
    needed |= {respect.column for respect in (*MAPPED, *WEIGHED)}
    if summary.empty or not needed <= set(summary.columns):
        return pd.DataFrame()
    return summary[(summary["reads"] > 0) & (summary["writes"] > 0)].reset_index(drop=True)


def conditions(run: RunFolder) -> list[str]:
    """For the caption: how far the followers were, how much was done, and how the leader died."""
    told = []
    parameters = run.parameters
    if {"follower_delay_ms", "slow_follower_delay_ms", "followers"} <= parameters.keys():
        near, far = (number(float(parameters[name])) for name in ("follower_delay_ms", "slow_follower_delay_ms"))
        told.append(f"{parameters['followers']} followers, {near} to {far} ms away")
    if {"rate_per_s", "read_fraction"} <= parameters.keys():
        rate, share = float(parameters["rate_per_s"]), float(parameters["read_fraction"])
        told.append(f"{number(rate * (1 - share))} writes and {number(rate * share)} reads due a second")
    if "cut_off_ms" in parameters:
        told.append(f"each leader killed {number(float(parameters['cut_off_ms']))} ms after it was cut off")
    return told
