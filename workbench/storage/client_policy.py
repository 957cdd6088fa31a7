"""What clients may ask of SQLite: one statement at a time, no transaction control, nothing outside the main database.

SQLite's authorizer sees every table, function and pragma of a statement while it is compiled, but is silent when a
compiled statement is used again. So each SQL text is executed for the first time uncached and watched; what was
learnt (`StatementFacts`) is kept until the schema changes, and only texts known so are taken from the cache.
Rules:

- The authorizer stays installed for the life of the connection (changing it would expire every compiled statement)
  and lets everything pass unless a client's statement is running.
- Names that begin with `_workbench_` are out of reach.
- Every refusal is one line that says what to do instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import apsw

from workbench.errors import StatementError
from workbench.log_formats.base import INTERNAL_PREFIX, StatementFacts, Watch
from workbench.log_formats.causes import SAFE, Action, Examination
from workbench.log_formats.nondeterminism import examine_compiled
from workbench.log_formats.total_orders import Tables
from workbench.protocol.values import Row

MEMBER_SAVEPOINT = f"{INTERNAL_PREFIX}member"

_KNOWN_TEXTS_MAX = 1_000
_KNOWN_TEXT_LENGTH_MAX = 8_192

_NOTHING = re.compile(r"(?:[\s;\ufeff]|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*", re.DOTALL)
_KEYWORD = re.compile(r"[A-Za-z]*")

_SCHEMA_KEYWORDS = frozenset({"CREATE", "ALTER", "DROP", "REINDEX", "ANALYZE"})
_CONTROL = "transaction control is refused: send the statements together, as one transaction"
_NO_TEMPORARY = "temporary objects are refused: they would exist on one replica only"
_REFUSED_KEYWORDS = {
    **dict.fromkeys(("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"), _CONTROL),
    **dict.fromkeys(("ATTACH", "DETACH"), "ATTACH and DETACH are refused: a replica has one database"),
    "VACUUM": "VACUUM runs alone: send it as the only statement of a transaction, without words before it",
}

_READ_PRAGMAS = frozenset(
    {
        "application_id",
        "auto_vacuum",
        "collation_list",
        "compile_options",
        "data_version",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
_PRAGMAS_WITHOUT_ARGUMENT = frozenset({"auto_vacuum", "encoding", "page_count", "page_size", "schema_version"})
_SETS_HEADER = re.compile(r"PRAGMA\s+(?:main\s*\.\s*)?(?:user_version|application_id)\s*[=(]", re.IGNORECASE)
_MODULES = frozenset({"fts5", "rtree", "rtree_i32"})
_REFUSED_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})

_TEMPORARY = frozenset(
    {
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_DROP_TEMP_INDEX,
        apsw.SQLITE_DROP_TEMP_TABLE,
        apsw.SQLITE_DROP_TEMP_TRIGGER,
        apsw.SQLITE_DROP_TEMP_VIEW,
    }
)
_FREE = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE})


class ClientPolicy:
    """The authorizer of one connection, and the facts about the SQL texts that it has seen."""

    def __init__(
        self, connection: apsw.Connection, refusal: Callable[[StatementFacts], str], watch: Watch | None = None
    ) -> None:
        self._connection = connection
        self._refusal = refusal
        self._watch = watch
        """Wants to know what is unsafe, and hears of each statement before it runs."""
        self._actions: list[Action] = []
        self._tables: Tables | None = None
        self._open_cursors()
        self._known: dict[str, StatementFacts] = {}
        self._watching = False
        self._read_only = False
        self._seen: set[int] = set()
        self._reason = ""
        self._text = ""
        self._facts: StatementFacts | None = None
        connection.authorizer = self._authorize

    def forget(self) -> None:
        """The schema has changed, or may have: what was learnt of any text no longer holds."""
        self._known.clear()
        self._tables = None

    def facts(self, sql: str) -> StatementFacts | None:
        """What is known of `sql`, if it ran before under this schema."""
        return self._known.get(sql)

    def execute(self, sql: str, parameters: Row, *, read_only: bool = False) -> tuple[StatementFacts, apsw.Cursor]:
        """Start one client statement; its rows, if any, are still in the cursor.

        Raises `StatementError` when it is refused, and what APSW raises when it fails.
        """
        facts = self._known.get(sql)
        self._seen.clear()
        self._reason = ""
        self._watching = facts is None  # a known text was allowed as a whole; what SQLite compiles to run it is its own
        try:
            if facts is None:
                return self._execute_first(sql, parameters, read_only=read_only)
            if read_only and not facts.reads_only:
                raise _writes(facts.keyword)
            if self._watch is not None and not read_only:
                self._announce(facts, self._watch)
            return facts, self._cursor.execute(sql, parameters)
        except apsw.AuthError as error:
            raise StatementError(self._reason or "not authorized") from error
        except apsw.BindingsError as error:
            raise StatementError(
                f"wrong number of parameters: {len(parameters)} given ({_first_line(error)})"
            ) from error
        finally:
            self._watching = False

    def stop_reading(self) -> None:
        """Give up the rows of the last statement that were not fetched, so that no statement stays open."""
        for cursor in (self._cursor, self._first_cursor):
            cursor.close(True)
        self._open_cursors()

    def _open_cursors(self) -> None:
        self._cursor = self._connection.cursor()
        self._first_cursor = self._connection.cursor()
        self._first_cursor.exec_trace = self._before_first_run

    def _execute_first(self, sql: str, parameters: Row, *, read_only: bool) -> tuple[StatementFacts, apsw.Cursor]:
        keyword = leading_keyword(sql)
        if not keyword and _NOTHING.fullmatch(sql):
            raise StatementError("the statement is empty")
        if reason := _REFUSED_KEYWORDS.get(keyword):
            raise StatementError(reason)
        if keyword == "ALTER" and INTERNAL_PREFIX in sql.lower():
            raise StatementError(_internal(INTERNAL_PREFIX + "..."))
        self._expect(sql, read_only=read_only)
        cursor = self._first_cursor.execute(sql, parameters, can_cache=False)
        assert self._facts is not None  # set before the statement's first step
        return self._facts, cursor

    def _expect(self, sql: str, *, read_only: bool) -> None:
        self._text, self._read_only, self._facts = sql, read_only, None
        self._actions.clear()

    def _before_first_run(self, cursor: apsw.Cursor, text: str, _parameters: Any) -> bool:
        """SQLite has compiled the statement and is about to run it. The last chance to say no."""
        if self._facts is not None:
            return True  # the comment behind the statement
        rest = self._text[len(text) :]
        if _NOTHING.fullmatch(rest) is None:
            raise StatementError("more than one statement in one text: send them apart, or as one transaction")
        keyword = leading_keyword(text)
        reads_only = cursor.is_readonly or bool(cursor.is_explain)
        facts = StatementFacts(
            keyword=keyword,
            reads_only=reads_only,
            changes_schema=changes_schema(text),
            copies_into_new_table=keyword == "CREATE"
            and {apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_SELECT} <= self._seen
            and apsw.SQLITE_CREATE_VTABLE not in self._seen,
            columns=tuple(column[0] for column in cursor.get_description()),
            examination=SAFE if reads_only or self._watch is None else self._examine(text, self._watch),
        )
        if self._read_only and not reads_only:
            raise _writes(keyword)
        if reason := self._refusal(facts):
            raise StatementError(reason)
        self._facts = facts
        if len(text) <= _KNOWN_TEXT_LENGTH_MAX:
            if len(self._known) >= _KNOWN_TEXTS_MAX:
                self._known.clear()
            self._known[self._text] = facts
        if self._watch is not None and not self._read_only:
            self._announce(facts, self._watch)
        return True

    def _announce(self, facts: StatementFacts, watch: Watch) -> None:
        """What the log format does before a statement is none of the client's."""
        self._watching = False
        watch.before_statement(facts)
        self._watching = True

    def _examine(self, text: str, watch: Watch) -> Examination:
        self._watching = False
        watch.before_examination()
        if self._tables is None:
            self._tables = Tables(self._connection)
        examination = examine_compiled(self._connection, text, self._actions, self._tables)
        self._watching = True
        return examination

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        if not self._watching or (trigger is not None and trigger.startswith(INTERNAL_PREFIX)):
            return apsw.SQLITE_OK  # the workbench's own triggers may do what clients may not
        self._seen.add(action)
        if self._watch is not None and self._facts is None:
            self._actions.append((action, (first or "").lower(), (second or "").lower(), (trigger or "").lower()))
        reason = "" if action in _FREE else self._why_not(action, first or "", second or "", database or "")
        if reason:
            self._reason = reason
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def _why_not(self, action: int, first: str, second: str, database: str) -> str:
        drops_or_alters = apsw.SQLITE_ALTER_TABLE in self._seen or apsw.SQLITE_DROP_TABLE in self._seen
        if action in _TEMPORARY:
            if action == apsw.SQLITE_DROP_TEMP_TRIGGER and drops_or_alters:
                return ""  # a guard of the workbench goes with its table
            return _NO_TEMPORARY
        if action in (apsw.SQLITE_ANALYZE, apsw.SQLITE_REINDEX):
            return ""  # of everything, the workbench's own table included
        if _is_internal(first) or _is_internal(second):
            if action == apsw.SQLITE_SAVEPOINT and second == MEMBER_SAVEPOINT:
                return ""  # the workbench's own, compiled again; a client's has been refused by its keyword
            return _internal(first if _is_internal(first) else second)
        if (database == "temp" or first.startswith("sqlite_temp_")) and not drops_or_alters:
            return _NO_TEMPORARY
        match action:
            case apsw.SQLITE_INSERT | apsw.SQLITE_UPDATE | apsw.SQLITE_DELETE if first.lower().startswith(
                "sqlite_stat"
            ) and not changes_schema(self._text):
                return f"{first} is refused: only ANALYZE writes to it, and no log format carries its rows"
            case apsw.SQLITE_TRANSACTION | apsw.SQLITE_SAVEPOINT:
                return _CONTROL
            case apsw.SQLITE_ATTACH | apsw.SQLITE_DETACH:
                return _REFUSED_KEYWORDS["ATTACH"]
            case apsw.SQLITE_PRAGMA:
                return _why_not_pragma(first.lower(), second)
            case apsw.SQLITE_FUNCTION if second.lower() in _REFUSED_FUNCTIONS:
                return f"the function {second} is refused"
            case apsw.SQLITE_CREATE_VTABLE if second.lower() not in _MODULES:
                return f"virtual tables of module {second} are refused (allowed: {', '.join(sorted(_MODULES))})"
        return ""


def leading_keyword(sql: str) -> str:
    """The first word of a statement behind comments, in capitals; empty when it does not begin with a word."""
    start = _NOTHING.match(sql)
    word = _KEYWORD.match(sql, start.end() if start else 0)
    return word.group().upper() if word else ""


def changes_schema(sql: str) -> bool:
    """Whether a statement, known or not, is one of those that travel as SQL even in the logical format: what changes
    the schema, and the pragmas that set a number in the database's header."""
    start = _NOTHING.match(sql)
    place = start.end() if start else 0
    word = _KEYWORD.match(sql, place)
    keyword = word.group().upper() if word else ""
    return keyword in _SCHEMA_KEYWORDS or (keyword == "PRAGMA" and _SETS_HEADER.match(sql, place) is not None)


def one_line(error: BaseException) -> str:
    """An error's text for the user."""
    return _first_line(error) or type(error).__name__


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _why_not_pragma(name: str, argument: str) -> str:
    if name == "incremental_vacuum" or (argument and name == "auto_vacuum"):
        return f"PRAGMA {name} runs alone: send it as the only statement of a transaction, without words before it"
    if name not in _READ_PRAGMAS:
        return f"PRAGMA {name} is refused: only pragmas that describe the schema are allowed"
    if argument and name in _PRAGMAS_WITHOUT_ARGUMENT:
        return f"PRAGMA {name} can be read but not set: no log format would carry it to the other replicas"
    return ""


def _writes(keyword: str) -> StatementError:
    return StatementError(f"{keyword or 'the statement'} is not read-only", hint="send it as a write")


def _is_internal(name: str) -> bool:
    return name[: len(INTERNAL_PREFIX)].lower() == INTERNAL_PREFIX


def _internal(name: str) -> str:
    return f"{name} is refused: names that begin with {INTERNAL_PREFIX} belong to the workbench"
