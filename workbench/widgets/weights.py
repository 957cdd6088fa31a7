"""Sliders for what slow writes, stale reads and losses are worth to the reader, and a run's policies ranked by them.

Nothing is measured here: a recorded run is weighed anew with every move of a slider. Painting happens in a thread, one
picture at a time, so that a slider that is dragged stays under the hand; the last position is always painted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import ipywidgets

from workbench.charts.chart import Chart
from workbench.charts.style import png_bytes, style
from workbench.charts.trade_off_ranking import EQUAL_WEIGHTS, in_words, ranking_figure, reason
from workbench.charts.trade_off_run import policies
from workbench.errors import ConfigurationError
from workbench.metrics.weighing import STALE_READS, WEIGHED, Weighed, weigh
from workbench.results import RunFolder
from workbench.widgets.parts import PlainBox, hidden

_WEIGHT_MAX = 10.0
_WIDTH, _HEIGHT = 900, 470
_HEIGHT_IN = 4.7
_LABEL = {"description_width": "7em"}
_LABELS = dict(
    zip((respect.column for respect in WEIGHED), ("slow writes", "slow reads", "stale reads", "lost writes", "leader"),
        strict=True)
)  # fmt: skip
STALE_MEANINGS = {
    "older than an acknowledged write": "stale_rate_acknowledged",
    "or older than a value that somebody has read": "stale_rate",
}


class HasFolder(Protocol):
    """A run as notebooks have it."""

    @property
    def folder(self) -> RunFolder: ...


class WeightsPanel(PlainBox):
    """One slider a respect, the best policy in words, and the ranking as a picture of fixed size."""

    fallback = "Sliders for your own weights: run this cell in JupyterLab to move them."

    def __init__(self, run: HasFolder | RunFolder) -> None:
        folder = run if isinstance(run, RunFolder) else run.folder
        table = policies(folder)
        if table.empty:
            raise ConfigurationError(f"run {folder.path.name} has no policies to weigh", hint="give one of trade_off")
        self._rows: list[dict[str, Any]] = table.to_dict(orient="records")
        self._painting: asyncio.Task[None] | None = None
        self._is_due = False
        self._lock = threading.Lock()
        self.sliders = {respect.column: self._slider(respect.column) for respect in WEIGHED}
        self.stale = ipywidgets.Dropdown(
            options=list(STALE_MEANINGS), description="stale means", style=_LABEL,
            layout=ipywidgets.Layout(width="34em", max_width="100%"), tooltip="which reads count as stale",
        )  # fmt: skip
        self.stale.observe(lambda _: self._changed(), names="value")
        self.best = ipywidgets.HTML()
        self.picture = ipywidgets.Image(
            format="png", width=_WIDTH, height=_HEIGHT, layout=ipywidgets.Layout(max_width="100%", object_fit="contain")
        )
        self.words = ipywidgets.HTML()
        rows = [
            ipywidgets.HBox(
                [self.sliders[respect.column], ipywidgets.HTML(f"points for each {respect.unit_words}")],
                layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
            )
            for respect in WEIGHED
        ]
        super().__init__([*rows, self.stale, self.best, self.picture, self.words])
        self._show(self._paint())

    def _slider(self, column: str) -> ipywidgets.FloatSlider:
        slider = ipywidgets.FloatSlider(
            value=EQUAL_WEIGHTS[column], min=0, max=_WEIGHT_MAX, step=0.25, description=_LABELS[column],
            readout_format=".2f", style=_LABEL, layout=ipywidgets.Layout(width="24em", max_width="100%"),
        )  # fmt: skip
        slider.observe(lambda _: self._changed(), names="value")
        return slider

    @property
    def weights(self) -> Mapping[str, float]:
        """What the sliders say: column of a respect -> points for each of its units."""
        return {column: float(slider.value) for column, slider in self.sliders.items()}

    @property
    def ranked(self) -> tuple[Weighed, ...]:
        """The policies by these weights, the cheapest first."""
        column = STALE_MEANINGS[self.stale.value]
        rows = [row | {STALE_READS.column: row[column]} for row in self._rows]
        return weigh(rows, self.weights)

    def _changed(self) -> None:
        if self._home is None or not self._home.is_running():
            self._show(self._paint())
        else:
            self._at_home(self._repaint)

    def _repaint(self) -> None:
        """Paint soon; what changes while a picture is being painted gets the next one."""
        self._is_due = True
        if self._painting is None or self._painting.done():
            self._painting = asyncio.get_running_loop().create_task(self._paint_what_is_due(), name="weights-painter")

    async def _paint_what_is_due(self) -> None:
        while self._is_due:
            self._is_due = False
            self._show(await asyncio.to_thread(self._paint))

    def _paint(self) -> tuple[Chart, str]:
        """The ranking as a picture with its words, and the sentence on the best."""
        ranked, weights = self.ranked, self.weights
        with self._lock, style():  # the style is global while it lasts
            data = png_bytes(ranking_figure(ranked, weights, height_in=_HEIGHT_IN))
        return Chart(data, in_words(ranked)), reason(ranked)

    def _show(self, painted: tuple[Chart, str]) -> None:
        chart, sentence = painted
        self.picture.value = chart.png
        self.words.value = hidden(chart.alt)
        self.best.value = f'<p role="status" style="min-height:3em;margin:.4em 0"><b>{sentence}.</b></p>'
