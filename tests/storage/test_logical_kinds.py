"""Every kind of table, value and statement that the logical format carries: effects once, and equal digests."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tests.storage.replicas import Call, Replicas, rows
from workbench.log_formats.changesets import read_changes
from workbench.log_formats.logical import Changes, decode_body

COLUMNS = ", ".join(f"c{number}" for number in range(1_999))
MANY = "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n LIMIT 300) "

VALUES = (
    "9223372036854775807", "-9223372036854775808", "9007199254740993", "9e999", "-9e999", "9e999 - 9e999", "-0.0",
    "4.9e-324", "CAST(x'ff00fe' AS TEXT)", "x''", "x'000000'", "'a' || char(0) || 'b'", "''", "'ü'", "zeroblob(100000)",
)  # fmt: skip

CASES: dict[str, list[tuple[Call, ...]]] = {
    "cascades and deferred foreign keys": [
        (
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            """CREATE TABLE c (id INTEGER PRIMARY KEY, p INT DEFAULT 1 REFERENCES p ON DELETE CASCADE
                ON UPDATE SET DEFAULT DEFERRABLE INITIALLY DEFERRED)""",
            "CREATE TABLE d (c REFERENCES c (id) ON DELETE SET NULL)",
            "CREATE TABLE log (x)",
            "CREATE TRIGGER t AFTER DELETE ON c BEGIN INSERT INTO log VALUES (OLD.id); END",
        ),
        ("INSERT INTO c VALUES (1, 5), (2, 6)", "INSERT INTO p VALUES (5), (6), (1)", "INSERT INTO d VALUES (1), (2)"),
        ("DELETE FROM p WHERE id = 5",),
        ("UPDATE p SET id = 60 WHERE id = 6", "REPLACE INTO p VALUES (60)"),
    ],
    "triggers that go through views": [
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b)",
            "CREATE VIEW v AS SELECT a, b FROM t",
            "CREATE TRIGGER i INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (NEW.a, 1), (NEW.a + 1, NEW.b); END",
            "CREATE TRIGGER u INSTEAD OF UPDATE ON v BEGIN UPDATE t SET b = NEW.b WHERE a = OLD.a; END",
            "CREATE TRIGGER x INSTEAD OF DELETE ON v BEGIN DELETE FROM t WHERE a = OLD.a; END",
            "CREATE TRIGGER r AFTER UPDATE ON t WHEN NEW.b < 9 BEGIN UPDATE t SET b = b + 1 WHERE a > NEW.a; END",
        ),
        ("INSERT INTO v VALUES (1, 1), (5, 5)", "UPDATE v SET b = b + 1", "DELETE FROM v WHERE a = 2"),
    ],
    "generated columns": [
        (
            "CREATE TABLE g (a INTEGER PRIMARY KEY, b, c AS (b + 1), d AS (b * 2) STORED, UNIQUE (d))",
            "CREATE INDEX i ON g (c)",
        ),
        ("INSERT INTO g (a, b) VALUES (1, 1), (2, 2)", "UPDATE g SET b = b + 10"),
        ("ALTER TABLE g ADD COLUMN e AS (c + d)", "UPDATE g SET b = -b", "UPDATE g SET b = 23 + b"),
    ],
    "strict": [
        ("CREATE TABLE s (k TEXT PRIMARY KEY, i INT, r REAL, b BLOB, a ANY) STRICT",),
        ("INSERT INTO s VALUES ('a', 1, 2, x'00', 3), ('b', 2, 3.5, x'', 'x')", "UPDATE s SET i = i + 1, r = r * -0.0"),
    ],
    "full text": [
        (
            "CREATE VIRTUAL TABLE f USING fts5(a, b)",
            "CREATE VIRTUAL TABLE less USING fts5(a, content='')",
            "CREATE VIRTUAL TABLE deletable USING fts5(a, content='', contentless_delete=1)",
            "CREATE TABLE docs (id INTEGER PRIMARY KEY, t)",
            "CREATE VIRTUAL TABLE other USING fts5(t, content=docs, content_rowid=id)",
            "CREATE TRIGGER i AFTER INSERT ON docs BEGIN INSERT INTO other(rowid, t) VALUES (NEW.id, NEW.t); END",
            """CREATE TRIGGER d AFTER DELETE ON docs BEGIN
                INSERT INTO other(other, rowid, t) VALUES ('delete', OLD.id, OLD.t); END""",
        ),
        (
            "INSERT INTO f VALUES ('hello world', 'x'), ('foo', 'bar')",
            "INSERT INTO less(rowid, a) VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO deletable(rowid, a) VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO docs(t) VALUES ('alpha beta'), ('gamma')",
        ),
        (
            "DELETE FROM f WHERE f MATCH 'hello'",
            "DELETE FROM deletable WHERE rowid = 1",
            "DELETE FROM docs WHERE id = 1",
            "INSERT INTO f(f) VALUES ('optimize')",
        ),
        (
            "INSERT INTO f(f) VALUES ('rebuild')",
            "INSERT INTO other(other) VALUES ('rebuild')",
            "INSERT INTO f(f, rank) VALUES ('automerge', 4)",
            "INSERT INTO f(f, rank) VALUES ('merge', 500)",
            "INSERT INTO f VALUES ('in the same', 'transaction')",
        ),
        ("INSERT INTO less(less) VALUES ('delete-all')", "INSERT INTO f(f) VALUES ('integrity-check')"),
    ],
    "boxes": [
        ("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, +aux)",),
        ("INSERT INTO r VALUES (1, 0, 1, 'a'), (2, 5, 6, 'b')", "UPDATE r SET x1 = 9 WHERE id = 1"),
        (
            MANY + "INSERT INTO r SELECT i, i, i + 1, 'z' FROM n",
            "UPDATE r SET x0 = x0 - 1",
            "DELETE FROM r WHERE id % 3",
        ),
    ],
    "the schema, between changes of rows": [
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b, c)",
            "INSERT INTO t VALUES (1, 2, 3)",
            "CREATE INDEX i ON t (b)",
            "CREATE VIEW v AS SELECT b FROM t",
            "CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET c = c + 1 WHERE a = NEW.a; END",
        ),
        (
            "UPDATE t SET b = 5",
            "ALTER TABLE t RENAME TO u",
            "INSERT INTO u VALUES (2, 2, 2)",
            "ALTER TABLE u RENAME COLUMN b TO bb",
            "UPDATE u SET bb = 9",
            "ALTER TABLE u ADD COLUMN d DEFAULT 7 NOT NULL",
            "INSERT INTO u (a, d) VALUES (3, 3)",
            "DROP VIEW v",
            "DROP TRIGGER tr",
            "ALTER TABLE u DROP COLUMN c",
            "UPDATE u SET d = d + 1",
            "DROP INDEX i",
            "CREATE UNIQUE INDEX j ON u (d) WHERE d > 100",
            "REINDEX",
            "ANALYZE",
            "REINDEX u",
            "PRAGMA user_version = 5",
        ),
    ],
    "tables that go with their rows": [
        (
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE c (x REFERENCES p ON DELETE CASCADE)",
            "INSERT INTO p VALUES (1), (2)",
            "INSERT INTO c VALUES (1), (2)",
            "CREATE TABLE again (a INTEGER PRIMARY KEY AUTOINCREMENT, b)",
            "INSERT INTO again (b) VALUES (1), (2)",
        ),
        (
            "DELETE FROM p WHERE id = 1",
            "DROP TABLE p",
            "DROP TABLE again",
            "CREATE TABLE again (b TEXT NOT NULL PRIMARY KEY, a) WITHOUT ROWID",
            "INSERT INTO again VALUES ('x', 1)",
        ),
    ],
    "values": [
        ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "CREATE TABLE bare (v)", "CREATE TABLE u (k REAL, v UNIQUE)"),
        tuple(f"INSERT INTO {table}(v) VALUES ({value})" for value in VALUES for table in ("t", "bare", "u")),
        ("UPDATE t SET v = CAST(CAST(v AS BLOB) || x'ff' AS TEXT)", "UPDATE bare SET v = CAST(v AS TEXT)"),
        ("UPDATE u SET k = 2", "DELETE FROM t WHERE k % 2", "DELETE FROM bare WHERE rowid % 2"),
    ],
    "keys of all types": [
        (
            "CREATE TABLE b (k BLOB PRIMARY KEY NOT NULL, v)",
            "CREATE TABLE r (k REAL PRIMARY KEY NOT NULL, v)",
            "CREATE TABLE n (k NUMERIC PRIMARY KEY NOT NULL, v)",
            "CREATE TABLE w (a INT, b TEXT, c, PRIMARY KEY (b DESC, a)) WITHOUT ROWID",
        ),
        ("INSERT INTO b VALUES (x'', 1), (x'00', 2), ('', 3)", "UPDATE b SET k = x'0000' WHERE v = 2"),
        ("INSERT INTO r VALUES (1, 1), (2.5, 2), (9e999, 3)", "UPDATE r SET k = k + 1 WHERE v < 3"),
        ("INSERT INTO n VALUES (1.0, 1), ('2.50', 2), ('abc', 3), (-0.0, 4)", "UPDATE n SET k = k + 1 WHERE v < 3"),
        ("INSERT INTO w VALUES (1, 'x', 1), (2, 'x', 2), (1, 'y', 3)", "UPDATE w SET a = a + 5, b = 'z' WHERE c < 3"),
    ],
    "rowids that somebody chose": [
        ("CREATE TABLE t (a)",),
        ("INSERT INTO t(rowid, a) VALUES (-5, 1), (9223372036854775807, 2), (0, 3)", "INSERT INTO t(a) VALUES (4)"),
        ("UPDATE t SET rowid = rowid - 1 WHERE rowid < 10", "DELETE FROM t WHERE rowid = -6"),
    ],
    "two thousand columns": [
        (
            f"CREATE TABLE keyed (k INTEGER PRIMARY KEY, {COLUMNS})",
            f"CREATE TABLE bare ({COLUMNS})",
            f"CREATE TABLE nullable (k TEXT PRIMARY KEY, {COLUMNS})",
            f"CREATE TABLE nocase (k TEXT PRIMARY KEY COLLATE NOCASE, {COLUMNS})",
            f"CREATE TABLE uniq (k INTEGER PRIMARY KEY, {COLUMNS}, UNIQUE (c1))",
        ),
        (
            "INSERT INTO keyed (k, c5, c1998) VALUES (1, 5, 6), (2, 2, 2)",
            "INSERT INTO bare (c0, c7) VALUES (1, 2), (3, 4)",
            "INSERT INTO nullable (k, c3) VALUES (NULL, 1), ('a', 2)",
            "INSERT INTO nocase (k, c3) VALUES (NULL, 1), ('a', CAST(x'ff' AS TEXT))",
            "INSERT INTO uniq (k, c1, c9) VALUES (1, 1, CAST(x'ff' AS TEXT)), (2, 2, NULL), (3, 3, 3)",
        ),
        (
            "UPDATE keyed SET c1998 = CAST(x'fe' AS TEXT)",
            "DELETE FROM keyed WHERE k = 2",
            "UPDATE bare SET c7 = 9 WHERE c0 = 1",
            "DELETE FROM bare WHERE c0 = 3",
            "UPDATE nullable SET c1998 = 1",
            "UPDATE nullable SET k = NULL",
            "UPDATE nocase SET k = 'A' WHERE k = 'a'",
            "UPDATE uniq SET c1 = c1 + 10",
            "UPDATE uniq SET c1 = c1 - 9 WHERE c1 < 13",
            "UPDATE uniq SET c1 = 1, c9 = CAST(x'fd' AS TEXT) WHERE c1 = 13",
        ),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_effects_once(tmp_path: Path, name: str) -> None:
    replicas = Replicas(tmp_path, "logical")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    for calls in CASES[name]:
        replicas.do(leader, *calls)
        replicas.catch_up(follower)
        assert follower.digest() == leader.digest()
        assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    leader, follower = follower, leader  # and it can lead
    replicas.do(leader, "CREATE TABLE promoted (a)", "INSERT INTO promoted VALUES (1)", *_writes(CASES[name][-1]))
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def _writes(calls: tuple[Call, ...]) -> list[Call]:
    return [
        call
        for call in calls
        if str(call).startswith(("UPDATE u SET k", "DELETE FROM bare WHERE rowid", "UPDATE keyed"))
    ]


def test_a_table_too_wide_to_be_known_by_its_rowids(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "logical")
    reason = replicas.refusal(replicas.open("leader"), f"CREATE TABLE bare ({COLUMNS}, one_more)")
    assert reason == "bare has 2000 columns and no primary key: at most 1999 then"
    replicas.close()


def test_changes_are_read_as_apsw_reads_them(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "logical")
    leader = replicas.open("leader")
    for name in ("generated columns", "boxes", "rowids that somebody chose"):
        for calls in CASES[name]:
            replicas.do(leader, *calls)
    count = 0
    for entry in replicas.log:
        for part in decode_body(entry.body).parts:
            if isinstance(part, Changes):
                ours = [tuple(change) for change in read_changes(part.changeset)]
                theirs = [(c.name, c.op, c.old, c.new) for c in apsw.Changeset.iter(part.changeset)]
                assert ours == theirs
                count += len(ours)
    assert count > 100
    replicas.close()


def test_sequences_are_raised_by_what_raised_the_leaders_alone(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "logical")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    sequences = "SELECT name, seq FROM sqlite_sequence ORDER BY name"
    replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v)", "INSERT INTO t(v) VALUES (1), (2)")
    for sql in ("UPDATE t SET id = 100 WHERE v = 1", "INSERT INTO t(v) VALUES (3)", "DELETE FROM sqlite_sequence"):
        replicas.do(leader, sql)
        before = rows(follower, sequences) if follower.applied.index else ()
        replicas.catch_up(follower)
        assert rows(follower, sequences) == rows(leader, sequences)
        assert rows(follower, sequences) != before
        replicas.do(leader, "UPDATE t SET id = id + 1000 WHERE id = (SELECT max(id) FROM t)")  # raises no sequence
        replicas.catch_up(follower)
        assert rows(follower, sequences) == rows(leader, sequences)
    assert (
        follower.rewind(replicas.log[-3].position, replicas.log[:1:-1]) is False
    )  # made anew: nobody knows them any more
    replicas.close()
