"""Charts of a run, by the name of its experiment: figures, alt texts, PNG files in the run folder.

Everything is drawn from what the folder holds; no chart needs a cluster, a broker or the experiment's own code. The
first figure of a run is its headline.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.charts.style import png_bytes, style
from workbench.errors import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.results import RunFolder

CHARTED = (
    "write_latency",
    "stale_reads",
    "session_guarantees",
    "log_formats",
    "new_follower",
    "follower_crash",
    "failover",
    "split_brain",
    "accidental_failover",
    "trade_off",
    "simulator",
    "scale",
)
"""Experiments that have charts; each has a module of its name here, with `draw` and `alt_texts`."""


def draw(run: RunFolder) -> dict[str, Figure]:
    """All figures of the run by name, the headline first. Raises `RunError` for an experiment without charts."""
    with style():
        return dict(_module(run).draw(run))


def alt_text(run: RunFolder, name: str) -> str:
    """What the figure `name` of the run shows, in words and figures."""
    texts = _module(run).alt_texts(run)
    if name not in texts:
        raise RunError(f"run {run.path} has no chart {name!r}", hint="charts: " + ", ".join(texts))
    return str(texts[name])


def draw_png(run: RunFolder) -> dict[str, bytes]:
    """All figures of the run as PNG, the headline first, each with its alt text inside as its description."""
    with style():
        return {name: png_bytes(figure, alt_text(run, name)) for name, figure in _module(run).draw(run).items()}


def save_charts(run: RunFolder) -> list[Path]:
    """Write every figure of the run to its `charts/`, with its alt text beside it; returns the PNG files."""
    run.charts_directory.mkdir(exist_ok=True)
    paths = []
    for name, data in draw_png(run).items():
        path = run.charts_directory / f"{name}.png"
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(alt_text(run, name) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _module(run: RunFolder) -> Any:
    if run.experiment not in CHARTED:
        raise RunError(f"experiment {run.experiment!r} has no charts", hint="charts exist for " + ", ".join(CHARTED))
    return importlib.import_module(f"workbench.charts.{run.experiment}")
