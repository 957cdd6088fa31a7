"""What is true of the statement format alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.replicas import Replicas, rows, statement, transaction
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.statement import decode_body, encode_body
from workbench.protocol.values import Entry


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path, "statement")


def test_random_values_diverge_and_the_digest_says_where(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE safe (a)", "CREATE TABLE dice (a DEFAULT (random()))")
    replicas.do(leader, "INSERT INTO safe VALUES (1)", "INSERT INTO dice DEFAULT VALUES")
    replicas.catch_up(follower)
    differing = {table for table, digest in leader.digest().items() if follower.digest()[table] != digest}
    assert differing == {"dice"}


@pytest.mark.parametrize("other", ["logical", "wal"])
def test_the_other_formats_do_not_diverge(tmp_path: Path, other: str) -> None:
    replicas = Replicas(tmp_path, other)  # type: ignore[arg-type]
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE dice (a DEFAULT (random()), b DEFAULT CURRENT_TIMESTAMP)")
    replicas.do(
        leader, "INSERT INTO dice DEFAULT VALUES", "INSERT INTO dice SELECT randomblob(9), julianday('now') FROM dice"
    )
    replicas.catch_up(follower)
    assert leader.digest() == follower.digest()
    assert len(rows(follower, "SELECT * FROM dice")) == 2


def test_a_statement_that_fails_on_the_follower_is_divergence(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a PRIMARY KEY)")
    replicas.catch_up(follower)
    before = follower.digest()
    replicas.do(leader, "INSERT INTO t VALUES (1)")
    body = encode_body([[statement("INSERT INTO t VALUES (2)"), statement("INSERT INTO missing VALUES (1)")]])
    with pytest.raises(DivergedError, match=r"entry 1\.2: cannot replay .* no such table: missing"):
        follower.apply([Entry(1, 2, "statement", (), body)])
    assert follower.digest() == before


def test_a_text_travels_once_and_reads_do_not_travel(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    sql = "INSERT INTO t VALUES (?) -- a long comment that would be costly to repeat"
    replicas.write(leader, *(transaction((sql, (i,)), "SELECT count(*) FROM t") for i in range(32)))
    body = replicas.log[-1].body
    assert body.count(b"comment") == 1
    assert b"SELECT" not in body
    assert len(body) < 32 * 6 + 100
    decoded = decode_body(body)
    assert [call.parameters for (call,) in decoded.transactions] == [(i,) for i in range(32)]


def test_decoder_refuses_what_is_no_body() -> None:
    good = encode_body([[statement(("INSERT INTO t VALUES (?, ?)", (1, b"x")))]])
    assert decode_body(good).transactions[0][0].parameters == (1, b"x")
    for bad in (
        b"",
        good[:-1],
        good + b"\x00",
        good.replace(b"\x91\x92\x00", b"\x91\x92\x01"),
        good.replace(b"\x01\xc4", b"\x80\xc4"),
    ):
        with pytest.raises(CodecError):
            decode_body(bad)
