"""What makes time, random values and counters the same on every replica: a clock that can be stopped, random functions
that can be repeated, counters that begin anew with each client transaction.

Rules:

- The clock is a VFS that answers `xCurrentTimeInt64` alone; everything else stays SQLite's own, at its own speed. It
  reaches DEFAULTs and generated columns, which overridden date functions would not (and would break schemas).
- `random()` and `randomblob()` are replaced by functions over a generator, so that a seed of 16 bytes stands for all
  the values of a transaction. Each statement that writes has its own part of the sequence: reads do not travel.
- `changes()` and `total_changes()` are counted from the beginning of the client transaction, as `last_insert_rowid()`
  is set to 0 there: then they are the same wherever its statements run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

import apsw

SEED_BYTES = 16
TIME_MS_MAX = 464_269_060_799_999
"""The last millisecond of the year 9999, in milliseconds since noon of 24 November 4714 BC: SQLite's Julian day."""
_EPOCH_MS = 210_866_760_000_000
"""The beginning of 1970 in the same."""

_numbers = count(1)


def time_text(time_ms: int | None) -> str:
    """A pinned time in UTC, for people; empty for none."""
    if time_ms is None:
        return ""
    seconds, milliseconds = divmod(time_ms - _EPOCH_MS, 1_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{milliseconds:03}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms of SQLite's Julian days"  # before the year 1


class Clock(apsw.VFS):
    """The default VFS with a clock that notices when it is asked, and can be told what to answer."""

    def __init__(self) -> None:
        self.name = f"workbench-clock-{os.getpid()}-{next(_numbers)}"
        self._fixed_ms: int | None = None
        self._stops = False
        self.asked = False
        """Whether the time was asked since this was set to False."""
        super().__init__(self.name, "")

    def xCurrentTimeInt64(self) -> int:  # noqa: N802 (SQLite's name)
        self.asked = True
        if self._fixed_ms is not None:
            return self._fixed_ms
        now_ms = self.read()
        if self._stops:
            self._fixed_ms = now_ms
        return now_ms

    def read(self) -> int:
        """Milliseconds since the beginning of SQLite's Julian days."""
        return super().xCurrentTimeInt64()

    def stop_when_asked(self) -> None:
        """From the first question on, give every question the same answer."""
        self._fixed_ms, self._stops, self.asked = None, True, False

    def fix(self, time_ms: int) -> None:
        """Answer every question with `time_ms`."""
        self._fixed_ms, self.asked = time_ms, False

    def run_freely(self) -> None:
        """Answer with the time."""
        self._fixed_ms, self._stops = None, False

    @property
    def stopped_at_ms(self) -> int:
        """The answer that was given."""
        assert self._fixed_ms is not None, "the clock was not asked"
        return self._fixed_ms


class Draws:
    """The random functions of one connection."""

    def __init__(
        self, connection: apsw.Connection, new_seed: Callable[[], bytes] = lambda: os.urandom(SEED_BYTES)
    ) -> None:
        self._connection = connection
        self._new_seed = new_seed
        self._statement = 0
        self._generator: Random | None = None
        self._free = Random(new_seed())
        self.seed = b""
        """That of the transaction; empty as long as nothing was drawn."""
        connection.create_scalar_function("random", self._random, 0, flags=apsw.SQLITE_INNOCUOUS)
        connection.create_scalar_function("randomblob", self._randomblob, 1, flags=apsw.SQLITE_INNOCUOUS)

    def begin(self, seed: bytes = b"") -> None:
        """A transaction begins, with the seed that it had on the leader if it is repeated."""
        self.seed = seed
        self.begin_reading()

    def begin_statement(self, number: int) -> None:
        """The statement with this number among those of the transaction that write comes next."""
        self._statement, self._generator = number, None

    def begin_reading(self) -> None:
        """What is drawn next belongs to no statement that writes."""
        self._generator = self._free

    def _draw(self) -> Random:
        if self._generator is None:
            if not self.seed:
                self.seed = self._new_seed()
            self._generator = Random(self.seed + self._statement.to_bytes(4, "big"))
        return self._generator

    def _random(self, *_none: Any) -> int:
        return self._draw().getrandbits(64) - 2**63

    def _randomblob(self, *sizes: Any) -> bytes:
        try:
            length = int(sizes[0] or 0)
        except (TypeError, ValueError, OverflowError):
            length = 0
        if length > self._connection.limit(apsw.SQLITE_LIMIT_LENGTH):
            raise apsw.TooBigError("string or blob too big")
        return self._draw().randbytes(max(length, 1))


class Counters:
    """`changes()` and `total_changes()` of one connection, counted from the beginning of the client transaction.

    EXPLAIN of a statement that writes sets SQLite's own `changes()` to 0, so what it was is kept meanwhile.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._before = 0
        self._kept: tuple[int, int] | None = None
        connection.create_scalar_function("changes", self._changes, 0, flags=apsw.SQLITE_INNOCUOUS)
        connection.create_scalar_function("total_changes", self._total_changes, 0, flags=apsw.SQLITE_INNOCUOUS)

    def begin(self) -> None:
        """A client transaction begins."""
        self._before = self._connection.total_changes()
        self._kept = None

    def keep(self) -> None:
        """A statement will be examined."""
        self._kept = (self._connection.total_changes(), self._connection.changes())

    def written(self) -> None:
        """A statement that writes has ended."""
        self._kept = None

    def _changes(self, *_none: Any) -> int:
        total = self._connection.total_changes()
        if total == self._before:
            return 0
        if self._kept is not None and self._kept[0] == total:
            return self._kept[1]
        return self._connection.changes()

    def _total_changes(self, *_none: Any) -> int:
        return self._connection.total_changes() - self._before
