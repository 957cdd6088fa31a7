"""A replica whose database is not what the log says: it stops serving, says why, and makes its database anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from workbench.cluster.cluster import Cluster
from workbench.config import ClusterConfig, Limits

FOLLOWER = "replica-3"


def damage(cluster: Cluster, sql: str = "UPDATE t SET v = 'something else' WHERE id = 1") -> None:
    """Change the database of a replica that does not run, behind its back."""
    path = cluster.directory / "replicas" / FOLLOWER / "database" / "database.sqlite"
    with apsw.Connection(str(path)) as connection:
        connection.execute(sql)
    connection.close()


async def note(cluster: Cluster, name: str) -> str:
    """What a replica says about its divergence, past or present."""
    (status,) = [one for one in await cluster.replicas() if one.name == FOLLOWER]
    return str(status.notes.get(name, status.reason))


async def prepare(cluster: Cluster) -> None:
    session = await cluster.session()
    await session.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    await session.write("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    assert (await cluster.converged()).ok


async def wait_until_mended(cluster: Cluster) -> dict[str, int]:
    """The follower's counters once it has the leader's rows again."""
    async with asyncio.timeout(30):
        while True:
            (status,) = [one for one in await cluster.replicas() if one.name == FOLLOWER]
            if status.counters.get("rebuilds") and "diverged" not in status.notes:
                assert (await cluster.converged()).ok
                return dict(status.counters)
            await asyncio.sleep(0.02)


async def test_it_makes_its_database_anew_from_its_own_log(tmp_path: Path) -> None:
    async with Cluster(ClusterConfig(directory=tmp_path)) as cluster:
        await prepare(cluster)
        await cluster.kill(FOLLOWER)
        damage(cluster)
        await cluster.restart(FOLLOWER)
        assert not (await cluster.converged()).ok, "nobody has noticed yet: only digests can tell"
        await (await cluster.session()).write("UPDATE t SET v = 'uno' WHERE id = 1")
        counters = await wait_until_mended(cluster)
        assert (counters["divergences"], counters["rebuilds"], counters["snapshots_installed"]) == (1, 1, 0)
        assert "UPDATE on table t" in await note(cluster, "diverged_before")


async def test_it_takes_a_snapshot_of_the_leader_when_its_own_was_made_of_the_same_database(tmp_path: Path) -> None:
    small = Limits(retained_log_bytes_max=20_000)
    async with Cluster(ClusterConfig(directory=tmp_path, limits=small)) as cluster:
        await prepare(cluster)
        await cluster.kill(FOLLOWER)
        damage(cluster)
        await cluster.restart(FOLLOWER)
        session = await cluster.session()
        for number in range(3, 60):  # enough for a snapshot of its own, damage included
            await session.write("INSERT INTO t VALUES (?, ?)", (number, "x" * 1_000))
        assert not (await cluster.converged()).ok
        await session.write("UPDATE t SET v = 'uno' WHERE id = 1")
        counters = await wait_until_mended(cluster)
        assert (counters["divergences"], counters["snapshots_installed"]) == (1, 1)
        assert "snapshot was made of the same database" in await note(cluster, "diverged_before")


async def test_it_notices_while_it_recovers(tmp_path: Path) -> None:
    async with Cluster(ClusterConfig(directory=tmp_path, log_format="statement")) as cluster:
        await prepare(cluster)
        session = await cluster.session()
        await cluster.pause(FOLLOWER)
        await session.write("INSERT INTO t VALUES (3, 'three')")
        await cluster.kill(FOLLOWER)
        damage(cluster, "DROP TABLE t")
        await cluster.restart(FOLLOWER)
        assert (await wait_until_mended(cluster))["rebuilds"] == 1
        assert (await session.read("SELECT count(*) FROM t", replica=FOLLOWER)).rows == ((3,),)
