"""What becomes of unsafe statements: refused, pinned, or sent as rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.replicas import Call, Replicas, rows, statement, transaction
from workbench.config import LogFormatName, UnsafePolicy
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.pinning import TIME_MS_MAX, Clock
from workbench.log_formats.row_parts import Changes, SchemaChange, Sequences
from workbench.log_formats.statement import Pin, Rows, StatementCall, decode_body, encode_body, in_order
from workbench.protocol.values import Entry, Position
from workbench.storage.base import Store
from workbench.storage.sqlite import TransactionalStore

LARGEST = 2**63 - 1
UNSAFE: dict[str, tuple[Sequence[Call], Call]] = {
    "random": ((), "INSERT INTO t(v) VALUES (random()), (hex(randomblob(5)))"),
    "time": ((), "INSERT INTO t(v) VALUES (strftime('%f', 'now'))"),
    "session_state": (("INSERT INTO t(v) VALUES (0)",), "INSERT INTO t(v) VALUES (changes() + 10 * total_changes())"),
    "limit": ((), "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 2)"),
    "generated_keys": ((), "INSERT INTO t(v) SELECT v FROM t"),
    "trigger_keys": ((), "UPDATE watched SET v = v + 1"),
    "conflict_order": ((), "INSERT OR IGNORE INTO one SELECT 1, v FROM t"),
    "several_matches": ((), "UPDATE one SET v = t.v FROM t"),
    "aggregate_order": ((), "INSERT INTO t(id, v) SELECT 99, group_concat(v) FROM t"),
    "random_rowid": ((f"INSERT INTO t VALUES ({LARGEST}, 0)",), "INSERT INTO t(v) VALUES (1)"),
    "engine": ((), "INSERT INTO t(v) VALUES (sqlite_version())"),
    "physical": ((), "INSERT INTO t(id, v) SELECT 98, page_count FROM pragma_page_count"),
}
PINNABLE = {"random", "time", "session_state"}
SCHEMA = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE one (k INTEGER PRIMARY KEY, v)",
    "CREATE TABLE watched (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE seen (id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
    "CREATE TRIGGER see AFTER UPDATE ON watched BEGIN INSERT INTO seen(v) VALUES (NEW.v); END",
    "CREATE TABLE stamped (id INTEGER PRIMARY KEY, d DEFAULT CURRENT_TIMESTAMP, r DEFAULT (random()), v)",
    "CREATE TRIGGER stamp AFTER INSERT ON stamped BEGIN UPDATE stamped SET v = julianday('now') WHERE id = NEW.id; END",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    "INSERT INTO one VALUES (7, 0)",
    "INSERT INTO watched VALUES (1, 10), (2, 20), (3, 30)",
)


def make(
    directory: Path, unsafe: UnsafePolicy, log_format: LogFormatName = "statement"
) -> tuple[Replicas, Store, Store]:
    """A leader, and a follower that reads rows in the other order; both with the schema."""
    replicas = Replicas(directory, log_format, unsafe=unsafe)
    leader, follower = replicas.open("leader"), replicas.open("follower", reverse_unordered=True)
    replicas.do(leader, *SCHEMA)
    replicas.catch_up(follower)
    return replicas, leader, follower


def clock_of(store: Store) -> Clock:
    assert isinstance(store, TransactionalStore)
    assert store._clock is not None
    return store._clock


@pytest.mark.parametrize("cause", UNSAFE)
def test_refuse_names_function_and_cause(tmp_path: Path, cause: str) -> None:
    replicas, leader, _ = make(tmp_path, "refuse")
    before, unsafe = UNSAFE[cause]
    replicas.do(leader, *before or ["SELECT 1"])
    digest = leader.digest()
    for _ in range(2):  # known and unknown
        reason = replicas.refusal(leader, "INSERT INTO t(v) VALUES (5)", unsafe)
        assert f"(cause {cause}; unsafe=" in reason
        assert ("pin or mixed" in reason) == (cause in PINNABLE)
    assert leader.digest() == digest
    replicas.do(leader, "INSERT INTO one(k) VALUES (50)")
    replicas.close()


@pytest.mark.parametrize("cause", UNSAFE)
def test_pin_repeats_values_and_refuses_the_rest(tmp_path: Path, cause: str) -> None:
    replicas, leader, follower = make(tmp_path, "pin")
    before, unsafe = UNSAFE[cause]
    if before:
        replicas.do(leader, *before)
    if cause not in PINNABLE:
        assert f"(cause {cause}; unsafe=mixed " in replicas.refusal(leader, unsafe)
    else:
        replicas.do(leader, *before, unsafe)
        replicas.do(leader, unsafe)
    clock_of(follower).fix(0)  # another time altogether
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


@pytest.mark.parametrize(("log_format", "policy"), [("mixed", "allow"), ("statement", "mixed")])
@pytest.mark.parametrize("cause", UNSAFE)
def test_mixed_sends_rows(tmp_path: Path, cause: str, log_format: LogFormatName, policy: UnsafePolicy) -> None:
    replicas, leader, follower = make(tmp_path, policy, log_format)
    before, unsafe = UNSAFE[cause]
    replicas.do(leader, *before, "INSERT INTO one(k) VALUES (100)")
    replicas.do(leader, unsafe)
    sent = decode_body(replicas.log[-1].body)
    assert not sent.transactions
    assert type(next(in_order(sent))) is Changes
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_safe_statements_travel_as_sql_under_every_policy(tmp_path: Path) -> None:
    bodies = set()
    for policy in ("allow", "refuse", "pin", "mixed"):
        replicas = Replicas(tmp_path / policy, "statement", unsafe=policy)
        leader = replicas.open("leader")
        replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        replicas.write(leader, *(transaction(("INSERT INTO t(v) VALUES (?)", (i,)), sequence=i) for i in range(32)))
        bodies.add(replicas.log[-1].body)
        replicas.close()
    assert len(bodies) == 1


# Pinning


def test_one_transaction_has_one_time_and_a_pin_of_its_own(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "pin")
    now = "INSERT INTO t(v) VALUES (julianday('now'))"
    replicas.write(
        leader,
        transaction(now, "INSERT INTO t(v) SELECT 1", now, sequence=1),
        transaction("INSERT INTO t(v) VALUES (2)", sequence=2),
        transaction("INSERT INTO t(v) VALUES (random())", sequence=3),
        transaction("SELECT random(), datetime('now')", "INSERT INTO t(v) VALUES (3)", sequence=4),
    )
    pins = decode_body(replicas.log[-1].body).pins
    assert [(pin.transaction, pin.time_ms is None, len(pin.seed)) for pin in pins] == [(0, False, 0), (2, True, 16)]
    ((first, second),) = rows(leader, "SELECT min(v), max(v) FROM t WHERE typeof(v) = 'real'")
    assert first == second
    clock_of(follower).fix(12345)
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert abs(clock_of(follower).read() - pins[0].time_ms) < 3_600_000  # type: ignore[operator]
    ((year,),) = rows(follower, "SELECT strftime('%Y', 'now')")
    assert str(year) > "2020"  # reads have the time
    replicas.close()


def test_defaults_triggers_and_generated_values_are_pinned(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "pin")
    replicas.do(leader, "INSERT INTO stamped DEFAULT VALUES", "INSERT INTO stamped DEFAULT VALUES")
    replicas.do(leader, "SELECT random()", "INSERT INTO stamped DEFAULT VALUES RETURNING r")
    clock_of(follower).fix(1)
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert len({value for (value,) in rows(leader, "SELECT r FROM stamped")}) == 3
    replicas.close()


def test_random_has_its_whole_range(tmp_path: Path) -> None:
    replicas, leader, _ = make(tmp_path, "pin")
    series = "WITH RECURSIVE r(i) AS (SELECT random() UNION ALL SELECT random() FROM r LIMIT 400)"
    values = [int(str(value)) for (value,) in rows(leader, f"{series} SELECT i FROM r")]
    assert len(set(values)) == 400
    assert min(values) < -(2**62) < 2**62 < max(values)
    ((kind, length, least),) = rows(
        leader, "SELECT typeof(randomblob(3)), length(randomblob(300)), length(randomblob(-1))"
    )
    assert (kind, length, least) == ("blob", 300, 1)
    assert "too big" in leader.query(statement("SELECT randomblob(1 << 40)")).error
    replicas.close()


@pytest.mark.parametrize("policy", ["refuse", "pin", "mixed"])
def test_a_date_function_that_is_given_now(tmp_path: Path, policy: UnsafePolicy) -> None:
    replicas, leader, follower = make(tmp_path, policy)
    given_now: Call = ("INSERT INTO t(v) VALUES (datetime(?))", ("now",))
    replicas.do(leader, ("INSERT INTO t(v) VALUES (datetime(?))", ("2020-01-01",)))
    if policy == "refuse":
        assert "(cause time; unsafe=pin or mixed replicates it)" in replicas.refusal(leader, given_now)
    else:
        replicas.do(leader, given_now)
        body = decode_body(replicas.log[-1].body)
        assert bool(body.pins) == (policy == "pin")
        assert bool(body.rows) == (policy == "mixed")
        clock_of(follower).fix(0)
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


@pytest.mark.parametrize("policy", ["pin", "mixed"])
def test_changes_is_of_the_client_transaction(tmp_path: Path, policy: UnsafePolicy) -> None:
    replicas, leader, _ = make(tmp_path, policy)
    replicas.do(leader, "UPDATE t SET v = 'x' WHERE id = 1")
    member = replicas.do(
        leader,
        "SELECT changes(), total_changes(), last_insert_rowid()",
        "UPDATE t SET v = 'y' WHERE id < 4",
        "SELECT changes(), total_changes()",
        "INSERT INTO t(v) VALUES (changes()) RETURNING v",  # compiled, and so examined, only now
        "UPDATE t SET v = 1 WHERE id = 1000",
        "INSERT INTO t(v) VALUES (changes()) RETURNING v",
    )
    assert [result.rows for result in member.results] == [((0, 0, 0),), (), ((3, 3),), ((3,),), (), ((0,),)]
    replicas.close()


def test_rowids_given_and_generated_in_one_statement(tmp_path: Path) -> None:
    for policy in ("refuse", "pin", "mixed"):
        replicas, leader, follower = make(tmp_path / policy, policy)
        both = f"INSERT INTO t VALUES ({LARGEST}, 1), (NULL, 2)"
        assert "SQLite may draw these at random" in replicas.refusal(leader, both)
        replicas.do(leader, "INSERT INTO t VALUES (70, 1), (NULL, 2)")
        replicas.catch_up(follower)
        assert follower.digest() == leader.digest()
        replicas.close()


# Mixed


def test_rows_stand_where_they_were_changed(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    replicas.write(
        leader,
        transaction("INSERT INTO t VALUES (10, 'sql')", sequence=1),
        transaction("UPDATE t SET v = random() WHERE id = 10", "UPDATE t SET v = v || '!' WHERE id = 10", sequence=2),
        transaction("UPDATE t SET v = random() WHERE id = 1", sequence=3),
        transaction("INSERT INTO t(id, v) VALUES (11, random())", "INSERT INTO missing VALUES (1)", sequence=4),
        transaction(
            "INSERT INTO t(id, v) VALUES (12, random())",
            "DELETE FROM t WHERE id = 3",  # the rows before it are taken now, and dropped when the next one is refused
            "INSERT INTO missing VALUES (1)",
            sequence=4,
        ),
        transaction("UPDATE t SET v = random() WHERE id = 2", sequence=5),
        transaction("UPDATE watched SET v = 0", "INSERT INTO seen(v) VALUES ('after')", sequence=6),
    )
    body = decode_body(replicas.log[-1].body)
    kinds = [type(step) for step in in_order(body)]
    assert kinds == [StatementCall, Changes, StatementCall, Changes, Changes, Changes, Sequences, StatementCall]
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_triggers_and_cascades_take_effect_once_on_both_ways(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    replicas.do(leader, "UPDATE watched SET v = v + 1 WHERE id = 1")  # safe: the follower's trigger fires
    replicas.do(leader, "UPDATE watched SET v = random()")  # its rows come with those of the trigger
    replicas.do(leader, "UPDATE watched SET v = v + 1 WHERE id = 2")
    replicas.catch_up(follower, at_once=True)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT count(*) FROM seen") == ((5,),)
    replicas.close()


def test_a_new_table_as_an_unordered_select_travels_with_its_rows(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    replicas.do(leader, "CREATE TABLE copy AS SELECT v, random() AS r FROM t", "UPDATE copy SET v = 1 WHERE rowid = 1")
    steps = [type(step) for step in in_order(decode_body(replicas.log[-1].body))]
    assert steps == [SchemaChange, Changes, StatementCall]
    replicas.catch_up(follower)
    everything = "SELECT rowid, * FROM copy ORDER BY rowid"
    assert rows(follower, everything) == rows(leader, everything)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_a_new_table_that_stays_empty_travels_as_such(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    empty = "AS SELECT v FROM t WHERE random() IS NULL"
    replicas.do(leader, f"CREATE TABLE copy {empty}", f"CREATE TABLE IF NOT EXISTS copy {empty}")
    first, second = in_order(decode_body(replicas.log[-1].body))
    assert first == SchemaChange("CREATE TABLE copy(v)")
    assert isinstance(second, StatementCall)  # compiled, it does nothing
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_deferred_foreign_keys_and_full_text(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    replicas.do(
        leader,
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        "CREATE VIRTUAL TABLE doc USING fts5(x)",
    )
    replicas.do(leader, "INSERT INTO c VALUES (1, 7)", "INSERT INTO p VALUES (7 + random() * 0)")
    assert "FOREIGN KEY" in replicas.refusal(leader, "INSERT INTO c VALUES (2, 8)")
    replicas.do(leader, "INSERT INTO doc VALUES ('one'), ('two')", "INSERT INTO t(v) SELECT x FROM doc ORDER BY rowid")
    replicas.catch_up(follower, at_once=True)
    replicas.do(leader, "INSERT INTO doc(doc) VALUES ('optimize')", "DELETE FROM doc WHERE doc MATCH 'one'")
    replicas.catch_up(follower)
    assert rows(follower, "SELECT x FROM doc WHERE doc MATCH 'two OR one'") == (("two",),)
    assert follower.digest() == leader.digest()
    replicas.close()


# Restarts, roles, damage


@pytest.mark.parametrize(("log_format", "policy"), [("statement", "pin"), ("statement", "mixed"), ("mixed", "allow")])
def test_a_replica_that_comes_back_repeats_the_same(
    tmp_path: Path, log_format: LogFormatName, policy: UnsafePolicy
) -> None:
    replicas, leader, follower = make(tmp_path, policy, log_format)
    for _ in range(3):
        replicas.do(leader, "INSERT INTO stamped DEFAULT VALUES", "UPDATE t SET v = random() WHERE id = 1")
    replicas.copy("leader", "killed")
    follower.close()
    follower, killed = replicas.open("follower", reverse_unordered=True), replicas.open("killed")
    for store in (follower, killed):
        clock_of(store).fix(99)
        replicas.catch_up(store)
        assert store.digest() == leader.digest()
    replicas.do(follower, "INSERT INTO stamped DEFAULT VALUES")  # leads now
    replicas.catch_up(leader)
    assert leader.digest() == follower.digest()
    replicas.close()


def test_rowids_beside_a_key_are_not_relied_upon(tmp_path: Path) -> None:
    """A changeset names rows by their key: what rowid they have on a follower is open."""
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    replicas.do(leader, "CREATE TABLE kv (k TEXT PRIMARY KEY, v)", "INSERT INTO kv VALUES ('a', 1), ('b', 2)")
    replicas.do(leader, "DELETE FROM kv WHERE k = 'b' OR random() IS NULL", "INSERT INTO kv VALUES ('c', random())")
    replicas.do(leader, "INSERT INTO kv SELECT 'x' || v, random() FROM t")
    replicas.do(leader, "INSERT INTO t(v) SELECT rowid FROM kv WHERE k = 'xc'")
    replicas.do(leader, "INSERT INTO one SELECT 10 + v, k FROM kv WHERE v < 9 ORDER BY _rowid_ LIMIT 2")
    replicas.do(
        leader, "INSERT OR REPLACE INTO kv(rowid, k, v) VALUES (3, 'd', 3)", "UPDATE kv SET oid = 90 WHERE k = 'a'"
    )
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_rows_can_be_taken_back_but_statements_cannot(tmp_path: Path) -> None:
    replicas, leader, follower = make(tmp_path, "allow", "mixed")
    before = leader.digest()
    replicas.do(leader, "UPDATE t SET v = random()")
    replicas.do(leader, "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 2)", "INSERT INTO one VALUES (3, random())")
    replicas.catch_up(follower)
    dropped = replicas.log[:0:-1]
    for store in (leader, follower):
        assert store.rewind(Position(1, 1), dropped)
        assert store.digest() == before
    del replicas.log[1:]
    replicas.do(leader, "UPDATE watched SET v = 1 WHERE id = 1")  # triggers are on again
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest() != before
    assert not leader.rewind(Position(1, 1), replicas.log[1:])
    replicas.close()


@pytest.mark.parametrize(
    "body",
    [
        encode_body([[statement("DELETE FROM t")]], [Pin(1, 0, b"")]),
        encode_body([[statement("DELETE FROM t")]], [Pin(0, 0, b""), Pin(0, 0, b"")]),
        encode_body([[statement("DELETE FROM t")]], [Pin(0, -1, b"")]),
        encode_body([[statement("DELETE FROM t")]], [Pin(0, TIME_MS_MAX + 1, b"")]),
        encode_body([[statement("DELETE FROM t")]], [Pin(0, 0, b"short")]),
        encode_body([[statement("DELETE FROM t")]], (), [Rows(0, 2, (Changes(b""),))]),
        encode_body([[statement("DELETE FROM t")]], (), [Rows(1, 1, (Changes(b""),))]),
        encode_body([[statement("DELETE FROM t")]], (), [Rows(-1, 0, (Changes(b""),))]),
        encode_body([[statement("DELETE FROM t")]], (), [Rows(1, 0, (Changes(b""),)), Rows(0, 0, (Changes(b""),))]),
    ],
)
def test_places_and_values_that_make_no_sense_are_no_body(body: bytes) -> None:
    with pytest.raises(CodecError, match="StatementBody"):
        decode_body(body)


@pytest.mark.parametrize("policy", ["allow", "refuse", "pin", "mixed"])
def test_a_body_of_another_policy_is_refused(tmp_path: Path, policy: UnsafePolicy) -> None:
    replicas, _, follower = make(tmp_path, policy)
    before = follower.digest()
    pinned = encode_body([[statement("DELETE FROM t")]], [Pin(0, 1, os.urandom(16))])
    as_rows = encode_body([[statement("DELETE FROM t")]], (), [Rows(1, 0, (SchemaChange("DELETE FROM one"),))])
    for body in {"refuse": [as_rows], "pin": [as_rows], "mixed": [pinned]}.get(policy, [pinned, as_rows]):
        with pytest.raises(CodecError, match="policy"):
            follower.apply([Entry(1, 2, "statement", (), body)])
        assert follower.digest() == before
    replicas.close()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[bytes]], dict[str, Store]]:
    """Good bodies of each policy, and followers to try bad ones on."""
    bodies: dict[str, list[bytes]] = {}
    followers: dict[str, Store] = {}
    for policy in ("pin", "mixed"):
        replicas, leader, followers[policy] = make(tmp_path_factory.mktemp(policy), policy)
        replicas.do(leader, "INSERT INTO stamped DEFAULT VALUES", ("INSERT INTO t(v) VALUES (?)", (b"\x00",)))
        replicas.do(leader, "UPDATE t SET v = random() WHERE id = 1", "INSERT INTO seen(v) VALUES (datetime('now'))")
        bodies[policy] = [entry.body for entry in replicas.log[1:]]
    return bodies, followers


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")), deadline=None)
@given(data=st.data())
def test_damaged_bodies_change_nothing(
    attacked: tuple[dict[str, list[bytes]], dict[str, Store]], data: st.DataObject
) -> None:
    bodies, followers = attacked
    policy = data.draw(st.sampled_from(sorted(bodies)))
    body = bytearray(data.draw(st.sampled_from(bodies[policy])))
    for _ in range(data.draw(st.integers(1, 3))):
        if not body:
            break
        place = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(("cut", "change", "insert", "drop"))):
            case "cut":
                del body[place:]
            case "change":
                body[place] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                body.insert(place, data.draw(st.integers(0, 255)))
            case _:
                del body[place]
    follower = followers[policy]
    assert isinstance(follower, TransactionalStore)
    before = follower.digest()
    try:
        follower._connection.execute("SAVEPOINT trial")
        follower._format.apply(bytes(body))
    except (CodecError, DivergedError):
        follower._connection.execute("ROLLBACK TO trial")
        follower._format.after_apply()
        assert follower.digest() == before
    finally:
        if follower._connection.in_transaction:
            follower._connection.execute("ROLLBACK")
        follower._format.after_apply()
    assert follower.digest() == before
