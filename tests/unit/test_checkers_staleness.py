"""Staleness against tiny histories, and against the definition written out plainly on random ones."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.histories import history, random_history, read, write
from workbench.checkers import staleness
from workbench.checkers.order import count_below


def marks(*operations, **more):
    reads = staleness(history(*operations), **more).reads
    return list(zip(reads["stale_acknowledged"].tolist(), reads["stale"].tolist(), strict=True))


FRESH, STALE, READ_BY_ANOTHER = (False, False), (True, True), (False, True)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param([write("x", 1, 0, 1), read("x", 1, 2, 3)], FRESH, id="newest"),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, 3), read("x", 1, 4, 5)], STALE, id="older value"),
        pytest.param([write("x", 1, 0, 1), read("x", None, 2, 3)], STALE, id="absent is older than any write"),
        pytest.param([write("x", 1, 0, 2), read("x", None, 1, 3)], FRESH, id="write not acknowledged before the read"),
        pytest.param([write("x", 1, 0, 2), read("x", None, 2, 3)], FRESH, id="a tie of times is concurrent"),
        pytest.param([write("x", 1, 0, 5), write("x", 2, 1, 4), read("x", 1, 6, 7)], FRESH, id="concurrent writes"),
        pytest.param(
            [write("x", 1, 0, 5, 1), write("x", 2, 1, 4, 2), read("x", 1, 6, 7)], STALE, id="ordered by place"
        ),
        pytest.param(
            [write("x", 1, 0, 1, 2), write("x", 2, 2, 3, 1), read("x", 1, 6, 7)], FRESH, id="place beats time"
        ),
        pytest.param([write("x", 1, 0, 1, 2), write("x", 2, 2, 3), read("x", 1, 6, 7)], STALE, id="one place: time"),
        pytest.param(
            [write("x", 1, 0, None), write("x", 2, 2, 3), read("x", 1, 6, 7)], FRESH, id="doubt may come late"
        ),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, None), read("x", 1, 6, 7)], FRESH, id="doubt is not known"),
        pytest.param([write("x", 1, 0, 1), write("y", 2, 2, 3), read("x", 1, 6, 7)], FRESH, id="another key"),
    ],
)
def test_one_read(operations, expected):
    assert marks(*operations) == [expected]


def test_a_value_that_someone_has_read_is_known():
    operations = [write("x", 1, 0, 1), write("x", 2, 2, 20), read("x", 2, 3, 5), read("x", 1, 6, 7), read("x", 1, 5, 7)]
    assert marks(*operations) == [FRESH, READ_BY_ANOTHER, FRESH]


def test_members_order_writes_of_one_entry():
    first, second = write("x", 1, 0, 5, 1, member=0), write("x", 2, 0, 5, 1, member=1)
    assert marks(first, second, read("x", 1, 6, 7)) == [STALE]
    assert marks(first, second, read("x", 2, 6, 7)) == [FRESH]
    assert marks(first, second | {"member": 0}, read("x", 1, 6, 7)) == [FRESH]


def test_cells_have_nothing_to_do_with_each_other():
    assert marks(write("x", 1, 0, 1, cell="a"), read("x", None, 2, 3, cell="b")) == [FRESH]


def test_age():
    found = staleness(
        history(
            write("x", 1, 0, 1_000_000),
            write("x", 2, 2_000_000, 3_000_000),
            write("x", 3, 4_000_000, 9_000_000),
            read("x", 3, 4_500_000, 5_000_000),
            read("x", 1, 6_000_000, 7_000_000),
        )
    )
    last = found.reads.iloc[-1]
    assert (last["age_ms"], last["versions"]) == (3.0, 2)
    assert (last["age_acknowledged_ms"], last["versions_acknowledged"]) == (3.0, 1)
    assert math.isnan(found.reads.iloc[0]["age_ms"])


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ([], "no read"),
        ([write("x", 1, 0, 1)], "no read"),
        ([read("x", None, 0, 1)], "no write was acknowledged"),
        ([read("x", None, 0, 1), write("x", 1, 2, 3)], "no read came after"),
        ([write("x", 1, 0, 1), read("y", None, 2, 3)], "no read came after"),
        ([write("x", 1, 0, 1), read("x", 1, 2, 3, outcome="info")], "no read"),
        ([write("x", 1, 0, 1), write("x", 1, 2, 3), read("x", 1, 4, 5)], "value 1 was written twice to key 'x'"),
        ([write("x", 1, 0, 1), read("x", 9, 2, 3), read("x", 1, 4, 5)], "1 reads returned values that no write"),
        ([write("x", 1, 0, 1), write("x", 2, 2, 3, outcome="fail"), read("x", 2, 4, 5)], "no read could be judged"),
    ],
)
def test_too_little_is_unknown_and_no_rate(operations, why):
    found = staleness(history(*operations))
    for figure in ("stale_rate", "stale_rate_acknowledged"):
        assert found.verdict(figure).status == "unknown"
        assert why in found.verdict(figure).reason
    if "no write explains" not in why and "returned values" not in why:
        assert math.isnan(found.rate("stale_rate"))
        assert found.summary()["stale_rate"].isna().all()


def test_witness_names_the_read_and_what_it_missed():
    found = staleness(
        history(write("x", 1, 0, 1), write("x", 2, 2, 3), read("x", 1, 1_000_003, 1_000_009, replica="r2"))
    )
    verdict = found.verdict()
    assert verdict.status == "invalid"
    assert verdict.witness == (
        {
            "read_operation": 2,
            "cell": "",
            "key": "x",
            "replica": "r2",
            "read_value": 1,
            "read_invoked_ns": 1_000_003,
            "newer_operation": 1,
            "newer_value": 2,
            "newer_known_ns": 3,
            "age_ms": 1.0,
            "versions": 1,
        },
    )


def test_valid_needs_a_read_that_could_have_been_stale():
    found = staleness(history(write("x", 1, 0, 1), read("x", 1, 2, 3)))
    assert (found.verdict().status, found.rate()) == ("valid", 0.0)


def test_initial_values_are_older_than_any_write():
    operations = [write("x", 1, 5, 6), read("x", 0, 1, 2), read("x", 0, 7, 8)]
    assert marks(*operations, initial={"x": 0}) == [FRESH, STALE]
    assert staleness(history(*operations)).reads["unexplained"].tolist() == [True, True]
    witness = staleness(history(*operations), initial={"x": 0}).verdict().witness[0]
    assert (witness["read_value"], witness["newer_value"]) == (0, 1)


def test_a_lost_write_stops_being_known():
    operations = [write("x", 1, 0, 1), write("x", 2, 2, 3), read("x", 2, 4, 5), read("x", 1, 6, 7)]
    assert marks(*operations) == [FRESH, STALE]
    found = staleness(history(*operations), lost=[("", "x", 2)])
    assert found.reads["rolled_back"].tolist() == [True, False]
    assert found.reads["stale"].tolist() == [False, False]


def test_summary_by_cell_and_replica():
    operations = history(
        write("x", 1, 0, 1, cell="a"),
        write("x", 2, 2, 3, cell="a"),
        read("x", 1, 4, 5, cell="a", replica="r2"),
        read("x", 2, 4, 5, cell="a", replica="r1"),
        read("x", None, 4, 5, cell="b", replica="r1"),
    )
    found = staleness(operations)
    a, b = found.summary().to_dict(orient="records")
    assert (a["cell"], a["reads"], a["stale_reads"], a["stale_rate"]) == ("a", 2, 1, 0.5)
    assert 0 < a["stale_rate_low"] < 0.5 < a["stale_rate_high"] < 1
    assert math.isnan(b["stale_rate"])  # no write in that cell
    by_replica = found.by_replica().set_index(["cell", "replica"])["stale_rate_acknowledged"]
    assert by_replica["a", "r2"] == 1
    assert by_replica["a", "r1"] == 0
    assert found.verdict(cell="b").status == "unknown"


def plainly(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The definition, written out: for each `ok` read (stale_acknowledged, stale, ages, versions, judged, at risk)."""
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    writes = [row for row in rows if row["kind"] == "write" and row["outcome"] != "fail"]
    reads = [row for row in rows if row["kind"] == "read" and row["outcome"] == "ok"]

    def place(row):
        return (row["term"], row["index"], row["member"])

    def older(old, new):
        if old["index"] and new["index"]:
            return place(old) < place(new)
        return old["outcome"] == "ok" and old["completed_ns"] < new["invoked_ns"]

    def same(one, other):
        return (one["cell"], one["key"]) == (other["cell"], other["key"])

    def returned_by(one, new):
        return same(one, new) and one["value"] == new["value"] and one["completed_ns"] >= new["invoked_ns"]

    expected = []
    for one in reads:
        sources = [new for new in writes if returned_by(one, new)]
        judged = one["value"] is None or bool(sources)
        line: dict[str, Any] = {"judged": judged, "at_risk": False}
        for suffix in ("_acknowledged", ""):
            known = []
            for new in writes:
                times = [new["completed_ns"]] if new["outcome"] == "ok" else []
                if not suffix:
                    times += [other["completed_ns"] for other in reads if returned_by(other, new)]
                if same(one, new) and judged and times and min(times) < one["invoked_ns"]:
                    known.append((min(times), new))
            line["at_risk"] |= bool(known)
            missed = [when for when, new in known if one["value"] is None or older(sources[0], new)]
            line[f"stale{suffix}"] = bool(missed)
            line[f"age{suffix}_ms"] = (one["invoked_ns"] - min(missed)) / 1e6 if missed else None
            line[f"versions{suffix}"] = len(missed)
        expected.append(line)
    return expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_as_the_definition_says(seed, cells):
    table = random_history(seed, cells)
    found = staleness(table)
    expected = [line for _, of_cell in table.groupby("cell", sort=False) for line in plainly(of_cell)]
    reads = found.reads.astype(object).where(found.reads.notna(), None)
    names = expected[0].keys() if expected else []
    assert reads[list(names)].to_dict(orient="records") == expected
    for cell, reads_of_cell in found.reads.groupby("cell"):
        some = reads_of_cell["at_risk"].any()
        verdict = found.verdict("stale_rate", cell=str(cell))
        assert (verdict.status == "invalid") == reads_of_cell["stale"].any()
        assert some or verdict.status == "unknown"
        for row in verdict.witness:
            assert row["newer_value"] != row["read_value"]
            assert row["newer_known_ns"] < row["read_invoked_ns"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=31), st.data())
def test_counting_below(values, data):
    ranks = np.argsort(np.argsort(np.array(values, dtype=np.int64), kind="stable"), kind="stable")
    low = data.draw(st.integers(0, len(values)))
    high = data.draw(st.integers(low, len(values)))
    bound = data.draw(st.integers(0, len(values)))
    counted = count_below(ranks, np.array([low]), np.array([high]), np.array([bound]))
    assert counted.tolist() == [int((ranks[low:high] < bound).sum())]
