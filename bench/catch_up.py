#!/usr/bin/env python3
"""How fast does a follower that was away catch up? `python bench/catch_up.py [log format ...]`, all by default.

One follower is killed, one row an entry is written for 18 s, the load ends, and the follower comes back. Entries a
second count from its first question to the moment at which it has applied everything.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workbench import Cluster, ClusterConfig, Limits
from workbench.client.load import LoadConfig
from workbench.config import LOG_FORMATS

AWAY = "replica-3"


async def measure(log_format: str) -> str:
    """One line of figures."""
    limits = Limits(group_transactions_max=1)
    async with Cluster(ClusterConfig(log_format=log_format, limits=limits)) as cluster:  # type: ignore[arg-type]
        load = LoadConfig(sessions=32, duration_s=18, read_fraction=0, workload="inserts")
        await cluster.prepare_load(load)
        await cluster.kill(AWAY)
        await cluster.load(load)
        await cluster.restart(AWAY)
        report = await cluster.converged(timeout_s=60)
        (status,) = [one for one in await cluster.replicas() if one.name == AWAY]
        entries = status.last - int(status.notes["started"].partition(".")[2])
        seconds = (status.counters["caught_up_ns"] - status.counters["fetch_begun_ns"]) / 1e9
        twice = status.counters["entries_sent_twice"]
        return (
            f"{log_format:10} {entries:,} entries in {seconds:.2f} s: {entries / seconds:,.0f} a second; "
            f"{twice} sent twice; converged: {report.ok} {report.reason}"
        )


if __name__ == "__main__":
    for name in sys.argv[1:] or LOG_FORMATS:
        print(asyncio.run(measure(name)), flush=True)
