"""Real clusters: the Python surface that the README promises, and what happens when things go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from workbench import AckPolicy, Cluster, ClusterConfig, Limits, Timing
from workbench.client.load import LoadConfig
from workbench.errors import (
    ClusterError,
    ConfigurationError,
    DefiniteError,
    IndefiniteError,
    StatementError,
)
from workbench.history import read_operations
from workbench.transport.mqtt import connect_mqtt
from workbench.transport.topics import Topics

FORMATS = ["statement", "wal", "logical"]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Cluster]:
    async with Cluster(ClusterConfig(**options)) as cluster:
        yield cluster


@pytest.mark.parametrize("log_format", FORMATS)
async def test_the_surface(log_format: str) -> None:
    async with running(followers=2, log_format=log_format, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session(read_policy="any")
        await session.write("CREATE TABLE kv (k TEXT PRIMARY KEY, v)")
        written = await session.write("INSERT INTO kv VALUES (?, ?) RETURNING k", ("x", 1))
        assert (written.changes, written.rows, written.replica) == (1, (("x",),), "replica-1")
        await session.transaction([("UPDATE kv SET v = v + 1", ()), ("DELETE FROM kv WHERE k = ?", ("y",))])
        result = await session.read("SELECT v FROM kv", replica="replica-2")
        assert (result.rows, result.columns, result.replica) == (((2,),), ("v",), "replica-2")
        assert result.position > written.position
        report = await cluster.converged(timeout_s=10)
        assert report.ok, report.reason
        assert set(report.digests) == {"replica-1", "replica-2", "replica-3"}
        assert "kv" in report.digests["replica-3"]
        statuses = await cluster.replicas()
        assert [status.role for status in statuses] == ["leader", "follower", "follower"]
        assert {(status.term, status.last, status.durable, status.applied) for status in statuses} == {(1, 4, 4, 4)}


@pytest.mark.parametrize("log_format", FORMATS)
async def test_a_mistake_is_one_clear_line_and_harms_nobody(log_format: str) -> None:
    mistakes = {
        "SELEC 1": "syntax error",
        "INSERT INTO missing VALUES (1)": "no such table: missing",
        "BEGIN": "transaction",
        "COMMIT": "transaction",
        "SAVEPOINT s": "transaction control",
        "ATTACH 'other.db' AS other": "ATTACH",
        "SELECT load_extension('x')": "load_extension",
        "CREATE TEMP TABLE t (x)": "temporary",
        "PRAGMA journal_mode = delete": "journal_mode",
        "PRAGMA synchronous = off": "synchronous",
        "INSERT INTO kv VALUES (1, 2); DELETE FROM kv": "statement",
    }
    async with running(followers=1, log_format=log_format, ack=AckPolicy.sync()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        for sql, words in mistakes.items():
            with pytest.raises(StatementError) as caught:
                await session.write(sql)
            assert words.lower() in str(caught.value).lower(), f"{sql}: {caught.value}"
            assert "\n" not in str(caught.value)
        with pytest.raises(StatementError, match="read"):
            await session.read("INSERT INTO kv VALUES (1, 2)")
        with pytest.raises(StatementError, match="read"):
            await session.read("DELETE FROM kv RETURNING k", replica="replica-2")
        await session.write("INSERT INTO kv VALUES (1, 'kept')")
        assert (await session.read("SELECT * FROM kv")).rows == ((1, "kept"),)
        report = await cluster.converged()
        assert report.ok, report.reason


async def test_parameters_and_blobs_out_of_bounds_are_definite() -> None:
    async with running(followers=1, limits=Limits(transaction_bytes_max=10_000)) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        with pytest.raises(DefiniteError, match=r"10,?000"):
            await session.write("INSERT INTO kv VALUES (1, ?)", (bytes(20_000),))
        with pytest.raises(StatementError, match="parameter 1 is out of range"):
            await session.write("INSERT INTO kv VALUES (?, 1)", (2**63,))
        with pytest.raises(StatementError, match="parameter 2 is a set"):
            await session.write("INSERT INTO kv VALUES (?, ?)", (1, set()))  # type: ignore[arg-type]
        with pytest.raises(StatementError, match="not valid Unicode"):
            await session.write("INSERT INTO kv VALUES (1, ?)", ("\ud800",))
        assert (await session.read("SELECT count(*) FROM kv")).rows == ((0,),)


async def test_law_7_a_write_that_is_sent_many_times_takes_effect_once() -> None:
    async with running(followers=1, ack=AckPolicy.sync(), follower_delay_ms=150) as cluster:
        patient = await cluster.session()
        await patient.write("CREATE TABLE counter (n)")
        await patient.write("INSERT INTO counter VALUES (0)")
        hasty = await cluster.session(retry_s=0.02)
        for _ in range(3):
            await hasty.write("UPDATE counter SET n = n + 1")
        (leader, _) = await cluster.replicas()
        assert leader.counters["messages_in"] > 15, "the writes were sent again and again"
        assert (await patient.read("SELECT n FROM counter")).rows == ((3,),)


@pytest.mark.parametrize("log_format", FORMATS)
async def test_a_killed_follower_catches_up(log_format: str) -> None:
    async with running(followers=2, log_format=log_format, ack=AckPolicy.quorum()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        await session.write("INSERT INTO kv VALUES (0, 'before')")
        await cluster.kill("replica-3")
        for number in range(1, 30):
            await session.write("INSERT INTO kv VALUES (?, 'meanwhile')", (number,))
        statuses = await cluster.replicas()
        assert [status.role for status in statuses] == ["leader", "follower", "down"]
        assert not (await cluster.converged(timeout_s=0)).ok
        await cluster.restart("replica-3")
        report = await cluster.converged()
        assert report.ok, report.reason


async def test_sync_waits_for_a_dead_follower_and_the_client_is_told_that_it_may_have_happened() -> None:
    timing = Timing(ack_timeout_ms=300)
    async with running(followers=2, ack=AckPolicy.sync(), timing=timing) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY)")
        await cluster.kill("replica-2")
        with pytest.raises(IndefiniteError, match="sync waits for replica-2"):
            await session.write("INSERT INTO kv VALUES (1)")
        await cluster.restart("replica-2")
        await session.write("INSERT INTO kv VALUES (2)")
        assert (await session.read("SELECT k FROM kv ORDER BY k")).rows == ((1,), (2,))


async def test_a_corrupt_message_is_dropped_and_counted() -> None:
    async with running(followers=1) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY)")
        topics = Topics(cluster.cluster_id)
        async with await connect_mqtt(cluster.broker.url, identifier="vandal", handler=lambda batch: None) as vandal:
            for name in cluster.config.replica_names:
                for topic in (topics.replica_inbox(name), topics.replica_control(name), topics.log_of(name)):
                    vandal.publish(topic, b"\x01not a message")
        await session.write("INSERT INTO kv VALUES (1)")
        report = await cluster.converged()
        assert report.ok, report.reason
        assert [status.counters["bad_messages"] for status in await cluster.replicas()] == [3, 3]


async def test_a_torn_log_tail_is_fetched_again() -> None:
    async with running(followers=2, ack=AckPolicy.asynchronous()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        for number in range(20):
            await session.write("INSERT INTO kv VALUES (?, ?)", (number, "x" * 100))
        await cluster.converged()
        await cluster.kill("replica-2")
        directory = cluster.directory / "replicas" / "replica-2"
        (segment,) = (directory / "log").glob("*.log")
        with segment.open("ab") as file:
            file.write(b"a record that a power loss tore apart")
        await session.write("INSERT INTO kv VALUES (99, 'later')")
        await cluster.restart("replica-2")
        report = await cluster.converged()
        assert report.ok, report.reason
        assert "cut 37 bytes" in (cluster.logs / "replica-2.log").read_text()


async def test_a_truncated_log_is_refused_with_the_reason() -> None:
    async with running(followers=2, ack=AckPolicy.asynchronous()) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        await cluster.converged()
        await cluster.kill("replica-2")
        (segment,) = (cluster.directory / "replicas" / "replica-2" / "log").glob("*.log")
        with segment.open("r+b") as file:
            file.truncate(segment.stat().st_size - 5)
        with pytest.raises(
            ClusterError, match=r"replica-2 ended .*: the log in .* ends at entry 1, but entry 2 was durable"
        ):
            await cluster.restart("replica-2")
        await session.write("INSERT INTO kv VALUES (1, 'the leader goes on')")


async def test_a_full_disk_ends_the_follower_and_nobody_else() -> None:
    limits = Limits(disk_bytes_max=200_000)
    async with running(followers=2, ack=AckPolicy.quorum(), limits=limits) as cluster:
        session = await cluster.session(timeout_s=2)
        await session.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        acknowledged = 0

        async def write_until_refused() -> None:
            nonlocal acknowledged
            while True:
                await session.write("INSERT INTO kv VALUES (?, ?)", (acknowledged, "x" * 10_000))
                acknowledged += 1

        with pytest.raises((IndefiniteError, DefiniteError)):
            await write_until_refused()
        assert acknowledged >= 10
        down = [status for status in await cluster.replicas() if status.role == "down"]
        assert down, "all have the same small disk"
        assert all("the disk is full" in status.reason for status in down)


async def test_two_clusters_on_one_broker_do_not_hear_each_other() -> None:
    async with running(followers=1) as one, running(followers=1, broker=one.broker.url) as other:
        for number, cluster in enumerate((one, other)):
            session = await cluster.session()
            await session.write("CREATE TABLE kv (k)")
            await session.write("INSERT INTO kv VALUES (?)", (number,))
        for number, cluster in enumerate((one, other)):
            report = await cluster.converged()
            assert report.ok, report.reason
            session = await cluster.session()
            assert (await session.read("SELECT k FROM kv", replica="replica-2")).rows == ((number,),)


async def test_a_cluster_on_the_embedded_broker() -> None:
    async with running(followers=1, broker="amqtt", ack=AckPolicy.sync()) as cluster:
        assert cluster.broker.name == "amqtt"
        session = await cluster.session()
        await session.write("CREATE TABLE kv (k)")
        report = await cluster.converged()
        assert report.ok, report.reason


async def test_the_load_generator_records_every_operation() -> None:
    async with running(followers=1, follower_delay_ms=20) as cluster:
        for rate in (None, 200.0):
            load = LoadConfig(
                sessions=4, duration_s=0.5, warmup_s=0, rate_per_s=rate, keys=5, read_fraction=0.5, read_policy="any"
            )
            await cluster.prepare_load(load)
            operations = read_operations(await cluster.load(load, cell="c"))
            assert len(operations) >= 50
            assert set(operations["outcome"]) == {"ok"}
            assert set(operations["kind"]) == {"read", "write"}
            assert (operations["invoked_ns"] >= operations["intended_ns"]).all()
            assert (operations["completed_ns"] > operations["invoked_ns"]).all()
            assert set(operations[operations["kind"] == "write"]["replica"]) == {"replica-1"}
            assert operations["value"][operations["kind"] == "write"].is_unique


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"followers": -1}, "followers is -1"),
        ({"followers": 1, "ack": AckPolicy.semi_sync(2)}, "semi_sync:2 with 1 followers"),
        ({"log_format": "xml"}, "unknown log format 'xml'"),
        ({"page_size": 1000}, "page_size is 1000"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ClusterConfig(**options)


async def test_a_broker_that_is_not_there() -> None:
    with pytest.raises(Exception, match=r"broker at 127\.0\.0\.1:1") as caught:
        await Cluster(ClusterConfig(broker="mqtt://127.0.0.1:1")).start()
    assert "\n" not in str(caught.value)
