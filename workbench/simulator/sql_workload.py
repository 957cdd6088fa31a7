"""What simulated clients ask of a real database: assignments, as statements of SQL, to keys of a table.

The table can be plain, or have all around it that makes writes reach further: an index, triggers that write into
another table, a full-text index with its shadow tables. What the table must hold follows from the writes that took
effect alone, whatever the log format made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from workbench.protocol.values import Entry, Statement, Transaction

ALL_ROWS: Final = Statement("SELECT key, value FROM store ORDER BY key")
NO_TABLE: Final = "no such table: store"
_SET: Final = "INSERT INTO store (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_GET: Final = "SELECT value FROM store WHERE key = ?"
_PLAIN: Final = (Statement("CREATE TABLE IF NOT EXISTS store (key TEXT PRIMARY KEY, value TEXT NOT NULL)"),)
_WRITTEN: Final = "INSERT INTO written (key, value) VALUES (new.key, new.value); INSERT INTO texts VALUES (new.value);"
_RICH: Final = (
    *_PLAIN,
    Statement("CREATE INDEX IF NOT EXISTS store_value ON store (value)"),
    Statement("CREATE TABLE IF NOT EXISTS written (number INTEGER PRIMARY KEY, key TEXT, value TEXT)"),
    Statement("CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 (value)"),
    Statement(f"CREATE TRIGGER IF NOT EXISTS inserted AFTER INSERT ON store BEGIN {_WRITTEN} END"),
    Statement(f"CREATE TRIGGER IF NOT EXISTS updated AFTER UPDATE ON store BEGIN {_WRITTEN} END"),
)


class SqlWorkload:
    """The clients' statements, and what entries with them assign. `rich`: with all around the table."""

    def __init__(self, *, rich: bool) -> None:
        self._schema = _RICH if rich else _PLAIN
        self._assigned: dict[tuple[int, int], dict[str, object]] = {}
        """(session, sequence) -> key -> value."""

    def write(self, keys: Sequence[str], value: str, *, is_first: bool) -> tuple[Statement, ...]:
        """Assign `value` to all `keys`; with `is_first`, whatever is missing of the schema is made before that."""
        return (*(self._schema if is_first else ()), *(Statement(_SET, (key, value)) for key in keys))

    @staticmethod
    def read(key: str) -> Statement:
        """What `key` holds: one row with one value, or none."""
        return Statement(_GET, (key,))

    def asked(self, writes: Iterable[Transaction]) -> None:
        """Clients have sent these."""
        for write in writes:
            self._assigned[write.session, write.sequence] = {
                str(key): value for key, value in (one.parameters for one in write.statements if one.sql == _SET)
            }

    def changes(self, entry: Entry) -> dict[str, object]:
        """What the members of `entry` assign."""
        found: dict[str, object] = {}
        for member in entry.members:
            found |= self._assigned[member.session, member.sequence]
        return found
