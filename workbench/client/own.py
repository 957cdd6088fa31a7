"""What a session may edit, for a read policy that reads it from the leader: decided from SQL and parameters alone.

A client has no schema, so this errs towards the leader: a statement that mentions an own table's name anywhere outside
comments, be it as an alias, a column or a string, counts as reading it. What only the schema knows is not seen: a view
over an own table, or a trigger that writes to another one. Name those as own tables yourself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from functools import lru_cache

from workbench.protocol.values import SqlValue, Statement

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]"
    r"|[^\W\d][\w$]*|\S",
    re.DOTALL,
)
_QUOTES = "'\"`["
_BETWEEN = frozenset({"or", "abort", "fail", "ignore", "replace", "rollback", "if", "not", "exists"})
"""Words that may stand between UPDATE, DROP TABLE and the like, and the name."""
_CACHED_LENGTH_MAX = 10_000


def names_in(sql: str) -> frozenset[str]:
    """Everything in a statement that could be a table's name, in lower case."""
    return _short_names_in(sql) if len(sql) <= _CACHED_LENGTH_MAX else _names_in(sql)


def _names_in(sql: str) -> frozenset[str]:
    return frozenset(name for token in _tokens(sql) if (name := _name(token)))


_short_names_in = lru_cache(maxsize=1024)(_names_in)


def tables_written_by(sql: str) -> frozenset[str]:
    """The tables that a writing statement names as its targets, in lower case."""
    tokens = _tokens(sql)
    words = [token.lower() for token in tokens]
    tables = set()
    for place, word in enumerate(words):
        pair = (words[place - 1] if place else "", word)
        if word in {"into", "update", "table", "view"} or pair in {("delete", "from"), ("rename", "to")}:
            tables.add(_target(tokens, words, place + 1))
    return frozenset(tables - {"", "set"})  # DO UPDATE SET names no table


def _target(tokens: list[str], words: list[str], place: int) -> str:
    """The name at `place`: of what follows the dot, if it begins with a schema's name."""
    while place < len(words) and words[place] in _BETWEEN:
        place += 1
    if place + 2 < len(tokens) and tokens[place + 1] == ".":
        place += 2
    return _name(tokens[place]) if place < len(tokens) else ""


def _tokens(sql: str) -> list[str]:
    return [token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*"))]


def _name(token: str) -> str:
    """The name that a token is or quotes; the empty string for anything else."""
    if token[0] in _QUOTES and len(token) > 1:
        closing = "]" if token[0] == "[" else token[0]
        return token[1:-1].replace(closing * 2, closing).lower()
    return token.lower() if token[0].isalpha() or token[0] == "_" else ""


class Own:
    """The tables and keys of one session. Given neither, it owns every table that it has written to."""

    def __init__(self, tables: Iterable[str] | None = None, keys: Set[SqlValue] | None = None) -> None:
        self._learns = tables is None and keys is None
        self._tables = {name.lower() for name in tables or ()}
        self._keys: Set[SqlValue] = frozenset() if keys is None else keys
        self._last_sql = ""

    def wrote(self, statements: Iterable[Statement]) -> None:
        """The session has sent a write."""
        for statement in statements if self._learns else ():
            if statement.sql is not self._last_sql:  # most sessions repeat theirs
                self._last_sql = statement.sql
                self._tables |= tables_written_by(statement.sql)

    def is_read_by(self, statement: Statement) -> bool:
        """Whether a statement may read something that is the session's own."""
        if any(value in self._keys for value in statement.parameters):
            return True
        return bool(self._tables) and not self._tables.isdisjoint(names_in(statement.sql))
