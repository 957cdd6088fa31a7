"""Can a replica join while writes go on? A follower is added to a live cluster with data, under load.

One cell for each size of the database, on a cluster of its own. The new replica starts with nothing: it gets a
snapshot that the leader makes beside its work, then the entries behind the snapshot's position, and counts only when it
has them. What it says of itself (the snapshot's position, the first entry it took) is compared, not computed. When the
load is over, one write is made that the ack policy cannot acknowledge without the new replica: then it counts indeed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.client.load import LoadConfig
from workbench.client.policies import parse_policy
from workbench.cluster.cluster import Cluster
from workbench.cluster.status import ReplicaStatus
from workbench.config import LOG_FORMATS, AckPolicy
from workbench.errors import OperationError
from workbench.experiments.aftermath import growth, settle, status_of
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import (
    MeasuredLoad,
    all_operations,
    cell_name,
    cell_seed,
    check_ack,
    convergence_verdict,
    invariants,
    lost_writes_verdict,
    records,
    started_cluster,
)
from workbench.experiments.disturbed import DisturbedLoad, disturbed_load
from workbench.experiments.join_claims import CLAIMS, MINIMUMS, judge
from workbench.experiments.parameters import parameter
from workbench.metrics.rates import rates_over_time
from workbench.metrics.windows import completed_between, latency_between, longest_gap_ms, ok_per_s

CONVERGENCE_TIMEOUT_S = 120.0
JOIN_TIMEOUT_S = 300.0
PROBE_S = 0.3
_LOAD_S = 3_600.0
"""Longer than any run: the load ends with what is done under it."""
_ROW_BYTES = 1_000
_ROWS_A_STATEMENT = 1_000
_FILL = (
    "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?) "
    "INSERT INTO ballast (id, payload) SELECT ? + n, zeroblob(?) FROM numbers ORDER BY n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    database_mb: tuple[float, ...] = parameter(
        (8.0,), help="Sizes of the database that the new replica gets.", unit="MB", low=0, high=2_000
    )
    ack: str = parameter(
        "sync",
        help="When a write is acknowledged.",
        choices=("async", "semi_sync:1", "quorum", "sync"),
        check=AckPolicy.parse,
    )
    followers: int = parameter(2, help="Followers before another one joins.", low=1, high=6)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    read_policy: str = parameter("any", help="Where reads go.", choices=("leader", "sticky", "any"), check=parse_policy)
    sessions: int = parameter(32, help="Sessions, of which half read and half write.", low=2, high=256)
    rate_per_s: float = parameter(400.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    before_s: float = parameter(1.5, help="Load before the new replica is asked for.", unit="s", low=0.1, high=600)
    after_s: float = parameter(1.5, help="Load after it has become a member.", unit="s", low=0.1, high=600)
    keys: int = parameter(1_000, help="Rows that the writes choose from.", low=1, high=100_000)
    value_bytes: int = parameter(100, help="Size of the value in each row.", unit="bytes", low=0, high=1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One write while the new replica, and as many others as the policy can do without, were stopped."""

    needed: bool
    """Whether the policy needs the new replica then; without that nothing was tried."""
    waited: bool = False
    """Whether there was no acknowledgement while it was stopped."""
    acknowledged: bool = False
    """Whether there was one when it went on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """What was seen of one replica that joined. Times are ms on the axis of the operations; nan: it did not happen."""

    database_mb: float
    load: MeasuredLoad
    events: Sequence[Row]
    newcomer: ReplicaStatus
    """When it had become a member."""
    times: Mapping[str, float]
    """asked, fetch_begun, snapshot_begun and snapshot_sealed (on the leader), snapshot_ready (to be sent),
    snapshot_received, snapshot_installed, member."""
    entries_fetched: int
    """Entries that the leader read back from its log for it."""
    probe: Probe


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Let a replica join a cluster of each size."""
    check_ack(parameters.ack, parameters.followers)
    joins: list[Join] = []
    for size in parameters.database_mb:
        name = cell_name(database_mb=size)
        done = len(joins) / len(parameters.database_mb)
        context.progress(done, f"{name}: filling the database")
        async with started_cluster(
            context,
            name,
            followers=parameters.followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(parameters.ack),
        ) as cluster:
            await fill(cluster, size)
            context.progress(done + 0.5 / len(parameters.database_mb), f"{name}: a replica joins")
            joins.append(await _join(cluster, size, _load(parameters, context.seed, name), name, parameters))
    context.progress(1.0, "judging")
    loads = [join.load for join in joins]
    summary = [{"ack": parameters.ack} | summary_row(join) for join in joins]
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={
            "events": [event for join in joins for event in join.events],
            "rates": records(rates_over_time(all_operations(loads))),
        },
        verdicts=judge(summary),
        checks={"convergence": convergence_verdict(loads), "lost_writes": lost_writes_verdict(loads)},
        invariants=invariants(loads) | {"members": max(len(join.newcomer.members) for join in joins)},
    )


def _load(parameters: Parameters, seed: int, cell: str) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=0.5,
        separate_readers=True,
        rate_per_s=parameters.rate_per_s,
        duration_s=_LOAD_S,
        warmup_s=0.0,
        keys=parameters.keys,
        value_bytes=parameters.value_bytes,
        read_policy=parameters.read_policy,
        seed=cell_seed(seed, cell),
    )


async def fill(cluster: Cluster, megabytes: float) -> None:
    """Bring the database to about this size, the same rows in every log format, and let everybody have them."""
    session = await cluster.session(timeout_s=60.0)
    await session.write("CREATE TABLE ballast (id INTEGER PRIMARY KEY, payload BLOB)")
    rows = round(megabytes * 1e6 / _ROW_BYTES)
    for first in range(0, rows, _ROWS_A_STATEMENT):
        await session.write(_FILL, (min(_ROWS_A_STATEMENT, rows - first), first, _ROW_BYTES))
    await cluster.converged(timeout_s=CONVERGENCE_TIMEOUT_S)


async def _join(cluster: Cluster, size: float, config: LoadConfig, cell: str, parameters: Parameters) -> Join:
    async with disturbed_load(cluster, config, cell) as load:
        await load.sees(load.is_acknowledged)
        await asyncio.sleep(parameters.before_s)
        before = await status_of(cluster, cluster.leader)
        asked_ms = load.now_ms
        newcomer = await cluster.add_follower(timeout_s=JOIN_TIMEOUT_S)
        member_ms = load.now_ms
        after = await status_of(cluster, cluster.leader)
        times = {"asked": asked_ms, **_times(load, before, after, newcomer), "member": member_ms}
        _note(load, times, newcomer.name, after.name)
        await asyncio.sleep(parameters.after_s)
    measured = await settle(cluster, load, timeout_s=CONVERGENCE_TIMEOUT_S)
    return Join(
        database_mb=size,
        load=measured,
        events=load.events,
        newcomer=newcomer,
        times=times,
        entries_fetched=growth(before, after, "entries_sent_again"),
        probe=await probe(cluster, newcomer.name, AckPolicy.parse(parameters.ack)),
    )


def _times(
    load: DisturbedLoad, before: ReplicaStatus, after: ReplicaStatus, newcomer: ReplicaStatus
) -> dict[str, float]:
    """When the new replica, and the leader, came how far. A snapshot that the leader had already was not made."""

    def at_ms(status: ReplicaStatus, name: str) -> float:
        moment_ns = status.counters.get(f"{name}_ns", 0)
        return (moment_ns - load.start_ns) / 1e6 if moment_ns else math.nan

    made = growth(before, after, "snapshots_made") > 0
    of_leader = {name: at_ms(after, name) if made else math.nan for name in ("snapshot_begun", "snapshot_sealed")}
    names = ("fetch_begun", "snapshot_received", "snapshot_installed")
    of_newcomer = {name: at_ms(newcomer, name) for name in names}
    ready = np.nanmax([of_newcomer["fetch_begun"], of_leader["snapshot_sealed"]])
    return of_leader | of_newcomer | {"snapshot_ready": float(ready)}


_EVENTS = {
    "asked": "asked to join",
    "fetch_begun": "asks the leader",
    "snapshot_ready": "snapshot ready",
    "snapshot_received": "snapshot received",
    "snapshot_installed": "snapshot installed",
    "member": "member",
}


def _note(load: DisturbedLoad, times: Mapping[str, float], newcomer: str, leader: str) -> None:
    """Put the phases among the events of the run."""
    for name, event in _EVENTS.items():
        if not math.isnan(times[name]):
            load.note(event, newcomer, at_ms=times[name])
    for name, event in (("snapshot_begun", "snapshot begun"), ("snapshot_sealed", "snapshot made")):
        if not math.isnan(times[name]):
            load.note(event, leader, at_ms=times[name])


async def probe(cluster: Cluster, newcomer: str, ack: AckPolicy) -> Probe:
    """Stop the new replica, and all others that the policy does not need besides; see what becomes of a write."""
    others = [name for name in cluster.names if name not in (newcomer, cluster.leader)]
    needed = ack.followers_needed(len(cluster.names))
    if not needed:
        return Probe(needed=False)
    stopped = others[: len(others) - (needed - 1)]
    session = await cluster.session(timeout_s=10.0)
    for name in (newcomer, *stopped):
        await cluster.pause(name)
    write = asyncio.create_task(session.write("CREATE TABLE probe (x)"), name="probe")
    waited = False
    try:
        await asyncio.wait((write,), timeout=PROBE_S)
        waited = not write.done()
        await cluster.resume(newcomer)
        await write
    except OperationError:
        return Probe(needed=True, waited=waited)
    finally:
        write.cancel()
        for name in stopped:
            await cluster.resume(name)
    return Probe(needed=True, waited=waited, acknowledged=True)


# Figures.


def summary_row(join: Join) -> Row:
    """Positions, what was sent, how long each phase took, and what writers noticed of it."""
    operations, times, newcomer = join.load.operations, join.times, join.newcomer
    asked, member = times["asked"], times["member"]
    snapshot = newcomer.notes.get("snapshot", "0.0")
    spans = {"before": (0.0, asked), "during": (asked, member), "after": (member, math.inf)}
    ready = times["snapshot_ready"]
    row: Row = {
        "cell": join.load.cell,
        "database_mb": join.database_mb,
        "followers": len(join.load.growth) - 2,
        "snapshot_position": snapshot,
        "first_entry": newcomer.notes.get("first_entry", "0.0"),
        "entries_during_join": newcomer.last - int(snapshot.partition(".")[2]),
        "entries_fetched": join.entries_fetched,
        "snapshot_bytes": newcomer.counters.get("snapshot_bytes_in", 0),
        "start_ms": times["fetch_begun"] - asked,
        "snapshot_wait_ms": ready - times["fetch_begun"],
        "snapshot_made_ms": times["snapshot_sealed"] - times["snapshot_begun"],
        "snapshot_transfer_ms": times["snapshot_received"] - ready,
        "snapshot_install_ms": times["snapshot_installed"] - times["snapshot_received"],
        "catch_up_ms": member - times["snapshot_installed"],
        "join_ms": member - asked,
        "writes": len(completed_between(operations, "write", 0.0, math.inf)),
        "writes_during_join": len(completed_between(operations, "write", asked, member)),
        "write_gap_ms_before": longest_gap_ms(operations, "write", 0.0, asked),
        "write_gap_ms_during": longest_gap_ms(operations, "write", asked, member),
        "probe_needed": join.probe.needed,
        "probe_waited": join.probe.waited,
        "probe_acknowledged": join.probe.acknowledged,
        "is_member": newcomer.name in newcomer.members,
        "converged": join.load.converged.ok,
    }
    for kind in ("write", "read"):
        row |= {f"{kind}s_per_s_{name}": ok_per_s(operations, kind, *spans[name]) for name in ("before", "during")}
    for name, span in spans.items():
        figures = latency_between(operations, "write", *span)
        row |= {f"write_{figure}_{name}": value for figure, value in figures.items()}
    return row | {"not_ok": int((operations["outcome"] != "ok").sum())}


EXPERIMENT = Experiment(
    name="new_follower",
    number="05",
    question="Can a replica join while writes go on?",
    parameters=Parameters,
    profiles={
        "ci": {"database_mb": (2.0,), "before_s": 0.5, "after_s": 0.5},
        "quick": {},
        "full": {"database_mb": (20.0, 200.0), "before_s": 5.0, "after_s": 5.0},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims=CLAIMS,
    minimums=MINIMUMS,
    required_checks=("convergence", "lost_writes"),
)
