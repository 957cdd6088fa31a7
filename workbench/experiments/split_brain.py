"""Who stops the old leader? One that was stopped or cut off comes back, and some of its clients never left it.

The leader is paused (SIGSTOP) or cut off from the others, these elect another one, the old one comes back. Half of the
sessions know no other replica than the old leader and ask it whatever they hear. What is counted are double
acknowledgements: indices at which clients of both leaders were told of a success, of different entries.

The ack policy is quorum: under async a leader that is cut off acknowledges alone while its lease lasts, and what is
lost so is the subject of `failover`. Under quorum somebody else has to agree. With fencing nobody does: followers
refuse the older term, and the old leader hears of the newer one. Without, followers believe whoever spoke last, and
take entries of both by turns: each leader meets its quorum, though at times neither does, while the followers are busy
changing their minds; so the load goes on for a while longer there, if need be.

An old leader that leads to the end of the load is killed and started again, so that the replicas can agree on one
history; what the other history had acknowledged is lost then.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from workbench.checkers import (
    Appends,
    Verdict,
    appends,
    double_acknowledgements,
    linearizability,
    no_double_acknowledgement,
)
from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster, ConvergenceReport
from workbench.config import LOG_FORMATS, AckPolicy, Protections, Timing
from workbench.errors import ClusterError
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, cell_name, cell_seed, check_ack, records, started_cluster
from workbench.experiments.disturbed import DisturbedLoad, contents_of, disturbed_load
from workbench.experiments.failover_claims import survives_failover
from workbench.experiments.parameters import parameter
from workbench.experiments.split_brain_claims import MINIMUMS, Brains, invariants, judge, summary_row
from workbench.history import operations_frame
from workbench.history_tables import table_operations
from workbench.metrics import rates_over_time
from workbench.operation_rows import OperationRow

ACKS = ("quorum", "quorum/applied", "semi_sync:1")
HOW = ("pause", "cut")
LOAD_S_MAX = 3_600.0
PATIENCE_S = 30.0
_DOUBLE_S = 8.0
"""How much longer a load without fencing goes on until an index is acknowledged twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    fencing: tuple[bool, ...] = parameter((True, False), help="With fencing, without it, or both to compare.")
    how: tuple[str, ...] = parameter(
        HOW, help="What happens to the old leader: SIGSTOP, or a cut from the others.", choices=HOW
    )
    ack: str = parameter("quorum", help="When a write is acknowledged.", choices=ACKS)
    followers: int = parameter(2, help="Followers of the leader; one alone could elect nobody.", low=2, high=8)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    election_timeout_ms: float = parameter(
        500.0, help="Silence after which a follower stands for election.", unit="ms", low=200, high=10_000
    )
    sessions: int = parameter(16, help="Sessions that read and write.", low=2, high=256)
    insistent_fraction: float = parameter(
        0.5, help="Share of the sessions that ask the old leader whatever they hear.", low=0.1, high=0.9, step=0.1
    )
    rate_per_s: float = parameter(100.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    read_fraction: float = parameter(0.2, help="Share of operations that read.", low=0, high=0.9, step=0.05)
    timeout_s: float = parameter(1.6, help="How long a client waits for one operation.", unit="s", low=0.2, high=60)
    before_s: float = parameter(0.4, help="Load before the old leader is stopped.", unit="s", low=0, high=60)
    alone_s: float = parameter(0.5, help="How long the new leader leads alone.", unit="s", low=0, high=60)
    both_s: float = parameter(1.5, help="Load after the old leader has come back.", unit="s", low=0.1, high=600)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """What one cluster went through."""

    labels: Row
    load: DisturbedLoad
    brains: Brains
    doubles: pd.DataFrame
    converged: ConvergenceReport
    appends: Appends

    @property
    def row(self) -> Row:
        """Its row of the summary."""
        lost = None if self.appends.problem else int(self.appends.counts["lost_acknowledged_writes"])
        figures = summary_row(self.brains, self.load.operations, self.doubles)
        return self.labels | figures | {"converged": self.converged.ok, "lost_acknowledged_writes": lost}


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """A cluster of its own for each cell: what an old leader has done to one is no beginning for the next."""
    check_ack(parameters.ack, parameters.followers)
    cells: list[_Cell] = []
    each = list(product(parameters.how, parameters.fencing))
    for how, fencing in each:
        name = cell_name(how=how, fencing=str(fencing).lower())
        context.progress(len(cells) / len(each), name)
        async with started_cluster(
            context,
            name,
            followers=parameters.followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(parameters.ack),
            timing=_timing(parameters.election_timeout_ms),
            protections=Protections(fencing=fencing),
        ) as cluster:
            labels: Row = {"cell": name, "how": how, "fencing": fencing, "ack": parameters.ack}
            cells.append(await _observe(context, cluster, parameters, labels))
    context.progress(1.0, "judging")
    return _outcome(cells, parameters)


def _timing(election_timeout_ms: float) -> Timing:
    heartbeat_ms = min(Timing().heartbeat_ms, election_timeout_ms / 5)
    return Timing(election_timeout_ms=election_timeout_ms, heartbeat_ms=heartbeat_ms)


def _load(parameters: Parameters, seed: int) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=parameters.read_fraction,
        insistent_fraction=parameters.insistent_fraction,
        rate_per_s=parameters.rate_per_s,
        duration_s=LOAD_S_MAX,
        warmup_s=0,
        keys=20,
        value_bytes=16,
        read_policy="leader",
        seed=seed,
        timeout_s=parameters.timeout_s,
        workload="appends",
    )


async def _observe(context: Context, cluster: Cluster, parameters: Parameters, labels: Row) -> _Cell:
    config = _load(parameters, cell_seed(context.seed, labels["cell"]))
    brains = Brains()
    async with disturbed_load(cluster, config, labels["cell"]) as load:
        try:
            await _disturb(cluster, load, brains, labels["how"], parameters)
        except ClusterError as error:
            brains.problem = str(error)
            load.note("gave up", brains.old_leader, brains.problem)
    await _unite(cluster, brains)
    converged = await cluster.converged(CONVERGENCE_TIMEOUT_S)
    return _Cell(
        labels=labels,
        load=load,
        brains=brains,
        doubles=double_acknowledgements(load.operations),
        converged=converged,
        appends=appends(load.operations, await contents_of(cluster, config.workload) if converged.ok else {}),
    )


async def _disturb(cluster: Cluster, load: DisturbedLoad, brains: Brains, how: str, parameters: Parameters) -> None:
    """Stop the leader, wait for another one that acknowledges, let it lead for a while, and bring the old one back."""
    old, brains.old_term = await _leader(cluster)
    brains.old_leader = old
    load.note("leads", old, f"term {brains.old_term}", at_ms=0.0)
    await load.sees(load.is_acknowledged, timeout_s=PATIENCE_S)
    await asyncio.sleep(parameters.before_s)
    brains.stopped_ms = load.note("paused" if how == "pause" else "cut off", old)
    await (cluster.pause(old) if how == "pause" else cluster.cut_off(old))
    try:
        brains.new_leader, brains.new_term = await _leader(cluster, unlike=old)
        brains.elected_ms = load.note("leads", brains.new_leader, f"term {brains.new_term}")
        await load.sees(lambda row: row.term > brains.old_term and load.is_acknowledged(row), timeout_s=PATIENCE_S)
        await asyncio.sleep(parameters.alone_s)
    finally:
        brains.back_ms = load.note("resumed" if how == "pause" else "mended", old)
        await (cluster.resume(old) if how == "pause" else cluster.mend())
    await asyncio.sleep(parameters.both_s)
    if not cluster.config.protections.fencing:
        with contextlib.suppress(ClusterError):  # then it was not seen, and the claim says so
            await load.sees(_Doubles(), timeout_s=_DOUBLE_S)
    statuses = {status.name: status for status in await cluster.replicas()}
    brains.old_still_leads = statuses[old].role == "leader" and statuses[old].term == brains.old_term
    if brains.old_still_leads:
        load.note("still leads", old, f"term {brains.old_term}", at_ms=brains.back_ms)


class _Doubles:
    """For `DisturbedLoad.sees`: the row that completes a double acknowledgement."""

    def __init__(self) -> None:
        self._terms: dict[int, int] = {}

    def __call__(self, row: OperationRow) -> bool:
        if not DisturbedLoad.is_acknowledged(row):
            return False
        return self._terms.setdefault(row.index, row.term) != row.term


async def _leader(cluster: Cluster, *, unlike: str = "") -> tuple[str, int]:
    """Who leads, and in which term."""
    name = await cluster.wait_for_leader(PATIENCE_S, unlike=unlike)
    return name, max(status.term for status in await cluster.replicas() if status.name == name)


async def _unite(cluster: Cluster, brains: Brains) -> None:
    """End the reign of an old leader that nothing else ends: a restarted one does not resume its term."""
    if brains.old_still_leads:
        await cluster.kill(brains.old_leader)
        await cluster.restart(brains.old_leader)


def _outcome(cells: list[_Cell], parameters: Parameters) -> Outcome:
    rows = [cell.row for cell in cells]
    frames = [cell.load.operations for cell in cells]
    operations = pd.concat(frames, ignore_index=True) if frames else operations_frame([])
    operations["operation"] = range(len(operations))
    by_cell = {
        cell.labels["cell"]: no_double_acknowledgement(cell.doubles, row["acknowledged_writes"])
        for cell, row in zip(cells, rows, strict=True)
    }
    return Outcome(
        operations=operations,
        summary=rows,
        tables={
            "acknowledged": [row for cell in cells for row in _acknowledged(cell)],
            "double_acknowledgements": [row for cell in cells for row in records(cell.doubles)],
            "rates": records(rates_over_time(operations)),
            "events": [event for cell in cells for event in cell.load.events],
        },
        verdicts=judge(rows),
        checks={
            "double_acknowledgements": Verdict.all(by_cell),
            "convergence": Verdict.all({cell.labels["cell"]: _convergence(cell.converged) for cell in cells}),
            "linearizability": Verdict.all({cell.labels["cell"]: _linearizability(cell) for cell in cells}),
            **{fault: Verdict.all(verdicts) for fault, verdicts in _faults(cells).items()},
            **_with_fencing(cells, parameters),
        },
        invariants=invariants(rows) | {"replica_processes": parameters.followers + 1},
    )


def _faults(cells: list[_Cell]) -> dict[str, dict[str, Verdict]]:
    found: dict[str, dict[str, Verdict]] = {}
    for cell in cells:
        for fault, verdict in cell.appends.verdicts().items():
            found.setdefault(fault, {})[cell.labels["cell"]] = verdict
    return found


def _with_fencing(cells: list[_Cell], parameters: Parameters) -> dict[str, Verdict]:
    """Whether every write of the cells with fencing became of what its client was told; no check without such a cell.

    Acknowledged writes may be lost where the policy does not promise that a majority has them.
    """
    survives = survives_failover(parameters.ack, parameters.followers + 1)
    found = {
        f"{cell.labels['cell']}, {fault}": verdict
        for cell in cells
        if cell.labels["fencing"]
        for fault, verdict in cell.appends.verdicts().items()
        if survives or fault != "lost"
    }
    return {"appends_with_fencing": Verdict.all(found)} if found else {}


def _linearizability(cell: _Cell) -> Verdict:
    return linearizability(table_operations(cell.load.operations)).verdict


def _convergence(report: ConvergenceReport) -> Verdict:
    return Verdict.valid("the replicas were equal") if report.ok else Verdict.invalid(report.reason)


def _acknowledged(cell: _Cell) -> list[dict[str, Any]]:
    """One row an acknowledged write: when, by whom, and where in the log."""
    operations = cell.load.operations
    writes = operations[(operations["kind"] == "write") & (operations["outcome"] == "ok")]
    table = pd.DataFrame(
        {
            "cell": writes["cell"],
            "at_ms": writes["completed_ns"].astype("float64") / 1e6,
            "replica": writes["replica"],
            "term": writes["term"],
            "index": writes["index"],
        }
    )
    return records(table)


EXPERIMENT = Experiment(
    name="split_brain",
    number="08",
    question="Who stops the old leader?",
    parameters=Parameters,
    profiles={
        "ci": {"how": ("pause",), "before_s": 0.3, "alone_s": 0.4, "both_s": 1.2, "timeout_s": 1.5},
        "quick": {},
        "full": {"before_s": 2.0, "alone_s": 2.0, "both_s": 10.0, "timeout_s": 5.0},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "a_new_leader_takes_over": "While the old leader is away, another one is elected and acknowledges writes.",
        "fencing_stops_the_old_leader": "With fencing no index is acknowledged twice, though clients keep asking the "
        "old leader after its return.",
        "without_fencing_two_leaders_acknowledge": "Without fencing, clients of two leaders are told of different "
        "entries at the same index.",
    },
    minimums=MINIMUMS,
    required_checks=("convergence", "appends_with_fencing"),
)
