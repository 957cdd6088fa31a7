"""Bringing changes of rows into tables of DuckDB, many at once.

A single statement costs DuckDB about a millisecond, whatever it does, and a thousand rows in one statement little more.
So changes are collected by table and key, and only what they come to is brought in (`flush`). Rules:

- Changes to one row follow each other: what a later one says the row was must be what the earlier one made of it.
- Before anything is changed, the rows that are there are compared with what the leader's were: a missing row, another
  value or a row too many is divergence, and names the table, the key and the reason.
- A value that does not fit its column widens the column first.
- Keys stay what they are: SQLite's changesets have a change of key as a row that goes and one that comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from workbench.errors import CodecError, DivergedError
from workbench.protocol.values import Position
from workbench.storage.duckdb import Connection
from workbench.storage.duckdb_changes import NO_CHANGE, Change, Record
from workbench.storage.duckdb_own_tables import OwnSchema
from workbench.storage.duckdb_schema import Column, Mirror, Table
from workbench.storage.duckdb_values import (
    TYPES,
    BadText,
    Kind,
    Reading,
    Staging,
    comparable,
    misfit,
    tag_of,
    widened,
)

_LONG: Final = frozenset({str, bytes, BadText})
PENDING_ROWS_MAX: Final = 50_000
PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
HINT = "this replica's database differs from the leader's"


class DivergedRow(DivergedError):
    """A row is not what the leader's was, before the entry at `position`."""

    position = Position()


@dataclass(slots=True)
class Pending:
    """What becomes of one row. `before`: the values that it has by place, as far as they are known, or None when there
    is no such row; `after`: those that it gets, or None when it goes. `position`: of the entry that asked first."""

    before: dict[int, object] | None
    after: dict[int, object] | None
    position: Position


@dataclass(slots=True)
class TableChanges:
    """What becomes of the rows of one table, by key."""

    table: Table
    width: int
    key_places: tuple[int, ...]
    key_set: frozenset[int]
    rows: dict[tuple[object, ...], Pending] = field(default_factory=dict)


class Rows:
    """The rows of all tables, in one connection of DuckDB, whose transaction is the caller's."""

    def __init__(self, connection: Connection, mirror: Mirror | OwnSchema) -> None:
        self._connection = connection
        self.mirror = mirror
        self._pending: dict[str, TableChanges] = {}
        self._count = self._bytes = 0
        self.position = Position()
        """Of the entry that the changes which come next belong to."""
        self.widened: list[str] = []
        """What was widened since somebody looked, in words."""

    # Collecting.

    def change(self, change: Change) -> None:
        """Note one changed row. Raises `DivergedError`, or `CodecError` for what cannot be one."""
        changes = self._pending.get(change.source)
        if changes is None:
            if (table := self.mirror.by_source.get(change.source)) is None:
                if change.source in self.mirror.ignored:
                    return
                raise DivergedError(f"the leader changed table {change.source}, which is not here", hint=HINT)
            places = tuple(place for place, column in enumerate(table.stored) if column.key)
            changes = self._pending[change.source] = TableChanges(table, len(table.stored), places, frozenset(places))
        if change.columns != changes.width or change.key_places != changes.key_set:
            raise DivergedError(
                f"the leader changed table {change.source} with {change.columns} stored columns and key columns"
                f" {sorted(change.key_places)}: this replica has no such table",
                hint=HINT,
            )
        old, new = change.old, change.new
        record = new if old is None else old
        is_update = old is not None and new is not None
        if record is None or (NO_CHANGE in record and (not is_update or not _has_key(record, changes.key_places))):
            raise CodecError(f"not a changeset: a row of table {change.source} lacks values")
        key = tuple([comparable(record[place]) for place in changes.key_places])
        self._merge(changes, key, _known(old), _known(new), is_update=is_update)
        self._count += 1
        for value in record:
            if type(value) in _LONG:
                self._bytes += len(value)  # type: ignore[arg-type]
        if self._count >= PENDING_ROWS_MAX or self._bytes >= PENDING_BYTES_MAX:
            self.flush()

    def _merge(
        self,
        changes: TableChanges,
        key: tuple[object, ...],
        old: dict[int, object] | None,
        new: dict[int, object] | None,
        *,
        is_update: bool,
    ) -> None:
        known = changes.rows.get(key)
        if known is None:
            changes.rows[key] = Pending(old, new, self.position)
            return
        if (known.after is None) is not (old is None):
            reason = "there is no such row" if known.after is None else "a row with this key exists already"
            raise self.diverged(self.position, changes.table, old or new or {}, reason)
        if old is not None:
            assert known.after is not None
            for place, value in old.items():
                if place in known.after:
                    if not _same(known.after[place], value):
                        raise self.diverged(self.position, changes.table, old, _other_value(changes.table, place))
                elif known.before is not None:
                    known.before.setdefault(place, value)
        if is_update:
            assert known.after is not None
            assert new is not None
            known.after.update(new)
        else:
            known.after = new

    # Bringing it in.

    def flush(self) -> None:
        """Bring in everything that was noted. Raises `DivergedError`."""
        pending, self._pending = self._pending, {}
        self._count = self._bytes = 0
        for changes in pending.values():
            self._flush_table(changes.table, list(changes.rows.values()))

    def _flush_table(self, table: Table, rows: list[Pending]) -> None:
        table = self._widen_for_pending(table, rows)
        there = [row for row in rows if row.before is not None]
        absent = [row for row in rows if row.before is None]
        if there:
            self._check_there(table, there)
        if absent:
            self._check_absent(table, absent)
        width = len(table.stored)
        gone = [row for row in there if row.after is None or len(row.after) == width]
        updates = [row for row in there if row.after is not None and len(row.after) < width]
        if updates and table.generated:
            self._complete(table, updates)
            gone, updates = there, []
        if gone:
            self._delete(table, gone)
        if updates:
            self._update(table, updates)
        new = [row.after for row in rows if row.after is not None and len(row.after) == width]
        if new:
            self.insert(table, [[row[place] for place in range(width)] for row in new])

    def insert(self, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows of all stored columns; those that are generated are made here."""
        columns, values = list(table.stored), [list(column) for column in zip(*rows, strict=True)]
        if table.generated:
            made = self.mirror.generated_values(table, rows)
            columns += table.generated
            values += [list(column) for column in zip(*made, strict=True)]
        table = self.widen_for(table, zip(columns, values, strict=True))
        kinds = {column.physical: column.kind for column in table.columns}
        staging = Staging()
        for column, held in zip(columns, values, strict=True):
            kind = kinds[column.physical]
            staging.add(column.physical, kind, fitted(kind, held))
        names = ", ".join(column.physical for column in columns)
        self.execute(f"INSERT INTO {place_of(table)} ({names}) SELECT {names} FROM {staging.sql}", staging)

    def read(self, table: Table, order: str = "") -> Iterable[tuple[Any, ...]]:
        """All rows of a table: its stored columns."""
        reading = Reading((column.physical, column.kind) for column in table.stored)
        self.execute(f"SELECT {reading.sql} FROM {place_of(table)} {order}")
        while found := self._connection.fetchmany(1_000):
            yield from reading.rows(found)

    def _check_there(self, table: Table, rows: list[Pending]) -> None:
        """The rows must be there, with the values that the leader's had."""
        key = [place for place, column in enumerate(table.stored) if column.key]
        staging, join = self._staged_keys(table, [_before(row) for row in rows])
        conditions, compared = ["t.rowid IS NULL"], []
        for place, column in enumerate(table.stored):
            known = [place in _before(row) for row in rows]
            if place in key or not any(known):
                continue
            values = [_before(row).get(place) for row in rows]
            staging.add(f"o{place}", column.kind, fitted(column.kind, values))
            condition = f"t.{column.physical} IS DISTINCT FROM s.o{place}"
            if not all(known):
                staging.add_flags(f"m{place}", known)
                condition = f"(s.m{place} AND {condition})"
            conditions.append(condition)
            compared.append(place)
        found = self.execute(
            f"SELECT s.n, t.rowid IS NULL, {', '.join(conditions)} FROM {staging.sql} AS s"
            f" LEFT JOIN {place_of(table)} AS t ON {join} WHERE {' OR '.join(conditions)} ORDER BY s.n LIMIT 1",
            staging,
        ).fetchall()
        if not found:
            return
        number, is_missing, _, *differs = found[0]
        row = rows[number]
        reason = "there is no such row"
        if not is_missing:
            place = next(place for place, differing in zip(compared, differs, strict=True) if differing)
            reason = _other_value(table, place)
        raise self.diverged(row.position, table, _before(row), reason)

    def _check_absent(self, table: Table, rows: list[Pending]) -> None:
        """There must be no rows yet with these keys. A row that came and went again meanwhile says nothing."""
        rows = [row for row in rows if row.after is not None]
        if not rows:
            return
        staging, join = self._staged_keys(table, [row.after or {} for row in rows])
        found = self.execute(
            f"SELECT s.n FROM {staging.sql} AS s JOIN {place_of(table)} AS t ON {join} ORDER BY s.n LIMIT 1", staging
        ).fetchall()
        if found:
            row = rows[found[0][0]]
            raise self.diverged(row.position, table, row.after or {}, "a row with this key exists already")

    def _delete(self, table: Table, rows: list[Pending]) -> None:
        staging, join = self._staged_keys(table, [_before(row) for row in rows])
        self.execute(f"DELETE FROM {place_of(table)} AS t USING {staging.sql} AS s WHERE {join}", staging)

    def _update(self, table: Table, rows: list[Pending]) -> None:
        staging, join = self._staged_keys(table, [_before(row) for row in rows])
        settings = []
        for place, column in enumerate(table.stored):
            changed = [row.after is not None and place in row.after for row in rows]
            if column.key or not any(changed):
                continue
            values = [(row.after or {}).get(place) for row in rows]
            staging.add(f"v{place}", column.kind, fitted(column.kind, values))
            value = f"s.v{place}"
            if not all(changed):
                staging.add_flags(f"m{place}", changed)
                value = f"CASE WHEN s.m{place} THEN {value} ELSE t.{column.physical} END"
            settings.append(f"{column.physical} = {value}")
        if settings:
            self.execute(
                f"UPDATE {place_of(table)} AS t SET {', '.join(settings)} FROM {staging.sql} AS s WHERE {join}", staging
            )

    def _complete(self, table: Table, rows: list[Pending]) -> None:
        """Let each update be a whole row: what is generated from it needs all of it."""
        staging, join = self._staged_keys(table, [_before(row) for row in rows])
        stored = [(f"t.{column.physical}", column.kind) for column in table.stored]
        reading = Reading([("s.n", "integer"), *stored])
        found = self.execute(
            f"SELECT {reading.sql} FROM {staging.sql} AS s JOIN {place_of(table)} AS t ON {join}", staging
        ).fetchall()
        for number, *values in reading.rows(found):
            rows[number].after = dict(enumerate(values)) | (rows[number].after or {})

    def _staged_keys(self, table: Table, keys: list[dict[int, object]]) -> tuple[Staging, str]:
        """Rows `n` with keys `k...`, and the condition that finds them in `t`."""
        staging = Staging()
        staging.add("n", "integer", list(range(len(keys))))
        conditions = []
        for place, column in enumerate(table.stored):
            if column.key:
                values = [key[place] for key in keys]
                staging.add(f"k{place}", column.kind, fitted(column.kind, values))
                equals = "IS NOT DISTINCT FROM" if None in values else "="
                conditions.append(f"t.{column.physical} {equals} s.k{place}")
        return staging, " AND ".join(conditions)

    # Widening.

    def _widen_for_pending(self, table: Table, rows: list[Pending]) -> Table:
        def values(place: int) -> list[object]:
            sides = [side for row in rows for side in (row.before, row.after) if side is not None]
            return [side[place] for side in sides if place in side]

        return self.widen_for(table, ((column, values(place)) for place, column in enumerate(table.stored)))

    def widen_for(self, table: Table, held: Iterable[tuple[Column, list[object]]]) -> Table:
        """The table, after each column that cannot hold its values was made one that can."""
        for column, values in held:
            odd = misfit(column.kind, fitted(column.kind, values)) if column.kind != "any" else None
            if odd is not None:
                self.widen(table, column, odd)
                table = self.mirror.by_source[table.source]
                self.widened.append(f"{table.name}.{column.name} holds {tag_of(odd)} beside {column.kind}")
        return table

    def widen(self, table: Table, column: Column, odd: object) -> None:
        """Let a column hold values of any type."""
        if isinstance(self.mirror, OwnSchema):
            raise DivergedError(f"column {column.name} of table {table.name} cannot hold {odd!r:.80}", hint=HINT)
        name = column.physical
        self.execute(
            f"ALTER TABLE {place_of(table)} ALTER COLUMN {name} TYPE {TYPES['any']} USING {widened(name, column.kind)}"
        )
        table = self.mirror.by_source[table.source]
        columns = tuple(
            msgspec.structs.replace(known, kind="any") if known.physical == name else known for known in table.columns
        )
        self.mirror.replace(msgspec.structs.replace(table, columns=columns))

    # The rest.

    def execute(self, sql: str, staging: Staging | None = None) -> Connection:
        return self._connection.execute(sql, staging.parameters if staging else None)

    def diverged(self, position: Position, table: Table, row: dict[int, object], reason: str) -> DivergedRow:
        key = ", ".join(
            f"{column.name} {row.get(place)!r:.80}" for place, column in enumerate(table.stored) if column.key
        )
        error = DivergedRow(f"a change of the leader does not fit table {table.name}, {key}: {reason}", hint=HINT)
        error.position = position
        return error


def _known(record: Record | None) -> dict[int, object] | None:
    if record is None:
        return None
    if NO_CHANGE not in record:
        return dict(enumerate(record))
    return {place: value for place, value in enumerate(record) if value is not NO_CHANGE}


def _has_key(record: Record, places: Sequence[int]) -> bool:
    return all(record[place] is not NO_CHANGE for place in places)


def _before(row: Pending) -> dict[int, object]:
    assert row.before is not None
    return row.before


def fitted(kind: Kind, values: list[object]) -> list[object]:
    """Integers in a column of reals, as SQLite shows them."""
    if kind != "real" or int not in set(map(type, values)):
        return values
    return [float(value) if type(value) is int and float(value) == value else value for value in values]


def _same(left: object, right: object) -> bool:
    return left == right and (type(left) is type(right) or {type(left), type(right)} == {int, float})


def _other_value(table: Table, place: int) -> str:
    return f"column {table.stored[place].name} has another value"


def place_of(table: Table) -> str:
    """The table of rows, in SQL."""
    return f"{table.schema}.{table.physical}"
