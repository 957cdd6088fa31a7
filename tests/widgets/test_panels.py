"""Panels without a front end: a click runs the experiment on real clusters, Stop ends it, an error is one line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import AckPolicy, Cluster, ClusterConfig, experiment
from workbench.widgets import LivePanel, read_everywhere, watch
from workbench.widgets.panel import ExperimentPanel

SMALL = {"ack": ("async",), "read_policy": ("any",), "duration_s": 0.3, "warmup_s": 0.0}


@pytest.fixture
async def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentPanel:
    monkeypatch.setenv("WORKBENCH_PROFILE", "ci")
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    made = experiment("stale_reads").panel()
    for name, value in SMALL.items():
        made.fields[name].value = value
    return made


async def test_a_click_runs_the_experiment_and_shows_what_it_found(panel: ExperimentPanel) -> None:
    panel.run_button.click()
    await begun(panel)
    assert panel.run_button.disabled
    run = await panel.finished()
    assert run.invariants["lost_acknowledged_writes"] == 0
    (output,) = panel.result.outputs
    assert output["data"]["image/png"]
    assert output["metadata"]["image/png"]["alt"] == run.chart().alt
    assert "reads from" in panel.details.value
    assert "Done in" in panel.status.value
    assert (panel.run_button.disabled, panel.stop_button.disabled) == (False, True)


async def test_a_click_that_arrives_on_another_thread_runs_in_the_loop_of_the_panel(panel: ExperimentPanel) -> None:
    clicker = threading.Thread(target=panel.run_button.click)
    clicker.start()
    clicker.join()
    await begun(panel)
    panel.cancel()
    await panel.finished()
    assert "Stopped" in panel.status.value


async def test_stop_ends_the_run_and_its_processes(panel: ExperimentPanel, tmp_path: Path) -> None:
    panel.run_button.click()
    await begun(panel)
    await until(lambda: any(tmp_path.glob("*/.replicas-*/*/replicas")))
    panel.stop_button.click()
    assert await panel.finished() is None
    assert "Stopped; nothing is left running" in panel.status.value
    assert list(tmp_path.glob("*/.replicas-*")) == []
    assert panel.progress.layout.visibility == "hidden"


async def test_an_error_is_one_line(panel: ExperimentPanel) -> None:
    panel.fields["follower_delay_ms"].value = ("soon",)
    panel.run_button.click()
    await begun(panel)
    assert await panel.finished() is None
    assert "follower_delay_ms is &#x27;soon&#x27;, which is not a number" in panel.status.value
    assert "Traceback" not in panel.status.value
    assert not panel.run_button.disabled


async def test_a_panel_says_in_words_what_it_is_where_it_cannot_be_shown(panel: ExperimentPanel) -> None:
    assert repr(panel) == "A form for stale_reads: run this cell in JupyterLab to use it."
    assert repr(LivePanel()) == "A live panel: run this cell in JupyterLab to use it."


async def test_the_live_panel_paints_a_cluster_and_ends_it() -> None:
    panel = LivePanel(lasts_s=30)
    idle = panel.picture.value
    panel.start_button.click()
    await until(lambda: panel.picture.value != idle and "acknowledged" in panel.words.value)
    assert panel.ack.disabled
    painted = panel.picture.value
    panel.delays["replica-3"].value = 500
    await until(lambda: panel.picture.value != painted)
    await panel.stop()
    assert bytes(painted).startswith(b"\x89PNG")
    assert "Stopped; nothing is left running" in panel.status.value


async def test_a_delayed_follower_is_seen_in_the_past() -> None:
    async with Cluster(ClusterConfig(followers=1, ack=AckPolicy.asynchronous())) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE t (x)")
        await cluster.converged()
        await cluster.set_link_delay(5_000)
        await session.write("INSERT INTO t VALUES (1)")
        answers = await read_everywhere(cluster, "SELECT count(*) AS n FROM t")
        assert answers["n"].to_dict() == {"replica-1": 1, "replica-2": 0}
        assert answers["role"].to_dict() == {"replica-1": "leader", "replica-2": "follower"}


async def test_a_watch_under_sync_sees_nothing_stale() -> None:
    async with Cluster(ClusterConfig(followers=1, ack=AckPolicy.sync())) as cluster:
        seen = await watch(cluster, seconds=1.0)
    assert seen.table["stale"].sum() == 0
    assert seen.table["reads"].min() > 0
    assert "No read was older than an acknowledged write" in seen.chart().alt


async def begun(panel: ExperimentPanel) -> None:
    """A click is delivered through the event loop."""
    await until(lambda: panel._task is not None)


async def until(condition: Callable[[], bool]) -> None:
    """Until something that no event tells of has happened; the test's own time limit ends a vain wait."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
