"""What one small write costs in each log format, in microseconds of one core, and in bytes.

A group of single-INSERT transactions of about 100 bytes is executed and captured by a leader, committed, and applied
by a follower; broker, replication log and fsync are left out. Usage: `python bench/log_formats.py [groups] [group]`.
Prints the median over groups; a checkpoint falls into few of them, so the mean of `commit` is shown as well.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from workbench.config import LOG_FORMATS, Limits, LogFormatName
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.sqlite import open_store

SQL = "INSERT INTO t(v) VALUES (?)"


def measure(log_format: LogFormatName, groups: int, size: int, directory: Path) -> dict[str, float]:
    """Microseconds a write (`commit_mean`, too), and bytes of body a write."""
    leader = open_store(directory / "leader", log_format, Limits())
    follower = open_store(directory / "follower", log_format, Limits())
    create = Transaction(1, 1, (Statement("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"),))
    times: dict[str, list[float]] = {"execute": [], "commit": [], "apply": []}
    body_bytes = 0
    for index in range(1, groups + 1):
        group = [Transaction(s, index, (Statement(SQL, (f"{index:050}{s:050}",)),)) for s in range(size)]
        position = Position(1, index)
        start = time.perf_counter()
        execution = leader.execute([create] if index == 1 else group, position)
        executed = time.perf_counter()
        assert not execution.refused, execution.refused[0]
        leader.commit()
        committed = time.perf_counter()
        entry = Entry(1, index, log_format, execution.members, execution.body)
        before = time.perf_counter()
        follower.apply([entry])
        applied = time.perf_counter()
        times["execute"].append(executed - start)
        times["commit"].append(committed - executed)
        times["apply"].append(applied - before)
        body_bytes += len(execution.body)
    assert leader.digest() == follower.digest()
    leader.close()
    follower.close()
    result = {name: statistics.median(values) / size * 1e6 for name, values in times.items()}
    result["commit_mean"] = statistics.fmean(times["commit"]) / size * 1e6
    result["apply_mean"] = statistics.fmean(times["apply"]) / size * 1e6
    result["body_bytes"] = body_bytes / groups / size
    return result


def main() -> None:
    """Measure every log format and print one line for each."""
    groups = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    print(f"{groups} groups of {size} writes; us a write unless said otherwise")
    for log_format in LOG_FORMATS:
        with tempfile.TemporaryDirectory() as directory:
            figures = measure(log_format, groups, size, Path(directory))
        print(f"{log_format:10}", "  ".join(f"{name} {value:8.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
