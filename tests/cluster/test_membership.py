"""Replicas that join and leave a live cluster, and those that must not."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.test_failover import FORMATS, rows_of, running, writing
from workbench import AckPolicy, Limits
from workbench.errors import ClusterError, ConfigurationError


@pytest.mark.parametrize("log_format", FORMATS)
async def test_a_follower_joins_while_writes_go_on_and_then_counts(log_format: str) -> None:
    async with running(followers=1, log_format=log_format, ack=AckPolicy.sync()) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(50)
            status = await cluster.add_follower()
            assert status.name == "replica-3"
            await writer.acknowledges(50)
            assert status.members == ("replica-1", "replica-2", "replica-3")
            assert status.counters["snapshots_installed"] == 1
        assert writer.acknowledged <= await rows_of(cluster)
        await cluster.kill("replica-3")
        leader, *_ = await cluster.replicas()
        assert "sync needs 2 of 2 followers, replica-3 is down" in leader.reason
        await cluster.restart("replica-3")
        assert (await cluster.converged()).ok
        await cluster.kill("replica-1")
        assert await cluster.wait_for_leader() in {"replica-2", "replica-3"}


async def test_a_removed_follower_counts_no_more() -> None:
    async with running(followers=2, ack=AckPolicy.sync()) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(20)
            await cluster.remove_follower("replica-3")
            assert cluster.names == ("replica-1", "replica-2")
            await writer.acknowledges(20)
        assert writer.acknowledged <= await rows_of(cluster)
        statuses = await cluster.replicas()
        assert {status.members for status in statuses} == {("replica-1", "replica-2")}
        with pytest.raises(ClusterError, match="replica-1 leads: transfer the leadership first"):
            await cluster.remove_follower("replica-1")
        with pytest.raises(ConfigurationError, match="the name replica-3 was used in this cluster before"):
            await cluster.add_follower("replica-3")
        status = await cluster.add_follower()
        assert status.name == "replica-4"


async def test_followers_that_join_at_once_have_names_of_their_own() -> None:
    async with running(followers=2) as cluster:
        joined = await asyncio.gather(cluster.add_follower(), cluster.add_follower())
        assert sorted(status.name for status in joined) == ["replica-4", "replica-5"]
        assert sorted(cluster.names) == [f"replica-{number}" for number in range(1, 6)]
        assert (await cluster.converged()).ok


async def test_a_follower_may_be_removed_twice_at_once_and_looked_at_meanwhile() -> None:
    async with running(followers=2) as cluster:
        *_, statuses = await asyncio.gather(
            cluster.remove_follower("replica-3"), cluster.remove_follower("replica-3"), cluster.replicas()
        )
        assert statuses[0].role == "leader"
        assert cluster.names == ("replica-1", "replica-2")


async def test_the_last_member_stays() -> None:
    async with running(followers=0) as cluster:
        with pytest.raises(ClusterError, match="replica-1 is the last member: without it there is no data"):
            await cluster.remove_follower("replica-1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"page_size": 8192}, "replica-3 has wal log format, .* page size 8192; this cluster has .* page size 4096"),
        ({"log_format": "logical"}, "replica-3 has logical log format; this cluster has wal log format"),
    ],
)
async def test_a_replica_that_does_not_fit_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    async with running(followers=1, log_format="wal") as cluster:
        await (await cluster.session()).write("CREATE TABLE kv (k)")
        with pytest.raises(ClusterError, match=words):
            await cluster.add_follower(**changes)  # type: ignore[arg-type]
        assert cluster.names == ("replica-1", "replica-2")
        assert {status.members for status in await cluster.replicas()} == {("replica-1", "replica-2")}
        assert (await cluster.add_follower()).name == "replica-4"


async def test_rows_fit_pages_of_any_size() -> None:
    async with running(followers=1) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        await session.write("INSERT INTO kv VALUES (1), (2)")
        status = await cluster.add_follower(page_size=8192)
        await session.write("DELETE FROM kv WHERE k = 1")
        assert (await cluster.converged()).ok
        assert status.name in {member for one in await cluster.replicas() for member in one.members}


async def test_a_directory_of_another_cluster_is_refused() -> None:
    async with running(followers=0) as other, running(followers=1) as cluster:
        await (await other.session()).write("CREATE TABLE kv (k)")
        foreign = other.directory / "replicas" / "replica-1"
        with pytest.raises(ClusterError, match="belongs to replica-1 of cluster"):
            await cluster.add_follower(directory=foreign)


async def test_a_follower_that_fell_behind_the_log_gets_a_snapshot() -> None:
    limits = Limits(retained_log_bytes_max=20_000, segment_bytes_max=5_000)
    async with running(followers=2, ack=AckPolicy.quorum(), limits=limits) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(20)
            await cluster.kill("replica-3")
            before = writer.acknowledged.copy()
            while (await cluster.replicas())[0].counters["snapshots_made"] < 3:
                await writer.acknowledges(100)
            await cluster.restart("replica-3")
            await writer.acknowledges(50)
        assert before < writer.acknowledged <= await rows_of(cluster)
        *_, late = await cluster.replicas()
        assert late.counters["snapshots_installed"] == 1


async def test_a_leader_that_dies_while_a_follower_joins() -> None:
    async with running(followers=2, ack=AckPolicy.quorum()) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(20)
            joining = asyncio.create_task(cluster.add_follower())
            while len(cluster.names) < 4:
                await writer.acknowledges(1)
            await cluster.kill("replica-1")
            assert (await joining).name == "replica-4"
            await cluster.restart("replica-1")
            await writer.acknowledges(20)
        assert writer.acknowledged <= await rows_of(cluster)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_the_log_of_an_observer_is_bounded_by_snapshots_of_its_leader(engine: str) -> None:
    small = Limits(retained_log_bytes_max=20_000, segment_bytes_max=4_000)
    async with running(followers=1, limits=small) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        observer = (await cluster.add_follower(engine=engine, observer=True)).name
        for _ in range(120):
            await session.write("INSERT INTO t(v) VALUES (?)", ("x" * 1_000,))
        log = cluster.directory / "replicas" / observer / "log"
        async with asyncio.timeout(30):
            while sum(path.stat().st_size for path in log.iterdir()) > 60_000:
                await session.write("INSERT INTO t(v) VALUES ('more')")
                await asyncio.sleep(0.02)
        await cluster.kill(observer)
        await cluster.restart(observer)
        await session.write("INSERT INTO t(v) VALUES ('last')")
        assert (await cluster.converged()).ok
