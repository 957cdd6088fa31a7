"""What an object may do, as a pure step function: (state, operation) -> the state after it, or IMPOSSIBLE.

A step says whether the operation, with what it returned, can happen in that state. Of an operation in doubt (`info`)
nothing was returned, so it is only asked what it would change. States are hashable; those of registers are tokens of
JSON values (see `token`), None is the state of a key that is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from workbench.errors import ConfigurationError
from workbench.history_operations import Operation, token

IMPOSSIBLE: Final = object()
"""In place of a state: the operation cannot have happened so."""

Operations: TypeAlias = Sequence[Operation]

OTHER: Final = ("a value that occurs nowhere",)
"""A state that no value of the history leads to."""


def _never(_: Operation) -> bool:
    return False


def _all(operations: Operations) -> Operations:
    return operations


@dataclass(frozen=True, slots=True)
class Model:
    """An object, of which each key is one. Only `name`, `initial` and `step` are needed; the rest makes it faster."""

    name: str
    initial: Hashable
    step: Callable[[Any, Operation], Any]
    observes: Callable[[Operation], bool] = _never
    """Whether an operation never changes any state."""
    overwrites: Callable[[Operation], bool] = _never
    """Whether an operation is possible in every state, and leads from all to the same."""
    prune: Callable[[Operations], Operations] = _all
    """Leaves out operations in doubt that no order of the others needs."""
    states: Callable[[Operations], Iterable[Hashable]] | None = None
    """All states that operations could lead to, and one that none does; without it witnesses are longer."""
    functions: frozenset[str] | None = None
    """What its operations may be called; None: anything."""


def register(initial: Any = None) -> Model:
    """A register: `read` and `write`."""
    functions = frozenset({"read", "write"})
    return Model("register", token(initial), _step, _observes, _overwrites, _prune, _states, functions)


def cas_register(initial: Any = None) -> Model:
    """A register that can also be compared and set at once: `read`, `write` and `cas`."""
    functions = frozenset({"read", "write", "cas"})
    return Model("cas_register", token(initial), _step, _observes, _overwrites, _prune, _states, functions)


MODELS: Final = {"register": register, "cas_register": cas_register}


def check_functions(model: Model, operations: Iterable[Operation]) -> None:
    """Raise `ConfigurationError` for an operation that the model does not have."""
    for one in operations:
        if model.functions is not None and one.f not in model.functions:
            raise ConfigurationError(
                f"operation {one.number} is a {one.f}, which the model {model.name} does not have",
                hint="cas_register has read, write and cas",
            )


def _step(state: Any, one: Operation) -> Any:
    f = one.f
    value = one.value if one.value.__class__ is int else token(one.value)  # the common case, at a tenth of the cost
    if f == "write":
        return value
    if f == "read":
        return state if value == state or one.outcome == "info" else IMPOSSIBLE
    matches = token(one.expected) == state
    if one.matched is None:  # in doubt
        return value if matches else state
    if matches != one.matched:
        return IMPOSSIBLE
    return value if matches else state


def _observes(one: Operation) -> bool:
    return one.f == "read" or one.matched is False


def _overwrites(one: Operation) -> bool:
    return one.f == "write"


def _prune(operations: Operations) -> Operations:
    """Without what is in doubt and sets a value that nobody asked for.

    Where a cas did not match, any value can explain it: then all stay.
    """
    if any(one.matched is False for one in operations):
        return operations
    seen = {token(one.value) for one in operations if one.f == "read" and one.outcome == "ok"}
    seen |= {token(one.expected) for one in operations if one.f == "cas"}
    return [one for one in operations if one.outcome != "info" or token(one.value) in seen]


def _states(operations: Operations) -> Iterable[Hashable]:
    return [OTHER, *{token(one.value) for one in operations if not _observes(one)}]
