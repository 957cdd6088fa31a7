"""`workbench log show` of logs of every format, whole, torn, damaged, or not there."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inspection.logs import executed, seal_snapshot, snapshot_of, write_log
from workbench.config import LOG_FORMATS, LogFormatName
from workbench.protocol.membership import members_entry
from workbench.protocol.sessions import expiry_entry
from workbench.protocol.values import Entry

STATEMENTS = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)",
    "INSERT INTO item (name) VALUES ('tea'), ('Käse')",
    "UPDATE item SET name = 'green tea' WHERE id = 1",
    "ALTER TABLE item RENAME COLUMN name TO label",
    "DELETE FROM item WHERE id = 2",
)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The directory of a cluster of the statement format, with two replicas."""
    entries = executed(tmp_path / "made", "statement", *STATEMENTS)
    for name, count in (("replica-1", 6), ("replica-2", 4)):
        write_log(tmp_path / "shop" / "replicas" / name, entries[:count])
    return tmp_path / "shop"


def documents(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_every_format_is_shown_with_names_of_columns(call: Callable, tmp_path: Path, log_format: LogFormatName) -> None:
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", log_format, *STATEMENTS))
    before = snapshot_of(replica)
    shown = call("log", "show", str(replica)).out
    found = documents(call("log", "show", str(replica), "--json").out)
    assert [document["index"] for document in found] == [1, 2, 3, 4, 5, 6]
    assert {document["kind"] for document in found[1:]} == {log_format}
    assert found[2]["transactions"] == [{"session": 255, "sequence": 2}]
    assert "1 transaction: ff#2" in shown
    if log_format in ("statement", "mixed"):
        assert [document["content"][0]["sql"] for document in found[1:]] == list(STATEMENTS)
        assert all(sql in " ".join(shown.split()) for sql in STATEMENTS)
    else:
        assert {"table": "item", "operation": "INSERT", "new": {"id": 2, "name": "Käse"}} in found[2]["content"]
        assert found[5]["content"][-1] == {"table": "item", "operation": "DELETE", "old": {"id": 2, "label": "Käse"}}
        assert "name: 'tea' → 'green tea'" in shown
    assert snapshot_of(replica) == before


def test_a_replica_of_a_cluster_is_chosen_by_name(call: Callable, cluster: Path) -> None:
    assert len(documents(call("log", "show", str(cluster), "--json").out)) == 6
    assert len(documents(call("log", "show", str(cluster), "--replica", "replica-2", "--json").out)) == 4
    assert "also here, with --replica: replica-2" in call("log", "show", str(cluster)).out


def test_a_run_folder_has_cells(call: Callable, tmp_path: Path) -> None:
    entries = executed(tmp_path / "made", "statement", *STATEMENTS)
    for cell in ("ack-sync", "ack-async"):
        write_log(tmp_path / "run" / cell / "replicas" / "replica-1", entries)
    called = call("log", "show", str(tmp_path / "run"), "--replica", "ack-sync/replica-1")
    assert called.out.startswith("ack-sync/replica-1: entries 1 to 6")
    called = call("log", "show", str(tmp_path / "run"), "--replica", "replica-1")
    assert called.err == (
        "error: there are 2 replicas called 'replica-1' (one of ack-async/replica-1, ack-sync/replica-1)\n"
    )
    assert called.code == 2


def test_a_part_of_the_log_and_what_is_left_out(call: Callable, cluster: Path) -> None:
    shown = call("log", "show", str(cluster), "--from", "3", "--limit", "2").out
    assert [word for word in ("1.2", "1.3", "1.4", "1.5") if f" {word} " in shown] == ["1.3", "1.4"]
    assert "2 more entries: --from 5, or --limit 4 for all" in shown
    assert "no entry from 7 on" in call("log", "show", str(cluster), "--from", "7").out


def test_rows_in_pages_need_the_pages_before(call: Callable, tmp_path: Path) -> None:
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", "wal", *STATEMENTS))
    (document,) = documents(call("log", "show", str(replica), "--from", "4", "--limit", "1", "--json").out)
    assert document["content"][-1]["new"] == {"id": 1, "name": "green tea"}


def test_long_content_is_cut_and_json_is_not(call: Callable, tmp_path: Path) -> None:
    rows = ", ".join(f"({number}, '{'x' * 200}')" for number in range(1, 101))
    replica = write_log(
        tmp_path / "one",
        executed(tmp_path / "made", "logical", STATEMENTS[0], f"INSERT INTO item VALUES {rows}, (999, zeroblob(1000))"),
    )
    shown = " ".join(call("log", "show", str(replica)).out.split())
    assert "(120 more characters)" in shown
    assert "... and 89 more of 101: 89 INSERT item" in shown
    content = documents(call("log", "show", str(replica), "--json").out)[2]["content"]
    assert len(content) == 101
    assert content[0]["new"]["name"] == "x" * 200


def test_a_torn_tail_is_said_and_left(call: Callable, cluster: Path) -> None:
    path = next((cluster / "replicas" / "replica-2" / "log").glob("*.log"))
    path.write_bytes(path.read_bytes()[:-3])
    before = snapshot_of(cluster)
    called = call("log", "show", str(cluster), "--replica", "replica-2")
    assert "torn tail: " in called.out
    assert "a record is cut short" in called.out
    assert called.out.startswith("replica-2: entries 1 to 3, ")
    assert called.code == 0
    assert snapshot_of(cluster) == before


def test_a_damaged_log_is_one_line(call: Callable, tmp_path: Path) -> None:
    entries = executed(tmp_path / "made", "statement", *STATEMENTS)
    replica = write_log(tmp_path / "one", entries, segment_bytes_max=1)
    path = min((replica / "log").glob("*.log"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    called = call("log", "show", str(replica))
    assert called.err.startswith(
        f"error: {path}, offset 64: a record's checksum does not match, but entry 1 was durable"
    )
    assert (called.err.count("\n"), called.code) == (1, 2)


NO_LOGS = {
    "nowhere": "error: there is no directory nowhere\n",
    "file": "error: file is a file, not a directory (give the directory of a replica)\n",
    "empty": "error: empty holds no replication log (give the directory of a replica, of a cluster or of a run; "
    "`workbench load --directory` makes one)\n",
    "run": "error: run holds no replication log (the run folder of failover keeps what was measured, not the "
    "replicas' files; `workbench load FILE.sql --directory DIR` keeps them)\n",
    "shop --replica replica-9": "error: there is no replica 'replica-9' (one of replica-1, replica-2)\n",
}


@pytest.mark.parametrize("arguments", NO_LOGS)
def test_what_is_no_log_is_one_line(call: Callable, tmp_path: Path, cluster: Path, arguments: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"experiment": "failover"}')
    called = call("log", "show", *arguments.split())
    assert (called.err, called.out, called.code) == (NO_LOGS[arguments], "", 2)


def test_behind_a_snapshot_names_are_known_as_far_as_the_schema_is(call: Callable, tmp_path: Path) -> None:
    """A log that begins with entry 4, and a snapshot at entry 6; the schema changed in entry 5."""
    statements = (*STATEMENTS[:3], "ALTER TABLE item RENAME COLUMN name TO label", *STATEMENTS[4:], "DELETE FROM item")
    entries = executed(tmp_path / "made", "logical", *statements)
    replica = write_log(tmp_path / "one", entries, segment_bytes_max=1)
    for path in sorted((replica / "log").glob("*.log"))[:3]:
        path.unlink()
    seal_snapshot(replica, tmp_path / "again", "logical", entries[:6])
    found = documents(call("log", "show", str(replica), "--json").out)
    assert [document["index"] for document in found] == [4, 5, 6, 7]
    assert found[0]["content"][0]["new"] == {"1": "green tea"}, "the names before the change are not known"
    assert found[2]["content"][0]["old"] == {"id": 2, "label": "Käse"}
    assert found[3]["content"][0]["old"] == {"id": 1, "label": "green tea"}
    assert "a snapshot covers the entries up to 1.6" in call("log", "show", str(replica)).out


@pytest.mark.parametrize("name", ["installing", "00000000000000000006-1.snapshot"])
def test_a_snapshot_that_cannot_be_used_is_one_line(call: Callable, tmp_path: Path, name: str) -> None:
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", "logical", *STATEMENTS))
    (replica / "snapshots").mkdir()
    (replica / "snapshots" / name).write_bytes(b"no snapshot")
    called = call("log", "show", str(replica))
    assert called.err.startswith(f"error: {replica}/snapshots/{name}: ")
    assert (called.err.count("\n"), called.out, called.code) == (1, "", 2)


def test_entries_without_data_and_bodies_that_are_none(call: Callable, tmp_path: Path) -> None:
    entries = [
        Entry(1, 1, "", (), b""),
        members_entry(1, 2, ("replica-1", "replica-2")),
        expiry_entry(1, 3, 1),
        Entry(1, 4, "statement", (), b"\xc1 no body", 2**60),
        Entry(1, 5, "of the future", (), b"what"),
    ]
    replica = write_log(tmp_path / "one", entries)
    found = documents(call("log", "show", str(replica), "--json").out)
    assert [document["content"] for document in found[:3]] == [
        [],
        [{"members": ["replica-1", "replica-2"]}],
        [{"expires_up_to": 1}],
    ]
    assert found[3]["not_described"].startswith("not a StatementBody")
    assert base64.b64decode(found[3]["body_base64"]) == b"\xc1 no body"
    assert found[4]["not_described"] == "an entry of the unknown kind 'of the future'"
    shown = call("log", "show", str(replica)).out
    assert "the first entry of term 1" in shown
    assert "members: replica-1, replica-2" in shown
    assert "forgets the sessions that wrote last at or before entry 1" in shown
    assert "not described: not a StatementBody" in shown


@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_text_that_is_not_utf_8_is_shown_or_said_to_be_there(
    call: Callable, tmp_path: Path, log_format: LogFormatName
) -> None:
    statements = (
        "CREATE TABLE t (x)",
        "INSERT INTO t VALUES (CAST(x'c3' AS TEXT)), ('fine')",
        "INSERT INTO t VALUES (1)",
    )
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", log_format, *statements))
    found = documents(call("log", "show", str(replica), "--json").out)
    if log_format == "logical":
        assert found[2]["content"][0]["new"]["x"] == {"text": "ww=="}
        assert "CAST(x'c3' AS TEXT)" in call("log", "show", str(replica)).out
    if log_format == "wal":
        assert found[2]["rows_not_described"] == "a table that it changes holds text that is not valid UTF-8"
    assert not any("not_described" in document for document in found)


def test_a_row_image_of_one_row_is_a_change(call: Callable, tmp_path: Path) -> None:
    statements = (
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v)",
        "INSERT INTO t VALUES ('a', 1), ('b', 1)",
        "UPDATE t SET v = 2 WHERE k = 'a'",
        "UPDATE t SET v = 3",
    )
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", "logical", *statements))
    found = documents(call("log", "show", str(replica), "--json").out)
    (change,) = found[3]["content"]
    assert (change["operation"], change["old"], change["new"]) == ("UPDATE", {"k": "a", "v": 1}, {"k": "a", "v": 2})
    assert sorted(part["operation"] for part in found[4]["content"]) == ["DELETE", "DELETE", "INSERT", "INSERT"]


@pytest.mark.parametrize("log_format", ["logical", "wal"])
def test_a_log_that_reaches_back_to_nothing_is_shown_without_names(
    call: Callable, tmp_path: Path, log_format: LogFormatName
) -> None:
    statements = ("CREATE TABLE t (x)", "INSERT INTO t VALUES (1)", "ALTER TABLE t RENAME x TO y", "DELETE FROM t")
    replica = write_log(tmp_path / "one", executed(tmp_path / "made", log_format, *statements), segment_bytes_max=1)
    for path in sorted((replica / "log").glob("*.log"))[:2]:
        path.unlink()
    found = documents(call("log", "show", str(replica), "--json").out)
    assert [document["index"] for document in found] == [3, 4, 5]
    if log_format == "logical":
        assert [document["content"][-1].get("old") for document in found] == [None, None, {"0": 1, "1": 1}]
    else:
        reason = "the log does not reach back to its beginning, nor to a snapshot"
        assert {document["rows_not_described"] for document in found} == {reason}
