"""What `simulator` may claim from what it saw, as pure functions of the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from workbench.checkers import Verdict
from workbench.experiments.base import Row
from workbench.experiments.cells import claim

MINIMUMS = {"seeds": 5, "acknowledged_writes": 50}
Counts: TypeAlias = Mapping[str, float]
TOOK_EFFECT_SHARE = 0.5
"""At least this share of the real faults must have shown themselves; the others met each other, or nobody."""


def judge_simulated(seeds: Sequence[Row], bugs: Sequence[Row]) -> dict[str, Verdict]:
    """The claims about simulated worlds, from the table `seeds` and the rows of the summary with a planted bug."""
    told_twice = [row for row in seeds if row["told_alike"]]
    broken = [row for row in seeds if row["failure"]]
    caught = [row for row in bugs if row["violations"]]
    shrunk = [row for row in caught if row["faults_drawn"] > 1]
    verdicts = {
        "every_seed_tells_its_story_twice": _of_seeds(
            f"{len(told_twice)} of {len(seeds)} seeds led to the same trace hash twice",
            [row for row in seeds if not row["told_alike"]],
            seeds,
        ),
        "no_law_is_broken": _of_seeds(f"{len(broken)} of {len(seeds)} seeds broke a law", broken, seeds),
    }
    if bugs:
        verdicts["every_bug_is_caught"] = claim({row["bug"]: _is_caught(row) for row in bugs})
    if caught:
        verdicts["a_replay_fails_alike"] = claim({row["bug"]: _replays_alike(row) for row in caught})
    if shrunk:
        verdicts["few_faults_matter"] = claim({row["bug"]: _is_smaller(row) for row in shrunk})
    return verdicts


def _of_seeds(words: str, against: Sequence[Row], seeds: Sequence[Row]) -> Verdict:
    judged = Verdict("invalid" if against else "valid", words, tuple(against[:1]), {"seeds": len(seeds)})
    return judged.needing("seeds", MINIMUMS["seeds"])


def _is_caught(row: Row) -> Verdict:
    if not row["violations"]:
        return Verdict.invalid(f"none of {row['seeds']} seeds caught it", seeds_tried=row["seeds"])
    return Verdict.valid(f"by seed {row['seed']}, {row['reason']}", seeds_tried=row["seeds"])


def _replays_alike(row: Row) -> Verdict:
    alike = row["replays_alike"] and row["told_alike"]
    words = f"the replay breaks {row['replayed_law']}" if row["replayed_law"] else "the replay breaks nothing"
    return Verdict.expect(alike, words if alike else f"{words}, the seed had broken {row['law']}")


def _is_smaller(row: Row) -> Verdict:
    words = f"{row['faults_kept']} of {row['faults_drawn']} faults"
    return Verdict.expect(row["faults_kept"] < row["faults_drawn"], words)


def judge_real(row: Row, kinds: Sequence[Row], *, every_kind: bool) -> dict[str, Verdict]:
    """The claims about a real cluster, from its row of the summary and the table `faults`."""
    counts = {name: row[name] for name in ("acknowledged_writes", "faults", "faults_planned")}
    missing = [kind["kind"] for kind in kinds if not kind["took_effect"]] if every_kind else []
    return {
        "faults_took_effect": _took_effect(row, missing, counts),
        "no_acknowledged_write_is_lost": _nothing_lost(row, counts),
        "all_replicas_agree_in_the_end": _agree(row, counts),
    }


def _took_effect(row: Row, missing: Sequence[str], counts: Counts) -> Verdict:
    words = f"{row['faults']} of {row['faults_planned']} faults took effect, of {row['kinds']} kinds"
    if missing:
        return Verdict.unknown(f"{words}; none of the kind {', '.join(missing)}", **counts)
    if row["faults"] < TOOK_EFFECT_SHARE * row["faults_planned"]:
        return Verdict.unknown(words, **counts)
    return Verdict.valid(words, **counts)


def _nothing_lost(row: Row, counts: Counts) -> Verdict:
    lost = row["lost_acknowledged_writes"]
    if lost is None:
        return Verdict.unknown("the replicas' rows could not be compared with what was acknowledged", **counts)
    words = f"{lost} of {row['acknowledged_writes']:,} acknowledged writes are lost"
    judged = Verdict.expect(not lost, words, **counts)
    return judged.needing("acknowledged_writes", MINIMUMS["acknowledged_writes"])


def _agree(row: Row, counts: Counts) -> Verdict:
    """A problem is one of the cluster: it did not come to rest, or a process ended that no fault had touched."""
    if row["problem"] or not row["converged"]:
        return Verdict("invalid", row["problem"] or "the replicas differ, or did not come to rest", (), counts)
    return Verdict.valid(f"equal after {row['leader_changes']} changes of leader", **counts)
