"""`simulator` in the real world: bad luck of every kind for real processes, drawn from a seed as in simulated worlds.

Here the schedule can be repeated, and the story cannot: what a fault meets is never twice the same. So nothing is
compared; what must hold is judged. A kind of which no fault took effect strikes again, alone and for longer, since an
experiment about faults that did not happen proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from workbench.checkers import Appends, Verdict, appends, convergence
from workbench.client.load import LoadConfig
from workbench.cluster.cluster import Cluster, ConvergenceReport
from workbench.cluster.hosting import Child
from workbench.cluster.injector import ClusterInjector, FaultReport
from workbench.cluster.replicas import last_line
from workbench.cluster.scene import Scene
from workbench.config import AckPolicy
from workbench.errors import WorkbenchError
from workbench.experiments.base import Context, Outcome, Row
from workbench.experiments.cells import cell_name, cell_seed, check_ack, records, started_cluster
from workbench.experiments.disturbed import DisturbedLoad, contents_of, disturbed_load
from workbench.experiments.simulator_claims import judge_real
from workbench.experiments.simulator_states import State, States
from workbench.faults.schedules import Schedule, random_schedule
from workbench.faults.values import KINDS
from workbench.metrics import rates_over_time

if TYPE_CHECKING:
    from workbench.experiments.simulator import Parameters

_LOAD_S_MAX = 3_600.0
_TIMEOUT_S = 5.0
_LOOK_S = 0.1
_TELL_S = 1.0
_OVERTIME_S = 180.0
"""How much longer than planned the faults may take, with those that strike again."""
_CALM_S = 10.0
"""How long the clients may take to get a write through once everything is healed."""
_CONVERGENCE_S = 60.0
_AGAIN_MAX = 3
"""How often a kind that has not taken effect strikes again."""
_LONGER = 2.0
_ENDS_THAT_FAULTS_EXPLAIN = ("disk is full", "injected", "broker at")
"""In the last words of a replica whose disk a fault has struck, or that was started while there was no broker."""


@dataclass(slots=True)
class _Watched:
    """What was seen of one cluster under faults. Times are ms on the axis of the operations."""

    cell: str
    directory: Path
    load: DisturbedLoad
    injector: ClusterInjector
    schedule: Schedule
    states: States = field(default_factory=States)
    ended: dict[Child, str] = field(default_factory=dict)
    """Processes of replicas that ended, and what they said last."""
    problem: str = ""
    converged: ConvergenceReport | None = None
    appends: Appends | None = None
    healed_ms: float = float("nan")
    planned: Counter[str] = field(default_factory=Counter)

    def shortened(self, words: str) -> str:
        """Files by their names in the cluster's directory, which is gone when somebody reads this."""
        return words.replace(f"{self.directory}/", "")

    @property
    def unexplained_ends(self) -> list[str]:
        """Ends of processes that no fault explains: with an error of their own."""
        return [
            f"{process.name} ended with status {process.returncode}: {self.shortened(words)}"
            for process, words in self.ended.items()
            if (process.returncode or 0) > 0 and not any(known in words for known in _ENDS_THAT_FAULTS_EXPLAIN)
        ]


async def conduct_real(context: Context, parameters: Parameters) -> Outcome:
    """One cluster, one load, one schedule of faults; then peace, and a look at what is left."""
    check_ack(parameters.ack, parameters.followers)
    name = cell_name(ack=parameters.ack, log_format=parameters.log_format)
    random = Random(cell_seed(context.seed, name))
    schedule = random_schedule(
        random, 1e3 * parameters.duration_s, parameters.faults, "real", every_kind=parameters.every_kind
    )
    async with started_cluster(
        context,
        name,
        followers=parameters.followers,
        log_format=parameters.log_format,
        ack=AckPolicy.parse(parameters.ack),
    ) as cluster:
        config = _load(parameters, cell_seed(context.seed, name))
        async with disturbed_load(cluster, config, name) as load:
            watched = _Watched(name, cluster.directory, load, ClusterInjector(cluster, random, load.note), schedule)
            watched.planned.update(fault.kind for fault in schedule)
            async with _watching(context, cluster, watched, parameters.duration_s):
                await _disturb(cluster, watched, parameters)
        context.progress(0.98, "the replicas come to rest")
        watched.converged = await cluster.converged(_CONVERGENCE_S)
        contents = await contents_of(cluster, config.workload) if watched.converged.ok else {}
        watched.appends = appends(load.operations, contents)
    context.progress(1.0, "judging")
    return _outcome(context, watched, parameters)


def _load(parameters: Parameters, seed: int) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=0.0,
        rate_per_s=parameters.rate_per_s,
        duration_s=_LOAD_S_MAX,
        warmup_s=0,
        value_bytes=16,
        seed=seed,
        timeout_s=_TIMEOUT_S,
        workload="appends",
    )


async def _disturb(cluster: Cluster, watched: _Watched, parameters: Parameters) -> None:
    """Let the schedule strike, and again what did not take effect; then heal, and wait for a write."""
    load, injector = watched.load, watched.injector
    try:
        await load.sees(load.is_acknowledged)
        async with asyncio.timeout(parameters.duration_s + _OVERTIME_S):
            await injector.run(watched.schedule)
            if parameters.every_kind:
                await _strike_again(cluster, watched)
    except WorkbenchError as error:
        watched.problem = str(error)
    except TimeoutError:
        watched.problem = f"the faults were not over {_OVERTIME_S:g} s after they should have been"
    try:
        await injector.heal()
        watched.healed_ms = healed_ms = load.note("healed")
        await load.sees(
            lambda row: load.is_acknowledged(row) and (row.completed_ns or 0) > healed_ms * 1e6, timeout_s=_CALM_S
        )
    except WorkbenchError as error:
        watched.problem = watched.problem or f"after all faults had ended: {error}"


async def _strike_again(cluster: Cluster, watched: _Watched) -> None:
    """Whatever kind has not shown itself strikes alone, with nothing in its way, for longer than before."""
    for attempt in range(1, _AGAIN_MAX + 1):
        missing = {fault.kind: fault for fault in watched.schedule if fault.kind not in watched.injector.took_effect}
        for fault in missing.values():
            await cluster.wait_for_leader()
            longer = replace(fault, at_ms=0, for_ms=fault.for_ms * _LONGER**attempt)
            watched.planned[fault.kind] += 1
            await watched.injector.run((longer,))


@contextlib.asynccontextmanager
async def _watching(context: Context, cluster: Cluster, watched: _Watched, duration_s: float) -> AsyncIterator[None]:
    """Look at the replicas, and tell of progress, while the block's body runs."""
    looking = asyncio.create_task(_look(context, cluster, watched, duration_s), name="look at the replicas")
    try:
        yield
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def _look(context: Context, cluster: Cluster, watched: _Watched, duration_s: float) -> None:
    scene = Scene(cluster, Random(0))  # it draws nothing
    told_ms = 0.0
    while True:
        asked_ms = watched.load.now_ms
        watched.states.look(await _states(scene, watched), asked_ms)
        if asked_ms - told_ms >= 1e3 * _TELL_S:
            told_ms = asked_ms
            count = watched.injector.took_effect.total()
            context.progress(min(asked_ms / 1e3 / duration_s, 1) * 0.95, f"{count} faults have taken effect")
        await asyncio.sleep(_LOOK_S)


async def _states(scene: Scene, watched: _Watched) -> dict[str, State]:
    names = scene.cluster.names
    for name in names:
        process = scene.process(name)
        if process is not None and process.returncode is not None and process not in watched.ended:
            watched.ended[process] = last_line(process)
    answers = await scene.statuses(names)
    states: dict[str, State] = {}
    for name in names:
        if name in answers:
            states[name] = answers[name].role, answers[name].term
        else:
            states[name] = ("silent" if scene.running([name]) else "paused" if scene.is_up(name) else "down"), 0
    return states


# Results.


def _outcome(context: Context, watched: _Watched, parameters: Parameters) -> Outcome:
    kinds, row = _fault_rows(watched), _row(watched, parameters)
    found = watched.appends
    assert found is not None
    return Outcome(
        operations=watched.load.operations,
        summary=[row],
        tables={
            "faults": kinds,
            "struck": [_struck_row(watched, report) for report in watched.injector.reports],
            "states": watched.states.rows(watched.cell),
            "rates": records(rates_over_time(watched.load.operations)),
            "events": [event | {"detail": watched.shortened(event["detail"])} for event in watched.load.events],
        },
        verdicts=judge_real(row, kinds, every_kind=parameters.every_kind),
        checks={"convergence": _convergence(watched.converged), **found.verdicts()},
        invariants={
            "converged": row["converged"],
            "lost_acknowledged_writes": row["lost_acknowledged_writes"],
            "unexplained_ends": row["unexplained_ends"],
            "replica_processes": parameters.followers + 1,
            "world": context.world,
        },
    )


def _row(watched: _Watched, parameters: Parameters) -> Row:
    operations, found = watched.load.operations, watched.appends
    leaders = watched.states.leaders
    lost = None if found is None or found.problem else int(found.counts["lost_acknowledged_writes"])
    return {
        "cell": watched.cell,
        "ack": parameters.ack,
        "log_format": parameters.log_format,
        "under_faults_s": watched.healed_ms / 1e3,
        "faults_planned": watched.planned.total(),
        "faults_that_struck": len(watched.injector.reports),
        "faults": watched.injector.took_effect.total(),
        "kinds": len(watched.injector.took_effect),
        "leader_changes": max(len(leaders) - 1, 0),
        "acknowledged_writes": int((operations["outcome"] == "ok").sum()),
        "failed": int((operations["outcome"] == "fail").sum()),
        "indefinite": int((operations["outcome"] == "info").sum()),
        "lost_acknowledged_writes": lost,
        "converged": watched.converged is not None and watched.converged.ok,
        "unexplained_ends": len(watched.unexplained_ends),
        "problem": "; ".join(filter(None, [watched.problem, *watched.unexplained_ends])),
    }


def _fault_rows(watched: _Watched) -> list[Row]:
    """One row a kind that this world can do: how many were planned, struck and took effect; the first evidence."""
    struck = Counter(report.fault.kind for report in watched.injector.reports)
    shown = {report.fault.kind: report.evidence for report in reversed(watched.injector.reports) if report.evidence}
    return [
        {
            "cell": watched.cell,
            "kind": kind,
            "planned": watched.planned[kind],
            "struck": struck[kind],
            "took_effect": watched.injector.took_effect[kind],
            "evidence": watched.shortened(shown.get(kind, "")),
        }
        for kind, fault in KINDS.items()
        if "real" in fault.worlds
    ]


def _struck_row(watched: _Watched, report: FaultReport) -> Row:
    start_ns = watched.load.start_ns
    return {
        "cell": watched.cell,
        "kind": report.fault.kind,
        "target": report.fault.target,
        "replicas": ",".join(report.replicas),
        "from_ms": (report.began_ns - start_ns) / 1e6,
        "to_ms": (report.ended_ns - start_ns) / 1e6 if report.ended_ns else watched.healed_ms,
        "took_effect": bool(report.evidence),
        "evidence": watched.shortened(report.evidence),
    }


def _convergence(report: ConvergenceReport | None) -> Verdict:
    if report is None:
        return Verdict.unknown("the replicas were not compared")
    return convergence(report.digests) if report.digests else Verdict.invalid(report.reason)
