"""The causes of unsafe statements, in words, and what an examination of a statement finds; see `nondeterminism.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a statement is unsafe."""

    RANDOM = "random"
    TIME = "time"
    SESSION_STATE = "session_state"
    LIMIT = "limit"
    GENERATED_KEYS = "generated_keys"
    TRIGGER_KEYS = "trigger_keys"
    CONFLICT_ORDER = "conflict_order"
    SEVERAL_MATCHES = "several_matches"
    AGGREGATE_ORDER = "aggregate_order"
    RANDOM_ROWID = "random_rowid"
    ENGINE = "engine"
    PHYSICAL = "physical"


REASONS: dict[Cause, str] = {
    Cause.RANDOM: "every replica draws another random value; compute it in the client and send it as a parameter",
    Cause.TIME: "every replica reads its own clock, later than the leader did; send the time as a parameter",
    Cause.SESSION_STATE: "it counts what this connection did before, which on another replica is something else;"
    " use RETURNING, or send the value as a parameter",
    Cause.LIMIT: "without a total order SQL leaves open which rows come first, so replicas may pick others;"
    " add an ORDER BY over a unique key",
    Cause.GENERATED_KEYS: "rows get their keys in the order in which they are read, which SQL leaves open;"
    " add an ORDER BY over a unique key, or give the keys",
    Cause.TRIGGER_KEYS: "a trigger runs for row after row in an order that SQL leaves open, and what it writes depends"
    " on that order; change one row at a time, or give the keys",
    Cause.CONFLICT_ORDER: "which of two conflicting rows wins depends on the order in which rows are visited, which SQL"
    " leaves open; add an ORDER BY over a unique key, or change one row at a time",
    Cause.SEVERAL_MATCHES: "when several rows of FROM match, SQL leaves open which one is used;"
    " make the match unique, or use a subquery with an aggregate",
    Cause.AGGREGATE_ORDER: "the result depends on the order in which rows are aggregated, which SQL leaves open;"
    " add an ORDER BY over a unique key inside of the aggregate",
    Cause.RANDOM_ROWID: "the largest possible rowid is taken, so SQLite draws a random one, on every replica another;"
    " give the key, or delete that row",
    Cause.ENGINE: "it answers with the version or the build of SQLite, which may differ between replicas;"
    " send the value as a parameter",
    Cause.PHYSICAL: "it looks at how the file is laid out or at the settings of this connection, which differ between"
    " replicas with equal rows; send the value as a parameter",
}
"""What happens, why replicas then differ, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """One cause in one statement."""

    cause: Cause
    what: str
    """What in the statement: `random() in the DEFAULT of t.x`, `LIMIT`."""
    reason: str
    """One sentence for people."""
    pinnable: bool

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about a statement."""

    unsafe: tuple[Unsafe, ...] = ()
    perhaps: tuple[Unsafe, ...] = ()
    """What depends on a value that is known only when it runs: a date function that may be given 'now'."""
    generates: tuple[str, ...] = ()
    """Tables without AUTOINCREMENT in which it generates rowids."""
    sets_rowids: bool = False
    """It may store a rowid that it was given, and so the largest one."""
    mixes_rowids: bool = False
    """It may store several rows, some with a rowid that it was given and some with a generated one."""
    touches_virtual: bool = False
    """It reads or writes a virtual table, whose own tables depend on more than the rows."""
    uses_hidden_rowids: bool = False
    """It reads or gives rowids of a table with another primary key: rows that travel leave these behind."""
    defers_keys: bool = False
    """It may leave a deferred foreign key violated for a later statement to mend."""


SAFE = Examination()


@dataclass(frozen=True, slots=True)
class Touched:
    """What the authorizer was told while the statement was compiled."""

    tables: frozenset[str]
    """Tables and views that it reads."""
    through: frozenset[str]
    """Triggers and views through which it does so."""
    updated: frozenset[tuple[str, str]]
    """(table, column) that an UPDATE sets."""
    rowids: frozenset[str]
    """Tables whose rowids it reads or sets by that name."""
    physical: frozenset[str]
    """Tables about the file or the connection, such as `dbstat`."""


Action = tuple[int, str, str, str]
"""(action, first, second, trigger or view) of one call of the authorizer, names in lower case."""


ROOT_PAGES = "sqlite_schema.rootpage"
"""Named like a table of `Touched.physical`."""
