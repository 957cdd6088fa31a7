"""What `simulator` claims of given rows, how states become spans, and what its charts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.synthetic_simulator import bug_row, kind_row, real_row, real_simulator_run, seed_row, simulator_run
from workbench.charts.drawing import alt_text, draw
from workbench.charts.simulator_run import STRUCK
from workbench.charts.tables import finding, shown_table
from workbench.experiments.simulator import EXPERIMENT
from workbench.experiments.simulator_claims import judge_real, judge_simulated
from workbench.experiments.simulator_states import States
from workbench.faults.values import KINDS

SEEDS = [seed_row(seed) for seed in range(1, 7)]
KIND_ROWS = [kind_row("crash"), kind_row("cut")]
SIMULATED_CLAIMS = {
    "every_seed_tells_its_story_twice",
    "no_law_is_broken",
    "every_bug_is_caught",
    "a_replay_fails_alike",
    "few_faults_matter",
}


def statuses(verdicts: dict[str, Any]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts.items()}


# Claims.


def test_a_simulated_run_as_it_should_be() -> None:
    assert statuses(judge_simulated(SEEDS, [bug_row()])) == dict.fromkeys(SIMULATED_CLAIMS, "valid")


@pytest.mark.parametrize(
    ("seed", "bug", "broken"),
    [
        ({"told_alike": False}, {}, "every_seed_tells_its_story_twice"),
        ({"failure": "liveness"}, {}, "no_law_is_broken"),
        ({}, {"violations": 0}, "every_bug_is_caught"),
        ({}, {"replays_alike": 0, "replayed_law": ""}, "a_replay_fails_alike"),
        ({}, {"told_alike": 0}, "a_replay_fails_alike"),
        ({}, {"faults_kept": 18}, "few_faults_matter"),
    ],
)
def test_each_simulated_claim_can_fail(seed: dict[str, Any], bug: dict[str, Any], broken: str) -> None:
    verdicts = judge_simulated([*SEEDS, seed_row(9, **seed)], [bug_row(), bug_row("other", **bug)])
    assert statuses(verdicts)[broken] == "invalid"
    assert {status for name, status in statuses(verdicts).items() if name != broken} == {"valid"}


def test_few_seeds_prove_nothing_and_what_was_not_done_is_not_claimed() -> None:
    verdicts = judge_simulated(SEEDS[:2], [])
    assert statuses(verdicts) == {"every_seed_tells_its_story_twice": "unknown", "no_law_is_broken": "unknown"}
    nothing_caught = judge_simulated(SEEDS, [bug_row(violations=0)])
    assert set(nothing_caught) == SIMULATED_CLAIMS - {"a_replay_fails_alike", "few_faults_matter"}


def test_a_real_run_as_it_should_be() -> None:
    verdicts = judge_real(real_row(), KIND_ROWS, every_kind=True)
    assert set(verdicts) == set(EXPERIMENT.claims) - SIMULATED_CLAIMS
    assert set(statuses(verdicts).values()) == {"valid"}


@pytest.mark.parametrize(
    ("changes", "claim", "status"),
    [
        ({"lost_acknowledged_writes": 1}, "no_acknowledged_write_is_lost", "invalid"),
        ({"lost_acknowledged_writes": None}, "no_acknowledged_write_is_lost", "unknown"),
        ({"acknowledged_writes": 3}, "no_acknowledged_write_is_lost", "unknown"),
        ({"faults": 40}, "faults_took_effect", "unknown"),
        ({"converged": False}, "all_replicas_agree_in_the_end", "invalid"),
        ({"problem": "replica-2 ended with status 1: a bug"}, "all_replicas_agree_in_the_end", "invalid"),
    ],
)
def test_each_real_claim_can_fail(changes: dict[str, Any], claim: str, status: str) -> None:
    verdicts = judge_real(real_row(**changes), KIND_ROWS, every_kind=True)
    assert verdicts[claim].status == status


def test_a_kind_that_never_took_effect_is_named_where_every_kind_was_asked_for() -> None:
    kinds = [*KIND_ROWS, kind_row("loss", 0)]
    judged = judge_real(real_row(), kinds, every_kind=True)["faults_took_effect"]
    assert (judged.status, "none of the kind loss" in judged.reason) == ("unknown", True)
    assert judge_real(real_row(), kinds, every_kind=False)["faults_took_effect"].status == "valid"


# States.


def test_states_become_spans_and_a_new_term_begins_another_one() -> None:
    states = States()
    states.look({"a": ("follower", 1), "b": ("leader", 1)}, 0)
    states.look({"a": ("follower", 1), "b": ("down", 0)}, 10)
    states.look({"a": ("leader", 2)}, 20)
    states.look({"a": ("leader", 3)}, 30)
    found = [tuple(row.values())[1:] for row in states.rows("cell")]
    assert found == [
        ("a", "follower", 1, 0, 20),
        ("b", "leader", 1, 0, 10),
        ("b", "down", 0, 10, 20),
        ("a", "leader", 2, 20, 30),
        ("a", "leader", 3, 30, 30),
    ]
    assert states.leaders == [("b", 1), ("a", 2), ("a", 3)]


# Charts.


def test_a_failure_is_told_with_the_faults_that_matter(tmp_path: Path) -> None:
    run = simulator_run(tmp_path)
    assert finding(run) == "Seed 8 breaks law 1 whenever it is run, and 2 of its 18 faults are enough"
    assert "law 1: two leaders in a term" in alt_text(run, "story")
    assert "vote_not_saved, not caught by 200 seeds" in alt_text(run, "bugs")
    titles = [" ".join(figure.texts[0].get_text().split()) for figure in draw(run).values()]
    assert titles[1] == "9 faults of 3 kinds took effect in 6 seeds; no law was broken"
    assert titles[2] == "1 of 2 planted bugs are caught, and 2 of 18 faults are enough for it"
    rows = shown_table(run).rows
    assert [row[0] for row in rows] == ["no bug", "vote_twice", "vote_not_saved"]


@pytest.mark.parametrize("faults", [7, 200], ids=["with names", "by colour"])
def test_a_real_run_is_told_in_figures(tmp_path: Path, faults: int) -> None:
    run = real_simulator_run(tmp_path, faults=faults)
    assert finding(run) == "101 faults of 18 kinds in 5 minutes: 27,426 acknowledged writes, none lost"
    assert set(draw(run)) == {"story", "faults"}
    drawn = draw(run)["story"].axes[1]
    assert (drawn.get_legend() is None) == (faults < 20)
    assert shown_table(run).rows[0][0] == "quorum"


def test_an_empty_real_run_is_told_as_such(tmp_path: Path) -> None:
    run = real_simulator_run(tmp_path, empty=True)
    assert all(alt_text(run, name).startswith("No ") for name in draw(run))


def test_every_kind_has_a_colour() -> None:
    assert sorted(kind for kinds in STRUCK.values() for kind in kinds) == sorted(KINDS)
