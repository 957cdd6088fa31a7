"""Convergence by reads: whether all replicas gave the same value of each key in the end, as far as clients saw.

What replicas hold at the end is best asked of the replicas (`convergence`). Of a system of which only a history is
there, the reads behind its last write must do: of each replica and key, the last one that was invoked when no write of
the key could happen any more. A write in doubt may happen at any time, so where it could explain a difference, nothing
is said. A replica that lags differs, too: such reads should be made after the system came to rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workbench.checkers.verdict import Verdict
from workbench.checkers.versions import writes
from workbench.history_operations import OPEN, Operation, by_key, tell, token, told

WITNESSES_MAX: Final = 5


def final_reads(operations: Sequence[Operation]) -> Verdict:
    """Judge the reads that name the replica which answered.

    Valid: every key that several replicas were asked for in the end had one value on all. The witness has a row a key
    and value that differs, with the replicas that gave it.
    """
    counts: dict[str, int | float] = {"keys": 0, "keys_compared": 0, "keys_differing": 0, "keys_in_doubt": 0}
    replicas: set[str] = set()
    witness: list[dict[str, Any]] = []
    for part in by_key(operations).values():
        counts["keys"] += 1
        last = _last_reads(part)
        if len(last) < 2:
            continue
        counts["keys_compared"] += 1
        replicas |= last.keys()
        if len({token(one.value) for one in last.values()}) == 1:
            continue
        if _may_still_change(part, last):
            counts["keys_in_doubt"] += 1
            continue
        counts["keys_differing"] += 1
        if len(witness) < WITNESSES_MAX:
            witness += _rows(last)
    counts["replicas"] = len(replicas)
    return _verdict(counts, witness)


def _last_reads(part: Sequence[Operation]) -> dict[str, Operation]:
    """Replica -> its last read of a key that began after every write of the key had ended."""
    rest = max((one.end for one in part if writes(one) and one.end != OPEN), default=-1)
    last: dict[str, Operation] = {}
    for one in part:
        if one.f == "read" and one.outcome == "ok" and one.replica and one.begin > rest:
            before = last.get(one.replica)
            last[one.replica] = one if before is None or before.begin < one.begin else before
    return last


def _may_still_change(part: Sequence[Operation], last: Mapping[str, Operation]) -> bool:
    """Whether a write in doubt can have happened between two of the last reads: one of them returned its value."""
    seen = {token(one.value) for one in last.values()}
    return any(writes(one) and one.end == OPEN and token(one.value) in seen for one in part)


def _rows(last: Mapping[str, Operation]) -> list[dict[str, Any]]:
    holders: dict[Any, list[Operation]] = {}
    for replica in sorted(last):
        holders.setdefault(token(last[replica].value), []).append(last[replica])
    largest_first = sorted(holders.values(), key=lambda reads: (-len(reads), reads[0].replica))
    return [
        {
            "words": tell(reads[0]), "cell": reads[0].cell, "key": reads[0].key, "value": reads[0].value,
            "replicas": [one.replica for one in reads], "operations": [one.number for one in reads],
        }
        for reads in largest_first
    ]  # fmt: skip


def _verdict(counts: dict[str, int | float], witness: list[dict[str, Any]]) -> Verdict:
    compared, differing = counts["keys_compared"], counts["keys_differing"]
    if differing:
        first = [row for row in witness if (row["cell"], row["key"]) == (witness[0]["cell"], witness[0]["key"])]
        values = "; ".join(f"{told(row['value'])} on {', '.join(row['replicas'])}" for row in first)
        reason = f"{differing} of {compared} keys differ in the end: {first[0]['key']} is {values}"
        return Verdict("invalid", reason, tuple(witness), counts)
    if not compared:
        return Verdict("unknown", "no key was read from two named replicas after its last write", (), counts)
    if counts["keys_in_doubt"]:
        reason = f"{counts['keys_in_doubt']} keys differ, which writes in doubt may explain"
        return Verdict("unknown", reason, (), counts)
    return Verdict("valid", f"{compared} keys have one value on all replicas in the end", (), counts)
