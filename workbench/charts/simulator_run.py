"""What all charts of `simulator` take from a run, and how kinds of faults look."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.charts.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, SKY, VERMILION, conditions_of, mix, number
from workbench.results import RunFolder

NOTHING = "No seed was run and no fault struck, so there is nothing to show."
STRUCK = {
    "processes": ("crash", "power_loss", "pause"),
    "links": ("cut", "delay", "bandwidth", "loss", "duplication", "reordering"),
    "the broker": ("broker_down", "disconnect"),
    "disks": ("slow_disk", "disk_full", "failing_sync", "damage"),
    "clocks": ("clock_jump", "clock_drift"),
    "members": ("join", "removal", "transfer"),
}
"""What a fault strikes, and its kinds."""
_COLOURS = dict(zip(STRUCK, (VERMILION, PURPLE, SKY, ORANGE, GREEN, BLUE), strict=True))


def fault_colour(kind: str) -> str:
    """One colour for each part of a cluster that a fault can strike."""
    struck = next((struck for struck, kinds in STRUCK.items() if kind in kinds), "")
    return mix(_COLOURS.get(struck, FAINT), "#ffffff", 0.4)


def words_of(name: object) -> str:
    """A name as people write it."""
    return str(name).replace("_", " ")


def is_real(run: RunFolder) -> bool:
    """Whether the faults struck processes."""
    return run.info.get("world") != "simulated"


def bugs_of(run: RunFolder) -> pd.DataFrame:
    """The rows of the summary with a planted bug."""
    summary = run.summary
    if summary.empty or not {"bug", "violations"} <= set(summary.columns):
        return pd.DataFrame()
    return summary[summary["bug"].notna() & (summary["bug"] != "")].reset_index(drop=True)


def seeds_row(run: RunFolder) -> dict[str, Any]:
    """The row of the summary about the seeds without a bug."""
    summary = run.summary
    if summary.empty or "bug" not in summary.columns:
        return {}
    rows = summary[summary["bug"].isna() | (summary["bug"] == "")]
    return {str(name): value for name, value in rows.iloc[0].items()} if len(rows) else {}


def real_row(run: RunFolder) -> dict[str, Any]:
    """The row of the summary about the real cluster."""
    summary = run.summary
    if summary.empty or "acknowledged_writes" not in summary.columns:
        return {}
    return {str(name): value for name, value in summary.iloc[0].items()}


def caption(run: RunFolder) -> list[str]:
    """Where and how much."""
    if is_real(run):
        row = real_row(run)
        told = [f"ack policy {row['ack']}", f"{row['log_format']} log"] if {"ack", "log_format"} <= row.keys() else []
        return [*told, *conditions_of(run)]
    row = seeds_row(run)
    messages = int(row.get("messages") or 0)
    seconds = float(row.get("simulated_s") or 0.0)
    told = [f"{messages:,} messages in {number(seconds)} s of virtual time"] if messages else []
    return [*told, "simulated network, disks and clocks, without broker and processes", f"seed {run.seed}"]
