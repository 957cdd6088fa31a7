"""`workbench explain`: real leaders and followers say what each log format makes of a statement."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, text, at TEXT DEFAULT CURRENT_TIMESTAMP);\n"


def explained(call: Callable, *arguments: str) -> dict[str, Any]:
    """The document, and in it the outcomes by format and policy."""
    called = call("explain", *arguments, "--json")
    assert (called.code, called.err) == (0, "")
    document: dict[str, Any] = json.loads(called.out)
    document["outcomes"] = {f"{one['log_format']} {one['unsafe']}".strip(): one for one in document["outcomes"]}
    return document


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {
        name: "refused" if one["refused"] else {True: "equal", False: "differs", None: "?"}[one["agrees"]]
        for name, one in document["outcomes"].items()
    }


UNSAFE = {
    "statement allow": "differs",
    "statement refuse": "refused",
    "statement pin": "equal",
    "statement mixed": "equal",
    "mixed": "equal",
    "logical": "equal",
    "wal": "equal",
}


def test_a_random_value_without_a_schema(call: Callable) -> None:
    document = explained(call, "INSERT INTO t(x) VALUES (random())")
    assert document["assumed"] == ["CREATE TABLE t (x)"]
    assert [(one["cause"], one["what"]) for one in document["causes"]] == [("random", "random()")]
    assert verdicts(document) == UNSAFE
    (difference,) = document["outcomes"]["statement allow"]["differences"]
    assert (difference["table"], difference["key"], difference["column"]) == ("t", "rowid=1", "x")
    assert difference["leader"] != difference["follower"]
    shown = call("explain", "INSERT INTO t(x) VALUES (random())").out
    assert "assumed: CREATE TABLE t (x)\n" in shown
    assert "unsafe as a statement: random\n" in shown


def test_a_time_that_hides_in_a_default(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text(NOTE)
    document = explained(call, "INSERT INTO note(text) VALUES ('tea')", "--schema", "schema.sql")
    assert document["assumed"] == []
    assert [(one["cause"], one["what"]) for one in document["causes"]] == [
        ("time", "CURRENT_TIMESTAMP in the DEFAULT of note.at")
    ]
    assert verdicts(document) == UNSAFE
    (difference,) = document["outcomes"]["statement allow"]["differences"]
    assert difference["column"] == "at"
    assert (
        "unsafe as a statement: time"
        in call("explain", "INSERT INTO note(text) VALUES (1)", "--schema", "schema.sql").out
    )


def test_an_open_order_cannot_be_pinned(call: Callable) -> None:
    document = explained(call, "DELETE FROM t WHERE x = (SELECT x FROM t LIMIT 1)")
    assert [one["cause"] for one in document["causes"]] == ["limit"]
    assert verdicts(document) == {**UNSAFE, "statement pin": "refused"}


def test_a_table_whose_largest_rowid_is_taken(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "full.sql").write_text(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (9223372036854775807, 1);"
    )
    document = explained(call, "INSERT INTO t (x) VALUES (1)", "--schema", "full.sql")
    assert [one["cause"] for one in document["causes"]] == ["random_rowid"]
    assert verdicts(document) == {**UNSAFE, "statement pin": "refused"}


def test_a_value_that_asks_for_the_time_when_it_is_used(call: Callable, tmp_path: Path) -> None:
    for name, value, causes in (("now", "now", ["time"]), ("then", "2000-01-01", [])):
        (tmp_path / f"{name}.sql").write_text(f"CREATE TABLE t (x, y); INSERT INTO t VALUES ('{value}', 0);")
        document = explained(call, "UPDATE t SET y = datetime(x)", "--schema", f"{name}.sql")
        assert [one["cause"] for one in document["causes"]] == causes
        assert verdicts(document) == (UNSAFE if causes else dict.fromkeys(UNSAFE, "equal"))


def test_equal_replicas_do_not_make_an_unsafe_statement_safe(call: Callable) -> None:
    sql = "INSERT INTO t(x) VALUES (sqlite_version())"
    document = explained(call, sql)
    assert [one["cause"] for one in document["causes"]] == ["engine"]
    assert verdicts(document)["statement allow"] == "equal"
    assert "equal only here" in call("explain", sql).out


def test_a_safe_statement_is_equal_everywhere(call: Callable) -> None:
    document = explained(call, "UPDATE t SET x = x + 1 WHERE id = 2")
    assert (document["safe"], document["causes"], document["changes"]) == (True, [], 1)
    assert document["assumed"] == ["CREATE TABLE t (id, x)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"]
    assert set(verdicts(document).values()) == {"equal"}


def test_sizes_are_those_of_the_body_and_of_the_entry(call: Callable) -> None:
    sql = "INSERT INTO t(x) VALUES ('Käse')"
    outcomes = explained(call, sql)["outcomes"]
    for one in outcomes.values():
        assert one["beyond_bytes"] == one["body_bytes"] - len(sql.encode())
        assert one["entry_bytes"] > one["body_bytes"]
    assert outcomes["wal"]["body_bytes"] > 4096 > outcomes["logical"]["body_bytes"]
    assert outcomes["logical"]["content"] == [{"table": "t", "operation": "INSERT", "new": {"rowid": 1, "x": "Käse"}}]
    assert outcomes["wal"]["content"][-1]["new"] == {"x": "Käse"}


def test_text_that_is_not_utf_8(call: Callable) -> None:
    outcomes = explained(call, "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))")["outcomes"]
    assert outcomes["logical"]["content"][0]["new"]["x"] == {"text": "/w=="}
    assert "not valid UTF-8" in outcomes["wal"]["content"][-1]["unknown"]


def test_several_statements_are_one_transaction(call: Callable) -> None:
    text = "BEGIN; CREATE TABLE n (at DEFAULT CURRENT_TIMESTAMP, x); INSERT INTO n (x) VALUES (1); COMMIT"
    document = explained(call, text)
    assert len(document["statements"]) == 2
    assert [one["cause"] for one in document["causes"]] == ["time"]
    assert verdicts(document) == UNSAFE
    assert "explained as one transaction of 2 statements" in call("explain", text).out


@pytest.mark.parametrize("sql", ["SELECT random() FROM t", "EXPLAIN INSERT INTO t VALUES (1)", "PRAGMA table_info(t)"])
def test_what_only_reads_is_not_replicated(call: Callable, sql: str) -> None:
    assert "Nothing is replicated: it only reads" in call("explain", sql).out
    document = explained(call, sql)
    assert (document["reads_only"], document["outcomes"]) == (True, {})


def test_a_schema_may_hold_what_a_policy_refuses(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE t (x, y); INSERT INTO t VALUES (random(), 1);")
    document = explained(call, "UPDATE t SET y = 2", "--schema", "schema.sql")
    assert set(verdicts(document).values()) == {"equal"}


MISTAKES = {
    "SELEC 1": 'near "SELEC": syntax error',
    "": 'there is no statement (workbench explain "INSERT INTO t(x) VALUES (random())")',
    "INSERT INTO t VALUES (?)": "the statement leaves values open, as parameters (write them into it: ... VALUES (1, "
    "'x'))",
    "INSERT INTO t VALUES ('never closed)": 'unrecognized token: "\'never closed)"',
    "INSERT INTO t VALUES (wonder(1))": "no such function: wonder",
    "INSERT INTO t(a) VALUES (1) ON CONFLICT(a) DO NOTHING": "ON CONFLICT clause does not match any PRIMARY KEY or "
    "UNIQUE constraint (give the tables with --schema FILE.sql)",
    "INSERT INTO other.t VALUES (1)": "no such table: other.t (give the tables with --schema FILE.sql)",
    "INSERT INTO t VALUES ('\udcff')": "the SQL is not valid UTF-8 (write bytes as x'ff')",
    "ATTACH 'x' AS y": "ATTACH and DETACH are refused: a replica has one database",
    "BEGIN": "transaction control is refused: send the statements together, as one transaction",
    "CREATE TEMP TABLE x (y)": "temporary objects are refused: they would exist on one replica only",
}


@pytest.mark.parametrize("sql", MISTAKES)
def test_what_cannot_be_executed_is_one_line(call: Callable, sql: str) -> None:
    called = call("explain", sql)
    assert (called.err, called.out, called.code) == (f"error: {MISTAKES[sql]}\n", "", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read schema.sql: No such file or directory"),
        (b"To whom it may concern", "schema.sql:1: no SQL statement begins with 'To' (is the file SQL?)"),
        (b"-- \xff\n", "schema.sql:1: not UTF-8: byte 0xff at column 4 (save it as UTF-8)"),
        (b"CREATE TABLE t (x);\nINSERT INTO u VALUES (1);", "schema.sql:2: no such table: u"),
        (b"CREATE TABLE u (x);", "no such table: t (with the tables of schema.sql)"),
    ],
)
def test_a_schema_that_cannot_be_used_is_one_line(
    call: Callable, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "schema.sql").write_bytes(content)
    called = call("explain", "INSERT INTO t VALUES (1)", "--schema", "schema.sql")
    assert (called.err, called.out, called.code) == (f"error: {message}\n", "", 2)


def test_nothing_is_left_behind(call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import apsw

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = apsw.vfs_names()
    call("explain", "INSERT INTO t(x) VALUES (random())")
    call("explain", "INSERT INTO t VALUES (wonder(1))")
    assert list(tmp_path.iterdir()) == []
    assert apsw.vfs_names()[0] == before[0], "another VFS than before is the default one now"


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_the_page_keeps_to_the_width(call: Callable, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = call("explain", "DELETE FROM t WHERE x = 1").out
    assert max(len(line.rstrip()) for line in shown.splitlines()[3:]) <= int(columns)
    words = " ".join(shown.split())
    assert [name for name in ("allow", "refuse", "pin", "mixed", "logical", "wal") if name not in words] == []
