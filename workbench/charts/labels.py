"""Names beside marks: placed one by one where nothing is in the way, each joined to its mark if it had to move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

Place: TypeAlias = tuple[float, float]
_GAP_PX = 3.0
_STEPS_MAX = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A name for the mark that is drawn at `at` (pixels of the figure) with a half width of `radius_px`."""

    text: str
    at: Place
    radius_px: float
    colour: str
    bold: bool = False


def place_labels(
    axes: Axes, labels: Sequence[Label], obstacles: Sequence[Bbox] = (), *, size: float = 8.0
) -> list[Bbox]:
    """Write the labels into laid-out axes; the boxes that they take, in pixels and in their order.

    Marks are in the way of all labels, and so are `obstacles`. Where there is no free place, the label stands as near
    as it can without hiding another one.
    """
    marks = [box_around(one.at, one.radius_px) for one in labels]
    taken: list[Bbox] = []
    for label in labels:
        width, height = _extent(axes, label, size)
        free = list(_candidates(label, width, height))
        inside = [box for box in free if _contains(axes.bbox, box)] or free
        good = (box for box in inside if not _hits(box, [*taken, *marks, *obstacles]))
        fair = (box for box in inside if not _hits(box, taken))
        box = next(itertools.chain(good, fair, iter(inside)))
        taken.append(box)
        _write(axes, label, box, size)
    return taken


def box_around(at: Place, radius_px: float) -> Bbox:
    """The square around a mark."""
    return Bbox.from_extents(at[0] - radius_px, at[1] - radius_px, at[0] + radius_px, at[1] + radius_px)


def _candidates(label: Label, width: float, height: float) -> Iterator[Bbox]:
    """Right of the mark, then left of it, at its own height first and then further and further above and below."""
    x, y = label.at
    away = label.radius_px + 2 * _GAP_PX
    steps = sorted(range(-_STEPS_MAX, _STEPS_MAX + 1), key=lambda step: (abs(step), -step))
    for step in steps:
        bottom = y - height / 2 + step * height * 0.55
        for left in (x + away, x - away - width):
            yield Bbox.from_bounds(left, bottom, width, height)


def _extent(axes: Axes, label: Label, size: float) -> Place:
    text = axes.text(0, 0, label.text, fontsize=size, fontweight="bold" if label.bold else "normal")
    box = text.get_window_extent()
    text.remove()
    return box.width + _GAP_PX, box.height + _GAP_PX


def _contains(outer: Bbox, inner: Bbox) -> bool:
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


def _hits(box: Bbox, others: Sequence[Bbox]) -> bool:
    return any(box.x0 < one.x1 and one.x0 < box.x1 and box.y0 < one.y1 and one.y0 < box.y1 for one in others)


def _write(axes: Axes, label: Label, box: Bbox, size: float) -> None:
    to_data = axes.transData.inverted()
    middle = (box.y0 + box.y1) / 2
    near = box.x0 if box.x0 > label.at[0] else box.x1
    x, y = (float(value) for value in to_data.transform((box.x0, middle)))
    weight = "bold" if label.bold else "normal"
    text = axes.text(
        x, y, label.text, va="center_baseline", zorder=6, fontsize=size, color=label.colour, fontweight=weight
    )
    text.set_in_layout(False)
    if abs(middle - label.at[1]) > box.height * 0.45:
        ends = to_data.transform([label.at, (near, middle)])
        (line,) = axes.plot(*ends.T, color=label.colour, linewidth=0.6, alpha=0.6, zorder=1.5)
        line.set_in_layout(False)
