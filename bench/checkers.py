"""How long checkers take for a large history, and how much memory: an invented one of a million operations by default.

A leader with two followers behind, 100 sessions, 1,000 keys, four reads to a write. Usage: `python bench/checkers.py
[operations] [--no-positions]`. Prints seconds for each step and the most memory that the process ever had.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

from workbench.checkers import session_guarantees, staleness
from workbench.history import SCHEMA, validate_operations

T = TypeVar("T")

SESSIONS, KEYS, READ_SHARE, LAG_NS, SPACING_NS = 100, 1_000, 0.8, 5_000_000, 10_000


def history(count: int, *, positions: bool = True) -> pd.DataFrame:
    """Operations as such a cluster would answer them: reads of followers return what was written `LAG_NS` ago."""
    random = np.random.default_rng(1)
    invoked = np.arange(count, dtype=np.int64) * SPACING_NS
    is_read = random.random(count) < READ_SHARE
    key = random.integers(KEYS, size=count)
    completed = invoked + random.integers(200_000, 2_000_000, size=count)
    replica = np.where(is_read, random.integers(3, size=count), 0)
    seen_ns = invoked - np.where(replica > 0, LAG_NS, 0)
    writes = np.flatnonzero(~is_read)
    writes = writes[np.lexsort((invoked[writes], key[writes]))]
    place = key.astype(np.int64) * (count * SPACING_NS * 2)
    at = np.searchsorted(place[writes] + invoked[writes], place + seen_ns, side="right") - 1
    found = (at >= 0) & (key[writes[np.maximum(at, 0)]] == key)
    value = np.where(is_read, np.where(found, writes[np.maximum(at, 0)], -1), np.arange(count))
    index = np.where(is_read, 0, np.cumsum(~is_read)) if positions else np.zeros(count, dtype=np.int64)
    numbers = {
        "operation": np.arange(count),
        "session": np.arange(count) % SESSIONS,
        "term": (index > 0).astype(np.int64),
        "index": index,
        "member": np.zeros(count, dtype=np.int64),
        "sequence": np.zeros(count, dtype=np.int64),
        "identifier": np.zeros(count, dtype=np.int64),
    }
    texts = {
        "cell": np.full(count, ""),
        "kind": np.where(is_read, "read", "write"),
        "key": np.char.add("k", key.astype(str)),
        "outcome": np.full(count, "ok"),
        "error": np.full(count, ""),
        "replica": np.char.add("replica-", (replica + 1).astype(str)),
    }
    columns = {name: pd.array(text, dtype="str") for name, text in texts.items()} | numbers
    columns["value"] = pd.arrays.IntegerArray(value.astype(np.int64), value < 0)
    times = {"intended_ns": invoked, "invoked_ns": invoked, "completed_ns": completed}
    columns |= {name: pd.array(values, dtype="Int64") for name, values in times.items()}
    return pd.DataFrame({name: columns[name] for name in SCHEMA})


def timed(what: str, action: Callable[[], T]) -> T:
    """Do it, and say how long it took."""
    began, worked = time.perf_counter(), time.process_time()
    result = action()
    print(f"{what:34} {time.perf_counter() - began:7.2f} s, {time.process_time() - worked:7.2f} s of CPU")
    return result


def main() -> None:
    """Measure each step."""
    numbers = [int(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    count = numbers[0] if numbers else 1_000_000
    operations = timed(f"inventing {count:,} operations", lambda: history(count, positions=len(sys.argv) < 3))
    timed("validating", lambda: validate_operations(operations))
    stale = timed("staleness", lambda: staleness(operations))
    timed("  its summary and verdict", lambda: (stale.summary(), stale.by_replica(), stale.verdict("stale_rate")))
    guarantees = timed("session guarantees", lambda: session_guarantees(operations))
    timed("  their summary and verdicts", lambda: (guarantees.summary(), guarantees.verdicts()))
    print(stale.summary().T.to_string())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)
    print(f"most memory: {most:,.0f} MiB")


if __name__ == "__main__":
    main()
