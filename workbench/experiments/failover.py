"""Which acknowledged writes survive? Leaders are killed under load, one by one, and every write is accounted for.

Every write adds a row of its own, so that what is absent at the end is exact. Two accounts of what was lost are made
independently: the clients' (acknowledged, and no row) and the replicas' (`rollback/`: what rewinds dropped). Under
quorum and sync nothing that was acknowledged may be lost. Under async the leader acknowledges what it alone has: that
must be written down, write for write.

A process that dies leaves behind what it has sent, and the network delivers it. So that there is something to be lost,
each leader's links to the others die a moment before it does, as when a machine goes down part by part.

Readers are sessions of their own: one that waits for a write reads nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from workbench.checkers import Appends, Losses, Verdict, appends, convergence, losses, read_rollbacks
from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster, ConvergenceReport
from workbench.config import LOG_FORMATS, AckPolicy, Timing
from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, cell_name, cell_seed, check_ack, records, started_cluster
from workbench.experiments.disturbed import DisturbedLoad, contents_of, disturbed_load
from workbench.experiments.failover_claims import MINIMUMS, judge, kill_rows, survives_failover
from workbench.experiments.failover_kills import Kill, Killer
from workbench.experiments.kept_log import writes_in_log
from workbench.experiments.parameters import parameter
from workbench.metrics import rates_over_time

ACKS = ("async", "semi_sync:1", "quorum", "sync", "sync/durable")
READ_POLICIES = ("any", "sticky", "leader")
LOAD_S_MAX = 3_600.0
LOST_ROWS_MAX = 1_000
"""Lost writes that the run folder lists; all of them are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    ack: str = parameter("quorum", help="When a write is acknowledged.", choices=ACKS, check=AckPolicy.parse)
    kills: int = parameter(3, help="Leaders killed, one after another.", low=1, high=200)
    followers: int = parameter(2, help="Followers of the leader; one alone could elect nobody.", low=2, high=8)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    election_timeout_ms: float = parameter(
        500.0, help="Silence after which a follower stands for election.", unit="ms", low=200, high=10_000
    )
    cut_off_ms: float = parameter(
        100.0, help="How long a leader is cut off from the others before it is killed.", unit="ms", low=0, high=5_000
    )
    follower_delay_ms: float = parameter(
        0.0, help="Delay added to what followers receive.", unit="ms", low=0, high=2_000
    )
    sessions: int = parameter(32, help="Sessions that read or write at once.", low=2, high=256)
    rate_per_s: float = parameter(400.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    read_fraction: float = parameter(0.5, help="Share of operations, and of sessions, that read.", low=0.1, high=0.9)
    read_policy: str = parameter("any", help="Where reads go.", choices=READ_POLICIES)
    pause_s: float = parameter(0.6, help="Time before each kill, and after the last.", unit="s", low=0, high=60)
    down_s: float = parameter(0.3, help="Time before a killed leader is started again.", unit="s", low=0, high=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Observed:
    """What one cluster went through."""

    load: DisturbedLoad
    kills: list[Kill]
    converged: ConvergenceReport
    appends: Appends
    losses: Losses


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Kill as often as asked, and stop early only when the cluster does not come back."""
    check_ack(parameters.ack, parameters.followers)
    timing = timing_of(parameters)
    name = cell_name(ack=parameters.ack)
    async with started_cluster(
        context,
        name,
        followers=parameters.followers,
        log_format=parameters.log_format,
        ack=AckPolicy.parse(parameters.ack),
        follower_delay_ms=parameters.follower_delay_ms,
        timing=timing,
    ) as cluster:
        observed = await _observe(context, cluster, parameters, name)
    context.progress(1.0, "judging")
    return _outcome(observed, parameters)


def timing_of(parameters: Parameters) -> Timing:
    """Time-outs for the elections asked for. Raises `ConfigurationError` where leaders would be deposed, not killed."""
    timeout_ms, delay_ms, cut_ms = parameters.election_timeout_ms, parameters.follower_delay_ms, parameters.cut_off_ms
    heartbeat_ms = min(Timing().heartbeat_ms, timeout_ms / 5)
    if 0.9 * timeout_ms < 2 * heartbeat_ms + delay_ms:
        raise ConfigurationError(
            f"election_timeout_ms is {timeout_ms:g} with follower_delay_ms {delay_ms:g}",
            hint="a lease, 0.9 of the time-out, must outlast two heartbeats and the delay; raise the time-out",
        )
    if cut_ms > timeout_ms / 2:
        raise ConfigurationError(
            f"cut_off_ms is {cut_ms:g} with election_timeout_ms {timeout_ms:g}",
            hint="at most half of it: a leader that is cut off for longer is replaced before it is killed",
        )
    return Timing(election_timeout_ms=timeout_ms, heartbeat_ms=heartbeat_ms)


def _load(parameters: Parameters, seed: int) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=parameters.read_fraction,
        separate_readers=True,
        rate_per_s=parameters.rate_per_s,
        duration_s=LOAD_S_MAX,
        warmup_s=0,
        keys=100,
        value_bytes=16,
        read_policy=parameters.read_policy,
        seed=seed,
        workload="appends",
    )


async def _observe(context: Context, cluster: Cluster, parameters: Parameters, name: str) -> _Observed:
    config = _load(parameters, cell_seed(context.seed, name))
    async with disturbed_load(cluster, config, name) as load:
        load.note("leads", await cluster.wait_for_leader(), at_ms=0.0)
        killer = Killer(
            cluster, load, pause_s=parameters.pause_s, cut_s=parameters.cut_off_ms / 1e3, down_s=parameters.down_s
        )
        for done in range(parameters.kills):
            context.progress(done / parameters.kills, f"{name}, kill {done + 1}")
            if (await killer.kill_once()).problem:
                break
        await asyncio.sleep(parameters.pause_s)
    converged = await cluster.converged(CONVERGENCE_TIMEOUT_S)
    found = appends(load.operations, await contents_of(cluster, config.workload) if converged.ok else {})
    replicas = cluster.directory / "replicas"
    kept = writes_in_log(replicas / cluster.leader / "log")
    if kept is None:  # a snapshot covers the beginning of the log: the rows have to tell
        there = found.writes[found.writes["replicas"] > 0]
        kept = frozenset(zip(there["identifier"].tolist(), there["sequence"].tolist(), strict=True))
    accounts = losses(found.writes, read_rollbacks(cluster.rollbacks()), kept)
    return _Observed(load=load, kills=killer.kills, converged=converged, appends=found, losses=accounts)


def _outcome(observed: _Observed, parameters: Parameters) -> Outcome:
    load, members = observed.load, parameters.followers + 1
    rows = kill_rows(observed.kills, load.operations, observed.losses)
    labels: Row = {"cell": load.cell, "ack": parameters.ack}
    return Outcome(
        operations=load.operations,
        summary=[labels | row for row in rows],
        tables={
            "rates": records(rates_over_time(load.operations)),
            "events": load.events,
            "lost_writes": _lost_rows(observed.losses),
        },
        verdicts=judge(
            rows,
            observed.losses,
            asked=parameters.kills,
            survives=survives_failover(parameters.ack, members),
            problem=observed.appends.problem,
        ),
        checks={"convergence": _convergence(observed.converged), **observed.appends.verdicts()},
        invariants=_invariants(observed, parameters, rows),
    )


def _lost_rows(accounts: Losses) -> list[Row]:
    """What either account names."""
    kept = ("operation", "key", "value", "term", "index", "completed_ns", "sequence", "identifier")
    flags = ("lost", "dropped", "took_effect_again")
    return records(accounts.writes[[*kept, *flags]].head(LOST_ROWS_MAX))


def _convergence(report: ConvergenceReport) -> Verdict:
    return convergence(report.digests) if report.digests else Verdict.invalid(report.reason)


def _invariants(observed: _Observed, parameters: Parameters, rows: list[Row]) -> dict[str, Any]:
    counts, known = observed.losses.counts, observed.converged.ok
    return {
        "converged": known,
        "kills": parameters.kills,
        "kills_that_took_effect": sum(bool(row["took_effect"]) for row in rows),
        "lost_acknowledged_writes": counts["lost_acknowledged_writes"] if known else None,
        "lost_acknowledged_writes_in_rollback": counts["accounted_writes"] if known else None,
        "replica_processes": parameters.followers + 1,
    }


EXPERIMENT = Experiment(
    name="failover",
    number="07",
    question="Which acknowledged writes survive?",
    parameters=Parameters,
    profiles={
        "ci": {"kills": 1, "pause_s": 0.4, "down_s": 0.1},
        "quick": {},
        "full": {"kills": 20, "rate_per_s": 1_000.0},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "every_kill_took_effect": "Each killed leader was gone, and another one led in a newer term.",
        "clients_find_the_new_leader": "After each kill, clients got writes acknowledged by the new leader.",
        "no_acknowledged_write_is_lost": "What a majority has on disk when it is acknowledged survives every kill "
        "(not claimed for weaker policies).",
        "lost_writes_are_accounted_for": "The acknowledged writes that are absent at the end are exactly those that "
        "rewinds wrote to rollback/ and that did not take effect again.",
    },
    minimums=MINIMUMS,
    required_checks=("convergence", "denied", "repeated"),
)
