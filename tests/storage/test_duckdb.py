"""A follower in DuckDB holds what its leader in SQLite holds, whatever the schema, and survives what may happen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import pytest

from tests.storage.duckdb_followers import Followers, differences, directory_names
from tests.storage.replicas import Call, rows, transaction
from workbench.config import Limits
from workbench.errors import CodecError, ConfigurationError, DivergedError, StorageError
from workbench.log_formats.logical import LogicalBody, SchemaChange, decode_body
from workbench.log_formats.row_parts import Changes
from workbench.protocol.values import Entry, Position, Statement
from workbench.storage.base import LEFT_OUT, Store
from workbench.storage.database_copy import CopyRefused
from workbench.storage.duckdb_changes import read_changes
from workbench.storage.duckdb_store import DuckDBStore
from workbench.storage.duckdb_values import UNION, BadText, Staging, order_by


@pytest.fixture
def followers(tmp_path: Path) -> Iterator[Followers]:
    made = Followers(tmp_path, "logical")
    yield made
    made.close()


@pytest.fixture
def leader(followers: Followers) -> Store:
    return followers.open("leader")


@pytest.fixture
def duck(followers: Followers, leader: Store) -> DuckDBStore:
    return followers.follow()


def same(followers: Followers, leader: Store, *calls: Call) -> None:
    """Write, and the follower has it too."""
    followers.do(leader, *calls)
    duck = followers.stores["duck"]
    followers.catch_up(duck)
    assert differences(leader, duck) == {}, calls


# ------------------------------------------------------------------------------------------------ values

NUMBERS = ("0", "1", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993", "1.0", "1.5", "-0.0")
EXTREMES = ("9e999", "-9e999", "5e-324", "1.7976931348623157e308")
TEXTS = ("''", "'x'", "'grün 🙂'", "'1'", "'a' || char(0) || 'b'", "CAST(x'ff41' AS TEXT)", "CAST(x'c3' AS TEXT)")
BLOBS = ("x''", "x'00ff'", "x'41'", "zeroblob(70000)")
VALUES = ("NULL", *NUMBERS, *EXTREMES, *TEXTS, *BLOBS)


@pytest.mark.parametrize("declared", ["", "INT", "REAL", "TEXT", "BLOB", "NUMERIC", "DATETIME", "ANY"])
def test_every_value_fits_every_column(followers: Followers, leader: Store, duck: DuckDBStore, declared: str) -> None:
    same(followers, leader, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    for value in VALUES:
        same(followers, leader, f"INSERT INTO t(v) VALUES ({value})")
    same(followers, leader, *(f"UPDATE t SET v = {value} WHERE id = {n + 1}" for n, value in enumerate(VALUES[::-1])))
    followers.reopen()
    assert differences(leader, followers.stores["duck"]) == {}
    assert differences(leader, followers.restore(followers.snapshot(leader), "other")) == {}
    same(followers, leader, "DELETE FROM t WHERE id % 2 = 0")


def test_a_column_is_widened_only_when_it_must_be(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(followers, leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, r REAL)", "INSERT INTO t VALUES (1, 2, 3)")

    def types() -> list[str]:
        found = rows(duck, "SELECT data_type FROM duckdb_columns() WHERE table_name = 't' ORDER BY column_index")
        return [str(kind).partition("(")[0] for (kind,) in found]

    assert types() == ["BIGINT", "BIGINT", "DOUBLE"]
    same(followers, leader, "INSERT INTO t VALUES (2, 'two', 4)")
    assert types() == ["BIGINT", "UNION", "DOUBLE"]
    assert rows(duck, "SELECT n, r FROM t ORDER BY id") == ((2, 3.0), ("two", 4.0))


@pytest.mark.parametrize("collation", ["BINARY", "NOCASE", "RTRIM"])
def test_keys_are_ordered_as_in_sqlite(followers: Followers, leader: Store, duck: DuckDBStore, collation: str) -> None:
    same(followers, leader, f"CREATE TABLE t (k TEXT COLLATE {collation} PRIMARY KEY, v)")
    for text in ("b", "A", "a ", "B  x", "", "ü", "Z", "🙂", "\uffff", "ab", "a\x00"):
        same(followers, leader, ("INSERT INTO t VALUES (?, 1)", (text,)))


def test_numbers_are_ordered_exactly(duck: DuckDBStore) -> None:
    values = [
        None,
        1,
        1.5,
        2**53,
        2**53 + 1,
        float(2**53 + 2),
        2**63 - 1,
        float(2**63),
        -(2**63),
        -9.3e18,
        0.5,
        "a",
        b"a",
    ]
    values += [BadText(b"\xff"), float("inf"), b"", ""]
    staging = Staging()
    values.reverse()
    staging.add("v", "any", values)
    staging.add("n", "integer", list(range(len(values))))
    found = duck.connection.execute(
        f"SELECT n FROM {staging.sql} ORDER BY {', '.join(order_by('v', 'any'))}", staging.parameters
    ).fetchall()
    sqlite = apsw.Connection(":memory:")
    sqlite.execute("CREATE TABLE t (v, n)")
    for n, value in enumerate(values):
        mark = "CAST(? AS TEXT)" if isinstance(value, BadText) else "?"
        bound = bytes(value) if isinstance(value, BadText) else value
        sqlite.execute(f"INSERT INTO t VALUES ({mark}, ?)", (bound, n))
    assert found == sqlite.execute("SELECT n FROM t ORDER BY v").fetchall()


def test_text_that_is_none_is_read_from_a_changeset_by_hand() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")
    session = apsw.Session(connection, "main")
    session.attach()
    connection.execute("INSERT INTO t VALUES (1, 'x', CAST(x'ff' AS TEXT)), (-3, 1.5, x'00'), (4, NULL, -9)")
    found = {change.new for change in read_changes(session.changeset())}
    assert found == {(1, "x", BadText(b"\xff")), (-3, 1.5, b"\0"), (4, None, -9)}
    cut = session.changeset()[:-3]
    with pytest.raises(CodecError, match="not a changeset"):
        list(read_changes(cut))


# ------------------------------------------------------------------------------------------------ schemas


def test_changes_of_the_schema(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(
        followers, leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL)", "INSERT INTO t VALUES (1, 'x', 2)"
    )
    same(followers, leader, "ALTER TABLE t RENAME TO T2", 'ALTER TABLE T2 RENAME COLUMN b TO "the ""b"""')
    same(
        followers,
        leader,
        "ALTER TABLE t2 ADD COLUMN d INT DEFAULT 'seven'",
        "ALTER TABLE T2 ADD COLUMN e DEFAULT (-1.5)",
    )
    same(followers, leader, "ALTER TABLE t2 ADD COLUMN f REAL DEFAULT 3", "ALTER TABLE t2 ADD COLUMN g DEFAULT x'ff'")
    same(followers, leader, "INSERT INTO T2(a) VALUES (2)", "ALTER TABLE T2 DROP COLUMN c")
    assert rows(duck, "SELECT * FROM t2 ORDER BY a") == (
        (1, "x", "seven", -1.5, 3.0, b"\xff"),
        (2, None, "seven", -1.5, 3.0, b"\xff"),
    )
    same(
        followers,
        leader,
        "CREATE TABLE t (x)",
        "DROP TABLE T2",
        "ALTER TABLE t RENAME TO t2",
        "INSERT INTO t2 VALUES (5)",
    )
    assert rows(duck, "SELECT * FROM t2") == ((5,),)
    same(
        followers,
        leader,
        "CREATE TABLE copied AS SELECT x, x + 1 AS y FROM t2",
        'CREATE TABLE "sel\'ect" ("group" INT)',
    )
    assert {"t2", "copied", "sel'ect"} < duck.digest().keys()
    followers.reopen()
    same(followers, leader, "ALTER TABLE copied ADD COLUMN z DEFAULT 1", 'DROP TABLE "sel\'ect"')


def test_generated_columns_can_be_read(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(followers, leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c AS (b || '!') STORED, d INT AS (a * 2))")
    same(followers, leader, "INSERT INTO t(a, b) VALUES (1, 'x'), (2, NULL)")
    same(followers, leader, "UPDATE t SET b = 'y' WHERE a = 2")
    assert rows(duck, "SELECT * FROM t ORDER BY a") == ((1, "x", "x!", 2), (2, "y", "y!", 4))
    same(followers, leader, "ALTER TABLE t ADD COLUMN e AS (a || b)")
    assert rows(duck, "SELECT e FROM t ORDER BY a") == (("1x",), ("2y",))
    assert rows(followers.restore(followers.snapshot(leader), "other"), "SELECT * FROM t ORDER BY a") == (
        (1, "x", "x!", 2, "1x"),
        (2, "y", "y!", 4, "2y"),
    )


def test_rows_without_a_key_and_vacuum(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(
        followers, leader, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1), (2), (3), (4)", "DELETE FROM t WHERE a < 3"
    )
    same(followers, leader, "VACUUM")  # gives them other rowids
    same(followers, leader, "UPDATE t SET a = a * 10 WHERE a = 4", "DELETE FROM t WHERE a = 3")
    same(
        followers,
        leader,
        "CREATE TABLE u (_rowid_, x)",
        "INSERT INTO u VALUES (1, 2), (1, 2)",
        "CREATE TABLE n (k TEXT PRIMARY KEY)",
    )
    same(
        followers,
        leader,
        "DELETE FROM u WHERE rowid = 1",
        "INSERT INTO n VALUES (NULL), (NULL)",
        "DELETE FROM n WHERE rowid = 1",
    )


def test_dropping_a_table_takes_what_refers_to_it(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(
        followers,
        leader,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE niece (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE SET NULL)",
        "CREATE TABLE gone (id)",
        "CREATE TRIGGER t AFTER DELETE ON child BEGIN INSERT INTO gone VALUES (OLD.id); END",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO child VALUES (10, 1), (11, NULL)",
        "INSERT INTO niece VALUES (20, 2)",
    )
    same(followers, leader, "DROP TABLE parent")
    assert rows(duck, "SELECT id FROM child") == ((11,),)
    assert rows(duck, "SELECT id, p FROM niece") == ((20, None),)
    assert rows(duck, "SELECT id FROM gone") == ((10,),)


def test_full_text_tables_and_what_is_left_out(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(
        followers,
        leader,
        "CREATE VIRTUAL TABLE doc USING fts5(title, body)",
        "INSERT INTO doc VALUES ('a', 'b'), ('c', 1)",
    )
    same(followers, leader, "UPDATE doc SET body = 'new' WHERE doc MATCH 'b'", "ALTER TABLE doc RENAME TO text")
    assert rows(duck, "SELECT * FROM text ORDER BY title") == (("a", "new"), ("c", 1))
    followers.do(leader, "CREATE VIRTUAL TABLE bare USING fts5(x, content='')", "INSERT INTO bare VALUES ('x')")
    followers.do(leader, "CREATE VIRTUAL TABLE place USING rtree(id, a, b)", "INSERT INTO place VALUES (1, 2, 3)")
    followers.do(leader, "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    followers.catch_up(duck)
    left_out = {name for name, digest in duck.digest().items() if digest.startswith(LEFT_OUT)}
    assert left_out == {"bare", "place", "sqlite_sequence", "(schema)"}
    assert "rtree" in duck.digest()["place"]
    assert differences(leader, duck) == {}


def test_views_are_made_where_duckdb_takes_them(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(
        followers,
        leader,
        "CREATE TABLE t (a INT, b)",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE VIEW w(x) AS SELECT * FROM v",
    )
    same(
        followers,
        leader,
        "CREATE VIEW odd AS SELECT a FROM t WHERE b GLOB 'x*'",
        "CREATE VIEW bad AS SELECT sqlite_version()",
    )
    same(followers, leader, "INSERT INTO t VALUES (1, 2), ('one', 3)")  # widens what the views were made of
    assert rows(duck, "SELECT x FROM w") == ((1,), ("one",))
    assert "bad" in duck.tables.left_out_views
    assert "Table with name bad" in duck.query(Statement("SELECT * FROM bad")).error


# ------------------------------------------------------------------------------------------------ crashes


def test_what_a_crash_leaves_goes_on(followers: Followers, leader: Store, tmp_path: Path) -> None:
    """The process is killed after every entry: what is on disk is some entry's state, and the log brings it forward."""
    followers.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for n in range(12):
        followers.write(leader, transaction(("INSERT INTO t VALUES (?, ?)", (n, "x" * n))))
        followers.do(
            leader, f"ALTER TABLE t ADD COLUMN c{n} DEFAULT {n}" if n % 3 == 0 else "UPDATE t SET b = b || 'y'"
        )
    duck = followers.follow()
    for n, entry in enumerate(followers.log):
        duck.apply([entry])
        if n % 2:
            duck.digest()  # brings in what waits
        left = tmp_path / f"left-{n}"
        shutil.copytree(tmp_path / "duck", left)
        again = DuckDBStore(left, "logical", Limits())
        assert again.applied.index <= n + 1
        again.apply(followers.log[again.applied.index :])
        assert differences(leader, again) == {}
        again.close()


def test_rewinds_undo_rows_and_leave_schemas_to_a_rebuild(
    followers: Followers, leader: Store, duck: DuckDBStore
) -> None:
    same(followers, leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "INSERT INTO t VALUES (1, 'x'), (2, 2)")
    before = duck.digest()
    followers.do(leader, "UPDATE t SET b = 3", "DELETE FROM t WHERE a = 2", "INSERT INTO t VALUES (9, NULL)")
    followers.do(leader, "UPDATE t SET b = x'00' WHERE a = 9")
    followers.catch_up(duck)
    assert duck.rewind(Position(1, 1), reversed(followers.log[1:]))
    assert (duck.applied, duck.digest()) == (Position(1, 1), before)
    duck = followers.reopen()
    assert (duck.applied, duck.digest()) == (Position(1, 1), before)
    followers.catch_up(duck)
    assert differences(leader, duck) == {}
    assert not duck.rewind(Position(0, 0), reversed(followers.log))
    assert duck.applied.index == len(followers.log)


def test_a_snapshot_takes_the_place_of_everything(
    followers: Followers, leader: Store, duck: DuckDBStore, tmp_path: Path
) -> None:
    same(
        followers,
        leader,
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b)",
        "CREATE TABLE bare (x)",
        "CREATE INDEX i ON t (b)",
    )
    followers.do(
        leader,
        "INSERT INTO bare VALUES (1), (2), (3)",
        "DELETE FROM bare WHERE x = 2",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    followers.do(leader, "INSERT INTO t SELECT value, value * 1.5 FROM json_each('[1, 2, 3]')")
    duck.close()
    duck = followers.restore(followers.snapshot(leader))
    assert duck.applied == leader.applied
    assert differences(leader, duck) == {}
    assert "snapshot.sqlite" not in directory_names(tmp_path / "duck")
    same(followers, leader, "DELETE FROM bare WHERE rowid = 3", "DROP INDEX i", "DROP VIEW v", "UPDATE t SET b = a")


# ------------------------------------------------------------------------------------------------ divergence


def entry_of(followers: Followers, *parts: Changes | SchemaChange) -> Entry:
    from msgspec import msgpack

    return Entry(1, len(followers.log) + 1, "logical", (), msgpack.encode(LogicalBody(parts)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE t SET b = 'z' WHERE a = 1", "table t, a 1: column b has another value"),
        ("DELETE FROM t WHERE a = 2", "table t, a 2: there is no such row"),
        ("UPDATE t SET b = 'z' WHERE a = 2", "table t, a 2: there is no such row"),
        ("INSERT INTO t VALUES (3, 'z')", "table t, a 3: a row with this key exists already"),
    ],
)
def test_a_change_that_does_not_fit_is_divergence(
    followers: Followers, leader: Store, duck: DuckDBStore, change: str, words: str
) -> None:
    same(followers, leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    (table,) = duck.tables.mirror.catalog.tables
    a, b = (column.physical for column in table.columns)
    place = f"_workbench.{table.physical}"
    duck.connection.execute(f"UPDATE {place} SET {b} = union_value(text := 'other')::{UNION} WHERE {a} = 1")
    duck.connection.execute(f"DELETE FROM {place} WHERE {a} = 2")
    duck.connection.execute(f"INSERT INTO {place} ({a}) VALUES (3)")
    applied, before = duck.applied, duck.digest()
    followers.do(leader, change)
    duck.apply(followers.log[-1:])
    assert words in duck.digest()["(database)"]
    assert words in duck.query(Statement("SELECT 1")).error
    with pytest.raises(DivergedError, match=f"entry 1.2: .*{words}"):
        duck.apply(followers.log[-1:])
    duck = followers.reopen()
    assert (duck.applied, duck.digest()) == (applied, before)


def test_bodies_that_do_not_fit_change_nothing(followers: Followers, leader: Store, duck: DuckDBStore) -> None:
    same(followers, leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "INSERT INTO t VALUES (1, 'x')")
    (changes,) = (part for part in decode_body(followers.log[0].body).parts if isinstance(part, Changes))
    unknown = Changes(changes.changeset.replace(b"t\0", b"u\0", 1))
    for parts, error, words in (
        ((unknown,), DivergedError, "the leader changed table u, which is not here"),
        ((SchemaChange("DROP TABLE nowhere"),), DivergedError, "no such table: nowhere"),
        ((SchemaChange("ALTER TABLE t ADD COLUMN c"), changes), DivergedError, "this replica has no such table"),
        ((Changes(b"T\x02"),), CodecError, "not a changeset"),
    ):
        before = duck.digest()
        with pytest.raises(error, match=f"entry 1.2: .*{words}"):
            duck.apply([entry_of(followers, *parts)])
        assert (duck.applied, duck.digest()) == (Position(1, 1), before)
    same(followers, leader, "INSERT INTO t VALUES (2, 'y')")


def test_altered_bodies_never_end_a_replica_nor_apply_in_part(
    followers: Followers, leader: Store, duck: DuckDBStore, tmp_path: Path
) -> None:
    same(
        followers,
        leader,
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b)",
        "CREATE TABLE u (x)",
        "INSERT INTO t VALUES (1, 'x')",
    )
    followers.do(
        leader, "INSERT INTO t VALUES (2, 1.5)", "UPDATE t SET b = x'00' WHERE a = 1", "INSERT INTO u VALUES ('ü')"
    )
    before, whole = duck.digest(), followers.log[-1].body
    duck.close()
    shutil.copytree(tmp_path / "duck", tmp_path / "kept")
    duck = followers.follow()
    random, refused = Random(3), 0
    for _ in range(80):
        body = bytearray(whole)
        for _ in range(random.choice((1, 1, 2, 5))):
            body[random.randrange(len(body))] = random.randrange(256)
        if random.random() < 0.3:
            del body[random.randrange(len(body)) :]
        try:
            duck.apply([Entry(1, 2, "logical", (), bytes(body))])
            found = duck.digest()
        except (CodecError, DivergedError):
            refused += 1
            assert (duck.applied, duck.digest()) == (Position(1, 1), before)
            continue
        if "(database)" in found:
            refused += 1
        duck.close()
        shutil.rmtree(tmp_path / "duck")
        shutil.copytree(tmp_path / "kept", tmp_path / "duck")
        duck = followers.follow()
    assert refused > 25


# ------------------------------------------------------------------------------------------------ reads and the rest


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT is not a read"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("", "the statement is empty"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM t", "nothing"),
        ("SELECT * FROM read_csv('/etc/hostname')", "file system operations are disabled"),
        ("ATTACH '/tmp/other.duckdb'", "ATTACH is not a read"),
        ("COPY t TO '/tmp/t.csv'", "COPY is not a read"),
        ("SET threads = 4", "SET is not a read"),
        ("EXPLAIN ANALYZE DELETE FROM _workbench.position", "read-only mode"),
        ("SELECT * FROM range(200000)", "more than 100 rows"),
        ("SELECT repeat('x', 20000)", "more than 10000 bytes"),
        ("SELECT ?", "parameter"),
    ],
)
def test_reads_that_are_refused(tmp_path: Path, sql: str, words: str) -> None:
    followers = Followers(tmp_path, "logical", Limits(read_rows_max=100, read_bytes_max=10_000))
    leader, duck = followers.open("leader"), followers.follow()
    same(followers, leader, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    result = duck.query(Statement(sql))
    assert words in result.error
    assert "\n" not in result.error
    assert rows(duck, "SELECT a FROM t") == ((1,),)
    followers.close()


def test_a_read_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    followers = Followers(tmp_path, "logical", Limits(statement_timeout_s=0.05))
    duck = followers.follow()
    sql = "SELECT count(*) FROM range(1000000) a(x), range(1000000) b(y) WHERE x * y % 7 = 3"
    assert "ran longer than 0.05 s" in duck.query(Statement(sql)).error
    assert rows(duck, "SELECT 1") == ((1,),)
    followers.close()


def test_values_of_reads_are_such_as_sqlite_has(duck: DuckDBStore) -> None:
    sql = """SELECT true, 1::HUGEINT << 100, 1.50::DECIMAL(9, 2), 'nan'::DOUBLE, DATE '2024-01-02', [1, 2], {'a': 1},
        '\\x00'::BLOB, ?, NULL, INTERVAL 1 DAY"""
    (found,) = rows(duck, sql, "ü")
    assert found == (
        1,
        float(2**100),
        1.5,
        None,
        "2024-01-02",
        "[1, 2]",
        '{"a": 1}',
        b"\0",
        "ü",
        None,
        "1 day, 0:00:00",
    )


def test_it_only_follows(duck: DuckDBStore, followers: Followers, leader: Store) -> None:
    with pytest.raises(StorageError, match="it only follows"):
        duck.execute([transaction("SELECT 1")], Position(1, 1))
    with pytest.raises(CopyRefused, match="makes no snapshots"):
        duck.begin_copy()
    followers.do(leader, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    followers.do(leader, "INSERT INTO t VALUES (2)")
    with pytest.raises(StorageError, match="cannot follow"):
        duck.apply(followers.log[1:])


def test_databases_of_something_else_are_refused(tmp_path: Path) -> None:
    Followers(tmp_path, "logical").follow().close()
    with pytest.raises(ConfigurationError, match="of the logical log format, not statement"):
        Followers(tmp_path, "statement").follow()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "database.duckdb").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StorageError, match=r"cannot open .*database\.duckdb"):
        Followers(tmp_path, "logical").follow("torn")
