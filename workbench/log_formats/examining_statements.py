"""Looks through one statement, the client's or one in a trigger, for causes of unsafety."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.log_formats.causes import Cause
from workbench.log_formats.programs import Operation, Program, Segment
from workbench.log_formats.sql_clauses import (
    conflict_clause,
    has_from,
    is_literal,
    is_word,
    names_twice,
    only_counts,
    target_of,
)
from workbench.log_formats.sql_tokens import Select, Token, calls, selects, split
from workbench.log_formats.total_orders import (
    ROWID_NAMES,
    bare_columns,
    covers_key,
    have_one_form,
    reads_only_unscanned,
    returns_one_row,
    single_table,
)

if TYPE_CHECKING:
    from workbench.log_formats.examining import Examiner

_RANDOM = frozenset({"random", "randomblob"})
_COUNTERS = frozenset({"changes", "total_changes"})
_DATES = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"})
_NOW = frozenset({"current_date", "current_time", "current_timestamp"})
_ENGINE = frozenset(
    {"sqlite_version", "sqlite_source_id", "sqlite_compileoption_get", "sqlite_compileoption_used", "fts5_source_id"}
)
_PHYSICAL = frozenset({"sqlite_offset"})
_ORDERED_AGGREGATES_WORDS = """
    group_concat string_agg json_group_array json_group_object jsonb_group_array jsonb_group_object sum total avg
    row_number ntile lag lead first_value last_value nth_value
"""
_ORDERED_AGGREGATES = frozenset(_ORDERED_AGGREGATES_WORDS.split())
_FLOATING = frozenset({"sum", "total", "avg"})
_CLOCK_WORDS = frozenset({"'now'", "'subsec'", "'subsecond'"})
_ZONE_WORDS = frozenset({"'localtime'", "'utc'"})
_EVENTS = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH", "CREATE"})

_FLOATING_REASON = (
    "a sum of floating-point numbers depends in its last digits on the order of the rows, which SQL leaves open;"
    " aggregate integers in the client, or send the result as a parameter"
)
_BARE_REASON = (
    "a column that is neither grouped by nor aggregated comes from whichever row SQLite met last; aggregate it as well"
)
_EQUAL_REASON = (
    "of values that are equal but not the same (1 and 1.0) it takes the one that SQLite meets first, which SQL leaves"
    " open; declare a type for the column"
)
_ZONE_REASON = "local time depends on the time zone of each replica's machine; convert it in the client"
_MODIFIER_REASON = (
    "a modifier that is no literal may be 'localtime', which depends on the time zone of each replica's machine;"
    " write it out"
)
_IN_FLIGHT_REASON = (
    "several rows get new unique keys, and whether two of them meet on the way depends on the order in which they are"
    " visited, which SQL leaves open; change one row at a time"
)
_READS_ITSELF_REASON = (
    "it reads the table that it changes, and whether it meets a row before or after its change depends on the order in"
    " which rows are visited, which SQL leaves open; read first, then write"
)
_TRIGGER_READS_REASON = (
    "a trigger runs for row after row in an order that SQL leaves open, and reads tables meanwhile; change one row at a"
    " time"
)


_COMMA = Token("other", ",", 0)


class StatementExaminer:
    """One statement of one program: the text itself, or one in a trigger."""

    def __init__(
        self, whole: Examiner, program: Program, segment: Segment, found: list[Token], *, is_main: bool
    ) -> None:
        self._whole = whole
        self._program = program
        self._segment = segment
        self._tokens = found
        self._is_main = is_main
        self._trigger = program.trigger if not is_main else ""
        self._where = f" in the trigger {self._trigger}" if self._trigger else ""
        self._keyword = next((token.word for token in found if token.depth == 0 and token.word in _EVENTS), "")
        if self._keyword == "WITH":
            writes = ("INSERT", "REPLACE", "UPDATE", "DELETE")
            self._keyword = next((t.word for t in found if t.depth == 0 and t.word in writes), "SELECT")
        self._repeated = not is_main and whole.calls_in_open_order
        """Runs for row after row of a statement that visits rows in an open order."""
        self._selects = selects(found)
        self._ordered = any(select.role == "top" and whole.is_ordered(select) for select in self._selects)
        roots, self._scans_others = program.scanned(segment)
        self._scanned = {whole.tables.roots.get(root, "?") for root in roots}

    @property
    def _operations(self) -> list[Operation]:
        return self._program.operations[self._segment.start : self._segment.end]

    def _is_open(self, operation: Operation) -> bool:
        """Runs in an order that is really open: not for the rows of an ordered SELECT."""
        return self._program.in_open_loop(operation.address) and not self._ordered

    def examine(self) -> None:
        self._look_at_functions()
        if self._scanned or self._scans_others:
            self._look_at_limits(self._selects, self._where)
            if self._is_main:
                for name, view in self._whole.views:
                    self._look_at_limits(selects(view), f" in the view {name}")
        self._look_at_keys()
        if self._keyword == "UPDATE":
            self._look_at_update()
        self._look_at_conflicts()
        if self._repeated:
            self._look_at_repetition()

    # Functions

    def _look_at_functions(self) -> None:
        seen: set[tuple[str, bool]] = set()
        for name, operation in self._program.calls(self._segment):
            in_order = not self._repeated and not self._program.in_open_loop(operation.address)
            if (name, in_order) in seen:
                continue
            seen.add((name, in_order))
            if name in _RANDOM:
                self._add_function(Cause.RANDOM, name, in_order)
            elif name in _COUNTERS:
                self._add_function(Cause.SESSION_STATE, name, in_order or not self._whole.fires)
            elif name == "last_insert_rowid":
                same = self._keyword in ("UPDATE", "DELETE") and not self._whole.fires
                self._add_function(Cause.SESSION_STATE, name, in_order or same)
            elif name in _NOW:
                self._add_function(Cause.TIME, name, True)
            elif name in _DATES:
                self._look_at_date(name)
            elif name in _ENGINE:
                self._add_function(Cause.ENGINE, name, False)
            elif name in _PHYSICAL:
                self._add_function(Cause.PHYSICAL, name, False)
            elif operation.name.startswith("Agg") and self._program.in_open_loop(operation.address):
                self._look_at_aggregate(name)
        self._look_at_windows()

    def _add_function(self, cause: Cause, name: str, pinnable: bool, reason: str = "") -> None:
        place = self._whole.place_of(name, self._tokens, self._trigger)
        what = name.upper() if name in _NOW else f"{name}()"
        self._whole.add(cause, what + place, pinnable=pinnable, reason=reason)

    def _look_at_date(self, name: str) -> None:
        """Its arguments, in the text where it stands."""
        sources = [self._tokens, *(view for _, view in self._whole.views)]
        sources += [found for _, found in self._whole.written_definitions()]
        found_calls = [arguments for found in sources for called, _, arguments in calls(found) if called == name]
        place = self._whole.place_of(name, self._tokens, self._trigger)
        if not found_calls:
            self._whole.add_perhaps(f"{name}(){place}")
        for arguments in found_calls:
            times = arguments[1:2] if name == "strftime" else arguments[:2] if name == "timediff" else arguments[:1]
            modifiers = arguments[2:] if name == "strftime" else [] if name == "timediff" else arguments[1:]
            if not times or any(is_word(argument, _CLOCK_WORDS) for argument in times):
                self._whole.add(Cause.TIME, f"{name}(){place}", pinnable=True)
            elif not all(map(is_literal, times)):
                self._whole.add_perhaps(f"{name}(){place}")
            if any(is_word(argument, _ZONE_WORDS) for argument in modifiers):
                self._whole.add(Cause.TIME, f"{name}() in local time{place}", reason=_ZONE_REASON)
            elif not all(map(is_literal, modifiers)):
                self._whole.add(Cause.TIME, f"{name}() with a modifier{place}", reason=_MODIFIER_REASON)

    # Aggregates

    def _look_at_aggregate(self, name: str) -> None:
        if name in ("min", "max"):
            if not self._picks_one_form(name):
                self._add_function(Cause.AGGREGATE_ORDER, name, False, _EQUAL_REASON)
            return
        if name not in _ORDERED_AGGREGATES:
            return
        if name not in _FLOATING and self._is_ordered_inside(name):
            return
        reason = _FLOATING_REASON if name in _FLOATING else ""
        self._add_function(Cause.AGGREGATE_ORDER, name, False, reason)

    def _is_ordered_inside(self, name: str) -> bool:
        """Whether each call of it in the text orders its rows: `group_concat(x ORDER BY id)`."""
        found = [(place, arguments) for called, place, arguments in calls(self._tokens) if called == name]
        for place, arguments in found:
            select = next((s for s in reversed(self._selects) if s.start < place < s.end), None)
            table = single_table(select) if select and not self._whole.shadowed else ""
            flat = [token for argument in arguments for token in [*argument, _COMMA]]
            order = next((i for i, token in enumerate(flat) if token.word == "ORDER"), -1)
            if not table or order < 0 or not covers_key(flat[order + 2 : -1], table, self._whole.tables):
                return False
        return bool(found)

    def _look_at_groups(self, select: Select) -> None:
        """One row stands for all that are equal: which one shows where equal values are not the same."""
        results = split(select.clauses["SELECT"])
        groups = split(select.clauses.get("GROUP", []))
        shown = [group for group in groups if any([t.text for t in group] == [t.text for t in one] for one in results)]
        for what, items in (("DISTINCT", results if select.distinct else []), ("GROUP BY", shown)):
            if items and (self._whole.shadowed or not have_one_form(items, select, self._whole.tables)):
                self._whole.add(Cause.AGGREGATE_ORDER, what + self._where, reason=_EQUAL_REASON)

    def _picks_one_form(self, name: str) -> bool:
        """Whether it does not matter which of several equal values is the least or the largest."""
        found = [(place, arguments) for called, place, arguments in calls(self._tokens) if called == name]
        for place, arguments in found:
            select = next((s for s in reversed(self._selects) if s.start < place < s.end), None)
            if select is None or self._whole.shadowed or not have_one_form(arguments, select, self._whole.tables):
                return False
        return bool(found)

    def _look_at_windows(self) -> None:
        opens = bool(self._scanned) or self._scans_others
        if opens and any(token.word == "OVER" for token in self._tokens):
            self._whole.add(Cause.AGGREGATE_ORDER, "a window function" + self._where)
        if opens:
            for select in self._selects:
                if select.role in ("top", "source", "value"):
                    self._look_at_groups(select)
                if bare := bare_columns(select):
                    name = min(bare)
                    self._whole.add(
                        Cause.AGGREGATE_ORDER, f"{name} beside an aggregate{self._where}", reason=_BARE_REASON
                    )

    # Order

    def _look_at_limits(self, found: list[Select], where: str) -> None:
        for select in found:
            if not (select.limited or select.role == "value") or select.role == "exists":
                continue
            if returns_one_row(select) or self._whole.is_ordered(select):
                continue
            if (
                not self._whole.shadowed
                and not self._scans_others
                and not select.compound
                and reads_only_unscanned(select, self._whole.tables, self._scanned)
            ):
                continue
            what = "LIMIT" if select.limited else "a subquery used as a value, which takes its first row,"
            self._whole.add(Cause.LIMIT, what.rstrip(",") + where)

    def _look_at_keys(self) -> None:
        for operation in self._operations:
            match operation.name:
                case "NewRowid":
                    root = self._program.root(operation)
                    table = self._whole.tables.roots.get(root, "") if root > 0 else "the new table" if root else ""
                    if not table or root == 1:
                        continue
                    if not self._program.may_be_null(operation):
                        continue
                    if not operation.p3 and root > 0:
                        self._whole.generates(table)
                        follows = self._operations[operation.address - self._segment.start + 1 :][:1]
                        if follows and follows[0].name == "MustBeInt" and self._program.in_any_loop(operation.address):
                            self._whole.mixes_rowids()
                    self._add_keys(operation, table)
                case "VUpdate":
                    self._look_at_virtual(operation)
                case "MustBeInt":
                    self._whole.sets_rowids()

    def _look_at_virtual(self, operation: Operation) -> None:
        if operation.name == "VUpdate":
            self._whole.touches_virtual()
            if self._keyword in ("INSERT", "REPLACE"):
                self._add_keys(operation, "a virtual table")

    def _add_keys(self, operation: Operation, table: str) -> None:
        if self._repeated:
            self._whole.add(Cause.TRIGGER_KEYS, f"keys of {table}{self._where}")
        elif self._is_open(operation):
            self._whole.add(Cause.GENERATED_KEYS, f"keys of {table}{self._where}")

    def _look_at_update(self) -> None:
        writes = [o for o in self._operations if o.name in ("Insert", "IdxInsert") and self._program.root(o) > 0]
        writes += [o for o in self._operations if o.name == "VUpdate"]
        opens = self._repeated or any(map(self._is_open, writes))
        target = target_of(self._tokens)
        if has_from(self._tokens):
            others = self._scanned - {target}
            if others or self._scans_others or names_twice(self._tokens, target):
                self._whole.add(Cause.SEVERAL_MATCHES, "UPDATE ... FROM" + self._where)
        elif opens and self._scanned and names_twice(self._tokens, target):
            self._whole.add(Cause.CONFLICT_ORDER, f"UPDATE {target}{self._where}", reason=_READS_ITSELF_REASON)
        if not opens or not self._whole.tables.is_ordinary(target):
            return
        unique = self._whole.tables.unique_columns(target)
        changed = {column for table, column in self._whole.touched.updated if table == target}
        changed |= ROWID_NAMES & changed
        if changed & unique or "MustBeInt" in {operation.name for operation in self._operations}:
            self._whole.add(Cause.CONFLICT_ORDER, f"UPDATE of {target}'s keys{self._where}", reason=_IN_FLIGHT_REASON)

    def _look_at_conflicts(self) -> None:
        writes = [
            operation
            for operation in self._operations
            if operation.name == "VUpdate"
            or (operation.name in ("Insert", "IdxInsert", "Delete") and self._program.root(operation) > 0)
        ]
        if not self._repeated and not any(map(self._is_open, writes)):
            return
        if self._keyword not in ("INSERT", "REPLACE", "UPDATE"):
            return
        what = conflict_clause(self._tokens)
        for name, definition in [] if what else self._whole.written_definitions():
            if clause := conflict_clause(definition):
                what = f"{clause} in the definition of table {name}"
        if what:
            self._whole.add(Cause.CONFLICT_ORDER, what + self._where)

    # Triggers

    def _look_at_repetition(self) -> None:
        """A statement that runs for row after row in an open order."""
        reads = any(o.name in ("OpenRead", "VOpen") for o in self._operations)
        mentions = any(token.word == "FROM" for token in self._tokens)
        match self._keyword:
            case "INSERT" | "REPLACE" if mentions:
                self._add_reading()
            case "UPDATE" if not only_counts(self._tokens):
                self._whole.add(Cause.TRIGGER_KEYS, f"UPDATE{self._where}")
            case "SELECT" if mentions and reads:
                self._add_reading()
            case "DELETE" if sum(token.word == "FROM" for token in self._tokens) > 1:
                self._add_reading()
            case "" if reads and self._trigger:
                self._add_reading()

    def _add_reading(self) -> None:
        self._whole.add(Cause.TRIGGER_KEYS, f"what is read{self._where}", reason=_TRIGGER_READS_REASON)
