"""What changes of rows travel as: the parts that bodies of the logical and the mixed format are made of.

`row_capture.py` takes them on a leader, `row_apply.py` brings them into a follower's database, in their order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from workbench.log_formats.base import INTERNAL_PREFIX

Image: TypeAlias = tuple[Any, ...]
"""The values of all stored columns of a row, in their order: None, int, float, str or bytes; text that is not valid
UTF-8 as an array of one element, its bytes."""


class Changes(msgspec.Struct, frozen=True, array_like=True, tag=0, forbid_unknown_fields=True):
    """Rows changed by every kind of statement, triggers and cascades included, since the part before."""

    changeset: bytes


class SchemaChange(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """A statement to execute."""

    sql: str


class Sequences(msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """The whole content of `sqlite_sequence`: the largest AUTOINCREMENT key that each table ever had."""

    rows: tuple[tuple[str | None, int | None], ...]


class RowImages(msgspec.Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    """Rows that no changeset can hold, such as those with NULL in their primary key, whole: one row exactly like each
    of `removed` goes, then each of `added` comes."""

    table: str
    removed: tuple[Image, ...]
    added: tuple[Image, ...]


RowPart: TypeAlias = Changes | Sequences | RowImages
"""A part that changes rows and nothing else."""
Part: TypeAlias = Changes | SchemaChange | Sequences | RowImages


def is_captured(table: str) -> bool:
    """Whether changesets may hold rows of `table`."""
    return not table.startswith(("sqlite_", INTERNAL_PREFIX))
