"""The experiment `simulator` in its own world: seeds told twice, a bug caught, shrunk, watched and replayed."""

from __future__ import annotations

from pathlib import Path

from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment
from workbench.experiments.simulator_story import tell
from workbench.faults.values import KINDS
from workbench.simulator.run import Simulated, simulate
from workbench.simulator.shrinking import shrink_failure


def test_watching_a_seed_changes_nothing_of_its_story() -> None:
    story, alone = tell(7), simulate(7)
    assert story.end.trace_hash == alone.trace_hash
    assert len(story.struck) == alone.faults.total()
    assert {row["state"] for row in story.states} >= {"leader", "follower"}
    assert all(row["from_ms"] <= row["to_ms"] <= alone.simulated_s * 1e3 for row in [*story.states, *story.struck])


def test_what_does_not_fail_is_not_shrunk() -> None:
    well = simulate(7)
    told = Simulated(seed=7, failure="correctness", reason="law 9: never", schedule=well.schedule, simulated_s=0.5)
    assert shrink_failure(told, 4) == well.schedule


async def test_seeds_are_told_twice_and_a_bug_is_caught_shrunk_and_replayed(tmp_path: Path) -> None:
    run = await run_experiment(
        experiment("simulator"),
        profile="ci",
        overrides={"seeds": 5, "bugs": "vote_not_saved", "shrink_runs": 8},
        output=tmp_path,
    )
    assert {name: verdict.status for name, verdict in run.verdicts.items()} == dict.fromkeys(run.verdicts, "valid")
    assert len(run.verdicts) == 5
    assert run.invariants == {
        "converged": True,
        "lost_acknowledged_writes": 0,
        "violations": 0,
        "seeds_told_alike": 5,
        "bugs_caught": 1,
        "replica_processes": 0,
        "world": "simulated",
    }
    seeds = run.table("seeds")
    assert list(seeds["seed"]) == [1, 2, 3, 4, 5]
    assert (seeds["trace_hash"] == seeds["trace_hash_again"]).all()
    assert seeds["trace_hash"].nunique() == 5
    assert list(run.table("faults")["kind"]) == list(KINDS)
    (bug,) = run.table("bugs").to_dict("records")
    assert bug["law"] == bug["replayed_law"] == "law 1"
    assert (bug["faults_kept"], "kept_faults" in run.tables) == (0, False), "its first vote is one too many"
    assert bug["faults_drawn"] > 0
    assert set(run.table("states")["schedule"]) == {"drawn", "kept"}
