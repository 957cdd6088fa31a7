"""Lag from samples: how many entries, and how old the oldest missing one is."""

import pandas as pd
import pytest

from workbench.metrics import lag, lag_summary

MS = 1_000_000


def samples(*rows):
    table = pd.DataFrame(rows, columns=["time_ms", "replica", "last", "durable", "applied"])
    return table.assign(time_ns=table.pop("time_ms") * MS)


LEADER = [(0, "r1", 0, 0, 0), (10, "r1", 5, 5, 5), (20, "r1", 9, 9, 9)]


def lags(table, replica="r2", leader="r1"):
    found = lag(table, leader=leader)
    found = found[found["replica"] == replica]
    return {
        level: list(zip(rows["lag_entries"].tolist(), rows["lag_ms"].tolist(), strict=True))
        for level, rows in found.groupby("level")
    }


def test_each_level_on_its_own():
    found = lags(samples(*LEADER, (25, "r2", 9, 7, 5)))
    assert found == {"received": [(0, 0.0)], "durable": [(2, 5.0)], "applied": [(4, 5.0)]}


def test_age_counts_from_the_oldest_missing_entry():
    assert lags(samples(*LEADER, (25, "r2", 4, 4, 4)))["applied"] == [(5, 15.0)]
    assert lags(samples(*LEADER, (15, "r2", 5, 5, 5), (30, "r2", 5, 5, 5)))["applied"] == [(0, 0.0), (4, 10.0)]


def test_a_follower_sampled_after_the_leader_is_not_ahead():
    assert lags(samples(*LEADER, (25, "r2", 12, 12, 12)))["applied"] == [(0, 0.0)]


def test_the_named_leader_and_times_before_its_first_sample_have_no_rows():
    found = lag(samples((5, "r2", 0, 0, 0), (10, "r1", 3, 3, 3), (15, "r2", 1, 1, 1)), leader="r1")
    assert set(found["replica"]) == {"r2"}
    assert set(found["time_ns"]) == {15 * MS}


def test_without_a_leader_named_the_longest_log_counts():
    table = samples((0, "r1", 3, 3, 3), (1, "r2", 2, 2, 2), (2, "r2", 8, 8, 8), (3, "r1", 3, 3, 3))
    found = lag(table)
    applied = found[found["level"] == "applied"]
    assert applied["lag_entries"].tolist() == [0, 1, 0, 5]
    assert applied["lag_ms"].tolist() == [0, 1, 0, 1]


def test_after_a_rewind_the_end_falls():
    table = samples((0, "r1", 9, 9, 9), (10, "r1", 4, 4, 4), (12, "r2", 4, 4, 4))
    assert lags(table)["applied"] == [(0, 0.0)]


def test_summary():
    rows = lag_summary(lag(samples(*LEADER, (25, "r2", 9, 9, 7), (26, "r2", 9, 9, 9)), leader="r1"))
    applied = rows[rows["level"] == "applied"]
    figures = applied[["samples", "lag_entries_max", "lag_ms_max", "lag_entries_p50"]]
    assert figures.to_numpy().tolist() == [[2, 2, 5, 0]]


def test_nothing_sampled():
    empty = samples()
    assert lag(empty).empty
    assert lag(empty, leader="r1").empty
    assert lag_summary(lag(empty)).empty
    with pytest.raises(ValueError, match="lack the column durable"):
        lag(empty.drop(columns="durable"))
