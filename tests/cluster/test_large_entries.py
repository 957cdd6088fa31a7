"""Writes that are too long for one message of any broker: they take their time, and hurt nobody."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.cluster.cluster import Cluster
from workbench.config import LOG_FORMATS, ClusterConfig, Limits, LogFormatName
from workbench.errors import StatementError

MB = 1024 * 1024
SIZE = 20 * MB


def config(log_format: LogFormatName = "logical", **limits: Any) -> ClusterConfig:
    return ClusterConfig(log_format=log_format, limits=Limits(**limits))


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_large_blob_reaches_every_replica_and_nobody_takes_its_leader_for_dead(
    log_format: LogFormatName,
) -> None:
    async with Cluster(config(log_format, transaction_bytes_max=2 * SIZE)) as cluster:
        session = await cluster.session(timeout_s=60)
        await session.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
        await session.write("INSERT INTO t VALUES (1, ?)", (bytes(range(256)) * (SIZE // 256),))
        await session.write("INSERT INTO t VALUES (2, 'behind it')")
        report = await cluster.converged(timeout_s=60)
        assert report.ok, report.reason
        statuses = await cluster.replicas()
        assert sum(status.counters["elections"] for status in statuses) == 1
        assert all(status.counters["log_bytes"] > SIZE for status in statuses)
        assert not any("receiving" in status.notes for status in statuses)


async def test_what_is_longer_than_the_limits_is_refused_in_one_line() -> None:
    async with Cluster(config(transaction_bytes_max=2 * MB, entry_bytes_max=MB)) as cluster:
        session = await cluster.session(timeout_s=60)
        await session.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
        with pytest.raises(StatementError, match=r"the transaction has 3\d+ bytes of SQL and parameters"):
            await session.write("INSERT INTO t VALUES (1, ?)", (bytes(3 * MB),))
        with pytest.raises(
            StatementError, match=r"too much was written at once: \d+ bytes for the log, at most 1048576"
        ):
            await session.write("INSERT INTO t VALUES (1, zeroblob(1500000))")
        assert (await session.write("INSERT INTO t VALUES (1, x'00')")).changes == 1
