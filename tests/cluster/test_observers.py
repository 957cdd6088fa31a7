"""A follower on another engine, in a process of its own: it joins, follows, is killed, and comes back the same."""

from __future__ import annotations

import asyncio

from workbench.cluster.cluster import Cluster
from workbench.config import ClusterConfig


async def test_a_follower_in_duckdb_comes_back_as_what_it_was() -> None:
    async with Cluster(ClusterConfig(followers=1)) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE sale (id INTEGER PRIMARY KEY, amount REAL)")
        await asyncio.gather(*(session.write("INSERT INTO sale(amount) VALUES (?)", (n / 2,)) for n in range(40)))
        name = (await cluster.add_follower(engine="duckdb")).name
        await session.write("UPDATE sale SET amount = amount + 1")
        assert (await cluster.converged(timeout_s=30)).ok
        await cluster.kill(name)
        await session.write("DELETE FROM sale WHERE id > 30")
        await cluster.restart(name)
        assert (await cluster.converged(timeout_s=30)).ok
        result = await session.read("SELECT count(*), version() LIKE 'v%' FROM sale", replica=name)
        assert result.rows == ((30, 1),)
        assert all(name not in status.members for status in await cluster.replicas())
        assert "rebuilding" not in (cluster.logs / f"{name}.log").read_text()
