"""Lost writes against tiny histories, and against the definition written out plainly on random ones."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.histories import history, random_history, write
from workbench.checkers import lost_writes


def lost_values(operations, final, **more):
    return sorted(lost_writes(history(*operations), final, **more).lost["value"].tolist())


@pytest.mark.parametrize(
    ("operations", "contents", "lost"),
    [
        pytest.param([write("x", 1, 0, 1)], {"x": 1}, [], id="kept"),
        pytest.param([write("x", 1, 0, 1)], {}, [1], id="absent"),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, 3)], {"x": 2}, [], id="overwritten"),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, 3)], {"x": 1}, [2], id="older value stands"),
        pytest.param([write("x", 1, 0, 5), write("x", 2, 1, 4)], {"x": 1}, [], id="concurrent: either may win"),
        pytest.param([write("x", 1, 0, 5, 1), write("x", 2, 1, 4, 2)], {"x": 1}, [2], id="ordered by place"),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, None)], {"x": 2}, [], id="doubt may overwrite"),
        pytest.param([write("x", 1, 0, 1), write("x", 2, 2, None)], {"x": 1}, [], id="doubt need not be there"),
        pytest.param([write("x", 1, 0, None), write("x", 2, 2, 3)], {"x": 1}, [], id="doubt may come late"),
        pytest.param(
            [write("x", 1, 0, 1, 7), write("x", 2, 2, 3, 7, term=2)], {"x": 2}, [1], id="no log holds 1.7 and 2.7"
        ),
        pytest.param(
            [write("x", 1, 0, 1, 7), write("x", 2, 2, 3, 8, term=2)], {"x": 2}, [], id="a log holds 1.7 and 2.8"
        ),
    ],
)
def test_one_replica(operations, contents, lost):
    assert lost_values(operations, {"r1": contents}) == lost


def test_the_table_tells_where_and_what_was_found():
    operations = history(write("x", 1, 0, 1), write("x", 2, 2, 3, session=7))
    found = lost_writes(operations, {"r1": {"x": 2}, "r2": {"x": 1}, "r3": {}})
    assert found.lost["value"].tolist() == [1, 2]
    assert found.lost["replicas"].tolist() == ["r3", "r2,r3"]
    assert found.lost["found"].isna().tolist() == [True, False]
    assert found.verdict.status == "invalid"
    assert found.verdict.counts["lost_acknowledged_writes"] == 2
    assert found.verdict.witness[1]["session"] == 7


def test_initial_values():
    operations = [write("x", 1, 0, 1)]
    assert lost_values(operations, {"r1": {"x": 0}}, initial={"x": 0}) == [1]


@pytest.mark.parametrize(
    ("operations", "final", "why"),
    [
        ([write("x", 1, 0, None)], {"r1": {}}, "no write was acknowledged"),
        ([], {"r1": {}}, "no write was acknowledged"),
        ([write("x", 1, 0, 1)], {}, "no final contents"),
        ([write("x", 1, 0, 1)], {"r1": {"x": 9}}, "1 final values are explained by no write"),
        ([write("x", 1, 0, 1), write("x", 1, 2, 3)], {"r1": {"x": 1}}, "written twice"),
    ],
)
def test_too_little_is_unknown(operations, final, why):
    verdict = lost_writes(history(*operations), final).verdict
    assert verdict.status == "unknown"
    assert why in verdict.reason


def test_one_cell_at_a_time():
    with pytest.raises(ValueError, match="one cell"):
        lost_writes(history(write("x", 1, 0, 1, cell="a"), write("x", 2, 0, 1, cell="b")), {"r1": {}})


def plainly(table, contents):
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    writes = [row for row in rows if row["kind"] == "write" and row["outcome"] != "fail"]
    lost = []
    for one in writes:
        if one["outcome"] != "ok":
            continue
        value = contents.get(one["key"])
        holds = [row for row in writes if row["key"] == one["key"] and row["value"] == value]
        if value is None:
            is_lost = True
        elif not holds:
            is_lost = False
        elif holds[0]["index"] and one["index"]:
            before = (holds[0]["term"], holds[0]["index"], holds[0]["member"])
            contradiction = holds[0]["term"] > one["term"] and holds[0]["index"] <= one["index"]
            is_lost = before < (one["term"], one["index"], one["member"]) or contradiction
        else:
            is_lost = holds[0]["outcome"] == "ok" and holds[0]["completed_ns"] < one["invoked_ns"]
        if is_lost:
            lost.append(one["operation"])
    return lost


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_as_the_definition_says(seed):
    random = Random(seed)
    for _, table in random_history(seed, 20).groupby("cell"):
        contents = {key: random.randint(0, 12) for key in "xyz" if random.random() < 0.7}
        found = lost_writes(table, {"r1": contents})
        assert sorted(found.lost["operation"].tolist()) == plainly(table, contents)
        assert (found.verdict.status == "invalid") == bool(plainly(table, contents))
