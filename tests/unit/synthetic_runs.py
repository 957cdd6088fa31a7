"""Small invented runs of each experiment, for tests of charts and reports: written as folders, as real ones are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.unit.synthetic_accidental import accidental_failover_run
from tests.unit.synthetic_failover import failover_run
from tests.unit.synthetic_folder import Row, write
from tests.unit.synthetic_followers import follower_crash_run, new_follower_run
from tests.unit.synthetic_log_formats import log_formats_run
from tests.unit.synthetic_scale import scale_run
from tests.unit.synthetic_sessions import session_guarantees_run
from tests.unit.synthetic_simulator import simulator_run
from tests.unit.synthetic_split_brain import split_brain_run
from tests.unit.synthetic_trade_off import trade_off_run
from workbench.results import RunFolder


def write_latency_run(root: Path, *, empty: bool = False) -> RunFolder:
    """Under sync and quorum a write waits for the delay, under async it does not."""
    random = np.random.default_rng(1)
    summary, latencies = [], []
    for ack, delay in itertools.product(("async", "semi_sync:1", "quorum", "sync", "sync/durable"), (0.0, 20.0)):
        base = {"async": 0.6, "sync": 1.1}.get(ack, 0.9)
        values = base * random.lognormal(0, 0.35, 200) + (0 if ack == "async" else delay)
        cell = f"ack={ack}, followers=2, follower_delay_ms={delay:g}"
        percentiles = {f"latency_ms_p{p}": float(np.percentile(values, p)) for p in (50, 90, 99)}
        summary.append(
            {
                "cell": cell,
                "ack": ack,
                "followers": 2,
                "follower_delay_ms": delay,
                "writes": 0 if empty else 200,
                "achieved_rate_per_s": 199.0,
                **percentiles,
            }
        )
        latencies += [{"cell": cell, "latency_ms": float(value)} for value in values]
    tables = {} if empty else {"latencies": latencies}
    return write(root, "write_latency", "How long does a write wait for its followers?", summary, tables, empty=empty)


def stale_reads_run(root: Path, *, empty: bool = False, unknown: bool = False) -> RunFolder:
    """Reads of any replica grow stale with the delay; reads of the leader never do. `unknown`: reads, no writes."""
    random = np.random.default_rng(2)
    summary: list[Row] = []
    by_replica: list[Row] = []
    ages: list[Row] = []
    bins: list[Row] = []
    curve: list[Row] = []
    for ack, policy, delay in itertools.product(("async", "sync"), ("leader", "sticky", "any"), (0.0, 10.0, 40.0)):
        known = 0.0 if policy == "leader" else 0.004 + delay / 150
        acknowledged = 0.0 if ack == "sync" else known
        cell: Row = {"ack": ack, "read_policy": policy, "follower_delay_ms": delay}
        rates = {"stale_rate": known, "stale_rate_acknowledged": acknowledged}
        bounds = {f"{name}_low": max(rate - 0.01, 0) for name, rate in rates.items()}
        bounds |= {f"{name}_high": rate + 0.012 for name, rate in rates.items()}
        if empty or unknown:
            rates, acknowledged = dict.fromkeys(rates, float("nan")), 0.0
        predicted = {
            "predicted_stale_rate": float("nan") if unknown else acknowledged * 1.1,
            "second_half_stale_rate": float("nan") if unknown else acknowledged,
            "second_half_reads": 320,
            "prediction_error": float("nan") if unknown else acknowledged * 0.1,
            "prediction_curve_error": 0.02,
            "apply_lag_ms_p50": delay,
            "apply_lag_ms_p99": delay + 5,
        }
        summary.append({**cell, "cell": str(cell), "reads": 0 if empty else 640, **rates, **bounds, **predicted})
        if not unknown:
            curve += [{**cell, "age_ms": age, "predicted_stale_rate": 0.6 * (age < delay)} for age in range(60)]
            bins += [
                {**cell, "age_ms": age, "stale_rate": rate, "stale_rate_low": rate * 0.8, "stale_rate_high": rate + 0.1}
                for age, rate in ((at + 0.5, 0.58 * (at < delay) * (ack == "async")) for at in range(0, 60, 6))
            ]
        for replica in ("replica-1", "replica-2", "replica-3"):
            rate = float("nan") if unknown else 0.0 if replica == "replica-1" else acknowledged * 1.4
            reads = 0 if policy == "leader" and replica != "replica-1" else 210
            role = "leader" if replica == "replica-1" else "follower"
            by_replica.append(
                {**cell, "replica": replica, "role": role, "reads": reads, "stale_rate_acknowledged": rate}
            )
        count = int(640 * acknowledged)
        ages += [{**cell, "age_ms": float(age)} for age in random.uniform(0, delay + 3, count)]
    predictions = {"prediction": bins, "prediction_curve": curve} if bins else {}
    tables = {} if empty else {"by_replica": by_replica, "ages": ages, **predictions}
    return write(root, "stale_reads", "How often does a read return the past?", summary, tables, empty=empty)


RUNS: dict[str, Callable[..., RunFolder]] = {
    "log_formats": log_formats_run,
    "write_latency": write_latency_run,
    "stale_reads": stale_reads_run,
    "session_guarantees": session_guarantees_run,
    "new_follower": new_follower_run,
    "follower_crash": follower_crash_run,
    "failover": failover_run,
    "split_brain": split_brain_run,
    "trade_off": trade_off_run,
    "simulator": simulator_run,
    "scale": scale_run,
    "accidental_failover": accidental_failover_run,
}
