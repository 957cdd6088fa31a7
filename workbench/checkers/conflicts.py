"""Which operations of a history without an order are to blame: as few as can be found, and what they say in words.

Leaving out must never make a good history bad. So what is left out is only ever *freed*: operations that observe are
dropped; the beginning is cut off by letting the object be in any state there; and an operation that changes something
may have happened at any time, or never. What still has no order then is to blame by itself.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from workbench.checkers.models import Model, Operations
from workbench.checkers.search import BoundedOut, Budget, Failure, is_orderable
from workbench.checkers.zones import Conflict
from workbench.history_operations import OPEN, Operation, tell, told

STATES_MAX: Final = 3_000
"""Configurations that all attempts to leave something out may cost: then what is left stays."""

_CONFLICT_MAX: Final = 12
"""Operations that a person can follow. Where no fewer were found, those around the last one stand for them."""

_TRIED_MAX: Final = 60
"""Operations of which each is tried whether it can be left out."""

_TOLD_MAX: Final = 6
_STATES_TOLD_MAX: Final = 5


def explain(operations: Operations, model: Model, failure: Failure, states_max: int = STATES_MAX) -> Conflict:
    """The conflict that ends the shortest failing prefix of `operations` at `failure`."""
    prefix = [_as_of(one, failure.operation.end) for one in operations if one.begin < failure.operation.end]
    prefix = [one for one in prefix if one.outcome != "fail"]
    blame = _Blame(model, Budget(states_max), prefix)
    kept = blame.window(prefix)
    kept = blame.without(kept)
    numbers = {one.number for one in kept if not blame.is_free(one)}
    found = tuple(one for one in operations if one.number in numbers)
    if len(found) > _CONFLICT_MAX:
        found = (
            *[one for one in found if one.number != failure.operation.number][1 - _CONFLICT_MAX :],
            failure.operation,
        )
    return Conflict(found, _words(found, failure))


def _as_of(one: Operation, until: int) -> Operation:
    """An operation as it was then: if it was open, it may have happened already or not, with the result that it had."""
    return one if one.end <= until else msgspec.structs.replace(one, end=OPEN)


def _words(found: tuple[Operation, ...], failure: Failure) -> str:
    last = failure.operation
    if last.f == "read" and found == (last,):
        return f"{tell(last)}, which nobody had written"
    states = [_state(state) for state in failure.states[:_STATES_TOLD_MAX]]
    more = len(failure.states) - len(states)
    could = " or ".join(states) + (f" or {more} more" if more > 0 else "")
    others = [tell(one) for one in found if one.number != last.number]
    shown = "; ".join(others[-_TOLD_MAX:])
    behind = f", after: {shown}" if shown else ""
    hidden = len(others) - _TOLD_MAX
    behind += f" (and {hidden} earlier ones)" if hidden > 0 else ""
    return f"{tell(last)}, but {last.key} could then only be {could}{behind}"


def _state(state: Any) -> str:
    if state in (("true",), ("false",)):
        return str(state[0])
    try:
        return told(state)
    except TypeError:  # the state of somebody's own model
        return repr(state)


class _Blame:
    """Attempts to leave something out, within one budget.

    As long as the failure stays when what is in doubt may happen any number of times, that is how it is searched for.
    """

    def __init__(self, model: Model, budget: Budget, prefix: Operations) -> None:
        self.model = model
        self.budget = budget
        self.states = [] if model.states is None else [model.initial, *model.states(prefix)]
        self.any_state = False
        self.unlimited = True
        self.unlimited = self.fails(prefix)

    def fails(self, operations: Operations) -> bool:
        """Whether there is no order for certain."""
        starts = self.states if self.any_state else [self.model.initial]
        try:
            return not is_orderable(operations, self.model, self.budget, starts, unlimited=self.unlimited)
        except BoundedOut:
            return False

    def window(self, operations: Operations) -> Operations:
        """The operations since the latest moment from which no state explains them; all if there is none."""
        if not self.states:
            return operations
        self.any_state = True
        moments = sorted((one.begin for one in operations), reverse=True)
        good, bad = -1, 0  # since moments[bad] it fails, since moments[good] it does not
        while not self.fails(self.since(operations, moments[bad])):
            if bad == len(moments) - 1:
                self.any_state = False
                return operations
            good, bad = bad, min(2 * bad + 1, len(moments) - 1)
        while good + 1 < bad:
            middle = (good + bad) // 2
            if self.fails(self.since(operations, moments[middle])):
                bad = middle
            else:
                good = middle
        return self.since(operations, moments[bad])

    def since(self, operations: Operations, moment: int) -> Operations:
        later = []
        for one in operations:
            if one.begin >= moment:
                later.append(one)
            elif one.end > moment and not self.model.observes(one):
                later.append(_freed(one, one.begin))
        return later

    def without(self, operations: Operations) -> Operations:
        """Leave out what can be: first many at once, at last one by one."""
        kept = list(operations)
        if len(kept) > _TRIED_MAX:
            return kept
        bound = sorted((one for one in kept if not self.is_free(one)), key=lambda one: one.begin)
        size = len(bound) // 2
        while size:
            left: list[Operation] = []
            for at in range(0, len(bound), size):
                part = bound[at : at + size]
                others = self.freed(kept, part)
                if self.fails(others):
                    kept = others
                else:
                    left += part
            bound, size = left, size // 2
        return kept

    def freed(self, operations: Operations, part: Operations) -> list[Operation]:
        """The operations, of which those of `part` bind nothing any more."""
        numbers = {one.number for one in part}
        others = [one for one in operations if one.number not in numbers]
        return others + [_freed(one, -1) for one in part if not self.model.observes(one)]

    def is_free(self, one: Operation) -> bool:
        """Whether it was left out, or binds nothing since it is open from the beginning to the end."""
        return one.end == OPEN and one.begin < 0


def _freed(one: Operation, begin: int) -> Operation:
    return msgspec.structs.replace(one, end=OPEN, begin=begin)
