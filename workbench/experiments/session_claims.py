"""What the claims of `session_guarantees` say of the checkers' verdicts: which policy promises which guarantee.

Anomalies are expected under `async` with followers that are behind, and only there. A promise is judged wherever it was
measured. What was checked fewer than a thousand times is unknown, be it seen or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.checkers import Verdict
from workbench.checkers.sessions import Guarantee
from workbench.client.policies import (
    AfterWriteWindow,
    Bounded,
    Causal,
    Leader,
    LeaderForOwn,
    Linearizable,
    Monotonic,
    ReadYourWrites,
    Sticky,
    parse_policy,
)
from workbench.experiments.base import Row
from workbench.experiments.cells import claim, kept_up

JUDGED: tuple[Guarantee, ...] = ("read_your_writes", "monotonic_reads")
MINIMUMS = {"checked": 1_000, "reads_at_risk": 1_000}

CLAIMS = {
    "any_breaks_read_your_writes": "Under async, sessions that read from any replica miss their own writes.",
    "any_breaks_monotonic_reads": "Under async, sessions that read from any replica see time run backwards.",
    "sticky_breaks_read_your_writes": "Reading from always the same replica does not help to see one's own writes.",
    "read_your_writes_holds": "Every policy that promises it shows each session its own writes.",
    "monotonic_reads_hold": "Under every policy that promises it, no session reads a value older than one it has read.",
    "linearizable_is_never_stale": "A linearizable read misses nothing that anybody was told or has read.",
    "bounded_keeps_its_bound": "A read that may be t ms behind misses no write acknowledged longer ago than that.",
}


def promises(read_policy: str, guarantee: Guarantee, delay_ms: float) -> bool:
    """Whether a policy promises a guarantee while no follower is further behind than `delay_ms` and nothing fails.

    A window promises something only to those who wait less than it lasts.
    """
    match parse_policy(read_policy):
        case Leader() | Linearizable() | Causal():
            return True
        case Sticky() | Monotonic():
            return guarantee == "monotonic_reads"
        case ReadYourWrites() | LeaderForOwn():
            return guarantee == "read_your_writes"
        case AfterWriteWindow(window_ms):
            return guarantee == "read_your_writes" and window_ms >= 2 * delay_ms
        case _:
            return False


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyVerdicts:
    """What the claims are judged from: one policy, and what the checkers say of its reads."""

    read_policy: str
    delay_ms: float
    guarantees: Mapping[Guarantee, Verdict]
    stale: Verdict
    """By either knowledge: older than a value acknowledged, or returned by a read."""
    age_ms_max: float
    """Of the reads older than an acknowledged write; nan if there was none."""
    rates: Row = field(default_factory=dict)
    """The columns of `cells.rate_columns`."""


def judge(cells: Sequence[PolicyVerdicts], ack: str) -> dict[str, Verdict]:
    """The claims, from the checkers' verdicts."""
    behind = [cell for cell in cells if ack.startswith("async") and cell.delay_ms > 0]

    def broken(policy: str, guarantee: Guarantee) -> dict[str, Verdict]:
        cells = [cell for cell in behind if cell.read_policy == policy]
        return {cell.read_policy: kept_up(_seen(cell.guarantees[guarantee]), cell.rates) for cell in cells}

    def kept(guarantee: Guarantee) -> dict[str, Verdict]:
        promised = [cell for cell in cells if promises(cell.read_policy, guarantee, cell.delay_ms)]
        return {cell.read_policy: _enough(cell.guarantees[guarantee], "checked") for cell in promised}

    groups: dict[str, dict[str, Verdict]] = {
        "any_breaks_read_your_writes": broken("any", "read_your_writes"),
        "any_breaks_monotonic_reads": broken("any", "monotonic_reads"),
        "sticky_breaks_read_your_writes": broken("sticky", "read_your_writes"),
        "read_your_writes_holds": kept("read_your_writes"),
        "monotonic_reads_hold": kept("monotonic_reads"),
        "linearizable_is_never_stale": {
            cell.read_policy: _enough(cell.stale, "reads_at_risk")
            for cell in cells
            if isinstance(parse_policy(cell.read_policy), Linearizable)
        },
        "bounded_keeps_its_bound": {
            cell.read_policy: _within(cell, bound_ms) for cell in cells if (bound_ms := _bound_ms(cell)) >= 0
        },
    }
    return {name: claim(verdicts) for name, verdicts in groups.items() if verdicts}


def _bound_ms(cell: PolicyVerdicts) -> float:
    """How old a read may be; negative without such a bound. One in entries counts those that a follower has heard of,
    which no history tells, so it is not judged."""
    policy = parse_policy(cell.read_policy)
    return policy.lag_ms_max if isinstance(policy, Bounded) else -1.0


def _within(cell: PolicyVerdicts, bound_ms: float) -> Verdict:
    if cell.stale.status == "unknown":
        return cell.stale
    is_stale = not math.isnan(cell.age_ms_max)
    seen = f"the stalest read was {cell.age_ms_max:.1f} ms old" if is_stale else "no read was stale"
    within = Verdict.expect(not (is_stale and cell.age_ms_max > bound_ms), seen, **cell.stale.counts)
    return _enough(within, "reads_at_risk")


def _seen(verdict: Verdict) -> Verdict:
    """The claim that a guarantee is broken: a rare accident proves less than a rate, so this needs the minimum too."""
    checked = verdict.counts.get("checked", 0)
    if verdict.status != "unknown" and checked < MINIMUMS["checked"]:
        return Verdict.unknown(f"checked is {checked:g}, at least {MINIMUMS['checked']} needed", **verdict.counts)
    reason = verdict.reason.partition(": ")[0]  # without the witness, which is among the checks
    return replace(verdict.negated(reason), witness=())


def _enough(verdict: Verdict, name: str) -> Verdict:
    """Unknown when too few operations could have broken it; what is unknown already keeps its own reason."""
    return verdict if verdict.status == "unknown" else verdict.needing(name, MINIMUMS[name])
