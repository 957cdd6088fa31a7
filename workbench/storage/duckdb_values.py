"""Values of SQLite in columns of DuckDB: which type a column gets, how values get in in bulk, and come out again.

SQLite lets any value into any column, DuckDB does not. A column begins with the type that its declared type suggests
(its `Kind`), and is widened to `any`, which is a UNION of all that SQLite has, when a value comes that does not fit.
Nothing is lost that way. Rules:

- A union's tag is the value's type in SQLite: 1 and 1.0 stay apart.
- Text that is not valid UTF-8 is no text to DuckDB: its bytes travel as `BadText`, in a member of the union of its own.
- NULL is NULL, in a union, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["integer", "real", "text", "blob", "any"]
Value: TypeAlias = "None | int | float | str | bytes"

_MEMBERS: Final = {"integer": "BIGINT", "real": "DOUBLE", "text": "VARCHAR", "blob": "BLOB", "bad_text": "BLOB"}
UNION: Final = "UNION(" + ", ".join(f'"{name}" {kind}' for name, kind in _MEMBERS.items()) + ")"
TYPES: Final[dict[Kind, str]] = {
    "integer": "BIGINT",
    "real": "DOUBLE",
    "text": "VARCHAR",
    "blob": "BLOB",
    "any": UNION,
}
_ASCII_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EXACT_INTEGERS: Final = 2**53


class BadText(bytes):
    """The bytes of a text that is not valid UTF-8."""

    __slots__ = ()


def text_of(data: bytes) -> str | BadText:
    """The text that SQLite keeps as these bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadText(data)


def quoted(name: str) -> str:
    """`name` as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def affinity(declared: str, *, strict: bool = False) -> str:
    """integer, text, blob, real or numeric, by SQLite's rules for a column's declared type; blob: none is applied."""
    if strict and declared.upper() == "ANY":
        return "blob"
    name = declared.upper()
    if "INT" in name:
        return "integer"
    if re.search("CHAR|CLOB|TEXT", name):
        return "text"
    if "BLOB" in name or not name:
        return "blob"
    return "real" if re.search("REAL|FLOA|DOUB", name) else "numeric"


def first_kind(declared: str, *, strict: bool = False) -> Kind:
    """What a new column is made as."""
    match affinity(declared, strict=strict):
        case "integer":
            return "integer"
        case "real":
            return "real"
        case "text":
            return "text"
        case "blob" if declared and declared.upper() != "ANY":
            return "blob"
    return "any"


_TAGS: Final[dict[type, str]] = {int: "integer", float: "real", str: "text", bytes: "blob", BadText: "bad_text"}


def tag_of(value: object) -> str:
    """The member of the union that holds `value`."""
    return _TAGS[type(value)]


def misfit(kind: Kind, values: Sequence[object]) -> object:
    """The first value that a column of `kind` cannot hold, or None."""
    if kind == "any" or all(_TAGS[found] == kind for found in _types(values)):
        return None
    return next(value for value in values if value is not None and tag_of(value) != kind)


def _types(values: Sequence[object]) -> set[type]:
    return set(map(type, values)) - {type(None)}


def comparable(value: object) -> object:
    """`value`, for a key of a dictionary in which 1, 1.0 and text or blob of the same bytes stay apart."""
    return (type(value), value) if type(value) in (float, BadText) else value


def widened(column: str, kind: Kind) -> str:
    """The expression that makes `any` of what a column of `kind` holds."""
    return f'CASE WHEN {column} IS NOT NULL THEN union_value("{kind}" := {column})::{UNION} END'


class Staging:
    """Rows on their way into a statement: each column a list that is bound whole, and unnested beside the others."""

    def __init__(self) -> None:
        self._outer: list[str] = []
        self._inner: list[str] = []
        self.parameters: list[Any] = []

    def add(self, name: str, kind: Kind, values: Sequence[object]) -> None:
        """A column `name` with a value for each row, all of which fit `kind`."""
        if kind != "any":
            self._outer.append(f"{self._bind(TYPES[kind], values)} AS {name}")
            return
        cases = []
        found = sorted(_types(values), key=_TAGS.__getitem__)
        for wanted in found or [int]:
            member = _TAGS[wanted]
            held = list(values) if len(found) == 1 else [v if type(v) is wanted else None for v in values]
            if wanted is BadText:
                held = [bytes(v) if isinstance(v, bytes) else None for v in held]
            place = self._bind(_MEMBERS[member], held)
            # A NULL that is cast to a union would be a union that holds NULL, which is something else.
            cases.append(f'WHEN {place} IS NOT NULL THEN union_value("{member}" := {place})::{UNION}')
        self._outer.append(f"CASE {' '.join(cases)} END AS {name}")

    def add_flags(self, name: str, flags: Sequence[bool]) -> None:
        """A column `name` of truth values."""
        self._outer.append(f"{self._bind('BOOLEAN', flags)} AS {name}")

    @property
    def sql(self) -> str:
        """The rows, as a relation; its parameters are `parameters`."""
        return f"(SELECT {', '.join(self._outer)} FROM (SELECT {', '.join(self._inner)}))"

    def _bind(self, sql_type: str, values: Sequence[object]) -> str:
        name = f"p{len(self._inner)}"
        self._inner.append(f"unnest(?::{sql_type}[]) AS {name}")
        self.parameters.append(values if isinstance(values, list) else list(values))
        return name


class Reading:
    """How to select columns so that every value comes out as SQLite has it."""

    def __init__(self, columns: Iterable[tuple[str, Kind]]) -> None:
        self._flags: list[int] = []
        """Places of values behind which stands whether they are bad text."""
        expressions: list[str] = []
        for name, kind in columns:
            expressions.append(name)
            if kind == "any":
                self._flags.append(len(expressions))
                expressions.append(f"union_tag({name}) = 'bad_text'")
        self.sql = ", ".join(expressions)

    def rows(self, found: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
        """The rows that were meant by those that were selected."""
        if not self._flags:
            return found
        return map(self._row, found)

    def _row(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        row = list(found)
        for place in reversed(self._flags):
            if row.pop(place):
                row[place - 1] = BadText(row[place - 1])
        return tuple(row)


def order_by(column: str, kind: Kind, collation: str = "BINARY") -> list[str]:
    """Expressions that order a column as SQLite does: NULL, numbers by value, text, blobs by their bytes.

    Integers and reals are compared exactly, though only some integers are reals: by the nearest real first, and where
    that is the same, by the integer that each of them is.
    """
    if kind == "text":
        return [_folded(column, collation)]
    if kind != "any":
        return [column]
    integer, real, text = (f'{column}."{name}"' for name in ("integer", "real", "text"))
    number = f"coalesce({integer}::DOUBLE, {real})"
    is_large = f"abs({number}) BETWEEN {_EXACT_INTEGERS} AND 1e19"
    exact = f"CASE WHEN {is_large} THEN coalesce({integer}::HUGEINT, {real}::HUGEINT) END"
    rank = f"CASE union_tag({column}) WHEN 'integer' THEN 1 WHEN 'real' THEN 1 WHEN 'blob' THEN 3 ELSE 2 END"
    data = f"coalesce(encode({_folded(text, collation)}), {column}.bad_text, {column}.blob)"
    return [f"CASE WHEN {column} IS NOT NULL THEN {rank} END", number, exact, data]


def _folded(text: str, collation: str) -> str:
    """What a collation of SQLite compares."""
    match collation.upper():
        case "NOCASE":
            return f"translate({text}, '{_ASCII_UPPER}', '{_ASCII_UPPER.lower()}')"
        case "RTRIM":
            return f"rtrim({text}, ' ')"
    return text
