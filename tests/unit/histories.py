"""Short notation for tiny histories, and random ones, shared by the tests of the checkers."""

from __future__ import annotations

from random import Random
from typing import Any

import pandas as pd

from workbench.history import operations_frame


def history(*operations: dict[str, Any]) -> pd.DataFrame:
    return operations_frame({"operation": number} | operation for number, operation in enumerate(operations))


def write(key: str, value: int, invoked: int, completed: int | None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A write: acknowledged at `completed`, in doubt if that is None."""
    times = {"intended_ns": invoked, "invoked_ns": invoked, "completed_ns": completed}
    outcome = "ok" if completed is not None else "info"
    place = {"term": 1 if index else 0, "index": index}
    return {"kind": "write", "key": key, "value": value, "outcome": outcome} | times | place | more


def read(key: str, value: int | None, invoked: int, completed: int, **more: Any) -> dict[str, Any]:
    """An `ok` read; value None: the key was absent."""
    times = {"intended_ns": invoked, "invoked_ns": invoked, "completed_ns": completed}
    return {"kind": "read", "key": key, "value": value, "outcome": "ok"} | times | more


def random_history(seed: int, cells: int) -> pd.DataFrame:
    """A small history a cell with every mixture: positions or none, doubt, failures, absent and unexplained reads.

    One table of many cells costs little more to judge than one of a single cell.
    """
    random = Random(seed)
    operations = []
    for cell in range(cells):
        placed = random.choice([[0], [1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4]])
        outcomes = random.choice([["ok"], ["ok", "ok", "ok", "info", "fail"]])
        span = random.choice([6, 30])
        for number in range(random.randint(0, 12)):
            invoked = random.randint(0, span)
            times: dict[str, Any] = {"invoked": invoked, "completed": invoked + random.randint(0, 6)}
            common: dict[str, Any] = {
                "cell": str(cell),
                "replica": random.choice(["r1", "r2"]),
                "session": random.choice([0, 0, 1]),
                "outcome": random.choice(outcomes),
            }
            key = random.choice(["x", "x", "y"])
            if random.random() < 0.5:
                index = random.choice(placed)
                place = {"term": random.randint(1, 2) if index else 0, "index": index, "member": random.randint(0, 1)}
                operations.append(write(key, number, **times, **place, **common))
            else:
                operations.append(read(key, random.choice([None, *range(12)]), **times, **common))
    return history(*operations)
