"""Whether a SELECT returns its rows in one possible order only, as far as that can be proven simply.

Proven: one table in FROM, neither GROUP BY nor DISTINCT nor a compound, and ORDER BY terms that are columns and cover
the rowid, the primary key or a UNIQUE index whose columns cannot be NULL, in the collation of that index. A SELECT
that can return one row at most needs no order. Everything else is taken for unordered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

import apsw

from workbench.log_formats.base import run
from workbench.log_formats.sql_tokens import Select, Token, calls, names, split

ROWID_NAMES = frozenset({"rowid", "_rowid_", "oid"})
_AGGREGATES_WORDS = """
    avg count group_concat json_group_array json_group_object jsonb_group_array jsonb_group_object max median min
    percentile percentile_cont percentile_disc string_agg sum total
"""
_AGGREGATES = frozenset(_AGGREGATES_WORDS.split())
_AFTER_TERM = frozenset({"ASC", "DESC", "NULLS", "FIRST", "LAST"})
_NO_ALIAS = frozenset({"ASC", "DESC", "ON", "USING", "WHERE", "INDEXED", "NOT", "SET"})


class Tables:
    """What the schema says about tables: their pages, keys, definitions. Names in lower case."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._keys: dict[str, list[frozenset[str]]] = {}
        self.roots: dict[int, str] = {}
        """Root page of a table or index -> the table."""
        self.definitions: dict[str, str] = {}
        self.views: dict[str, str] = {}
        self.virtual: set[str] = set()
        self.sequence_root = 0
        for kind, name, table, root, sql in run(
            connection, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"
        ):
            if kind == "view":
                self.views[name.lower()] = sql
            elif root:
                self.roots[root] = table.lower()
            if kind == "table":
                self.definitions[name.lower()] = sql or ""
                if not root:
                    self.virtual.add(name.lower())
                if name == "sqlite_sequence":
                    self.sequence_root = root

    @cached_property
    def _kinds(self) -> dict[str, bool]:
        """Ordinary table -> whether it is WITHOUT ROWID."""
        return {
            name.lower(): bool(without_rowid)
            for name, without_rowid in run(
                self._connection,
                "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')",
            )
        }

    def is_ordinary(self, table: str) -> bool:
        return table in self._kinds

    def hides_rowid(self, table: str) -> bool:
        """Whether an ordinary table has rowids beside its primary key."""
        if self._kinds.get(table, True):
            return False
        return bool(run(self._connection, "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", (table,)))

    def keys(self, table: str) -> list[frozenset[str]]:
        """Every set of columns that tells the rows of an ordinary table apart, and orders them."""
        if table not in self._keys:
            self._keys[table] = list(self._find_keys(table)) if self.is_ordinary(table) else []
        return self._keys[table]

    def unique_columns(self, table: str) -> set[str]:
        """Columns that take part in a UNIQUE index or in the primary key, expressions in an index as all columns."""
        found: set[str] = set()
        for _, name, key in run(self._connection, "SELECT cid, name, pk FROM pragma_table_xinfo(?)", (table,)):
            if key:
                found.add(str(name).lower())
        for column, number in run(
            self._connection,
            "SELECT x.name, x.cid FROM pragma_index_list(?) AS i JOIN pragma_index_xinfo(i.name) AS x"
            ' WHERE i."unique" = 1 AND x.key = 1',
            (table,),
        ):
            if number == -2:
                found |= self.columns(table)
            elif column is not None:
                found.add(str(column).lower())
        return found | ROWID_NAMES

    def defaults(self, table: str) -> list[tuple[str, str]]:
        """(column, expression) of the columns with a DEFAULT."""
        return [
            (str(name), str(default))
            for name, default in run(
                self._connection,
                "SELECT name, dflt_value FROM pragma_table_xinfo(?) WHERE dflt_value IS NOT NULL",
                (table,),
            )
        ]

    def has_one_form(self, table: str, column: str) -> bool:
        """Whether values of a column that are equal are the same: not 1 and 1.0, nor 'a' and 'A'."""
        if not self.is_ordinary(table) or column not in self.columns(table):
            return column in ROWID_NAMES and self.is_ordinary(table)
        if frozenset({column}) in self.keys(table):
            return True
        declared, collation = self._connection.column_metadata("main", table, column)[:2]
        return bool(declared) and "BLOB" not in declared.upper() and collation.upper() == "BINARY"

    def columns(self, table: str) -> set[str]:
        return {
            str(name).lower() for (name,) in run(self._connection, "SELECT name FROM pragma_table_xinfo(?)", (table,))
        }

    def _find_keys(self, table: str) -> Iterable[frozenset[str]]:
        columns = run(
            self._connection, 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) ORDER BY cid', (table,)
        )
        never_null = {str(name).lower() for name, _, notnull, _ in columns if notnull}
        if not self._kinds[table]:
            for name in ROWID_NAMES - {str(name).lower() for name, *_ in columns}:
                yield frozenset({name})
        indexes = run(
            self._connection,
            'SELECT name, origin FROM pragma_index_list(?) WHERE "unique" = 1 AND partial = 0',
            (table,),
        )
        primary = [str(name).lower() for name, _, _, key in columns if key]
        if len(primary) == 1 and not any(origin == "pk" for _, origin in indexes):
            yield frozenset(primary)  # another name of the rowid
        for index, origin in indexes:
            parts = run(
                self._connection, "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno", (index,)
            )
            found = frozenset(str(name).lower() for name, _ in parts if name is not None)
            if len(found) != len(parts) or not all(self._collates(table, name, collation) for name, collation in parts):
                continue
            if found <= never_null or (origin == "pk" and self._kinds[table]):
                yield found

    def _collates(self, table: str, column: str, collation: str) -> bool:
        """Whether ORDER BY `column` sorts as the index does."""
        found = str(self._connection.column_metadata("main", table, column)[1])
        return found.lower() == collation.lower()


def is_ordered(select: Select, tables: Tables) -> bool:
    """Whether its rows come in one possible order."""
    table = single_table(select)
    terms = select.clauses.get("ORDER")
    if not table or not terms or select.compound or select.distinct or "GROUP" in select.clauses:
        return False
    hidden = {item[-1].name for item in split(select.clauses["SELECT"]) if len(item) > 1 and not _is_qualified(item)}
    return covers_key(terms, table, tables, hidden)


def covers_key(terms: Sequence[Token], table: str, tables: Tables, hidden: Collection[str] = ()) -> bool:
    """Whether ordering the rows of `table` by `terms` leaves nothing open; `hidden` are names that results took."""
    ordered: set[str] = set()
    for term in split(terms):
        column = [token for token in term if token.word not in _AFTER_TERM]
        if len(column) == 1 and column[0].name and column[0].name not in hidden:
            ordered.add(column[0].name)
        elif _is_qualified(column):
            ordered.add(column[2].name)
    return any(key <= ordered for key in tables.keys(table))


def single_table(select: Select) -> str:
    """The only table that FROM names, empty when there is no such."""
    source = select.clauses.get("FROM", [])
    words = [token.word for token in source]
    if not source or any(word in _NO_ALIAS for word in words):
        return ""
    match [token.text if token.kind == "other" else "" for token in source]:
        case [""] | ["", ""]:
            return source[0].name
        case ["", "", ""] if words[1] == "AS":
            return source[0].name
    return ""


def returns_one_row(select: Select) -> bool:
    """Whether it is an aggregate over everything, or has no FROM."""
    if select.compound or "GROUP" in select.clauses:
        return False
    if "FROM" not in select.clauses:
        return True
    return has_aggregate(select) and not any(token.word == "OVER" for token in select.clauses["SELECT"])


def has_aggregate(select: Select) -> bool:
    """Whether its results contain an aggregate."""
    clause = select.clauses["SELECT"]
    outer = min((token.depth for token in clause), default=0)
    return any(
        name in _AGGREGATES and (name not in ("max", "min") or len(arguments) == 1)
        for name, place, arguments in calls(clause)
        if clause[place].depth == outer or not _is_in_subquery(clause, place)
    )


def _is_in_subquery(clause: Sequence[Token], place: int) -> bool:
    depth = clause[place].depth
    for token in reversed(clause[:place]):
        if token.depth < depth:
            depth = token.depth
        elif token.word == "SELECT" and token.depth <= depth:
            return True
    return False


def bare_columns(select: Select) -> set[str]:
    """Columns in the results of an aggregate that are neither grouped by nor aggregated: of an arbitrary row."""
    if not has_aggregate(select) and "GROUP" not in select.clauses:
        return set()
    grouped = names(select.clauses.get("GROUP", []))
    found: set[str] = set()
    for item in split(select.clauses["SELECT"]):
        texts = [token.text.lower() for token in item]
        if any(texts == [token.text.lower() for token in term] for term in split(select.clauses.get("GROUP", []))):
            continue
        outside = list(item)
        for name, place, _ in reversed(list(calls(item))):
            if name in _AGGREGATES and place < len(outside):
                end = place + 2
                while end < len(outside) and outside[end].depth > outside[place].depth:
                    end += 1
                del outside[place : end + 1]
        if len(outside) > 1 and outside[-2].word == "AS":
            outside = outside[:-2]
        elif outside and outside != item and len(outside) == 1 and outside[0].name:
            outside = []  # an alias without AS
        if any(token.text == "*" for token in outside):
            found.add("*")
        found |= names(outside) - grouped
    return found


def have_one_form(items: Sequence[Sequence[Token]], select: Select, tables: Tables) -> bool:
    """Whether all `items` are columns of the only table of `select` whose equal values are the same, or literals."""
    table = single_table(select)
    for item in items:
        column = item[0].name if len(item) == 1 else item[2].name if _is_qualified(item) else ""
        if column and table and tables.has_one_form(table, column):
            continue
        if not (len(item) == 1 and item[0].kind in ("text", "number")):
            return False
    return True


def reads_only_unscanned(select: Select, tables: Tables, scanned: Collection[str]) -> bool:
    """Whether all its sources are tables that no open loop walks through: it finds its rows by a unique key."""
    source = select.clauses.get("FROM", [])
    if any(token.text == "(" for token in source):
        return False
    found = [
        token.name
        for place, token in enumerate(source)
        if token.name and (place == 0 or source[place - 1].text == "," or source[place - 1].word == "JOIN")
    ]
    return bool(found) and all(tables.is_ordinary(name) and name not in scanned for name in found)


def _is_qualified(item: Sequence[Token]) -> bool:
    return len(item) == 3 and item[1].text == "." and bool(item[0].name) and bool(item[2].name)
