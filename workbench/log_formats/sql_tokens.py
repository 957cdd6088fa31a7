"""A small reader of SQL: tokens, and the SELECTs among them with the clauses that decide about order.

SQLite has accepted the text before anybody asks here, so nothing is checked. What this reader does not understand it
leaves out, and whoever asks takes the missing proof for a no.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<space>[\s\ufeff]+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))"
    r"|(?P<text>[xX]?'(?:[^']|'')*')"
    r'|(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])'
    r"|(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+)"
    r"|(?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)"
    r"|(?P<parameter>\?\d*|[:@$][A-Za-z0-9_]+)"
    r"|(?P<other>\|\||->>|->|<=|>=|<>|!=|==|<<|>>|.)",
    re.DOTALL,
)
_COMPOUND = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_CLAUSES = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT"})
_NO_NAMES_WORDS = """
    ALL AND AS ASC BETWEEN BY CASE CAST COLLATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DESC DISTINCT ELSE END
    ESCAPE EXISTS FALSE FILTER FROM GLOB IN IS ISNULL LIKE MATCH NOT NOTNULL NULL OR OVER PARTITION REGEXP SELECT
    THEN TRUE WHEN WHERE
"""
_NO_NAMES = frozenset(_NO_NAMES_WORDS.split())


class Token(NamedTuple):
    """One token; `word` is its text in capitals when it may be a keyword, and `name` its text as a name."""

    kind: str
    text: str
    depth: int
    """How many parentheses are open around it; a parenthesis itself counts as outside."""

    @property
    def word(self) -> str:
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """In lower case; empty for what cannot be a name."""
        if self.kind == "word":
            return self.text.lower()
        if self.kind == "quoted":
            quote = self.text[-1]
            return self.text[1:-1].replace(quote * 2, quote).lower()
        return ""


@dataclass(slots=True)
class Select:
    """One SELECT with everything up to its end, as token lists without their keywords."""

    role: str
    """`top`, `value` (its first row is used), `exists`, `in`, or `source` (in FROM or WITH)."""
    start: int
    end: int
    compound: bool = False
    distinct: bool = False
    clauses: dict[str, list[Token]] = field(default_factory=dict)
    """By first keyword: SELECT, FROM, WHERE, GROUP, HAVING, WINDOW, ORDER, LIMIT."""

    @property
    def limited(self) -> bool:
        return "LIMIT" in self.clauses


def tokens(sql: str) -> list[Token]:
    """The tokens of `sql` without spaces and comments."""
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        text = match.group()
        if text == ")":
            depth -= 1
        found.append(Token(kind, text, depth))
        if text == "(":
            depth += 1
    return found


def selects(found: Sequence[Token]) -> list[Select]:
    """Every SELECT among `found`, outer ones first; the members of a compound one are one."""
    result: list[Select] = []
    ends: dict[int, int] = {}
    for place, token in enumerate(found):
        if token.word == "SELECT" and ends.get(token.depth, -1) <= place:
            select = _select(found, place)
            ends[token.depth] = select.end
            result.append(select)
    return result


def _select(found: Sequence[Token], start: int) -> Select:
    depth = found[start].depth
    select = Select(_role(found, start), start, len(found))
    clause = select.clauses.setdefault("SELECT", [])
    for place in range(start + 1, len(found)):
        token = found[place]
        if token.depth < depth or (token.depth == depth and token.text == ";"):
            select.end = place
            break
        if token.depth == depth and token.word:
            if token.word in ("RETURNING", "ON") and (token.word == "RETURNING" or _is_upsert(found, place)):
                select.end = place
                break
            if token.word in _COMPOUND:
                select.compound = True
            elif token.word in _CLAUSES and not _is_distinct_from(found, place):
                clause = select.clauses.setdefault(token.word, [])
                continue
            elif token.word == "DISTINCT" and place == start + 1:
                select.distinct = True
                continue
            elif token.word == "BY" and not clause:
                continue
        clause.append(token)
    return select


def _is_upsert(found: Sequence[Token], place: int) -> bool:
    return place + 1 < len(found) and found[place + 1].word == "CONFLICT"


def _is_distinct_from(found: Sequence[Token], place: int) -> bool:
    return found[place].word == "FROM" and found[place - 1].word == "DISTINCT"


def _role(found: Sequence[Token], start: int) -> str:
    if start == 0 or found[start - 1].text != "(":
        return "top" if found[start].depth == 0 else "source"
    before = found[start - 2].word if start > 1 else ""
    match before:
        case "EXISTS":
            return "exists"
        case "IN":
            return "in"
        case "FROM" | "JOIN" | "AS" | "MATERIALIZED":
            return "source"
    return "value"


def split(found: Sequence[Token], separator: str = ",") -> list[list[Token]]:
    """`found` cut at the separators that stand outside of all parentheses in it."""
    if not found:
        return []
    depth = min(token.depth for token in found)
    parts: list[list[Token]] = [[]]
    for token in found:
        if token.text == separator and token.depth == depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def calls(found: Sequence[Token]) -> Iterator[tuple[str, int, list[list[Token]]]]:
    """(function, place, arguments) of each call: a name that is followed by a parenthesis."""
    for place in range(len(found) - 1):
        token = found[place]
        if found[place + 1].text == "(" and token.name and token.word not in _NO_NAMES:
            end = place + 2
            while end < len(found) and found[end].depth > token.depth:
                end += 1
            yield token.name, place, split(found[place + 2 : end])


def names(found: Sequence[Token]) -> set[str]:
    """What may be a column's name: neither a keyword of expressions, nor a function, nor a qualifier."""
    return {
        token.name
        for place, token in enumerate(found)
        if token.name
        and token.word not in _NO_NAMES
        and (place + 1 == len(found) or found[place + 1].text not in ("(", "."))
    }
