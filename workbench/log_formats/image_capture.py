"""Noting, on a leader, the rows that changesets cannot hold (`key_kinds.py`): by temporary triggers on their tables.

A trigger tells which row is about to change, and its image is read before it does; what has become of it is read at the
end. Rows come and go without firing triggers in one way: REPLACE deletes those that are in conflict. They are noted
before each INSERT and UPDATE. Rules:

- To note too much does no harm: a row that is as it was cancels out.
- What was noted of a transaction that was undone stays right: its rows are as they were before the first note.
- Triggers name only the columns of keys and UNIQUE indexes, which ALTER TABLE can rename, and then does here, too, but
  not drop. After each change of the schema they are compared with what the tables need now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any, Final, NamedTuple

import apsw

from workbench.errors import StatementError
from workbench.log_formats.base import INTERNAL_PREFIX, run
from workbench.log_formats.changesets import rowid_changeset
from workbench.log_formats.key_kinds import Table, Unique, guards
from workbench.log_formats.row_images import ImageReader, decode_image, encode_image
from workbench.log_formats.row_parts import Image, RowImages
from workbench.log_formats.table_shapes import quoted

_NOTED_MAX: Final = 1_000_000
_BYTES_MAX: Final = 256 * 1024 * 1024
"""Rows noted of one group, and the bytes of their texts and blobs: they wait in memory."""
_NOTE_OLD = f"{INTERNAL_PREFIX}note_old"
_NOTE_NEW = f"{INTERNAL_PREFIX}note_new"

_numbers = count(1)  # a trigger keeps its name when its table is renamed, so it cannot be named after the table


_NUMBER: Final = "/*number*/"
_OUR_TRIGGERS: Final = (
    f"SELECT name, tbl_name FROM sqlite_temp_schema WHERE type = 'trigger' AND name GLOB '{INTERNAL_PREFIX}*'"
)


def drop_triggers(connection: apsw.Connection) -> None:
    """Take the workbench's temporary triggers away."""
    for name, _ in run(connection, _OUR_TRIGGERS):
        connection.execute(f"DROP TRIGGER temp.{quoted(name)}")


class _Installed(NamedTuple):
    """The triggers of one table; `number` is what they tell it by."""

    number: int
    wanted: tuple[tuple[str, str, str], ...]
    names: tuple[str, ...]


class _Watched:
    """A table, and what has been noted of it."""

    def __init__(self, connection: apsw.Connection, table: Table) -> None:
        self.table = table
        self.before: dict[tuple[Any, ...], bytes | None] = {}
        """What a row is known by -> its image, encoded, before it was first touched; none if it was not there."""
        is_row = " AND ".join(f"{name} = ?" for name in _identity(table))
        self.reader = ImageReader(connection, table, is_row)
        self.special_reader = ImageReader(connection, table, f"{is_row} AND ({_is_special(table, '')})")

    def changes(self) -> Iterator[tuple[int, Image | None, Image | None]]:
        """(rowid, what it was, what it is), of a table without a key."""
        for identity, code in self.before.items():
            (rowid,) = identity
            yield rowid, _decoded(code), next(iter(self.reader.read(identity)), None)

    def moved(self) -> tuple[list[bytes], list[bytes]]:
        """The images that are gone, and those that have come."""
        gone = [code for code in self.before.values() if code is not None]
        come: list[bytes] = []
        seen: set[bytes] = set()
        for identity in self.before:
            for code in map(encode_image, self.special_reader.read(identity)):
                if not self.table.without_rowid or code not in seen:  # two keys that are equal find one row
                    seen.add(code)
                    come.append(code)
        unchanged = Counter(gone) & Counter(come)
        return _without(gone, unchanged.copy()), _without(come, unchanged)


class ImageCapture:
    """Images of rows that change, on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._watched: dict[int, _Watched] = {}
        self._installed: dict[str, _Installed] = {}
        self._wanted: dict[str, tuple[Table, tuple[tuple[str, str, str], ...]]] = {}
        """What each table needed when it was looked at last."""
        self._rows = self._bytes = 0
        self.is_noting = False
        """Off, what triggers tell is not kept: statements that travel as SQL run then."""
        for name, function in ((_NOTE_OLD, self._note_old), (_NOTE_NEW, self._note_new)):
            connection.create_scalar_function(name, function, flags=apsw.SQLITE_INNOCUOUS)

    @property
    def has_noted(self) -> bool:
        return bool(self._rows)

    def watch(self, tables: dict[str, Table]) -> None:
        """See to it that these tables have the triggers that they need; those that are right already stay."""
        self.forget()
        self._wanted = {name: known for name, known in self._wanted.items() if name in tables}
        present = dict(run(self._connection, _OUR_TRIGGERS))
        kept: dict[str, _Installed] = {}
        self._watched = {}
        for table in tables.values():
            before = self._wanted.get(table.name)
            wanted = before[1] if before is not None and before[0] == table else tuple(_wanted(table))
            self._wanted[table.name] = table, wanted
            if not wanted:
                continue
            installed = self._installed.get(table.name)
            if (
                installed is None
                or installed.wanted != wanted
                or any(present.get(name) != table.name for name in installed.names)
            ):
                installed = _Installed(next(_numbers), wanted, ())
            kept[table.name] = installed
            self._watched[installed.number] = _Watched(self._connection, table)
        for name in set(present).difference(*(installed.names for installed in kept.values())):
            self._cursor.execute(f"DROP TRIGGER temp.{quoted(name)}")
        for name, installed in kept.items():
            if not installed.names:
                kept[name] = self._install(tables[name], installed)
        self._installed = kept

    def _install(self, table: Table, wanted: _Installed) -> _Installed:
        names = []
        for when, condition, body in wanted.wanted:
            name = f"{INTERNAL_PREFIX}trigger_{next(_numbers)}"
            names.append(name)
            text = body.replace(_NUMBER, str(wanted.number))
            self._cursor.execute(
                f"CREATE TEMP TRIGGER {name} {when} ON main.{quoted(table.name)} WHEN {condition} BEGIN {text}; END"
            )
        return wanted._replace(names=tuple(names))

    def forget(self) -> None:
        """What was noted is not wanted."""
        if self._rows:
            for watched in self._watched.values():
                watched.before.clear()
            self._rows = self._bytes = 0

    def take(self) -> tuple[list[RowImages], bytes, list[RowImages]]:
        """What is gone, a changeset of the tables without a key, and what has come; nothing is noted any more."""
        removed: list[RowImages] = []
        added: list[RowImages] = []
        changeset = b""
        for watched in self._watched.values():
            table = watched.table
            if not watched.before:
                continue
            if table.is_by_rowid:
                changeset += rowid_changeset(table.name, len(table.stored), watched.changes())
                continue
            gone, come = watched.moved()
            if gone:
                removed.append(RowImages(table.name, tuple(map(decode_image, gone)), ()))
            if come:
                added.append(RowImages(table.name, (), tuple(map(decode_image, come))))
        self.forget()
        return removed, changeset, added

    def _note_old(self, *key: Any) -> None:
        watched, identity = self._watched[key[0]], key[1:]
        if self.is_noting and identity not in watched.before:
            images = watched.reader.read(identity)
            code = encode_image(images[0]) if images else None
            watched.before[identity] = code
            self._count(len(code or b""))

    def _note_new(self, *key: Any) -> None:
        before, identity = self._watched[key[0]].before, key[1:]
        if self.is_noting and identity not in before:
            before[identity] = None
            self._count(0)

    def _count(self, size: int) -> None:
        self._rows += 1
        self._bytes += size
        if self._rows > _NOTED_MAX or self._bytes > _BYTES_MAX:
            raise StatementError(
                f"{self._rows} rows of a table without a proper primary key were changed at once",
                hint="change fewer, or give the table a key",
            )


def _wanted(table: Table) -> Iterator[tuple[str, str, str]]:
    """(when, condition, body) of each trigger that a table needs."""
    for condition, reason in guards(table):
        text = reason.replace("'", "''")
        for event in ("INSERT", "UPDATE"):
            yield f"BEFORE {event}", condition, f"SELECT RAISE(ABORT, '{text}')"
    if table.is_by_rowid or table.is_whole or _has_special_rows(table):
        yield from _notes(table)


def _has_special_rows(table: Table) -> bool:
    """Whether some of its rows may have NULL in their key, and can be captured."""
    return bool(table.nullable_key and table.rowid) and not table.has_unique_expression


def _notes(table: Table) -> Iterator[tuple[str, str, str]]:
    """The triggers that note rows."""
    old = f"SELECT {_NOTE_OLD}({_NUMBER}, {', '.join(_identity(table, 'OLD.'))})"
    new = f"SELECT {_NOTE_NEW}({_NUMBER}, {', '.join(_identity(table, 'NEW.'))})"
    yield "BEFORE UPDATE", _is_special(table, "OLD."), old
    yield "BEFORE DELETE", _is_special(table, "OLD."), old
    yield "AFTER INSERT", _is_special(table, "NEW."), new
    yield "AFTER UPDATE", _has_become_special(table), new
    conflicts = [_conflict(table, index) for index in table.unique.values() if table.is_whole or not index.is_key]
    moved = ""
    if table.rowid:
        conflicts.append(f"{table.rowid} = NEW.{table.rowid}")
        moved = f"NEW.{table.rowid} IS NOT OLD.{table.rowid}"
    victims = (
        f"SELECT {_NOTE_OLD}({_NUMBER}, {', '.join(_identity(table))}) FROM main.{quoted(table.name)}"
        f" WHERE ({_is_special(table, '')}) AND ({' OR '.join(conflicts)})"
    )
    if len(conflicts) > bool(table.rowid):
        yield "BEFORE INSERT", "1", victims
        yield "BEFORE UPDATE", "1", victims
    else:  # only a rowid that somebody has chosen can be in conflict; SQLite says -1 where it is still to be found
        yield "BEFORE INSERT", f"NEW.{table.rowid} <> -1", victims
        yield "BEFORE UPDATE", moved, victims


def _identity(table: Table, prefix: str = "") -> list[str]:
    """What a row is known by while it is noted."""
    return [f"{prefix}{table.rowid}"] if table.rowid else [f"{prefix}{quoted(column.name)}" for column in table.key]


def _is_special(table: Table, prefix: str) -> str:
    """A condition that the rows meet which no changeset holds."""
    if table.is_whole or table.is_by_rowid:
        return "1"
    return " OR ".join(f"{prefix}{quoted(name)} IS NULL" for name in table.nullable_key)


def _has_become_special(table: Table) -> str:
    """A condition for updates that make a row special, or known by something else: it is noted already otherwise."""
    pairs = zip(_identity(table, "NEW."), _identity(table, "OLD."), strict=True)
    moved = " OR ".join(f"{new} IS NOT {old} COLLATE BINARY" for new, old in pairs)
    if table.is_whole or table.is_by_rowid:
        return moved
    return f"({_is_special(table, 'NEW.')}) AND (NOT ({_is_special(table, 'OLD.')}) OR {moved})"


def _conflict(table: Table, index: Unique) -> str:
    defaults = {column.name: column.default for column in table.columns if column.is_never_null}
    parts = []
    for name, collation in index.columns:
        assert name is not None  # such tables are guarded, or refused
        new = f"NEW.{quoted(name)}"
        if default := defaults.get(name):
            new = f"coalesce({new}, {default})"  # as OR REPLACE does with NULL where it is not allowed
        parts.append(f"{quoted(name)} = {new} COLLATE {quoted(collation)}")
    return "(" + " AND ".join(parts) + ")"


def _decoded(code: bytes | None) -> Image | None:
    return None if code is None else decode_image(code)


def _without(codes: list[bytes], taken: Counter[bytes]) -> list[bytes]:
    kept = []
    for code in codes:
        if taken[code]:
            taken[code] -= 1
        else:
            kept.append(code)
    return kept
