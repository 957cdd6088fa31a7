"""How every chart looks: one colour for one thing everywhere, a title that states the finding, a caption with n and
the conditions.

The colours are the eight of Okabe and Ito, which people with any of the common colour-vision deficiencies tell
apart. No chart relies on colour alone: values and names stand next to their marks. Figures are made without pyplot,
so that drawing in a server or a notebook leaves no global state behind, and PNG files carry no date: the same run
gives the same bytes on the same version of matplotlib.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator

from workbench.results import RunFolder

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
INK, FAINT, GRID = "#1f2430", "#5b6270", "#e3e6eb"

LOG_FORMAT_COLOURS = {"statement": ORANGE, "logical": GREEN, "wal": BLUE, "mixed": PURPLE}
READ_POLICY_COLOURS = {"leader": BLUE, "sticky": PURPLE, "any": VERMILION}
_WHO_COLOURS = {"async": VERMILION, "semi_sync": PURPLE, "quorum": ORANGE, "sync": BLUE}
_LEVEL_MARKERS = {"received": "^", "durable": "s", "applied": "o"}
_LEVEL_SHADES = {"received": 0.5, "durable": 0.25, "applied": 0.0}
_DEFAULT_LEVELS = {"sync": "applied"}

FIGURE_WIDTH_IN = 9.0
_MARGIN_IN = 0.11
DPI = 130
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa1ad",
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def ack_parts(ack: str) -> tuple[str, str]:
    """The who and the level of an ack policy's text: `semi_sync:1/received` -> (`semi_sync`, `received`)."""
    who_count, _, level = ack.partition("/")
    who = who_count.partition(":")[0]
    return who, level or _DEFAULT_LEVELS.get(who, "durable")


def ack_colour(ack: str) -> str:
    """One colour for each who; a weaker level than the default one of `sync` is paler."""
    who, level = ack_parts(ack)
    shade = _LEVEL_SHADES.get(level, 0.0) if who == "sync" else 0.0
    return mix(_WHO_COLOURS.get(who, FAINT), "#ffffff", shade)


def ack_marker(ack: str) -> str:
    """A matplotlib marker for each level, so that colour is not the only difference."""
    return _LEVEL_MARKERS.get(ack_parts(ack)[1], "o")


def mix(colour: str, other: str, share: float) -> str:
    """`colour` with `share` (0 to 1) of `other` in it, as #rrggbb."""
    first, second = np.array(mpl.colors.to_rgb(colour)), np.array(mpl.colors.to_rgb(other))
    red, green, blue = first * (1 - share) + second * share
    return str(mpl.colors.to_hex((float(red), float(green), float(blue))))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The workbench's look, for the figures drawn inside the block only."""
    with sns.axes_style("whitegrid", rc=_RC), sns.plotting_context("notebook", rc={}), mpl.rc_context(_RC):
        yield


def new_figure(height_in: float, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure of the common width with `rows` x `columns` axes, listed row by row."""
    figure = Figure(figsize=(FIGURE_WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def finish(
    figure: Figure, title: str, run: RunFolder | None, conditions: Sequence[str] = (), reading: str = ""
) -> Figure:
    """Put the finding and, if need be, how to read the marks above the axes, the conditions below.

    The axes get what room these leave.
    """
    height = figure.get_figheight()
    heading = wrapped(figure, title, 13, bold=True)
    caption = wrapped(figure, " · ".join([*conditions, *(conditions_of(run) if run is not None else [])]), 7.8)
    above = 0.14 + 0.225 * (heading.count("\n") + 1)
    below = 0.14 + 0.145 * (caption.count("\n") + 1)
    place: dict[str, Any] = {"ha": "left", "color": INK}
    figure.text(
        _MARGIN_IN / FIGURE_WIDTH_IN, 1 - 0.12 / height, heading, va="top", fontsize=13, fontweight="bold", **place
    )
    if reading:
        hint = wrapped(figure, reading, 9)
        figure.text(_MARGIN_IN / FIGURE_WIDTH_IN, 1 - above / height, hint, va="top", fontsize=9, **place)
        above += 0.165 * (hint.count("\n") + 1)
    place["color"] = FAINT
    figure.text(_MARGIN_IN / FIGURE_WIDTH_IN, 0.08 / height, caption, va="bottom", fontsize=7.8, **place)
    engine = figure.get_layout_engine()
    assert engine is not None
    bottom = below / height
    engine.set(rect=(0.004, bottom, 0.992, 1 - (above + 0.1) / height - bottom), w_pad=0.08, h_pad=0.06)  # type: ignore[call-arg]
    return figure


def wrapped(figure: Figure, text: str, size: float, *, bold: bool = False) -> str:
    """`text` in as few lines as the figure's width allows, and these of about equal length."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    room = (FIGURE_WIDTH_IN - 2 * _MARGIN_IN) * DPI

    def width(line: str) -> float:
        return float(_renderer(figure).get_text_width_height_descent(line, font, False)[0])

    def fits(characters: int) -> bool:
        return all(width(line) <= room for line in textwrap.wrap(text, characters))

    longest = next(
        characters for characters in range(max(len(text), 12), 10, -1) if fits(characters) or characters == 11
    )
    lines = len(textwrap.wrap(text, longest))
    balanced = next(
        characters for characters in range(11, longest + 1) if len(textwrap.wrap(text, characters)) == lines
    )
    return textwrap.fill(text, balanced if balanced <= longest else longest)


def _renderer(figure: Figure) -> Any:
    return FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]


def no_data(reason: str, title: str, run: RunFolder) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    figure, (axes,) = new_figure(2.6)
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=11, color=FAINT, transform=axes.transAxes)
    return finish(figure, title, run)


def quiet_axes(axes: Axes, grid: str = "x") -> None:
    """Only the grid lines along which values are read, and no frame."""
    sns.despine(ax=axes, left=grid == "x", bottom=grid == "y")
    axes.grid(visible=False, axis="both")
    axes.grid(visible=True, axis="x" if grid == "x" else "y")
    axes.set_axisbelow(True)


def number(value: float) -> str:
    """A figure with two or three significant digits, as a person writes it: 4,210 · 105 · 21.3 · 8.3 · 0.58."""
    if not np.isfinite(value):
        return "–"
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def count_range(values: pd.Series) -> str:
    """How many, where the cells differ: `200` or `180 to 200`."""
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def few_ticks() -> MaxNLocator:
    """At most four round numbers."""
    return MaxNLocator(nbins=4, steps=[1, 2, 5, 10])


def percent(rate: float) -> str:
    """A rate as a percentage; a small one keeps the digits that tell it from zero."""
    if not np.isfinite(rate):
        return "–"
    value = 100 * rate
    return (
        "0 %" if value == 0 else f"{value:.2g} %" if value < 1 else f"{value:.1f} %" if value < 10 else f"{value:.0f} %"
    )


def separate(positions: Sequence[float], gap: float) -> list[float]:
    """The same positions moved apart as little as needed so that labels `gap` high do not overlap."""
    order = np.argsort(positions, kind="stable")
    placed = np.array(positions, dtype=float)
    for _ in range(200):
        moved = False
        for below, above in itertools.pairwise(order):
            overlap = gap - (placed[above] - placed[below])
            if overlap > gap * 1e-3:
                placed[below] -= overlap / 2
                placed[above] += overlap / 2
                moved = True
        if not moved:
            break
    return [float(value) for value in placed]


def table_of(run: RunFolder, name: str) -> pd.DataFrame:
    """A further table of the run, or an empty one where the run has none."""
    return run.table(name) if name in run.tables else pd.DataFrame()


def conditions_of(run: RunFolder, *, clustered: bool = True) -> list[str]:
    """Where and how the run was made, for the caption: machine, broker, disk, seed, and loads that were not kept up."""
    machine, broker = run.info.get("machine") or {}, run.info.get("broker") or {}
    cores, world = machine.get("cores"), run.info.get("world")
    parts = [f"{cores} cores" if cores else ""]
    if clustered:
        parts += [f"{broker.get('name', '')} {broker.get('version', '')}".strip()]
        parts += ["fsync on every replica" if world == "real" else ""]
    if world == "simulated":
        parts = ["simulated world"]
    return [part for part in [*parts, f"seed {run.seed}", _missed_rates(run)] if part]


def _missed_rates(run: RunFolder) -> str:
    """In how many cells operations were due faster than they were done: their latencies are mostly waiting."""
    if run.status != "complete" or "target_met" not in run.summary:
        return ""
    met = run.summary["target_met"].astype(bool)
    return "" if met.all() else f"LOAD NOT KEPT UP in {(~met).sum()} of {len(met)} cells"


def png_bytes(figure: Figure, alt: str = "") -> bytes:
    """The figure as PNG: always the same bytes for the same figure, with `alt` as its description."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None, "Description": alt or None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path, alt: str = "") -> Path:
    """Write `png_bytes` to `path`, whose folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(figure, alt))
    return path
