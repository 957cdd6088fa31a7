"""What does freshness cost? Write latency, stale reads and writes lost at a failover, of every policy in one run.

A policy is an ack policy and a read policy. One cluster for each ack policy, whose followers are behind by different
delays, and on it one load: its sessions have the read policies in turn. So all read policies meet the same leader, the
same followers and the same writes at the same moments, and what they differ in is the policy alone; loads one after the
other would each have met another state of the machine. The price: what a policy costs the leader, it costs the others
too, which is little at these rates.

After the measured time the leader is cut off and killed, and the load goes on. Every write adds a row of its own, so
that what was acknowledged and is gone is exact. A failover knows nothing of read policies: what was lost is one figure
for each ack policy.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from workbench.checkers import appends, losses, read_rollbacks, session_guarantees, staleness
from workbench.client.load import LoadConfig
from workbench.client.policies import parse_policy
from workbench.cluster.cluster import Cluster
from workbench.config import LOG_FORMATS, AckPolicy, Timing
from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Experiment, Outcome
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, cell_name, check_ack, started_cluster
from workbench.experiments.disturbed import DisturbedLoad, contents_of, disturbed_load
from workbench.experiments.failover_kills import Killer
from workbench.experiments.kept_log import writes_in_log
from workbench.experiments.parameters import parameter
from workbench.experiments.trade_off_claims import CLAIMS, MINIMUMS
from workbench.experiments.trade_off_outcome import Observed, before_failover, outcome_of

ACKS = ("async", "semi_sync:1", "quorum", "sync", "sync/durable")
READ_POLICIES = ("any", "sticky", "read_your_writes", "leader", "linearizable")
LOAD_S_MAX = 3_600.0
QUIET_S = 0.4
"""Between the measured time and the cut: writes that were due in it are answered before."""
AFTERMATH_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    ack: tuple[str, ...] = parameter(
        ("async", "semi_sync:1", "quorum", "sync"), help="Ack policies.", choices=ACKS, check=AckPolicy.parse
    )
    read_policy: tuple[str, ...] = parameter(
        READ_POLICIES, help="Read policies, each with each ack policy.", choices=READ_POLICIES, check=parse_policy
    )
    follower_delay_ms: float = parameter(
        8.0, help="Delay added to what the nearest follower receives.", unit="ms", low=0, high=500
    )
    slow_follower_delay_ms: float = parameter(
        72.0,
        help="The same of the farthest; each one between is farther by the same factor.",
        unit="ms",
        low=0,
        high=500,
    )
    followers: int = parameter(3, help="Followers of the leader; one alone could elect nobody.", low=2, high=7)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(100, help="Sessions that read and write at once.", low=1, high=256)
    read_fraction: float = parameter(0.8, help="Share of operations that read.", low=0, high=1, step=0.05)
    rate_per_s: float = parameter(1_000.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    keys: int = parameter(8, help="Keys that are written and read.", low=1, high=100_000)
    duration_s: float = parameter(1.5, help="How long each ack policy is measured.", unit="s", low=0.2, high=600)
    warmup_s: float = parameter(0.3, help="Load before that, which no figure counts.", unit="s", low=0, high=60)
    failovers: int = parameter(1, help="Leaders killed after that, one after another.", low=1, high=100)
    cut_off_ms: float = parameter(
        100.0, help="How long a leader is cut off from the others before it is killed.", unit="ms", low=0, high=2_000
    )


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Measure and kill under one ack policy after the other."""
    for ack in parameters.ack:
        check_ack(ack, parameters.followers)
    timing = timing_of(parameters)
    if parameters.sessions < len(parameters.read_policy):
        raise ConfigurationError(
            f"sessions is {parameters.sessions} with {len(parameters.read_policy)} read policies",
            hint="each session has one of them, so there must be as many",
        )
    observed: list[Observed] = []
    for ack in parameters.ack:
        name = cell_name(ack=ack)
        context.progress(len(observed) / len(parameters.ack), name)
        async with started_cluster(
            context,
            name,
            followers=parameters.followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(ack),
            timing=timing,
        ) as cluster:
            await _delay(cluster, parameters)
            observed.append(await _observe(cluster, context.seed, parameters, ack))
    context.progress(1.0, "judging")
    return outcome_of(observed, world=context.world, slowest_ms=max(delays_ms(parameters)))


def timing_of(parameters: Parameters) -> Timing:
    """Time-outs under which nobody is deposed but by a kill. Raises `ConfigurationError` for a cut that is too long."""
    timing = Timing.for_delay(max(delays_ms(parameters)))
    if parameters.cut_off_ms > timing.election_timeout_ms / 2:
        raise ConfigurationError(
            f"cut_off_ms is {parameters.cut_off_ms:g} with an election time-out of {timing.election_timeout_ms:g} ms",
            hint="at most half of it: a leader that is cut off for longer is replaced before it is killed",
        )
    return timing


def delays_ms(parameters: Parameters) -> list[float]:
    """What is added to what each follower receives, the nearest first: 8, 24 and 72, so that ack policies differ."""
    near, far = parameters.follower_delay_ms, parameters.slow_follower_delay_ms
    places = [place / (parameters.followers - 1) for place in range(parameters.followers)]
    if min(near, far) <= 0:  # no factor leads away from zero
        return [near + (far - near) * place for place in places]
    return [near * (far / near) ** place for place in places]


async def _delay(cluster: Cluster, parameters: Parameters) -> None:
    """The first leader will come back as a follower: it is near then."""
    first, *others = cluster.names
    await cluster.set_link_delay(parameters.follower_delay_ms, replicas=[first])
    for name, delay_ms in zip(others, delays_ms(parameters), strict=True):
        await cluster.set_link_delay(delay_ms, replicas=[name])


def load_of(parameters: Parameters, seed: int) -> LoadConfig:
    """The same load under every ack policy, operation for operation."""
    return LoadConfig(
        sessions=parameters.sessions,
        read_fraction=parameters.read_fraction,
        rate_per_s=parameters.rate_per_s,
        duration_s=LOAD_S_MAX,
        warmup_s=0,
        keys=parameters.keys,
        value_bytes=16,
        read_policy=",".join(parameters.read_policy),
        seed=seed,
        workload="appends",
    )


async def _observe(cluster: Cluster, seed: int, parameters: Parameters, ack: str) -> Observed:
    config = load_of(parameters, seed)
    await cluster.converged(CONVERGENCE_TIMEOUT_S)
    async with disturbed_load(cluster, config, cell_name(ack=ack)) as load:
        leader = await cluster.wait_for_leader()
        load.note("leads", leader, at_ms=0.0)
        end_ms = (parameters.warmup_s + parameters.duration_s) * 1e3
        await asyncio.sleep(max(0.0, end_ms - load.now_ms) / 1e3)
        killer = Killer(cluster, load, pause_s=QUIET_S, cut_s=parameters.cut_off_ms / 1e3, down_s=0.0)
        for _ in range(parameters.failovers):
            if (await killer.kill_once()).problem:
                break
        await asyncio.sleep(AFTERMATH_S)
    observed = Observed(
        ack=ack,
        read_policies=parameters.read_policy,
        members=parameters.followers + 1,
        leader=leader,
        begin_ms=parameters.warmup_s * 1e3,
        end_ms=end_ms,
        failovers=parameters.failovers,
        load=load,
        kills=tuple(killer.kills),
    )
    return await _judged(cluster, load, observed)


async def _judged(cluster: Cluster, load: DisturbedLoad, observed: Observed) -> Observed:
    """With what the checkers say: of the reads before the failover, and of the writes to the end."""
    converged = await cluster.converged(CONVERGENCE_TIMEOUT_S)
    written = appends(load.operations, await contents_of(cluster, load.config.workload) if converged.ok else {})
    kept = writes_in_log(cluster.directory / "replicas" / cluster.leader / "log")
    if kept is None:  # a snapshot covers the beginning of the log: the rows have to tell
        there = written.writes[written.writes["replicas"] > 0]
        kept = frozenset(zip(there["identifier"].tolist(), there["sequence"].tolist(), strict=True))
    before = before_failover(observed)
    return replace(
        observed,
        converged=converged,
        appends=written,
        losses=losses(written.writes, read_rollbacks(cluster.rollbacks()), kept),
        staleness=staleness(before),
        guarantees=session_guarantees(before),
    )


EXPERIMENT = Experiment(
    name="trade_off",
    number="12",
    question="What does freshness cost?",
    parameters=Parameters,
    profiles={
        "ci": {"ack": ("async", "quorum", "sync"), "duration_s": 1.0, "warmup_s": 0.2},
        "quick": {},
        "full": {"ack": ACKS, "duration_s": 10.0, "warmup_s": 1.0, "failovers": 5},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims=CLAIMS,
    minimums=MINIMUMS,
    required_checks=("convergence", "denied", "repeated"),
)
