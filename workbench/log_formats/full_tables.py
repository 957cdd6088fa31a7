"""Which tables have no rowid left above the largest one: there SQLite draws new rowids at random.

Rules:

- A table that was looked at stays known until a statement may store a rowid that it was given. Counting on from below
  the margin takes longer than any replica lives.
- One statement that both gives rowids and generates others may fill a table on its way: it is looked at afterwards.
"""

from __future__ import annotations

import apsw

from workbench.errors import StatementError
from workbench.log_formats.base import run
from workbench.log_formats.causes import REASONS, Cause, Examination, Unsafe

_MARGIN = 2**40
_LARGEST = 2**63 - 1


def full(table: str) -> Unsafe:
    """What is unsafe about generating a key in `table`."""
    return Unsafe(Cause.RANDOM_ROWID, f"a new rowid of {table}", REASONS[Cause.RANDOM_ROWID], pinnable=False)


class FullTables:
    """The tables of one connection, looked at when it matters."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._roomy: set[str] = set()

    def forget(self) -> None:
        """Something else than a statement that was examined may have changed the tables."""
        self._roomy.clear()

    def is_full(self, table: str) -> bool:
        """Whether the next rowid that SQLite generates in `table` may be a random one."""
        if table in self._roomy:
            return False
        name = table.replace('"', '""')
        ((largest,),) = run(self._connection, f'SELECT max(rowid) FROM main."{name}"')
        if largest is not None and largest > _LARGEST - _MARGIN:
            return True
        self._roomy.add(table)
        return False

    def after(self, examination: Examination) -> None:
        """A statement has run. Raises `StatementError` where it may have drawn rowids that nobody can repeat."""
        if examination.sets_rowids:
            self._roomy.clear()
            if examination.mixes_rowids and any(map(self.is_full, examination.generates)):
                raise StatementError(
                    "the statement stores one of the largest rowids and generates others: SQLite may draw these at"
                    " random (give all the keys, or none)"
                )
