"""Trouble around a cluster: what is down is named, what waits ends, and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from workbench import AckPolicy, Cluster, ClusterConfig, Limits
from workbench.client.statements import make_statements
from workbench.errors import BrokerError, ClusterError, DefiniteError, IndefiniteError, StatementError
from workbench.protocol import fault_messages, messages
from workbench.protocol.codec import encode
from workbench.protocol.values import Position, Transaction
from workbench.replica import process
from workbench.transport.mqtt import connect_mqtt
from workbench.transport.topics import Topics

FORMATS = ["statement", "wal", "logical"]
BROKERS = [pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto")), "amqtt"]
COUNT_TO = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT count(*) FROM c"


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Cluster]:
    async with Cluster(ClusterConfig(**options)) as cluster:
        yield cluster


async def test_stop_ends_what_waits_and_a_stopped_cluster_says_so() -> None:
    cluster = Cluster(ClusterConfig(followers=1, ack=AckPolicy.sync()))
    with pytest.raises(ClusterError, match="not running"):
        await cluster.session()
    await cluster.start()
    with pytest.raises(ClusterError, match="started already"):
        await cluster.start()
    session, waiting = await cluster.session(), await cluster.session()
    await session.write("CREATE TABLE kv (k)")
    await cluster.kill("replica-2")
    write = asyncio.create_task(waiting.write("INSERT INTO kv VALUES (1)"))
    await asyncio.sleep(0)
    await cluster.stop()
    await cluster.stop()
    with pytest.raises(IndefiniteError, match="before the cluster was stopped"):
        await write
    with pytest.raises(DefiniteError, match="nothing was sent"):
        await session.write("INSERT INTO kv VALUES (1)")
    with pytest.raises(IndefiniteError, match="stopped"):
        await session.read("SELECT 1")
    with pytest.raises(ClusterError, match="not running"):
        await cluster.restart("replica-2")
    assert not cluster.directory.exists()


async def test_a_stopped_cluster_starts_again_on_its_directory(tmp_path: Path) -> None:
    cluster = Cluster(ClusterConfig(followers=1, directory=tmp_path))
    async with cluster:
        await (await cluster.session()).write("CREATE TABLE kv (k)")
    async with cluster:
        assert (await (await cluster.session()).read("SELECT count(*) FROM kv")).rows == ((0,),)
        (term,) = {status.term for status in await cluster.replicas()}
        assert term >= 2, "no leader resumes its term"


@pytest.mark.parametrize("broker", BROKERS)
async def test_a_dead_broker_is_named_and_stopping_goes_well(broker: str) -> None:
    async with running(followers=1, broker=broker) as cluster:
        session = await cluster.session(timeout_s=0.5)
        await session.write("CREATE TABLE kv (k)")
        assert cluster.broker_process is not None
        os.killpg(cluster.broker_process.pid, signal.SIGKILL)
        await cluster.broker_process.wait()
        with pytest.raises(IndefiniteError, match=f"the broker {broker} was ended by SIGKILL"):
            await session.write("INSERT INTO kv VALUES (1)")
        directory = cluster.directory
    assert not directory.exists()


@pytest.mark.parametrize("option", [{"broker": "mqtt://127.0.0.1:1"}, {"start_timeout_s": 0.1}])
async def test_nothing_is_left_of_a_cluster_that_did_not_start(option: dict[str, Any]) -> None:
    cluster = Cluster(ClusterConfig(followers=1, **option))
    with pytest.raises((BrokerError, ClusterError)):
        await cluster.start()
    assert not cluster.directory.exists()
    assert not cluster.processes


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"directory .*file cannot be used"):
        await Cluster(ClusterConfig(directory=tmp_path / "file")).start()


async def test_whoever_is_down_is_named_with_the_reason() -> None:
    async with running(followers=2, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session(timeout_s=0.3)
        await cluster.kill("replica-2")
        await cluster.pause("replica-3")
        leader, killed, paused = await cluster.replicas()
        assert leader.reason == (
            "writes wait: 1 of 3 members are up, and a leader needs a majority of 2; replica-2, replica-3 are down"
        )
        assert killed.reason == "replica-2 was ended by SIGKILL"
        assert paused.reason == "replica-3 is paused"
        with pytest.raises(IndefiniteError, match="replica-2 was ended by SIGKILL; replica-3 is paused"):
            await session.write("CREATE TABLE kv (k)")
        await cluster.resume("replica-3")
        await cluster.wait_for_leader()
        (reason,) = [status.reason for status in await cluster.replicas() if status.role == "leader"]
        assert reason == "writes wait: sync needs 2 of 2 followers, replica-2 is down"
        await cluster.restart("replica-2")
        assert [status.reason for status in await cluster.replicas()] == ["", "", ""]


async def test_a_slow_read_is_answered_and_runs_once() -> None:
    async with running(followers=1) as cluster:
        session = await cluster.session(timeout_s=60, retry_s=0.02)
        assert (await session.read(COUNT_TO, (2_000_000,), replica="replica-2")).rows == ((2_000_000,),)
        (_, follower) = await cluster.replicas()
        assert follower.counters["messages_in"] > 4, "it was asked again and again"
        assert follower.counters["reads"] == 1


@pytest.mark.parametrize("broker", BROKERS)
async def test_a_long_entry_reaches_the_followers(broker: str) -> None:
    async with running(followers=1, log_format="logical", ack=AckPolicy.sync(), broker=broker) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        await session.write("INSERT INTO kv VALUES (1, randomblob(20000000))")
        report = await cluster.converged()
        assert report.ok, report.reason


async def test_long_requests_are_sent_apart_or_refused() -> None:
    async with running(followers=0, limits=Limits(transaction_bytes_max=2**28, entry_bytes_max=1000)) as cluster:
        sessions = [await cluster.session() for _ in range(5)]
        reads = await asyncio.gather(*(one.read("SELECT length(?)", (bytes(30_000_000),)) for one in sessions))
        assert {read.rows for read in reads} == {((30_000_000,),)}
        with pytest.raises(StatementError, match="too many for one message"):
            await sessions[0].write("SELECT ?", (bytes(140_000_000),))
        await sessions[0].write("CREATE TABLE kv (k)")
        with pytest.raises(StatementError, match="too much was written at once"):
            await sessions[0].write("INSERT INTO kv VALUES (randomblob(2000))")


def test_statements_that_are_none() -> None:
    wrong: list[Any] = ["abc", 5, None, [], ["SELECT 1"], [("SELECT 1",)], [("SELECT 1", (), 3)], [("SELECT 1", 5)]]
    wrong += [[("SELECT '\ud800'", ())], [("SELECT ?", {1})], [("SELECT ?", None)]]
    for statements in wrong:
        with pytest.raises(StatementError):
            make_statements(statements)


async def test_messages_of_the_wrong_kind_are_dropped_and_counted() -> None:
    strange: list[messages.Message] = [
        messages.ReplyBatch("x", "y"),
        messages.Inspect(1, "nobody"),
        messages.Campaign(1, "nobody"),
        fault_messages.SetLinks(1, "nobody", 5),
        messages.LeaderNews(9, "replica-9"),
    ]
    misdirected = messages.Fetch(1, "replica-9", Position(1, 1))
    async with running(followers=1, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session()
        topics = Topics(cluster.cluster_id)
        async with await connect_mqtt(cluster.broker.url, identifier="vandal", handler=lambda batch: None) as vandal:
            for message in strange:
                for name in cluster.config.replica_names:
                    vandal.publish(topics.replica_inbox(name), encode(message))
            vandal.publish(topics.replica_inbox("replica-1"), encode(misdirected))
            vandal.publish(
                topics.replica_inbox("replica-1"), encode(messages.ClientBatch("v", (Transaction(1, 1, ()),)))
            )
        await session.write("CREATE TABLE kv (k)")
        statuses = await cluster.replicas()
        assert [status.counters["bad_messages"] for status in statuses] == [len(strange)] * 2
        assert statuses[0].counters["refused_messages"] == 1
        assert [(status.role, status.term) for status in statuses] == [("leader", 1), ("follower", 1)]


@pytest.mark.parametrize("log_format", FORMATS)
async def test_an_unreadable_database_is_rebuilt_from_the_log(log_format: str) -> None:
    async with running(followers=1, log_format=log_format, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-2")
        for file in (cluster.directory / "replicas" / "replica-2" / "database").iterdir():
            file.write_bytes(b"garbage" * 1000)
        await cluster.restart("replica-2")
        report = await cluster.converged()
        assert report.ok, report.reason
        assert "rebuilding the database" in (cluster.logs / "replica-2.log").read_text()


async def test_a_replica_without_its_term_does_not_come_back() -> None:
    async with running(followers=1, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        await cluster.kill("replica-1")
        (cluster.directory / "replicas" / "replica-1" / "term").unlink()
        with pytest.raises(ClusterError, match=r"replica-1 ended with status 1: .*term is missing"):
            await cluster.restart("replica-1")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("a fault\nof ours"), "unexpected ZeroDivisionError: a fault of ours"),
        (OSError(28, "x"), "disk is full"),
    ],
)
def test_the_last_line_of_a_log_is_the_reason(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_config: object) -> None:
        raise error

    monkeypatch.setattr(process, "exit_when_parent_dies", lambda: None)
    monkeypatch.setattr("workbench.config_file.load", lambda *_: ClusterConfig())
    monkeypatch.setattr(process, "run", fail)
    monkeypatch.setattr(ClusterConfig, "name", "replica-1", raising=False)
    with caplog.at_level(logging.INFO):
        assert process.main(["config.json"]) == process.EXIT_FAILED
    assert re.search(words, caplog.records[-1].getMessage())
    assert "\n" not in caplog.records[-1].getMessage()
