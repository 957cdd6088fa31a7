"""What a failover run shows, as pure functions over its kills and operations: a row a kill, and the claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.checkers import Losses, Verdict
from workbench.config import AckPolicy
from workbench.experiments.base import Row
from workbench.experiments.failover_kills import Kill

MINIMUMS = {"kills": 1, "acknowledged_writes": 50}
_NOTHING = float("nan")


def survives_failover(ack: str, members: int) -> bool:
    """Whether the policy promises that an acknowledged write survives: a majority has it on disk."""
    policy = AckPolicy.parse(ack)
    return policy.level != "received" and policy.followers_needed(members) >= members // 2


def kill_rows(kills: Sequence[Kill], operations: pd.DataFrame, losses: Losses) -> list[Row]:
    """One row a kill: who, when, what it cost. Operations belong to the last kill before they completed."""
    completed_ms = operations["completed_ns"].to_numpy(dtype=float, na_value=_NOTHING) / 1e6
    begins = [kill.killed_ms for kill in kills if kill.killed_ms is not None]
    rows = []
    for kill in kills:
        begin = _NOTHING if kill.killed_ms is None else kill.killed_ms
        end = min((later for later in begins if later > begin), default=float("inf"))
        outcomes = operations["outcome"][(completed_ms >= begin) & (completed_ms < end)]
        rows.append(
            {
                "kill": kill.number,
                "leader": kill.leader,
                "successor": kill.successor,
                "term_before": kill.term_before,
                "term_after": kill.term_after,
                "took_effect": kill.took_effect,
                "killed_ms": begin,
                "election_ms": _between(kill.killed_ms, kill.elected_ms),
                **_waits(kill, operations[(operations["kind"] == "write") & (operations["outcome"] == "ok")]),
                "down_ms": _between(kill.killed_ms, kill.restarted_ms),
                "catch_up_ms": _between(kill.restarted_ms, kill.caught_up_ms),
                "failed": int((outcomes == "fail").sum()),
                "indefinite": int((outcomes == "info").sum()),
                **_dropped(kill, losses.writes),
                "problem": kill.problem,
            }
        )
    return rows


def _between(begin: float | None, end: float | None) -> float:
    return _NOTHING if begin is None or end is None else end - begin


def _waits(kill: Kill, acknowledged: pd.DataFrame) -> Row:
    """How long clients waited for a success, from the acknowledged writes.

    `recovery_ms`: from SIGKILL to the first one under a newer term; `outage_ms`: between the last one that the killed
    leader told of and the first one that its successor did, which may be of a write that the old one had executed.
    """
    completed_ms = acknowledged["completed_ns"].to_numpy(dtype=float) / 1e6
    newer = completed_ms[(acknowledged["term"] > kill.term_before).to_numpy(dtype=bool)]
    if kill.killed_ms is None or not len(newer):
        return {"recovery_ms": _NOTHING, "outage_ms": _NOTHING}
    until = completed_ms <= newer.min()
    by_leader = (acknowledged["replica"] == kill.leader).to_numpy(dtype=bool)
    last = completed_ms[until & by_leader].max(initial=0.0)
    first = completed_ms[until & ~by_leader & (completed_ms > last)].min(initial=newer.min())
    return {"recovery_ms": float(newer.min()) - kill.killed_ms, "outage_ms": float(first - last)}


def _dropped(kill: Kill, writes: pd.DataFrame) -> Row:
    """What the rewinds of this kill dropped, and what became of the acknowledged writes in it."""
    names = {write for entry in kill.dropped for write in entry.writes}
    named = zip(writes["identifier"], writes["sequence"], strict=True)
    here = np.array([name in names for name in named], dtype=bool)
    return {
        "rewinds": kill.rewinds,
        "entries_dropped": len({(entry.term, entry.index) for entry in kill.dropped}),
        "took_effect_again": int((writes["took_effect_again"] & here).sum()),
        "lost_acknowledged_writes": int((writes["lost"] & (writes["term"] == kill.term_before)).sum()),
    }


def judge(rows: Sequence[Row], losses: Losses, *, asked: int, survives: bool, problem: str = "") -> dict[str, Verdict]:
    """The claims, from the rows of the kills that were made, and both accounts.

    `asked`: how many kills were to be made. `survives`: whether the policy promises that. `problem`: why nothing can be
    said of single writes.
    """
    verdicts = {
        "every_kill_took_effect": _every_kill_took_effect(rows, asked),
        "clients_find_the_new_leader": _clients_find_the_new_leader(rows, asked),
    }
    accounted = losses.verdict
    if survives:
        verdicts["no_acknowledged_write_is_lost"] = Verdict.unknown(problem) if problem else _none_is_lost(losses)
        if accounted.status == "unknown":  # none lost, by either account, is what is expected here
            again = losses.counts["took_effect_again"]
            reason = f"none is absent; {again} acknowledged writes that rewinds dropped all took effect again"
            accounted = Verdict.valid(reason, **losses.counts)
    verdicts["lost_writes_are_accounted_for"] = Verdict.unknown(problem) if problem else accounted
    took_effect = sum(bool(row["took_effect"]) for row in rows)
    return {name: _enough(verdict, losses, took_effect) for name, verdict in verdicts.items()}


def _enough(verdict: Verdict, losses: Losses, kills: int) -> Verdict:
    counts = dict(verdict.counts) | {"kills": kills, "acknowledged_writes": losses.counts["acknowledged_writes"]}
    judged = Verdict(verdict.status, verdict.reason, verdict.witness, counts)
    if judged.status == "unknown":
        return judged
    for name, minimum in MINIMUMS.items():
        judged = judged.needing(name, minimum)
    return judged


def _every_kill_took_effect(rows: Sequence[Row], asked: int) -> Verdict:
    effective = [row for row in rows if row["took_effect"]]
    reason = f"{len(effective)} of {asked} kills: the process was gone and the term rose"
    verdict = Verdict.expect(len(effective) == asked, reason, kills_that_took_effect=len(effective))
    return verdict if verdict.status == "valid" else _with_witness(verdict, rows, "took_effect")


def _clients_find_the_new_leader(rows: Sequence[Row], asked: int) -> Verdict:
    found = [row for row in rows if row["recovery_ms"] > 0]
    if len(found) < asked:
        reason = f"after {asked - len(found)} of {asked} kills no write was acknowledged under a new leader"
        lost = [row for row in rows if not row["recovery_ms"] > 0]
        return Verdict.invalid(reason, [_told(row) for row in lost[:3]])
    slowest = max((row["recovery_ms"] for row in found), default=_NOTHING)
    return Verdict.valid(f"after each of {len(found)} kills, at the latest {slowest:.0f} ms later")


def _none_is_lost(losses: Losses) -> Verdict:
    lost, acknowledged = losses.counts["lost_acknowledged_writes"], losses.counts["acknowledged_writes"]
    if lost:
        shown = losses.writes[losses.writes["lost"]].head(5).astype(object)
        return Verdict.invalid(f"{lost} of {acknowledged} acknowledged writes are lost", shown.to_dict("records"))
    return Verdict.valid(f"none of {acknowledged} acknowledged writes is lost")


def _with_witness(verdict: Verdict, rows: Sequence[Row], column: str) -> Verdict:
    return Verdict.invalid(verdict.reason, [_told(row) for row in rows if not row[column]][:3], **verdict.counts)


def _told(row: Row) -> Row:
    return {name: row[name] for name in ("kill", "leader", "successor", "term_before", "term_after", "problem")}
