#!/usr/bin/env python3
"""Long runs of a real cluster, in which nothing may go wrong: `soak.py idle|load|kills`.

    python bench/soak.py idle --minutes 10
        Nobody writes: no election may happen.
    python bench/soak.py load --minutes 10
        As many writes as possible, and an UPDATE of a million rows now and then: no election may happen, and the memory
        of the replicas must stay flat.
    python bench/soak.py kills --count 100
        SIGKILL random replicas under load: all must agree at the end, and nothing acknowledged may be lost.

Prints what it saw; the exit code is 1 when something went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workbench import AckPolicy, Cluster, ClusterConfig
from workbench.client.load import LoadConfig
from workbench.client.session import Session
from workbench.errors import DefiniteError, IndefiniteError
from workbench.history import read_operations

BIG_ROWS = 1_000_000
WRITERS = 8


def memory_mb(cluster: Cluster) -> dict[str, float]:
    """Resident memory of each replica."""
    pids = {process.name: process.pid for process in cluster.processes if process.name.startswith("replica")}
    command = ["ps", "-o", "rss=", "-p", ",".join(map(str, pids.values()))]
    sizes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {name: int(size) / 1024 for name, size in zip(sorted(pids, key=pids.__getitem__), sizes, strict=True)}


async def elections(cluster: Cluster) -> int:
    """How many times anybody stood for election, the first one apart."""
    return sum(status.counters["elections"] for status in await cluster.replicas()) - 1


async def steady(config: ClusterConfig, minutes: float, *, loaded: bool) -> bool:
    """Whether a cluster that nobody disturbs kept its leader."""
    async with Cluster(config) as cluster:
        load = LoadConfig(sessions=32, duration_s=60 * minutes, read_fraction=0.2, keys=10_000, timeout_s=60)
        await cluster.prepare_load(load)
        if loaded:
            await make_big_table(cluster)
        task = asyncio.create_task(cluster.load(load) if loaded else asyncio.sleep(60 * minutes))
        while not task.done():
            await asyncio.wait([task], timeout=30)
            sizes = "  ".join(f"{name} {size:.0f} MB" for name, size in sorted(memory_mb(cluster).items()))
            print(f"{time.strftime('%H:%M:%S')}  elections {await elections(cluster)}  {sizes}", flush=True)
            if loaded and not task.done():
                await update_big_table(cluster)
        path = await task
        report = await cluster.converged(timeout_s=60)
        if path is not None:
            operations = read_operations(path)
            outcomes = operations["outcome"].value_counts().to_dict()
            print(f"{len(operations):,} operations: {outcomes}; converged: {report.ok} {report.reason}")
        return report.ok and await elections(cluster) == 0


async def make_big_table(cluster: Cluster) -> None:
    """A table of a million rows."""
    session = await cluster.session(timeout_s=120)
    await session.write("CREATE TABLE big (id INTEGER PRIMARY KEY, value INTEGER)")
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) SELECT x, 0 FROM n"
    await session.write(f"INSERT INTO big {numbers}", (BIG_ROWS,))


async def update_big_table(cluster: Cluster) -> None:
    """Change every row of it at once."""
    began = time.monotonic()
    session = await cluster.session(timeout_s=120)
    try:
        result = await session.write("UPDATE big SET value = value + 1")
        print(f"          an UPDATE of {result.changes:,} rows took {time.monotonic() - began:.1f} s", flush=True)
    except (DefiniteError, IndefiniteError) as error:
        print(f"          an UPDATE of {BIG_ROWS:,} rows: {error}", flush=True)


async def kills(config: ClusterConfig, count: int, seed: int) -> bool:
    """Whether a cluster whose replicas are killed again and again lost nothing that it had acknowledged."""
    rng = random.Random(seed)
    acknowledged: set[int] = set()
    async with Cluster(config) as cluster:
        await (await cluster.session()).write("CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
        sessions = [await cluster.session(timeout_s=30) for _ in range(WRITERS)]
        writers = [
            asyncio.create_task(write(session, number * 10_000_000, acknowledged))
            for number, session in enumerate(sessions)
        ]
        for number in range(count):
            await asyncio.sleep(rng.random() * 0.5)
            name = rng.choice(cluster.names)
            await cluster.kill(name)
            await asyncio.sleep(rng.random() * 0.3)
            await cluster.restart(name)
            if number % 10 == 9:
                print(f"{number + 1} kills, {len(acknowledged):,} writes acknowledged", flush=True)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        report = await cluster.converged(timeout_s=60)
        rows = (await (await cluster.session()).read("SELECT k FROM kv LIMIT 100000")).rows
        present = {int(str(key)) for (key,) in rows}
        (term,) = {status.term for status in await cluster.replicas()}
        lost = acknowledged - present
        print(
            f"{count} kills, {term - 1} changes of leader, {len(acknowledged):,} writes acknowledged, {len(lost)} lost"
        )
        print(f"converged: {report.ok} {report.reason}; files in rollback/: {len(cluster.rollbacks())}")
        return report.ok and not lost


async def write(session: Session, first: int, acknowledged: set[int]) -> None:
    """Write rows until cancelled; some 30 a second, so that all of them can be read back at once."""
    key = first
    while True:
        key += 1
        try:
            await session.write("INSERT INTO kv VALUES (?, 'x')", (key,))
            acknowledged.add(key)
        except (IndefiniteError, DefiniteError):
            pass
        await asyncio.sleep(0.03)


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("idle", "load", "kills"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-format", default="logical", choices=("statement", "wal", "logical"))
    parser.add_argument("--ack", default="quorum")
    given = parser.parse_args()
    config = ClusterConfig(log_format=given.log_format, ack=AckPolicy.parse(given.ack))
    if given.what == "kills":
        fine = asyncio.run(kills(config, given.count, given.seed))
    else:
        fine = asyncio.run(steady(config, given.minutes, loaded=given.what == "load"))
    print("fine" if fine else "NOT fine")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
