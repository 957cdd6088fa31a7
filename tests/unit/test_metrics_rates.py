"""Rates over time: every completed operation counts once, where it completed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from workbench.history import operations_frame
from workbench.metrics import rates_over_time


def operations(*rows: tuple[str, str, float | None], cell: str = "c") -> pd.DataFrame:
    """Rows (kind, outcome, completed at ms)."""
    return operations_frame(
        {
            "operation": number,
            "cell": cell,
            "kind": kind,
            "key": "k",
            "value": number,
            "outcome": outcome,
            "invoked_ns": 0,
            "completed_ns": None if at_ms is None else round(at_ms * 1e6),
        }
        for number, (kind, outcome, at_ms) in enumerate(rows)
    )


def rates(frame: pd.DataFrame, kind: str, column: str) -> list[Any]:
    return frame.loc[frame["kind"] == kind, column].tolist()


def test_operations_count_where_they_completed() -> None:
    found = rates_over_time(
        operations(
            ("write", "ok", 0),
            ("write", "ok", 99.9),
            ("write", "fail", 100),
            ("read", "info", 250),
            ("read", "ok", 299.9),
            ("write", "ok", 300),
        )
    )
    assert list(found.columns) == ["cell", "at_ms", "kind", "ok_per_s", "not_ok_per_s"]
    assert rates(found, "write", "at_ms") == [0, 100, 200]
    assert rates(found, "write", "ok_per_s") == [20, 0, 0]
    assert rates(found, "write", "not_ok_per_s") == [0, 10, 0]
    assert rates(found, "read", "ok_per_s") == [0, 0, 10]
    assert rates(found, "read", "not_ok_per_s") == [0, 0, 10]


def test_silence_is_a_rate_of_zero_and_the_unfull_end_no_rate() -> None:
    found = rates_over_time(operations(("write", "ok", 10), ("write", "ok", 460)), bucket_ms=50)
    assert rates(found, "write", "ok_per_s") == [20] + [0] * 8
    assert rates(found, "read", "ok_per_s") == [0] * 9


def test_each_cell_has_a_time_axis_of_its_own() -> None:
    first, second = operations(("write", "ok", 10)), operations(("read", "ok", 20), ("read", "ok", 210), cell="d")
    second["operation"] += 1
    found = rates_over_time(pd.concat([first, second], ignore_index=True))
    assert found.groupby("cell")["at_ms"].max().to_dict() == {"c": 0, "d": 100}
    assert found.groupby("cell")["ok_per_s"].sum().to_dict() == {"c": 10, "d": 10}


def test_what_never_completed_counts_nowhere() -> None:
    assert rates_over_time(operations(("write", "info", None))).empty
    assert rates_over_time(operations_frame([])).columns.tolist() == [
        "cell",
        "at_ms",
        "kind",
        "ok_per_s",
        "not_ok_per_s",
    ]


@pytest.mark.parametrize("bucket_ms", [0, -1, float("nan"), float("inf")])
def test_a_bucket_is_a_time(bucket_ms: float) -> None:
    with pytest.raises(ValueError, match="bucket_ms"):
        rates_over_time(operations(("write", "ok", 10)), bucket_ms=bucket_ms)
