"""What the claims of `new_follower` say of the rows of its summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.checkers.verdict import Verdict
from workbench.experiments.base import Row
from workbench.experiments.cells import claim

MINIMUMS = {"entries_during_join": 5, "writes_during_join": 5}
GAP_MS_MAX = 1_000.0
"""A pause in acknowledgements that no machine need have; a longer join may have one of up to half its length."""

CLAIMS = {
    "first_entry_applied_follows_the_snapshot": "The first entry that a new replica applies is the one behind its "
    "snapshot's position, while writes go on.",
    "writes_go_on": "Writes are acknowledged all the while that it joins: no gap is longer than a second, or half of "
    "the join.",
    "it_holds_everything": "In the end it holds the same rows as the others.",
    "the_new_follower_counts": "Where the ack policy needs it, a write waits for the new replica like for any other.",
}


def judge(summary: Sequence[Row]) -> dict[str, Verdict]:
    """The claims, from the rows of the summary. A policy that needs no follower says nothing of who counts."""
    groups: dict[str, tuple[Callable[[Row], Verdict], Sequence[Row]]] = {
        "first_entry_applied_follows_the_snapshot": (_follows, summary),
        "writes_go_on": (_writes_go_on, summary),
        "it_holds_everything": (_holds_everything, summary),
        "the_new_follower_counts": (_counts, [row for row in summary if row["probe_needed"]]),
    }
    return {
        name: claim({f"{row['database_mb']:g} MB": judged(row) for row in rows})
        for name, (judged, rows) in groups.items()
        if rows
    }


def _enough(verdict: Verdict, row: Row) -> Verdict:
    """Without writes while it joined, there was nothing that could have been missed."""
    written, minimum = row["entries_during_join"], MINIMUMS["entries_during_join"]
    if written < minimum:
        return Verdict.unknown(f"{written} entries were written while it joined, at least {minimum} are needed")
    return verdict


def _follows(row: Row) -> Verdict:
    (term, index), (first_term, first_index) = _parsed(row["snapshot_position"]), _parsed(row["first_entry"])
    holds = index > 0 and first_index == index + 1 and first_term >= term
    seen = f"snapshot at {row['snapshot_position']}, first entry {row['first_entry']}"
    return _enough(Verdict.expect(holds, seen, entries_during_join=row["entries_during_join"]), row)


def _parsed(text: str) -> tuple[int, int]:
    term, _, index = text.partition(".")
    return int(term), int(index)


def _writes_go_on(row: Row) -> Verdict:
    gap_ms, join_ms, writes = row["write_gap_ms_during"], row["join_ms"], row["writes_during_join"]
    seen = f"{writes} writes in {join_ms:.0f} ms, the longest gap {gap_ms:.0f} ms"
    if row["writes_per_s_before"] == 0:
        return Verdict.unknown("no write was acknowledged before either")
    verdict = Verdict.expect(gap_ms < max(GAP_MS_MAX, join_ms / 2), seen, writes_during_join=writes)
    return verdict.needing("writes_during_join", MINIMUMS["writes_during_join"])


def _holds_everything(row: Row) -> Verdict:
    return Verdict.expect(row["converged"], "all replicas are equal" if row["converged"] else "the replicas differ")


def _counts(row: Row) -> Verdict:
    if not row["is_member"]:
        return Verdict.invalid("it is no member")
    if not row["probe_acknowledged"] and row["probe_waited"]:
        return Verdict.unknown("the write was not acknowledged when it went on either")
    seen = "a write waited while it was stopped" if row["probe_waited"] else "a write did not wait for it"
    return Verdict.expect(row["probe_waited"], seen)
