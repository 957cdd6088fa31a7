"""t-visibility and non-monotonic pairs: tiny histories by hand, and random ones against plain loops."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.histories import history, random_history, read, write
from workbench.checkers import session_guarantees, staleness
from workbench.checkers.visibility import non_monotonic, visibility

MS = 1_000_000


def test_reads_see_a_write_the_more_probably_the_older_it_is():
    operations = [write("x", 1, 0, 1 * MS), write("x", 2, 10 * MS, 11 * MS)]
    operations += [read("x", 1, (12 + n) * MS, (13 + n) * MS) for n in range(4)]
    operations += [read("x", 2, (20 + n) * MS, (21 + n) * MS) for n in range(4)]
    operations += [read("y", None, 30 * MS, 31 * MS)]  # no write: it could not have been stale
    curve = visibility(staleness(history(*operations)).reads, bins=2)
    assert curve["since_write_ms"].tolist() == [2.5, 10.5]
    assert curve["fresh_rate"].tolist() == [0, 1]
    assert curve["reads"].sum() == 8
    assert (curve["fresh_rate_low"] <= curve["fresh_rate"]).all()
    assert (curve["fresh_rate_high"] >= curve["fresh_rate"]).all()
    assert visibility(staleness(history()).reads).empty


def test_the_age_counts_from_the_last_acknowledgement_before_the_read():
    operations = [
        write("x", 1, 0, 1 * MS),
        write("x", 2, 2 * MS, 9 * MS),
        read("x", 1, 4 * MS, 5 * MS),
        read("x", 2, 10 * MS, 11 * MS),
        write("y", 1, 0, 10 * MS),
        read("z", None, 10 * MS, 11 * MS),
        read("x", 1, 9 * MS, 10 * MS),
    ]
    since = staleness(history(*operations)).reads["since_write_ms"]
    assert since[:2].tolist() == [3.0, 1.0]
    assert pd.isna(since[2])
    assert since[3] == 8  # acknowledged at the same moment is not before it


def test_sessions_step_back_between_replicas_that_do_not():
    values = [("r1", 2, 10), ("r2", 1, 20), ("r1", 2, 30), ("r2", 2, 40)]
    reads = [read("x", value, at, at + 1, replica=replica, session=7) for replica, value, at in values]
    operations = history(write("x", 1, 0, 1), write("x", 2, 2, 3), *reads)
    by_session = non_monotonic(operations, "session").set_index("session")
    assert by_session.loc[7, ["reads", "non_monotonic_reads"]].tolist() == [3, 1]
    by_replica = non_monotonic(operations, "replica").set_index("replica")
    assert by_replica["non_monotonic_reads"].to_dict() == {"r1": 0, "r2": 0}
    assert by_replica["reads"].to_dict() == {"r1": 1, "r2": 1}


def test_a_replica_that_was_rewound_steps_back_unless_the_value_is_known_to_be_lost():
    reads = [read("x", value, at, at + 1, replica="r1", session=at) for value, at in ((2, 10), (1, 20))]
    operations = history(write("x", 1, 0, 1), write("x", 2, 2, 3), *reads)
    assert non_monotonic(operations, "replica")["non_monotonic_reads"].tolist() == [1]
    assert non_monotonic(operations, "replica", lost=[("", "x", 2)])["non_monotonic_reads"].tolist() == []
    assert non_monotonic(operations, "session").empty


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_histories(seed):
    operations = random_history(seed, 40)
    by_session = non_monotonic(operations, "session")
    same = session_guarantees(operations)
    if not same.problem:
        found = same.checked[same.checked["guarantee"] == "monotonic_reads"]
        assert by_session["reads"].sum() == len(found)
        assert by_session["non_monotonic_reads"].sum() == found["violated"].sum()
    assert dict(zip(*_columns(non_monotonic(operations, "replica")), strict=True)) == plainly(operations)


def _columns(table):
    return list(zip(table["cell"], table["replica"], strict=True)), table["non_monotonic_reads"].tolist()


def plainly(operations):
    """Every pair of reads of a replica and key, compared by the definition."""
    rows = operations.to_dict(orient="records")
    writes = {(w["cell"], w["key"], w["value"]): w for w in rows if w["kind"] == "write" and w["outcome"] != "fail"}
    counts: dict = {}

    def older(one, other):
        if one is None or other is None:
            return one is None and other is not None
        if one["index"] > 0 and other["index"] > 0:
            return tuple(one[n] for n in ("term", "index", "member")) < tuple(
                other[n] for n in ("term", "index", "member")
            )
        return one["outcome"] == "ok" and one["completed_ns"] < other["invoked_ns"]

    def source(one):
        return None if pd.isna(one["value"]) else writes.get((one["cell"], one["key"], one["value"]), "unexplained")

    reads = [(r, source(r)) for r in rows if r["kind"] == "read" and r["outcome"] == "ok"]
    reads = [
        (r, w) for r, w in reads if w != "unexplained" and not (w is not None and r["completed_ns"] < w["invoked_ns"])
    ]
    for now, value in reads:
        before = [
            w
            for r, w in reads
            if (r["cell"], r["replica"], r["key"]) == (now["cell"], now["replica"], now["key"])
            and r["completed_ns"] < now["invoked_ns"]
            and w is not None
        ]
        if before:
            place = (now["cell"], now["replica"])
            counts[place] = counts.get(place, 0) + any(older(value, w) for w in before)
    return counts


@pytest.mark.parametrize("by", ["session", "replica"])
def test_nothing_is_nothing(by):
    assert non_monotonic(history(), by).empty
