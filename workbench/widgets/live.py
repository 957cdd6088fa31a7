"""A live cluster with sliders: writes go on, every replica is read, and the picture is painted three times a second.

Start makes a cluster of its own and Stop ends it, so that a notebook that nobody touches leaves nothing running. It
also ends by itself after a while, and an error is one line below the picture. Painting happens in a thread, from a
copy of what was seen, into an image of fixed size, so that neither the readers nor the page wait for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import ipywidgets

from workbench.cluster.cluster import Cluster
from workbench.config import AckPolicy, ClusterConfig, Timing
from workbench.errors import WorkbenchError
from workbench.widgets.parts import STOPPED, PlainBox, error_line, hidden, note
from workbench.widgets.watch_chart import WatchChart
from workbench.widgets.watching import Watch

_DELAY_MS_MAX = 3_000

PAINTED_PER_S = 3.0
LASTS_S = 120.0
ACKS = ("async", "semi_sync:1", "quorum", "sync")
_WIDTH, _HEIGHT = 900, 350
_LABEL = {"description_width": "11em"}


class LivePanel(PlainBox):
    """An ack policy, a delay for each follower, Start and Stop, and the staircases of all replicas."""

    fallback = "A live panel: run this cell in JupyterLab to use it."

    def __init__(self, config: ClusterConfig | None = None, *, lasts_s: float = LASTS_S) -> None:
        self._config = config or ClusterConfig(ack=AckPolicy.asynchronous(), timing=Timing.for_delay(_DELAY_MS_MAX))
        self._lasts_s = lasts_s
        self._cluster: Cluster | None = None
        self._task: asyncio.Task[None] | None = None
        self._changes: set[asyncio.Task[None]] = set()
        leader, *followers = self._config.replica_names
        chosen = str(self._config.ack)
        self.ack = ipywidgets.Dropdown(
            options=list(dict.fromkeys((*ACKS, chosen))),
            value=chosen,
            description="ack",
            tooltip="ack policy: who must hold an entry before its write is acknowledged",
            style=_LABEL,
        )
        self.delays = {name: self._slider(name) for name in followers}
        self.start_button = ipywidgets.Button(
            description="Start",
            icon="play",
            button_style="primary",
            tooltip="start a cluster, write and read until Stop",
        )
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip="end the cluster and all of its processes"
        )
        self.picture = ipywidgets.Image(
            format="png", width=_WIDTH, height=_HEIGHT, layout=ipywidgets.Layout(max_width="100%", object_fit="contain")
        )
        self.words = ipywidgets.HTML()
        self.status = ipywidgets.HTML(note("Press Start, then move a slider."))
        self.start_button.on_click(lambda _: self._at_home(self.start))
        self.stop_button.on_click(lambda _: self._at_home(self.cancel))
        self._show(WatchChart(self._config.replica_names, leader).paint([], [], 0.0))
        buttons = ipywidgets.HBox([self.start_button, self.stop_button])
        super().__init__([self.ack, *self.delays.values(), buttons, self.picture, self.words, self.status])

    def _slider(self, name: str) -> ipywidgets.FloatSlider:
        slider = ipywidgets.FloatSlider(
            value=0,
            min=0,
            max=_DELAY_MS_MAX,
            step=50,
            description=f"{name} late by, ms",
            readout_format=".0f",
            continuous_update=False,
            style=_LABEL,
            layout=ipywidgets.Layout(width="34em", max_width="100%"),
            tooltip=f"added to every message that {name} receives from another replica",
        )
        slider.observe(lambda change: self._at_home(self._set_delay, name, float(change["new"])), names="value")
        return slider

    def start(self) -> None:
        """Start a cluster, write, read and paint. Needs a running event loop, as a notebook has."""
        if self._task is None or self._task.done():
            self._set_running(True)
            self.status.value = note("Starting replicas.")
            self._task = asyncio.get_running_loop().create_task(self._run(), name="live-panel")
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Stop soon; `stop` waits for it."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Stop and wait until nothing is going on."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with Cluster(replace(self._config, ack=AckPolicy.parse(self.ack.value))) as cluster:
                self._cluster = cluster
                for name, slider in self.delays.items():
                    await cluster.set_link_delay(slider.value, replicas=[name])
                self.status.value = note("Running: move a slider.")
                watch = Watch(cluster)
                async with asyncio.TaskGroup() as group:
                    painter = group.create_task(self._paint(watch), name="live-painter")
                    await watch.run(self._lasts_s)
                    painter.cancel()
            self.status.value = note(f"{STOPPED} It had run for {self._lasts_s:g} s.")
        finally:
            self._cluster = None

    def _end(self, task: asyncio.Task[None]) -> None:
        """Called however the task has ended, cancelled before its first step included."""
        if task.cancelled():
            self.status.value = note(STOPPED)
        elif (error := task.exception()) is not None:
            self.status.value = error_line(error)
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.start_button.disabled = self.ack.disabled = running
        self.stop_button.disabled = not running

    async def _paint(self, watch: Watch) -> None:
        chart = WatchChart(watch.replicas, watch.leader)
        while True:
            seen = (list(watch.writes), list(watch.sights), watch.now_s())
            self._show(await asyncio.to_thread(chart.paint, *seen))
            await asyncio.sleep(1 / PAINTED_PER_S)

    def _show(self, chart: Any) -> None:
        self.picture.value = chart.png
        self.words.value = hidden(chart.alt)

    def _set_delay(self, name: str, delay_ms: float) -> None:
        if self._cluster is not None:
            task = asyncio.get_running_loop().create_task(
                self._ask(self._cluster, name, delay_ms), name=f"delay-{name}"
            )
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)

    async def _ask(self, cluster: Cluster, name: str, delay_ms: float) -> None:
        try:
            await cluster.set_link_delay(delay_ms, replicas=[name])
        except WorkbenchError as error:
            self.status.value = error_line(error)
