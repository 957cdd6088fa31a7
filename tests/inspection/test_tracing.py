"""The entry that touched a row is found by executing a log again, for tables of every shape."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.inspection.logs import executed, snapshot_of, write_log
from tests.inspection.test_comparing import reader_of
from workbench.config import LogFormatName, UnsafePolicy
from workbench.inspection.causes import unsafe_causes
from workbench.inspection.comparing import TableShape, Values, shape_of
from workbench.inspection.replica_files import ReplicaFiles
from workbench.inspection.tracing import Trace, trace_rows
from workbench.protocol.values import Position


def trace(
    directory: Path,
    log_format: LogFormatName,
    statements: Sequence[str],
    table: str,
    *wanted: Values,
    unsafe: UnsafePolicy = "allow",
) -> Trace:
    """Trace rows of `table` in the log of a leader that executed `statements` as entries 2, 3, ..."""
    replica = write_log(directory / "replica-1", executed(directory / "made", log_format, *statements, unsafe=unsafe))
    before = snapshot_of(replica)
    shape = shape_in(statements, table)
    found = trace_rows(
        ReplicaFiles("replica-1", replica), [shape], [(table, key) for key in wanted], unsafe_causes, unsafe=unsafe
    )
    assert snapshot_of(replica) == before
    return found


def shape_in(statements: Sequence[str], table: str) -> TableShape:
    schema = [sql for sql in statements if sql.startswith("CREATE")]
    shape = asyncio.run(shape_of(reader_of(*schema), table))
    assert shape is not None
    return shape


def indices(found: Trace, table: str) -> dict[Values, int]:
    return {key: touch.position.index for (name, key), touch in found.touches.items() if name == table}


@pytest.mark.parametrize("log_format", ["statement", "mixed", "logical"])
@pytest.mark.parametrize(
    ("schema", "key"),
    [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", (2,)),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, v)", ("2",)),
        ("CREATE TABLE t (id PRIMARY KEY, v) WITHOUT ROWID", (2,)),
        ("CREATE TABLE t (id, v)", (2,)),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, v, w AS (v + 1))", (2,)),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, v, w AS (v + 1) STORED)", ("2",)),
        ("CREATE VIRTUAL TABLE t USING fts5(id, v)", (2,)),
    ],
)
def test_the_newest_touch_counts(tmp_path: Path, log_format: LogFormatName, schema: str, key: Values) -> None:
    statements = [
        schema,
        "INSERT INTO t (id, v) VALUES (1, 1)",
        "INSERT INTO t (id, v) VALUES (2, 1), (3, 1)",
        "UPDATE t SET v = 2 WHERE id = 2",
        "UPDATE t SET v = 3 WHERE id = 3",
    ]
    found = trace(tmp_path, log_format, statements, "t", key)
    assert found.notes == []
    assert indices(found, "t") == {key: 5}


def test_an_unsafe_touch_counts_more_than_a_later_safe_one(tmp_path: Path) -> None:
    statements = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t VALUES (1, 0), (2, random())",
        "UPDATE t SET v = v + 1",
    ]
    found = trace(tmp_path, "statement", statements, "t", (2,))
    touch = found.touches["t", (2,)]
    assert (touch.position, touch.statement) == (Position(1, 3), statements[1])
    assert [str(one.cause) for one in touch.unsafe] == ["random"]


@pytest.mark.parametrize("unsafe", ["pin", "mixed"])
def test_pins_and_rows_between_statements_are_followed(tmp_path: Path, unsafe: UnsafePolicy) -> None:
    statements = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t VALUES (abs(random()) % 7, 0), (10, random())",
        "UPDATE t SET v = v + 1 WHERE id = 10",
    ]
    found = trace(tmp_path, "statement", statements, "t", (10,), unsafe=unsafe)
    assert found.notes == []
    assert indices(found, "t") == {(10,): 3 if unsafe == "pin" else 4}


def test_triggers_and_cascades_touch_too(tmp_path: Path) -> None:
    statements = [
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE note (x)",
        "CREATE TRIGGER noted AFTER INSERT ON note BEGIN INSERT INTO t VALUES (new.x, NULL); END",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO t VALUES (10, 1)",
        "INSERT INTO note VALUES (77)",
        "DELETE FROM parent",
    ]
    found = trace(tmp_path, "statement", statements, "t", (10,), (77,))
    assert indices(found, "t") == {(10,): 9, (77,): 8}


def test_a_key_that_is_drawn_leads_to_a_guess(tmp_path: Path) -> None:
    statements = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t VALUES (random(), 1)",
        "UPDATE t SET v = random()",
    ]
    found = trace(tmp_path, "statement", statements, "t", (12345,))
    assert found.touches == {}
    assert found.insertions["t"].position.index == 3
    assert found.guesses["t"].position.index == 4


def test_pages_are_not_traced_and_that_is_said(tmp_path: Path) -> None:
    found = trace(tmp_path, "wal", ["CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"], "t", (1,))
    assert found.touches == {}
    assert "all replicas write the same pages" in found.notes[0]


def test_a_log_without_its_beginning_says_so(tmp_path: Path) -> None:
    statements = ["CREATE TABLE t (x)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"]
    entries = executed(tmp_path / "made", "statement", *statements)
    replica = write_log(tmp_path / "replica-1", entries, segment_bytes_max=1)
    min((replica / "log").glob("*.log")).unlink()
    found = trace_rows(ReplicaFiles("replica-1", replica), [shape_in(statements, "t")], [("t", (1,))], unsafe_causes)
    assert found.notes == ["the log begins with entry 2, and no snapshot goes before it"]
    assert found.first_entry == 2
