"""Why did my own comment vanish? What sessions see under each read policy, and what each policy costs.

One cell for each read policy, all on one cluster whose followers are behind by different delays: one of them
(`slow_follower_delay_ms`) more than the others. A session writes keys of its own, as people write their own comments,
and reads these and its neighbours'. Two guarantees are judged: *read your writes* (a session never reads a value of
its own key older than the one it wrote) and *monotonic reads* (it never reads a value older than one it has read).

The price of a policy is what its reads take longer than those of `any`, from the moment they are sent, since a session
that waits for one read is late with the next. Links to clients have no delay here: reading from the leader costs the
leader's time, not the way there. So the share of reads that the leader answers is the other half of the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.checkers import Staleness, Verdict, staleness
from workbench.checkers.sessions import GUARANTEES, Guarantee, SessionGuarantees, session_guarantees
from workbench.client.load import LoadConfig
from workbench.client.policies import parse_policy
from workbench.config import LOG_FORMATS, AckPolicy, Timing
from workbench.experiments.base import Context, Experiment, Outcome, Row
from workbench.experiments.cells import (
    MeasuredLoad,
    all_operations,
    cell_name,
    cell_seed,
    check_ack,
    convergence_verdict,
    invariants,
    latency_row,
    lost_writes_verdict,
    measure_load,
    rate_columns,
    records,
    started_cluster,
)
from workbench.experiments.parameters import parameter
from workbench.experiments.session_claims import CLAIMS, JUDGED, MINIMUMS, PolicyVerdicts, judge, promises

READ_POLICIES = (
    "any",
    "sticky",
    "monotonic",
    "read_your_writes",
    "read_your_writes:leader_for_own",
    "read_your_writes:window",
    "bounded:30ms",
    "causal",
    "leader",
    "linearizable",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    read_policy: tuple[str, ...] = parameter(
        READ_POLICIES, help="Read policies to compare.", choices=READ_POLICIES, check=parse_policy
    )
    ack: str = parameter(
        "async", help="When a write is acknowledged.", choices=("async", "quorum", "sync"), check=AckPolicy.parse
    )
    followers: int = parameter(2, help="Followers of the leader.", low=1, high=7)
    follower_delay_ms: float = parameter(
        15.0, help="Delay added to what followers receive, all but the last one.", unit="ms", low=0, high=1_000
    )
    slow_follower_delay_ms: float = parameter(
        120.0, help="Delay added to what the last follower receives.", unit="ms", low=0, high=1_000
    )
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(64, help="Sessions that read and write at once.", low=1, high=256)
    own_keys: int = parameter(1, help="Keys of each session, which it alone writes.", low=1, high=100)
    own_read_fraction: float = parameter(
        0.7, help="Share of a session's reads that are of its own keys.", low=0, high=1, step=0.05
    )
    read_fraction: float = parameter(0.8, help="Share of operations that read.", low=0, high=1, step=0.05)
    rate_per_s: float = parameter(1_500.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    duration_s: float = parameter(1.5, help="How long each policy is measured.", unit="s", low=0.2, high=600)
    warmup_s: float = parameter(0.2, help="Load before that, which no latency counts.", unit="s", low=0, high=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One policy, its load, and what the checkers say of it. The guarantees are judged on the whole history, the
    staleness too."""

    read_policy: str
    delay_ms: float
    """Of the slowest follower."""
    load: MeasuredLoad
    guarantees: SessionGuarantees
    staleness: Staleness

    def promises(self, guarantee: Guarantee) -> bool:
        return promises(self.read_policy, guarantee, self.delay_ms)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Measure every policy on one cluster."""
    check_ack(parameters.ack, parameters.followers)
    slowest = max(parameters.follower_delay_ms, parameters.slow_follower_delay_ms)
    cells: list[Cell] = []
    async with started_cluster(
        context,
        cell_name(ack=parameters.ack),
        followers=parameters.followers,
        log_format=parameters.log_format,
        ack=AckPolicy.parse(parameters.ack),
        timing=Timing.for_delay(slowest),
    ) as cluster:
        await cluster.set_link_delay(parameters.follower_delay_ms)
        await cluster.set_link_delay(parameters.slow_follower_delay_ms, replicas=cluster.names[-1:])
        for policy in parameters.read_policy:
            name = cell_name(read_policy=policy)
            context.progress(len(cells) / len(parameters.read_policy), name)
            load = await measure_load(cluster, load_of(parameters, context.seed, policy), name)
            cells.append(
                Cell(
                    read_policy=policy,
                    delay_ms=slowest,
                    load=load,
                    guarantees=session_guarantees(load.operations),
                    staleness=staleness(load.operations),
                )
            )
    context.progress(1.0, "judging")
    return _outcome(cells, parameters)


def load_of(parameters: Parameters, seed: int, read_policy: str) -> LoadConfig:
    """The load under one policy. Which operations come when is drawn from the seed alone, before anything is sent."""
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=parameters.read_fraction,
        rate_per_s=parameters.rate_per_s,
        duration_s=parameters.duration_s,
        warmup_s=parameters.warmup_s,
        own_keys=parameters.own_keys,
        own_read_fraction=parameters.own_read_fraction,
        value_bytes=16,
        read_policy=read_policy,
        seed=cell_seed(seed, cell_name(read_policy=read_policy)),
    )


def _outcome(cells: Sequence[Cell], parameters: Parameters) -> Outcome:
    loads = [cell.load for cell in cells]
    summary = with_prices([{"ack": parameters.ack} | _summary_row(cell) for cell in cells])
    checks: dict[str, Verdict] = {
        guarantee: Verdict.all({cell.load.cell: cell.guarantees.verdict(guarantee) for cell in cells})
        for guarantee in GUARANTEES
    }
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={"by_replica": [row for cell in cells for row in _by_replica(cell)]},
        verdicts=judge([_verdicts(cell) for cell in cells], parameters.ack),
        checks={
            "convergence": convergence_verdict(loads),
            "lost_writes": lost_writes_verdict(loads),
            **checks,
            "staleness": Verdict.all({cell.load.cell: cell.staleness.verdict("stale_rate") for cell in cells}),
        },
        invariants=invariants(loads),
    )


def _verdicts(cell: Cell) -> PolicyVerdicts:
    """The verdicts on one cell."""
    return PolicyVerdicts(
        read_policy=cell.read_policy,
        delay_ms=cell.delay_ms,
        guarantees={guarantee: cell.guarantees.verdict(guarantee) for guarantee in JUDGED},
        stale=cell.staleness.verdict("stale_rate"),
        age_ms_max=float(cell.staleness.reads["age_acknowledged_ms"].max()),
        rates=rate_columns(cell.load.measured),
    )


def _summary_row(cell: Cell) -> Row:
    """How much was done, both guarantees with their intervals, staleness, latency and who answered."""
    operations = cell.load.operations
    ok = operations[operations["outcome"] == "ok"]
    reads, writes = ok[ok["kind"] == "read"], ok[ok["kind"] == "write"]
    row: Row = {
        "cell": cell.load.cell,
        "read_policy": cell.read_policy,
        "reads": len(reads),
        "writes": len(writes),
        "not_ok": len(operations) - len(ok),
    }
    for guarantee in JUDGED:
        row[f"promises_{guarantee}"] = cell.promises(guarantee)
        row |= _violations(cell.guarantees, guarantee)
    stale = next(iter(records(cell.staleness.summary())), {})
    for name in ("stale_rate_acknowledged", "stale_rate"):
        row |= {f"{name}{end}": stale.get(f"{name}{end}", float("nan")) for end in ("", "_low", "_high")}
    row["age_ms_max"] = float(cell.staleness.reads["age_acknowledged_ms"].max())
    latency = latency_row(cell.load, "read")
    row |= {
        f"read_latency_from_send_ms_{name}": latency.get(f"latency_from_send_ms_{name}", float("nan"))
        for name in ("mean", "p50", "p99")
    }
    row["leader_share"] = float((reads["replica"] == cell.load.leader).mean()) if len(reads) else float("nan")
    return row | {name: latency.get(name) for name in ("target_rate_per_s", "achieved_rate_per_s", "target_met")}


def _violations(found: SessionGuarantees, guarantee: Guarantee) -> Row:
    """Checked, violations and the rate of one guarantee; a rate of nothing is missing."""
    summary = {figures["guarantee"]: figures for figures in records(found.summary("guarantee"))}
    figures = summary.get(guarantee, {"checked": 0, "violations": 0})
    rate = {
        f"{guarantee}_violation_rate{end}": figures.get(f"violation_rate{end}", float("nan"))
        for end in ("", "_low", "_high")
    }
    return {f"{guarantee}_{name}": figures[name] for name in ("checked", "violations")} | rate


def with_prices(summary: Sequence[Row]) -> list[Row]:
    """The rows with what their reads take longer than those of `any`; missing when `any` was not measured."""
    base: Row = next((row for row in summary if row["read_policy"] == "any"), {})
    rows = []
    for row in summary:
        prices = {}
        for name in ("mean", "p50", "p99"):
            column = f"read_latency_from_send_ms_{name}"
            prices[f"price_ms_{name}"] = row[column] - base.get(column, float("nan"))
        rows.append(row | prices)
    return rows


def _by_replica(cell: Cell) -> list[Row]:
    """Whom the reads of a policy went to."""
    operations = cell.load.operations
    reads = operations[(operations["kind"] == "read") & (operations["outcome"] == "ok")]
    counts = reads["replica"].value_counts()
    return [
        {
            "read_policy": cell.read_policy,
            "replica": name,
            "role": "leader" if name == cell.load.leader else "follower",
            "reads": int(counts.get(name, 0)),
            "share": counts.get(name, 0) / len(reads) if len(reads) else float("nan"),
        }
        for name in sorted(cell.load.growth)
    ]


EXPERIMENT = Experiment(
    name="session_guarantees",
    number="03",
    question="Why did my own comment vanish?",
    parameters=Parameters,
    profiles={
        "ci": {
            "read_policy": ("any", "sticky", "read_your_writes", "bounded:30ms", "causal", "linearizable"),
            "duration_s": 1.5,
            "warmup_s": 0.1,
        },
        "quick": {},
        "full": {"duration_s": 20.0, "warmup_s": 2.0},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims=CLAIMS,
    minimums=MINIMUMS,
    required_checks=("convergence", "lost_writes"),
)
