"""Every kind of fault that the real world can do strikes a real cluster, shows it, and is over afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from workbench import Cluster, ClusterConfig
from workbench.checkers import appends
from workbench.client.load import LoadConfig
from workbench.cluster.injector import ClusterInjector
from workbench.cluster.strikes import FatalStrike
from workbench.errors import ConfigurationError
from workbench.experiments.disturbed import contents_of, disturbed_load
from workbench.faults.values import (
    KINDS,
    Bandwidth,
    BrokerDown,
    ClockDrift,
    ClockJump,
    Crash,
    Cut,
    Delay,
    Disconnect,
    DiskFull,
    Duplication,
    FailingSync,
    Fault,
    Join,
    Loss,
    Pause,
    PowerLoss,
    Removal,
    Reordering,
    SlowDisk,
    Transfer,
)

LOAD = LoadConfig(sessions=4, rate_per_s=100, duration_s=600, warmup_s=0, workload="appends", timeout_s=5)
REAL = {kind for kind, fault in KINDS.items() if "real" in fault.worlds}

EVERY_KIND: tuple[Fault, ...] = (
    Delay(at_ms=0, for_ms=600, target="all", ms=20, distribution="exponential"),
    Loss(at_ms=100, for_ms=600, target="all", fraction=0.3),
    Bandwidth(at_ms=200, for_ms=600, target="all", bytes_per_s=200_000),
    Duplication(at_ms=300, for_ms=600, target="all", fraction=0.3),
    Reordering(at_ms=400, for_ms=600, target="all", fraction=0.3),
    SlowDisk(at_ms=500, for_ms=500, target="replica-2", factor=10),
    ClockDrift(at_ms=600, for_ms=500, target="replica-3", rate=1.5),
    Cut(at_ms=1_200, for_ms=400, target="replica-2", shape="one_way", flap_ms=60),
    Pause(at_ms=1_300, for_ms=300, target="replica-3"),
    Disconnect(at_ms=2_000, for_ms=200, target="replica-3"),
    Crash(at_ms=2_600, for_ms=100, target="one"),
    ClockJump(at_ms=3_800, target="replica-2", ms=300),
    DiskFull(at_ms=4_200, for_ms=600, target="replica-2"),
    FailingSync(at_ms=6_000, for_ms=600, target="replica-3"),
    Transfer(at_ms=8_000),
    Join(at_ms=8_500),
    Removal(at_ms=10_500),
    BrokerDown(at_ms=11_500, for_ms=300, target="all"),
)


async def test_every_kind_takes_effect_loses_nothing_acknowledged_and_leaves_a_cluster_that_works() -> None:
    assert {fault.kind for fault in EVERY_KIND} == REAL
    async with Cluster(ClusterConfig(followers=2)) as cluster:
        async with disturbed_load(cluster, LOAD, "c") as load:
            injector = ClusterInjector(cluster, Random(1), load.note)
            await injector.run(EVERY_KIND)
            for _ in range(3):  # what a busy machine answered too late is no evidence: it strikes again
                missing = [fault for fault in EVERY_KIND if fault.kind not in injector.took_effect]
                await injector.run(tuple(replace(fault, at_ms=0, for_ms=2 * fault.for_ms) for fault in missing))
            await injector.heal()
            healed_ms = load.now_ms
            await load.sees(lambda row: load.is_acknowledged(row) and (row.completed_ns or 0) > healed_ms * 1e6)
        shown = {report.fault.kind: (report.evidence, report.replicas) for report in injector.reports}
        assert set(injector.took_effect) == REAL, shown
        assert all(report.began_ns < report.ended_ns for report in injector.reports)
        assert "-9" in shown["crash"][0]
        assert "is stopped" in shown["pause"][0]
        assert "disk is full" in shown["disk_full"][0]
        assert "cannot sync" in shown["failing_sync"][0]
        report = await cluster.converged(20)
        assert report.ok, report.reason
        assert set(report.positions) == set(cluster.names)
        notes = [status.notes for status in await cluster.replicas()]
        assert not any("disk" in one or "links" in one for one in notes)
        found = appends(load.operations, await contents_of(cluster, LOAD.workload))
        assert str(found.verdict("lost")).startswith("valid")
        assert found.counts["acknowledged_writes"] > 200
        events = {(row["event"], row["replica"]) for row in load.events}
        assert {("pause", "replica-3"), ("pause took effect", "replica-3"), ("pause ends", "replica-3")} <= events


async def test_who_dies_of_a_fault_only_after_its_end_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Cluster(ClusterConfig(followers=2)) as cluster:
        injector = ClusterInjector(cluster, Random(1))
        end = FatalStrike.end

        async def end_too_early(strike: FatalStrike) -> None:
            await end(strike)
            await cluster.kill("replica-3")

        monkeypatch.setattr(FatalStrike, "end", end_too_early)
        await injector.run((DiskFull(at_ms=0, for_ms=20, target="replica-3"),))
        assert {status.name for status in await cluster.replicas() if status.role != "down"} == set(cluster.names)


async def test_faults_overlap_miss_and_last_until_all_is_healed() -> None:
    async with Cluster(ClusterConfig(followers=2)) as cluster:
        injector = ClusterInjector(cluster, Random(1))
        for impossible in (PowerLoss(at_ms=0), Crash(at_ms=0, target="replica-9")):
            with pytest.raises(ConfigurationError, match="fault 1: "):
                await injector.begin(impossible)
        assert await injector.begin(Pause(at_ms=0, target="replica-2"))
        assert await injector.begin(Delay(at_ms=0, target="replica-2", ms=1_000))
        assert await injector.begin(Crash(at_ms=0, target="replica-2", for_ms=50))
        assert await injector.begin(Crash(at_ms=0, target="all"))
        assert not await injector.begin(Crash(at_ms=0, target="replica-2")), "it is down"
        assert not await injector.begin(Loss(at_ms=0, target="leader")), "nobody leads"
        assert await injector.begin(BrokerDown(at_ms=0))
        assert not await injector.begin(BrokerDown(at_ms=0)), "it is down already"
        assert not await injector.begin(Disconnect(at_ms=0, target="all", for_ms=10))
        assert await injector.begin(Cut(at_ms=0, shape="halves"))
        still_to_come = asyncio.create_task(injector.run((Crash(at_ms=3_600_000, target="all"),)))
        await asyncio.sleep(0)
        await injector.heal()
        await still_to_come
        await cluster.wait_for_leader()
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        assert (await cluster.converged()).ok
        assert injector.took_effect["crash"] == 2
        assert injector.took_effect["broker_down"] == 1
        assert [status.reason for status in await cluster.replicas()] == ["", "", ""]
