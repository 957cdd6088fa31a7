"""Two leaders that acknowledge different entries at one index are found, and nothing else is taken for that."""

from __future__ import annotations

import pandas as pd

from workbench.checkers import double_acknowledgements, no_double_acknowledgement
from workbench.history import operations_frame


def operations(*rows: tuple[int, int, str], cell: str = "c") -> pd.DataFrame:
    """Writes (term, index, outcome); their values count from 1."""
    return operations_frame(
        {
            "operation": number,
            "cell": cell,
            "kind": "write",
            "key": "k",
            "value": number,
            "outcome": outcome,
            "term": term,
            "index": index,
            "invoked_ns": 0,
            "completed_ns": number * 1_000_000,
        }
        for number, (term, index, outcome) in enumerate(rows, start=1)
    )


def test_two_entries_at_one_index_are_a_double_acknowledgement() -> None:
    found = double_acknowledgements(
        operations((1, 7, "ok"), (1, 8, "ok"), (1, 8, "ok"), (2, 8, "ok"), (3, 8, "ok"), (2, 9, "ok"))
    )
    (row,) = found.to_dict(orient="records")
    assert (row["index"], row["old_term"], row["new_term"]) == (8, 1, 3)
    assert (row["old_writes"], row["new_writes"]) == (2, 1)
    assert (row["old_values"], row["new_values"], row["at_ms"]) == ("2, 3", "5", 5.0)
    verdict = no_double_acknowledgement(found, 6)
    assert verdict.status == "invalid"
    assert verdict.witness[0]["index"] == 8


def test_many_values_are_shortened() -> None:
    found = double_acknowledgements(operations(*[(1, 8, "ok")] * 5, (2, 8, "ok")))
    assert found["old_values"].tolist() == ["1, 2, 3, ..."]


def test_what_was_not_acknowledged_is_none() -> None:
    found = double_acknowledgements(
        operations((1, 8, "ok"), (2, 8, "info"), (2, 8, "fail"), (2, 9, "ok"), (0, 8, "ok"))
    )
    assert found.empty
    assert no_double_acknowledgement(found, 2).status == "valid"


def test_reads_at_an_index_are_none() -> None:
    frame = operations((1, 8, "ok"), (2, 8, "ok"))
    frame.loc[1, "kind"] = "read"
    assert double_acknowledgements(frame).empty


def test_indices_of_different_cells_have_nothing_to_do_with_each_other() -> None:
    both = pd.concat([operations((1, 8, "ok")), operations((2, 8, "ok"), cell="d")], ignore_index=True)
    assert double_acknowledgements(both).empty


def test_without_acknowledgements_nothing_is_known() -> None:
    assert no_double_acknowledgement(double_acknowledgements(operations_frame([])), 0).status == "unknown"
