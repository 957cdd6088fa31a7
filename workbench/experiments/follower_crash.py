"""Where was I? A follower is killed under load and comes back: what it knows of itself, and what it asks for.

One cell for each ack policy, on a cluster of its own: SIGKILL for the last follower, a while without it, a restart on
the disk that it left. What its disk said while it was down, what it says of itself after recovery, and the first entry
that it takes from the leader are three observations of their own; nothing is computed from another. Half of the
sessions read and half write, so that a write which waits stops no reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.checkers import Verdict
from workbench.checkers.order import times
from workbench.client.load import LoadConfig
from workbench.client.policies import parse_policy
from workbench.cluster.cluster import Cluster
from workbench.cluster.status import ReplicaStatus
from workbench.config import LOG_FORMATS, AckPolicy
from workbench.errors import ClusterError
from workbench.experiments.aftermath import growth, settle, status_of
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
    lost_writes_verdict,
    records,
    started_cluster,
)
from workbench.experiments.disturbed import disturbed_load
from workbench.experiments.log_end import log_end
from workbench.experiments.parameters import parameter
from workbench.metrics.rates import rates_over_time
from workbench.metrics.windows import longest_gap_ms, ok_per_s
from workbench.protocol.values import Position

CATCH_UP_TIMEOUT_S = 60.0
_POLL_S = 0.02
_LOAD_S = 600.0
"""Longer than any run: the load ends with what is done under it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied."""

    ack: tuple[str, ...] = parameter(
        ("quorum", "sync"),
        help="Ack policies to compare.",
        choices=("async", "semi_sync:1", "quorum", "sync"),
        check=AckPolicy.parse,
    )
    followers: int = parameter(2, help="Followers of the leader.", low=2, high=7)
    log_format: str = parameter("logical", help="What the leader sends.", choices=LOG_FORMATS)
    read_policy: str = parameter("any", help="Where reads go.", choices=("leader", "sticky", "any"), check=parse_policy)
    sessions: int = parameter(32, help="Sessions, of which half read and half write.", low=2, high=256)
    rate_per_s: float = parameter(800.0, help="Operations due a second.", unit="1/s", low=1, high=100_000)
    before_s: float = parameter(1.0, help="Load before the crash.", unit="s", low=0.1, high=600)
    down_s: float = parameter(2.0, help="How long the follower is left dead.", unit="s", low=0.1, high=600)
    after_s: float = parameter(1.0, help="Load after it has caught up.", unit="s", low=0.1, high=600)
    keys: int = parameter(1_000, help="Rows that the writes choose from.", low=1, high=100_000)
    value_bytes: int = parameter(100, help="Size of the value in each row.", unit="bytes", low=0, high=1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """What was seen of one crash. Times are ms on the axis of the operations."""

    ack: str
    load: MeasuredLoad
    events: Sequence[Row]
    follower: str
    on_disk: Position
    """The last whole entry in its log's files while it was down."""
    recovered: Position
    """The end of its log, as it says itself after the restart."""
    first_fetched: Position
    """The first entry that it took from the leader after the restart; `Position()` if it took none."""
    leader_last: int
    """Index of the leader's last entry just before the restart."""
    entries_fetched: int
    """Entries that the leader read back from its log for it."""
    writes_fetched: int
    """Client transactions in them (and in what came live until its status was asked for)."""
    entries_sent_twice: int
    """Entries that came although they were on its disk."""
    dead_ms: float
    restarted_ms: float
    fetch_begun_ms: float
    caught_up_ms: float


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Kill one follower under each ack policy."""
    for ack in parameters.ack:
        check_ack(ack, parameters.followers)
    crashes: list[Crash] = []
    for ack in parameters.ack:
        name = cell_name(ack=ack)
        context.progress(len(crashes) / len(parameters.ack), name)
        async with started_cluster(
            context,
            name,
            followers=parameters.followers,
            log_format=parameters.log_format,
            ack=AckPolicy.parse(ack),
        ) as cluster:
            crashes.append(await _crash(cluster, ack, _load(parameters, context.seed, name), name, parameters))
    context.progress(1.0, "judging")
    loads = [crash.load for crash in crashes]
    summary = [summary_row(crash) for crash in crashes]
    return Outcome(
        operations=all_operations(loads),
        summary=summary,
        tables={
            "events": [event for crash in crashes for event in crash.events],
            "rates": records(rates_over_time(all_operations(loads))),
        },
        verdicts=judge(summary),
        checks={"convergence": convergence_verdict(loads), "lost_writes": lost_writes_verdict(loads)},
        invariants=invariants(loads) | {"entries_sent_twice": sum(crash.entries_sent_twice for crash in crashes)},
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


async def _crash(cluster: Cluster, ack: str, config: LoadConfig, cell: str, parameters: Parameters) -> Crash:
    follower = next(name for name in reversed(cluster.names) if name != cluster.leader)
    async with disturbed_load(cluster, config, cell) as load:
        await load.sees(load.is_acknowledged)
        await asyncio.sleep(parameters.before_s)
        load.note("killed", follower)
        await cluster.kill(follower)
        dead_ms = load.now_ms
        on_disk = log_end(cluster.directory / "replicas" / follower / "log")
        await asyncio.sleep(parameters.down_s)
        before = await status_of(cluster, cluster.leader)
        restarted_ms = load.note("restarted", follower)
        await cluster.restart(follower)
        status = await _caught_up(cluster, follower)
        times = {name: (status.counters[f"{name}_ns"] - load.start_ns) / 1e6 for name in ("fetch_begun", "caught_up")}
        load.note("asks for what it missed", follower, at_ms=times["fetch_begun"])
        load.note("caught up", follower, at_ms=times["caught_up"])
        after = await status_of(cluster, cluster.leader)
        await asyncio.sleep(parameters.after_s)
    measured = await settle(cluster, load)
    last = await status_of(cluster, follower)
    return Crash(
        ack=ack,
        load=measured,
        events=load.events,
        follower=follower,
        on_disk=on_disk,
        recovered=_position(status, "started"),
        first_fetched=_position(status, "first_entry"),
        leader_last=before.last,
        entries_fetched=growth(before, after, "entries_sent_again"),
        writes_fetched=status.counters["members"],
        entries_sent_twice=last.counters["entries_sent_twice"],
        dead_ms=dead_ms,
        restarted_ms=restarted_ms,
        fetch_begun_ms=times["fetch_begun"],
        caught_up_ms=times["caught_up"],
    )


async def _caught_up(cluster: Cluster, name: str) -> ReplicaStatus:
    """The status of a restarted follower once it has applied what its leader had. Raises `ClusterError`."""
    deadline = asyncio.get_running_loop().time() + CATCH_UP_TIMEOUT_S
    while True:
        status = await status_of(cluster, name)
        if status.counters.get("caught_up_ns", 0):
            return status
        if asyncio.get_running_loop().time() >= deadline:
            raise ClusterError(f"{name} has not caught up within {CATCH_UP_TIMEOUT_S:g} s", hint="write more slowly")
        await asyncio.sleep(_POLL_S)


def _position(status: ReplicaStatus, note: str) -> Position:
    """A position that a replica noted; `Position()` where it noted none."""
    term, _, index = status.notes.get(note, "0.0").partition(".")
    return Position(int(term), int(index))


# Figures.


def summary_row(crash: Crash) -> Row:
    """What the follower knew and got, and what clients got before and while it was down."""
    operations = crash.load.operations
    sent = operations[(operations["kind"] == "write") & operations["invoked_ns"].notna()]
    begun_ms, ended_ms = (times(sent, name) / 1e6 for name in ("invoked_ns", "completed_ns"))
    is_ended = (sent["outcome"] == "ok").to_numpy(dtype=bool) & (ended_ms < crash.restarted_ms)
    begun = (begun_ms >= crash.dead_ms) & (begun_ms < crash.restarted_ms)
    waiting = (begun_ms < crash.restarted_ms) & (ended_ms >= crash.restarted_ms)
    killed_ms = crash.events[0]["at_ms"]
    catch_up_ms = crash.caught_up_ms - crash.fetch_begun_ms
    row: Row = {
        "cell": crash.load.cell,
        "ack": crash.ack,
        "followers": len(crash.load.growth) - 1,
        "position_on_disk": str(crash.on_disk),
        "position_recovered": str(crash.recovered),
        "first_entry_fetched": str(crash.first_fetched),
        "entries_missed": crash.leader_last - crash.on_disk.index,
        "entries_fetched": crash.entries_fetched,
        "entries_sent_twice": crash.entries_sent_twice,
        "down_ms": crash.restarted_ms - killed_ms,
        "restart_ms": crash.fetch_begun_ms - crash.restarted_ms,
        "catch_up_ms": catch_up_ms,
        "catch_up_entries_per_s": crash.entries_fetched / catch_up_ms * 1e3 if catch_up_ms > 0 else float("nan"),
        "catch_up_writes_per_s": crash.writes_fetched / catch_up_ms * 1e3 if catch_up_ms > 0 else float("nan"),
        "writes_begun_down": int(begun.sum()),
        "writes_acknowledged_down": int((begun & is_ended).sum()),
        "writes_waiting": int(waiting.sum()),
    }
    for kind in ("write", "read"):
        row |= {
            f"{kind}s": int(((operations["kind"] == kind) & (operations["outcome"] == "ok")).sum()),
            f"{kind}s_per_s_before": ok_per_s(operations, kind, 0.0, killed_ms),
            f"{kind}s_per_s_down": ok_per_s(operations, kind, crash.dead_ms, crash.restarted_ms),
            f"{kind}_gap_ms_down": longest_gap_ms(operations, kind, crash.dead_ms, crash.restarted_ms),
        }
    return row | {"not_ok": int((operations["outcome"] != "ok").sum())}


# Claims.


def judge(summary: Sequence[Row]) -> dict[str, Verdict]:
    """The claims, from the rows of the summary."""
    waiting = [row for row in summary if _needs_all(row)]
    others = [row for row in summary if not _needs_all(row)]
    groups = {
        "it_knows_its_position": {row["ack"]: _knows_its_position(row) for row in summary},
        "nothing_is_sent_twice": {row["ack"]: _sent_once(row) for row in summary},
        "writes_go_on_without_it": {row["ack"]: _goes_on(row, "write") for row in others},
        "writes_wait_under_sync": {row["ack"]: _writes_wait(row) for row in waiting},
        "reads_go_on": {row["ack"]: _goes_on(row, "read") for row in summary},
    }
    return {name: claim(verdicts) for name, verdicts in groups.items() if verdicts}


def _needs_all(row: Row) -> bool:
    """Whether a write cannot be acknowledged while one follower is down."""
    members = int(row["followers"]) + 1
    return AckPolicy.parse(row["ack"]).followers_needed(members) > members - 2


def _missed_enough(verdict: Verdict) -> Verdict:
    """A follower that missed next to nothing proves nothing."""
    missed, minimum = verdict.counts["entries_missed"], EXPERIMENT.minimums["entries_missed"]
    if missed < minimum:
        return Verdict.unknown(f"it missed {missed:g} entries, at least {minimum} are needed", **verdict.counts)
    return verdict


def _knows_its_position(row: Row) -> Verdict:
    on_disk, recovered, first = (
        _parsed(row[name]) for name in ("position_on_disk", "position_recovered", "first_entry_fetched")
    )
    holds = on_disk == recovered and first.index == recovered.index + 1 and first.term >= recovered.term
    seen = f"on disk {on_disk}, says {recovered}, first entry fetched {first}"
    return _missed_enough(Verdict.expect(holds, seen, entries_missed=row["entries_missed"]))


def _parsed(text: str) -> Position:
    term, _, index = text.partition(".")
    return Position(int(term), int(index))


def _sent_once(row: Row) -> Verdict:
    twice, fetched = row["entries_sent_twice"], row["entries_fetched"]
    counts = {"entries_missed": row["entries_missed"], "entries_fetched": fetched, "entries_sent_twice": twice}
    return _missed_enough(Verdict.expect(twice == 0, f"{twice} of {fetched:,} entries were sent twice", **counts))


def _goes_on(row: Row, kind: str) -> Verdict:
    """Operations end well while the follower is down, and no gap is as long as half of that time."""
    rate, gap_ms, down_ms = row[f"{kind}s_per_s_down"], row[f"{kind}_gap_ms_down"], row["down_ms"]
    seen = f"{rate:.0f} {kind}s/s ({row[f'{kind}s_per_s_before']:.0f} before), the longest gap {gap_ms:.0f} ms"
    if row[f"{kind}s_per_s_before"] == 0:
        return Verdict.unknown(f"no {kind} ended before the crash either")
    return Verdict.expect(gap_ms < down_ms / 2, seen, **{f"{kind}s": round(rate * down_ms / 1e3)})


def _writes_wait(row: Row) -> Verdict:
    """No write begun without the follower is acknowledged without it, and some were there to wait."""
    ended, waiting = row["writes_acknowledged_down"], row["writes_waiting"]
    seen = f"{waiting} writes waited for it, {ended} did not"
    if ended == 0 and waiting < EXPERIMENT.minimums["writes_waiting"]:
        return Verdict.unknown(f"{waiting} writes waited for it", writes_waiting=waiting)
    return Verdict.expect(ended == 0, seen, writes_waiting=waiting)


EXPERIMENT = Experiment(
    name="follower_crash",
    number="06",
    question="Where was I?",
    parameters=Parameters,
    profiles={
        "ci": {"before_s": 0.5, "down_s": 1.0, "after_s": 0.5, "rate_per_s": 400.0},
        "quick": {},
        "full": {"before_s": 5.0, "down_s": 20.0, "after_s": 5.0, "rate_per_s": 4_000.0, "sessions": 64},
    },
    conduct=conduct,
    worlds=("real", "simulated"),
    claims={
        "it_knows_its_position": "After a crash a follower knows the last entry on its disk, and the first one that it "
        "fetches is the next.",
        "nothing_is_sent_twice": "No entry is sent to it again that it had on its disk.",
        "writes_go_on_without_it": "Where the ack policy can do without it, writes are acknowledged while it is down.",
        "writes_wait_under_sync": "Where the ack policy needs every follower, no write is acknowledged before it "
        "is back.",
        "reads_go_on": "Reads are answered while it is down.",
    },
    minimums={"entries_missed": 1, "writes_waiting": 5},
    required_checks=("convergence", "lost_writes"),
)
