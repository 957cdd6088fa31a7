"""How often does a read return the past? Stale reads by ack policy, read policy and delay of the followers.

One cell for each combination. A few keys are written and read often, so that most reads come soon after a write to
the same key. Two figures: `stale_rate_acknowledged` counts reads that are older than the newest write acknowledged
before they began; `stale_rate` also counts those older than a value that some read had already returned. Under
`sync` the second can exceed zero although the first cannot: a follower shows a write before the leader has heard
from all followers, so one reader may be ahead of the acknowledgement and the next one, elsewhere, not.

Each cell is predicted, too: from how far followers were behind in its first half, how many reads of its second half are
stale (see `stale_reads_prediction`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from workbench.checkers import Staleness, Verdict, staleness
from workbench.checkers.visibility import visibility
from workbench.client.load import LoadConfig
from workbench.config import LOG_FORMATS, AckPolicy, Timing
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import (
    MeasuredLoad,
    all_operations,
    cell_name,
    cell_seed,
    check_ack,
    claim,
    convergence_verdict,
    invariants,
    kept_up,
    latency_row,
    lost_writes_verdict,
    measure_load,
    records,
    started_cluster,
)
from workbench.experiments.parameters import parameter
from workbench.experiments.stale_reads_prediction import CellPrediction, noted_times, predict_cell

ACKS = ("async", "semi_sync:1", "quorum", "sync", "sync/durable")
READ_POLICIES = ("leader", "sticky", "any")
CHART_AGES_MAX = 2_000
"""Ages of a cell kept for the chart; the percentiles come from all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    ack: tuple[str, ...] = parameter(
        ("async", "sync"), help="Ack policies to compare.", choices=ACKS, check=AckPolicy.parse
    )
    read_policy: tuple[str, ...] = parameter(
        READ_POLICIES,
        help="Where reads go: to the leader, to one replica a session, to any replica.",
        choices=READ_POLICIES,
    )
    follower_delay_ms: tuple[float, ...] = parameter(
        (0.0, 10.0, 40.0), help="Delays added to what followers receive.", unit="ms", low=0, high=5_000
    )
    followers: int = parameter(2, help="Followers of the leader.", low=1, high=7)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(32, help="Sessions that read and write at once.", low=1, high=256)
    read_fraction: float = parameter(0.8, help="Share of operations that read.", low=0, high=1, step=0.05)
    rate_per_s: float = parameter(500.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    duration_s: float = parameter(3.0, help="How long each cell is measured.", unit="s", low=0.2, high=600)
    warmup_s: float = parameter(0.2, help="Load before that, which no figure counts.", unit="s", low=0, high=60)
    keys: int = parameter(4, help="Keys that are written and read.", low=1, high=100_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """One combination, its load, and what the checker says of the reads after the warm-up."""

    ack: str
    read_policy: str
    follower_delay_ms: float
    load: MeasuredLoad
    staleness: Staleness
    prediction: CellPrediction

    @property
    def labels(self) -> Row:
        return {
            "cell": self.load.cell,
            "ack": self.ack,
            "read_policy": self.read_policy,
            "follower_delay_ms": self.follower_delay_ms,
        }


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Measure every cell; all cells of one ack policy share a cluster."""
    for ack in parameters.ack:
        check_ack(ack, parameters.followers)
    cells: list[_Cell] = []
    each = list(product(parameters.follower_delay_ms, parameters.read_policy))
    for ack in parameters.ack:
        async with started_cluster(
            context,
            cell_name(ack=ack),
            followers=parameters.followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(ack),
            timing=Timing.for_delay(max(parameters.follower_delay_ms)),
            apply_times=True,
        ) as cluster:
            for delay, policy in each:
                name = cell_name(ack=ack, read_policy=policy, follower_delay_ms=delay)
                context.progress(len(cells) / (len(each) * len(parameters.ack)), name)
                await cluster.set_link_delay(delay)
                load = await measure_load(cluster, _load(parameters, context.seed, policy, name), name)
                found = _staleness(load)
                prediction = predict_cell(load, noted_times(cluster, load), found)
                cells.append(
                    _Cell(
                        ack=ack,
                        read_policy=policy,
                        follower_delay_ms=delay,
                        load=load,
                        staleness=found,
                        prediction=prediction,
                    )
                )
    context.progress(1.0, "judging")
    return _outcome(cells)


def _load(parameters: Parameters, seed: int, read_policy: str, cell: str) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=parameters.read_fraction,
        rate_per_s=parameters.rate_per_s,
        duration_s=parameters.duration_s,
        warmup_s=parameters.warmup_s,
        keys=parameters.keys,
        value_bytes=16,
        read_policy=read_policy,
        seed=cell_seed(seed, cell),
    )


def _staleness(load: MeasuredLoad) -> Staleness:
    """Judged on the whole history, since a read after the warm-up may miss a write before its end."""
    found = staleness(load.operations)
    late = set(load.measured["operation"])
    return replace(found, reads=found.reads[found.reads["operation"].isin(late)])


def _outcome(cells: Sequence[_Cell]) -> Outcome:
    loads = [cell.load for cell in cells]
    summary = [_summary_row(cell) for cell in cells]
    by_cell = {cell.load.cell: cell.staleness.verdict("stale_rate_acknowledged") for cell in cells}
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={
            "by_replica": _by_replica(cells),
            "ages": _ages(cells),
            "visibility": [cell.labels | row for cell in cells for row in records(visibility(cell.staleness.reads))],
            "prediction": [cell.labels | row for cell in cells for row in cell.prediction.bins()],
            "prediction_curve": [cell.labels | row for cell in cells for row in cell.prediction.curve()],
        },
        verdicts=judge([(row, by_cell[row["cell"]]) for row in summary]),
        checks={
            "convergence": convergence_verdict(loads),
            "lost_writes": lost_writes_verdict(loads),
            "staleness": Verdict.all(by_cell),
        },
        invariants=invariants(loads),
    )


def _summary_row(cell: _Cell) -> Row:
    """Both rates with their intervals, ages, and how much was done. Without reads or writes the rates are missing."""
    figures = records(cell.staleness.summary())
    measured = cell.load.measured
    writes = int(((measured["kind"] == "write") & (measured["outcome"] == "ok")).sum())
    row = cell.labels | (figures[0] if figures else _no_reads()) | {"writes": writes} | cell.prediction.columns()
    latency = latency_row(cell.load, "read")
    kept = ("latency_ms_p50", "latency_ms_p99", "target_rate_per_s", "achieved_rate_per_s", "target_met")
    return row | {name if "rate" in name or "target" in name else f"read_{name}": latency.get(name) for name in kept}


def _no_reads() -> Row:
    nothing = float("nan")
    rates = ("stale_rate_acknowledged", "stale_rate")
    return {
        "reads": 0,
        "reads_at_risk": 0,
        **{f"{rate}{end}": nothing for rate in rates for end in ("", "_low", "_high")},
    }


def _by_replica(cells: Sequence[_Cell]) -> list[Row]:
    rows = []
    for cell in cells:
        for figures in records(cell.staleness.by_replica()):
            role = "leader" if figures["replica"] == cell.load.leader else "follower"
            kept = ("replica", "reads", "stale_rate_acknowledged", "stale_rate")
            rows.append(cell.labels | {"role": role} | {name: figures[name] for name in kept})
    return rows


def _ages(cells: Sequence[_Cell]) -> list[Row]:
    """The age of each read older than an acknowledged write, thinned evenly along their order when there are many."""
    rows = []
    for cell in cells:
        ages = cell.staleness.reads["age_acknowledged_ms"].dropna().sort_values().to_list()
        step = max(1, -(-len(ages) // CHART_AGES_MAX))
        rows += [cell.labels | {"age_ms": float(age)} for age in ages[step // 2 :: step]]
    return rows


def judge(cells: Sequence[tuple[Row, Verdict]]) -> dict[str, Verdict]:
    """The claims, from each cell's row of the summary and the checker's verdict on it."""
    enough = [(labels, _enough(verdict)) for labels, verdict in cells]
    groups = {
        "async_any_returns_the_past": [
            (labels, kept_up(verdict.negated(), labels))
            for labels, verdict in enough
            if labels["ack"].startswith("async") and labels["read_policy"] == "any" and labels["follower_delay_ms"] > 0
        ],
        "leader_reads_are_fresh": [item for item in enough if item[0]["read_policy"] == "leader"],
        "sync_applied_reads_are_fresh": [
            item for item in enough if AckPolicy.parse(item[0]["ack"]) == AckPolicy.sync()
        ],
    }
    return {
        name: claim({_label(labels): verdict for labels, verdict in group}) for name, group in groups.items() if group
    }


def _label(labels: Row) -> str:
    return f"{labels['ack']}, {labels['read_policy']}, {labels['follower_delay_ms']:g} ms"


def _enough(verdict: Verdict) -> Verdict:
    """Unknown also when too few reads could have been stale; what is unknown already keeps its own reason."""
    if verdict.status == "unknown":
        return verdict
    return verdict.needing("reads_at_risk", EXPERIMENT.minimums["reads_at_risk"])


EXPERIMENT = Experiment(
    name="stale_reads",
    number="02",
    question="How often does a read return the past?",
    parameters=Parameters,
    profiles={
        "ci": {"read_policy": ("leader", "any"), "follower_delay_ms": (40.0,), "duration_s": 0.6, "warmup_s": 0.1},
        "quick": {"read_policy": ("leader", "any"), "follower_delay_ms": (0.0, 10.0, 40.0), "duration_s": 1.0},
        "full": {"ack": ("async", "quorum", "sync"), "follower_delay_ms": (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "async_any_returns_the_past": "With followers delayed, reads of any replica are stale at times under async.",
        "leader_reads_are_fresh": "A read of the leader never misses an acknowledged write.",
        "sync_applied_reads_are_fresh": "When all replicas have applied a write before it is acknowledged, no read of "
        "any replica misses an acknowledged write.",
    },
    minimums={"reads_at_risk": 50},
    required_checks=("convergence", "lost_writes"),
)
