"""What a trade-off run claims: only such as holds on any machine. Figures decide nothing here but one broad ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.checkers import Losses, Verdict
from workbench.client.policies import Leader, Linearizable, parse_policy
from workbench.config import AckPolicy
from workbench.experiments.base import Row
from workbench.experiments.cells import claim, kept_up

MINIMUMS = {"reads_at_risk": 50, "writes": 50, "acknowledged_writes": 100, "failovers": 1}
DELAY_MS_MIN = 10.0
"""With less between leader and farthest follower, the machine may decide which ack policy is faster."""

CLAIMS = {
    "sync_applied_reads_are_fresh": "When all replicas have applied a write before it is acknowledged, no read of any "
    "policy misses an acknowledged write.",
    "leader_reads_are_fresh": "Under every ack policy, a read that the leader answers misses no acknowledged write.",
    "async_writes_are_faster": "The median write takes under async at most half as long as under sync, where it "
    "waits for the farthest follower.",
    "every_failover_took_effect": "Each killed leader was gone, and another one led in a newer term.",
    "a_majority_loses_nothing": "What a majority has on disk when it is acknowledged survives the failover "
    "(quorum, sync; not claimed for weaker policies).",
    "lost_writes_are_accounted_for": "Under weaker policies, the acknowledged writes that are absent at the end are "
    "exactly those that rewinds wrote to rollback/ and that did not take effect again.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFacts:
    """What the reads of one policy showed."""

    ack: str
    read_policy: str
    fresh: Verdict
    """Of the checker: whether none was older than a write acknowledged before it began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AckFacts:
    """What the writes under one ack policy went through."""

    ack: str
    survives: bool
    """Whether it promises that a failover loses nothing."""
    writes: int
    """Measured ones."""
    write_latency_ms_p50: float
    failovers: Sequence[Row]
    """As `failover_claims.kill_rows` tells of them."""
    failovers_asked: int
    losses: Losses
    problem: str = ""
    """Why nothing can be said of single writes."""
    rates: Row = field(default_factory=dict)
    """The columns of `cells.rate_columns`."""

    @property
    def effective(self) -> int:
        return sum(bool(row["took_effect"]) for row in self.failovers)


def judge(acks: Sequence[AckFacts], reads: Sequence[ReadFacts], *, slowest_ms: float) -> dict[str, Verdict]:
    """The claims about what was measured. `slowest_ms`: the delay of the farthest follower."""
    groups: dict[str, Mapping[str, Verdict]] = {
        "sync_applied_reads_are_fresh": {
            _label(one): _enough_reads(one.fresh) for one in reads if AckPolicy.parse(one.ack) == AckPolicy.sync()
        },
        "leader_reads_are_fresh": {
            _label(one): _enough_reads(one.fresh)
            for one in reads
            if isinstance(parse_policy(one.read_policy), Leader | Linearizable)
        },
        "async_writes_are_faster": _faster(acks) if slowest_ms >= DELAY_MS_MIN else {},
        "every_failover_took_effect": {one.ack: _took_effect(one) for one in acks},
        "a_majority_loses_nothing": {one.ack: _none_is_lost(one) for one in acks if one.survives},
    }
    verdicts = {name: claim(found) for name, found in groups.items() if found}
    accounts = {one.ack: _accounted(one) for one in acks if not one.survives}
    if accounts:
        # A policy that happened to lose nothing proves nothing, and spoils nothing either.
        is_wrong = any(verdict.status == "invalid" for verdict in accounts.values())
        verdicts["lost_writes_are_accounted_for"] = Verdict.all(accounts) if is_wrong else Verdict.any(accounts)
    return verdicts


def _label(one: ReadFacts) -> str:
    return f"{one.ack}, {one.read_policy}"


def _enough_reads(verdict: Verdict) -> Verdict:
    """What is unknown already keeps its own reason."""
    if verdict.status == "unknown":
        return verdict
    return verdict.needing("reads_at_risk", MINIMUMS["reads_at_risk"])


def _faster(acks: Sequence[AckFacts]) -> dict[str, Verdict]:
    free = [one for one in acks if AckPolicy.parse(one.ack).who == "async"]
    waiting = [one for one in acks if AckPolicy.parse(one.ack) == AckPolicy.sync()]
    found = {}
    for first in free:
        for second in waiting:
            writes = min(first.writes, second.writes)
            medians = first.write_latency_ms_p50, second.write_latency_ms_p50
            reason = f"medians {medians[0]:.2f} and {medians[1]:.2f} ms"
            verdict = Verdict.expect(medians[0] <= medians[1] / 2, reason, writes=writes)
            found[f"{first.ack} and {second.ack}"] = _enough(kept_up(verdict, first.rates, second.rates), "writes")
    return found


def _took_effect(one: AckFacts) -> Verdict:
    reason = f"{one.effective} of {one.failovers_asked} kills: the process was gone and the term rose"
    verdict = Verdict.expect(one.effective == one.failovers_asked, reason, failovers=one.effective)
    return verdict if verdict.status == "valid" else Verdict.invalid(reason, [dict(row) for row in one.failovers[-1:]])


def _none_is_lost(one: AckFacts) -> Verdict:
    lost, acknowledged = one.losses.counts["lost_acknowledged_writes"], one.losses.counts["acknowledged_writes"]
    if one.problem:
        return Verdict.unknown(one.problem)
    counts = {"acknowledged_writes": acknowledged, "failovers": one.effective, "lost_acknowledged_writes": lost}
    if lost:
        shown = one.losses.writes[one.losses.writes["lost"]].head(3).astype(object)
        reason = f"{lost} of {acknowledged} acknowledged writes are lost"
        return Verdict.invalid(reason, shown.to_dict("records"), **counts)
    verdict = Verdict.valid(f"none of {acknowledged} acknowledged writes is lost", **counts)
    return _enough(_enough(verdict, "acknowledged_writes"), "failovers")


def _accounted(one: AckFacts) -> Verdict:
    if one.problem:
        return Verdict.unknown(one.problem)
    verdict = one.losses.verdict
    counts = {**verdict.counts, "failovers": one.effective}
    judged = Verdict(verdict.status, verdict.reason, verdict.witness, counts)
    return judged if judged.status == "unknown" else _enough(_enough(judged, "acknowledged_writes"), "failovers")


def _enough(verdict: Verdict, name: str) -> Verdict:
    """Too few decide nothing, for a claim or against it."""
    count = verdict.counts.get(name, 0)
    if verdict.status == "unknown" or count >= MINIMUMS[name]:
        return verdict
    return Verdict.unknown(f"{name} is {count:g}, at least {MINIMUMS[name]} needed", **verdict.counts)
