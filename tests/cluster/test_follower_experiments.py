"""The experiments in which followers come and go, once each on a real cluster and as small as they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment
from workbench.results import RunFolder

SMALL: dict[str, dict[str, Any]] = {
    "new_follower": {"database_mb": 0.5, "before_s": 0.2, "after_s": 0.2, "ack": "quorum"},
    "follower_crash": {"ack": "quorum,sync", "before_s": 0.3, "down_s": 0.5, "after_s": 0.2},
}


@pytest.mark.parametrize("name", SMALL)
async def test_every_claim_holds(name: str, tmp_path: Path) -> None:
    value = experiment(name)
    run = await run_experiment(value, profile="ci", overrides=SMALL[name], output=tmp_path)
    assert {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status != "valid"} == {}
    assert set(run.verdicts) == set(value.claims)
    assert (run.invariants["converged"], run.invariants["lost_acknowledged_writes"]) == (True, 0)
    assert {check: verdict.status for check, verdict in run.checks.items()} == {
        "convergence": "valid",
        "lost_writes": "valid",
    }
    assert_events_lie_on_the_time_axis(run)


def assert_events_lie_on_the_time_axis(run: RunFolder) -> None:
    """The clock of replicas, the cluster and the load generator is one."""
    for cell, events in run.table("events").groupby("cell"):
        operations = run.operations[run.operations["cell"] == cell]
        assert events["at_ms"].between(0, operations["completed_ns"].max() / 1e6).all()
        steps = events[events["replica"] == events["replica"].iloc[0]]
        assert steps["at_ms"].is_monotonic_increasing, "one step after the other"
