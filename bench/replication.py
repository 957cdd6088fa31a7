"""How fast is the replication on this machine? Start-up, memory, throughput and latency of a real cluster.

    python bench/replication.py [--seconds 5] [--repeat 3] [--json]

Throughput: 32 sessions in a closed loop, one 100-byte INSERT each, `sync/applied`, two followers, an fsync on every
replica; the client process coalesces what its sessions send in one turn of its loop (a client a connection, as
pgbench has, does not). Latency: the same with one session. Repeated, alternating between the log formats; medians and
the range are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from workbench import AckPolicy, Cluster, ClusterConfig
from workbench.client.load import LoadConfig
from workbench.config import LOG_FORMATS
from workbench.history import read_operations

WARMUP_S = 0.5


async def measure_load(cluster: Cluster, sessions: int, seconds: float) -> dict[str, float]:
    """Writes a second and latency percentiles (ms) of acknowledged writes after the warm-up."""
    load = LoadConfig(sessions=sessions, read_fraction=0, duration_s=seconds, warmup_s=WARMUP_S, workload="inserts")
    await cluster.prepare_load(load)
    operations = read_operations(await cluster.load(load))
    counted = operations[(operations["outcome"] == "ok") & (operations["invoked_ns"] >= WARMUP_S * 1e9)]
    span_s = (counted["completed_ns"].max() - WARMUP_S * 1e9) / 1e9
    latency_ms = (counted["completed_ns"] - counted["invoked_ns"]).astype("float64") / 1e6
    return {
        "writes_per_s": len(counted) / span_s,
        "p50_ms": latency_ms.quantile(0.5),
        "p99_ms": latency_ms.quantile(0.99),
    }


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    output = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(output) / 1024


async def measure_format(log_format: str, seconds: float, broker: str | None) -> dict[str, float]:
    """One cluster of three replicas: start-up, idle memory, then both loads."""
    began = time.perf_counter()
    config = ClusterConfig(followers=2, log_format=log_format, ack=AckPolicy.sync(), broker=broker)  # type: ignore[arg-type]
    async with Cluster(config) as cluster:
        figures = {"ready_s": time.perf_counter() - began}
        figures["replica_idle_mb"] = max(resident_mb(process.pid) for process in cluster.processes)
        for sessions in (1, 32):
            for name, value in (await measure_load(cluster, sessions, seconds)).items():
                figures[f"sessions_{sessions}_{name}"] = value
        report = await cluster.converged(timeout_s=30)
        assert report.ok, report.reason
    return figures


def import_seconds() -> float:
    """How long `import workbench` takes in a new interpreter, beyond starting it."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(run("import workbench") - run("pass") for _ in range(5))


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--repeat", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--broker", default=None, help="as for workbench run")
    parser.add_argument("--json", action="store_true", help="print raw figures as JSON")
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in LOG_FORMATS}
    for _ in range(arguments.repeat):
        for name in LOG_FORMATS:
            runs[name].append(asyncio.run(measure_format(name, arguments.seconds, arguments.broker)))
    result: dict[str, Any] = {"import_s": import_seconds(), "cores": os.cpu_count(), "runs": runs}
    result["peak_bench_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"import workbench: {result['import_s']:.3f} s; {result['cores']} cores")
    print(f"{'':32}" + "".join(f"{name:>26}" for name in LOG_FORMATS))
    for figure in runs[LOG_FORMATS[0]][0]:
        cells = []
        for name in LOG_FORMATS:
            values = [run[figure] for run in runs[name]]
            cells.append(f"{statistics.median(values):.4g} ({min(values):.4g}..{max(values):.4g})")
        print(f"{figure:32}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    main()
