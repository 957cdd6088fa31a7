"""Rows that changesets cannot hold: NULL in keys, keys that are equal without being the same, CREATE TABLE ... AS."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Call, Replicas, rows, transaction
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.logical import Changes, LogicalBody, RowImages, SchemaChange, decode_body
from workbench.protocol.values import Entry, Position


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path, "logical")


def check(replicas: Replicas) -> None:
    """The follower has what the leader has, after a promotion, too."""
    leader, follower = replicas.stores["leader"], replicas.stores["follower"]
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)


def test_rows_with_null_in_their_key_travel(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE t (a TEXT PRIMARY KEY, b)",
        'CREATE TABLE "it\'s ""two""" (a TEXT, b INT, PRIMARY KEY (b, a))',
        "CREATE TABLE backwards (id INTEGER PRIMARY KEY DESC, b)",
        "INSERT INTO t VALUES ('x', 1), (NULL, 2), (NULL, 2), (NULL, 3)",
    )
    check(replicas)
    replicas.do(leader, "INSERT INTO backwards(b) VALUES (1)", 'INSERT INTO "it\'s ""two""" VALUES (1, NULL)')
    check(replicas)
    replicas.do(leader, "UPDATE t SET a = NULL WHERE b = 1", "UPDATE t SET a = 'y' WHERE b = 3")
    check(replicas)
    replicas.do(leader, "UPDATE t SET b = b + 1", "DELETE FROM t WHERE rowid = 2", "UPDATE backwards SET id = 7")
    check(replicas)
    replicas.do(
        leader,
        "INSERT INTO t VALUES (NULL, 'gone')",
        "ALTER TABLE t RENAME TO u",
        "CREATE TABLE t (a TEXT PRIMARY KEY)",
        "ALTER TABLE u RENAME COLUMN a TO key",
        "INSERT INTO u VALUES (NULL, CAST(x'ff00' AS TEXT)), (NULL, x'ff00'), (NULL, 2.0), (NULL, 2)",
        "ALTER TABLE u ADD COLUMN c DEFAULT 'c'",
        "INSERT INTO t VALUES (NULL)",
        "ALTER TABLE u DROP COLUMN b",
        "UPDATE u SET c = 'd' WHERE rowid % 2",
    )
    check(replicas)
    replicas.do(follower, "INSERT INTO u VALUES (NULL, 'promoted')", "DELETE FROM u WHERE c = 'd'")
    replicas.catch_up(leader)
    assert follower.digest() == leader.digest()
    replicas.do(leader, "ALTER TABLE u DROP COLUMN c", "DROP TABLE t", "INSERT INTO u VALUES (NULL)")
    check(replicas)


def test_rows_that_replace_deletes_unseen_travel(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        """CREATE TABLE t (a TEXT PRIMARY KEY, u UNIQUE, v COLLATE NOCASE UNIQUE ON CONFLICT REPLACE,
            w NOT NULL DEFAULT 'w', x AS (w || '!'))""",
        "CREATE UNIQUE INDEX i ON t (w COLLATE RTRIM) WHERE w <> 'w'",
        "CREATE UNIQUE INDEX j ON t (x) WHERE x <> 'w!'",
        "INSERT INTO t VALUES (NULL, 1, 'one', 'a'), (NULL, 2, 'two', 'b'), (NULL, 3, '3', 'c'), ('k', 4, 4, 'd')",
    )
    check(replicas)
    for sql in (
        "INSERT OR REPLACE INTO t VALUES ('x', 1, 'other', 'e')",
        "INSERT INTO t VALUES ('y', 9, 'TWO', 'f')",
        "UPDATE OR REPLACE t SET w = 'c ' WHERE a = 'k'",
        "INSERT OR REPLACE INTO t(rowid, a, u, w) SELECT rowid, 'z', 77, 'g' FROM t WHERE a = 'k'",
        "INSERT INTO t VALUES (NULL, 20, '20', 'w'), (NULL, 21, '21', 'w')",
        "REPLACE INTO t VALUES (NULL, 20, '21', NULL)",
        "UPDATE OR REPLACE t SET rowid = (SELECT rowid FROM t WHERE a IS NULL) WHERE a = 'x'",
    ):
        before = leader.digest()
        replicas.do(leader, sql)
        assert leader.digest() != before
        check(replicas)


def test_keys_that_are_equal_and_not_the_same_travel(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE names (k TEXT PRIMARY KEY COLLATE NOCASE, v)",
        "CREATE TABLE compact (k TEXT COLLATE RTRIM, n INT, v, PRIMARY KEY (k, n)) WITHOUT ROWID",
        "INSERT INTO names VALUES ('a', 1), ('b', 2), (NULL, 3)",
        "INSERT INTO compact VALUES ('a', 1, 1), ('a', 2, 2)",
    )
    check(replicas)
    for calls in (
        ("UPDATE names SET k = 'A' WHERE k = 'a'",),
        ("DELETE FROM names WHERE k = 'b'", "INSERT INTO names VALUES ('B', 5)"),
        ("UPDATE names SET k = 'a'  WHERE k = 'a'", "UPDATE names SET k = 'A' WHERE k = 'a'"),
        ("INSERT INTO names VALUES ('c', 1)", "UPDATE names SET k = 'C' WHERE k = 'c'"),
        ("REPLACE INTO names VALUES ('c', 7)",),
        ("UPDATE compact SET k = 'a  ' WHERE n = 1",),
        ("UPDATE compact SET k = 'a' WHERE n = 1", "UPDATE compact SET k = 'a ' WHERE n = 1"),
        ("REPLACE INTO compact VALUES ('a   ', 2, 8)",),
        ("UPDATE compact SET n = n + 10", "DELETE FROM compact WHERE n = 12"),
    ):
        replicas.do(leader, *calls)
        check(replicas)
    replicas.do(
        leader, "CREATE TABLE untyped (k PRIMARY KEY, v)", "INSERT INTO untyped VALUES (1, 1), (1.5, 2), (9e999, 3)"
    )
    assert "real number that equals an integer" in replicas.refusal(leader, "UPDATE untyped SET k = 1.0 WHERE k = 1")
    assert "real number that equals an integer" in replicas.refusal(leader, "INSERT INTO untyped VALUES (7.0, 1)")
    check(replicas)


def test_columns_with_the_names_of_rowids(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE TABLE one (_rowid_, v)", "CREATE TABLE two (rowid, v)", "CREATE TABLE three (rowid, oid, v)"
    )
    for table, columns in (("one", 2), ("two", 2), ("three", 3)):
        replicas.do(leader, f"INSERT INTO {table} VALUES {', '.join(str((n,) * columns) for n in range(5))}")
        replicas.do(leader, f"UPDATE {table} SET v = 'x' WHERE v > 2", f"DELETE FROM {table} WHERE v = 1")
        check(replicas)
    replicas.do(
        leader,
        "CREATE TABLE keyed (rowid INT, oid INT, _rowid_ INTEGER PRIMARY KEY)",
        "INSERT INTO keyed VALUES (1, 2, 3)",
    )
    check(replicas)
    assert "hide its rowid" in replicas.refusal(leader, "CREATE TABLE four (rowid, oid, _rowid_)")
    replicas.do(leader, "INSERT INTO three VALUES (1, 2, 3)")
    check(replicas)


def test_create_table_as_brings_its_rows(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES (5, 'x'), (7, NULL)")
    replicas.do(leader, "CREATE TABLE u AS SELECT a, b, CAST(x'ff' AS TEXT) AS c, x'' AS d, 9e999 AS e FROM t")
    kinds = [type(part) for part in decode_body(replicas.log[-1].body).parts]
    assert kinds == [SchemaChange, Changes]
    check(replicas)
    replicas.do(leader, "UPDATE u SET b = 'y' WHERE a = 7", "DELETE FROM u WHERE a = 5")
    check(replicas)
    replicas.do(
        leader, "CREATE TABLE IF NOT EXISTS u AS SELECT * FROM t", 'CREATE TABLE "it\'s ""as" AS VALUES (1), (2)'
    )
    replicas.do(leader, "CREATE TABLE none AS SELECT * FROM t WHERE 0", "CREATE TABLE g (a, b AS (a + 1))")
    replicas.do(leader, "INSERT INTO none VALUES (1, 2)", "INSERT INTO g VALUES (1)")
    check(replicas)
    assert replicas.write(leader, transaction("CREATE TABLE v AS SELECT 1", "SELEC")).members == ()
    assert "hide its rowid" in replicas.refusal(leader, "CREATE TABLE v AS SELECT 1 AS rowid, 2 AS oid, 3 AS _rowid_")
    replicas.write(
        leader, transaction("INSERT INTO t VALUES (8, 'z')"), transaction("CREATE TABLE w AS SELECT * FROM t")
    )
    check(replicas)


def test_what_could_not_be_captured_is_refused_when_the_schema_becomes_so(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE TABLE t (k TEXT PRIMARY KEY, v)", "CREATE TABLE n (k TEXT PRIMARY KEY COLLATE NOCASE, v)"
    )
    replicas.do(leader, "INSERT INTO t VALUES (NULL, 1)")
    assert "NULL in its primary key" in replicas.refusal(leader, "CREATE UNIQUE INDEX i ON t (lower(v))")
    assert "bytes of a key" in replicas.refusal(leader, "CREATE UNIQUE INDEX i ON n (lower(v))")
    replicas.do(leader, "DELETE FROM t", "CREATE UNIQUE INDEX i ON t (lower(v))")
    assert "must have a key" in replicas.refusal(leader, "INSERT INTO t VALUES (NULL, 1)")
    assert "must have a key" in replicas.refusal(leader, "INSERT OR IGNORE INTO t(v) VALUES (1)")
    replicas.do(leader, "INSERT INTO t VALUES ('x', 1)", "INSERT OR REPLACE INTO t VALUES ('y', 1)")
    full_text = "CREATE VIRTUAL TABLE f USING fts5(v, content='t')"
    assert "by their rowid" in replicas.refusal(leader, full_text)
    replicas.do(leader, "CREATE TABLE good (id INTEGER PRIMARY KEY, v)", full_text.replace("'t'", "good"))
    check(replicas)


def test_images_that_do_not_fit_are_divergence(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a TEXT PRIMARY KEY, b)", "CREATE TABLE plain (a INTEGER PRIMARY KEY)")
    replicas.do(leader, "INSERT INTO t VALUES (NULL, 1)")
    replicas.catch_up(follower)
    before = follower.digest()
    for part, message in (
        (RowImages("t", ((None, 2),), ()), "no such row"),
        (RowImages("t", ((None, 1.0),), ()), "no such row"),
        (RowImages("t", ((None, 1), (None, 1)), ()), "no such row"),
        (RowImages("t", ((None, 1),) * 30, ()), "no such row"),
        (RowImages("t", (), ((None, 1, 2),)), "3 stored columns"),
        (RowImages("t", (), (("x", 1), ("x", 1))), "UNIQUE"),
        (RowImages("plain", (), ((1,),)), "known by images"),
        (RowImages("nowhere", (), ((1,),)), "known by images"),
    ):
        with pytest.raises(DivergedError, match=message):
            follower.apply([Entry(1, 3, "logical", (), encoded(RowImages("t", (), ((None, 5),)), part))])
        assert follower.digest() == before
    values: tuple[object, ...] = (True, [b"x", b"y"], ["x"], {}, 2**63)
    for value in values:
        with pytest.raises(CodecError):
            follower.apply([Entry(1, 3, "logical", (), encoded(RowImages("t", (), ((None, value),))))])


def encoded(*parts: RowImages) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(LogicalBody(parts))


def test_a_rewind_takes_images_back(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a TEXT PRIMARY KEY, b)", "CREATE TABLE n (k TEXT PRIMARY KEY COLLATE NOCASE)")
    replicas.do(leader, "INSERT INTO t VALUES (NULL, 1), ('x', 2)", "INSERT INTO n VALUES ('a')")
    replicas.catch_up(follower)
    before = follower.digest()
    replicas.do(leader, "UPDATE t SET a = NULL", "UPDATE n SET k = 'A'", "INSERT INTO t VALUES (NULL, 7)")
    replicas.do(leader, "DELETE FROM t WHERE b = 1")
    replicas.catch_up(follower)
    assert follower.rewind(Position(1, 2), reversed(replicas.log[2:]))
    assert follower.digest() == before


VALUES = (None, None, 0, 1, 2, "a", "A", "a ", "b", 1.5, b"a", 2**62)


def random_call(random: Random) -> Call:
    table = random.choice(("nullable", "nocase", "compact", "pair"))
    a, b, c = (random.choice(VALUES) for _ in range(3))
    verb = random.choice(("INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR REPLACE"))
    update = random.choice(("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"))
    column, other = random.choice("abc"), random.choice("abc")
    choices: list[Call] = [
        (f"{verb} INTO {table}(a, b, c) VALUES (?, ?, ?)", (a, b, c)),
        (f"{update} {table} SET {column} = ? WHERE {other} IS ?", (a, b)),
        (f"{update} {table} SET {column} = {other}, {other} = ?", (a,)),
        (f"DELETE FROM {table} WHERE {column} IS ?", (a,)),
        (
            f"INSERT INTO {table}(a, b, c) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET {column} = excluded.{other}",
            (a, b, c),
        ),
    ]
    if table != "compact":
        choices.append(
            (f"INSERT OR REPLACE INTO {table}(rowid, a, b, c) VALUES (?, ?, ?, ?)", (random.randrange(1, 9), a, b, c))
        )
        choices.append((f"UPDATE OR REPLACE {table} SET rowid = ? WHERE {column} IS ?", (random.randrange(1, 9), a)))
    return random.choice(choices)


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_of_such_rows(replicas: Replicas, seed: int) -> None:
    random = Random(seed)
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE nullable (a TEXT PRIMARY KEY, b UNIQUE, c)",
        "CREATE TABLE nocase (a TEXT PRIMARY KEY COLLATE NOCASE, b, c UNIQUE)",
        "CREATE TABLE compact (a TEXT COLLATE RTRIM PRIMARY KEY, b UNIQUE COLLATE NOCASE, c) WITHOUT ROWID",
        "CREATE TABLE pair (a TEXT, b TEXT, c, PRIMARY KEY (a, b))",
        "CREATE TABLE log (x)",
        "CREATE TRIGGER u AFTER UPDATE ON nullable WHEN NEW.c = 1 BEGIN UPDATE nocase SET b = 1 WHERE a = NEW.b; END",
        "CREATE TRIGGER ts BEFORE DELETE ON pair BEGIN UPDATE nullable SET a = NULL WHERE a = OLD.a; END",
    )
    replicas.catch_up(follower)
    for step in range(60):
        group = [
            transaction(*(random_call(random) for _ in range(random.choice((1, 1, 3)))), sequence=number)
            for number in range(random.choice((1, 4, 12)))
        ]
        replicas.write(leader, *group)
        before = follower.digest()
        applied = follower.applied
        replicas.catch_up(follower)
        assert follower.digest() == leader.digest(), f"seed {seed}, step {step}"
        if follower.applied != applied:
            assert follower.rewind(applied, reversed(replicas.log[applied.index :])), f"seed {seed}, step {step}"
            assert follower.digest() == before, f"seed {seed}, step {step}"
            replicas.catch_up(follower)
        if random.random() < 0.1:
            leader, follower = follower, leader
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)


def test_tables_that_change_their_names_with_one_another_keep_their_own_triggers(replicas: Replicas) -> None:
    leader, _ = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, gone)",
        "CREATE TABLE u (k TEXT PRIMARY KEY COLLATE NOCASE, v UNIQUE)",
        "CREATE TABLE bare (a, b)",
        "INSERT INTO t(k) VALUES (NULL), ('a')",
        "INSERT INTO u VALUES ('a', 1)",
        "INSERT INTO bare VALUES (1, 2)",
    )
    renames = ("ALTER TABLE t RENAME TO x", "ALTER TABLE u RENAME TO t", "ALTER TABLE x RENAME TO u")
    rows_ = (
        "UPDATE t SET k = 'A'",
        "UPDATE u SET v = 1",
        "UPDATE bare SET a = a + 1",
        "INSERT INTO u(k) VALUES (NULL)",
    )
    assert not replicas.write(leader, transaction(*renames, *rows_, "SELEC")).members  # undone, and right again
    replicas.do(leader, "INSERT INTO t(k) VALUES (NULL)", "UPDATE u SET k = 'A'", "UPDATE bare SET b = 3")
    check(replicas)
    replicas.do(leader, *renames, *rows_)
    check(replicas)
    replicas.do(leader, "ALTER TABLE u DROP COLUMN gone", "CREATE UNIQUE INDEX i ON u (v) WHERE v > 1", *rows_)
    check(replicas)
    replicas.do(
        leader, "DROP INDEX i", "ALTER TABLE bare RENAME COLUMN a TO c", "UPDATE bare SET c = 9", "DROP TABLE t"
    )
    check(replicas)
