"""What one transaction costs in each log format: bytes of its entry, and CPU time of the leader and of a follower.

Measured on two databases of this process, one executing and one applying, without broker, replication log and fsync:
what remains is what the format itself does. The same transactions run on a bare SQLite connection as well: what a
leader takes beyond that is the price of carrying the write. Times are CPU times of the thread, medians where a
transaction is repeated; bytes do not depend on the machine. Everything here blocks, and belongs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import apsw

from workbench.config import Limits, LogFormatName
from workbench.experiments.base import Row
from workbench.experiments.log_formats_workloads import (
    BULK,
    BULK_WORDS,
    CHUNK_ROWS,
    Statements,
    Workload,
    bulk_setup,
    bulk_update,
)
from workbench.log_formats.describing import describe
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.sqlite import open_store

T = TypeVar("T")

_BULK_REPEATS_ROWS = 10_000
"""A bulk update is repeated until about so many rows were changed."""
_STATEMENT_TIMEOUT_S = 600.0
_NOTHING = float("nan")
_CLOSE_ENOUGH = 0.01
"""A crossing is narrowed down to one row, or to this share of the rows where there are many."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One transaction: `body` of its entry (empty where it was refused), CPU times in ns."""

    body: bytes
    leader_ns: int
    follower_ns: int
    refusal: str = ""


Check: TypeAlias = Callable[[], None]
"""Called before each transaction; raises `Stopped` when nobody waits for the result any more."""


class Stopped(Exception):
    """The measurement was given up."""


def go_on() -> None:
    """The check of a measurement that nobody gives up."""


async def on_a_thread(measure: Callable[..., T]) -> T:
    """What `measure(check=...)` returns, on a thread of its own.

    Cancelled, it ends with the transaction that is running, and that is waited for: its files are in use until then.
    """
    given_up = threading.Event()

    def check() -> None:
        if given_up.is_set():
            raise Stopped

    measuring = asyncio.ensure_future(asyncio.to_thread(measure, check=check))
    try:
        return await asyncio.shield(measuring)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.gather(measuring, return_exceptions=True)
        raise


class Stores:
    """A leader's database and a follower's, in one log format."""

    def __init__(self, directory: Path, log_format: LogFormatName, check: Check = go_on) -> None:
        limits = Limits(statement_timeout_s=_STATEMENT_TIMEOUT_S)
        self.log_format = log_format
        self._check = check
        self._index = 0
        self._leader = open_store(directory / "leader", log_format, limits)
        self._follower = open_store(directory / "follower", log_format, limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leader.close()
        self._follower.close()

    def run(self, statements: Statements) -> Cost:
        """Execute one transaction, and apply its entry."""
        self._check()
        position = Position(1, self._index + 1)
        begin_ns = time.thread_time_ns()
        execution = self._leader.execute([Transaction(1, position.index, statements)], position)
        if not execution.members:
            return Cost(b"", 0, 0, execution.refused[0].reason)
        self._leader.commit()
        executed_ns = time.thread_time_ns()
        entry = Entry(1, position.index, self.log_format, execution.members, execution.body)
        applying_ns = time.thread_time_ns()
        self._follower.apply([entry])
        applied_ns = time.thread_time_ns()
        self._index = position.index
        return Cost(execution.body, executed_ns - begin_ns, applied_ns - applying_ns)

    def set_up(self, texts: Sequence[str]) -> None:
        for sql in texts:
            refusal = self.run((Statement(sql),)).refusal
            assert not refusal, refusal

    @property
    def are_equal(self) -> bool:
        """Whether both hold the same rows."""
        return self._leader.digest() == self._follower.digest()


class Plain:
    """SQLite alone, set as replicas set it."""

    def __init__(self, path: Path, check: Check = go_on) -> None:
        self._check = check
        self._connection = apsw.Connection(str(path))
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.wal_autocheckpoint(4_096)

    def run(self, statements: Statements) -> int:
        """CPU time of one transaction, in ns."""
        self._check()
        execute = self._connection.execute
        begin_ns = time.thread_time_ns()
        execute("BEGIN IMMEDIATE")
        for statement in statements:
            execute(statement.sql, statement.parameters).fetchall()
        execute("COMMIT")
        return time.thread_time_ns() - begin_ns

    def set_up(self, texts: Sequence[str]) -> None:
        for sql in texts:
            self.run((Statement(sql),))

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def _databases(
    directory: Path, log_formats: Sequence[LogFormatName], setup: Sequence[str], check: Check
) -> Iterator[tuple[Plain, dict[LogFormatName, Stores]]]:
    """The same tables on SQLite alone, and in each format."""
    with contextlib.ExitStack() as stack:
        directory.mkdir(parents=True)
        plain = Plain(directory / "plain.sqlite", check)
        stack.callback(plain.close)
        stores = {name: stack.enter_context(Stores(directory / name, name, check)) for name in log_formats}
        plain.set_up(setup)
        for one in stores.values():
            one.set_up(setup)
        yield plain, stores


def measure_workload(
    workload: Workload,
    log_formats: Sequence[LogFormatName],
    directory: Path,
    seed: int,
    repeats: int,
    check: Check = go_on,
) -> list[Row]:
    """One row a format. All of them execute the same transactions."""
    random = Random(f"{seed}/{workload.name}")
    transactions = [workload.write(number, random) for number in range(repeats)]
    with _databases(directory, log_formats, workload.setup, check) as (plain, stores):
        plain_us = _median_us([plain.run(one) for one in transactions])
        return [
            _cost_row(workload.name, workload.words, one, [one.run(each) for each in transactions], workload.rows)
            | {"plain_us": plain_us}
            for one in stores.values()
        ]


def _median_us(values_ns: Sequence[int]) -> float:
    return statistics.median(values_ns) / 1_000


def _cost_row(name: str, words: str, stores: Stores, costs: Sequence[Cost], rows: int) -> Row:
    refusal = next((cost.refusal for cost in costs if cost.refusal), "")
    done = [cost for cost in costs if not cost.refusal]
    return {
        "workload": name,
        "words": words,
        "log_format": stores.log_format,
        "rows": rows,
        "repeats": len(done),
        "body_bytes": statistics.fmean(len(cost.body) for cost in done) if done else _NOTHING,
        "pages": statistics.fmean(_pages(cost.body) for cost in done)
        if done and stores.log_format == "wal"
        else _NOTHING,
        "leader_us": _median_us([cost.leader_ns for cost in done]) if done else _NOTHING,
        "follower_us": _median_us([cost.follower_ns for cost in done]) if done else _NOTHING,
        "converged": stores.are_equal,
        "refusal": refusal,
    }


def _pages(body: bytes) -> int:
    numbers = describe("wal", body)[0]["pages"]
    assert isinstance(numbers, list)
    return len(numbers)


@dataclass(kw_only=True)
class Bulk:
    """What bulk updates cost, and from how many rows on one format ships less than another."""

    costs: list[Row] = field(default_factory=list)
    crossings: list[Row] = field(default_factory=list)


def measure_bulk(
    sizes: Sequence[int],
    log_formats: Sequence[LogFormatName],
    directory: Path,
    row_bytes: int,
    set_up_rows: int = CHUNK_ROWS,
    check: Check = go_on,
) -> Bulk:
    """One row a format and size, and one row a pair of formats. The table is filled with `set_up_rows` at a time."""
    sizes = sorted(sizes)
    found = Bulk()
    with _databases(directory, log_formats, bulk_setup(sizes[-1], row_bytes, set_up_rows), check) as (plain, stores):
        for rows in sizes:
            repeats = max(1, min(10, _BULK_REPEATS_ROWS // rows))
            transactions = [bulk_update(rows)] * repeats
            plain_us = _median_us([plain.run(one) for one in transactions])
            for one in stores.values():
                costs = [one.run(each) for each in transactions]
                found.costs.append(_cost_row(BULK, BULK_WORDS, one, costs, rows) | {"plain_us": plain_us})
        found.crossings = _crossings(stores, found.costs)
    return found


PAIRS: tuple[tuple[LogFormatName, LogFormatName], ...] = (
    ("statement", "logical"),
    ("statement", "wal"),
    ("wal", "logical"),
)
"""(smaller, larger) in the long run, as it is expected."""


def _crossings(stores: Mapping[LogFormatName, Stores], costs: Sequence[Row]) -> list[Row]:
    """For each pair: from how many rows on the first ships fewer bytes than the second."""
    sizes: dict[str, dict[int, float]] = {}
    for row in costs:
        sizes.setdefault(row["log_format"], {})[row["rows"]] = row["body_bytes"]
    found = []
    for first, second in PAIRS:
        if first in stores and second in stores:
            from_rows = crossing(sizes[first], sizes[second], partial(_bytes, stores[first], stores[second]))
            found.append(
                {"smaller": first, "larger": second, "from_rows": _NOTHING if from_rows is None else from_rows}
            )
    return found


def _bytes(first: Stores, second: Stores, rows: int) -> tuple[int, int]:
    return len(first.run(bulk_update(rows)).body), len(second.run(bulk_update(rows)).body)


def crossing(
    first: Mapping[int, float], second: Mapping[int, float], measure: Callable[[int], tuple[int, int]]
) -> int | None:
    """The number of rows from which on `first` is below `second`; None if it is not at the largest size.

    Both give bytes by number of rows; `measure` does so for any number between those known.
    """
    known = sorted(rows for rows in first if first[rows] == first[rows] and second[rows] == second[rows])
    if not known or not first[known[-1]] < second[known[-1]]:
        return None
    not_below = [rows for rows in known if not first[rows] < second[rows]]
    if not not_below:
        return known[0]
    low = not_below[-1]
    high = next(rows for rows in known if rows > low)
    while high - low > max(1, low * _CLOSE_ENOUGH):
        middle = (low + high) // 2
        one, other = measure(middle)
        low, high = (low, middle) if one < other else (middle, high)
    return high
