"""How long checkers take for a large history, and how much memory: an invented one of a million operations by default.

A leader with two followers behind, 100 sessions, 1,000 keys, four reads to a write. Usage: `python bench/checkers.py
[operations] [--no-positions]`. Prints seconds for each step and the most memory that the process ever had.

`python bench/checkers.py search` judges 1,000 histories of a compare-and-set register instead, of 170 operations of 5
processes each, good and broken, with and without operations in doubt, and prints milliseconds.

`python bench/checkers.py register` judges one key and 20,000 operations whose written values are unique, good and
broken; `python bench/checkers.py predict` makes a million trials of PBS for each published fit.

`python bench/checkers.py write FILE [operations] [--no-positions]` writes the invented history as JSON Lines, or as
Parquet, for `workbench check`; `python bench/checkers.py command [operations] [--no-positions]` writes it to a
temporary file, and times `workbench check` on it, in a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from workbench.checkers import linearizability, session_guarantees, staleness
from workbench.checkers.observed_order import observed_order
from workbench.history import SCHEMA, validate_operations
from workbench.history_operations import Operation
from workbench.history_tables import write_history
from workbench.metrics.prediction import Quorum, k_staleness, predict
from workbench.metrics.prediction_fits import FITS

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


def cas_history(seed: int, *, count: int = 170, values: int = 5, doubt: float = 0.0, broken: bool) -> list[Operation]:
    """What 5 processes do to one compare-and-set register, each operation at a random moment between its events.

    `doubt`: share of operations whose answer does not come. `broken`: one answer of the last two thirds is changed.
    """
    random = Random(seed)
    drawn: list[dict[str, Any]] = []
    running: dict[int, tuple[dict[str, Any], bool]] = {}
    names = list(range(5))
    state: int | None = None
    place = 0
    while len(drawn) < count or running:
        place += 1
        slot = random.choice([at for at in range(5) if len(drawn) < count or at in running])
        if slot not in running:
            f = random.choice(["read", "write", "cas", "cas"])
            one: dict[str, Any] = {"number": len(drawn), "process": names[slot], "f": f, "key": "x", "begin": place}
            one |= {"value": None if f == "read" else random.randrange(values), "outcome": "info", "invoked_ns": place}
            one |= {"expected": random.randrange(values) if f == "cas" else None}
            drawn.append(one)
            running[slot] = one, False
        elif not running[slot][1]:
            if random.random() < 0.5:
                one = running[slot][0]
                running[slot] = one, True
                one["saw"] = state
                state = (
                    one["value"] if one["f"] == "write" or (one["f"] == "cas" and one["expected"] == state) else state
                )
        else:
            one = running.pop(slot)[0]
            if random.random() < doubt:
                names[slot] = 5 + len(drawn) + place
                continue
            one |= {"outcome": "ok", "end": place, "completed_ns": place}
            one |= {"value": one["saw"]} if one["f"] == "read" else {}
            one |= {"matched": one["saw"] == one["expected"]} if one["f"] == "cas" else {}
    if broken:
        late = [one for one in drawn[count // 3 :] if one["outcome"] == "ok" and one["f"] != "write"]
        one = random.choice(late)
        one |= {"value": ((one["value"] or 0) + 1) % values} if one["f"] == "read" else {"matched": not one["matched"]}
    return [Operation(**{name: value for name, value in one.items() if name != "saw"}) for one in drawn]


def search() -> None:
    """Print how long the search takes, by how broken and how doubtful the histories are."""
    for broken in (False, True):
        for doubt in (0.0, 0.03, 0.1):
            times_ms, statuses = [], []
            for seed in range(166):
                operations = cas_history(seed, values=(3, 5, 20)[seed % 3], doubt=doubt, broken=broken)
                began = time.process_time()
                statuses.append(linearizability(operations).verdict.status)
                times_ms.append((time.process_time() - began) * 1e3)
            found = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
            middle, slowest = np.median(times_ms), max(times_ms)
            what = f"{'broken' if broken else 'good':6} {doubt:4.0%} in doubt"
            print(f"{what}: median {middle:5.1f} ms, slowest {slowest:5.1f} ms of CPU ({found})")


def register_history(seed: int, count: int, *, broken: bool) -> list[Operation]:
    """What 10 processes do to one register, all written values different. `broken`: a late read goes far back."""
    random = Random(seed)
    drawn: list[dict[str, Any]] = []
    running: list[dict[str, Any]] = []
    state: int | None = None
    place = 0
    while len(drawn) < count or running:
        place += 1
        if len(running) < 10 and len(drawn) < count and random.random() < 0.5:
            f = random.choice(["read", "read", "write"])
            free = next(number for number in range(10) if all(one["process"] != number for one in running))
            value = len(drawn) if f == "write" else None
            one = {"number": len(drawn), "process": free, "f": f, "key": "x", "begin": place, "invoked_ns": place}
            drawn.append(one | {"outcome": "ok", "value": value})
            running.append(drawn[-1])
        elif running:
            one = running.pop(random.randrange(len(running)))
            state = one["value"] if one["f"] == "write" else state
            one |= {"end": place, "completed_ns": place, "value": state if one["f"] == "read" else one["value"]}
    if broken:
        early = next(one["value"] for one in drawn if one["f"] == "write")
        next(one for one in drawn[int(0.9 * count) :] if one["f"] == "read")["value"] = early
    return [Operation(**one) for one in drawn]


def register() -> None:
    """Print how long a long history of one register takes."""
    for broken in (False, True):
        operations = register_history(1, 20_000, broken=broken)
        what = f"20,000 operations, {'broken' if broken else 'good'}"
        print(timed(what, lambda operations=operations: linearizability(operations)).verdict.status)  # type: ignore[misc]


def prediction() -> None:
    """Print what is predicted by a million trials for N = 3, R = W = 1, and how long it takes."""
    quorum = Quorum(n=3, r=1, w=1)
    for fit in FITS.values():
        found = timed(f"{fit.name}, 1,000,000 trials", lambda fit=fit: predict(fit, quorum, trials=1_000_000))  # type: ignore[misc]
        print(f"  fresh at 0 ms: {100 * found.p_consistent(0.0):.2f} %")
    print(f"k-staleness: {k_staleness(quorum, 2):.3f} for k = 2, {k_staleness(quorum, 3):.3f} for k = 3")


def command() -> None:
    """Print what `workbench check` takes from the file on, the start of Python included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        # In a process of its own: one that is started from here counts what this one holds as its most memory.
        subprocess.run([sys.executable, __file__, "write", str(path), *sys.argv[2:]], check=True)
        print(f"{path.stat().st_size / 1e6:,.0f} MB of JSON Lines")
        for check in ("staleness", "sessions"):
            with (Path(folder) / "out").open("wb") as out:
                words = [sys.executable, "-m", "workbench", "check", check, str(path), "--json"]
                process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            cpu_s, most = used.ru_utime + used.ru_stime, _mebibytes(used.ru_maxrss)
            print(f"workbench check {check}: {cpu_s:.2f} s of CPU, most memory {most:,.0f} MiB")


def _mebibytes(most: int) -> float:
    return most / (1024 if sys.platform == "linux" else 1024 * 1024)


def timed(what: str, action: Callable[[], T]) -> T:
    """Do it, and say how long it took."""
    began, worked = time.perf_counter(), time.process_time()
    result = action()
    print(f"{what:34} {time.perf_counter() - began:7.2f} s, {time.process_time() - worked:7.2f} s of CPU")
    return result


def main() -> None:
    """Measure each step."""
    for name, action in (("search", search), ("register", register), ("predict", prediction), ("command", command)):
        if name in sys.argv:
            return action()
    if "write" in sys.argv:
        return write(Path(sys.argv[sys.argv.index("write") + 1]))
    judge(_invented())
    return None


def _invented() -> pd.DataFrame:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    count = numbers[0] if numbers else 1_000_000
    positions = "--no-positions" not in sys.argv
    return timed(f"inventing {count:,} operations", lambda: history(count, positions=positions))


def write(path: Path) -> None:
    """Keep the invented history in a file."""
    operations = _invented()
    if path.suffix == ".parquet":
        operations.to_parquet(path, index=False)
    else:
        write_history(operations, path)


def judge(operations: pd.DataFrame) -> None:
    """Time the checkers."""
    timed("validating", lambda: validate_operations(operations))
    stale = timed("staleness", lambda: staleness(operations))
    timed("  its summary and verdict", lambda: (stale.summary(), stale.by_replica(), stale.verdict("stale_rate")))
    guarantees = timed("session guarantees", lambda: session_guarantees(operations))
    timed("  their summary and verdicts", lambda: (guarantees.summary(), guarantees.verdicts()))
    timed("  of writers, by what was seen", lambda: observed_order(operations))
    print(stale.summary().T.to_string())
    print(f"most memory: {_mebibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss):,.0f} MiB")


if __name__ == "__main__":
    main()
