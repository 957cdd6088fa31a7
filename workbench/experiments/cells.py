"""What the experiments share: starting the cluster of a cell, putting a load on it, counting what it cost.

A cell is one combination of parameter values. Cells that differ in nothing that a running cluster cannot change
(the delay of its followers, where reads go) share one cluster, since starting processes takes longer than most
measurements; each still begins from a converged cluster and a table of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.checkers import Verdict, convergence, lost_writes
from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster
from workbench.config import AckPolicy, ClusterConfig
from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Row
from workbench.history import operations_frame, read_operations
from workbench.metrics import after_warm_up, latency_summary, rate_summary
from workbench.operation_rows import read_rows_header

if TYPE_CHECKING:
    from workbench.cluster.cluster import ConvergenceReport, ReplicaStatus

CONVERGENCE_TIMEOUT_S = 15.0
REASONS_MAX = 4
COUNTERS = (
    "entries",
    "members",
    "body_bytes",
    "log_bytes",
    "syncs",
    "execute_ns",
    "apply_ns",
    "sync_ns",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
)
"""The cumulative counters of a replica's status whose growth over a load is what the load cost."""


def cell_name(**values: object) -> str:
    """The label of a cell in the table of operations: `ack=sync, follower_delay_ms=20`."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )


def cell_seed(seed: int, name: str) -> int:
    """A seed for one cell: it depends on the run's seed and the cell's name, not on which cells ran before it."""
    return random.Random(f"{seed}/{name}").randrange(2**31)


def check_ack(ack: str, followers: int) -> None:
    """Raise `ConfigurationError` now, rather than in the middle of a run, for a policy that could never be met."""
    policy = AckPolicy.parse(ack)
    if policy.count > followers:
        raise ConfigurationError(
            f"ack policy {ack} with {followers} followers", hint="it could never be met; add followers"
        )


@contextlib.asynccontextmanager
async def started_cluster(context: Context, name: str, **options: Any) -> AsyncIterator[Cluster]:
    """A running cluster whose files and logs lie in the run's directory under `name`; notes what the broker is."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in name)
    directory = context.directory / safe
    directory.mkdir(parents=True, exist_ok=True)
    options.setdefault("seed", cell_seed(context.seed, name))
    config = ClusterConfig(broker=context.broker, directory=directory, **options)
    async with Cluster(config, context.host) as cluster:
        broker = cluster.broker
        context.notes["broker"] = {"name": broker.name, "version": broker.version, "settings": broker.settings}
        yield cluster


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLoad:
    """What one load did: every operation, and how far each replica's counters moved."""

    cell: str
    config: LoadConfig
    operations: pd.DataFrame
    growth: Mapping[str, Mapping[str, int]]
    """Replica -> counter -> growth, up to the moment at which all followers had applied everything."""
    leader: str
    converged: ConvergenceReport
    final: Mapping[str, Mapping[str, int]]
    """Replica -> key -> value at the end."""
    start_ns: int = 0
    """What the host's monotonic clock showed at time 0 of the operations."""

    @property
    def measured(self) -> pd.DataFrame:
        """The operations meant to start after the warm-up."""
        return after_warm_up(self.operations, self.config.warmup_s)

    def follower_growth(self, counter: str) -> float:
        """Growth of a counter, as the mean of the followers; nan without followers."""
        values = [growth[counter] for name, growth in self.growth.items() if name != self.leader]
        return sum(values) / len(values) if values else float("nan")


async def measure_load(cluster: Cluster, config: LoadConfig, cell: str) -> MeasuredLoad:
    """Run one load on a converged cluster and wait until its followers have applied it."""
    await cluster.prepare_load(config)
    session = await cluster.session(read_policy="leader")
    await cluster.converged(timeout_s=CONVERGENCE_TIMEOUT_S)
    before = await cluster.replicas()
    path = await cluster.load(config, cell=cell)
    report = await cluster.converged(timeout_s=CONVERGENCE_TIMEOUT_S)
    after = await cluster.replicas()
    final = {}
    for status in after:
        result = await session.read("SELECT key, value FROM registers", replica=status.name)
        final[status.name] = {str(key): int(str(value)) for key, value in result.rows}
    return MeasuredLoad(
        cell=cell,
        config=config,
        operations=read_operations(path),
        start_ns=read_rows_header(path).start_ns,
        growth=_growth(before, after),
        leader=next((status.name for status in after if status.role == "leader"), ""),
        converged=report,
        final=final,
    )


def _growth(before: Iterable[ReplicaStatus], after: Iterable[ReplicaStatus]) -> dict[str, dict[str, int]]:
    old = {status.name: status for status in before}
    return {
        status.name: {counter: status.counters[counter] - old[status.name].counters[counter] for counter in COUNTERS}
        for status in after
        if status.counters and old[status.name].counters  # a replica that is down has none
    }


def all_operations(loads: Sequence[MeasuredLoad]) -> pd.DataFrame:
    """The operations of all cells as one table, each operation with a number of its own."""
    if not loads:
        return operations_frame([])
    frame = pd.concat([load.operations for load in loads], ignore_index=True)
    frame["operation"] = range(len(frame))
    return frame


def records(frame: pd.DataFrame) -> list[Row]:
    """The rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict(orient="records")]


def latency_row(load: MeasuredLoad, kind: str) -> Row:
    """Columns of the summary about the operations of one kind after the warm-up.

    `latency_ms_...` count from the intended start, `latency_from_send_ms_...` from the actual one. The rates are of all
    operations together: the load has one rate.
    """
    operations = load.measured[load.measured["kind"] == kind]
    row: Row = {f"{kind}s": 0, "failed": 0, "indefinite": 0}
    for figures in records(latency_summary(operations, by=("cell",))):
        counts = {f"{kind}s": figures["count"], "failed": figures["failed"], "indefinite": figures["indefinite"]}
        prefix = "latency_ms" if figures["start"] == "intended" else "latency_from_send_ms"
        names = [name for name in figures if name.startswith("latency_ms")]
        row |= counts | {name.replace("latency_ms", prefix, 1): figures[name] for name in names}
    return row | rate_columns(load.measured)


def rate_columns(operations: pd.DataFrame) -> Row:
    """Columns of the summary about the rate of one cell's operations, and whether the load was kept up."""
    for rates in records(rate_summary(operations)):
        return {
            "target_rate_per_s": rates["target_per_s"],
            "achieved_rate_per_s": rates["achieved_per_s"],
            "target_met": rates["target_met"],
        }
    return {}


def kept_up(verdict: Verdict, *rates: Row) -> Verdict:
    """Unknown instead of invalid where a load was not kept up: a queue was measured then, not what is claimed.

    Not for what must hold on a slow machine, too. `rates`: rows with the columns of `rate_columns`, where known.
    """
    late = next((row for row in rates if not row.get("target_met", True)), None)
    if late is None or verdict.status != "invalid":
        return verdict
    achieved, target = late["achieved_rate_per_s"], late["target_rate_per_s"]
    reason = f"only {achieved:.0f} of {target:.0f} operations a second were kept up; {verdict.reason}"
    return replace(verdict, status="unknown", reason=reason, witness=())


def claim(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Whether a claim holds in all of its cells and in each, what was seen in a few, and the sums of their counts."""
    judged = Verdict.all(verdicts)
    reason = judged.reason
    if judged.status == "valid":
        seen = [f"{name}: {verdict.reason}" for name, verdict in list(verdicts.items())[:REASONS_MAX]]
        more = len(verdicts) - len(seen)
        reason = "; ".join([*seen, *([f"and {more} more"] if more else [])])
    parts = {name: verdict.status for name, verdict in verdicts.items()}
    return replace(judged, reason=reason, counts=_sum_counts(verdicts.values()), parts=parts)


def convergence_verdict(loads: Sequence[MeasuredLoad]) -> Verdict:
    """Whether the replicas were equal after every load."""
    judged = Verdict.all({load.cell: _convergence(load) for load in loads})
    if judged.status != "valid":
        return judged
    return replace(judged, reason=f"the replicas were equal after each of {len(loads)} loads")


def _convergence(load: MeasuredLoad) -> Verdict:
    if not load.converged.digests:
        return Verdict.unknown(load.converged.reason)
    return convergence(load.converged.digests)


def lost_writes_verdict(loads: Sequence[MeasuredLoad]) -> Verdict:
    """Whether every acknowledged write of every load is on all replicas at the end."""
    verdicts = {load.cell: lost_writes(load.operations, load.final).verdict for load in loads}
    judged, counts = Verdict.all(verdicts), _sum_counts(verdicts.values())
    reason = f"none of {counts.get('acknowledged_writes', 0):,} acknowledged writes is lost"
    return replace(judged, reason=reason if judged.status == "valid" else judged.reason, counts=counts)


def _sum_counts(verdicts: Iterable[Verdict]) -> dict[str, int | float]:
    counts: dict[str, int | float] = {}
    for verdict in verdicts:
        for name, count in verdict.counts.items():
            counts[name] = counts.get(name, 0) + count
    return counts


def invariants(loads: Sequence[MeasuredLoad]) -> dict[str, Any]:
    """What must be the same on any machine. A value that could not be found out is None."""
    converged, lost = convergence_verdict(loads), lost_writes_verdict(loads)
    return {
        "converged": None if converged.status == "unknown" else converged.status == "valid",
        "lost_acknowledged_writes": None if lost.status == "unknown" else lost.counts["lost_acknowledged_writes"],
        "replica_processes": max((len(load.growth) for load in loads), default=0),
    }
