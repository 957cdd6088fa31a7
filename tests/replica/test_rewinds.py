"""A rewind leaves exactly what the remaining log describes, and takes no longer a way than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.replica.bench import Bench, config_of
from tests.storage.replicas import Call
from workbench.config import LogFormatName
from workbench.protocol.codec import encode_entry
from workbench.protocol.inputs import Rewound
from workbench.protocol.membership import members_entry
from workbench.protocol.values import Position
from workbench.storage import sqlite_wal

SCHEMA: tuple[Call, ...] = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
    "CREATE TABLE kv (k TEXT PRIMARY KEY, v)",
    "CREATE TABLE bare (a, b)",
    "CREATE TABLE pair (a INT, b TEXT, c, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE)",
    "CREATE TABLE audit (what TEXT, n INT)",
    "CREATE TRIGGER on_delete AFTER DELETE ON child BEGIN INSERT INTO audit VALUES ('delete', OLD.id); END",
    "CREATE TRIGGER on_insert AFTER INSERT ON child BEGIN INSERT INTO audit VALUES ('insert', NEW.id); END",
    "CREATE VIRTUAL TABLE doc USING fts5(x)",
    "CREATE INDEX kv_by_v ON kv (v)",
)


class Pair:
    """A replica that is rewound, and a model that only ever had what remains."""

    def __init__(self, directory: Path, log_format: LogFormatName) -> None:
        self.leader = Bench(config_of(directory / "a", log_format))
        self.leader.new_term(1)
        self.leader.write(*SCHEMA)
        self.leader.write(
            "INSERT INTO parent VALUES (1), (2), (3)", "INSERT INTO child VALUES (10, 1), (11, 1), (12, 2)"
        )
        for number in range(12):
            self.leader.write(change(number))
        self.model = Bench(config_of(directory / "model", log_format, name="b"))
        self.model.save_term(1)
        self.follower = Bench(config_of(directory / "c", log_format, name="c"))
        self.follower.save_term(1)

    def check(self, rewound: Bench, to: Position, *, by_rebuild: bool) -> None:
        """`rewound` has just been brought back to `to`, and goes on."""
        assert rewound.last == to
        assert rewound.digest() == self.model.digest()
        assert rewound.rows("PRAGMA integrity_check") == (("ok",),)
        assert rewound.rows("SELECT count(*) FROM doc WHERE doc MATCH 'common'") == self.model.rows(
            "SELECT count(*) FROM doc WHERE doc MATCH 'common'"
        )
        assert (rewound.counters.rewinds_by_rebuild == 1) == by_rebuild
        self.model.save_term(3)
        for number in range(100, 110):
            self.model.write(change(number))
        rewound.save_term(3)
        rewound.follow(self.model)
        assert rewound.digest() == self.model.digest()
        again = rewound.restarted()
        assert again.digest() == self.model.digest()
        again.close()

    def close(self) -> None:
        for bench in (self.leader, self.model, self.follower):
            bench.close()


def change(number: int) -> Call:
    """Every kind of change of rows, in turns."""
    return (
        ("INSERT INTO t(v) VALUES (?)", (f"t{number}" * 50,)),
        ("INSERT OR REPLACE INTO kv VALUES (?, ?)", (f"k{number % 5}", number * 1.5)),
        ("INSERT INTO bare VALUES (?, ?)", (None, b"\x00" * (number + 1))),
        ("INSERT OR REPLACE INTO pair VALUES (?, ?, ?)", (number % 3, "x", number)),
        ("INSERT INTO child(parent) VALUES (?)", (number % 2 + 2,)),
        ("INSERT INTO doc VALUES (?)", (f"common only{number}",)),
        ("UPDATE t SET v = ? WHERE id = ?", (f"u{number}", number // 9)),
        ("DELETE FROM bare WHERE rowid % 3 = ?", (number % 3,)),
        ("UPDATE pair SET a = a + 10 WHERE a = ?", (number % 3,)),
        ("UPDATE kv SET k = k || 'x' WHERE k = ?", (f"k{number % 5}",)),
        ("DELETE FROM parent WHERE id = ?", (1,)),
        ("UPDATE doc SET x = 'common again' WHERE rowid = ?", (number // 9,)),
    )[number % 12]


@pytest.fixture
def pair(tmp_path: Path, log_format: LogFormatName) -> Iterator[Pair]:
    made = Pair(tmp_path, log_format)
    yield made
    made.close()


def test_nothing_that_was_applied_is_dropped(pair: Pair) -> None:
    leader = pair.leader
    pair.model.follow(leader)
    to, before = leader.last, leader.digest()
    leader.append_only(leader.entry(""))
    leader.append_only(leader.entry(""))
    assert list(leader.rewind(to)) == [Rewound(to)]
    assert leader.digest() == before
    assert (leader.counters.rewinds, leader.counters.entries_rolled_back) == (1, 2)
    pair.check(leader, to, by_rebuild=False)


def test_an_old_leader_takes_changes_back(pair: Pair) -> None:
    """Its changesets are inverted, or its frames cut off; statements do not say what they replaced."""
    leader = pair.leader
    pair.model.follow(leader)
    to = leader.last
    for number in range(30, 54):
        leader.write(change(number))
    leader.take(encode_entry(members_entry(1, leader.last.index + 1, ("a", "b"))))
    leader.rewind(to)
    pair.check(leader, to, by_rebuild=leader.config.log_format in ("statement", "mixed"))


def test_an_old_leader_takes_back_its_whole_reign(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty entry with which it began included, which the database has been told of durably."""
    monkeypatch.setattr(sqlite_wal, "PERSIST_ENTRIES", 0)
    leader = pair.leader
    pair.model.follow(leader)
    to = leader.last
    leader = pair.leader = leader.restarted()
    leader.new_term(2)
    leader.write(change(24))
    leader.rewind(to)
    again = leader.killed("killed")
    assert (again.last, again.digest()) == (to, pair.model.digest())
    again.counters.rewinds_by_rebuild = leader.counters.rewinds_by_rebuild
    pair.check(again, to, by_rebuild=leader.config.log_format in ("statement", "mixed"))


def test_an_old_leader_takes_back_everything(pair: Pair) -> None:
    leader = pair.leader
    leader.rewind(Position())
    assert leader.digest() == pair.model.digest()
    assert leader.last == Position()
    assert leader.counters.rewinds_by_rebuild == (leader.config.log_format != "wal"), "the schema was dropped too"


def test_a_follower_takes_changes_back(pair: Pair) -> None:
    """A follower of the wal format has overwritten the pages: only a rebuild brings them back."""
    pair.model.follow(pair.leader)
    to = pair.leader.last
    for number in range(30, 54):
        pair.leader.write(change(number))
    pair.follower.follow(pair.leader)
    pair.follower.rewind(to)
    pair.check(pair.follower, to, by_rebuild=pair.follower.config.log_format != "logical")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE late (a)",
        "DROP TABLE kv",
        "ALTER TABLE t ADD COLUMN w DEFAULT 7",
        "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO numbered(v) VALUES (1)",
        "INSERT INTO doc(doc) VALUES ('optimize')",
    ],
)
def test_what_no_changeset_can_take_back(pair: Pair, statement: str) -> None:
    pair.leader.write("CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, v)")
    pair.leader.write("INSERT INTO numbered(v) VALUES (0)")
    pair.model.follow(pair.leader)
    to = pair.leader.last
    pair.leader.write(change(30))
    pair.leader.write(statement)
    pair.leader.write(change(31))
    pair.follower.follow(pair.leader)
    pair.follower.rewind(to)
    is_rows = pair.leader.config.log_format == "logical" and "optimize" in statement
    pair.check(pair.follower, to, by_rebuild=not is_rows)


def test_a_database_that_differs_is_made_anew(tmp_path: Path) -> None:
    """The inverted changes do not fit: nothing of them stays."""
    pair = Pair(tmp_path, "logical")
    pair.model.follow(pair.leader)
    to = pair.leader.last
    pair.leader.write(("INSERT INTO t(id, v) VALUES (?, ?)", (900, "x")))
    pair.leader.write(("INSERT INTO t(id, v) VALUES (?, ?)", (901, "x")))
    pair.leader.storage._disk.store._connection.execute("UPDATE t SET v = 'altered' WHERE id = 900")  # type: ignore[attr-defined]
    pair.leader.rewind(to)
    pair.check(pair.leader, to, by_rebuild=True)
    pair.close()


def test_a_leader_that_has_checkpointed_since_makes_its_database_anew(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "wal")
    pair.model.follow(pair.leader)
    to = pair.leader.last
    pair.leader.write(change(24))
    assert isinstance(pair.leader.copy(), Position)  # checkpoints
    pair.leader.write(change(25))
    pair.leader.rewind(to)
    pair.check(pair.leader, to, by_rebuild=True)
    pair.close()


def test_a_rebuild_starts_from_the_newest_snapshot(pair: Pair) -> None:
    pair.leader.drop_log(pair.leader.make_snapshot().index)
    assert not isinstance(pair.follower.receive(pair.leader), str)
    pair.leader.write(change(30))
    pair.model.receive(pair.leader)
    pair.model.follow(pair.leader)
    to = pair.leader.last
    pair.leader.write("CREATE TABLE late (a)")
    pair.leader.write(change(31))
    pair.follower.follow(pair.leader)
    pair.follower.rewind(to)
    pair.check(pair.follower, to, by_rebuild=True)


@pytest.mark.parametrize("seed", range(12))
def test_law_3_any_rewind_of_any_history(tmp_path: Path, log_format: LogFormatName, seed: int) -> None:
    """Leaders and followers of random histories go back to random places, again and again; seed printed by pytest."""
    random = Random(seed)
    leader = Bench(config_of(tmp_path / "a", log_format))
    leader.new_term(1)
    leader.write(*SCHEMA)
    leader.write("INSERT INTO parent VALUES (1), (2), (3)")
    digests = {leader.last: leader.digest()}

    def write() -> None:
        calls = [change(random.randrange(1000)) for _ in range(random.choice((1, 1, 3)))]
        if random.random() < 0.05:
            calls.append(f"CREATE TABLE made_{leader.last.index}_{leader.term} (a)")
        leader.write("INSERT INTO bare VALUES (1, 2)", *[call for call in calls if "INTO child" not in call[0]])

    def snapshot() -> None:
        leader.make_snapshot()
        leader.drop_log(leader.last.index)

    def rewind() -> None:
        kept = leader.log.first_index - 1
        back = [position for position in digests if position.index >= max(kept, floor())]
        to = random.choice(back)
        leader.rewind(to)
        assert leader.digest() == digests[to], f"seed {seed}, to {to}"
        for position in [position for position in digests if position.index > to.index]:
            del digests[position]
        leader.new_term(leader.term + 1)

    def floor() -> int:
        return leader.storage._disk.snapshots.base.index

    def restart() -> None:
        nonlocal leader
        leader = leader.restarted()

    steps: list[Callable[[], None]] = [write, snapshot, rewind, restart]
    for _ in range(60):
        random.choices(steps, (10, 1, 2, 1))[0]()
        digests[leader.last] = leader.digest()
    leader.close()
