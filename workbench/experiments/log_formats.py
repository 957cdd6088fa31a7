"""What exactly does the leader send? Statements, pages or rows: what each costs, what breaks it, and what it survives.

Four parts, each to be run alone (`parts`):

    load     single-row writes on a real cluster a format: the bytes and the time that each took
    costs    other workloads, and bulk updates of ever more rows, on two databases of this process (`..._costs.py`)
    unsafe   every cause for which a statement may differ between replicas x format and policy (`..._unsafe.py`)
    engines  followers that read, store or compute otherwise than their leader x format (`..._engines.py`)

The cells of the last two are real clusters. What their replicas hold is compared by digests of their rows, never by
what a format promises, and then with the table of expectations that stands beside each matrix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from workbench.client.load import LoadConfig
from workbench.config import LOG_FORMATS, AckPolicy, LogFormatName
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import (
    MeasuredLoad,
    all_operations,
    cell_name,
    cell_seed,
    convergence_verdict,
    invariants,
    latency_row,
    lost_writes_verdict,
    measure_load,
    started_cluster,
)
from workbench.experiments.log_formats_claims import CLAIMS, MINIMUMS, judge
from workbench.experiments.log_formats_costs import measure_bulk, measure_workload, on_a_thread
from workbench.experiments.log_formats_engines import CHANGES, FORMATS, measure_format
from workbench.experiments.log_formats_scenarios import COLUMNS, SCENARIOS
from workbench.experiments.log_formats_unsafe import measure_column
from workbench.experiments.log_formats_workloads import REPEATS_MAX, WORKLOADS
from workbench.experiments.parameters import parameter

T = TypeVar("T")
R = TypeVar("R")

PARTS = ("load", "costs", "unsafe", "engines")
COMPARED: tuple[LogFormatName, ...] = ("statement", "wal", "logical")
"""Formats by default. The format `mixed` costs what a statement does, or what rows do; the matrices have it always."""
_FEW_ROWS, _FEW_REPEATS = 1_000, 20
"""Whoever asks for small bulk updates only is in a hurry."""
_AT_ONCE = 2
"""Clusters of the matrices that run at once: they wait for clocks and processes more than they compute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    log_format: tuple[str, ...] = parameter(COMPARED, help="Log formats whose costs are compared.", choices=LOG_FORMATS)
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
    rows: tuple[int, ...] = parameter(
        (1, 10, 100, 1_000, 10_000, 100_000), help="Rows that one bulk update changes.", low=1, high=1_000_000
    )
    row_bytes: int = parameter(
        0, help="Size of a column that bulk updates leave as it is.", unit="bytes", low=0, high=1_000
    )
    unsafe_writes: int = parameter(5, help="Statements of each kind that may be repeated.", low=1, high=10_000)
    parts: tuple[str, ...] = parameter(PARTS, help="Parts of the experiment to run.", choices=PARTS)


@dataclass(kw_only=True)
class _Found:
    """What the parts have found so far."""

    loads: list[MeasuredLoad] = field(default_factory=list)
    summary: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    crossings: list[Row] = field(default_factory=list)
    unsafe: list[Row] = field(default_factory=list)
    engines: list[Row] = field(default_factory=list)
    divergence: list[Row] = field(default_factory=list)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Run the parts, one after the other."""
    found = _Found()
    steps = {"load": _measure_loads, "costs": _measure_costs, "unsafe": _measure_unsafe, "engines": _measure_engines}
    chosen = [part for part in PARTS if part in parameters.parts]
    for place, part in enumerate(chosen):

        def tell(fraction: float, text: str, place: int = place) -> None:
            context.progress((place + fraction) / len(chosen), text)

        await steps[part](context, parameters, found, tell)
    context.progress(1.0, "judging")
    return _outcome(found, parameters)


_Tell = Callable[[float, str], None]


async def _measure_loads(context: Context, parameters: Parameters, found: _Found, tell: _Tell) -> None:
    for place, log_format in enumerate(parameters.log_format):
        tell(place / len(parameters.log_format), f"load, log format {log_format}")
        async with started_cluster(
            context,
            log_format,
            followers=parameters.followers,
            log_format=log_format,
            ack=AckPolicy.parse(parameters.ack),
        ) as cluster:
            name = cell_name(log_format=log_format)
            load = await measure_load(cluster, _load(parameters, context.seed, log_format), name)
        found.loads.append(load)
        found.summary.append(_cost_row(log_format, load))


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


async def _measure_costs(context: Context, parameters: Parameters, found: _Found, tell: _Tell) -> None:
    directory, formats = context.directory / "costs", [name for name in LOG_FORMATS if name in parameters.log_format]
    repeats = _FEW_REPEATS if max(parameters.rows) <= _FEW_ROWS else REPEATS_MAX
    for place, workload in enumerate(WORKLOADS):
        tell(place / len(WORKLOADS) / 2, f"costs, {workload.words}")
        measure = partial(measure_workload, workload, formats, directory / workload.name, context.seed, repeats)
        found.costs += await on_a_thread(measure)
    tell(0.5, "costs, bulk updates")
    measure_all = partial(measure_bulk, parameters.rows, formats, directory / "bulk", parameters.row_bytes)
    bulk = await on_a_thread(measure_all)
    found.costs += bulk.costs
    found.crossings += [row | {"row_bytes": parameters.row_bytes} for row in bulk.crossings]


async def _measure_unsafe(context: Context, parameters: Parameters, found: _Found, tell: _Tell) -> None:
    columns = [column for column in COLUMNS if column.log_format in _formats(parameters)]
    measured = await _together(
        columns,
        lambda column: measure_column(
            context, column, followers=parameters.followers, repeats=parameters.unsafe_writes
        ),
        lambda done, column: tell(done / len(columns), f"unsafe statements, {column.name}"),
    )
    for rows, located in measured:
        found.unsafe += rows
        found.divergence += located
    order = [scenario.cause for scenario in SCENARIOS]
    found.unsafe.sort(key=lambda row: order.index(row["cause"]))  # by row of the matrix; columns keep their order


async def _measure_engines(context: Context, parameters: Parameters, found: _Found, tell: _Tell) -> None:
    formats = [name for name in FORMATS if name in _formats(parameters)]
    measured = await _together(
        formats,
        lambda name: measure_format(context, name),
        lambda done, name: tell(done / len(formats), f"other followers, {name}"),
    )
    found.engines += [row for rows in measured for row in rows]
    order = [change.name for change in CHANGES]
    found.engines.sort(key=lambda row: order.index(row["change"]))


def _formats(parameters: Parameters) -> set[str]:
    """Formats of the matrices: what is not safe to copy as a statement, `mixed` ships as rows."""
    return {*parameters.log_format, *(["mixed"] if "statement" in parameters.log_format else [])}


async def _together(
    items: Sequence[T], measure: Callable[[T], Awaitable[R]], begin: Callable[[int, T], None]
) -> list[R]:
    """The results in the order of `items`, a few of which are measured at once. The first error ends all."""
    turns, done = asyncio.Semaphore(_AT_ONCE), 0

    async def one(item: T) -> R:
        nonlocal done
        async with turns:
            begin(done, item)
            result = await measure(item)
            done += 1
            return result

    tasks = [asyncio.create_task(one(item), name=f"measure-{item}") for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _outcome(found: _Found, parameters: Parameters) -> Outcome:
    checks = {}
    held: dict[str, Any] = {"replica_processes": parameters.followers + 1}
    if found.loads:
        checks = {"convergence": convergence_verdict(found.loads), "lost_writes": lost_writes_verdict(found.loads)}
        held = invariants(found.loads)
    return Outcome(
        operations=all_operations(found.loads),
        summary=found.summary,
        tables={
            "costs": found.costs,
            "crossings": found.crossings,
            "unsafe": found.unsafe,
            "engines": found.engines,
            "divergence": found.divergence,
        },
        verdicts=judge(found.summary, found.costs, found.crossings, found.unsafe, found.engines, found.divergence),
        checks=checks,
        invariants=held,
    )


EXPERIMENT = Experiment(
    name="log_formats",
    number="04",
    question="What exactly does the leader send?",
    parameters=Parameters,
    profiles={
        "ci": {"duration_s": 0.5, "warmup_s": 0.1, "rows": (1, 10, 100, 1_000)},
        "quick": {"duration_s": 2.0},
        "full": {
            "duration_s": 20.0,
            "warmup_s": 2.0,
            "sessions": 32,
            "keys": 10_000,
            "rows": (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
            "unsafe_writes": 100,
        },
    },
    conduct=conduct,
    claims=dict(CLAIMS),
    minimums=MINIMUMS,
    required_checks=("convergence", "lost_writes"),
)
