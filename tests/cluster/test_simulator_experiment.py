"""The experiment `simulator` with real processes: some bad luck, and nothing lost. Five minutes of it are its profile
`full`."""

from __future__ import annotations

from pathlib import Path

from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment
from workbench.faults.values import KINDS


async def test_law_6_bad_luck_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    run = await run_experiment(experiment("simulator"), profile="ci", world="real", output=tmp_path)
    assert {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status == "invalid"} == {}
    assert set(run.verdicts) == {
        "faults_took_effect",
        "no_acknowledged_write_is_lost",
        "all_replicas_agree_in_the_end",
    }
    assert {check: verdict.status for check, verdict in run.checks.items()} == dict.fromkeys(run.checks, "valid")
    assert run.invariants == {
        "converged": True,
        "lost_acknowledged_writes": 0,
        "unexplained_ends": 0,
        "replica_processes": 3,
        "world": "real",
    }
    kinds = run.table("faults")
    assert set(kinds["kind"]) == {kind for kind, fault in KINDS.items() if "real" in fault.worlds}
    assert kinds["took_effect"].sum() == run.table("struck")["took_effect"].sum() > 0
    assert str(run.path) not in "".join(kinds["evidence"])
    assert "leader" in set(run.table("states")["state"])
