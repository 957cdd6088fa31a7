"""The report is one page that needs nothing else, and shows what each run folder holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.synthetic_runs import RUNS
from workbench.charts.drawing import draw
from workbench.charts.report import report_html, reproduce_command, write_report
from workbench.errors import RunError
from workbench.results import RunFolder

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Collects tags and checks that each one is closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.sources: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    root = tmp_path_factory.mktemp("runs")
    return [make(root) for make in RUNS.values()]


@pytest.fixture(scope="module")
def html(runs: list[RunFolder]) -> str:
    return report_html(runs)


def test_the_page_is_whole_and_alone(html: str) -> None:
    page = Page(html)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_every_chart_is_there_with_its_words(html: str, runs: list[RunFolder]) -> None:
    images = Page(html).images
    assert len(images) == sum(len(draw(run)) for run in runs)
    assert all(len(image["alt"] or "") > 40 for image in images)


def test_every_run_is_told(html: str, runs: list[RunFolder]) -> None:
    for run in runs:
        assert run.info["question"] in html
        assert run.info["run"] in html
    assert html.count("Something holds on any machine.") == len(runs)
    assert html.count("p50 is 21 ms") == len(runs)
    assert html.count(">holds<") == 2 * len(runs)
    assert "lost acknowledged writes" in html
    assert "mosquitto 2.0.21" in html


def test_a_run_without_results_says_so(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, experiment="log_formats", question="What?", seed=3).fail("the <disk> is full")
    (path,) = tmp_path.iterdir()
    html = report_html([RunFolder.open(path, unfinished=True)])
    Page(html)
    assert "the &lt;disk&gt; is full" in html
    assert "no results" in html
    assert ">holds<" not in html


def test_unknown_claims_are_no_success(tmp_path: Path) -> None:
    html = report_html([RUNS["stale_reads"](tmp_path, empty=True)])
    assert "not all claims could be judged" in html
    assert "no reads were made" in html
    assert "all claims hold" not in html


def test_the_command_repeats_the_run(runs: list[RunFolder]) -> None:
    assert reproduce_command(runs[0]) == (
        "workbench run log_formats --profile quick --seed 7 --set followers=2 --set ack=async,sync --set duration_s=1"
    )


def test_columns_are_words_with_units(html: str) -> None:
    text = re.sub(r"\s+", " ", html)
    assert 'leader execute<span class="unit">µs a write</span>' in text
    assert 'latency p50<span class="unit">ms</span>' in text
    assert 'follower delay<span class="unit">ms</span>' in text


def test_the_page_is_written_where_asked(runs: list[RunFolder], tmp_path: Path) -> None:
    path = write_report(runs[:1], tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(RunError, match="cannot write"):
        write_report(runs[:1], path / "below-a-file.html")
    with pytest.raises(RunError, match="at least one run"):
        write_report([], path)
