"""Timelines: every mark has its line, labels stay apart, and bars last as long as the states they stand for."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from workbench.charts.spans import Rule, Span, spans_of
from workbench.charts.style import style
from workbench.charts.timeline import Mark, draw_timeline, end_of, new_timeline

RULES = [
    Rule("leads", frozenset({"leads"}), frozenset({"killed", "deposed"})),
    Rule("down", frozenset({"killed"}), frozenset({"restarted"})),
]


def rates(buckets: int) -> pd.DataFrame:
    rows = [
        {"cell": "c", "at_ms": at * 100.0, "kind": kind, "ok_per_s": 50.0 * (at % 3), "not_ok_per_s": 10.0 * (at % 2)}
        for kind in ("write", "read")
        for at in range(buckets)
    ]
    return pd.DataFrame(rows, columns=["cell", "at_ms", "kind", "ok_per_s", "not_ok_per_s"])


def drawn(buckets: int, marks: list[Mark], spans: list[Span]) -> list[Axes]:
    with style():
        figure, (panels,) = new_timeline(["A cell"], lanes=2)
        draw_timeline(panels, rates(buckets), marks=marks, spans=spans, lanes=("a", "b"))
        figure.draw_without_rendering()
    return panels


def labels_of(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_states_last_from_one_event_of_a_replica_to_its_next() -> None:
    rows = [(900, "restarted", "a"), (0, "leads", "a"), (500, "killed", "a"), (600, "leads", "b"), (700, "leads", "b")]
    events = pd.DataFrame(rows, columns=["at_ms", "event", "replica"])
    assert spans_of(events, RULES, 1000) == [
        Span("a", "leads", 0, 500),
        Span("b", "leads", 600, 1000),
        Span("a", "down", 500, 900),
    ]
    assert spans_of(events.iloc[:0], RULES, 1000) == []


def test_the_end_is_that_of_the_last_bucket() -> None:
    assert end_of(rates(4)) == 400
    assert end_of(rates(0)) == 0


@pytest.mark.parametrize("count", [1, 6, 12])
def test_labels_do_not_cover_each_other(count: int) -> None:
    marks = [Mark(500 + 290 * n, f"replica-{n} killed") for n in range(count)]
    panels = drawn(50, marks, [])
    labels = labels_of(panels[0])
    assert len(labels) == count
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert max(box.x1 for box in boxes) <= panels[0].bbox.x1 + 1
    title = panels[0].title if panels[0].title.get_text() else panels[0]._left_title  # type: ignore[attr-defined]
    assert title.get_window_extent().y0 >= max(box.y1 for box in boxes)


def test_too_many_marks_keep_those_with_a_short_form() -> None:
    marks = [
        mark
        for n in range(20)
        for mark in (Mark(500 + 500 * n, f"replica-{n} killed", short=str(n + 1)), Mark(600 + 500 * n, "another leads"))
    ]
    panels = drawn(120, marks, [])
    labels = labels_of(panels[0])
    assert [label.get_text() for label in labels] == [str(n + 1) for n in range(20)]
    for axes in panels:
        assert len(axes.lines) - (2 if axes is panels[2] else 0) == 20
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_state_is_named_in_its_bar_where_it_fits() -> None:
    panels = drawn(100, [], [Span("a", "leads", 0, 5000), Span("b", "leads", 5000, 5050)])
    assert [text.get_text() for text in panels[2].texts] == ["leads"]
    assert panels[2].get_xlim() == panels[0].get_xlim() == (0, 10)


def test_rates_reach_from_zero_to_all_that_completed() -> None:
    panels = drawn(10, [], [])
    assert panels[0].get_ylabel() == "writes/s"
    assert panels[0].get_ylim()[1] == pytest.approx(110 * 1.08)
    assert np.isclose(panels[0].get_ylim()[0], 0)


def test_nothing_is_drawn_of_nothing() -> None:
    panels = drawn(0, [], [])
    assert not labels_of(panels[0])
