"""What `split_brain` claims of given cells, and what its charts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.unit.synthetic_split_brain import brain_row, split_brain_run
from workbench.charts.drawing import alt_text, draw
from workbench.charts.tables import finding, shown_table
from workbench.checkers import double_acknowledgements
from workbench.experiments.split_brain import EXPERIMENT, _Doubles
from workbench.experiments.split_brain_claims import Brains, invariants, judge, summary_row
from workbench.history import operations_frame
from workbench.operation_rows import OperationRow

FENCED = brain_row("pause", fencing=True)
UNFENCED = brain_row("pause", fencing=False)


def statuses(*rows: dict[str, Any]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(rows).items()}


# Rows.

BRAINS = Brains(
    old_leader="a", old_term=1, new_leader="b", new_term=2, stopped_ms=100.0, elected_ms=160.0, back_ms=300.0
)


def operations(*rows: tuple[str, str, int, int, float]) -> pd.DataFrame:
    """Writes (outcome, replica, term, index, completed at ms)."""
    return operations_frame(
        {
            "operation": number,
            "kind": "write",
            "key": "k",
            "value": number,
            "outcome": outcome,
            "replica": replica,
            "term": term,
            "index": index,
            "invoked_ns": 0,
            "completed_ns": round(at_ms * 1e6),
        }
        for number, (outcome, replica, term, index, at_ms) in enumerate(rows)
    )


def row_of(frame: pd.DataFrame, brains: Brains = BRAINS) -> dict[str, Any]:
    return summary_row(brains, frame, double_acknowledgements(frame))


def test_a_cell_is_told_from_the_operations() -> None:
    row = row_of(
        operations(
            ("ok", "a", 1, 5, 50),
            ("ok", "b", 1, 6, 200),  # the old leader had executed it, the new one told of it
            ("ok", "b", 2, 8, 210),
            ("ok", "a", 1, 8, 350),
            ("ok", "b", 2, 9, 360),
            ("info", "", 0, 0, 370),
            ("fail", "", 0, 0, 380),
            ("info", "", 0, 0, 90),
        )
    )
    assert (row["election_ms"], row["away_ms"], row["took_over"]) == (60.0, 200.0, True)
    assert row["acknowledged_writes"] == 5
    assert (row["acknowledged_by_the_old_leader"], row["acknowledged_by_the_new_leader"]) == (1, 1)
    assert row["asked_the_old_leader"] == 3
    assert row["double_acknowledgements"] == 1


@pytest.mark.parametrize(
    "brains",
    [Brains(old_leader="a", old_term=1), Brains(old_leader="a", old_term=1, new_term=1, stopped_ms=1.0, back_ms=300.0)],
)
def test_who_was_not_replaced_was_not_replaced(brains: Brains) -> None:
    row = row_of(operations(("ok", "a", 1, 5, 50), ("ok", "b", 2, 8, 210)), brains)
    assert row["took_over"] is False
    assert pd.isna(row["election_ms"])


def test_a_new_leader_that_acknowledges_nothing_in_time_took_nothing_over() -> None:
    assert row_of(operations(("ok", "b", 2, 8, 301)))["took_over"] is False


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    rows = [brain_row(how, fencing=fencing) for how in ("pause", "cut") for fencing in (True, False)]
    assert statuses(*rows) == dict.fromkeys(EXPERIMENT.claims, "valid")


@pytest.mark.parametrize(
    ("fenced", "unfenced", "broken"),
    [
        ({"double_acknowledgements": 1}, {}, "fencing_stops_the_old_leader"),
        ({}, {"double_acknowledgements": 0}, "without_fencing_two_leaders_acknowledge"),
        ({}, {"took_over": False}, "a_new_leader_takes_over"),
    ],
)
def test_each_claim_can_be_seen_broken(fenced: dict[str, Any], unfenced: dict[str, Any], broken: str) -> None:
    found = statuses(FENCED | fenced, UNFENCED | unfenced)
    assert found[broken] == "invalid"


def test_without_fencing_it_is_enough_to_see_it_once() -> None:
    rows = [UNFENCED, brain_row("cut", fencing=False, double_acknowledgements=0)]
    assert statuses(*rows)["without_fencing_two_leaders_acknowledge"] == "valid"
    assert "how=cut, fencing=false: 0 indices" in judge(rows)["without_fencing_two_leaders_acknowledge"].reason


def test_with_fencing_every_cell_must_hold() -> None:
    rows = [FENCED, brain_row("cut", fencing=True, double_acknowledgements=2)]
    verdict = judge(rows)["fencing_stops_the_old_leader"]
    assert verdict.status == "invalid"
    assert verdict.witness[0]["how"] == "cut"


@pytest.mark.parametrize(
    "changes",
    [{"asked_the_old_leader": 2}, {"acknowledged_writes": 5}, {"took_over": False, "problem": "nobody leads"}],
)
def test_an_old_leader_that_nobody_asks_proves_nothing(changes: dict[str, Any]) -> None:
    assert statuses(FENCED | changes)["fencing_stops_the_old_leader"] == "unknown"


def test_an_old_leader_that_was_never_replaced_proves_nothing() -> None:
    row = UNFENCED | {"took_over": False, "double_acknowledgements": 0}
    assert statuses(row)["without_fencing_two_leaders_acknowledge"] == "unknown"


def test_no_claim_about_what_was_not_measured() -> None:
    assert set(statuses(FENCED)) == {"a_new_leader_takes_over", "fencing_stops_the_old_leader"}
    assert set(statuses(UNFENCED)) == {"a_new_leader_takes_over", "without_fencing_two_leaders_acknowledge"}


def test_invariants_are_those_with_fencing_where_there_are_any() -> None:
    both = invariants([FENCED, UNFENCED, brain_row("cut", fencing=False, converged=False)])
    assert (both["double_acknowledgements"], both["double_acknowledgements_without_fencing"]) == (0, 80)
    assert (both["converged"], both["converged_without_fencing"]) == (True, False)
    assert (both["lost_acknowledged_writes"], both["lost_acknowledged_writes_without_fencing"]) == (0, 180)
    alone = invariants([UNFENCED | {"lost_acknowledged_writes": None}])
    assert alone == {"converged": True, "double_acknowledgements": 40, "lost_acknowledged_writes": None}


def test_the_load_waits_for_the_second_acknowledgement_of_an_index() -> None:
    def row(term: int, index: int, outcome: Any = "ok") -> OperationRow:
        return OperationRow(operation=1, kind="write", key="k", outcome=outcome, term=term, index=index)

    doubles = _Doubles()
    seen = [doubles(each) for each in (row(1, 4), row(1, 4), row(2, 5), row(2, 4, "info"), row(2, 4))]
    assert seen == [False, False, False, False, True]


# Charts.


def test_the_title_compares(tmp_path: Path) -> None:
    assert finding(split_brain_run(tmp_path)) == (
        "Without fencing two leaders acknowledged different writes at 80 places in the log; with fencing at none"
    )
    assert finding(split_brain_run(tmp_path, fencings=(True,))) == "No double acknowledgements with fencing"
    assert finding(split_brain_run(tmp_path, fencings=(False,), hows=("cut",))).endswith("at 40 places in the log")


@pytest.mark.parametrize("fencings", [(True,), (False,), (True, False)])
def test_any_choice_of_cells_is_drawn(tmp_path: Path, fencings: tuple[bool, ...]) -> None:
    run = split_brain_run(tmp_path, fencings=fencings, hows=("cut",))
    assert list(draw(run)) == ["leaders", "positions", "timeline"]
    assert ("without fencing, cut: 40" in alt_text(run, "leaders")) is (False in fencings)


def test_the_chart_shows_where_two_leaders_acknowledged(tmp_path: Path) -> None:
    figure = draw(split_brain_run(tmp_path))["positions"]
    assert figure.texts[0].get_text().startswith("At index 31 and ")
    assert draw(split_brain_run(tmp_path, fencings=(True,)))["positions"].axes[0].texts[0].get_text() == (
        "No index was acknowledged twice, in any cell."
    )


def test_the_table_has_a_row_a_cell(tmp_path: Path) -> None:
    rows = shown_table(split_brain_run(tmp_path)).rows
    assert [row[:2] for row in rows] == [("pause", "with"), ("pause", "without"), ("cut", "with"), ("cut", "without")]
