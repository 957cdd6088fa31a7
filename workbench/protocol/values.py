"""What messages and logs are made of: positions, statements, entries.

Every value is an immutable `msgspec.Struct` in array form, so that the wire carries no field names. A field may be
added only at the end, with a default.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    SqlValue: TypeAlias = None | int | float | str | bytes
    """A value as SQLite stores it; integers lie in [-2**63, 2**63)."""
else:
    # msgspec cannot tell text from bytes in a union; MessagePack does, and SQLite refuses any other type.
    SqlValue = Any

NotNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
"""Checked where a message is decoded."""

Row: TypeAlias = tuple[SqlValue, ...]


_ALONE_BEGINS = frozenset("VvPp \t\r\n")
_ALONE = re.compile(
    r"\s*(?:VACUUM\b|PRAGMA\s+(?:main\s*\.\s*)?(?:auto_vacuum\s*[=(]|incremental_vacuum\b))", re.IGNORECASE
)


class Value(msgspec.Struct, frozen=True, gc=False):
    """Base of everything immutable that is made often. What cannot refer to itself needs no garbage collector."""


class Wire(Value, frozen=True, array_like=True):
    """Base of everything that is encoded: fields by place."""


class Position(Wire, frozen=True, order=True):
    """(term, index) of an entry; never reused. `Position(0, 0)` is before the first entry."""

    term: NotNegative = 0
    index: NotNegative = 0

    def __str__(self) -> str:
        return f"{self.term}.{self.index}"


class Statement(Wire, frozen=True):
    """One SQL statement with its positional parameters."""

    sql: str
    parameters: Row = ()


class Transaction(Wire, frozen=True):
    """One client transaction: all of its statements or none. (session, sequence) makes retries take effect once.

    The session has executed nothing at or before the committed index `born`; see `sessions.py`.
    """

    session: int
    sequence: int
    statements: tuple[Statement, ...]
    born: NotNegative = 0

    @property
    def runs_alone(self) -> bool:
        """Whether this is one statement that cannot run inside a transaction: VACUUM and what belongs to it."""
        if len(self.statements) != 1:
            return False
        sql = self.statements[0].sql
        return sql[:1] in _ALONE_BEGINS and _ALONE.match(sql) is not None


class StatementResult(Wire, frozen=True):
    """What one statement of a write did: rows changed, and the rows of a RETURNING clause."""

    changes: int
    rows: tuple[Row, ...] = ()


class Member(Wire, frozen=True):
    """A client transaction listed in the entry that carries it, with the reply that a retry gets again."""

    session: int
    sequence: int
    results: tuple[StatementResult, ...] = ()


EMPTY_KIND = ""
MEMBERS_KIND = "members"
EXPIRY_KIND = "expiry"
_KINDS_WITHOUT_DATA = frozenset({EMPTY_KIND, MEMBERS_KIND, EXPIRY_KIND})


class Entry(Wire, frozen=True):
    """What the leader executed at once.

    `kind` is a log format's name, which alone understands `body`; or the empty string for the first entry of a term;
    or `members` or `expiry` (`ledger.py`). `wall_ms` is the leader's clock at the execution, milliseconds since 1970:
    for people, and never compared.
    """

    term: int
    index: int
    kind: str
    members: tuple[Member, ...]
    body: bytes
    wall_ms: int = 0

    @property
    def position(self) -> Position:
        return Position(self.term, self.index)

    @property
    def changes_data(self) -> bool:
        """Whether the database has to do anything about it."""
        return self.kind not in _KINDS_WITHOUT_DATA


class LoggedEntry(NamedTuple):
    """An entry together with the bytes that stand for it in every log and message; encoded once, by its leader."""

    entry: Entry
    encoded: bytes
