"""Writes that overwrite nothing: each fault is found where it is, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.histories import history, read, write
from workbench.checkers import appends

ACKNOWLEDGED = write("x", 1, 0, 1, 7, sequence=3, identifier=99)
FAILED = write("x", 2, 2, 3, outcome="fail")
IN_DOUBT = write("y", 3, 4, None)
BOTH_HAVE = {"r1": [("x", 1)], "r2": [("x", 1)]}


def statuses(final: dict[str, Any], *operations: dict[str, Any]) -> list[str]:
    found = appends(history(*(operations or (ACKNOWLEDGED, FAILED, IN_DOUBT, read("x", 1, 5, 6)))), final)
    return [found.verdict(fault).status for fault in ("lost", "denied", "repeated")]


def test_nothing_is_wrong() -> None:
    assert statuses(BOTH_HAVE) == ["valid"] * 3
    assert statuses({"r1": [("x", 1), ("y", 3)], "r2": [("x", 1)]}) == ["valid"] * 3, "in doubt: it may be there"


def test_faults() -> None:
    assert statuses({"r1": [("x", 1)], "r2": []}) == ["invalid", "valid", "valid"]
    assert statuses({"r1": [("x", 1), ("x", 2)], "r2": [("x", 1)]}) == ["valid", "invalid", "valid"]
    assert statuses({"r1": [("x", 1)], "r2": [("x", 1), ("x", 1)]}) == ["valid", "valid", "invalid"]
    assert statuses({"r1": [("x", 1), ("y", 3), ("y", 3)], "r2": [("x", 1)]}) == ["valid", "valid", "invalid"]


def test_what_is_shown() -> None:
    found = appends(history(ACKNOWLEDGED, FAILED, IN_DOUBT), {"r1": [("y", 3)], "r2": [("x", 1)]})
    verdict = found.verdict("lost")
    assert verdict.reason == "1 acknowledged writes are absent"
    (witness,) = verdict.witness
    assert (witness["operation"], witness["sequence"], witness["identifier"], witness["replicas"]) == (0, 3, 99, 1)
    assert verdict.counts == {
        "replicas": 2,
        "writes": 3,
        "acknowledged_writes": 1,
        "lost_acknowledged_writes": 1,
        "denied_writes": 0,
        "repeated_writes": 0,
        "writes_in_doubt": 1,
        "writes_in_doubt_there": 1,
        "unexplained_rows": 0,
    }
    assert set(found.verdicts()) == {"lost", "denied", "repeated"}


@pytest.mark.parametrize(
    ("final", "operations", "why"),
    [
        ({}, (ACKNOWLEDGED,), "no final rows"),
        ({"r1": [("x", 8)]}, (ACKNOWLEDGED,), "1 rows are explained by no write"),
        ({"r1": [("x", 1)]}, (ACKNOWLEDGED, ACKNOWLEDGED), "two writes have the same key and value"),
        ({"r1": []}, (IN_DOUBT,), "no write was acknowledged"),
        ({"r1": []}, (), "no write was acknowledged"),
    ],
)
def test_what_proves_nothing_is_unknown(final: dict[str, Any], operations: tuple[Any, ...], why: str) -> None:
    verdict = appends(history(*operations), final).verdict("lost")
    assert (verdict.status, verdict.reason) == ("unknown", verdict.reason)
    assert why in verdict.reason


def test_cells_are_judged_apart() -> None:
    with pytest.raises(ValueError, match="one cell at a time"):
        appends(history(ACKNOWLEDGED, FAILED | {"cell": "other"}), BOTH_HAVE)
