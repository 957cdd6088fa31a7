"""Random SQL through a leader in SQLite into a follower in DuckDB, which crashes, goes back and begins anew.

One seed makes one program; a failure prints it. More of them: widen SEEDS.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.storage.duckdb_followers import Followers, differences
from tests.storage.replicas import Call, transaction
from tests.storage.test_random_programs import SCHEMA as COMMON_SCHEMA
from tests.storage.test_random_programs import call as common_call
from workbench.protocol.values import Position

SEEDS = range(4)
STEPS = 35

GENERATED = "CREATE TABLE gen (a INTEGER PRIMARY KEY, b TEXT, c AS (b || 'x'), d REAL AS (a * 2) STORED)"
TYPED = "CREATE TABLE typed (i INT, r REAL, n NUMERIC, t TEXT, b BLOB)"
SCHEMA = (
    *COMMON_SCHEMA,
    GENERATED,
    TYPED,
    "CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, v)",
    "CREATE TABLE hides (_rowid_ INT, x)",
)
CALLS = (
    "ALTER TABLE made_{n} RENAME TO made_x{n}",
    "ALTER TABLE made_x{n} RENAME TO made_{n}",
    "ALTER TABLE made_{n} RENAME COLUMN b TO bb{m}",
    "ALTER TABLE made_{n} DROP COLUMN c{m}",
    "ALTER TABLE made_{n} ADD COLUMN c{m} DEFAULT 'x'",
    "ALTER TABLE made_{n} ADD COLUMN c{m} INTEGER DEFAULT 'x'",
    "CREATE TABLE made_{n} AS SELECT * FROM kv WHERE k < 'k2'",
    "CREATE TABLE made_{n} AS SELECT a, b + 1 AS b FROM bare",
    "DROP TABLE parent",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name UNIQUE)",
    "INSERT INTO child(p, n) SELECT id, 1 FROM parent",
    "INSERT INTO gen(a, b) VALUES ({m}, {n})",
    "UPDATE gen SET b = {m} WHERE a % 3 = 1",
    "DELETE FROM gen WHERE a = {m}",
    "ALTER TABLE gen ADD COLUMN g{m} AS (a + {m})",
    "DROP TABLE gen",
    GENERATED,
    "INSERT INTO bare VALUES (CAST(x'ff{m:02d}' AS TEXT), -0.0)",
    "DELETE FROM bare WHERE rowid % 3 = 1",
    "UPDATE kv SET v = CAST(x'fe' AS TEXT) WHERE k = 'k{m}'",
    "INSERT INTO kv VALUES (NULL, {m})",
    "UPDATE kv SET v = {m} WHERE k IS NULL",
    "DROP TABLE doc",
    "CREATE VIRTUAL TABLE doc USING fts5(x)",
    "ALTER TABLE doc RENAME TO doc2",
    "ALTER TABLE doc2 RENAME TO doc",
    "INSERT INTO doc(x) VALUES (1.5)",
    "CREATE VIEW v{n} AS SELECT * FROM kv",
    "DROP VIEW v{n}",
    "INSERT INTO nocase VALUES ('K{m}', {m})",
    "UPDATE nocase SET k = upper(k) WHERE v < {m}",
    "INSERT OR REPLACE INTO nocase VALUES ('k{m}', 'x')",
    "INSERT INTO hides VALUES ({m}, 'a')",
    "DELETE FROM hides WHERE _rowid_ < {m}",
    "INSERT INTO typed VALUES ({m}, 'x', 1, 'y', x'00')",
    "INSERT INTO typed VALUES ('t{m}', 1.5, 'r', x'01', 'text')",
    "INSERT INTO typed VALUES (1e300, 9e999, -9e999, 1, 0.5)",
    "UPDATE typed SET i = r, r = t WHERE rowid % 4 = 1",
    "DROP TABLE typed",
    TYPED,
    "VACUUM",
)


def call(random: Random) -> Call:
    if random.random() < 0.6:
        return common_call(random)
    return random.choice(CALLS).format(n=random.randrange(3), m=random.randrange(30))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_follower_in_duckdb_stays_equal(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    followers = Followers(tmp_path, "logical", page_size=random.choice((512, 4096)))
    leader, duck = followers.open("leader"), followers.follow()
    followers.do(leader, *SCHEMA)
    accepted = compared = 0
    for step in range(STEPS):
        group = [
            transaction(*(call(random) for _ in range(random.choice((1, 1, 1, 2, 5)))), sequence=number)
            for number in range(random.choice((1, 1, 5, 20)))
        ]
        for together in [[one] for one in group] if any(one.runs_alone for one in group) else [group]:
            accepted += len(followers.write(leader, *together).members)
        if random.random() < 0.3:
            followers.catch_up(duck, at_once=random.random() < 0.5)
            assert differences(leader, duck) == {}, f"seed {seed}, step {step}"
            compared += 1
        if random.random() < 0.1:  # killed, and back from its disk
            duck = followers.reopen()
        if random.random() < 0.1 and duck.applied.index > 5:
            index = duck.applied.index - random.randrange(1, 4)
            duck.rewind(Position(1, index), reversed(followers.log[index : duck.applied.index]))
        if random.random() < 0.05:
            duck.close()
            duck = followers.restore(followers.snapshot(leader, f"{step}.snapshot"))
            assert differences(leader, duck) == {}, f"seed {seed}, snapshot in step {step}"
    followers.catch_up(duck)
    assert differences(leader, duck) == {}, f"seed {seed}"
    assert accepted > STEPS
    assert compared > 3
    followers.close()
