"""Clusters in virtual time: the real replicas, storage and clients on a loop whose time jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from workbench import clock
from workbench.cluster.cluster import Cluster
from workbench.cluster.injector import ClusterInjector
from workbench.config import LOG_FORMATS, ClusterConfig
from workbench.errors import ClusterError, ConfigurationError
from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment
from workbench.faults.values import KINDS, Fault
from workbench.simulator.virtual_host import VirtualHost, in_virtual_time
from workbench.simulator.virtual_loop import run_virtually

T = TypeVar("T")
HOUR_S = 3_600.0


def virtually(make: Callable[[VirtualHost], Awaitable[T]]) -> T:
    return asyncio.run(in_virtual_time(1, make))


def test_an_hour_passes_at_once_and_the_clock_tells_it() -> None:
    async def wait() -> tuple[float, int]:
        before_s, before_ns = asyncio.get_running_loop().time(), clock.now_ns()
        await asyncio.sleep(HOUR_S)
        return asyncio.get_running_loop().time() - before_s, clock.now_ns() - before_ns

    began = time.monotonic()
    passed_s, passed_ns = asyncio.run(run_virtually(wait))
    assert passed_s == pytest.approx(HOUR_S)
    assert passed_ns == pytest.approx(HOUR_S * 1e9)
    assert time.monotonic() - began < 60
    assert abs(clock.now_ns() - time.monotonic_ns()) < 1e9, "outside, the clock is the host's"


def test_whoever_waits_for_a_virtual_world_can_be_interrupted() -> None:
    ended = []

    async def forever() -> None:
        try:
            for second in count():
                await asyncio.sleep(second)
        finally:
            ended.append("in good order")

    async def interrupt() -> None:
        task = asyncio.create_task(run_virtually(forever))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(interrupt(), 60))
    assert ended == ["in good order"]


@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_a_killed_leader_is_replaced_and_comes_back_with_every_log_format(tmp_path: Path, log_format: str) -> None:
    async def story(host: VirtualHost) -> None:
        config = ClusterConfig(directory=tmp_path, log_format=log_format, seed=1)  # type: ignore[arg-type]
        async with Cluster(config, host) as cluster:
            session = await cluster.session()
            await session.write("CREATE TABLE t(x INTEGER PRIMARY KEY)")
            await session.write("INSERT INTO t VALUES (1)")
            old = cluster.leader
            await cluster.kill(old)
            assert await cluster.wait_for_leader(unlike=old) != old
            await session.write("INSERT INTO t VALUES (2)")
            await cluster.restart(old)
            assert (await cluster.converged()).ok
            assert (await session.read("SELECT x FROM t ORDER BY x", replica=old)).rows == ((1,), (2,))

    virtually(story)


def test_a_stopped_replica_does_nothing_and_a_killed_one_never_again(tmp_path: Path) -> None:
    async def story(host: VirtualHost) -> None:
        async with Cluster(ClusterConfig(directory=tmp_path, seed=1), host) as cluster:
            session = await cluster.session(timeout_s=1)
            await session.write("CREATE TABLE t(x)")
            follower = next(name for name in cluster.names if name != cluster.leader)
            await cluster.pause(follower)
            await session.write("INSERT INTO t VALUES (1)")
            with pytest.raises(Exception, match="paused"):
                await session.read("SELECT x FROM t", replica=follower)
            await cluster.resume(follower)
            assert (await cluster.converged()).ok
            await cluster.kill(follower)
            (status,) = [one for one in await cluster.replicas() if one.name == follower]
            assert (status.role, status.reason) == ("down", f"{follower} was ended by SIGKILL")
            with pytest.raises(ClusterError, match="is running"):
                await cluster.restart(cluster.leader)

    virtually(story)


def test_faults_strike_in_virtual_time_as_they_do_for_real(tmp_path: Path) -> None:
    done = ("pause", "cut", "delay", "bandwidth", "loss", "duplication", "reordering", "slow_disk", "crash", "transfer")
    schedule: list[Fault] = [
        KINDS[kind](at_ms=500 + 3_000 * number, for_ms=2_000, target="all" if "cut" not in kind else "leader")
        for number, kind in enumerate((*done, "clock_drift", "disconnect", "broker_down"))
    ]

    async def story(host: VirtualHost) -> dict[str, int]:
        async with Cluster(ClusterConfig(directory=tmp_path, seed=1), host) as cluster:
            session = await cluster.session()
            await session.write("CREATE TABLE t(x)")
            injector = ClusterInjector(cluster, Random(1))

            async def write() -> None:
                while True:
                    try:
                        await session.write("INSERT INTO t VALUES (1)")
                    except Exception:  # noqa: BLE001  while nobody leads
                        await asyncio.sleep(0.1)
                    await asyncio.sleep(0.01)

            writing = asyncio.create_task(write())
            await injector.run(tuple(schedule))
            writing.cancel()
            await injector.heal()
            assert (await cluster.converged(30)).ok
            return dict(injector.took_effect)

    assert set(virtually(story)) == {fault.kind for fault in schedule}


def test_a_run_in_virtual_time_says_so_and_its_seed_repeats_it(tmp_path: Path) -> None:
    def run(place: str, seed: int) -> tuple[list[dict[str, object]], dict[str, object]]:
        folder = asyncio.run(
            run_experiment(experiment("failover"), profile="ci", seed=seed, world="simulated", output=tmp_path / place)
        )
        assert {verdict.status for verdict in folder.verdicts.values()} == {"valid"}
        assert folder.info["world"] == "simulated"
        return folder.summary.to_dict(orient="records"), dict(folder.invariants)

    summary, invariants = run("one", 1)
    assert run("again", 1) == (summary, invariants)
    assert run("other", 2)[0] != summary
    assert invariants["world"] == "simulated"
    assert invariants["replica_processes"] == 0
    assert invariants["lost_acknowledged_writes"] == 0


@pytest.mark.parametrize(
    "name", ["new_follower", "follower_crash", "split_brain", "session_guarantees", "stale_reads", "write_latency"]
)
def test_every_replication_experiment_keeps_its_claims_in_virtual_time(tmp_path: Path, name: str) -> None:
    folder = asyncio.run(run_experiment(experiment(name), profile="ci", world="simulated", output=tmp_path))
    assert {claim: verdict.status for claim, verdict in folder.verdicts.items() if verdict.status != "valid"} == {}


def test_what_a_simulated_world_cannot_do_is_said_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot run in the simulated world"):
        asyncio.run(run_experiment(experiment("log_formats"), world="simulated", output=tmp_path))
    with pytest.raises(ConfigurationError, match="in a simulated world"):
        asyncio.run(run_experiment(experiment("failover"), world="simulated", broker="mosquitto", output=tmp_path))
    with pytest.raises(ConfigurationError, match="unknown world 'dream'"):
        experiment("failover").choose_world("dream")
    assert not list(tmp_path.iterdir())
