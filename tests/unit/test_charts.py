"""Charts are drawn from run folders alone, whatever these hold, and say in words what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.unit.synthetic_folder import write
from tests.unit.synthetic_runs import RUNS
from workbench.charts import style
from workbench.charts.drawing import CHARTED, alt_text, draw, draw_png, save_charts
from workbench.errors import RunError
from workbench.experiments.registry import experiment_names
from workbench.results import RunFolder

MakeRun = Callable[..., RunFolder]
EACH = pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
PNG = b"\x89PNG\r\n\x1a\n"


def title_of(figure: Figure) -> str:
    return " ".join(figure.texts[0].get_text().split())


def test_every_experiment_has_charts() -> None:
    assert set(CHARTED) == set(experiment_names()) == set(RUNS)


@EACH
def test_a_run_is_drawn_with_a_title_and_words(make: MakeRun, tmp_path: Path) -> None:
    run = make(tmp_path)
    for name, figure in draw(run).items():
        assert len(title_of(figure)) > 20
        assert len(alt_text(run, name)) > 40
        caption = " ".join(text.get_text() for text in figure.texts)
        assert "seed 7" in caption
        assert ("mosquitto 2.0.21" in caption) != ("without broker" in caption)


@EACH
def test_a_run_that_did_nothing_is_drawn_as_such(make: MakeRun, tmp_path: Path) -> None:
    run = make(tmp_path, empty=True)
    for name, data in draw_png(run).items():
        assert data.startswith(PNG)
        assert alt_text(run, name).startswith("No ")


@EACH
def test_a_run_without_any_table_is_drawn_as_such(make: MakeRun, tmp_path: Path) -> None:
    made = make(tmp_path / "made")
    bare = write(tmp_path, made.experiment, "Why?", [], {}, empty=True)
    assert all(data.startswith(PNG) for data in draw_png(bare).values())


def test_reads_without_writes_are_unknown_and_not_zero(tmp_path: Path) -> None:
    run = RUNS["stale_reads"](tmp_path, unknown=True)
    assert all(data.startswith(PNG) for data in draw_png(run).values())
    assert "unknown, not 0 %" in alt_text(run, "rates")
    assert "unknown, not 0 %" in alt_text(run, "replicas")


@EACH
def test_texts_stay_inside_the_figure(make: MakeRun, tmp_path: Path) -> None:
    for name, figure in draw(make(tmp_path)).items():
        figure.draw_without_rendering()
        box = figure.bbox
        for text in figure.texts:
            extent = text.get_window_extent()
            assert extent.x0 >= box.x0, (name, text.get_text())
            assert extent.x1 <= box.x1, (name, text.get_text())
        lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)  # type: ignore[union-attr]
        caption_top = figure.texts[-1].get_window_extent().y1
        assert lowest >= caption_top, f"{name}: the caption touches the axes"


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = RUNS["stale_reads"](tmp_path)
    assert draw_png(run) == draw_png(run)


def test_charts_are_saved_with_their_words(tmp_path: Path) -> None:
    run = RUNS["log_formats"](tmp_path)
    paths = save_charts(run)
    assert [path.name for path in paths] == [
        f"{name}.png" for name in ("bytes", "workloads", "costs", "unsafe", "divergence", "engines")
    ]
    for path in paths:
        assert path.read_bytes().startswith(PNG)
        assert path.with_suffix(".txt").read_text().strip() == alt_text(run, path.stem)


def test_titles_state_the_finding(tmp_path: Path) -> None:
    titles = {name: title_of(next(iter(draw(make(tmp_path)).values()))) for name, make in RUNS.items()}
    assert titles["log_formats"] == ("A statement ships less than the changed rows from 2 rows on, pages from 128 on")
    assert "under sync" in titles["write_latency"]
    assert "20 ms away" in titles["write_latency"]
    assert titles["stale_reads"].endswith("27 % of reads from any replica are stale under async; none from the leader")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    run = RUNS["log_formats"](tmp_path)
    with pytest.raises(RunError, match="bytes, workloads, costs"):
        alt_text(run, "pie")
    other = write(tmp_path, "other", "Why?", [], {}, empty=True)
    with pytest.raises(RunError, match="has no charts"):
        draw(other)


def test_drawing_leaves_the_global_style_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw(RUNS["write_latency"](tmp_path))
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [(4210.4, "4,210"), (105.0, "105"), (21.26, "21.3"), (8.0, "8"), (0.5774, "0.58"), (float("nan"), "–"), (0.0, "0")],
)
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert style.number(value) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0, "0 %"), (0.00042, "0.042 %"), (0.0123, "1.2 %"), (0.27, "27 %"), (1.0, "100 %")]
)
def test_a_small_rate_never_reads_as_zero(rate: float, text: str) -> None:
    assert style.percent(rate) == text


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    moved = style.separate([0.0, 0.0, 5.0], 1.0)
    assert moved[2] == 5.0
    assert abs(moved[0] - moved[1]) >= 0.99
    assert np.mean(moved[:2]) == pytest.approx(0.0, abs=0.01)


def test_ack_policies_differ_in_colour_or_marker() -> None:
    acks = ["async", "semi_sync:1", "quorum", "sync", "sync/durable", "sync/received", "quorum/applied"]
    looks = {(style.ack_colour(ack), style.ack_marker(ack)) for ack in acks}
    assert len(looks) == len(acks)


def test_count_range() -> None:
    assert style.count_range(pd.Series([200, 200])) == "200"
    assert style.count_range(pd.Series([1800, 200])) == "200 to 1,800"
