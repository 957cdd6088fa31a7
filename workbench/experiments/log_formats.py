"""What exactly does the leader send? Statements, pages or rows: what each costs, and which keep replicas equal.

For each log format, on a cluster of its own: single-row writes under load, with the bytes and the time that each
took; then statements whose result depends on where or when they run. `random()` gives other values on every
replica. `CURRENT_TIMESTAMP` has a resolution of one second, so the followers hear of those statements more than a
second late. What the replicas hold is compared by digests of their rows, never by what a format promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.checkers.verdict import Verdict
from workbench.client.load import LoadConfig
from workbench.config import LOG_FORMATS, AckPolicy, Timing
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import (
    CONVERGENCE_TIMEOUT_S,
    MeasuredLoad,
    all_operations,
    cell_name,
    cell_seed,
    claim,
    convergence_verdict,
    invariants,
    latency_row,
    lost_writes_verdict,
    measure_load,
    started_cluster,
)
from workbench.experiments.parameters import parameter

if TYPE_CHECKING:
    from workbench.cluster.cluster import Cluster

CLOCK_DELAY_MS = 1_200.0
"""More than the resolution of CURRENT_TIMESTAMP: whatever the moment, the follower's clock shows another second."""

_STATEMENTS = {
    "deterministic": ("constant_values", "INSERT INTO constant_values(value) VALUES (42)"),
    "random": ("random_values", "INSERT INTO random_values(value) VALUES (random())"),
    "current_time": ("current_times", "INSERT INTO current_times(value) VALUES (CURRENT_TIMESTAMP)"),
}
"""Cause of divergence -> (table, statement)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    log_format: tuple[str, ...] = parameter(LOG_FORMATS, help="Log formats to compare.", choices=LOG_FORMATS)
    followers: int = parameter(2, help="Followers of the leader.", low=1, high=7)
    ack: str = parameter(
        "quorum", help="When a write is acknowledged.", choices=("async", "quorum", "sync"), check=AckPolicy.parse
    )
    sessions: int = parameter(8, help="Sessions that write at once.", low=1, high=256)
    duration_s: float = parameter(2.0, help="How long each format is loaded.", unit="s", low=0.2, high=600)
    warmup_s: float = parameter(
        0.3, help="Part of each load, before the duration, that no latency counts.", unit="s", low=0, high=60
    )
    keys: int = parameter(1_000, help="Rows that the writes choose from.", low=1, high=100_000)
    value_bytes: int = parameter(100, help="Size of the value in each row.", unit="bytes", low=0, high=1_000_000)
    unsafe_writes: int = parameter(5, help="Statements of each nondeterministic kind.", low=1, high=10_000)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Measure every format, one after the other."""
    loads: list[MeasuredLoad] = []
    summary: list[Row] = []
    convergence: list[Row] = []
    for place, log_format in enumerate(parameters.log_format):
        context.progress(place / len(parameters.log_format), f"log format {log_format}")
        async with started_cluster(
            context,
            log_format,
            followers=parameters.followers,
            log_format=log_format,
            ack=AckPolicy.parse(parameters.ack),
            timing=Timing.for_delay(CLOCK_DELAY_MS),
        ) as cluster:
            load = await measure_load(
                cluster, _load(parameters, context.seed, log_format), cell_name(log_format=log_format)
            )
            loads.append(load)
            summary.append(_cost_row(log_format, load))
            convergence += await _compare_replicas(cluster, log_format, parameters.unsafe_writes)
    context.progress(1.0, "judging")
    converged = convergence_verdict(loads)
    lost = lost_writes_verdict(loads)
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={"convergence": convergence},
        verdicts=judge(summary, convergence),
        checks={"convergence": converged, "lost_writes": lost},
        invariants=invariants(loads),
    )


def _load(parameters: Parameters, seed: int, log_format: str) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=0.0,
        rate_per_s=None,
        duration_s=parameters.duration_s,
        warmup_s=parameters.warmup_s,
        keys=parameters.keys,
        value_bytes=parameters.value_bytes,
        read_policy="leader",
        seed=cell_seed(seed, log_format),
    )


def _cost_row(log_format: str, load: MeasuredLoad) -> Row:
    """Growth of the counters divided by the writes that caused it."""
    leader = load.growth[load.leader]
    writes, entries = leader["members"], leader["entries"]
    followed = load.follower_growth("members")

    def per(total: float, count: float) -> float:
        return total / count if count else float("nan")

    return latency_row(load, "write") | {
        "cell": load.cell,
        "log_format": log_format,
        "writes": writes,
        "entries": entries,
        "writes_per_entry": per(writes, entries),
        "body_bytes_per_write": per(leader["body_bytes"], writes),
        "log_bytes_per_write": per(leader["log_bytes"], writes),
        "leader_execute_us_per_write": per(leader["execute_ns"], writes) / 1_000,
        "follower_apply_us_per_write": per(load.follower_growth("apply_ns"), followed) / 1_000,
        "leader_syncs_per_entry": per(leader["syncs"], entries),
        "follower_syncs_per_entry": per(load.follower_growth("syncs"), load.follower_growth("entries")),
        "leader_sync_us_per_sync": per(leader["sync_ns"], leader["syncs"]) / 1_000,
    }


async def _compare_replicas(cluster: Cluster, log_format: str, writes: int) -> list[Row]:
    """Run each kind of statement, let everything be applied, then compare the tables of all replicas."""
    session = await cluster.session(read_policy="leader")
    for table, _ in _STATEMENTS.values():
        await session.write(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, value)")
    for cause in ("deterministic", "random"):
        for _ in range(writes):
            await session.write(_STATEMENTS[cause][1])
    await cluster.set_link_delay(CLOCK_DELAY_MS)
    await session.transaction([(_STATEMENTS["current_time"][1], ())] * writes)
    report = await cluster.converged(timeout_s=CONVERGENCE_TIMEOUT_S)
    await cluster.set_link_delay(0)
    rows = []
    for cause, (table, _) in _STATEMENTS.items():
        digests = {name: tables.get(table, "") for name, tables in report.digests.items()}
        examples = await _first_values(session, table, digests)
        rows.append(_comparison(log_format, cause, writes, digests, examples))
    return rows


async def _first_values(session: Any, table: str, replicas: Sequence[str] | dict[str, str]) -> dict[str, str]:
    """The first value that each replica holds: what a reader sees of equal or different replicas."""
    values = {}
    for name in replicas:
        result = await session.read(f"SELECT value FROM {table} ORDER BY id LIMIT 1", replica=name)
        values[name] = str(result.rows[0][0]) if result.rows else "no row"
    return values


def _comparison(log_format: str, cause: str, writes: int, digests: dict[str, str], examples: dict[str, str]) -> Row:
    """One row of the matrix. Too few digests prove nothing."""
    if len(digests) < 2 or not all(digests.values()):
        outcome = "unknown"
    else:
        outcome = "converged" if len(set(digests.values())) == 1 else "diverged"
    return {
        "log_format": log_format,
        "cause": cause,
        "outcome": outcome,
        "statements": writes,
        "different_states": len(set(digests.values())),
        "example": _example(examples),
    }


def _example(values: dict[str, str]) -> str:
    if len(set(values.values())) == 1:
        return f"every replica: {next(iter(values.values()))}"
    return ", ".join(f"{name}: {value}" for name, value in values.items())


_EXPECTED = {
    "statement_diverges_under_random": ("statement", ("random",), "diverged"),
    "statement_diverges_under_current_time": ("statement", ("current_time",), "diverged"),
    "logical_converges_under_both": ("logical", ("random", "current_time"), "converged"),
    "wal_converges_under_both": ("wal", ("random", "current_time"), "converged"),
}


def judge(summary: Sequence[Row], convergence: Sequence[Row]) -> dict[str, Verdict]:
    """The claims about the formats that were measured."""
    outcomes = {(row["log_format"], row["cause"]): row for row in convergence}
    verdicts = {}
    for name, (log_format, causes, expected) in _EXPECTED.items():
        cells = {cause: outcomes[log_format, cause] for cause in causes if (log_format, cause) in outcomes}
        if cells:
            verdicts[name] = claim({cause: _expect(row, expected) for cause, row in cells.items()})
    plain = {row["log_format"]: _expect(row, "converged") for row in convergence if row["cause"] == "deterministic"}
    verdicts["all_converge_when_deterministic"] = claim(plain)
    needed = EXPERIMENT.minimums["writes"]
    verdicts["every_format_was_loaded"] = claim(
        {
            row["log_format"]: Verdict.valid(f"{row['writes']:,} writes", writes=row["writes"]).needing(
                "writes", needed
            )
            for row in summary
        }
    )
    return verdicts


def _expect(row: Row, expected: str) -> Verdict:
    seen = f"{row['statements']} statements, {row['outcome']} ({row['example']})"
    if row["outcome"] == "unknown":
        return Verdict.unknown("the replicas could not be compared")
    return Verdict.expect(row["outcome"] == expected, seen, statements=row["statements"])


EXPERIMENT = Experiment(
    name="log_formats",
    number="04",
    question="What exactly does the leader send?",
    parameters=Parameters,
    profiles={
        "ci": {"duration_s": 0.5, "warmup_s": 0.1},
        "quick": {"duration_s": 2.0},
        "full": {"duration_s": 20.0, "warmup_s": 2.0, "sessions": 32, "keys": 10_000, "unsafe_writes": 100},
    },
    conduct=conduct,
    claims={
        "statement_diverges_under_random": "Copied statements that call random() leave other values on each replica.",
        "statement_diverges_under_current_time": "Copied statements that ask for the current time leave other values "
        "on a replica that runs them a second later.",
        "logical_converges_under_both": "The logical log carries the rows themselves: replicas stay equal under both.",
        "wal_converges_under_both": "The write-ahead log carries the pages themselves: replicas stay equal under both.",
        "all_converge_when_deterministic": "Where statements use constants only, every format keeps replicas equal.",
        "every_format_was_loaded": "Each format carried enough writes for its costs to mean something.",
    },
    minimums={"writes": 50},
)
