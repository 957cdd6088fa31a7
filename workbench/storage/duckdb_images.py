"""Rows that travel whole, because no changeset can hold them: found by all their values, and removed or inserted.

Exactly the same row is meant: 1 is not 1.0. Where several rows are exactly the same it does not matter which one goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from workbench.errors import DivergedError
from workbench.log_formats.row_images import check_images
from workbench.log_formats.row_parts import Image, RowImages
from workbench.storage.duckdb_rows import HINT, Rows, fitted, place_of
from workbench.storage.duckdb_values import Staging, comparable, text_of

_AT_ONCE: Final = 10_000


def write_images(rows: Rows, part: RowImages) -> None:
    """Let one row exactly like each of the removed ones go, then each of the added ones come.

    Raises `DivergedError`, or `CodecError` for values that no row of SQLite's has.
    """
    table = rows.mirror.by_source.get(part.table)
    if table is None:
        raise DivergedError(f"the leader changed table {part.table}, which is not here", hint=HINT)
    width = len(table.stored)
    for image in (*part.removed, *part.added):
        if len(image) != width:
            message = f"the leader changed table {part.table} with {len(image)} stored columns: here it has {width}"
            raise DivergedError(message, hint=HINT)
    check_images(part.removed)
    check_images(part.added)
    for start in range(0, len(part.removed), _AT_ONCE):
        _remove(rows, part.table, [_row(image) for image in part.removed[start : start + _AT_ONCE]])
    for start in range(0, len(part.added), _AT_ONCE):
        added = [_row(image) for image in part.added[start : start + _AT_ONCE]]
        rows.insert(rows.mirror.by_source[part.table], added)


def _remove(rows: Rows, name: str, images: Sequence[tuple[object, ...]]) -> None:
    wanted = Counter(tuple(map(comparable, image)) for image in images)
    distinct = list({tuple(map(comparable, image)): image for image in images}.values())
    table = rows.mirror.by_source[name]
    table = rows.widen_for(table, zip(table.stored, map(list, zip(*distinct, strict=True)), strict=True))
    staging = Staging()
    staging.add("n", "integer", list(range(len(distinct))))
    same = []
    for place, column in enumerate(table.stored):
        staging.add(f"v{place}", column.kind, fitted(column.kind, [image[place] for image in distinct]))
        same.append(f"t.{column.physical} IS NOT DISTINCT FROM s.v{place}")
    found: list[list[int]] = [[] for _ in distinct]
    for number, place in rows.execute(
        f"SELECT s.n, t.rowid FROM {staging.sql} AS s JOIN {place_of(table)} AS t ON {' AND '.join(same)}", staging
    ).fetchall():
        found[number].append(place)
    gone: list[int] = []
    for image, places in zip(distinct, found, strict=True):
        count = wanted[tuple(map(comparable, image))]
        if len(places) < count:
            raise rows.diverged(rows.position, table, dict(enumerate(image)), "there is no such row")
        gone += places[:count]
    numbers = Staging()
    numbers.add("n", "integer", gone)
    rows.execute(f"DELETE FROM {place_of(table)} WHERE rowid IN {numbers.sql}", numbers)


def _row(image: Image) -> tuple[object, ...]:
    return tuple(text_of(value[0]) if isinstance(value, list) else value for value in image)
