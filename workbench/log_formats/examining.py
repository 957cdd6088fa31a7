"""Looks through the compiled programs of one statement, and its tokens, for causes of unsafety."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from workbench.log_formats.base import INTERNAL_PREFIX
from workbench.log_formats.causes import REASONS, ROOT_PAGES, Cause, Examination, Touched, Unsafe
from workbench.log_formats.examining_statements import StatementExaminer
from workbench.log_formats.programs import Program
from workbench.log_formats.sql_clauses import mentions, named_before
from workbench.log_formats.sql_tokens import Select, Token, selects, tokens
from workbench.log_formats.total_orders import Tables, is_ordered


class Examiner:
    """Everything about one statement that writes."""

    def __init__(self, sql: str, programs: list[Program], tables: Tables, touched: Touched) -> None:
        self._sql = sql
        self._programs = [program for program in programs if not program.trigger.startswith(INTERNAL_PREFIX)]
        self._tables = tables
        self._touched = touched
        self._tokens = tokens(sql)
        self._found: dict[tuple[Cause, str], Unsafe] = {}
        self._perhaps: dict[str, Unsafe] = {}
        self._generates: dict[str, None] = {}
        self._sets_rowids = False
        self._mixes_rowids = False
        self._touches_virtual = bool(touched.tables & tables.virtual)

    def examination(self) -> Examination:
        """Look everywhere once."""
        self._look_at_tables()
        for number, program in enumerate(self._programs):
            text = self._sql if number == 0 else ""
            for segment in program.segments(text):
                found = self._tokens if number == 0 else tokens(segment.text)
                StatementExaminer(self, program, segment, found, is_main=number == 0).examine()
        return Examination(
            tuple(self._found.values()),
            tuple(self._perhaps.values()),
            tuple(self._generates),
            self._sets_rowids,
            self._mixes_rowids,
            self._touches_virtual,
            self._uses_hidden_rowids,
            any(program.defers_keys for program in self._programs),
        )

    # What the parts report

    def add(self, cause: Cause, what: str, *, pinnable: bool = False, reason: str = "") -> None:
        """One cause; said twice, it is pinnable only if it is so both times."""
        known = self._found.get((cause, what))
        pinnable = pinnable and (known is None or known.pinnable)
        self._found[cause, what] = Unsafe(cause, what, reason or REASONS[cause], pinnable)

    def add_perhaps(self, what: str) -> None:
        self._perhaps[what] = Unsafe(
            Cause.TIME, what, "its argument may be 'now' when it runs: " + REASONS[Cause.TIME], pinnable=True
        )

    def generates(self, table: str) -> None:
        self._generates[table] = None

    def sets_rowids(self) -> None:
        self._sets_rowids = True

    def mixes_rowids(self) -> None:
        self._mixes_rowids = True

    def touches_virtual(self) -> None:
        self._touches_virtual = True

    # What the parts ask

    @property
    def tables(self) -> Tables:
        return self._tables

    @property
    def touched(self) -> Touched:
        return self._touched

    @cached_property
    def calls_in_open_order(self) -> bool:
        """Whether a trigger or a foreign key action runs for row after row in an open order."""
        return any(
            operation.name == "Program" and program.in_open_loop(operation.address)
            for number, program in enumerate(self._programs)
            for operation in program.operations
            if number or not self.main_is_ordered
        )

    @cached_property
    def fires(self) -> bool:
        return len(self._programs) > 1

    @cached_property
    def main_is_ordered(self) -> bool:
        """Whether the statement inserts the rows of a SELECT whose order is total."""
        return any(select.role == "top" and self.is_ordered(select) for select in selects(self._tokens)) and (
            not any(token.word == "UPDATE" and place == 0 for place, token in enumerate(self._tokens))
        )

    @cached_property
    def shadowed(self) -> bool:
        """Whether a common table expression has the name of a table: no name is what it seems then."""
        return any(
            token.word == "AS" and place > 0 and self._tables.is_ordinary(named_before(self._tokens, place))
            for place, token in enumerate(self._tokens[:-1])
            if self._tokens[place + 1].text == "(" or self._tokens[place + 1].word in ("MATERIALIZED", "NOT")
        )

    def is_ordered(self, select: Select) -> bool:
        return not self.shadowed and is_ordered(select, self._tables)

    @cached_property
    def views(self) -> list[tuple[str, list[Token]]]:
        """(name, tokens) of the views that are read."""
        return [
            (name, tokens(sql))
            for name, sql in self._tables.views.items()
            if name in self._touched.through or name in self._touched.tables
        ]

    def place_of(self, function: str, found: list[Token], trigger: str) -> str:
        """Where a function is called from, as the end of a phrase."""
        if trigger:
            return f" in the trigger {trigger}"
        if mentions(found, function):
            return ""
        for name, view in self.views:
            if mentions(view, function):
                return f" in the view {name}"
        for name in self._written:
            for column, default in self._tables.defaults(name):
                if mentions(tokens(default), function):
                    return f" in the DEFAULT of {name}.{column}"
            if mentions(tokens(self._tables.definitions.get(name, "")), function):
                return f" in the definition of table {name}"
        return ""

    @cached_property
    def _written(self) -> list[str]:
        found: dict[str, None] = {}
        for program in self._programs:
            for operation in program.operations:
                if operation.name in ("Insert", "IdxInsert", "Delete"):
                    table = self._tables.roots.get(program.root(operation), "")
                    if table:
                        found[table] = None
        return list(found)

    def written_definitions(self) -> Iterator[tuple[str, list[Token]]]:
        for name in self._written:
            yield name, tokens(self._tables.definitions.get(name, ""))

    @property
    def _uses_hidden_rowids(self) -> bool:
        tables = set(self._touched.rowids) | (set(self._written) if self._sets_rowids else set())
        return any(map(self._tables.hides_rowid, tables))

    def _look_at_tables(self) -> None:
        for name in sorted(self._touched.physical):
            if name != ROOT_PAGES or any(token.name == "rootpage" for token in self._tokens):  # DROP reads it, too
                self.add(Cause.PHYSICAL, name)
