"""Whether every operation can have taken effect at one moment between its invocation and its completion.

Each key is judged by itself, which is enough (Herlihy and Wing 1990): registers with unique values by their zones in
near-linear time, all else by a search that is bounded in steps and time, and then answers `unknown`. What is found bad
is shown by the shortest prefix that has no order, and by as few of its operations as conflict, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.checkers.conflicts import explain
from workbench.checkers.models import Model, cas_register, check_functions
from workbench.checkers.search import BoundedOut, Budget, search
from workbench.checkers.verdict import Verdict
from workbench.checkers.zones import Conflict, applies, conflict
from workbench.history_operations import Operation, by_key

STATES_MAX: Final = 2_000_000
"""Configurations that a search tries: about 200 bytes each."""
SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Failing:
    """The key whose history fails first: its `operations`, the one whose completion ends the shortest failing prefix,
    how many operations had begun by then (`prefix`), and those that conflict."""

    cell: str
    key: str
    operations: tuple[Operation, ...] = field(repr=False)
    last: Operation
    conflict: Conflict

    @property
    def prefix(self) -> int:
        return sum(one.begin <= self.last.end for one in self.operations)


@dataclass(frozen=True, slots=True)
class Linearizability:
    """What `linearizability` found. `bounded`: keys that were not judged to the end."""

    verdict: Verdict
    failing: Failing | None = None
    bounded: tuple[tuple[str, str], ...] = ()


def linearizability(
    operations: Sequence[Operation],
    model: Model | None = None,
    *,
    keyed: bool = True,
    states_max: int = STATES_MAX,
    seconds_max: float = SECONDS_MAX,
) -> Linearizability:
    """Judge a history against a model (default: a compare-and-set register).

    `keyed`: each key is an object of its own; otherwise there is one object, whose operations name what they touch.
    Raises `ConfigurationError` for an operation that the model does not have.
    """
    model = model or cas_register()
    check_functions(model, operations)
    budget = Budget(states_max, seconds_max)
    parts = by_key(operations) if keyed else {("", ""): list(operations)}
    failing: Failing | None = None
    bounded: list[tuple[str, str]] = []
    for (cell, key), part in parts.items():
        try:
            found = _judge(part, model, budget, failing)
        except BoundedOut:
            bounded.append((cell, key))
            continue
        if found is not None:
            failing = Failing(cell, key, tuple(part), *found)
    counts = _counts(operations, len(parts), budget)
    return Linearizability(_verdict(failing, bounded, counts), failing, tuple(bounded))


def _judge(
    part: list[Operation], model: Model, budget: Budget, earlier: Failing | None
) -> tuple[Operation, Conflict] | None:
    """What fails in the history of one object, unless another one is known to fail earlier."""
    if model.name in {"register", "cas_register"} and applies(part, model.initial):
        found = conflict(part, model.initial)
        return found if found is None or _is_first(found[0], earlier) else None
    failure = search(part, model, budget)
    if failure is None or not _is_first(failure.operation, earlier):
        return None
    return failure.operation, explain(part, model, failure)


def _is_first(last: Operation, earlier: Failing | None) -> bool:
    return earlier is None or (earlier.cell, earlier.last.end) > (earlier.cell, last.end)


def _counts(operations: Sequence[Operation], keys: int, budget: Budget) -> dict[str, int | float]:
    observed = sum(one.outcome == "ok" and one.f != "write" for one in operations)
    doubtful = sum(one.outcome == "info" for one in operations)
    return {
        "operations": len(operations),
        "observed": observed,
        "in_doubt": doubtful,
        "keys": keys,
        "states": budget.states,
    }


def _verdict(failing: Failing | None, bounded: list[tuple[str, str]], counts: dict[str, int | float]) -> Verdict:
    if failing is not None:
        numbers = f"its first {failing.prefix} operations are the shortest prefix without an order"
        reason = f"key {failing.key!r}{_cell(failing.cell)}: {failing.conflict.words} ({numbers})"
        witness = tuple(_row(one, one.number == failing.last.number) for one in failing.conflict.operations)
        return Verdict("invalid", reason, witness, counts | {"prefix_operations": failing.prefix})
    if bounded:
        cell, key = bounded[0]
        more = f" and {len(bounded) - 1} more keys" if len(bounded) > 1 else ""
        reason = f"key {key!r}{_cell(cell)}{more}: not decided within the bounds of {counts['states']} states tried"
        return Verdict("unknown", reason, (), counts)
    if not counts["observed"]:
        return Verdict("unknown", "no operation returned anything, so any order would do", (), counts)
    return Verdict("valid", f"there is an order for all {counts['operations']} operations", (), counts)


def _cell(cell: str) -> str:
    return f" of {cell}" if cell else ""


def _row(one: Operation, ends: bool) -> dict[str, Any]:
    """A row of the witness; `ends_prefix`: its completion ends the shortest failing prefix."""
    row: dict[str, Any] = {
        "operation": one.number, "process": one.process, "f": one.f, "key": one.key,
        "value": [one.expected, one.value] if one.f == "cas" else one.value,
        "type": one.outcome, "invoked_ns": one.invoked_ns, "completed_ns": one.completed_ns, "ends_prefix": ends,
    }  # fmt: skip
    if one.matched is not None:
        row["result"] = one.matched
    return row | {name: getattr(one, name) for name in ("cell", "replica", "term", "index") if getattr(one, name)}
