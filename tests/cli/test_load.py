"""`workbench load` on real clusters: a script that is awkward to read, in each log format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """-- a shop; its comments have semicolons
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL);
/* two; more */ INSERT INTO item (name, price) VALUES ('semi;colon', 1.5);
BEGIN;
INSERT INTO item (name, price) VALUES ('Käse -- kein Kommentar', 2.0);
UPDATE item SET price = price * 2;
COMMIT;
INSERT INTO item (name, price) VALUES ('it''s', 0);
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write_file(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return name

    return write_file


@pytest.mark.parametrize("log_format", ["statement", "wal", "logical"])
def test_a_script_reaches_every_replica(call: Callable, write: Callable, log_format: str) -> None:
    name = write("shop.sql", b"\xef\xbb\xbf" + SCRIPT.encode())
    called = call("load", name, "--log-format", log_format, "--followers", "2", "--json")
    document = json.loads(called.out)
    assert called.code == 0
    assert document["log_format"] == log_format
    assert (document["statements"], document["transactions"], document["entries"]) == (5, 4, 4)
    assert document["converged"] is True
    assert set(document["digests"]) == set(document["positions"]) == {"replica-1", "replica-2", "replica-3"}
    digests = {replica["item"] for replica in document["digests"].values()}
    assert len(digests) == 1
    assert document["rows_changed"] == 5
    assert document["seconds"] > 0


def test_divergence_is_exit_code_1(call: Callable, write: Callable) -> None:
    name = write("dice.sql", b"CREATE TABLE dice (x); INSERT INTO dice VALUES (random());")
    called = call("load", name, "--log-format", "statement", "--followers", "1")
    assert "DIVERGED: replica-2 differs from replica-1 in dice" in called.out
    assert called.code == 1


def test_a_policy_decides_what_becomes_of_unsafe_statements(call: Callable, write: Callable) -> None:
    name = write("dice.sql", b"CREATE TABLE dice (x); INSERT INTO dice VALUES (random());")
    pinned = call("load", name, "--log-format", "statement", "--unsafe", "pin", "--followers", "1", "--json")
    assert (pinned.code, json.loads(pinned.out)["unsafe"]) == (0, "pin")
    refused = call("load", name, "--log-format", "statement", "--unsafe", "refuse", "--followers", "0")
    assert refused.code == 2
    assert "dice.sql:1: random() may differ between replicas" in refused.err.splitlines()[-1]
    wrong = call("load", name, "--log-format", "wal", "--unsafe", "pin")
    assert "only the statement format has unsafe statements" in wrong.err
    assert "unknown unsafe policy 'pinn'" in call("load", name, "--log-format", "statement", "--unsafe", "pinn").err


def test_a_refused_statement_is_named_by_file_and_line(call: Callable, write: Callable) -> None:
    name = write("bad.sql", b"CREATE TABLE a (x);\n\nINSERT INTO b VALUES (1);\n")
    called = call("load", name, "--followers", "0")
    assert called.err.splitlines()[-1] == "error: bad.sql:3: no such table: b (1 statement before it took effect)"
    assert (called.out, called.code) == ("", 2)


def test_a_mistake_in_the_last_line_starts_nothing(call: Callable, write: Callable) -> None:
    name = write("cut.sql", b"CREATE TABLE a (x);\nINSERT INTO a VALUES ('never closed);\n")
    called = call("load", name)
    assert called.err == "error: cut.sql:2: a string begins here that is never closed\n"
    assert called.code == 2


def test_an_empty_script_proves_nothing(call: Callable, write: Callable) -> None:
    called = call("load", write("empty.sql", b"-- nothing\n"))
    assert called.err == "error: empty.sql holds no statement (a statement ends with a semicolon)\n"
    assert called.code == 2


def test_a_dump_of_the_sqlite_shell_can_be_loaded(call: Callable, write: Callable) -> None:
    dump = b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a(x);\nINSERT INTO a VALUES(1);\nCOMMIT;\n"
    called = call("load", write("dump.sql", dump), "--followers", "1", "--json")
    document = json.loads(called.out)
    assert document["skipped"] == ["dump.sql:1"]
    assert (document["statements"], document["converged"], called.code) == (2, True, 0)


def test_a_replica_on_another_engine_is_compared_with_the_others(call: Callable, write: Callable) -> None:
    script = SCRIPT + "CREATE VIRTUAL TABLE place USING rtree(id, a, b); INSERT INTO place VALUES (1, 2, 3);"
    called = call("load", write("shop.sql", script.encode()), "--followers", "1", "--engine", "duckdb", "--json")
    document = json.loads(called.out)
    assert (document["converged"], called.code) == (True, 0)
    observer = document["digests"][document["observer"]]
    assert observer["item"] == document["digests"]["replica-1"]["item"]
    assert set(document["left_out"]) == {"place", "(schema)"}
    assert "module rtree" in document["left_out"]["place"]


def test_a_dialect_that_the_other_engine_does_not_speak_is_divergence(call: Callable, write: Callable) -> None:
    name = write("dialect.sql", b"CREATE TABLE a (x INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO a VALUES (1);")
    called = call("load", name, "--followers", "0", "--engine", "duckdb", "--log-format", "statement")
    assert "DuckDB cannot execute 'CREATE TABLE a (x INTEGER PRIMARY KEY AUTOINCREMENT)'" in called.out
    assert "at line 1, character 39" in called.out
    assert called.code == 1


def test_an_engine_that_cannot_follow_pages_is_refused_with_the_reason(call: Callable, write: Callable) -> None:
    name = write("shop.sql", SCRIPT.encode())
    called = call("load", name, "--followers", "0", "--engine", "duckdb", "--log-format", "wal")
    assert "wal log format, duckdb, page size 4096; this cluster has wal log format, sqlite" in called.err
    assert called.code != 0


def test_a_missing_engine_says_what_to_install(
    call: Callable, write: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.storage.engines.find_spec", lambda _name: None)
    called = call("load", write("shop.sql", SCRIPT.encode()), "--engine", "duckdb")
    hint = "install the extra: pip install 'replication-workbench[duckdb]'"
    assert called.err == f"error: the package duckdb is not installed ({hint})\n"
    assert called.code == 2
