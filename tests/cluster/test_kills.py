"""Processes killed and paused at random moments under load: what was acknowledged stays, nothing else appears."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from workbench import AckPolicy, Cluster, ClusterConfig, Timing
from workbench.errors import IndefiniteError

ROUNDS = 6


@pytest.mark.parametrize(("log_format", "ack"), [("statement", "async"), ("wal", "quorum"), ("logical", "sync")])
async def test_whatever_is_killed_what_was_acknowledged_stays(log_format: str, ack: str) -> None:
    rng = random.Random(f"{log_format} {ack}")
    config = ClusterConfig(log_format=log_format, ack=AckPolicy.parse(ack), timing=Timing(ack_timeout_ms=1000))  # type: ignore[arg-type]
    acknowledged: set[int] = set()
    doubtful: set[int] = set()
    done = asyncio.Event()
    async with Cluster(config) as cluster:
        reader = await cluster.session()
        await reader.write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")

        async def write(first: int) -> None:
            session = await cluster.session(retry_s=0.2)
            key = first
            while not done.is_set():
                key += 1
                try:
                    await session.write("INSERT INTO kv VALUES (?, ?)", (key, "x" * rng.randrange(2000)))
                    acknowledged.add(key)
                except IndefiniteError:
                    doubtful.add(key)

        async with asyncio.TaskGroup() as writers:
            for number in range(4):
                writers.create_task(write(number * 1_000_000))
            for _ in range(ROUNDS):
                await asyncio.sleep(rng.random() * 0.1)
                name = rng.choice(cluster.config.replica_names)
                if rng.random() < 0.7:
                    await cluster.kill(name)
                    await cluster.restart(name)
                else:
                    await cluster.pause(name)
                    await asyncio.sleep(rng.random() * 0.3)
                    await cluster.resume(name)
            done.set()
        report = await cluster.converged()
        assert report.ok, report.reason
        rows = {row[0] for row in (await reader.read("SELECT k FROM kv")).rows}
        assert len(acknowledged) > 20
        dropped = "".join(path.read_text() for path in cluster.rollbacks())
        lost = {key for key in acknowledged - rows if not re.search(rf"\b{key}\b", dropped)}
        assert not lost, "acknowledged writes were lost in silence"
        assert ack == "async" or acknowledged <= rows, "an acknowledged write was lost"
        assert rows <= acknowledged | doubtful, "a write appeared that nobody was told of"
