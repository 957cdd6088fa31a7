"""Checking what a user gives as SQL and parameters, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from workbench.errors import StatementError
from workbench.protocol.values import SqlValue, Statement

_INTEGER_MAX = 2**63


def make_statements(pairs: Any) -> tuple[Statement, ...]:
    """Check a transaction's statements. Raises `StatementError`, naming what is wrong."""
    expected = "give at least one (sql, parameters) pair"
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        raise StatementError(f"a transaction must be a list of statements, not {type(pairs).__name__}", hint=expected)
    statements: list[Statement] = []
    for place, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise StatementError(f"statement {place} of the transaction is not a pair", hint=expected)
        statements.append(make_statement(*pair))
    if not statements:
        raise StatementError("a transaction without statements", hint=expected)
    return tuple(statements)


def make_statement(sql: str, parameters: Sequence[SqlValue]) -> Statement:
    """Check a statement's types. Raises `StatementError`, naming the parameter."""
    if not isinstance(sql, str):
        raise StatementError(f"SQL must be text, not {type(sql).__name__}")
    if not sql.isascii() and not _is_unicode(sql):
        raise StatementError("the SQL is not valid Unicode text", hint="it holds half of a surrogate pair")
    if isinstance(parameters, str | bytes | Mapping | Set) or not isinstance(parameters, Iterable):
        raise StatementError(
            f"parameters must be a sequence, not {type(parameters).__name__}", hint="for one parameter: (value,)"
        )
    return Statement(sql, tuple([_check_value(place, value) for place, value in enumerate(parameters, start=1)]))


def _check_value(place: int, value: SqlValue) -> SqlValue:
    """The common cases first: this runs for every parameter of every operation."""
    kind = type(value)
    if value is None or kind is bytes or kind is float:
        return value
    if isinstance(value, int):
        return _check_integer(place, value)
    if isinstance(value, str):
        return value if value.isascii() else _check_text(place, value)
    if isinstance(value, float | bytes):
        return value
    raise StatementError(f"parameter {place} is a {kind.__name__}", hint="None, int, float, str or bytes")


def _check_integer(place: int, value: int) -> int:
    if not -_INTEGER_MAX <= value < _INTEGER_MAX:
        raise StatementError(f"parameter {place} is out of range: {value}", hint="integers have 64 bits")
    return int(value)


def _check_text(place: int, value: str) -> str:
    if not _is_unicode(value):
        raise StatementError(f"parameter {place} is not valid Unicode text", hint="pass it as bytes")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
