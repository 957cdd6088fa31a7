"""What happens at a thousand replicas? Failover, the leader's load and staleness, from three replicas to a thousand.

Large clusters are simulated (`simulator/scale.py`): the protocol of real replicas in virtual time, with a model of the
network, of the disks, of what a message costs a CPU and of what it costs the broker. Each replica is a machine of its
own. Not modelled: bandwidth, loss, SQL, reads, snapshots, and whatever else a machine does. Small clusters can be
measured with real processes in the same steps (`--world real`): the chart lays the recorded ones over the simulated.

One cell is one cluster: it idles, a client writes one thing after the other, and its leaders are killed, one by one.
With `voters` only so many replicas vote, may lead, and count for acknowledgements; the others are observers, which get
everything and count for nothing.

Elections choke where timeouts are too short for the number of voters: each candidate asks everybody and is answered by
everybody, and between the election timeout and its double all stand. With `suited_timeouts` the timeout is as long as
that needs (`simulator/scale_network.py`), never shorter than asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from workbench.config import AckPolicy
from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Experiment, Outcome
from workbench.experiments.parameters import parameter
from workbench.experiments.scale_cells import Cell, Setting, summary_row
from workbench.experiments.scale_claims import MINIMUMS, invariants, judge
from workbench.experiments.scale_real import RealScale
from workbench.experiments.scale_simulated import SimulatedScale, suited_timeout
from workbench.simulator.scale_network import PROFILES, Costs

ACKS = ("async", "semi_sync:1", "quorum", "quorum/applied", "sync", "sync/durable")
FAN_OUTS = ("broker", "direct")
REAL_SIZE_MAX = 9
"""More processes than this take each other's time on a machine of few cores."""
LARGE = 100
_COSTS = Costs()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    size: tuple[int, ...] = parameter(
        (3, 5, 9, 25, 100, 300, 1000),
        help=f"Replicas of a cluster; with real processes those up to {REAL_SIZE_MAX} are measured.",
        low=3,
        high=2_000,
    )
    voters: tuple[int, ...] = parameter(
        (0, 5), help="So many replicas vote, the others observe; 0: all vote.", low=0, high=2_000
    )
    network: tuple[str, ...] = parameter(
        ("lan", "wan-5-regions"), help="Where replicas are: in one place, or in several regions.", choices=PROFILES
    )
    fan_out: tuple[str, ...] = parameter(
        ("broker",), help="Whether a broker hands out what is published once, or the sender does.", choices=FAN_OUTS
    )
    ack: str = parameter("quorum", help="When a write is acknowledged.", choices=ACKS, check=AckPolicy.parse)
    heartbeat_ms: float = parameter(500.0, help="Longest silence of a leader.", unit="ms", low=10, high=10_000)
    election_timeout_ms: float = parameter(
        2_000.0, help="Silence after which a replica stands for election, at least.", unit="ms", low=100, high=600_000
    )
    suited_timeouts: bool = parameter(True, help="Whether many voters make the election timeout longer.")
    repetitions: int = parameter(9, help="Leaders killed in each cluster, one after another.", low=1, high=1_000)
    repetitions_large: int = parameter(
        3, help=f"The same in clusters of more than {LARGE} replicas, which cost most.", low=1, high=1_000
    )
    writes: int = parameter(6, help="Writes in each cluster before that, one after another.", low=1, high=1_000)
    idle_s: float = parameter(2.0, help="How long the idle leader is watched.", unit="s", low=0.5, high=600)
    value_bytes: int = parameter(100, help="Bytes that a write carries.", unit="bytes", low=0, high=100_000)
    jitter: str = parameter(
        "exponential", help="How delays between regions vary.", choices=("constant", "exponential", "pareto")
    )
    jitter_share: float = parameter(0.05, help="Their mean, as a share of the delay.", low=0, high=2)
    turn_us: float = parameter(_COSTS.turn_us, help="CPU time of a replica to wake up.", unit="us", low=0, high=100_000)
    handle_us: float = parameter(_COSTS.handle_us, help="CPU time to handle a message.", unit="us", low=0, high=100_000)
    send_us: float = parameter(_COSTS.send_us, help="CPU time to send one.", unit="us", low=0, high=100_000)
    member_us: float = parameter(
        _COSTS.member_us, help="CPU time of a leader for each voter, for each report.", unit="us", low=0, high=1_000
    )
    broker_take_us: float = parameter(
        _COSTS.broker_take_us, help="CPU time of the broker to take a message.", unit="us", low=0, high=100_000
    )
    broker_deliver_us: float = parameter(
        _COSTS.broker_deliver_us, help="CPU time of the broker to deliver one.", unit="us", low=0, high=100_000
    )

    sync_ms: float = parameter(
        _COSTS.sync_ms, help="Time of a disk to sync what was appended.", unit="ms", low=0, high=1_000
    )

    @property
    def costs(self) -> Costs:
        """What CPUs and disks take."""
        return Costs(**{name: getattr(self, name) for name in Costs.__slots__})


def settings_of(parameters: Parameters, world: str) -> list[Setting]:
    """The cells to measure, small ones first. Raises `ConfigurationError` where there is none, or one could not be."""
    found = list(_settings(parameters, world))
    if not found:
        raise ConfigurationError(
            "no such cluster can be made of real processes",
            hint=f"size up to {REAL_SIZE_MAX}, voters=0, network=lan, fan_out=broker; or --world simulated",
        )
    ack = AckPolicy.parse(parameters.ack)
    smallest = min(setting.voters for setting in found)
    if ack.followers_needed(smallest) >= smallest or smallest < 3:
        raise ConfigurationError(
            f"ack policy {ack} with {smallest} voters", hint="three voters or more, who can meet it"
        )
    if ack.who == "sync":
        raise ConfigurationError(
            f"ack policy {ack} while a leader is killed",
            hint="it waits for everybody, and nothing is acknowledged before the killed one is back; take quorum",
        )
    return found


def _settings(parameters: Parameters, world: str) -> Iterator[Setting]:
    for network, fan_out, voters, size in product(
        parameters.network, parameters.fan_out, parameters.voters, sorted(parameters.size)
    ):
        can_be_real = size <= REAL_SIZE_MAX and (voters, network, fan_out) == (0, "lan", "broker")
        if voters >= size or (world == "real" and not can_be_real):
            continue  # all vote: that is the cell of `voters` 0
        voting = voters or size
        timeout_ms = parameters.election_timeout_ms
        if parameters.suited_timeouts:
            timeout_ms = suited_timeout(timeout_ms, voting, parameters.costs, fan_out)
        yield Setting(size=size, voters=voting, network=network, fan_out=fan_out, election_timeout_ms=timeout_ms)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """One cluster after the other."""
    settings = settings_of(parameters, context.world)
    weights = [setting.size for setting in settings]
    cells: list[Cell] = []
    for number, setting in enumerate(settings):
        context.progress(sum(weights[:number]) / sum(weights), setting.labels["cell"])
        cells.append(await _measure(context, parameters, setting))
        await asyncio.sleep(0)  # so that Ctrl-C comes through between two cells
    context.progress(1.0, "judging")
    return _outcome(cells)


async def _measure(context: Context, parameters: Parameters, setting: Setting) -> Cell:
    ack = AckPolicy.parse(parameters.ack)
    repetitions = parameters.repetitions if setting.size <= LARGE else parameters.repetitions_large
    if context.world == "real":
        return await RealScale(
            context=context,
            ack=ack,
            heartbeat_ms=parameters.heartbeat_ms,
            writes=parameters.writes,
            repetitions=repetitions,
            idle_s=parameters.idle_s,
            value_bytes=parameters.value_bytes,
        ).measure(setting)
    return SimulatedScale(
        seed=context.seed,
        ack=ack,
        heartbeat_ms=parameters.heartbeat_ms,
        writes=parameters.writes,
        repetitions=repetitions,
        idle_s=parameters.idle_s,
        value_bytes=parameters.value_bytes,
        jitter=parameters.jitter,
        jitter_share=parameters.jitter_share,
        costs=parameters.costs,
    ).measure(setting)


def _outcome(cells: list[Cell]) -> Outcome:
    return Outcome(
        summary=[summary_row(cell) for cell in cells],
        tables={"failovers": [one.row(cell.setting.labels) for cell in cells for one in cell.failovers]},
        verdicts=judge(cells),
        invariants=invariants(cells),
    )


EXPERIMENT = Experiment(
    name="scale",
    number="15",
    question="What happens at a thousand replicas?",
    parameters=Parameters,
    profiles={
        "ci": {"size": (3, 9, 40), "repetitions": 2, "writes": 3, "idle_s": 1.0},
        "quick": {},
        "full": {
            "network": ("lan", "wan-3-regions", "wan-5-regions"),
            "fan_out": FAN_OUTS,
            "repetitions": 25,
            "repetitions_large": 10,
            "writes": 30,
        },
    },
    conduct=conduct,
    worlds=("simulated", "real"),
    claims={
        "every_failover_took_effect": "After each kill another leader acknowledged a write in a newer term.",
        "no_acknowledged_write_is_lost": "In the end all logs agree, and have every write that was acknowledged.",
        "no_write_outruns_its_majority": "No write is acknowledged sooner than the nearest followers whom the policy "
        "waits for can have answered.",
        "nobody_is_elected_before_the_timeout": "Nobody is elected before the leader has been silent for an election "
        "timeout.",
        "one_publication_reaches_everybody": "An entry leaves the leader once, however many replicas get it from the "
        "broker.",
    },
    minimums=MINIMUMS,
)
