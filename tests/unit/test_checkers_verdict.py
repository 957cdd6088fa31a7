"""Verdicts: three values, and nothing passes that proves nothing."""

import pytest

from workbench.checkers import Verdict

VALID, INVALID, UNKNOWN = (
    Verdict.valid("fine"),
    Verdict.invalid("broken", [{"key": "x"}]),
    Verdict.unknown("too little"),
)


@pytest.mark.parametrize(
    ("verdicts", "of_all", "of_any"),
    [
        ((), "unknown", "unknown"),
        ((VALID, VALID), "valid", "valid"),
        ((VALID, UNKNOWN), "unknown", "valid"),
        ((VALID, UNKNOWN, INVALID), "invalid", "valid"),
        ((UNKNOWN, INVALID), "invalid", "unknown"),
        ((INVALID, INVALID), "invalid", "invalid"),
    ],
)
def test_combining(verdicts, of_all, of_any):
    named = {f"claim {number}": verdict for number, verdict in enumerate(verdicts)}
    assert Verdict.all(named).status == of_all
    assert Verdict.any(named).status == of_any


def test_all_shows_the_first_that_fails():
    combined = Verdict.all({"one": VALID, "two": INVALID, "three": INVALID})
    assert combined.reason == "two: broken (and 1 more)"
    assert combined.witness == ({"key": "x"},)
    assert combined.counts == {"valid": 1, "invalid": 2, "unknown": 0}


def test_negation_keeps_doubt():
    assert [verdict.negated().status for verdict in (VALID, INVALID, UNKNOWN)] == ["invalid", "valid", "unknown"]


def test_too_little_is_unknown_but_a_witness_stands():
    assert Verdict.valid("fine", reads=9).needing("reads", 10).status == "unknown"
    assert Verdict.valid("fine", reads=10).needing("reads", 10).status == "valid"
    assert Verdict.valid("fine").needing("faults", 1).status == "unknown"
    assert Verdict.invalid("broken", reads=1).needing("reads", 10).status == "invalid"


def test_exit_codes_and_json():
    assert [verdict.exit_code for verdict in (VALID, INVALID, UNKNOWN)] == [0, 1, 3]
    assert Verdict.from_json(INVALID.to_json()) == INVALID
    for bad in ({}, {"status": "good", "reason": "", "witness": [], "counts": {}}, {"status": "valid"}):
        with pytest.raises(ValueError, match=r"verdict|status"):
            Verdict.from_json(bad)
