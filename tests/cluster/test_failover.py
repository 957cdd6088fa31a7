"""Leaders that die, stop, are cut off or hand over, in real clusters: who leads next, what the old one still does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from workbench import AckPolicy, Cluster, ClusterConfig, Timing
from workbench.client.session import Session
from workbench.config import LOG_FORMATS
from workbench.errors import ClusterError, ConfigurationError, DefiniteError, IndefiniteError

FORMATS = LOG_FORMATS


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Cluster]:
    async with Cluster(ClusterConfig(**options)) as cluster:
        yield cluster


class Writer:
    """Writes rows of its own, one after another, whoever leads; `acknowledged` are those it was told of."""

    def __init__(self, session: Session, first: int) -> None:
        self._session = session
        self._next = first
        self.acknowledged: set[int] = set()
        self.doubtful: set[int] = set()
        self.progress = asyncio.Event()

    async def run(self) -> None:
        while True:
            self._next += 1
            try:
                await self._session.write("INSERT INTO kv VALUES (?, 'x')", (self._next,))
                self.acknowledged.add(self._next)
            except (IndefiniteError, DefiniteError):
                self.doubtful.add(self._next)
            self.progress.set()

    async def acknowledges(self, count: int) -> None:
        """Wait until so many more writes were acknowledged."""
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(30):
            while len(self.acknowledged) < goal:
                self.progress.clear()
                await self.progress.wait()


@asynccontextmanager
async def writing(cluster: Cluster) -> AsyncIterator[Writer]:
    """A cluster with a table, under a steady stream of writes."""
    await (await cluster.session()).write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
    writer = Writer(await cluster.session(timeout_s=20), 0)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rows_of(cluster: Cluster) -> set[int]:
    report = await cluster.converged(timeout_s=20)
    assert report.ok, report.reason
    rows = (await (await cluster.session()).read("SELECT k FROM kv")).rows
    return {int(str(key)) for (key,) in rows}


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("ack", ["quorum", "sync"])
async def test_law_6_after_the_death_of_a_leader_another_one_has_all_that_was_acknowledged(
    log_format: str, ack: str
) -> None:
    async with running(followers=2, log_format=log_format, ack=AckPolicy.parse(ack)) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(50)
            await cluster.kill("replica-1")
            assert await cluster.wait_for_leader() in {"replica-2", "replica-3"}
            if ack == "quorum":
                await writer.acknowledges(50)
            await cluster.restart("replica-1")
            await writer.acknowledges(50)
        rows = await rows_of(cluster)
        assert writer.acknowledged <= rows
        assert rows <= writer.acknowledged | writer.doubtful | {max(rows)}
        statuses = {status.name: status for status in await cluster.replicas()}
        assert statuses["replica-1"].role == "follower"
        assert {status.term for status in statuses.values()} == {statuses[cluster.leader].term}
        assert statuses[cluster.leader].term >= 2


async def test_law_6_what_an_async_leader_acknowledged_alone_is_lost_and_written_down() -> None:
    async with running(followers=2, ack=AckPolicy.asynchronous()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        await cluster.converged()
        await cluster.cut_off("replica-1")
        lost = await session.write("INSERT INTO kv VALUES (1, 'acknowledged, and lost')")
        await cluster.wait_for_leader(unlike="replica-1")
        await (await cluster.session()).write("INSERT INTO kv VALUES (2, 'kept')")
        await cluster.mend()
        assert await rows_of(cluster) == {2}
        (path,) = cluster.rollbacks()
        assert path.parent.parent.name == "replica-1"
        (line,) = [json.loads(line) for line in path.read_text().splitlines()]
        assert (line["term"], line["index"]) == (lost.position.term, lost.position.index)
        assert {"session": session.identifier, "sequence": 2}.items() <= line["transactions"][0].items()
        assert "acknowledged, and lost" in json.dumps(line["content"])


@pytest.mark.parametrize("how", ["paused", "cut off"])
async def test_law_5_an_old_leader_neither_acknowledges_nor_answers_as_one(how: str) -> None:
    async with running(followers=2, ack=AckPolicy.asynchronous()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        await cluster.converged()
        if how == "paused":
            await cluster.pause("replica-1")
        else:
            await cluster.cut_off("replica-1")
        leader = await cluster.wait_for_leader(unlike="replica-1")
        new = await cluster.session()
        await new.write("INSERT INTO kv VALUES (1, 'new')")
        asked = [
            asyncio.create_task(ask_old_leader(cluster, kind), name=kind)
            for kind in ("write", "leader", "linearizable")
        ]
        await asyncio.sleep(0)
        await cluster.resume("replica-1")
        outcomes = {task.get_name(): await task for task in asked}
        assert outcomes == {"write": leader, "leader": leader, "linearizable": leader}
        await cluster.mend()
        assert await rows_of(cluster) == {1, 2}


async def ask_old_leader(cluster: Cluster, kind: str) -> str:
    """Ask replica-1 first, by a connection that has not heard of another leader; who answered in the end."""
    from workbench.client.connection import ClientConnection

    connection = await ClientConnection.open(cluster.broker.url, cluster.cluster_id, cluster.names)
    try:
        assert connection.leader == "replica-1"
        session = Session(connection, read_policy="leader" if kind == "write" else kind)
        if kind == "write":
            return (await session.write("INSERT INTO kv VALUES (2, 'old?')")).replica
        result = await session.read("SELECT count(*) FROM kv WHERE k = 1")
        assert result.rows == ((1,),), f"{result.replica} had not heard of an acknowledged write"
        return result.replica
    finally:
        await connection.close()


async def test_law_1_a_restarted_leader_is_a_follower_until_it_is_elected_again() -> None:
    async with running(followers=2) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-1")
        await cluster.restart("replica-1")
        leader = await cluster.wait_for_leader()
        statuses = {status.name: status for status in await cluster.replicas()}
        assert statuses[leader].term >= 2
        await (await cluster.session()).write("INSERT INTO kv VALUES (1)")


async def test_leadership_is_handed_over_under_load() -> None:
    async with running(followers=2, ack=AckPolicy.quorum()) as cluster:
        async with writing(cluster) as writer:
            await writer.acknowledges(30)
            assert await cluster.transfer_leadership("replica-3") == "replica-3"
            await writer.acknowledges(30)
            assert await cluster.transfer_leadership() in {"replica-1", "replica-2"}
            await writer.acknowledges(30)
        assert writer.acknowledged <= await rows_of(cluster)
        assert not cluster.rollbacks()
        with pytest.raises(ClusterError, match=f"{cluster.leader} leads already"):
            await cluster.transfer_leadership(cluster.leader)
        with pytest.raises(ConfigurationError, match="no replica 'replica-9'"):
            await cluster.transfer_leadership("replica-9")


async def test_of_two_members_one_alone_does_not_lead_and_says_why() -> None:
    async with running(followers=1) as cluster:
        session = await cluster.session(timeout_s=1)
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-1")
        with pytest.raises(ClusterError, match=r"nobody can lead: an election needs the votes of 2 of 2 members"):
            await cluster.wait_for_leader(timeout_s=1.5)
        _, alone = await cluster.replicas()
        assert "one alone cannot know whether the other one still leads" in alone.reason
        with pytest.raises((DefiniteError, IndefiniteError), match="replica-1 was ended by SIGKILL"):
            await session.write("INSERT INTO kv VALUES (1)")
        await cluster.restart("replica-1")
        await cluster.wait_for_leader()
        await session.write("INSERT INTO kv VALUES (2)")


async def test_a_leader_that_hears_from_no_majority_stops_acknowledging_whatever_the_policy() -> None:
    async with running(followers=2, ack=AckPolicy.asynchronous(), timing=Timing(ack_timeout_ms=500)) as cluster:
        session = await cluster.session(timeout_s=3)
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-2")
        await cluster.kill("replica-3")
        await asyncio.sleep(0.6)  # the lease of the leader has to run out; there is nothing to be seen of it
        with pytest.raises((DefiniteError, IndefiniteError)):
            await session.write("INSERT INTO kv VALUES (1)")
        await cluster.restart("replica-2")
        await cluster.wait_for_leader()
        await session.write("INSERT INTO kv VALUES (2)")


async def test_semi_sync_may_be_given_up_for_a_while_and_the_window_is_recorded() -> None:
    timing = Timing(downgrade_ms=200)
    async with running(followers=2, ack=AckPolicy.semi_sync(2), timing=timing) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-3")
        await session.write("INSERT INTO kv VALUES (1)")
        leader, *_ = await cluster.replicas()
        assert leader.counters["downgrades"] == 1
        await cluster.restart("replica-3")
        await cluster.converged()
        await session.write("INSERT INTO kv VALUES (2)")
        leader, *_ = await cluster.replicas()
        (window,) = leader.notes["downgrades"].split()
        times, entries = window.split(":")
        began, ended = map(int, times.split("-"))
        assert 0 < ended - began < 60e9
        assert entries.startswith("3-")
