"""The file of apply times: what a commit, an apply and reads leave in it, and what a crash leaves."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.replica.bench import config_of
from workbench.protocol.codec import encode_entry
from workbench.protocol.effects import Append, Apply, Commit, Execute, Query
from workbench.protocol.inputs import Executed
from workbench.protocol.messages import Read
from workbench.protocol.values import Entry, LoggedEntry, Position, Statement, Transaction
from workbench.replica.apply_times import FILE_NAME, ApplyTimes, read_apply_times
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage


def storage_in(directory: Path, *, apply_times: bool) -> ReplicaStorage:
    directory.mkdir()
    storage = ReplicaStorage(replace(config_of(directory, "statement"), apply_times=apply_times), Counters())
    storage.recover()
    return storage


def write(storage: ReplicaStorage, index: int, sql: str) -> LoggedEntry:
    """One transaction of a leader, committed; its entry."""
    position = Position(1, index)
    (executed,) = storage.perform(Execute(position, (Transaction(1, index, (Statement(sql),)),)))
    assert isinstance(executed, Executed)
    entry = Entry(1, index, "statement", executed.execution.members, executed.execution.body)
    logged = encode_entry(entry)
    storage.perform(Append((logged,)))
    storage.perform(Commit(position))
    return logged


def test_leader_and_follower_note_what_is_visible_and_what_was_read(tmp_path: Path) -> None:
    began_ns = time.monotonic_ns()
    leader = storage_in(tmp_path / "leader", apply_times=True)
    follower = storage_in(tmp_path / "follower", apply_times=True)
    entries = tuple(write(leader, n, "CREATE TABLE t (a)" if n == 1 else "INSERT INTO t VALUES (1)") for n in (1, 2, 3))
    follower.perform(Append(entries))
    for part in (entries[:1], entries[1:]):
        follower.perform(Apply(part))
    reads = tuple(("client", Read(1, n, Statement("SELECT * FROM t"))) for n in (1, 2))
    follower.perform(Query(reads))
    leader.close()
    follower.close()

    applied, answered = read_apply_times(tmp_path / "leader")
    assert [(one.term, one.index) for one in applied] == [(1, 1), (1, 2), (1, 3)]
    assert answered == []
    applied, answered = read_apply_times(tmp_path / "follower")
    assert [(one.term, one.index) for one in applied] == [(1, 1), (1, 3)]
    assert [one.reads for one in answered] == [2]
    times = [one.time_ns for one in applied] + [one.time_ns for one in answered]
    assert times == sorted(times)
    assert began_ns <= times[0] <= times[-1] <= time.monotonic_ns()


def test_nothing_is_noted_unless_asked_for(tmp_path: Path) -> None:
    storage = storage_in(tmp_path / "leader", apply_times=False)
    write(storage, 1, "CREATE TABLE t (a)")
    storage.close()
    assert not (tmp_path / "leader" / FILE_NAME).exists()
    assert read_apply_times(tmp_path / "leader") == ([], [])


@pytest.mark.parametrize("missing", [1, 24])
def test_a_torn_end_is_left_out(tmp_path: Path, missing: int) -> None:
    times = ApplyTimes(tmp_path)
    for index in (1, 2):
        times.note_applied(Position(1, index))
    times.close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-missing])
    assert [one.index for one in read_apply_times(tmp_path)[0]] == [1]
