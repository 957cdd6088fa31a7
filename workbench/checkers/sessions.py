"""Whether each session saw what it had a right to see: its own writes, and never an older state than before.

Four guarantees (D. Terry and others, "Session guarantees for weakly consistent replicated data", 1994), here for one
key at a time. Each says: what a session does now must not go back behind what it did before.

| guarantee | before | now |
|---|---|---|
| `read_your_writes` | the session's write of the key was acknowledged | a read of the key |
| `monotonic_reads` | a read of the key had returned | a read of the key |
| `monotonic_writes` | a write of the key was acknowledged | a write of the key |
| `writes_follow_reads` | a read of the key had returned | a write of the key |

It goes back where the value read or written now is definitely older (see `order`) than the one before. What could be
in order is never counted: values in doubt, or written concurrently without positions. Operations that a session runs
at the same time are in no order; and writes are judged only by their positions, since their times cannot disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from workbench.checkers.order import (
    ABSENT,
    NEVER,
    UNEXPLAINED,
    Booleans,
    Integers,
    Newer,
    Writes,
    duplicated_value,
    groups_of,
    listed,
    sources_of,
    times,
    writes_of,
)
from workbench.checkers.verdict import Verdict
from workbench.metrics.intervals import proportion_interval

Guarantee: TypeAlias = Literal["read_your_writes", "monotonic_reads", "monotonic_writes", "writes_follow_reads"]

GUARANTEES: Final[tuple[Guarantee, ...]] = get_args(Guarantee)
WITNESSES_MAX: Final = 3

_PAIRS: Final[dict[Guarantee, tuple[str, str]]] = {
    "read_your_writes": ("write", "read"),
    "monotonic_reads": ("read", "read"),
    "monotonic_writes": ("write", "write"),
    "writes_follow_reads": ("read", "write"),
}
"""Guarantee -> the kinds of the operations before and now."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Operations that have a place in the order of values: `ok` reads that are explained, acknowledged writes.

    Arrays of one length. `value` is the write whose value was read or written, or ABSENT; `group` is one key of one
    session of one cell.
    """

    row: Integers
    is_read: Booleans
    value: Integers
    group: Integers
    invoked: Integers
    completed: Integers

    def __len__(self) -> int:
        return len(self.row)

    def at(self, places: Integers | Booleans) -> Steps:
        """Those at `places`, or where a mask is true."""
        return Steps(*(getattr(self, name)[places] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class SessionGuarantees:
    """What `session_guarantees` found. `problem` says why nothing could be judged.

    `checked` has one row for each guarantee and operation that could have broken it, since there was one before:
    `guarantee`, the operation's `operation`, `cell`, `session`, `replica` and `key`, and `violated`.
    """

    checked: pd.DataFrame
    operations: pd.DataFrame
    unexplained: pd.DataFrame
    """`ok` reads of values that no write explains."""
    problem: str
    _writes: Writes
    _steps: Steps
    labels: Mapping[int, str]
    """Value -> what a sentence shows for it, where values stand for others."""

    def summary(self, *by: str) -> pd.DataFrame:
        """One row a group, by default a guarantee and a cell: counts, and the rate with its 95 % interval."""
        keys = list(by or ("guarantee", "cell"))
        rows = []
        for names, group in self.checked.groupby(keys, sort=False):
            rows.append(dict(zip(keys, names, strict=True)) | _figures(group["violated"]))
        return pd.DataFrame(rows, columns=[*keys, *_figures(self.checked["violated"].iloc[:0])])

    def rate(self, guarantee: Guarantee, cell: str | None = None) -> float:
        """Violations of what was checked, over all cells or of one; nan if nothing was."""
        return float(_figures(self._of(guarantee, cell)["violated"])["violation_rate"])

    def verdicts(self, cell: str | None = None) -> dict[str, Verdict]:
        """Guarantee -> its verdict."""
        return {guarantee: self.verdict(guarantee, cell) for guarantee in GUARANTEES}

    def verdict(self, guarantee: Guarantee, cell: str | None = None) -> Verdict:
        """Valid: something could have broken the guarantee, and nothing did. Invalid: the first witnesses, in words."""
        checked = self._of(guarantee, cell)
        violated = checked[checked["violated"]]
        unexplained = self.unexplained if cell is None else self.unexplained[self.unexplained["cell"] == cell]
        concerned = len(unexplained) if "read" in _PAIRS[guarantee] else 0
        counts = {"checked": len(checked), "violations": len(violated), "unexplained_reads": concerned}
        before, now = _PAIRS[guarantee]
        if self.problem:
            return Verdict("unknown", self.problem, (), counts)
        if len(violated):
            witness = tuple(self._witness(guarantee, row) for row in violated["row"].head(WITNESSES_MAX))
            share = f"{len(violated)} of {len(checked)} {now}s went back behind their session's earlier {before}"
            return Verdict("invalid", f"{share}: {witness[0]['words']}", witness, counts)
        if not len(checked):
            return Verdict("unknown", f"no {now} came after a {before} of its session and key", (), counts)
        if concerned:
            return Verdict("unknown", f"{concerned} reads returned values that no write explains", (), counts)
        return Verdict("valid", f"none of {len(checked)} {now}s went back behind its session's {before}s", (), counts)

    def _of(self, guarantee: Guarantee, cell: str | None) -> pd.DataFrame:
        mask = self.checked["guarantee"] == guarantee
        return self.checked[mask if cell is None else mask & (self.checked["cell"] == cell)]

    def _witness(self, guarantee: Guarantee, row: int) -> dict[str, Any]:
        """Two operations: the one that went back, and the last before it whose value is definitely newer."""
        steps = self._steps
        (now,) = np.flatnonzero(steps.row == row)
        same = (steps.group == steps.group[now]) & (steps.is_read == (_PAIRS[guarantee][0] == "read"))
        earlier = np.flatnonzero(same & (steps.completed < steps.invoked[now]) & (steps.value >= 0))
        newer = earlier[self._writes.definitely_older(np.repeat(steps.value[now], len(earlier)), steps.value[earlier])]
        before = newer[np.argmax(steps.completed[newer])]
        first, second = self.operations.iloc[steps.row[before]], self.operations.iloc[row]
        told = [tell_row(one, self.labels) for one in (first, second)]
        return {
            "words": f"session {second['session']} {told[0]}, then {told[1]}",
            "cell": second["cell"],
            "session": int(second["session"]),
            "key": second["key"],
            "operation": int(second["operation"]),
            "value": _value(second),
            "replica": second["replica"],
            "invoked_ns": int(steps.invoked[now]),
            "earlier_operation": int(first["operation"]),
            "earlier_value": _value(first),
            "earlier_completed_ns": int(steps.completed[before]),
        }


def tell_row(operation: pd.Series, labels: Mapping[int, str], *, only_value: bool = False) -> str:
    """What a row of a table of operations did, or only the value that it read or wrote, in words."""
    is_read = operation["kind"] == "read"
    value = "nothing" if pd.isna(operation["value"]) else labels.get(operation["value"], operation["value"])
    if only_value:
        return str(value)
    place = f" from {operation['replica']}" if is_read and operation["replica"] else ""
    verb = "read" if is_read else "wrote"
    return f"{verb} {operation['key']} = {value}{place} (operation {operation['operation']})"


def _value(operation: pd.Series) -> int | None:
    return None if pd.isna(operation["value"]) else int(operation["value"])


def session_guarantees(
    operations: pd.DataFrame,
    *,
    initial: Mapping[str, int] | None = None,
    lost: Collection[tuple[str, str, int]] = (),
    labels: Mapping[int, str] | None = None,
) -> SessionGuarantees:
    """Judge a table of operations.

    `initial`: key -> the value it held before the load, older than any write. `lost`: (cell, key, value) of writes
    that a rewind dropped: no session has a right to them any more, and reads of them are not judged. Without it a
    session whose write was lost counts as one that did not read it. `labels`: value -> what sentences show for it.
    """
    operations = operations.reset_index(drop=True)
    groups = groups_of(operations)
    writes = writes_of(operations, groups)
    steps, unexplained = _steps(operations, groups, writes, initial or {}, lost)
    problem = duplicated_value(operations, writes)
    frames = [
        _check(guarantee, operations, writes, steps if not problem else steps.at(steps.row < 0))
        for guarantee in GUARANTEES
    ]
    checked = pd.concat(frames, ignore_index=True)
    return SessionGuarantees(checked, operations, unexplained, problem, writes, steps, labels or {})


def _steps(
    operations: pd.DataFrame,
    groups: Integers,
    writes: Writes,
    initial: Mapping[str, int],
    lost: Collection[tuple[str, str, int]],
) -> tuple[Steps, pd.DataFrame]:
    """The steps in the order of their invocation, and the reads that nothing explains."""
    is_ok = (operations["outcome"] == "ok").to_numpy(dtype=bool)
    is_read = (operations["kind"] == "read").to_numpy(dtype=bool)
    value = np.full(len(operations), UNEXPLAINED, dtype=np.int64)
    value[writes.row] = np.arange(len(writes))
    reads = np.flatnonzero(is_ok & is_read)
    value[reads] = sources_of(operations.iloc[reads], writes, groups[reads], initial)
    is_lost = np.append(listed(operations, writes, lost), [False, False])  # at the places of ABSENT and UNEXPLAINED
    sessions = np.asarray(operations.groupby(["cell", "session", "key"], sort=False).ngroup(), dtype=np.int64)
    invoked = times(operations, "invoked_ns")
    every = Steps(
        row=np.arange(len(operations)),
        is_read=is_read,
        value=value,
        group=sessions,
        invoked=invoked,
        completed=times(operations, "completed_ns"),
    )
    chosen = np.flatnonzero(is_ok & (value != UNEXPLAINED) & ~is_lost[value])
    steps = every.at(chosen[np.argsort(invoked[chosen], kind="stable")])
    return steps, operations.iloc[reads[value[reads] == UNEXPLAINED]]


def _check(guarantee: Guarantee, operations: pd.DataFrame, writes: Writes, steps: Steps) -> pd.DataFrame:
    """The operations that could have broken one guarantee, and whether they did."""
    kinds = [kind == "read" for kind in _PAIRS[guarantee]]
    before = steps.at((steps.is_read == kinds[0]) & (steps.value >= 0))
    now = steps.at(steps.is_read == kinds[1])
    if guarantee in {"monotonic_writes", "writes_follow_reads"}:
        before, now = (part.at(writes.place[part.value] > 0) for part in (before, now))
    newer = Newer(*_seen(writes, before))
    absent = np.full(len(now), ABSENT, dtype=np.int64)
    could = newer.first_known(absent, now.group) < now.invoked
    violated = newer.first_known(now.value, now.group) < now.invoked
    columns = ["operation", "cell", "session", "replica", "key"]
    frame = operations.iloc[now.row[could]][columns].reset_index(drop=True)
    frame.insert(0, "guarantee", pd.array([guarantee] * len(frame), dtype="str"))
    return frame.assign(violated=violated[could], row=now.row[could])


def _seen(writes: Writes, before: Steps) -> tuple[Writes, Integers]:
    """The values that sessions had to do with, as writes known in their session's group since then.

    The writes themselves come first, known to nobody, so that a number of a write means the same as in `writes`.
    """
    arrays = {name: getattr(writes, name) for name in Writes.__slots__}
    seen = {name: np.concatenate((array, array[before.value])) for name, array in arrays.items()}
    seen["group"] = np.concatenate((np.full(len(writes), -1, dtype=np.int64), before.group))
    known = np.concatenate((np.full(len(writes), NEVER, dtype=np.int64), before.completed))
    return Writes(**seen), known


def _figures(violated: pd.Series) -> dict[str, Any]:
    checked, violations = len(violated), int(violated.sum())
    low, high = proportion_interval(violations, checked)
    rate = violations / checked if checked else np.nan
    return {
        "checked": checked,
        "violations": violations,
        "violation_rate": rate,
        "violation_rate_low": low,
        "violation_rate_high": high,
    }
