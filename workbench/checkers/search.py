"""The search for an order: whether operations on one object can be put in a line that the model allows.

An order must keep what time says: an operation that completed before another began comes first. Searched is in the
manner of Wing and Gong (1993) with what Lowe (2017) added: operations take effect just in time, that is only when one
that is about to complete has not yet, and what was tried once is remembered. Depth first, completion by completion: so
a good history is followed in one go, and of a bad one the completion that could not be passed by anything is where its
shortest failing prefix ends.

Operations that only observe take effect as soon as the state is what they saw, since that can never be wrong. Equal
operations in doubt stand for each other: only the one that began first is tried. And what could not be passed with
some of them cannot be passed with more of them used up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from workbench.checkers.models import IMPOSSIBLE, Model, Operations
from workbench.history_operations import OPEN, Operation, token

State: TypeAlias = Any
Config: TypeAlias = tuple[State, int]
"""A state, and which open operations (a bit each) have taken effect."""
_Tried: TypeAlias = dict[tuple[int, State, int], list[int]]
"""(completion, state, definite operations that have taken effect) -> sets of those in doubt that have, none in another.
"""


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


@dataclass(frozen=True, slots=True)
class _Return:
    """A completion, and what is open then: (bit, operation), those first that complete first."""

    operation: Operation
    bit: int
    observers: tuple[tuple[int, Operation], ...]
    changers: tuple[tuple[int, Operation], ...]
    doubtful: tuple[tuple[int, Operation, Hashable], ...]
    """Operations in doubt that have begun: bit, operation, what it is equal to others by."""


def search(
    operations: Operations,
    model: Model,
    budget: Budget,
    starts: Iterable[Hashable] | None = None,
    *,
    unlimited: bool = False,
) -> Failure | None:
    """None if there is an order, from `starts` (default: the initial state) on. Raises `BoundedOut`.

    `unlimited`: what is in doubt may happen any number of times, which is quick to search: a failure found is one.
    """
    chosen = [model.initial] if starts is None else list(starts)
    return _Search(operations, model, budget, unlimited).run(chosen)


class _Search:
    def __init__(self, operations: Operations, model: Model, budget: Budget, unlimited: bool) -> None:
        self.step = model.step
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
        self.states: set[Hashable] = set()

    def run(self, starts: list[Any]) -> Failure | None:
        if not self.returns:
            return None
        visited: _Tried = {}
        for start in starts:
            if self.finds(start, visited):
                return None
        return Failure(self.returns[self.deepest].operation, tuple(sorted(self.states, key=repr)))

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
        known = tried.setdefault((at, state, done ^ used), [])
        if any(other & ~used == 0 for other in known):
            return False
        known[:] = [other for other in known if used & ~other]
        known.append(used)
        return True

    def options(self, at: int, state: State, done: int) -> Iterator[Config]:
        """Every configuration in which the completion `at` can be passed, the nearest first."""
        self.budget.spend()
        point = self.returns[at]
        done = _observe(self.step, point, state, done)
        if done & point.bit:
            yield state, done & ~point.bit
            return
        tried: _Tried = {}
        self.is_new(tried, at, state, done)
        queue = deque([(state, done)])
        while queue:
            state, done = queue.popleft()
            for bit, following in self.changes(point, state, done):
                now = _observe(self.step, point, following, done | bit)
                if now & point.bit:
                    yield following, now & ~point.bit
                elif self.is_new(tried, at, following, now):
                    self.budget.spend()
                    queue.append((following, now))
        self.note(at, (state for _, state, _ in tried))

    def changes(self, point: _Return, state: State, done: int) -> Iterator[tuple[int, State]]:
        """What could take effect next: its bit, and the state after it."""
        for bit, one in point.changers:
            if not done & bit:
                following = self.step(state, one)
                if following is not IMPOSSIBLE:
                    yield bit, following
        tried = set()
        for bit, one, signature in point.doubtful:
            if done & bit or signature in tried:
                continue
            tried.add(signature)
            following = self.step(state, one)
            if following is not IMPOSSIBLE and following != state:
                yield bit, following

    def note(self, at: int, states: Iterable[Hashable]) -> None:
        """Nothing more is to be tried at `at`."""
        if at > self.deepest:
            self.deepest = at
            self.states = set()
        if at == self.deepest:
            self.states.update(states)


def _observe(step: Any, point: _Return, state: State, done: int) -> int:
    for bit, one in point.observers:
        if not done & bit and step(state, one) is not IMPOSSIBLE:
            done |= bit
    return done


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
    begun: tuple[tuple[int, Operation, Hashable], ...] = ()
    for _, kind, number in events:
        if kind == 2:
            begun = (*begun, in_doubt[number])
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
