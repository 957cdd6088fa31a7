"""The experiments in which leaders are killed, stopped or cut off, once each on a real cluster, and their ground."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workbench import Cluster, ClusterConfig
from workbench.checkers import appends
from workbench.client.load import LoadConfig
from workbench.errors import ClusterError
from workbench.experiments.disturbed import contents_of, disturbed_load
from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment

LOAD = LoadConfig(sessions=4, rate_per_s=200, duration_s=600, warmup_s=0, workload="appends", timeout_s=5)


async def test_law_6_a_killed_leader_loses_nothing_that_a_majority_has(tmp_path: Path) -> None:
    value = experiment("failover")
    run = await run_experiment(value, profile="ci", output=tmp_path)
    assert {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status != "valid"} == {}
    assert set(run.verdicts) == set(value.claims)
    assert {check: verdict.status for check, verdict in run.checks.items()} == dict.fromkeys(run.checks, "valid")
    assert run.invariants == {
        "converged": True,
        "kills": 1,
        "kills_that_took_effect": 1,
        "lost_acknowledged_writes": 0,
        "lost_acknowledged_writes_in_rollback": 0,
        "replica_processes": 3,
        "world": "real",
    }
    assert run.summary["rewinds"].tolist() == [1]


async def test_law_6_what_async_loses_is_written_down_write_for_write(tmp_path: Path) -> None:
    run = await run_experiment(experiment("failover"), profile="ci", overrides={"ack": "async"}, output=tmp_path)
    assert run.verdicts["lost_writes_are_accounted_for"].status == "valid"
    lost = run.invariants["lost_acknowledged_writes"]
    assert lost > 0
    assert lost == run.invariants["lost_acknowledged_writes_in_rollback"] == run.table("lost_writes")["lost"].sum()
    assert list((run.path / "rollback").rglob("*.jsonl"))


async def test_law_5_only_fencing_keeps_two_leaders_from_acknowledging_the_same_index(tmp_path: Path) -> None:
    value = experiment("split_brain")
    run = await run_experiment(value, profile="ci", output=tmp_path)
    assert {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status != "valid"} == {}
    assert set(run.verdicts) == set(value.claims)
    assert run.invariants["double_acknowledgements"] == 0
    assert run.invariants["double_acknowledgements_without_fencing"] > 0
    assert run.invariants["converged"] is True
    assert run.invariants["lost_acknowledged_writes"] == 0


async def test_a_load_goes_on_while_its_body_lasts_and_ends_with_it() -> None:
    async with Cluster(ClusterConfig(followers=2)) as cluster:
        async with disturbed_load(cluster, LOAD, "c") as load:
            before_ms = load.note("begins", "replica-2", "why")
            row = await load.sees(lambda row: load.is_acknowledged(row) and (row.completed_ns or 0) > before_ms * 1e6)
            assert row.cell == "c"
        assert [process.name for process in cluster.processes] == list(cluster.names)
        assert load.events == [
            {"cell": "c", "at_ms": before_ms, "event": "begins", "replica": "replica-2", "detail": "why"}
        ]
        assert before_ms >= 0
        assert row.operation in set(load.operations["operation"])
        assert (await cluster.converged()).ok
        found = appends(load.operations, await contents_of(cluster, LOAD.workload))
        assert found.verdict("lost").status == "valid"
        assert found.counts["acknowledged_writes"] > 0


async def test_nothing_is_left_of_a_load_whose_body_fails() -> None:
    async with Cluster(ClusterConfig(followers=0)) as cluster:
        with pytest.raises(ZeroDivisionError):
            async with disturbed_load(cluster, LOAD, "c"):
                raise ZeroDivisionError
        assert [process.name for process in cluster.processes] == list(cluster.names)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5), disturbed_load(cluster, LOAD, "c"):
                await asyncio.Event().wait()
        assert [process.name for process in cluster.processes] == list(cluster.names)


async def test_the_error_of_a_load_is_told_rather_than_what_followed_from_it() -> None:
    async with Cluster(ClusterConfig(followers=0)) as cluster:
        with pytest.raises(ClusterError, match="the load generator failed"):  # noqa: PT012
            async with disturbed_load(cluster, LOAD, "c") as load:
                (generator,) = [one for one in cluster.processes if one.name not in cluster.names]
                await generator.kill()
                await load.sees(lambda row: False)
