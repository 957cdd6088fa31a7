"""The chart of a divergence is drawn from its rows alone, and its words say where it began and why."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from workbench.charts.divergence import CAUSE_LOOKS, divergence_alt, draw_divergence
from workbench.charts.style import png_bytes, style
from workbench.log_formats.causes import Cause


def row(table: str, key: str, index: int | None, cause: str, column: str = "x") -> dict[str, Any]:
    return {
        "table": table,
        "key": key,
        "column": column,
        "replica-1": "1",
        "replica-2": "2",
        "term": 1 if index else None,
        "index": index,
        "statement": f"INSERT INTO {table} VALUES (random())" if index else "",
        "cause": cause,
        "reason": "because",
    }


ROWS = [
    row("dice", "id=1", 8, "random"),
    row("dice", "id=1", 8, "random", column="y"),
    row("dice", "id=2", 8, "random"),
    row("dice", "id=3", 16, "limit"),
    row("note", "id=1", 9, ""),
    row("note", "id=2", None, ""),
]


def words_of(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def title_of(figure: Figure) -> str:
    return " ".join(figure.texts[0].get_text().split())


def test_every_cause_has_a_look_of_its_own() -> None:
    assert set(CAUSE_LOOKS) == set(Cause)
    assert len({(colour, marker) for _, colour, marker in CAUSE_LOOKS.values()}) == len(Cause)


def test_marks_count_rows_not_values() -> None:
    with style():
        figure = draw_divergence(ROWS, entries=21)
        assert png_bytes(figure).startswith(b"\x89PNG")
    assert sorted(word for word in words_of(figure) if word.isdigit()) == ["1", "1", "1", "2"]
    assert (
        title_of(figure)
        == "5 rows of 2 tables differ; it began with entry 8: LIMIT without a total order and random values"
    )
    assert "entry\nunknown" in words_of(figure)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dice", "note"]


def test_the_words_say_all() -> None:
    assert divergence_alt(ROWS, entries=21) == (
        "Where along a log of 21 entries rows began to differ. dice: 2 rows since entry 8 (random values); note: 1 row "
        "since entry 9 (no unsafe statement); dice: 1 row since entry 16 (LIMIT without a total order); note: 1 row "
        "since no known entry (no unsafe statement)."
    )


@pytest.mark.parametrize("rows", [[], ROWS[-1:], [row(f"t{n}", "id=1", n + 1, "random") for n in range(40)]])
def test_nothing_little_and_much_are_drawn(rows: list[dict[str, Any]]) -> None:
    with style():
        figure = draw_divergence(rows, entries=50)
        assert png_bytes(figure).startswith(b"\x89PNG")
    assert len(title_of(figure)) > 20
    assert figure.get_figheight() < 12


def test_statements_do_not_overlap() -> None:
    rows = [row("dice", f"id={index}", index, "random") for index in (1, 9, 11, 20)]
    with style():
        figure = draw_divergence(rows, entries=20)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text().startswith("INSERT")]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
