"""When does a slow network depose a healthy leader? Heartbeats wait behind batches of entries, and nobody is dead.

Every follower receives through a link of limited bandwidth, whose queue keeps order. `congestion` is what the clients
ask for, in bytes a second, as a multiple of what the link carries: above 1 the queue grows until every session waits
for its write. So it holds up to `sessions` writes, and the worst that a heartbeat can wait is

    sessions x bytes of a write / bandwidth = congestion x sessions / rate_per_s,

on any machine and with any log format: the bandwidth follows from a write's bytes, which a calm second has shown.

Every entry tells followers that their leader lives; a long queue alone hides nobody. But when what a leader hears is
older than its lease, it acknowledges nothing until the queue has drained, then everything at once; all sessions go on
at once, and their writes are one big entry. While that comes through the link, followers hear nothing else.

Nobody crashes here: each failover is false. A cell lasts as long as it takes to see so many election timeouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random

import numpy as np
import pandas as pd

from workbench.checkers import Appends, Verdict, appends
from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster, ConvergenceReport
from workbench.cluster.injector import ClusterInjector
from workbench.cluster.status import ReplicaStatus
from workbench.config import LOG_FORMATS, AckPolicy, Protections, Timing
from workbench.errors import ClusterError
from workbench.experiments.accidental_failover_claims import MINIMUMS, failover_rows, invariants, judge, mean_rates
from workbench.experiments.accidental_failover_watch import Watch, total
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import cell_name, cell_seed, check_ack, records, started_cluster
from workbench.experiments.disturbed import DisturbedLoad, contents_of, disturbed_load
from workbench.experiments.parameters import parameter
from workbench.faults.values import Bandwidth
from workbench.history import operations_frame
from workbench.metrics import rates_over_time

ACKS = ("quorum", "quorum/applied", "sync", "sync/durable")
LOAD_S_MAX = 3_600.0
_CALM_S, _CALM_WRITES = 0.6, 20
"""Before the link gets slow: how many bytes a write has is learned from them."""
_CONVERGENCE_S = 30.0
_LOOKS_PER_TIMEOUT = 10
_PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    congestion: tuple[float, ...] = parameter(
        (0.0, 1.5, 2.5), help="Offered bytes as a multiple of the bandwidth of followers; 0: no bound.", low=0, high=20
    )
    election_timeout_ms: tuple[float, ...] = parameter(
        (200.0, 400.0, 800.0),
        help="Silence after which a follower stands for election.",
        unit="ms",
        low=100,
        high=10_000,
    )
    observed_timeouts: int = parameter(20, help="How long a cell lasts, in election timeouts.", low=1, high=10_000)
    observed_s_min: float = parameter(
        8.0, help="How long a cell lasts at least: a queue takes its time to fill.", unit="s", low=0, high=3_600
    )
    pre_vote: tuple[bool, ...] = parameter((True,), help="Whether a replica asks before it makes a new term.")
    check_quorum: tuple[bool, ...] = parameter((True,), help="Whether leaders hold a lease from a majority.")
    ack: str = parameter("quorum", help="When a write is acknowledged.", choices=ACKS, check=AckPolicy.parse)
    followers: int = parameter(2, help="Followers of the leader; one alone could elect nobody.", low=2, high=8)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(32, help="Sessions that write: as many writes can wait in the queue.", low=2, high=256)
    rate_per_s: float = parameter(64.0, help="Writes due a second.", unit="1/s", low=1, high=10_000)
    value_bytes: int = parameter(4_000, help="Bytes that a write carries.", unit="bytes", low=0, high=100_000)
    timeout_s: float = parameter(4.0, help="How long a client waits for one write.", unit="s", low=0.2, high=60)
    at_once: int = parameter(4, help="Cells measured at once, each on a cluster of its own.", low=1, high=16)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """What is different in one cell."""

    congestion: float
    timeout_ms: float
    pre_vote: bool
    check_quorum: bool

    @property
    def labels(self) -> Row:
        values = {"congestion": self.congestion, "election_timeout_ms": self.timeout_ms}
        off = {name: "false" for name in ("pre_vote", "check_quorum") if not getattr(self, name)}
        flags: Row = {"pre_vote": self.pre_vote, "check_quorum": self.check_quorum}
        return {"cell": cell_name(**values, **off)} | values | flags


@dataclass(slots=True, kw_only=True)
class _Cell:
    """What one cluster went through. Times are ms on the axis of the operations."""

    setting: _Setting
    load: DisturbedLoad
    watch: Watch
    begin_ms: float = 0.0
    end_ms: float = 0.0
    before: Sequence[ReplicaStatus] = ()
    after: Sequence[ReplicaStatus] = ()
    write_bytes: float = float("nan")
    problem: str = ""
    converged: ConvergenceReport | None = None
    appends: Appends | None = None
    failovers: list[Row] = field(default_factory=list)

    def growth(self, counter: str) -> int:
        """How far a counter of all replicas moved while they were observed."""
        return total(self.after, counter) - total(self.before, counter)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """A cluster for each cell, several at once where that saves time: the longest cells first."""
    check_ack(parameters.ack, parameters.followers)
    settings = [
        _Setting(congestion=congestion, timeout_ms=timeout, pre_vote=pre_vote, check_quorum=check_quorum)
        for check_quorum, pre_vote, timeout, congestion in product(
            parameters.check_quorum,
            parameters.pre_vote,
            parameters.election_timeout_ms,
            parameters.congestion,
        )
    ]
    at_once = parameters.at_once if context.host is None else 1  # a host in virtual time runs one, and loses nothing
    places = asyncio.Semaphore(at_once)
    done: dict[_Setting, _Cell] = {}

    async def measure(setting: _Setting) -> None:
        async with places:
            context.progress(len(done) / len(settings), setting.labels["cell"])
            done[setting] = await _measure(context, parameters, setting)

    try:
        async with asyncio.TaskGroup() as group:
            for setting in sorted(settings, key=lambda one: -one.timeout_ms):
                group.create_task(measure(setting), name=f"cell {setting.labels['cell']}")
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one line says it; the others were cancelled, or failed alike
    context.progress(1.0, "judging")
    return _outcome(context, parameters, [done[setting] for setting in settings])


def _load(parameters: Parameters, seed: int) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=0.0,
        rate_per_s=parameters.rate_per_s,
        duration_s=LOAD_S_MAX,
        warmup_s=0,
        value_bytes=parameters.value_bytes,
        seed=seed,
        timeout_s=parameters.timeout_s,
        workload="appends",
    )


async def _measure(context: Context, parameters: Parameters, setting: _Setting) -> _Cell:
    name = setting.labels["cell"]
    async with started_cluster(
        context,
        name,
        followers=parameters.followers,
        log_format=parameters.log_format,
        ack=AckPolicy.parse(parameters.ack),
        timing=_timing(setting.timeout_ms),
        protections=Protections(pre_vote=setting.pre_vote, check_quorum=setting.check_quorum),
        seed=cell_seed(context.seed, name),
    ) as cluster:
        config = _load(parameters, cell_seed(context.seed, name))
        injector = ClusterInjector(cluster, Random(cell_seed(context.seed, name)))
        async with disturbed_load(cluster, config, name) as load:
            cell = _Cell(
                setting=setting, load=load, watch=Watch(cluster, load, setting.timeout_ms / _LOOKS_PER_TIMEOUT)
            )
            try:
                await _observe(cluster, cell, injector, parameters)
            except ClusterError as error:
                cell.problem = str(error)
            finally:
                await injector.heal()
        cell.converged = await cluster.converged(_CONVERGENCE_S)
        contents = await contents_of(cluster, config.workload) if cell.converged.ok else {}
        cell.appends = appends(load.operations, contents)
        cell.failovers = failover_rows(
            cell.watch.reigns, load.operations, setting.timeout_ms, cell.end_ms, setting.labels
        )
    return cell


def _timing(election_timeout_ms: float) -> Timing:
    return Timing(
        election_timeout_ms=election_timeout_ms, heartbeat_ms=min(Timing().heartbeat_ms, election_timeout_ms / 5)
    )


async def _observe(cluster: Cluster, cell: _Cell, injector: ClusterInjector, parameters: Parameters) -> None:
    """Learn what a write is, let the link be slow, and watch who leads."""
    load, setting = cell.load, cell.setting
    calm = await cluster.replicas()
    await asyncio.sleep(max(_CALM_S, _CALM_WRITES / parameters.rate_per_s))
    await load.sees(load.is_acknowledged, timeout_s=_PATIENCE_S)
    cell.before = await cluster.replicas()
    writes, grown = (total(cell.before, name) - total(calm, name) for name in ("members", "log_bytes"))
    if not writes:
        raise ClusterError("no write was made before the link became slow")
    cell.write_bytes = grown / writes
    cell.watch.look(cell.before, load.now_ms)
    cell.begin_ms = load.note("link", "", "slow" if setting.congestion else "as fast as it can be")
    if setting.congestion:
        bytes_per_s = parameters.rate_per_s * cell.write_bytes / setting.congestion
        if not await injector.begin(Bandwidth(at_ms=0, target="all", bytes_per_s=bytes_per_s)):
            raise ClusterError("the bandwidth of the links could not be bounded")
    lasts_ms = max(parameters.observed_timeouts * setting.timeout_ms, 1e3 * parameters.observed_s_min)
    await cell.watch.run(cell.begin_ms + lasts_ms)
    cell.after = await cluster.replicas()
    cell.end_ms = load.note("link", "", "as before")


# Results.


def _row(cell: _Cell, parameters: Parameters) -> Row:
    setting, watch = cell.setting, cell.watch
    seconds = max(cell.end_ms - cell.begin_ms, 0.0) / 1e3
    completed_ms = cell.load.operations["completed_ns"].to_numpy(dtype=float, na_value=np.nan) / 1e6
    observed = cell.load.operations[(completed_ms >= cell.begin_ms) & (completed_ms < cell.end_ms)]
    acknowledged = observed[observed["outcome"] == "ok"]
    waits_ms = (acknowledged["completed_ns"] - acknowledged["invoked_ns"]).to_numpy(dtype=float) / 1e6
    won = cell.growth("elections_won")
    found = cell.appends
    return setting.labels | {
        "ack": parameters.ack,
        "observed_s": seconds,
        "observed_timeouts": round(seconds * 1e3 / setting.timeout_ms, 3),
        "write_bytes": cell.write_bytes,
        "bandwidth_bytes_per_s": parameters.rate_per_s * cell.write_bytes / (setting.congestion or np.nan),
        "queue_ms_max": 1e3 * setting.congestion * parameters.sessions / parameters.rate_per_s,
        "false_failovers": won,
        "false_failovers_per_min": won / seconds * 60 if seconds else float("nan"),
        "elections": cell.growth("elections"),
        "without_leader_share": watch.looks_without_leader / watch.looks if watch.looks else float("nan"),
        "lag_ms_p50": float(np.percentile(watch.lags_ms, 50)) if watch.lags_ms else float("nan"),
        "lag_ms_max": max(watch.lags_ms, default=float("nan")),
        "acknowledged_writes": len(acknowledged),
        "writes_per_s": len(acknowledged) / seconds if seconds else float("nan"),
        "latency_ms_p50": float(np.median(waits_ms)) if len(waits_ms) else float("nan"),
        "failed": int((observed["outcome"] == "fail").sum()),
        "indefinite": int((observed["outcome"] == "info").sum()),
        **mean_rates(cell.failovers),
        "stall_ms": watch.stall_ms,
        "crashed_replicas": len(watch.down),
        "converged": cell.converged is not None and cell.converged.ok,
        "lost_acknowledged_writes": None
        if found is None or found.problem
        else int(found.counts["lost_acknowledged_writes"]),
        "problem": cell.problem,
    }


def _outcome(context: Context, parameters: Parameters, cells: list[_Cell]) -> Outcome:
    rows = [_row(cell, parameters) for cell in cells]
    operations = pd.concat([cell.load.operations for cell in cells], ignore_index=True)
    operations = operations if len(operations) else operations_frame([])
    operations["operation"] = range(len(operations))
    named = {cell.setting.labels["cell"]: cell for cell in cells}
    faults = {name: cell.appends.verdicts() for name, cell in named.items() if cell.appends is not None}
    return Outcome(
        operations=operations,
        summary=rows,
        tables={
            "failovers": [row for cell in cells for row in cell.failovers],
            "rates": records(rates_over_time(operations)),
            "events": [event for cell in cells for event in cell.load.events],
        },
        verdicts=judge(rows, {name: verdicts["lost"] for name, verdicts in faults.items()}),
        checks={
            "convergence": Verdict.all({name: _convergence(cell.converged) for name, cell in named.items()}),
            **{
                fault: Verdict.all({name: verdicts[fault] for name, verdicts in faults.items()})
                for fault in ("denied", "repeated")
            },
        },
        invariants=invariants(rows) | {"replica_processes": parameters.followers + 1, "world": context.world},
    )


def _convergence(report: ConvergenceReport | None) -> Verdict:
    if report is None:
        return Verdict.unknown("the replicas were not compared")
    return Verdict.valid("the replicas were equal") if report.ok else Verdict.invalid(report.reason)


EXPERIMENT = Experiment(
    name="accidental_failover",
    number="09",
    question="When does a slow network depose a healthy leader?",
    parameters=Parameters,
    profiles={
        "ci": {"congestion": (0.0, 1.5), "election_timeout_ms": (200.0, 600.0), "observed_s_min": 6.0},
        "quick": {},
        "full": {
            "congestion": (0.0, 0.5, 0.9, 1.1, 1.5, 2.5, 4.0),
            "election_timeout_ms": (200.0, 400.0, 800.0, 1_600.0),
            "observed_timeouts": 60,
        },
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "no_false_failover_without_congestion": "While the link is fast enough no leader loses its place.",
        "short_timeouts_depose_healthy_leaders": "Under the strongest congestion leaders are deposed more often at the "
        "shortest election timeout than at the longest, though nobody has crashed.",
        "no_acknowledged_write_is_lost": "No false failover loses a write that was acknowledged.",
    },
    minimums=MINIMUMS,
    required_checks=("convergence", "denied", "repeated"),
)
