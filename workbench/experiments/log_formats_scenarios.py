"""What is unsafe to copy as a statement: one scenario a cause, and what each log format is expected to make of it.

A scenario writes to tables of its own, so that the digests of these tell what became of it. Followers read rows in
another order than the leader wherever SQL leaves the order open, hear of the clock's statement more than a second late,
and one of them has been restarted: as far as SQL promises anything, all of that must not matter.

`EXPECTATIONS` is the table of predictions: cause -> column of the matrix -> outcome, and why. A run compares each cell
with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from workbench.config import LogFormatName, UnsafePolicy
from workbench.experiments.log_formats_workloads import filled

Outcome: TypeAlias = Literal["converged", "diverged", "refused", "corrupted", "unknown"]

CONSTANTS = "constants"
"""The scenario that nothing is wrong with."""
LARGEST_ROWID = 2**63 - 1
_COPIED_ROWS = 1_000
"""Enough for the order in which rows are inserted to decide how full pages become."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of the matrix: a log format and, for statements, a policy."""

    name: str
    log_format: LogFormatName
    policy: UnsafePolicy = "allow"


COLUMNS: tuple[Column, ...] = (
    Column(name="statement/allow", log_format="statement"),
    Column(name="statement/refuse", log_format="statement", policy="refuse"),
    Column(name="statement/pin", log_format="statement", policy="pin"),
    Column(name="mixed", log_format="mixed"),
    Column(name="logical", log_format="logical"),
    Column(name="wal", log_format="wal"),
)
"""Statements first, then what carries results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """`setup` is safe; `statement` is not, for the one reason `cause`."""

    cause: str
    words: str
    setup: tuple[str, ...]
    statement: str
    tables: tuple[str, ...]
    """Those that the statement, or what it sets off, writes to; the last one is what may differ."""
    look: str
    """A query for one value that shows what happened."""
    repeats: bool = False
    """Whether the statement may run as often as one likes."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one cell should turn out to be, and why, in one line."""

    outcome: Outcome
    why: str


def _values(table: str) -> str:
    return f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, value)"


def _keyed(table: str) -> str:
    """Without a rowid, no key is ever generated."""
    return f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, value TEXT) WITHOUT ROWID"


def _first(table: str) -> str:
    return f"SELECT value FROM {table} ORDER BY id LIMIT 1"


def _all(table: str, key: str = "id") -> str:
    return f"SELECT group_concat(value, ' ' ORDER BY {key}) FROM {table}"


def _source(table: str) -> tuple[str, str]:
    return (
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, value TEXT)",
        f"INSERT INTO {table}(value) VALUES ('a'), ('b'), ('c'), ('d')",
    )


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        cause=CONSTANTS,
        words="constants only",
        setup=(_values("constant_values"),),
        statement="INSERT INTO constant_values(value) VALUES (42)",
        tables=("constant_values",),
        look=_first("constant_values"),
        repeats=True,
    ),
    Scenario(
        cause="random",
        words="random()",
        setup=(_values("random_values"),),
        statement="INSERT INTO random_values(value) VALUES (random())",
        tables=("random_values",),
        look=_first("random_values"),
        repeats=True,
    ),
    Scenario(
        cause="time",
        words="the clock",
        setup=(_values("times"),),
        statement="INSERT INTO times(value) VALUES (CURRENT_TIMESTAMP)",
        tables=("times",),
        look=_first("times"),
        repeats=True,
    ),
    Scenario(
        cause="session_state",
        words="state of the connection",
        setup=(_values("counted_changes"),),
        statement="INSERT INTO counted_changes(value) VALUES (total_changes())",
        tables=("counted_changes",),
        look=_first("counted_changes"),
    ),
    Scenario(
        cause="limit",
        words="LIMIT without an order",
        setup=_source("queue"),
        statement="DELETE FROM queue WHERE id IN (SELECT id FROM queue LIMIT 2)",
        tables=("queue",),
        look=_all("queue"),
    ),
    Scenario(
        cause="generated_keys",
        words="keys given in open order",
        setup=(*_source("names"), _values("numbered")),
        statement="INSERT INTO numbered(value) SELECT value FROM names",
        tables=("numbered",),
        look=_all("numbered"),
    ),
    Scenario(
        cause="trigger_keys",
        words="keys given by a trigger",
        setup=(
            *_source("arrivals"),
            _keyed("guests"),
            _values("guest_book"),
            "CREATE TRIGGER signs AFTER INSERT ON guests BEGIN INSERT INTO guest_book(value) VALUES (new.value); END",
        ),
        statement="INSERT INTO guests(id, value) SELECT id, value FROM arrivals",
        tables=("guests", "guest_book"),
        look=_all("guest_book"),
    ),
    Scenario(
        cause="conflict_order",
        words="the first of many wins",
        setup=(*_source("offers"), _keyed("winners")),
        statement="INSERT OR IGNORE INTO winners(id, value) SELECT 1, value FROM offers",
        tables=("winners",),
        look=_all("winners"),
    ),
    Scenario(
        cause="several_matches",
        words="several rows match",
        setup=(
            "CREATE TABLE prices (item INTEGER PRIMARY KEY, value TEXT)",
            "INSERT INTO prices VALUES (1, '-')",
            "CREATE TABLE news (id INTEGER PRIMARY KEY, item INTEGER, value TEXT)",
            "INSERT INTO news(item, value) VALUES (1, 'a'), (1, 'b'), (1, 'c')",
        ),
        statement="UPDATE prices SET value = news.value FROM news WHERE news.item = prices.item",
        tables=("prices",),
        look=_all("prices", "item"),
    ),
    Scenario(
        cause="aggregate_order",
        words="aggregate in open order",
        setup=(*_source("words"), _values("sentences")),
        statement="INSERT INTO sentences(id, value) VALUES (1, (SELECT group_concat(value, ' ') FROM words))",
        tables=("sentences",),
        look=_first("sentences"),
    ),
    Scenario(
        cause="random_rowid",
        words="rowids used up",
        setup=(_values("full_house"), f"INSERT INTO full_house VALUES ({LARGEST_ROWID}, 'last')"),
        statement="INSERT INTO full_house(value) VALUES ('next')",
        tables=("full_house",),
        look="SELECT min(id) FROM full_house",
        repeats=True,
    ),
    Scenario(
        cause="engine",
        words="version of the engine",
        setup=(_values("versions"),),
        statement="INSERT INTO versions(value) VALUES (sqlite_version())",
        tables=("versions",),
        look=_first("versions"),
    ),
    Scenario(
        cause="physical",
        words="layout of the file",
        setup=(
            _keyed("bricks"),
            filled("bricks", "id, value", "n, printf('%090d', n)", _COPIED_ROWS),
            _keyed("wall"),
            "INSERT INTO wall(id, value) SELECT id, value || '.' FROM bricks",
            _keyed("page_counts"),
        ),
        statement="INSERT INTO page_counts(id, value) SELECT 1, page_count FROM pragma_page_count",
        tables=("page_counts",),
        look=_first("page_counts"),
    ),
)
"""In the order of the matrix: what nothing is wrong with, then one for each `Cause`."""

_ALLOW: Mapping[str, Expected] = {
    CONSTANTS: Expected("converged", "the same text has the same effect everywhere"),
    "random": Expected("diverged", "each replica draws its own number"),
    "time": Expected("diverged", "each replica asks its own clock, the followers a second later"),
    "session_state": Expected("diverged", "a restarted follower counts the changes of its connection from zero"),
    "limit": Expected("diverged", "which rows come first is open, and followers read them the other way round"),
    "generated_keys": Expected("diverged", "keys are given out in the order of reading, which is open"),
    "trigger_keys": Expected("diverged", "the trigger gives out keys row by row, in an order that is open"),
    "conflict_order": Expected("diverged", "the first row keeps its place, and which is first is open"),
    "several_matches": Expected("diverged", "one of the matching rows is taken, and which one is open"),
    "aggregate_order": Expected("diverged", "text is joined in the order of reading, which is open"),
    "random_rowid": Expected("diverged", "with the largest rowid taken, each replica tries random ones"),
    "engine": Expected("converged", "all replicas run the same SQLite; during an upgrade they would differ"),
    "physical": Expected("diverged", "a table that was filled in another order takes up another number of pages"),
}
_PIN: Mapping[str, Expected] = {
    CONSTANTS: _ALLOW[CONSTANTS],
    "random": Expected("converged", "the numbers that the leader drew travel with the statement"),
    "time": Expected("converged", "the leader's time travels with the statement"),
    "session_state": Expected("converged", "the counters begin anew with each transaction, on every replica"),
    **dict.fromkeys(
        ("limit", "generated_keys", "trigger_keys", "conflict_order", "several_matches", "aggregate_order"),
        Expected("refused", "no value that could travel would fix the order in which rows are read"),
    ),
    "random_rowid": Expected("refused", "SQLite draws the rowid inside: no function that could be replaced"),
    "engine": Expected("refused", "a version cannot be lent to another engine"),
    "physical": Expected("refused", "how a file is laid out cannot be lent to another"),
}
_REFUSED = Expected("refused", "the cause is found before the statement runs, and named in the error")
_ROWS_TRAVEL = Expected("converged", "found to be unsafe, the statement travels as the rows that it changed")
_RESULTS_TRAVEL = {
    "logical": Expected("converged", "the rows travel, and nothing is left to decide"),
    "wal": Expected("converged", "the pages travel, and nothing is left to decide"),
}


def _row(cause: str) -> dict[str, Expected]:
    safe = cause == CONSTANTS
    return {
        "statement/allow": _ALLOW[cause],
        "statement/refuse": _ALLOW[cause] if safe else _REFUSED,
        "statement/pin": _PIN[cause],
        "mixed": _ALLOW[cause] if safe else _ROWS_TRAVEL,
        **_RESULTS_TRAVEL,
    }


EXPECTATIONS: Mapping[str, Mapping[str, Expected]] = {one.cause: _row(one.cause) for one in SCENARIOS}
"""Cause -> name of a column -> what is expected."""
