"""Random SQL through a leader and followers that change roles, crash and come back: the digests stay equal.

One seed makes one program; a failure prints it. More of them: `RANDOM_PROGRAMS=1000 pytest ...`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from random import Random

import pytest

from tests.storage import sql_grammar
from tests.storage.replicas import Call, Replicas, rows, transaction
from workbench.config import LogFormatName, UnsafePolicy
from workbench.errors import DivergedError, StorageError
from workbench.protocol.values import Position, SqlValue
from workbench.storage.sqlite_wal import WalStore

SEEDS = range(int(os.environ.get("RANDOM_PROGRAMS", "8")))
STEPS = 60

SCHEMA = (
    "CREATE TABLE kv (k TEXT PRIMARY KEY, v)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name UNIQUE)",
    """CREATE TABLE child (id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES parent ON DELETE CASCADE
        ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED, n INT CHECK (n < 90))""",
    "CREATE TABLE bare (a, b)",
    "CREATE TABLE compact (a INT, b TEXT, c, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "CREATE TABLE audit (what TEXT, n)",
    "CREATE TRIGGER t1 AFTER INSERT ON child BEGIN INSERT INTO audit VALUES ('in', NEW.id); END",
    "CREATE TRIGGER t2 AFTER DELETE ON child BEGIN INSERT INTO audit VALUES ('out', OLD.id); END",
    "CREATE TRIGGER t3 BEFORE UPDATE ON kv WHEN NEW.v = 13 BEGIN SELECT RAISE(ROLLBACK, 'unlucky'); END",
    "CREATE VIRTUAL TABLE doc USING fts5(x)",
    "CREATE INDEX bare_a ON bare (a)",
)


def value(random: Random) -> SqlValue:
    match random.randrange(7):
        case 0:
            return None
        case 1:
            return random.randrange(-(2**63), 2**63)
        case 2:
            return random.random() * 10 ** random.randrange(-5, 300)
        case 3:
            return random.randbytes(random.choice((0, 3, 50, 6000)))
        case 4:
            return "ü" * random.randrange(5)
        case _:
            return random.randrange(20)


def call(random: Random) -> Call:
    n, v = random.randrange(30), value(random)
    choices: list[Call] = [
        ("INSERT INTO kv VALUES (?, ?)", (f"k{n}", v)),
        ("INSERT OR REPLACE INTO kv VALUES (?, ?)", (f"k{n}", v)),
        ("INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET v = excluded.v", (f"k{n}", random.randrange(20))),
        ("INSERT OR ROLLBACK INTO kv VALUES (?, ?)", (f"k{n}", v)),
        ("INSERT OR FAIL INTO kv VALUES (?, 1), (?, 2), ('k3', 3)", (f"x{n}", f"k{n}")),
        ("UPDATE kv SET v = ? WHERE k < ?", (v, f"k{n}")),
        ("DELETE FROM kv WHERE k = ? RETURNING v", (f"k{n}",)),
        ("INSERT OR IGNORE INTO parent VALUES (?, ?)", (n, f"p{n % 11}")),
        ("UPDATE parent SET id = id + 1 WHERE id = ?", (n,)),
        ("DELETE FROM parent WHERE id = ?", (n,)),
        ("INSERT INTO child(p, n) VALUES (?, ?)", (n, random.randrange(100))),
        ("DELETE FROM child WHERE id % 5 = ?", (n % 5,)),
        ("INSERT INTO bare VALUES (?, ?)", (v, n)),
        ("UPDATE bare SET a = b, b = ? WHERE rowid % 7 = ?", (v, n % 7)),
        ("DELETE FROM bare WHERE b = ?", (n,)),
        ("INSERT OR REPLACE INTO compact VALUES (?, ?, ?)", (n, str(n % 4), v)),
        ("UPDATE compact SET a = -a WHERE b = ?", (str(n % 4),)),
        ("INSERT INTO doc VALUES (?)", (f"word{n} common",)),
        ("DELETE FROM doc WHERE rowid = ?", (n,)),
        ("UPDATE doc SET x = 'again' WHERE rowid % 6 = ?", (n % 6,)),
        "INSERT INTO doc(doc) VALUES ('optimize')",
        "INSERT INTO kv SELECT k || '-' || v, v FROM kv ORDER BY k LIMIT 3",
        f"CREATE TABLE made_{n % 3} (a PRIMARY KEY, b)",
        f"DROP TABLE made_{n % 3}",
        (f"INSERT INTO made_{n % 3} VALUES (?, 1)", (n,)),
        f"ALTER TABLE made_{n % 3} ADD COLUMN c{n} DEFAULT {n}",
        f"CREATE INDEX i{n % 4} ON kv (v)",
        f"DROP INDEX i{n % 4}",
        "ANALYZE",
        "SELECT count(*) FROM kv",
        "INSERT INTO nowhere VALUES (1)",
    ]
    return random.choice(choices)


@pytest.mark.parametrize("seed", SEEDS)
def test_replicas_stay_equal(tmp_path: Path, log_format: LogFormatName, seed: int) -> None:
    random = Random(seed)
    replicas = Replicas(tmp_path, log_format, page_size=random.choice((512, 1024, 4096)))
    names = ["one", "two"]
    leader, follower = (replicas.open(name) for name in names)
    replicas.do(leader, *SCHEMA)
    accepted = 0
    for step in range(STEPS):
        group = [
            transaction(*(call(random) for _ in range(random.choice((1, 1, 1, 2, 5)))), sequence=number)
            for number in range(random.choice((1, 1, 5, 20)))
        ]
        if random.random() < 0.1 and leader.execute(group, Position(1, len(replicas.log) + 1)).members:
            leader.abandon()
        accepted += len(replicas.write(leader, *group).members)
        if random.random() < 0.3:
            replicas.catch_up(follower, at_once=random.random() < 0.5)
            assert follower.digest() == leader.digest(), f"seed {seed}, step {step}"
        if random.random() < 0.1:
            names[0], names[1] = names[1], names[0]
            leader, follower = follower, leader
            replicas.catch_up(leader)
        if random.random() < 0.1:  # killed, and back from its disk
            replicas.stores[names[1]].close()
            follower = replicas.open(names[1])
        if random.random() < 0.1:
            replicas.copy(names[0], f"copy-{step}")
            copy = replicas.open(f"copy-{step}")
            replicas.catch_up(copy, at_once=True)
            assert copy.digest() == leader.digest(), f"seed {seed}, step {step}"
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    if isinstance(leader, WalStore) and isinstance(follower, WalStore):
        assert leader.page_digest() == follower.page_digest()
    assert accepted > STEPS
    replicas.close()


REPEATABLE: tuple[tuple[LogFormatName, UnsafePolicy], ...] = (
    ("statement", "pin"),
    ("statement", "mixed"),
    ("mixed", "allow"),
    ("logical", "allow"),
    ("wal", "allow"),
)
"""Log formats and policies under which no statement makes replicas differ."""


@pytest.mark.parametrize("seed", SEEDS[: max(4, len(SEEDS) - 4)])
@pytest.mark.parametrize(("log_format", "unsafe"), REPEATABLE)
def test_unsafe_programs_leave_replicas_equal(
    tmp_path: Path, log_format: LogFormatName, unsafe: UnsafePolicy, seed: int
) -> None:
    """Where statements travel, the followers read rows in the other order wherever SQL leaves it open."""
    random = Random(seed)
    grammar = sql_grammar.Grammar(random)
    reverse = log_format in ("statement", "mixed")
    replicas = Replicas(tmp_path, log_format, page_size=random.choice((512, 4096)), unsafe=unsafe)
    leader = replicas.open("one")
    follower = replicas.open("two", reverse_unordered=reverse)
    replicas.do(leader, *sql_grammar.SCHEMA)
    accepted = refused = 0
    for step in range(STEPS):
        group = [
            transaction(*(grammar.statement() for _ in range(random.choice((1, 1, 1, 2, 4)))), sequence=number)
            for number in range(random.choice((1, 3, 12)))
        ]
        execution = replicas.write(leader, *group)
        accepted += len(execution.members)
        refused += len(execution.refused)
        if random.random() < 0.4:
            replicas.catch_up(follower, at_once=random.random() < 0.5)
            assert follower.digest() == leader.digest(), f"seed {seed}, step {step}"
        if random.random() < 0.05:
            replicas.catch_up(follower)
            leader, follower = follower, leader
        if random.random() < 0.05:
            follower.close()
            follower = replicas.open("two" if follower is replicas.stores["two"] else "one", reverse_unordered=reverse)
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest(), f"seed {seed}"
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    if isinstance(leader, WalStore) and isinstance(follower, WalStore):
        assert leader.page_digest() == follower.page_digest()
    assert accepted > STEPS, f"seed {seed}: {accepted} of {accepted + refused} transactions accepted"
    replicas.close()


def test_the_same_programs_differ_when_everything_is_allowed(tmp_path: Path) -> None:
    """So the test above can fail: its programs do contain what replicas disagree about."""
    differing = 0
    for seed in range(4):
        grammar = sql_grammar.Grammar(Random(seed))
        replicas = Replicas(tmp_path / str(seed), "statement")
        leader, follower = replicas.open("one"), replicas.open("two", reverse_unordered=True)
        replicas.do(leader, *sql_grammar.SCHEMA)
        for number in range(100):
            replicas.write(leader, transaction(grammar.statement(), sequence=number))
        with contextlib.suppress(DivergedError, StorageError):
            replicas.catch_up(follower)
        differing += follower.digest() != leader.digest()
        replicas.close()
    assert differing == 4
