"""The two matrices of `log_formats` as tables of words: what becomes of replicas, cell by cell, and where they differ.

Each outcome has a word, a sign and a colour; a cell that is not as expected has a thick frame and says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbench.charts import divergence
from workbench.charts.style import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    VERMILION,
    finish,
    mix,
    new_figure,
    no_data,
    table_of,
)
from workbench.results import RunFolder

_TITLE = "Do the replicas stay equal?"
_NOTHING = "No comparison of the replicas was recorded."


class _Look(NamedTuple):
    sign: str
    colour: str
    ink: float = 0.45


_LOOKS: Mapping[str, _Look] = {
    "converged": _Look("=", GREEN),
    "diverged": _Look("≠", VERMILION),
    "refused": _Look("⊘", BLUE),
    "corrupted": _Look("‼", PURPLE),
}
_UNKNOWN = _Look("?", "#8a919d")
_ROW_WIDTH = 26


def _draw_matrix(axes: Axes, cells: pd.DataFrame, row: str, column: str, row_words: Mapping[str, str]) -> None:
    rows, columns = (list(dict.fromkeys(cells[name])) for name in (row, column))
    for cell in cells.to_dict(orient="records"):
        expected = cell["verdict"] != "invalid"
        _draw_cell(axes, columns.index(cell[column]), rows.index(cell[row]), str(cell["outcome"]), expected=expected)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), [str(name).replace("/", "\n") for name in columns])
    axes.set_yticks(range(len(rows)), [textwrap.fill(row_words[name], _ROW_WIDTH) for name in rows])
    axes.tick_params(length=0, labelcolor=INK, top=False, labeltop=True, labelbottom=False)
    axes.tick_params(axis="x", labelsize=10.5)
    axes.tick_params(axis="y", labelsize=10)
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)


def _draw_cell(axes: Axes, column: int, row: int, outcome: str, *, expected: bool) -> None:
    look = _LOOKS.get(outcome, _UNKNOWN)
    box = Rectangle(
        (column - 0.47, row - 0.43),
        0.94,
        0.86,
        facecolor=mix(look.colour, "#ffffff", 0.8),
        edgecolor=mix(look.colour, "#ffffff", 0.35) if expected else INK,
        linewidth=0.9 if expected else 2.2,
    )
    axes.add_patch(box)
    words = f"{look.sign}  {outcome if outcome in _LOOKS else 'unknown'}" + ("" if expected else "\n(not expected)")
    axes.text(
        column,
        row,
        words,
        ha="center",
        va="center",
        fontsize=9.5 if expected else 8,
        linespacing=0.95,
        color=mix(look.colour, "#000000", look.ink),
    )


def _words_of(cells: pd.DataFrame, row: str) -> dict[str, str]:
    return dict(zip(cells[row], cells["words"], strict=True))


# Unsafe statements.


def draw_unsafe(run: RunFolder) -> Figure:
    """Causes against formats and policies."""
    cells = table_of(run, "unsafe")
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (axes,) = new_figure(1.75 + 0.36 * cells["cause"].nunique())
    _draw_matrix(axes, cells, "cause", "column", _words_of(cells, "cause"))
    reading = (
        "Each row is a statement whose result SQL leaves open, or that depends on when and where it runs. The "
        "followers read in another order, hear of the clock late, and one was restarted."
    )
    return finish(figure, _unsafe_title(cells), run, ["compared by row digests on real clusters"], reading)


def _unsafe_title(cells: pd.DataFrame) -> str:
    unsafe = cells[cells["cause"] != "constants"]
    counts = unsafe.groupby("column", sort=False)["outcome"].value_counts().unstack(fill_value=0)
    causes = unsafe["cause"].nunique()
    diverged = counts.get("diverged", pd.Series(0, index=counts.index))
    bad = [name for name in counts.index if diverged[name]]
    good = [str(name) for name in counts.index if counts.get("converged", diverged * 0)[name] == causes]
    if not bad:
        return f"None of {causes} causes made replicas differ"
    told = [f"{name.partition('/')[0].capitalize()}s copied as they are" for name in bad if name == "statement/allow"]
    what = told[0] if told else f"Entries of {_listed(bad)}"
    contrast = f"; {_listed(good)} {'keep' if len(good) > 1 else 'keeps'} replicas equal for all" if good else ""
    return f"{what} let replicas drift apart for {int(diverged[bad].max())} of {causes} causes{contrast}"


def unsafe_alt(run: RunFolder) -> str:
    """What `draw_unsafe` shows."""
    cells = table_of(run, "unsafe")
    if cells.empty:
        return _NOTHING
    return f"Table of causes against log formats and policies. {_told(cells, 'cause', 'column')}."


# Other followers.


def draw_engines(run: RunFolder) -> Figure:
    """How a follower differs, against formats."""
    cells = table_of(run, "engines")
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (axes,) = new_figure(1.7 + 0.56 * cells["change"].nunique())
    _draw_matrix(axes, cells, "change", "log_format", _words_of(cells, "change"))
    reading = "Each row is a follower that differs from its leader in one thing and joins while the cluster runs."
    return finish(figure, _engines_title(cells), run, ["compared by row digests on real clusters"], reading)


def _engines_title(cells: pd.DataFrame) -> str:
    by_format = cells.groupby("log_format", sort=False)["outcome"].agg(list)
    known = {str(name): [one for one in outcomes if one != "unknown"] for name, outcomes in by_format.items()}
    survivors = [name for name, outcomes in known.items() if outcomes and set(outcomes) == {"converged"}]
    reached = {name: sum(one == "converged" for one in outcomes) for name, outcomes in known.items()}
    worst = min(reached, key=lambda name: reached[name], default="")
    if not worst or reached[worst] == len(known[worst]):
        return "Every log format carried its entries to every other follower"
    lasting = (
        f"{_listed(survivors).capitalize()} entries reach every other follower"
        if survivors
        else "No format reaches every other follower"
    )
    return f"{lasting}, {worst} entries {reached[worst]} of {len(known[worst])}"


def engines_alt(run: RunFolder) -> str:
    """What `draw_engines` shows."""
    cells = table_of(run, "engines")
    if cells.empty:
        return _NOTHING
    return (
        f"Table of followers that differ from their leader against log formats. {_told(cells, 'change', 'log_format')}."
    )


def _told(cells: pd.DataFrame, row: str, column: str) -> str:
    parts = []
    for _, some in cells.groupby(row, sort=False):
        outcomes = ", ".join(
            f"{one[column]} {one['outcome']}" + ("" if one["verdict"] != "invalid" else " (not expected)")
            for one in some.to_dict(orient="records")
        )
        parts.append(f"{some['words'].iloc[0]}: {outcomes}")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# Where they differ.


def draw_divergence(run: RunFolder) -> Figure:
    """The values that differ where statements are copied as they are, and the entries since which they do."""
    found = table_of(run, "divergence")
    if found.empty:
        return no_data("No value differs, or it was not looked for.", "Since which entry do replicas differ?", run)
    return divergence.draw_divergence(found.to_dict(orient="records"), entries=int(found["entries"].max()), run=run)


def divergence_alt(run: RunFolder) -> str:
    """What `draw_divergence` shows."""
    found = table_of(run, "divergence")
    if found.empty:
        return "No divergence is shown: no value differs, or it was not looked for."
    return divergence.divergence_alt(found.to_dict(orient="records"), entries=int(found["entries"].max()))
