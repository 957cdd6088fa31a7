"""`workbench predict`: the published figures as JSON and as text, a picture, and one clear line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SMALL = ("--trials", "20000")


@pytest.mark.parametrize(
    ("fit", "published"), [("LNKD-SSD", 0.974), ("LNKD-DISK", 0.439), ("YMMR", 0.893), ("WAN", 0.33)]
)
def test_json(call, fit, published):
    called = call("predict", "--fit", fit, "--n", "3", "--r", "1", "--w", "1", "--json")
    assert (called.code, called.err) == (0, "")
    document = json.loads(called.out)
    assert document["p_consistent_at_0"] == pytest.approx(published, abs=0.01)
    low, high = document["p_consistent_at_0_interval"]
    assert low < document["p_consistent_at_0"] < high < low + 0.003
    times = document["t_visibility_ms"]
    assert list(times) == ["0.9", "0.99", "0.999"]
    assert 0 <= times["0.9"] < times["0.99"] < times["0.999"]
    assert document["k_staleness"]["2"] == pytest.approx(0.556, abs=5e-4)
    assert document["k_staleness"]["3"] == pytest.approx(0.704, abs=5e-4)


def test_versions_and_seed_are_options(call):
    one, again, other = (
        json.loads(call("predict", "--fit", "YMMR", *SMALL, "--seed", seed, "--k", k, "--json").out)
        for seed, k in (("7", "1"), ("7", "4"), ("8", "1"))
    )
    assert again["p_consistent_at_0"] == pytest.approx(1 - (1 - one["p_consistent_at_0"]) ** 4)
    assert list(again["k_staleness"]) == ["1", "2", "3", "4"]
    assert other["p_consistent_at_0"] != one["p_consistent_at_0"]


def test_text_says_what_was_asked_and_how_sure_it_is(call):
    called = call("predict", "--fit", "lnkd-disk", *SMALL, "--k", "2")
    assert (called.code, called.err) == (0, "")
    for words in ("LNKD-DISK", "N = 3, R = 1, W = 1", "2 newest versions", "0.556 for k = 2", "20,000 trials, seed 1"):
        assert words in called.out
    strict = call("predict", "--fit", "WAN", *SMALL, "--r", "2", "--w", "2").out
    assert "R + W > N" in strict


@pytest.mark.parametrize("quorum", [("1", "1"), ("2", "2")], ids=["partial", "strict"])
def test_chart_is_a_picture_with_a_description(call, tmp_path: Path, quorum):
    target = tmp_path / "new" / "curve.png"
    r, w = quorum
    called = call("predict", "--fit", "LNKD-SSD", *SMALL, "--r", r, "--w", w, "--chart", str(target), "--json")
    assert json.loads(called.out)["chart"] == str(target)
    picture = target.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert b"Share of fresh reads" in picture


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fit", "LNKD-DISC"), "did you mean 'LNKD-DISK'?"),
        (("--fit", "WAN", "--r", "4"), "R is 4 (of 3 replicas, so from 1 to 3)"),
        (("--fit", "WAN", "--w", "0"), "W is 0"),
        (("--fit", "WAN", "--n", "-3"), "N is -3"),
        (("--fit", "WAN", "--n", "1e3"), "invalid int value"),
        (("--fit", "WAN", "--trials", "0"), "0 is out of range"),
        (("--fit", "WAN", "--k", "0"), "0 is out of range"),
        (("--fit", "WAN", *SMALL, "--chart", "curve.pdf"), "the chart is a picture"),
        (("--fit", "WAN", *SMALL, "--chart", "/dev/null/curve.png"), "cannot write the chart"),
        ((), "required: --fit"),
    ],
)
def test_mistakes_are_one_line(call, arguments, words):
    called = call("predict", *arguments)
    assert (called.code, called.out, called.err.count("\n")) == (2, "", 1)
    assert words in called.err
    document = json.loads(call("predict", *arguments, "--json").out)
    assert document["error"]
