"""Healthy leaders that lose their place behind a slow link: once with real processes, once in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment


@pytest.mark.parametrize("world", ["real", "simulated"])
async def test_law_6_only_short_timeouts_behind_a_slow_link_depose_leaders_and_nothing_is_lost(
    tmp_path: Path, world: Any
) -> None:
    value = experiment("accidental_failover")
    run = await run_experiment(value, profile="ci", world=world, output=tmp_path)
    failed = {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status == "invalid"}
    assert failed == {}
    assert set(run.verdicts) == set(value.claims)
    assert run.verdicts["short_timeouts_depose_healthy_leaders"].status == "valid"
    assert {check: verdict.status for check, verdict in run.checks.items()} == dict.fromkeys(run.checks, "valid")
    assert run.invariants | {"replica_processes": 3} == {
        "converged": True,
        "crashed_replicas": 0,
        "lost_acknowledged_writes": 0,
        "observed_timeouts_min": 20,
        "replica_processes": 3,
        "world": world,
    }
    assert len(run.table("failovers")) > 0
