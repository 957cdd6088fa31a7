"""What does a message cost a replica, and the broker, in CPU time? `workbench run scale` takes its defaults from here.

    python bench/message_costs.py [--seconds 2] [--repeat 3] [--json]

A cluster of real processes gets bursts of messages that mean nothing to it, of which some must be answered. Long bursts
tell what one message more costs: to take, with what is answered to nobody; to send, by the difference that an answer
makes. Messages that come alone tell what a turn of the event loop costs besides. The broker's share follows from bursts
that it delivers once and to many. Then the leader's core alone: how much longer it works on one answer for each member
that there is. CPU time, so that a busy machine matters little; it is read from /proc, which only Linux has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench import AckPolicy, Cluster, ClusterConfig
from workbench.config import Limits, Protections, Timing
from workbench.protocol.codec import encode
from workbench.protocol.inputs import Applied, Durable, Received
from workbench.protocol.ledger import Ledger
from workbench.protocol.messages import Campaign, Progress, RequestVote, Vote
from workbench.protocol.replica import Replica
from workbench.protocol.snapshot import Recovered
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position
from workbench.transport.base import Transport
from workbench.transport.mqtt import connect_mqtt
from workbench.transport.topics import Topics

FOLLOWERS = 6
MEMBERS = (10, 100, 300, 1000)
STRANGER = "stranger"
LONG = 100
SAMPLES = (("unanswered", 1), ("unanswered", LONG), ("answered", LONG), ("to all", LONG))
PAUSE_S, SETTLE_S = 0.02, 1.5


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process so far, and of its children's."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        total += sum(cpu_ns(int(child)) for child in (task / "children").read_text(encoding="ascii").split())
    return total


class Bursts:
    """Sends bursts to a cluster, and reads off what they cost."""

    def __init__(self, cluster: Cluster, topics: Topics) -> None:
        self._cluster = cluster
        report = encode(Progress(1, STRANGER, 0, 0, 0))  # by somebody whom the leader of term 1 does not know
        self._kinds = {
            "unanswered": (topics.replica_inbox("replica-1"), report),
            "answered": (topics.replica_inbox("replica-1"), encode(RequestVote(0, STRANGER, Position()))),
            "to all": (topics.log_of("replica-1"), report),
        }
        assert cluster.broker_process is not None
        self._pids = [process.pid for process in (*cluster.processes, cluster.broker_process)]

    async def sample(self, transport: Transport, kind: str, size: int, seconds: float) -> Sample:
        """Send bursts of `size` messages for `seconds`."""
        topic, frame = self._kinds[kind]
        before, spent = await self._cluster.replicas(), [cpu_ns(pid) for pid in self._pids]
        began, bursts = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for _ in range(size):
                transport.publish(topic, frame)
            bursts += 1
            await asyncio.sleep(PAUSE_S)
        await asyncio.sleep(SETTLE_S)
        costs = [cpu_ns(pid) - old for pid, old in zip(self._pids, spent, strict=True)]
        after = await self._cluster.replicas()
        grown = [
            [new.counters[name] - old.counters[name] for name in ("messages_in", "messages_out")]
            for old, new in zip(before, after, strict=True)
        ]
        delivered, answered = (sum(column) for column in zip(*grown, strict=True))
        taken = bursts * size + answered
        return Sample(costs[0] / 1e3 / max(grown[0][0], 1), (taken, delivered, costs[-1] / 1e3))


class Sample(NamedTuple):
    """What one kind of bursts cost."""

    leader_us: float
    """CPU time of the leader for each message that it got."""
    broker: tuple[float, float, float]
    """Messages taken, messages delivered, CPU time in us."""


def split(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """What one message taken and one delivered cost the broker: least squares, each row weighed by its size."""
    table = np.array(rows)
    found, *_ = np.linalg.lstsq(table[:, :2] / table[:, 2:], np.ones(len(table)), rcond=None)
    return float(found[0]), float(found[1])


def core_us(members: int) -> float:
    """CPU time in which a leader's core handles one answer to a heartbeat."""
    names = tuple(f"replica-{number}" for number in range(1, members + 1))
    state = ReplicaState.recover(
        name=names[0],
        log_format="logical",
        layout="",
        ack=AckPolicy.quorum(),
        limits=Limits(),
        timing=Timing(),
        protections=Protections(),
        random=random.Random(1).random,
        recovered=Recovered(ledger=Ledger(names)),
    )
    core = Replica(state, 1)
    core.handle(Received((Campaign(0, ""), *(Vote(1, name, granted=True) for name in names[1:]))), 2)
    core.handle(Durable(Position(1, 1)), 3)
    core.handle(Applied(Position(1, 1)), 4)
    costs = []
    for turn in range(1, 8):
        answers = tuple(Progress(1, name, 1, 1, 1, 10 * turn) for name in names[1:])
        began = time.process_time_ns()
        core.handle(Received(answers), 10 * turn + 1)
        costs.append((time.process_time_ns() - began) / len(answers))
    return min(costs) / 1e3


async def measure(seconds: float) -> dict[str, float]:
    """All figures, by the names of the parameters of `scale`."""
    timing = Timing(heartbeat_ms=1_000, tick_ms=500, election_timeout_ms=10_000)
    config = ClusterConfig(followers=FOLLOWERS, ack=AckPolicy.quorum(), timing=timing, broker="mosquitto")
    async with Cluster(config) as cluster:
        bursts = Bursts(cluster, Topics(cluster.cluster_id))
        async with await connect_mqtt(cluster.broker.url, identifier=STRANGER, handler=lambda _: None) as transport:
            await bursts.sample(transport, "answered", LONG, 1.0)  # Python gets faster while it runs
            alone, unanswered, answered, to_all = [
                await bursts.sample(transport, kind, size, seconds) for kind, size in SAMPLES
            ]
    taken, delivered = split([unanswered.broker, answered.broker, to_all.broker])
    return {
        "turn_us": alone.leader_us - unanswered.leader_us,
        "handle_us": unanswered.leader_us,
        "send_us": answered.leader_us - unanswered.leader_us,
        "member_us": float(np.polyfit(MEMBERS, [core_us(members) for members in MEMBERS], 1)[0]),
        "broker_take_us": taken,
        "broker_deliver_us": delivered,
    }


def main() -> None:
    """Print the medians over all repetitions, and their range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = [asyncio.run(measure(options.seconds)) for _ in range(options.repeat)]
    figures = {name: sorted(run[name] for run in runs) for name in runs[0]}
    if options.json:
        print(json.dumps({name: statistics.median(values) for name, values in figures.items()}))
        return
    for name, values in figures.items():
        print(f"{name:18} {statistics.median(values):8.2f}   {values[0]:.2f} to {values[-1]:.2f}")


if __name__ == "__main__":
    main()
