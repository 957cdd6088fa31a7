"""Figures of a part of a load, on tiny histories."""

from __future__ import annotations

import math

from tests.unit.histories import history, read, write
from workbench.metrics.windows import completed_between, latency_between, longest_gap_ms, ok_per_s

MS = 1_000_000
OPERATIONS = history(
    write("x", 1, 0, 10 * MS),
    write("x", 2, 15 * MS, 20 * MS),
    write("x", 3, 21 * MS, None),
    read("x", 2, 30 * MS, 40 * MS),
    write("x", 4, 22 * MS, 90 * MS),
)


def test_an_operation_counts_where_it_completed_if_it_ended_well() -> None:
    assert completed_between(OPERATIONS, "write", 10, 90)["value"].tolist() == [1, 2]
    assert ok_per_s(OPERATIONS, "write", 0, 100) == 30.0
    assert ok_per_s(OPERATIONS, "read", 0, 40) == 0.0


def test_the_longest_gap_is_bounded_by_the_window() -> None:
    assert longest_gap_ms(OPERATIONS, "write", 0, 100) == 70.0
    assert longest_gap_ms(OPERATIONS, "write", 0, 50) == 30.0
    assert longest_gap_ms(OPERATIONS, "read", 50, 80) == 30.0


def test_a_window_that_is_none_has_no_figures() -> None:
    assert math.isnan(ok_per_s(OPERATIONS, "write", 50, 50))
    assert math.isnan(longest_gap_ms(OPERATIONS, "write", 50, 40))


def test_a_latency_counts_where_the_operation_was_due() -> None:
    assert latency_between(OPERATIONS, "write", 20, 30) == {"latency_ms_p50": 68.0, "latency_ms_p99": 68.0}
    assert math.isnan(latency_between(OPERATIONS, "write", 50, 60)["latency_ms_p99"])
