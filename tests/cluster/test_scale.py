"""Small clusters of real processes, measured in the same steps as simulated ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment


async def test_law_6_a_small_cluster_is_measured_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    changes = {"size": "3,25", "repetitions": 1, "heartbeat_ms": 100, "election_timeout_ms": 500}
    run = await run_experiment(experiment("scale"), profile="ci", world="real", overrides=changes, output=tmp_path)
    failed = {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status != "valid"}
    assert failed == {}
    assert run.invariants == {
        "converged": True,
        "kills": 1,
        "kills_that_took_effect": 1,
        "largest_cluster": 3,
        "lost_acknowledged_writes": 0,
        "replica_processes": 3,
        "world": "real",
    }
    (cell,) = run.summary.to_dict(orient="records")
    assert cell["messages_in_per_s"] == pytest.approx(2 * cell["messages_out_per_s"], rel=0.4)
    assert cell["failover_ms_p50"] > 0
    assert cell["sync_ms_mean"] > 0
    assert 0 <= cell["stale_rate"] < 1
