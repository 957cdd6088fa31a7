"""What differs between replicas is told, and so is what could not be found out; the replicas are mere databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import apsw

from tests.inspection.logs import executed, write_log
from workbench.client.results import ReadResult
from workbench.cluster.cluster import Cluster
from workbench.cluster.status import ConvergenceReport
from workbench.config import ClusterConfig
from workbench.errors import IndefiniteError, StatementError
from workbench.inspection.divergence import ABSENT, WHOLE_ROW, WHOLE_TABLE, Divergence
from workbench.inspection.locating import locate
from workbench.protocol.values import Position
from workbench.storage.base import LEFT_OUT
from workbench.storage.digest import database_digest

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)"
INSERT = "INSERT INTO t VALUES (1, 0), (2, random())"


@dataclass
class Databases:
    """As much of a cluster and a session as locating needs."""

    directory: Path
    replicas: dict[str, apsw.Connection]
    silent: str = ""
    without_rowids: str = ""
    config: ClusterConfig = field(default_factory=ClusterConfig)

    async def session(self, read_policy: str) -> Databases:
        return self

    async def read(self, sql: str, parameters: Sequence[Any], *, replica: str) -> ReadResult:
        if replica == self.silent:
            raise IndefiniteError("no answer within 10 s")
        if replica == self.without_rowids and "rowid" in sql:
            raise StatementError('Referenced column "rowid" not found in FROM clause!')
        rows = self.replicas[replica].execute(sql, tuple(parameters)).fetchall()
        return ReadResult((), tuple(rows), Position(1, 3), replica, 1.0)


def located(directory: Path, *scripts: Sequence[str], silent: str = "", rows_max: int = 200) -> Divergence:
    """Locate what differs between replicas that executed `scripts`; the log is that of the first one."""
    databases = Databases(directory, {}, silent)
    for number, statements in enumerate(scripts, 1):
        connection = databases.replicas[f"replica-{number}"] = apsw.Connection(":memory:")
        for sql in statements:
            connection.execute(sql)
    write_log(directory / "replicas" / "replica-1", executed(directory / "made", "statement", SCHEMA, INSERT))
    digests = {name: database_digest(connection) for name, connection in databases.replicas.items()}
    report = ConvergenceReport(ok=False, reason="", digests=digests, positions=dict.fromkeys(digests, Position(1, 3)))
    return asyncio.run(locate(cast("Cluster", databases), report, rows_max=rows_max))


def test_a_value_with_its_entry_statement_and_cause(tmp_path: Path) -> None:
    found = located(tmp_path, [SCHEMA, INSERT], [SCHEMA, INSERT])
    (value,) = found.values
    assert (value.table, value.key, value.column) == ("t", "id=2", "v")
    assert (value.position, value.statement, value.cause) == (Position(1, 3), INSERT, "random")
    assert value.reason.startswith("random(): every replica draws another random value")
    assert value.values["replica-1"] != value.values["replica-2"]
    assert found.summary == "1 row of t differs since entry 1.3 (random)"
    (row,) = found.rows()
    assert (row["table"], row["key"], row["term"], row["index"], row["cause"]) == ("t", "id=2", 1, 3, "random")
    assert row["replica-2"] == value.values["replica-2"]


def test_a_row_on_one_side_only(tmp_path: Path) -> None:
    safe = "INSERT INTO t VALUES (1, 0), (2, 5)"
    found = located(tmp_path, [SCHEMA, safe], [SCHEMA, safe, "DELETE FROM t WHERE id = 1"])
    (value,) = found.values
    assert (value.key, value.column) == ("id=1", WHOLE_ROW)
    assert dict(value.values) == {"replica-1": "id=1, v=0", "replica-2": ABSENT}


def test_a_table_on_one_side_only(tmp_path: Path) -> None:
    found = located(tmp_path, [SCHEMA, "CREATE TABLE extra (a, b)"], [SCHEMA])
    values = {(value.table, value.column): dict(value.values) for value in found.values}
    assert values["extra", WHOLE_TABLE] == {"replica-1": "extra (a, b)", "replica-2": ABSENT}
    assert values["(schema)", "sql"] == {"replica-1": "'CREATE TABLE extra (a, b)'", "replica-2": ABSENT}
    assert {one.name: one.note for one in found.tables}["extra"] == "not every replica has it"


def test_a_table_with_other_columns(tmp_path: Path) -> None:
    row = "INSERT INTO t VALUES (1, 1)"
    found = located(
        tmp_path, [SCHEMA, row], ["CREATE TABLE t (id INTEGER PRIMARY KEY, w, x)", "INSERT INTO t (id) VALUES (1)"]
    )
    assert any(value.column == WHOLE_TABLE and value.values["replica-2"] == "t (id, w, x)" for value in found.values)


def test_a_replica_that_does_not_answer_is_said(tmp_path: Path) -> None:
    found = located(tmp_path, [SCHEMA, INSERT], [SCHEMA, INSERT], silent="replica-2")
    assert found.values == ()
    assert [one.note for one in found.tables] == ["its rows could not be read: replica-2: no answer within 10 s"]


def test_more_rows_than_are_named(tmp_path: Path) -> None:
    many = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99) INSERT INTO t SELECT i, random() FROM n"
    found = located(tmp_path, [SCHEMA, many], [SCHEMA, many], rows_max=5)
    assert len(found.values) == 5
    assert found.tables[0].note == "more than 5 rows differ"


def test_another_engine_is_compared_without_rowids_and_in_what_it_has(tmp_path: Path) -> None:
    databases = Databases(tmp_path, {}, without_rowids="duck")
    for name, values in (("duck", "(1, 'a'), (2, 'x')"), ("replica-1", "(1, 'a'), (2, 'b')")):
        connection = databases.replicas[name] = apsw.Connection(":memory:")
        connection.execute(f"CREATE TABLE bare (x, y); INSERT INTO bare VALUES {values}")
    digests = {name: database_digest(connection) for name, connection in databases.replicas.items()}
    digests["duck"]["(schema)"] = f"{LEFT_OUT}the schema is DuckDB's own"
    report = ConvergenceReport(ok=False, reason="", digests=digests, positions={})
    found = asyncio.run(locate(cast("Cluster", databases), report))
    assert found.reference == "replica-1", "whoever has all tables is what the others are compared with"
    assert [(one.name, one.replicas, one.rows) for one in found.tables] == [("bare", ("duck",), 2)]
    assert {value.key: dict(value.values) for value in found.values} == {
        "x=2, y='b'": {"replica-1": "x=2, y='b'", "duck": ABSENT},
        "x=2, y='x'": {"replica-1": ABSENT, "duck": "x=2, y='x'"},
    }


def test_a_replica_without_files_leaves_the_cause_open(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    databases = Databases(elsewhere, {})
    for name in ("replica-1", "replica-2"):
        connection = databases.replicas[name] = apsw.Connection(":memory:")
        connection.execute(f"{SCHEMA}; {INSERT}")
    digests = {name: database_digest(connection) for name, connection in databases.replicas.items()}
    report = ConvergenceReport(ok=False, reason="", digests=digests, positions={})
    (value,) = asyncio.run(locate(cast("Cluster", databases), report)).values
    assert (value.position, value.cause, value.reason) == (None, "", "the log could not be read")
