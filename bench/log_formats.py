"""What one small write costs in each log format, in microseconds of one core, and in bytes.

A group of single-INSERT transactions of about 100 bytes is executed and captured by a leader, committed, and applied
by a follower; broker, replication log and fsync are left out. The same statements are executed on a store that captures
nothing, in turns with the others, so that all see the same machine: `beyond` is capture + apply on top of that. A
follower of the statement format has to execute, too, which is counted as its apply. All but `wal` pay for a transaction
with the position in it, whatever the entry holds: a write that comes alone feels that. Both are measured, groups first.

Usage: `python bench/log_formats.py [groups] [group]`. Prints the median over groups, in CPU time of the thread; a
checkpoint falls into few of them, so the mean of `commit` is shown as well. Bytes: those of a body a write, and what of
them is no SQL and parameters, changeset, or pages.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from workbench.config import LOG_FORMATS, Limits, LogFormatName
from workbench.log_formats import logical, statement, wal
from workbench.protocol.codec import encode, encode_entry
from workbench.protocol.messages import AppendEntries
from workbench.protocol.values import EMPTY_KIND, Entry, Position, Statement, Transaction
from workbench.storage.base import Store
from workbench.storage.sqlite import open_store

SQL: Final = "INSERT INTO t(v) VALUES (?)"
CREATE: Final = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"
TARGETS_US: Final = {"statement": 5, "logical": 30, "wal": 20, "mixed": 30}
OVERHEAD_BYTES: Final = 40


class NoCapture(statement.StatementFormat):
    """Executes, and notes nothing: what every format is compared with."""

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        """Nothing is kept."""

    def finish_group(self) -> bytes:
        return b""


class Measured:
    """A leader and a follower of one log format, and what their groups took, in seconds of CPU."""

    def __init__(self, log_format: LogFormatName | None, directory: Path) -> None:
        self.log_format: LogFormatName = log_format or "statement"
        self.leader = self._open(directory / f"{log_format}-leader", captures=log_format is not None)
        self.follower = self._open(directory / f"{log_format}-follower", captures=True)
        self._has_data = log_format is not None
        self.times: dict[str, list[float]] = {"execute": [], "commit": [], "apply": []}
        self.body_bytes: list[int] = []
        self.overhead_bytes: list[float] = []
        self._index = 0

    def _open(self, directory: Path, *, captures: bool) -> Store:
        store = open_store(directory, self.log_format, Limits())
        if not captures:
            store._runner._format = store._format = NoCapture(store._connection)  # type: ignore[attr-defined]
        return store

    def write(self, group: Sequence[Transaction], *, is_counted: bool = True) -> None:
        """Execute, commit and apply one group."""
        self._index += 1
        start = time.thread_time()
        execution = self.leader.execute(group, Position(1, self._index))
        executed = time.thread_time()
        assert not execution.refused, execution.refused[0]
        self.leader.commit()
        committed = time.thread_time()
        kind = self.log_format if self._has_data else EMPTY_KIND
        entry = Entry(1, self._index, kind, execution.members, execution.body)
        before = time.thread_time()
        self.follower.apply([entry])
        applied = time.thread_time()
        if is_counted:
            self.times["execute"].append(executed - start)
            self.times["commit"].append(committed - executed)
            self.times["apply"].append(applied - before)
            self.body_bytes.append(len(entry.body))
            self.overhead_bytes.append(overhead(entry, group))

    def close(self) -> None:
        """Check that both have the same, and close them."""
        assert not self._has_data or self.leader.digest() == self.follower.digest()
        self.follower.close()
        self.leader.close()

    def median_us(self, size: int) -> dict[str, float]:
        """Microseconds a write."""
        return {name: statistics.median(values) / size * 1e6 for name, values in self.times.items()}


def overhead(entry: Entry, group: Sequence[Transaction]) -> float:
    """Bytes of a message with one entry that are neither SQL with parameters, nor changeset, nor pages."""
    message = encode(
        AppendEntries(entry.term, "leader", Position(1, entry.index), entry.index, 0, (encode_entry(entry).encoded,))
    )
    return len(message) - content_bytes(entry, group)


def content_bytes(entry: Entry, group: Sequence[Transaction]) -> int:
    """Bytes that have to travel, whatever the body looks like."""
    match entry.kind:
        case "":
            return 0
        case "logical":
            parts = logical.decode_body(entry.body).parts
            return sum(len(part.changeset) for part in parts if isinstance(part, logical.Changes))
        case "wal":
            return sum(len(page.image) for page in wal.decode_body(entry.body, None).pages)
        case _:
            texts = {text.sql for one in group for text in one.statements}
            parameters = [value for one in group for text in one.statements for value in text.parameters]
            return sum(map(len, texts)) + sum(len(msgspec.msgpack.encode(value)) for value in parameters)


def measure(groups: int, size: int, directory: Path) -> None:
    """Print one line for each log format: groups of `size` writes, in turns."""
    measured = {name: Measured(name, directory) for name in (None, *LOG_FORMATS)}
    for index in range(groups + 10):
        group = [Transaction(s, index, (Statement(SQL, (f"{index:050}{s:050}",)),)) for s in range(size)]
        for one in measured.values():
            one.write(group if index else [Transaction(1, 1, (Statement(CREATE),))], is_counted=index >= 10)
    base = measured.pop(None)
    plain = base.median_us(size)
    print(
        f"{groups} groups of {size}, us a write: to execute and commit {plain['execute'] + plain['commit']:.2f},"
        f" and what a follower pays for any entry {plain['apply']:.2f}"
    )
    base.close()
    for name, one in measured.items():
        assert name is not None
        times = one.median_us(size)
        beyond = sum(times.values()) - plain["execute"] - plain["commit"]
        mean_us = statistics.fmean(one.times["commit"]) / size * 1e6
        print(
            f"{name:10} beyond {beyond:7.2f} us (target {TARGETS_US[name]})"
            f"  execute {times['execute']:7.2f}  commit {times['commit']:6.2f} (mean {mean_us:6.2f})"
            f"  apply {times['apply']:6.2f}  body {statistics.median(one.body_bytes) / size:7.1f} bytes"
            f"  overhead {statistics.median(one.overhead_bytes) / size:5.1f} bytes (target {OVERHEAD_BYTES})"
        )
        one.close()


def main() -> None:
    """Measure groups as they form under load, and writes that come alone."""
    groups = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    for count in (size, 1):
        with tempfile.TemporaryDirectory() as directory:
            measure(groups, count, Path(directory))


if __name__ == "__main__":
    main()
