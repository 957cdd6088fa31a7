"""Law 6: what a rewind or an installation drops can be read afterwards, by people and by programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.replica.bench import Bench, config_of
from workbench.config import LogFormatName
from workbench.log_formats import wal_rows
from workbench.protocol.codec import encode_entry
from workbench.protocol.membership import members_entry
from workbench.protocol.sessions import expiry_entry
from workbench.protocol.values import Entry, Position
from workbench.replica import disk, rollback

Line = dict[str, Any]


@pytest.fixture
def bench(tmp_path: Path, log_format: LogFormatName) -> Iterator[Bench]:
    made = Bench(config_of(tmp_path / "a", log_format))
    made.new_term(1)
    made.write(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v, w DEFAULT 'w')",
        "CREATE TABLE pair (a INT, b TEXT COLLATE NOCASE, c, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "CREATE TABLE bare (x)",
        "CREATE INDEX t_by_v ON t (v)",
        "CREATE VIRTUAL TABLE doc USING fts5(x)",
    )
    made.write("INSERT INTO t(v) VALUES ('one'), ('two'), ('three')", "INSERT INTO bare VALUES (7)")
    made.write("INSERT INTO pair VALUES (1, 'x', 'first')")
    yield made
    made.close()


def lines_of(bench: Bench, number: int = -1) -> list[Line]:
    path = sorted((bench.config.directory / "rollback").iterdir())[number]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def dropped(bench: Bench, *writes: str | tuple[str, tuple[Any, ...]]) -> list[Line]:
    """The lines of these writes, each an entry of its own, after a rewind to before them."""
    to = bench.last
    for write in writes:
        bench.write(write, session=5)
    bench.rewind(to)
    return lines_of(bench)


def changes_of(line: Line, log_format: LogFormatName) -> list[Line]:
    """What a line describes, without the pages that the WAL format names first."""
    content: list[Line] = line["content"]
    return content[log_format == "wal" :]


def only(line: Line, log_format: LogFormatName) -> Line:
    """The one change that a line describes, in the words of its log format."""
    (change,) = changes_of(line, log_format)
    assert isinstance(change, dict)
    return change


def test_law_6_every_line_says_what_when_and_whose(bench: Bench) -> None:
    to = bench.last
    one = bench.write("INSERT INTO t(v) VALUES ('lost')", session=5)
    bench.rewind(to)
    (line,) = lines_of(bench)
    assert (line["term"], line["index"], line["kind"]) == (1, 5, bench.config.log_format)
    assert line["wall_ms"] == one.entry.wall_ms
    assert line["time"].startswith("20")
    assert line["time"].endswith("+00:00")
    assert line["transactions"] == [{"session": 5, "sequence": 4}]
    assert base64.b64decode(line["body_base64"]) == one.entry.body
    (path,) = (bench.config.directory / "rollback").iterdir()
    assert path.name == "0001-after-1.4.jsonl"


def test_law_6_changed_rows_are_named(bench: Bench) -> None:
    log_format = bench.config.log_format
    lines = dropped(
        bench,
        ("INSERT INTO t(id, v) VALUES (?, ?)", (9, b"\x00\xff")),
        ("UPDATE t SET v = ? WHERE id = ?", (2.5, 2)),
        "DELETE FROM t WHERE id = 1",
        "UPDATE pair SET c = 'second'",
        "INSERT INTO bare VALUES (NULL)",
    )
    found = [only(line, log_format) for line in lines]
    if log_format in ("statement", "mixed"):
        assert found == [
            {"sql": "INSERT INTO t(id, v) VALUES (?, ?)", "parameters": [9, {"blob": "AP8="}]},
            {"sql": "UPDATE t SET v = ? WHERE id = ?", "parameters": [2.5, 2]},
            {"sql": "DELETE FROM t WHERE id = 1", "parameters": []},
            {"sql": "UPDATE pair SET c = 'second'", "parameters": []},
            {"sql": "INSERT INTO bare VALUES (NULL)", "parameters": []},
        ]
        return
    assert [(change["table"], change["operation"]) for change in found] == [
        ("t", "INSERT"), ("t", "UPDATE"), ("t", "DELETE"), ("pair", "UPDATE"), ("bare", "INSERT"),
    ]  # fmt: skip
    assert found[0]["new"] == {"id": 9, "v": {"blob": "AP8="}, "w": "w"}
    assert (found[1]["old"]["v"], found[1]["new"]["v"]) == ("two", 2.5)
    assert (found[1]["old"]["id"], found[2]["old"]) == (2, {"id": 1, "v": "one", "w": "w"})
    assert (found[3]["old"]["c"], found[3]["new"]["c"], found[3]["old"]["b"]) == ("first", "second", "x")
    assert found[4]["new"]["x"] is None


def test_law_6_changes_of_the_schema_are_named(bench: Bench) -> None:
    line, added, full_text = dropped(
        bench,
        "CREATE TABLE late (a PRIMARY KEY)",
        "ALTER TABLE t ADD COLUMN extra",
        "INSERT INTO doc VALUES ('some words')",
    )
    if bench.config.log_format == "wal":
        assert {"schema": "table late", "old": None, "new": "CREATE TABLE late (a PRIMARY KEY)"} in line["content"]
        (change,) = changes_of(added, "wal")
        assert change["schema"] == "table t"
        assert "extra" in change["new"]
        assert "extra" not in change["old"]
        assert changes_of(full_text, "wal") == [{"table": "doc", "operation": "INSERT", "new": {"x": "some words"}}]
        assert line["content"][0]["pages"]
    else:
        assert line["content"][0]["sql"] == "CREATE TABLE late (a PRIMARY KEY)"


def test_law_6_entries_without_data_are_described_too(bench: Bench) -> None:
    to = bench.last
    bench.take(bench.entry(""))
    bench.take(encode_entry(members_entry(1, bench.last.index + 1, ("a", "b"))))
    bench.take(encode_entry(expiry_entry(1, bench.last.index + 1, 3)))
    bench.rewind(to)
    assert [(line["kind"], line["content"], line["time"]) for line in lines_of(bench)] == [
        ("", [], None),
        ("members", [{"members": ["a", "b"]}], None),
        ("expiry", [{"expires_up_to": 3}], None),
    ]


def test_law_6_what_cannot_be_described_is_kept_with_the_reason(bench: Bench) -> None:
    to = bench.last
    bench.append_only(encode_entry(Entry(1, to.index + 1, bench.config.log_format, (), b"\xc1 no body")))
    bench.append_only(encode_entry(Entry(1, to.index + 2, "duckdb", (), b"of the future", 2**60)))
    bench.rewind(to)
    one, two = lines_of(bench)
    assert "not a" in one["not_described"]
    assert base64.b64decode(one["body_base64"]) == b"\xc1 no body"
    assert "unknown kind 'duckdb'" in two["not_described"]
    assert base64.b64decode(two["body_base64"]) == b"of the future"


def test_each_drop_has_a_file_of_its_own(bench: Bench) -> None:
    for number in range(3):
        assert len(dropped(bench, *["INSERT INTO t(v) VALUES ('a\u2028b\x85c\nd')"] * (number + 1))) == number + 1
    folder = bench.config.directory / "rollback"
    names = [f"000{number}-after-1.4.jsonl" for number in (1, 2, 3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    (folder / names[0]).unlink()
    assert len(dropped(bench, "INSERT INTO t(v) VALUES (1)")) == 1
    assert sorted(path.name for path in folder.iterdir()) == [*names[1:], "0004-after-1.4.jsonl"]


def test_rows_are_found_behind_a_snapshot(tmp_path: Path) -> None:
    bench = Bench(config_of(tmp_path / "a", "wal"))
    bench.new_term(1)
    bench.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    bench.write("INSERT INTO t(v) VALUES ('one')")
    bench.drop_log(bench.make_snapshot().index)
    bench.write("INSERT INTO t(v) VALUES ('two')")
    lines = dropped(bench, "UPDATE t SET v = 'lost' WHERE id = 1", "DELETE FROM t WHERE id = 2")
    assert [only(line, "wal") for line in lines] == [
        {"table": "t", "operation": "UPDATE", "old": {"id": 1, "v": "one"}, "new": {"id": 1, "v": "lost"}},
        {"table": "t", "operation": "DELETE", "old": {"id": 2, "v": "two"}},
    ]
    bench.close()


@pytest.mark.parametrize("bound", ["database", "log", "rows", "time"])
def test_what_is_too_much_to_look_into_is_said(tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(config_of(tmp_path / "a", "wal"))
    bench.new_term(1)
    bench.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    bench.write(*[("INSERT INTO t(v) VALUES (?)", ("x" * 500,))] * 50)
    if bound == "database":
        bench.make_snapshot()
        monkeypatch.setattr(disk, "DATABASE_BYTES_MAX", 10_000)
    elif bound == "log":
        monkeypatch.setattr(wal_rows, "DATABASE_BYTES_MAX", 10_000)
    elif bound == "rows":
        monkeypatch.setattr(wal_rows, "ROWS_MAX", 3)
    else:
        monkeypatch.setattr(rollback, "ROWS_SECONDS_MAX", 0.0)
    first, second = dropped(bench, "UPDATE t SET v = 'y'", "DELETE FROM t")
    match bound:
        case "rows":
            assert [len(changes_of(line, "wal")) for line in (first, second)] == [4, 4]
            assert first["content"][-1] == {"unknown": "more than 3 rows were changed"}
        case "time":
            assert len(changes_of(first, "wal")) == 50
            assert "took more than" in second["rows_not_described"]
        case _:
            assert "more than 10000 bytes" in first["rows_not_described"] == second["rows_not_described"]
    assert second["content"][0]["pages"]
    bench.close()


def test_law_6_nothing_is_dropped_before_its_file_is_durable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    to = bench.last
    bench.write("INSERT INTO t(v) VALUES ('kept')")
    before, digest = bench.last, bench.digest()
    rename: Callable[..., None] = bench.storage._disk._files.rename

    def failing(source: Path, target: Path) -> None:
        if target.suffix == ".jsonl":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(bench.storage._disk._files, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        bench.rewind(to)
    monkeypatch.undo()
    again = bench.killed("killed")
    assert (again.last, again.digest()) == (before, digest)
    again.close()


def test_a_position_without_entries_before_it_can_be_rewound_to(bench: Bench) -> None:
    bench.rewind(Position())
    assert [line["index"] for line in lines_of(bench)] == [1, 2, 3, 4]
    if bench.config.log_format == "wal":
        created = [change["schema"] for change in changes_of(lines_of(bench)[1], "wal")]
        assert {"table t", "table pair", "table bare", "index t_by_v"} <= set(created)
