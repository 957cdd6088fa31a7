"""Bodies that are none, were cut or altered, or belong to another database: refused with the reason, or applied whole.

`WORKBENCH_FUZZ_CASES` says how many there are for each store, `WORKBENCH_FUZZ_EXAMPLES` how many hypothesis makes.
What the checksums of frames and of the log catch before, values inside of an intact structure, is not meant here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.replicas import Call, Replicas, rows
from workbench.config import LOG_FORMATS, LogFormatName
from workbench.errors import CodecError, DivergedError
from workbench.log_formats import changesets, logical, statement, wal
from workbench.log_formats.describing import describe
from workbench.protocol.values import Entry
from workbench.storage.base import Store
from workbench.storage.sqlite import open_store

CASES = int(os.environ.get("WORKBENCH_FUZZ_CASES", "1200"))
EXAMPLES = int(os.environ.get("WORKBENCH_FUZZ_EXAMPLES", "150"))
DECODED = 10_000

DECODERS: dict[str, Callable[[bytes], object]] = {
    "statement": statement.decode_body,
    "mixed": statement.decode_body,
    "logical": logical.decode_body,
    "wal": lambda body: wal.decode_body(body, 512),
    "changeset": lambda body: list(changesets.read_changes(body)),
}

PROGRAM: list[tuple[Call, ...]] = [
    ("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE, c)", "CREATE TABLE bare (a, b)"),
    ("CREATE TABLE k (k TEXT PRIMARY KEY, v)", "CREATE TABLE n (k TEXT PRIMARY KEY COLLATE NOCASE, v)"),
    ("CREATE VIRTUAL TABLE doc USING fts5(x)", "INSERT INTO doc VALUES ('some words')"),
    ("INSERT INTO t(b, c) VALUES (1, 'one'), (2, 2.5), (3, x'00ff')", "INSERT INTO bare VALUES (1, NULL), (2, 'x')"),
    ("INSERT INTO k VALUES (NULL, 1), ('a', 2), (NULL, 1)", "INSERT INTO n VALUES ('a', CAST(x'ff' AS TEXT))"),
    ("UPDATE t SET b = -b", "UPDATE t SET b = b + 4", "DELETE FROM bare WHERE a = 1"),
    ("UPDATE n SET k = 'A'", "DELETE FROM k WHERE v = 1", "INSERT INTO doc VALUES ('other words')"),
    ("CREATE TABLE made AS SELECT * FROM t", "ALTER TABLE made ADD COLUMN d DEFAULT 7", "UPDATE made SET d = a"),
    (("INSERT INTO t(b, c) VALUES (?, ?)", ("long" * 50, b"\x00" * 90)), "INSERT INTO bare VALUES (random(), 'r')"),
    ("PRAGMA user_version = 3", "CREATE INDEX i ON bare (b)", "UPDATE bare SET b = 'indexed'"),
    ("DROP TABLE made", "DELETE FROM sqlite_sequence", "DELETE FROM t WHERE a = 2"),
    ("VACUUM",),
]


class Recorded:
    """The bodies of a program, and directories of followers, each before one of its entries."""

    def __init__(self, directory: Path, log_format: LogFormatName) -> None:
        self.directory = directory
        self.log_format = log_format
        replicas = Replicas(directory / "made", log_format, page_size=512)
        leader, follower = replicas.open("leader"), replicas.open("follower")
        for number, calls in enumerate(PROGRAM):
            follower.close()
            shutil.copytree(directory / "made" / "follower", directory / f"before-{number}")
            follower = replicas.open("follower")
            replicas.do(leader, *calls)
            replicas.catch_up(follower)
        self.bodies = [entry.body for entry in replicas.log]
        replicas.close()
        self._count = 0

    def open(self, number: int) -> Store:
        """A follower that waits for entry `number`, counted from 0."""
        self._count += 1
        target = self.directory / f"copy-{self._count}"
        shutil.copytree(self.directory / f"before-{number}", target)
        return open_store(target, self.log_format, Replicas(self.directory, self.log_format).limits, page_size=512)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LogFormatName], Recorded]:
    made: dict[LogFormatName, Recorded] = {}

    def record(log_format: LogFormatName) -> Recorded:
        if log_format not in made:
            made[log_format] = Recorded(tmp_path_factory.mktemp(log_format), log_format)
        return made[log_format]

    return record


def altered(random: Random, body: bytes, other: bytes) -> bytes:
    """`body`, with something done to it."""
    data = bytearray(body)
    place, end = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    match random.randrange(8):
        case 0:
            return bytes(data[:place])
        case 1:
            return bytes(data) + random.randbytes(random.randrange(1, 9))
        case 2:
            del data[place : min(end, place + 9)]
        case 3:
            data[place:place] = data[place : min(end, place + 40)]
        case 4:
            data[place:end] = other[place:end]
        case 5:
            return random.randbytes(random.randrange(60))
        case _:
            for _ in range(random.choice((1, 1, 2, 6))):
                data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF, random.randrange(256)))
    return bytes(data)


def refusal(attempt: Callable[[], object]) -> str:
    """Why it was refused, in one line, or the empty string; any other error is one."""
    try:
        attempt()
    except (CodecError, DivergedError) as error:
        message = error.message
    else:
        return ""
    assert message
    assert "\n" not in message
    return message


def problems(store: Store) -> list[object]:
    """What SQLite finds wrong, but for what altered values mean to FTS5."""
    found = [text for (text,) in rows(store, "PRAGMA integrity_check")]
    return [text for text in found if text != "ok" and "fts5" not in str(text).lower()]


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_raise_one_error(recorded: Callable[[LogFormatName], Recorded], name: str) -> None:
    formats: dict[str, LogFormatName] = {"changeset": "logical"}
    bodies = recorded(formats.get(name, name)).bodies  # type: ignore[arg-type]
    if name == "changeset":
        parts = [part for body in bodies for part in logical.decode_body(body).parts]
        bodies = [part.changeset for part in parts if isinstance(part, logical.Changes)]
    random = Random(name)
    refused = 0
    for number in range(DECODED):
        good = bodies[number % len(bodies)]
        body = altered(random, good, random.choice(bodies))
        refused += bool(refusal(lambda body=body: DECODERS[name](body)))  # type: ignore[misc]
    assert refused > DECODED / 10


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=25,
)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES, raw=st.binary(max_size=60))
def test_decoders_of_any_structure_raise_one_error(name: str, value: Any, raw: bytes) -> None:
    for body in (
        raw,
        msgspec.msgpack.encode(value),
        msgspec.msgpack.encode([[value]]),
        msgspec.msgpack.encode([[[1, value]]]),
    ):
        refusal(lambda body=body: DECODERS[name](body))  # type: ignore[misc]
        if name in LOG_FORMATS:
            refusal(lambda body=body: list(describe(name, body)))  # type: ignore[misc]


@pytest.mark.parametrize("log_format", [name for name in LOG_FORMATS if name != "wal"])
def test_no_body_is_applied_in_part(recorded: Callable[[LogFormatName], Recorded], log_format: LogFormatName) -> None:
    record = recorded(log_format)
    random = Random(7)
    refused = applied = 0
    store, number = record.open(0), 0
    before = store.digest()
    for case in range(CASES):
        if case % (CASES // len(PROGRAM) + 1) == 0:
            store.close()
            number = case // (CASES // len(PROGRAM) + 1)
            store = record.open(number)
            before = store.digest()
        body = altered(random, record.bodies[number], random.choice(record.bodies))
        if random.random() < 0.1:
            body = random.choice(record.bodies)  # of another schema
        position = store.applied
        entry = Entry(1, number + 1, log_format, (), body)
        if message := refusal(lambda store=store, entry=entry: store.apply([entry])):  # type: ignore[misc]
            assert f"1.{number + 1}" in message, body
            assert store.applied == position
            assert store.digest() == before, body
            refused += 1
        else:
            applied += 1
            assert problems(store) == [], body
            store.close()
            store = record.open(number)
    store.close()
    assert refused > CASES / 3
    assert applied


def damaged_pages(random: Random, body: bytes) -> bytes:
    """A body of pages whose numbers and sizes are not what they were; images stay images."""
    page_size, database_pages, pages = msgspec.msgpack.decode(body)
    odd = random.choice((0, -1, 1, 2**31, 2**32, 2**63, 7, 10_000_000, None, "x"))
    match random.randrange(8):
        case 0:
            page_size = random.choice((odd, 256, 1024, 65536))
        case 1:
            database_pages = odd
        case 2 if pages:
            random.choice(pages)[0] = odd
        case 3 if pages:
            page = random.choice(pages)
            page[1] = page[1][: random.randrange(512)] or b"?"
        case 4 if pages:
            pages.append(random.choice(pages))
        case 5 if pages:
            random.choice(pages).append(odd)
        case 6:
            pages = odd
        case _:
            return altered(random, body[:9], body) + body[9:]
    return msgspec.msgpack.encode([page_size, database_pages, pages])


def test_no_page_is_written_of_a_body_that_does_not_fit(recorded: Callable[[LogFormatName], Recorded]) -> None:
    record = recorded("wal")
    random = Random(3)
    refused = 0
    for number in range(len(PROGRAM)):
        store = record.open(number)
        path = next(path for path in record.directory.glob(f"copy-{record._count}/database.sqlite"))
        before, position = path.read_bytes(), store.applied
        for _ in range(CASES // 3):
            body = damaged_pages(random, record.bodies[number])
            if not refusal(lambda body=body: wal.decode_body(body, 512)):  # type: ignore[misc]
                continue  # fits after all
            with pytest.raises((CodecError, DivergedError), match=rf"entry 1\.{number + 1}: "):
                store.apply([Entry(1, number + 1, "wal", (), body)])
            assert path.read_bytes() == before
            assert store.applied == position
            refused += 1
        store.apply([Entry(1, number + 1, "wal", (), record.bodies[number])])
        assert rows(store, "PRAGMA integrity_check") == (("ok",),)
        store.close()
    assert refused > CASES
