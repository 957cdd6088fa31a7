"""How long does a write wait for its followers? The latency of writes under each ack policy.

One cell for each ack policy, number of followers and delay of the followers. The load is open-loop by default:
writes are due at a fixed rate whether or not earlier ones were answered, and the latency counts from the moment a
write was due (from the moment it was sent is reported next to it). The delay is added where a follower receives, so
that it is paid once on the way there: nothing that waits for a follower can take less, and what does not wait need
not notice it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from workbench.checkers.verdict import Verdict
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
    started_cluster,
)
from workbench.experiments.parameters import parameter
from workbench.metrics import latencies_ms

ACKS = ("async", "semi_sync:1", "quorum", "sync", "sync/durable", "sync/received")
CHART_SAMPLES_MAX = 2_000
"""Latencies of a cell kept for the chart of distributions; the percentiles come from all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    ack: tuple[str, ...] = parameter(ACKS, help="Ack policies to compare.", choices=ACKS, check=AckPolicy.parse)
    followers: tuple[int, ...] = parameter((2,), help="Numbers of followers to compare.", low=1, high=7)
    follower_delay_ms: tuple[float, ...] = parameter(
        (0.0, 40.0), help="Delays added to what followers receive.", unit="ms", low=0, high=5_000
    )
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(32, help="Sessions that write at once.", low=1, high=256)
    rate_per_s: float = parameter(
        200.0, help="Writes due a second, over all sessions; 0: each session writes as fast as it is answered.",
        unit="1/s", low=0, high=100_000,
    )  # fmt: skip
    duration_s: float = parameter(2.0, help="How long each cell is measured.", unit="s", low=0.2, high=600)
    warmup_s: float = parameter(0.2, help="Load before that, which no figure counts.", unit="s", low=0, high=60)
    keys: int = parameter(1_000, help="Rows that the writes choose from.", low=1, high=100_000)
    value_bytes: int = parameter(100, help="Size of the value in each row.", unit="bytes", low=0, high=1_000_000)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Measure every cell; the delays of one ack policy and number of followers share a cluster."""
    for ack, followers in product(parameters.ack, parameters.followers):
        check_ack(ack, followers)
    loads: list[MeasuredLoad] = []
    summary: list[Row] = []
    latencies: list[Row] = []
    cells = len(parameters.ack) * len(parameters.followers) * len(parameters.follower_delay_ms)
    for followers, ack in product(parameters.followers, parameters.ack):
        async with started_cluster(
            context,
            cell_name(ack=ack, followers=followers),
            followers=followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(ack),
            timing=Timing.for_delay(max(parameters.follower_delay_ms)),
        ) as cluster:
            for delay in parameters.follower_delay_ms:
                cell = cell_name(ack=ack, followers=followers, follower_delay_ms=delay)
                context.progress(len(loads) / cells, cell)
                await cluster.set_link_delay(delay)
                load = await measure_load(cluster, _load(parameters, context.seed, cell), cell)
                loads.append(load)
                where = {"cell": cell, "ack": ack, "followers": followers, "follower_delay_ms": delay}
                summary.append(where | latency_row(load, "write"))
                latencies += _samples(load)
    context.progress(1.0, "judging")
    converged, lost = convergence_verdict(loads), lost_writes_verdict(loads)
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={"latencies": latencies},
        verdicts=judge(summary),
        checks={"convergence": converged, "lost_writes": lost},
        invariants=invariants(loads),
    )


def _load(parameters: Parameters, seed: int, cell: str) -> LoadConfig:
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=0.0,
        rate_per_s=parameters.rate_per_s or None,
        duration_s=parameters.duration_s,
        warmup_s=parameters.warmup_s,
        keys=parameters.keys,
        value_bytes=parameters.value_bytes,
        read_policy="leader",
        seed=cell_seed(seed, cell),
    )


def _samples(load: MeasuredLoad) -> list[Row]:
    """Latencies for the chart of distributions, thinned evenly along their order when there are many."""
    values = latencies_ms(load.measured)
    step = max(1, -(-len(values) // CHART_SAMPLES_MAX))
    return [{"cell": load.cell, "latency_ms": float(value)} for value in values[step // 2 :: step]]


def judge(summary: Sequence[Row]) -> dict[str, Verdict]:
    """The claims, from the medians of the cells whose followers were delayed."""
    delayed = [row for row in summary if row["follower_delay_ms"] > 0]
    waiting = [row for row in delayed if AckPolicy.parse(row["ack"]).followers_needed(row["followers"] + 1) > 0]
    free = [row for row in delayed if row["ack"].startswith("async")]
    cells = {
        "waiting_costs_the_delay": {_label(row): _at_least_delay(row) for row in waiting},
        "async_does_not_wait": {_label(row): _below_delay(row) for row in free},
        "async_is_fastest": dict(_ordered(free, [row for row in waiting if row["ack"] != "async"])),
        "quorum_is_between": {
            **dict(_ordered(free, _of(delayed, "quorum"))),
            **dict(_ordered(_of(delayed, "quorum"), _of(delayed, "sync"))),
        },
    }
    if not (_of(delayed, "quorum") and _of(delayed, "sync") and free):
        del cells["quorum_is_between"]
    return {name: claim(verdicts) for name, verdicts in cells.items() if verdicts}


def _label(row: Row) -> str:
    return f"{row['ack']}, {row['followers']} followers, {row['follower_delay_ms']:g} ms"


def _of(rows: Sequence[Row], ack: str) -> list[Row]:
    return [row for row in rows if row["ack"] == ack]


def _enough(verdict: Verdict) -> Verdict:
    """Too few writes decide nothing, for a claim or against it."""
    minimum = EXPERIMENT.minimums["writes"]
    if verdict.counts["writes"] < minimum:
        return Verdict.unknown(f"{verdict.counts['writes']:g} writes, at least {minimum} are needed", **verdict.counts)
    return verdict


def _at_least_delay(row: Row) -> Verdict:
    median, delay = row["latency_ms_p50"], row["follower_delay_ms"]
    reason = f"median {median:.2f} ms, delay {delay:g} ms"
    return _enough(Verdict.expect(median >= delay, reason, writes=row["writes"]))


def _below_delay(row: Row) -> Verdict:
    median, delay = row["latency_ms_p50"], row["follower_delay_ms"]
    reason = f"median {median:.2f} ms, delay {delay:g} ms"
    return _enough(kept_up(Verdict.expect(median < delay, reason, writes=row["writes"]), row))


def _ordered(faster: Sequence[Row], slower: Sequence[Row]) -> Iterator[tuple[str, Verdict]]:
    """Pairs of the same followers and delay: the first one's median is no longer than the second one's.

    Half of the delay is allowed for noise: cells are measured one after another, on a machine that does other things.
    """
    for first, second in product(faster, slower):
        if (first["followers"], first["follower_delay_ms"]) != (second["followers"], second["follower_delay_ms"]):
            continue
        room = first["follower_delay_ms"] / 2
        reason = f"median {first['latency_ms_p50']:.2f} ms against {second['latency_ms_p50']:.2f} ms"
        holds = first["latency_ms_p50"] <= second["latency_ms_p50"] + room
        writes = min(first["writes"], second["writes"])
        verdict = kept_up(Verdict.expect(holds, reason, writes=writes), first, second)
        yield f"{first['ack']} and {_label(second)}", _enough(verdict)


EXPERIMENT = Experiment(
    name="write_latency",
    number="01",
    question="How long does a write wait for its followers?",
    parameters=Parameters,
    profiles={
        "ci": {"ack": ("async", "quorum", "sync"), "follower_delay_ms": (40.0,), "duration_s": 0.6, "warmup_s": 0.1},
        "quick": {"ack": ("async", "semi_sync:1", "quorum", "sync"), "duration_s": 1.0},
        "full": {
            "follower_delay_ms": (0.0, 5.0, 20.0, 40.0),
            "duration_s": 5.0,
            "warmup_s": 1.0,
        },
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "waiting_costs_the_delay": "A write that waits for followers takes at least the delay on the way to them.",
        "async_does_not_wait": "Under async the delay of the followers is not part of a write's latency.",
        "async_is_fastest": "No policy that waits for followers beats async (by more than half of the delay: noise).",
        "quorum_is_between": "Quorum lies between async and sync (give or take half of the delay: noise).",
    },
    minimums={"writes": 30},
    required_checks=("convergence", "lost_writes"),
)
