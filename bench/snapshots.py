"""What a snapshot costs the writes that go on meanwhile: one leader, one write after the other, log synced each time.

The database is filled with rows of 4 kB, then 100-byte rows are written one by one before a copy is begun, while it is
made, and after it was sealed. Usage: `python bench/snapshots.py [megabytes]`. Prints percentiles in milliseconds, and
how long the storage thread was taken up by the copy itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from workbench.config import LOG_FORMATS, AckPolicy, Limits, LogFormatName, ReplicaConfig, Timing
from workbench.protocol.codec import encode_entry
from workbench.protocol.effects import Append, Commit, Execute, MakeSnapshot, SealSnapshot
from workbench.protocol.inputs import Executed, SnapshotCopied
from workbench.protocol.ledger import Ledger
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage

FILL = (
    "INSERT INTO t(v) WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 1000)"
    " SELECT zeroblob(4000) FROM r"
)
PHASE_SECONDS = 1.5


class Writer:
    """A leader's storage, and the position of its last entry."""

    def __init__(self, directory: Path, log_format: LogFormatName) -> None:
        config = ReplicaConfig(
            name="a",
            members=("a",),
            cluster_id="bench",
            broker_url="",
            directory=directory,
            log_format=log_format,
            ack=AckPolicy.asynchronous(),
            link_delay_ms=0,
            page_size=4096,
            limits=Limits(),
            timing=Timing(),
        )
        self.log_format = log_format
        self.storage = ReplicaStorage(config, Counters())
        self.storage.recover()
        self.index = 0

    def write(self, sql: str) -> float:
        """One transaction, logged and committed: milliseconds."""
        began = time.perf_counter()
        self.index += 1
        position = Position(1, self.index)
        group = (Transaction(1, self.index, (Statement(sql),)),)
        (executed,) = self.storage.perform(Execute(position, group))
        assert isinstance(executed, Executed)
        assert not executed.execution.refused, executed.execution.refused[0]
        entry = Entry(1, self.index, self.log_format, executed.execution.members, executed.execution.body)
        self.storage.perform(Append((encode_entry(entry),)))
        self.storage.perform(Commit(position))
        return (time.perf_counter() - began) * 1e3


def percentile(times_ms: list[float], part: float) -> float:
    """Of a list that is not empty."""
    return sorted(times_ms)[min(len(times_ms) - 1, int(len(times_ms) * part))]


def show(phase: str, times_ms: list[float]) -> None:
    """One line."""
    shown = " ".join(f"{name} {percentile(times_ms, part):6.2f}" for name, part in (("p50", 0.5), ("p99", 0.99)))
    print(f"  {phase:16} {len(times_ms):6} writes  {shown}  max {max(times_ms):6.2f} ms")


def measure(log_format: LogFormatName, megabytes: int, directory: Path) -> None:
    """Print what one copy costs."""
    writer = Writer(directory, log_format)
    small = f"INSERT INTO t(v) VALUES ('{'x' * 100}')"
    writer.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    for _ in range(megabytes // 4):
        writer.write(FILL)

    def for_a_while() -> list[float]:
        ends = time.perf_counter() + PHASE_SECONDS
        times_ms = []
        while time.perf_counter() < ends:
            times_ms.append(writer.write(small))
        return times_ms

    before, taken_ms, during = for_a_while(), [], []
    began = time.perf_counter()
    answers = list(writer.storage.perform(MakeSnapshot()))
    taken_ms.append((time.perf_counter() - began) * 1e3)
    while not answers:
        during.append(writer.write(small))
        turn = time.perf_counter()
        answers += writer.storage.proceed()
        taken_ms.append((time.perf_counter() - turn) * 1e3)
    copied_s = time.perf_counter() - began
    (answer,) = answers
    assert isinstance(answer, SnapshotCopied), answer
    state = SnapshotState(answer.position, ((1, 1),), Ledger(("a",)).image_at(0))
    turn = time.perf_counter()
    writer.storage.perform(SealSnapshot(state))
    taken_ms.append((time.perf_counter() - turn) * 1e3)
    (path,) = (directory / "snapshots").iterdir()
    print(f"{log_format}: {path.stat().st_size / 1e6:.0f} MB copied in {copied_s:.2f} s; begin {taken_ms[0]:.1f} ms,")
    print(f"  turns of the storage thread in between {max(taken_ms[1:-1]):.1f} ms at most, seal {taken_ms[-1]:.1f} ms")
    show("before", before)
    show("while copying", during)
    show("afterwards", for_a_while())
    writer.storage.close()


def main() -> None:
    """Measure all log formats."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for log_format in LOG_FORMATS:
        with tempfile.TemporaryDirectory(prefix="workbench-") as directory:
            measure(log_format, megabytes, Path(directory))


if __name__ == "__main__":
    main()
