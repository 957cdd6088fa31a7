"""Which statements are unsafe, and why: each cause as it looks, and what looks like it but is safe."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from workbench.log_formats.causes import REASONS, Cause
from workbench.log_formats.nondeterminism import Unsafe, analyse, examine

SCHEMA = (
    "CREATE TABLE t (a, b)",
    "CREATE TABLE k (id INTEGER PRIMARY KEY, x UNIQUE NOT NULL, y)",
    "CREATE TABLE nocase (x TEXT COLLATE NOCASE NOT NULL, y)",
    "CREATE UNIQUE INDEX nocase_x ON nocase (x COLLATE BINARY)",
    "CREATE TABLE nullable (x UNIQUE, y)",
    "CREATE TABLE typed (n INTEGER, s TEXT COLLATE NOCASE)",
    "CREATE TABLE au (id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
    "CREATE TABLE w (a PRIMARY KEY, b) WITHOUT ROWID",
    "CREATE TABLE d (a, b DEFAULT CURRENT_TIMESTAMP, c DEFAULT (random()))",
    "CREATE TABLE g (a, b AS (a + 1), c CHECK (c <> random()))",
    "CREATE TABLE local (a, b AS (datetime(a, 'localtime')))",
    "CREATE TABLE replacing (x UNIQUE ON CONFLICT REPLACE)",
    "CREATE TABLE logged (id INTEGER PRIMARY KEY, n)",
    "CREATE TRIGGER log_update AFTER UPDATE ON logged BEGIN INSERT INTO au(x) VALUES (NEW.n); END",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY, n)",
    "CREATE TRIGGER count_insert AFTER INSERT ON counted BEGIN UPDATE k SET y = y + 1 WHERE id = 1; END",
    "CREATE TRIGGER last_delete AFTER DELETE ON counted BEGIN UPDATE k SET y = OLD.n WHERE id = 1; END",
    "CREATE TABLE marked (id INTEGER PRIMARY KEY, n)",
    "CREATE TRIGGER mark AFTER INSERT ON marked BEGIN INSERT INTO w VALUES (NEW.id, random()); END",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, x)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE)",
    "CREATE TRIGGER child_gone AFTER DELETE ON child BEGIN INSERT INTO t VALUES (OLD.id, 0); END",
    "CREATE VIEW dice AS SELECT x, random() AS eyes FROM k",
    "CREATE VIEW few AS SELECT x FROM k LIMIT 2",
    "CREATE VIEW best AS SELECT x FROM k ORDER BY id DESC LIMIT 2",
    "CREATE VIRTUAL TABLE doc USING fts5(words)",
)

FOUND: dict[Cause, tuple[str, ...]] = {
    Cause.RANDOM: (
        "INSERT INTO t(a) VALUES (random())",
        "INSERT INTO t(a) VALUES (RandomBlob(4))",
        "INSERT INTO d(a) VALUES (1)",
        "INSERT INTO g(a, c) VALUES (1, 2)",
        "INSERT INTO marked VALUES (1, 2)",
        "INSERT INTO w SELECT x, eyes FROM dice",
        "UPDATE k SET y = 1 WHERE id = 1 AND random() > 0",
        "DELETE FROM k WHERE id = 3 AND y < (SELECT random())",
    ),
    Cause.TIME: (
        "INSERT INTO t(a) VALUES (datetime('now'))",
        "INSERT INTO t(a) VALUES (datetime('NOW', '-1 day'))",
        "INSERT INTO t(a) VALUES (date())",
        "INSERT INTO t(a) VALUES (strftime('%s'))",
        "INSERT INTO t(a) VALUES (unixepoch('subsec'))",
        "INSERT INTO t(a) VALUES (timediff('2020-01-01', 'now'))",
        "INSERT INTO t(a) VALUES (CURRENT_DATE)",
        "INSERT INTO d(a, c) VALUES (1, 2)",
        "INSERT INTO t(a) VALUES (datetime('2020-01-01', 'localtime'))",
        "INSERT INTO t(a) VALUES (datetime('2020-01-01', ?))",
    ),
    Cause.SESSION_STATE: (
        "INSERT INTO t(a) VALUES (changes())",
        "UPDATE t SET a = total_changes()",
        "INSERT INTO t(a) VALUES (last_insert_rowid())",
    ),
    Cause.LIMIT: (
        "DELETE FROM t WHERE a IN (SELECT x FROM k LIMIT 1)",
        "DELETE FROM t WHERE a IN (SELECT x FROM k ORDER BY y LIMIT 1)",
        "INSERT INTO w(a) SELECT x FROM k LIMIT 3",
        "INSERT INTO w(a) SELECT x FROM nullable ORDER BY x LIMIT 3",
        "INSERT INTO w(a) SELECT x FROM nocase ORDER BY x LIMIT 3",
        "INSERT INTO w(a) SELECT k.x FROM k JOIN t ON t.a = k.y ORDER BY k.id LIMIT 3",
        "INSERT INTO w(a) SELECT abs(id) AS id FROM k ORDER BY id LIMIT 3",
        "INSERT INTO w(a) SELECT x FROM few",
        "UPDATE t SET a = (SELECT x FROM k WHERE k.y = t.b)",
        "INSERT INTO t(a) VALUES ((SELECT x FROM k))",
        "WITH k AS (SELECT a AS id, b AS x FROM t) INSERT INTO w(a) SELECT x FROM k ORDER BY id LIMIT 1",
    ),
    Cause.GENERATED_KEYS: (
        "INSERT INTO t SELECT x, y FROM k",
        "INSERT INTO t SELECT x, y FROM k ORDER BY y",
        "INSERT INTO t SELECT x, y FROM k WHERE id IN (3, 1)",
        "INSERT INTO t SELECT x, y FROM k WHERE id = 3 OR x = 4",
        "INSERT INTO t SELECT DISTINCT x, 1 FROM k ORDER BY x",
        "INSERT INTO t SELECT x, 1 FROM k UNION SELECT a, 1 FROM t",
        "INSERT INTO t SELECT y, 1 FROM k GROUP BY y",
        "INSERT INTO au(x) SELECT x FROM k",
        "INSERT INTO doc(words) SELECT x FROM k",
        "INSERT INTO k(id, x) SELECT a, b FROM t",
        "CREATE TABLE new AS SELECT x FROM k",
    ),
    Cause.TRIGGER_KEYS: (
        "UPDATE logged SET n = 1",
        "DELETE FROM counted WHERE n > 3",
        "DELETE FROM parent WHERE x = 1",
    ),
    Cause.CONFLICT_ORDER: (
        "INSERT OR IGNORE INTO w(a) SELECT y FROM k",
        "INSERT OR REPLACE INTO w(a) SELECT y FROM k",
        "REPLACE INTO w(a) SELECT y FROM k",
        "INSERT INTO w(a) SELECT y FROM k WHERE 1 ON CONFLICT DO UPDATE SET b = 1",
        "INSERT INTO replacing SELECT y FROM k",
        "UPDATE OR IGNORE w SET b = 1",
        "UPDATE k SET x = x + 1",
        "UPDATE k SET id = id + 1",
        "UPDATE t SET a = (SELECT count(*) FROM t AS other WHERE other.a < t.a)",
    ),
    Cause.SEVERAL_MATCHES: (
        "UPDATE t SET a = k.x FROM k WHERE k.y = t.b",
        "UPDATE t SET a = other.b FROM t AS other WHERE other.a = t.b",
    ),
    Cause.AGGREGATE_ORDER: (
        "INSERT INTO t(a) SELECT group_concat(x) FROM k",
        "INSERT INTO t(a) SELECT group_concat(x, ',' ORDER BY y) FROM k",
        "INSERT INTO t(a) SELECT json_group_array(x) FROM k",
        "INSERT INTO t(a) SELECT sum(y) FROM k",
        "INSERT INTO t(a) SELECT max(y) FROM k",
        "INSERT INTO w(a) SELECT DISTINCT y FROM k",
        "INSERT INTO w(a, b) SELECT y, count(*) FROM k GROUP BY y",
        "INSERT INTO t(a) SELECT min(s) FROM typed",
        "INSERT INTO t(a) SELECT x FROM k GROUP BY y",
        "INSERT INTO t(a, b) SELECT x, max(y) FROM k",
        "INSERT INTO w(a, b) SELECT id, row_number() OVER (ORDER BY y) FROM k",
    ),
    Cause.ENGINE: ("INSERT INTO t(a) VALUES (sqlite_version())", "INSERT INTO t(a) VALUES (sqlite_source_id())"),
    Cause.PHYSICAL: (
        "INSERT INTO t(a) SELECT page_count FROM pragma_page_count",
        "INSERT INTO t(a) SELECT max(pageno) FROM dbstat",
        "INSERT INTO t(a) SELECT max(rootpage) FROM sqlite_schema",
    ),
}

SAFE = (
    "SELECT random(), datetime('now') FROM k LIMIT 1",
    "EXPLAIN INSERT INTO t VALUES (random(), 1)",
    "INSERT INTO t VALUES (1, 2), ('random()', '-- datetime(''now'')')",
    "INSERT INTO t(a) VALUES (?), (abs(?))",
    "INSERT INTO d VALUES (1, 2, 3)",
    "CREATE TABLE new (a DEFAULT (random()), b DEFAULT CURRENT_TIMESTAMP)",
    "INSERT INTO t(a) VALUES (date('2020-01-01')), (strftime('%s', 0)), (julianday(2451545))",
    "INSERT INTO t(a) VALUES (date('2020-01-01', '+1 day'))",
    "INSERT INTO w(a) SELECT x FROM k ORDER BY id LIMIT 3",
    "INSERT INTO w(a) SELECT k.x FROM k ORDER BY y, k.x DESC LIMIT 3",
    "INSERT INTO w(a) SELECT a FROM t ORDER BY rowid LIMIT 1 OFFSET 3",
    "INSERT INTO w(a) SELECT x FROM k WHERE id = 3 LIMIT 1",
    "INSERT INTO w(a) SELECT count(*) FROM k LIMIT 1",
    "INSERT INTO w(a) SELECT x FROM best",
    "DELETE FROM t WHERE EXISTS (SELECT 1 FROM k WHERE k.x = t.a LIMIT 1)",
    "UPDATE t SET a = (SELECT y FROM k WHERE k.id = t.b)",
    "UPDATE t SET a = (SELECT max(x) FROM k WHERE k.y = t.b)",
    "INSERT INTO t(a) SELECT max(n) FROM typed",
    "UPDATE t SET a = (SELECT y FROM k ORDER BY x LIMIT 1)",
    "INSERT INTO t SELECT x, y FROM k ORDER BY id",
    "INSERT INTO t SELECT x, y FROM k WHERE x = 4",
    "INSERT INTO k(id, x) SELECT rowid, a FROM t",
    "INSERT INTO w SELECT x, y FROM k",
    "INSERT INTO t SELECT value, 1 FROM json_each('[1, 2]')",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 5) INSERT INTO t SELECT i, i FROM r",
    "CREATE TABLE new AS SELECT x FROM k ORDER BY id",
    "UPDATE logged SET n = 1 WHERE id = 4",
    "INSERT INTO counted(id, n) SELECT id, x FROM parent",
    "DELETE FROM counted WHERE id = 3",
    "DELETE FROM child WHERE id = 3",
    "INSERT OR IGNORE INTO w(a) VALUES (1), (1)",
    "INSERT OR REPLACE INTO w(a) SELECT y FROM k ORDER BY id",
    "INSERT INTO w(a) VALUES (1) ON CONFLICT DO UPDATE SET b = b + 1",
    "INSERT INTO replacing VALUES (1), (1)",
    "UPDATE OR REPLACE k SET x = 1 WHERE id = 3",
    "UPDATE k SET y = y + 1",
    "UPDATE t SET a = k.y FROM k WHERE k.id = t.b",
    "INSERT INTO t(a) SELECT group_concat(x ORDER BY id) FROM k",
    "INSERT INTO t(a) SELECT count(*) FROM k",
    "INSERT INTO w(a, b) SELECT n, count(*) FROM typed GROUP BY n",
    "INSERT INTO w(a, b) SELECT count(*), max(x) FROM k GROUP BY y",
    "INSERT INTO w(a) SELECT DISTINCT n FROM typed",
    "DELETE FROM t",
    "ANALYZE",
    "ALTER TABLE t ADD COLUMN c DEFAULT 1",
    "DROP TABLE w",
    "INSERT INTO doc VALUES ('a')",
    "DELETE FROM doc WHERE doc MATCH 'a'",
)


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    made = apsw.Connection(":memory:")
    made.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
    for sql in SCHEMA:
        made.execute(sql)
    yield made
    made.close()


@pytest.mark.parametrize(("cause", "sql"), [(cause, sql) for cause, texts in FOUND.items() for sql in texts])
def test_each_cause_is_found(connection: apsw.Connection, cause: Cause, sql: str) -> None:
    found = analyse(connection, sql)
    assert cause in {unsafe.cause for unsafe in found}
    for unsafe in found:
        assert unsafe.what
        assert "\n" not in unsafe.sentence
        assert not unsafe.pinnable or unsafe.cause in (Cause.RANDOM, Cause.TIME, Cause.SESSION_STATE)


@pytest.mark.parametrize("sql", SAFE)
def test_what_is_close_to_a_cause_is_safe(connection: apsw.Connection, sql: str) -> None:
    assert analyse(connection, sql) == ()


def test_every_cause_has_a_reason_and_a_test() -> None:
    assert set(REASONS) == set(Cause)
    assert set(FOUND) == set(Cause) - {Cause.RANDOM_ROWID}  # it depends on the rows: see test_unsafe_policies.py


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("INSERT INTO t(a) VALUES (random())", "random()"),
        ("INSERT INTO d(a, b) VALUES (1, 2)", "random() in the DEFAULT of d.c"),
        ("INSERT INTO d(a, c) VALUES (1, 2)", "CURRENT_TIMESTAMP in the DEFAULT of d.b"),
        ("INSERT INTO g(a, c) VALUES (1, 2)", "random() in the definition of table g"),
        ("INSERT INTO marked VALUES (1, 2)", "random() in the trigger mark"),
        ("INSERT INTO w SELECT x, eyes FROM dice", "random() in the view dice"),
        ("INSERT INTO w(a) SELECT x FROM few", "LIMIT in the view few"),
        ("UPDATE logged SET n = 1", "keys of au in the trigger log_update"),
        ("INSERT INTO replacing SELECT y FROM k ORDER BY y", "ON CONFLICT in the definition of table replacing"),
    ],
)
def test_it_says_where_the_cause_hides(connection: apsw.Connection, sql: str, what: str) -> None:
    assert what in {unsafe.what for unsafe in analyse(connection, sql)}


def only(found: tuple[Unsafe, ...], cause: Cause) -> Unsafe:
    (unsafe,) = [unsafe for unsafe in found if unsafe.cause is cause]
    return unsafe


@pytest.mark.parametrize(
    ("sql", "cause", "pinnable"),
    [
        ("INSERT INTO t(a) VALUES (random()), (random())", Cause.RANDOM, True),
        ("UPDATE k SET y = random() WHERE id = 3", Cause.RANDOM, True),
        ("UPDATE k SET y = random()", Cause.RANDOM, False),
        ("INSERT INTO w SELECT x, random() FROM k ORDER BY id", Cause.RANDOM, False),
        ("UPDATE k SET y = datetime('now')", Cause.TIME, True),
        ("UPDATE k SET y = datetime(y, 'localtime')", Cause.TIME, False),
        ("UPDATE k SET y = changes()", Cause.SESSION_STATE, True),
        ("INSERT INTO t SELECT last_insert_rowid(), 1 FROM k ORDER BY id", Cause.SESSION_STATE, False),
    ],
)
def test_values_are_pinnable_where_rows_cannot_swap_them(
    connection: apsw.Connection, sql: str, cause: Cause, pinnable: bool
) -> None:
    assert only(analyse(connection, sql), cause).pinnable is pinnable


@pytest.mark.parametrize("argument", ["?", "a", "a || ''", "(SELECT max(x) FROM k)"])
def test_a_date_function_may_turn_out_to_ask_the_clock(connection: apsw.Connection, argument: str) -> None:
    examination = examine(connection, f"UPDATE t SET b = date({argument}) WHERE rowid = 1")
    assert examination.unsafe == ()
    assert [unsafe.cause for unsafe in examination.perhaps] == [Cause.TIME]


def test_what_a_replica_must_know_besides(connection: apsw.Connection) -> None:
    assert examine(connection, "INSERT INTO t VALUES (1, 2)").generates == ("t",)
    assert examine(connection, "INSERT INTO au(x) VALUES (1)").generates == ()
    assert examine(connection, "INSERT INTO w VALUES (1, 2)").generates == ()
    assert not examine(connection, "INSERT INTO k(x) VALUES (1)").sets_rowids
    assert examine(connection, "INSERT INTO k VALUES (?, 1, 2)").sets_rowids
    assert examine(connection, "INSERT INTO k VALUES (?, 1, 2), (?, 1, 2)").mixes_rowids
    assert examine(connection, "INSERT INTO t SELECT words, 1 FROM doc WHERE rowid = 1").touches_virtual
    assert examine(connection, "DELETE FROM doc").touches_virtual
    assert not examine(connection, "DELETE FROM t").touches_virtual


def test_the_connection_is_as_it_was(connection: apsw.Connection) -> None:
    before = connection.execute("SELECT count(*) FROM t").get, connection.authorizer
    analyse(connection, "INSERT INTO t VALUES (random(), 1)")
    with pytest.raises(apsw.SQLError, match="no such table"):
        analyse(connection, "INSERT INTO missing VALUES (1)")
    assert (connection.execute("SELECT count(*) FROM t").get, connection.authorizer) == before
