"""Convergence names the table and the replicas that differ."""

from workbench.checkers import convergence


def test_equal_digests():
    verdict = convergence({"r1": {"kv": "a", "log": "b"}, "r2": {"kv": "a", "log": "b"}})
    assert verdict.status == "valid"
    assert verdict.counts == {"replicas": 2, "tables": 2}


def test_one_that_differs():
    verdict = convergence({"r1": {"kv": "a", "t": "1"}, "r2": {"kv": "a", "t": "2"}, "r3": {"kv": "a", "t": "1"}})
    assert verdict.status == "invalid"
    assert verdict.witness == (
        {"table": "t", "digest": "1", "replicas": ["r1", "r3"]},
        {"table": "t", "digest": "2", "replicas": ["r2"]},
    )
    assert "table t differs" in verdict.reason


def test_a_missing_table_differs():
    verdict = convergence({"r1": {"kv": "a"}, "r2": {}})
    assert verdict.status == "invalid"
    assert {"table": "kv", "digest": None, "replicas": ["r2"]} in verdict.witness


def test_nothing_to_compare_is_unknown():
    assert convergence({}).status == "unknown"
    assert convergence({"r1": {"kv": "a"}}).status == "unknown"
    assert convergence({"r1": {}, "r2": {}}).status == "unknown"
