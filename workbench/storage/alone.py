"""Statements that cannot run inside the transaction of a group: each is a group of its own.

VACUUM works under every log format. With `wal`, it and the two pragmas that move pages are captured like any commit.
Elsewhere VACUUM changes no row, but it numbers the rows of tables that have neither a key nor an index anew, and such
rows are addressed by their number: so the entry is logged, and every replica runs VACUUM at that very place.
"""

from __future__ import annotations

import re

import apsw

from workbench.errors import StatementError
from workbench.protocol.values import Statement, Transaction

VACUUM = Statement("VACUUM")

_END = r"[\s;]*(?:--[^\n]*)?"
_VACUUM = re.compile(rf"\s*VACUUM(?:\s+(?:main|\"main\"))?{_END}", re.IGNORECASE)
_AUTO_VACUUM = re.compile(
    rf"\s*PRAGMA\s+(?:main\s*\.\s*)?auto_vacuum\s*(?:=\s*(?P<v>\w+)|\(\s*(?P<w>\w+)\s*\)){_END}", re.IGNORECASE
)
_INCREMENTAL_VACUUM = re.compile(
    rf"\s*PRAGMA\s+(?:main\s*\.\s*)?incremental_vacuum\s*(?:=\s*(?P<v>\d+)|\(\s*(?P<w>\d+)\s*\))?{_END}", re.IGNORECASE
)
_AUTO_VACUUM_MODES = frozenset({"0", "1", "2", "none", "full", "incremental"})


def alone_statement(transaction: Transaction, *, moves_pages: bool) -> Statement:
    """The one statement of a transaction that runs alone, in a plain form. Raises `StatementError` with the reason.

    `moves_pages`: pages are what travels, so the pragmas that move them may run.
    """
    (statement,) = transaction.statements
    sql = statement.sql
    if statement.parameters:
        raise StatementError("VACUUM and its pragmas take no parameters")
    if _VACUUM.fullmatch(sql):
        return VACUUM
    if sql.lstrip()[:1] in "vV":
        raise StatementError("VACUUM is possible of the whole database in its place only: VACUUM, without INTO")
    if found := _AUTO_VACUUM.fullmatch(sql):
        mode = (found["v"] or found["w"]).lower()
        if mode not in _AUTO_VACUUM_MODES:
            raise StatementError(f"PRAGMA auto_vacuum = {mode}: one of {', '.join(sorted(_AUTO_VACUUM_MODES))}")
        plain = Statement(f"PRAGMA auto_vacuum = {mode}")
    elif found := _INCREMENTAL_VACUUM.fullmatch(sql):
        plain = Statement(f"PRAGMA incremental_vacuum({found['v'] or found['w'] or 0})")
    else:
        raise StatementError("a pragma that runs alone takes one number or word, and nothing stands behind it")
    if not moves_pages:
        raise StatementError(
            "this pragma is possible under the wal log format only: elsewhere every replica lays out its own file"
        )
    return plain


def run_alone(connection: apsw.Connection, statement: Statement) -> None:
    """Execute it, outside of any transaction. VACUUM copies the database into memory meanwhile."""
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches its copy
    try:
        connection.execute(statement.sql).fetchall()
    finally:
        connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
