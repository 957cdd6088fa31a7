"""The search for an order: whether operations on one object can be put in a line that the model allows.

An order must keep what time says: an operation that completed before another began comes first. Searched is in the
manner of Wing and Gong (1993) with what Lowe (2017) added: operations take effect just in time, that is only when one
that is about to complete has not yet, and what was tried once is remembered. Depth first, completion by completion: so
a good history is followed in one go, and of a bad one the completion that could not be passed by anything is where its
shortest failing prefix ends.

Operations that only observe take effect as soon as the state is what they saw, since that can never be wrong. Equal
operations in doubt stand for each other: only the one that began first is tried. One in doubt takes effect only where
something open depends on the state that it leads to: otherwise it could have waited, or never have happened. And what
could not be passed with some of them cannot be passed with more of them used up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from workbench.checkers.models import IMPOSSIBLE, Model, Operations
from workbench.history_operations import OPEN, Operation, token

State: TypeAlias = Any
Config: TypeAlias = tuple[State, int]
"""A state, and which open operations (a bit each) have taken effect."""
_Tried: TypeAlias = dict[tuple[int, State, int], list[int]]
"""(completion, state, definite operations that have taken effect) -> sets of those in doubt that have, none in another.
"""


_STATES_TRIED_MAX: Final = 2_000
"""Configurations from which the states of a failure are told; those that only what is in doubt leads to come last."""


class BoundedOut(Exception):
    """The search would have needed more than its budget."""


class Budget:
    """How many configurations searches may try, and how long; shared by several. `spend` raises `BoundedOut`."""

    def __init__(self, states_max: int, seconds_max: float = float("inf")) -> None:
        self.states = 0
        self.states_max = states_max
        self._until = time.monotonic() + seconds_max

    def spend(self) -> None:
        """Count one configuration."""
        self.states += 1
        if self.states > self.states_max or (self.states % 256 == 0 and time.monotonic() > self._until):
            raise BoundedOut


@dataclass(frozen=True, slots=True)
class Failure:
    """No order exists up to the completion of `operation`; then the object could only be in `states`."""

    operation: Operation
    states: tuple[State, ...]


class _Moves(NamedTuple):
    """What can happen in one state at one completion. Sets of operations are bits."""

    observed: int
    """Those that only observe, and saw this state."""
    depending: int
    """Definite ones that can change this state, and not any other alike."""
    in_doubt_depends: bool
    """Whether one in doubt does so."""
    changes: tuple[tuple[int, State], ...]
    """Bit of a definite one, and the state after it."""
    in_doubt: tuple[tuple[tuple[int, ...], State], ...]
    """Bits of equal ones in doubt, those first that began first, and the state after one of them."""


@dataclass(slots=True)
class _Return:
    """A completion, and what is open then: (bit, operation), those first that complete first."""

    operation: Operation
    bit: int
    observers: tuple[tuple[int, Operation], ...]
    changers: tuple[tuple[int, Operation], ...]
    doubtful: tuple[tuple[tuple[int, ...], Operation], ...]
    """Operations in doubt that have begun, equal ones as one: their bits, the first of them."""
    known: dict[State, _Moves] = field(default_factory=dict)
    """State -> what can happen in it, as far as it was asked for."""

    def moves(self, state: State, model: Model) -> _Moves:
        """What can happen in a state."""
        found = self.known.get(state)
        if found is None:
            found = self.known[state] = self._moves(state, model)
        return found

    def _moves(self, state: State, model: Model) -> _Moves:
        step, overwrites = model.step, model.overwrites
        observed = depending = 0
        for bit, one in self.observers:
            if step(state, one) is not IMPOSSIBLE:
                observed |= bit
        changes = [(bit, step(state, one), one) for bit, one in self.changers]
        changes = [change for change in changes if change[1] is not IMPOSSIBLE]
        for bit, _, one in changes:
            if not overwrites(one):
                depending |= bit
        in_doubt = [(bits, step(state, one), one) for bits, one in self.doubtful]
        in_doubt = [change for change in in_doubt if change[1] is not IMPOSSIBLE and change[1] != state]
        return _Moves(
            observed,
            depending,
            not all(overwrites(one) for *_, one in in_doubt),
            tuple((bit, following) for bit, following, _ in changes),
            tuple((bits, following) for bits, following, _ in in_doubt),
        )


def search(operations: Operations, model: Model, budget: Budget) -> Failure | None:
    """None if there is an order from the initial state on. Raises `BoundedOut`."""
    found = _Search(operations, model, budget, unlimited=False)
    return None if found.succeeds([model.initial]) else found.failure()


def is_orderable(
    operations: Operations, model: Model, budget: Budget, starts: Iterable[Hashable], *, unlimited: bool
) -> bool:
    """Whether there is an order from one of the states `starts` on. Raises `BoundedOut`.

    `unlimited`: what is in doubt may happen any number of times, which is quick to search: if then there is no order,
    there is none.
    """
    return _Search(operations, model, budget, unlimited=unlimited).succeeds(starts)


class _Search:
    def __init__(self, operations: Operations, model: Model, budget: Budget, *, unlimited: bool) -> None:
        self.model = model
        self.budget = budget
        kept = [one for one in operations if one.outcome != "fail"]
        kept = [one for one in model.prune(kept) if one.end != OPEN or not model.observes(one)]
        doubtful = [one for one in sorted(kept, key=lambda one: one.begin) if one.end == OPEN]
        signed = [(_signature(one), one) for one in doubtful]
        if unlimited:
            first: dict[Hashable, Operation] = {}
            for signature, one in signed:
                first.setdefault(signature, one)
            signed = list(first.items())
        self.bits_in_doubt = (1 << len(signed)) - 1
        in_doubt = [(0 if unlimited else 1 << at, one, signature) for at, (signature, one) in enumerate(signed)]
        self.returns = _returns([one for one in kept if one.end != OPEN], in_doubt, model)
        self.deepest = -1
        self.failed: list[Config] = []

    def succeeds(self, starts: Iterable[Any]) -> bool:
        visited: _Tried = {}
        return not self.returns or any(self.finds(start, visited) for start in starts)

    def failure(self) -> Failure:
        """Where it did not go on."""
        return Failure(self.returns[self.deepest].operation, self.states())

    def finds(self, start: State, visited: _Tried) -> bool:
        stack = [self.options(0, start, 0)]
        while stack:
            config = next(stack[-1], None)
            if config is None:
                stack.pop()
                continue
            passed = len(stack)
            if passed == len(self.returns):
                return True
            if self.is_new(visited, passed, *config):
                stack.append(self.options(passed, *config))
        return False

    def is_new(self, tried: _Tried, at: int, state: State, done: int) -> bool:
        """Whether nothing as good was tried: the same, with no more of what is in doubt used up. Then it is now."""
        used = done & self.bits_in_doubt
        key = at, state, done ^ used
        known = tried.get(key)
        if known is None:
            tried[key] = [used]
            return True
        for other in known:
            if not other & ~used:
                return False
        known[:] = [other for other in known if used & ~other]
        known.append(used)
        return True

    def options(self, at: int, state: State, done: int) -> Iterator[Config]:
        """Every configuration in which the completion `at` can be passed, the nearest first."""
        self.budget.spend()
        point, model = self.returns[at], self.model
        entered = state, done
        done |= point.moves(state, model).observed
        if done & point.bit:
            yield state, done & ~point.bit
            return
        tried: _Tried = {}
        self.is_new(tried, at, state, done)
        queue = deque([(state, done)])
        while queue:
            state, done = queue.popleft()
            for now, following in self.changes(point, state, done, lean=True):
                if now & point.bit:
                    yield following, now & ~point.bit
                elif self.is_new(tried, at, following, now):
                    self.budget.spend()
                    queue.append((following, now))
        if at > self.deepest:
            self.deepest, self.failed = at, []
        if at == self.deepest:
            self.failed.append(entered)

    def changes(self, point: _Return, state: State, done: int, *, lean: bool) -> Iterator[tuple[int, State]]:
        """What could take effect next: the bits of all that have then, and the state. `lean`: without what need not."""
        model = self.model
        moves = point.moves(state, model)
        for bit, following in moves.changes:
            if not done & bit:
                yield done | bit | point.moves(following, model).observed, following
        for bits, following in moves.in_doubt:
            then = point.moves(following, model)
            if lean and not (then.in_doubt_depends or (then.observed | then.depending) & ~done):
                continue
            for bit in bits:
                if not done & bit:
                    yield done | bit | then.observed, following
                    break

    def states(self) -> tuple[State, ...]:
        """Those that the object could be in where nothing more was to be tried."""
        point = self.returns[self.deepest]
        seen = {state for state, _ in self.failed}
        tried = {(state, done | point.moves(state, self.model).observed) for state, done in self.failed}
        queue = deque(tried)
        while queue and len(tried) < _STATES_TRIED_MAX:
            for done, following in self.changes(point, *queue.popleft(), lean=False):
                seen.add(following)
                if (following, done) not in tried:
                    tried.add((following, done))
                    queue.append((following, done))
        return tuple(sorted(seen, key=repr))


def _signature(one: Operation) -> Hashable:
    return one.f, token(one.expected), token(one.value)


def _returns(definite: list[Operation], in_doubt: list[tuple[int, Operation, Hashable]], model: Model) -> list[_Return]:
    """The completions in order. A bit is used again when its operation has completed."""
    events = [(one.begin, 0, number) for number, one in enumerate(definite)]
    events += [(one.end, 1, number) for number, one in enumerate(definite)]
    events += [(one.begin, 2, number) for number, (_, one, _) in enumerate(in_doubt)]
    events.sort()
    base = len(in_doubt)
    free: list[int] = []
    used = 0
    bits: dict[int, int] = {}
    found: list[_Return] = []
    equal: dict[Hashable, tuple[tuple[int, ...], Operation]] = {}
    begun: tuple[tuple[tuple[int, ...], Operation], ...] = ()
    for _, kind, number in events:
        if kind == 2:
            bit, one, signature = in_doubt[number]
            before, first = equal.get(signature, ((), one))
            equal[signature] = (*before, bit), first
            begun = tuple(equal.values())
        elif kind == 0:
            if free:
                bits[number] = free.pop()
            else:
                bits[number], used = 1 << (base + used), used + 1
        else:
            ordered = sorted(bits, key=lambda one: definite[one].end)
            listed = [(bits[one], definite[one], model.observes(definite[one])) for one in ordered]
            observers = tuple((bit, one) for bit, one, only in listed if only)
            changers = tuple((bit, one) for bit, one, only in listed if not only)
            bit = bits.pop(number)
            found.append(_Return(definite[number], bit, observers, changers, begun))
            free.append(bit)
    return found
