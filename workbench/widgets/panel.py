"""A form made from an experiment's parameters, with a button that runs it and shows what it found.

The experiment runs as a task of the kernel's event loop, so that the page stays alive; Stop cancels the task, which
ends every process of its clusters. Whatever goes wrong is one line. The result is an ordinary PNG with alt text, a
table, and the verdicts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets

from workbench.charts.chart import Chart
from workbench.charts.drawing import CHARTED, alt_text, draw_png, save_charts
from workbench.charts.tables import shown_table
from workbench.charts.verdicts import verdicts_html
from workbench.experiments.base import Experiment
from workbench.experiments.parameters import PROFILES, choose_profile
from workbench.experiments.runner import run_experiment
from workbench.results import RunFolder
from workbench.widgets.fields import Field, make_field
from workbench.widgets.parts import STOPPED, PlainBox, error_line, hidden, note

_SHOWN_FIRST = 4
"""Parameters that are visible at once; the others are folded away."""


class ExperimentPanel(PlainBox):
    """The form of one experiment. `run` is the last finished run, as `wrap` makes it of its folder."""

    def __init__(
        self,
        experiment: Experiment[Any],
        *,
        output: Path | None = None,
        wrap: Callable[[RunFolder], Any] = lambda folder: folder,
    ) -> None:
        self.experiment = experiment
        self.fallback = f"A form for {experiment.name}: run this cell in JupyterLab to use it."
        self.run: Any = None
        self._output, self._wrap = output, wrap
        self._task: asyncio.Task[None] | None = None
        self.fields: dict[str, Field] = {info.name: make_field(info) for info in experiment.parameter_infos}
        self.profile = ipywidgets.Dropdown(
            options=list(PROFILES), value=choose_profile(), description="profile", tooltip="how much to measure"
        )
        self.seed = ipywidgets.BoundedIntText(
            value=1, min=0, max=2**31 - 1, description="seed", tooltip="seed of every random choice"
        )
        self.world = ipywidgets.Dropdown(
            options=list(experiment.worlds),
            description="world",
            tooltip="real processes, or virtual time",
        )
        self.run_button = ipywidgets.Button(
            description="Run", icon="play", button_style="primary", tooltip=f"run {experiment.name}"
        )
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip="stop the run and end all of its processes"
        )
        self.progress = ipywidgets.FloatProgress(
            min=0, max=1, description="progress", layout=ipywidgets.Layout(visibility="hidden")
        )
        self.status = ipywidgets.HTML(note("Press Run. The chart, the table and the verdicts appear below."))
        self.result = ipywidgets.Output()
        self.details = ipywidgets.HTML()
        self.profile.observe(lambda _: self._take_profile(), names="value")
        self.run_button.on_click(lambda _: self._at_home(self.start))
        self.stop_button.on_click(lambda _: self._at_home(self.cancel))
        self._take_profile()
        super().__init__(self._layout())

    def _layout(self) -> list[ipywidgets.Widget]:
        rows = [field.row for field in self.fields.values()]
        more = ipywidgets.Accordion(children=[ipywidgets.VBox(rows[_SHOWN_FIRST:])])
        more.set_title(0, "More parameters")
        heading = ipywidgets.HTML(f"<b>{self.experiment.question}</b>")
        choices = [self.profile, self.seed]
        if len(self.experiment.worlds) > 1:
            choices.append(self.world)
        how = ipywidgets.HBox(choices)
        buttons = ipywidgets.HBox([self.run_button, self.stop_button, self.progress])
        return [heading, *rows[:_SHOWN_FIRST], more, how, buttons, self.status, self.result, self.details]

    @property
    def parameters(self) -> dict[str, object]:
        """What the form says now, by name; not checked yet."""
        return {name: field.value for name, field in self.fields.items()}

    def start(self) -> None:
        """Run the experiment as a task. Needs a running event loop, as a notebook has."""
        if self._task is None or self._task.done():
            self._begin()
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"panel-{self.experiment.name}")
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """End the run soon."""
        if self._task is not None:
            self._task.cancel()

    async def finished(self) -> Any:
        """Wait until nothing runs; the last finished run, or None."""
        if self._task is not None:
            await asyncio.wait([self._task])
        return self.run

    def _take_profile(self) -> None:
        """Set every field to what the chosen profile says."""
        chosen = self.experiment.resolve(self.profile.value)
        for name, field in self.fields.items():
            field.value = getattr(chosen, name)

    async def _run(self) -> None:
        began = time.monotonic()
        folder = await run_experiment(
            self.experiment,
            profile=self.profile.value,
            seed=self.seed.value,
            overrides=self.parameters,
            world=self.world.value,
            output=self._output,
            progress=self._tell,
        )
        await asyncio.to_thread(self._show, folder)
        self.run = self._wrap(folder)
        self.status.value = note(f"Done in {time.monotonic() - began:.0f} s.")

    def _begin(self) -> None:
        self.run_button.disabled, self.stop_button.disabled = True, False
        self.progress.value = 0
        self.progress.layout.visibility = "visible"
        self.status.value = note("Starting replicas.")
        self.result.outputs = ()
        self.details.value = ""

    def _end(self, task: asyncio.Task[None]) -> None:
        """Called however the task has ended, cancelled before its first step included."""
        if task.cancelled():
            self.status.value = note(STOPPED)
        elif (error := task.exception()) is not None:
            self.status.value = error_line(error)
        self.progress.layout.visibility = "hidden"
        self.run_button.disabled, self.stop_button.disabled = False, True

    def _tell(self, fraction: float, text: str) -> None:
        self.progress.value = fraction
        self.status.value = note(text)

    def _show(self, folder: RunFolder) -> None:
        words = ""
        if folder.experiment in CHARTED:
            save_charts(folder)
            name, data = next(iter(draw_png(folder).items()))
            chart = Chart(data, alt_text(folder, name))
            bundle, metadata = chart._repr_mimebundle_()
            words = hidden(chart.alt)  # JupyterLab shows the picture without its alt text
            self.result.outputs = ({"output_type": "display_data", "data": bundle, "metadata": metadata},)
        table = shown_table(folder).to_html()
        self.details.value = (
            f'{words}<div class="jp-RenderedHTMLCommon">{table}'
            f"{verdicts_html(folder.verdicts, folder.info.get('claims', {}))}</div>"
        )
