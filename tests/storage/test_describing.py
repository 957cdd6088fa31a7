"""Bodies in words: the right ones, for every body, and an error for what is none."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Replicas, rows
from workbench.config import LogFormatName
from workbench.errors import CodecError
from workbench.log_formats.describing import Described, describe, json_value
from workbench.log_formats.wal_rows import RowReader
from workbench.protocol.values import EXPIRY_KIND, MEMBERS_KIND


def test_values_that_json_lacks() -> None:
    values = (None, 1, -(2**63), 0.5, "ü", b"\x00", float("inf"), float("-inf"))
    carried = [json_value(value) for value in values]
    assert carried == [None, 1, -(2**63), 0.5, "ü", {"blob": "AA=="}, {"real": "inf"}, {"real": "-inf"}]
    assert json.loads(json.dumps(carried, allow_nan=False)) == carried


@pytest.mark.parametrize("kind", ["statement", "logical", "wal", MEMBERS_KIND, EXPIRY_KIND, "other"])
def test_what_is_no_body_is_an_error(kind: str) -> None:
    for bad in (b"", b"\xc1", b"\x92\xc0\xc0", b"\xc4\x01x"):
        with pytest.raises(CodecError):
            describe(kind, bad)


def test_columns_are_named_where_their_number_fits(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "logical")
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (k TEXT PRIMARY KEY, v)", "CREATE TABLE bare (a, b)")
    replicas.do(leader, "INSERT INTO t VALUES ('x', 1)", "INSERT INTO bare VALUES (2, 3)")
    replicas.do(leader, "UPDATE t SET v = 2")
    names = {"t": ("k", "v"), "bare": ("a", "b")}
    inserted = describe("logical", replicas.log[1].body, lambda table: names[table])
    assert {"table": "t", "operation": "INSERT", "new": {"k": "x", "v": 1}} in inserted
    assert {"table": "bare", "operation": "INSERT", "new": {"rowid": 1, "a": 2, "b": 3}} in inserted
    assert describe("logical", replicas.log[2].body) == [
        {"table": "t", "operation": "UPDATE", "old": {"0": "x", "1": 1}, "new": {"1": 2}}
    ]
    replicas.do(leader, "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)", "INSERT INTO counted VALUES (4)")
    assert {"sequences": {"counted": 4}} in describe("logical", replicas.log[3].body)
    replicas.close()


def test_every_entry_of_every_format_can_be_described(replicas: Replicas, log_format: LogFormatName) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "CREATE VIRTUAL TABLE doc USING fts5(x)")
    replicas.do(leader, ("INSERT INTO t(v) VALUES (?), (?)", (b"\xff", "\x00")), "INSERT INTO doc VALUES ('a')")
    replicas.do(leader, "SELECT 1")
    for entry in replicas.log:
        assert json.dumps(describe(log_format, entry.body))


class Model:
    """Tables as the described rows make them."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[object, Described]] = {"t": {}, "pair": {}, "bare": {}}

    def change(self, change: Described) -> None:
        if "table" not in change:
            return
        table = self.tables[str(change["table"])]
        old, new = change.get("old"), change.get("new")
        for row, expected in ((old, True), (new, False)):
            if isinstance(row, dict):
                key = self._key(str(change["table"]), row)
                if expected:
                    assert table.pop(key) == row
                else:
                    assert key not in table
                    table[key] = row

    def _key(self, table: str, row: Described) -> object:
        return row["id"] if table == "t" else (row["a"], row["b"]) if table == "pair" else row["n"]


@pytest.mark.parametrize("seed", range(8))
def test_the_rows_found_in_pages_are_exactly_those_that_changed(tmp_path: Path, seed: int) -> None:
    """Rows over many pages, in place, moved between pages, in pages that were given up."""
    random = Random(seed)
    replicas = Replicas(tmp_path, "wal", page_size=1024)
    leader = replicas.open("leader")
    replicas.do(
        leader,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "CREATE TABLE pair (a, b TEXT, c, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "CREATE TABLE bare (n, x)",
        "CREATE INDEX t_by_v ON t (v)",
    )
    numbers = iter(range(10_000))
    reader, model = RowReader(b"", 1024), Model()
    described = changed = 0
    for step in range(60):
        n = next(numbers)
        blob = bytes([n % 256]) * random.choice((10, 900, 5000, 5000))
        replicas.do(
            leader,
            *random.choices(
                [
                    ("INSERT INTO t(v) VALUES (?), (zeroblob(900)), (7)", (blob,)),
                    ("INSERT OR REPLACE INTO pair VALUES (?, ?, ?)", (n % 7, f"k{n % 11}", blob)),
                    ("INSERT INTO bare SELECT ?1, ?2 WHERE ?1 NOT IN (SELECT n FROM bare)", (n, blob)),
                    ("UPDATE t SET v = zeroblob(length(v)) WHERE id % 5 = ?", (n % 5,)),
                    ("UPDATE t SET v = substr(v, 1, 4500) || ? WHERE length(v) = 5000", (b"e" * 500,)),
                    ("DELETE FROM t WHERE id % 7 = ?", (n % 7,)),
                    ("DELETE FROM pair WHERE a = ?", (n % 7,)),
                    ("UPDATE bare SET x = x WHERE n % 2 = 0", ()),
                    ("UPDATE t SET id = id + 10000 WHERE id = (SELECT max(id) FROM t)", ()),
                    ("DELETE FROM bare WHERE rowid < ?", (n - 20,)),
                ],
                weights=(6, 3, 3, 1, 1, 1, 1, 1, 1, 1),
                k=random.choice((1, 1, 1, 3)),
            ),
        )
        if step % 10 == 9:
            replicas.do(leader, "DELETE FROM t WHERE id > (SELECT avg(id) FROM t)")
        for entry in replicas.log[described:]:
            changes = reader.describe(entry.body)
            described += 1
            changed += len(changes)
            for change in changes:
                assert "unknown" not in change
                model.change(change)
        for table in ("t", "pair", "bare"):
            actual = rows(leader, f"SELECT * FROM {table}")
            found = {tuple(map(json.dumps, row.values())) for row in model.tables[table].values()}
            assert found == {tuple(json.dumps(json_value(value)) for value in row) for row in actual}, (seed, step)
    assert changed > 100
    reader.close()
    replicas.close()
