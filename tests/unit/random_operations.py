"""Small random histories of a register, and the definition of linearizability written out, for tests of its checker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from workbench.checkers.models import IMPOSSIBLE, Model
from workbench.history_operations import OPEN, Operation


def random_operations(seed: int, functions: Sequence[str], values: int, keys: str = "x") -> list[Operation]:
    """Up to 7 operations of up to 4 processes; `values` 0: each write has a value of its own."""
    random = Random(seed)
    drawn: list[dict[str, Any]] = []
    processes = list(range(random.randint(1, 4)))
    running: dict[int, dict[str, Any]] = {}
    state: Any = None
    unused = len(processes)
    for place in range(random.randint(0, 14)):
        slot = random.randrange(len(processes))
        process = processes[slot]
        one = running.pop(process, None)
        if one is None:
            f = random.choice(functions)
            value = random.randrange(values) if values else len(drawn) + 1
            begun = {"number": len(drawn), "process": process, "f": f, "key": random.choice(keys), "begin": place}
            one = begun | {"invoked_ns": place, "outcome": "info", "value": value if f != "read" else None}
            if f == "cas":
                one["expected"] = random.choice([None, *range(max(values, 3))])
            running[process] = one
            drawn.append(one)
            continue
        one["outcome"] = random.choice(["ok"] * 5 + ["info", "fail"])
        one["completed_ns"] = place
        if one["outcome"] == "info":
            processes[slot], unused = unused, unused + 1
            continue
        one["end"] = place
        if one["outcome"] == "ok":  # mostly as a register would answer, so that good histories occur
            written = [None, *(other["value"] for other in drawn if other["f"] != "read")]
            if one["f"] == "read":
                one["value"] = state if random.random() < 0.8 else random.choice(written)
            elif one["f"] == "write":
                state = one["value"]
            else:
                one["matched"] = (one["expected"] == state) != (random.random() < 0.1)
                state = one["value"] if one["matched"] else state
    return [Operation(**one) for one in drawn]


def has_order(operations: Sequence[Operation], model: Model) -> bool:
    """Whether some order of what happened, with some of what is in doubt, is allowed: every order is tried."""

    def orders(state: Any, left: list[Operation]) -> Iterator[bool]:
        if all(one.end == OPEN for one in left):
            yield True
        for one in left:
            if any(other.end < one.begin for other in left):
                continue
            following = model.step(state, one)
            if following is not IMPOSSIBLE:
                yield from orders(following, [other for other in left if other is not one])

    return any(orders(model.initial, [one for one in operations if one.outcome != "fail"]))


def prefix(operations: Sequence[Operation], until: int) -> list[Operation]:
    """What had begun by a place: what was open then may have happened already or not, with the result that it had."""
    begun = [one for one in operations if one.begin <= until and one.outcome != "fail"]
    return [one if one.end <= until else msgspec.structs.replace(one, end=OPEN) for one in begun]
