"""Consistent prefix and what became of known values: tiny histories, and the definitions written out on random ones."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.checkers.known_values import known_values
from workbench.checkers.prefix import consistent_prefix
from workbench.history_operations import OPEN, Operation

GOOD, BAD, UNDECIDED = "valid", "invalid", "unknown"


def op(f: str, session: int, key: str, value: Any, begin: int, end: int | None, index: int = 0) -> Operation:
    return Operation(
        number=begin, process=session, session=session, f=f, key=key, value=value, begin=begin, index=index, term=1,
        end=OPEN if end is None else end, outcome="info" if end is None else "ok", invoked_ns=begin, completed_ns=end,
    )  # fmt: skip


def w(session: int, key: str, value: Any, begin: int, end: int | None, index: int = 0) -> Operation:
    return op("write", session, key, value, begin, end, index)


def r(session: int, key: str, value: Any, begin: int, end: int | None) -> Operation:
    return op("read", session, key, value, begin, end)


QUESTION, ANSWER = w(1, "q", "why?", 0, 1), w(2, "a", "so", 10, 11)
READS_QUESTION = r(2, "q", "why?", 2, 3)


@pytest.mark.parametrize(
    ("operations", "expected", "kinds"),
    [
        pytest.param([QUESTION, ANSWER, r(3, "a", "so", 12, 13), r(3, "q", None, 14, 15)], BAD, (1, 0), id="real time"),
        pytest.param(
            [w(1, "q", 1, 0, 40), r(2, "q", 1, 2, 3), ANSWER, r(3, "a", "so", 12, 13), r(3, "q", None, 14, 15)],
            BAD,
            (1, 0),
            id="causal only: the question is not acknowledged yet",
        ),
        pytest.param(
            [w(1, "q", 1, 0, 40), ANSWER, r(3, "a", "so", 12, 13), r(3, "q", None, 14, 15)],
            GOOD,
            (0, 0),
            id="concurrent",
        ),
        pytest.param(
            [w(1, "q", 1, 0, 40), r(2, "q", 1, 2, 3), w(2, "m", 1, 4, 41), r(4, "m", 1, 5, 6), w(4, "a", 1, 7, 8),
             r(3, "a", 1, 12, 13), r(3, "q", None, 14, 15)],
            BAD,
            (1, 0),
            id="causal through another session",
        ),
        pytest.param(
            [QUESTION, ANSWER, r(3, "a", "so", 12, 13), r(3, "q", "why?", 14, 15)], GOOD, (0, 0), id="in order"
        ),
        pytest.param(
            [QUESTION, ANSWER, r(3, "q", None, 12, 13), r(3, "a", "so", 14, 15)], UNDECIDED, (0, 0), id="question first"
        ),
        pytest.param(
            [QUESTION, ANSWER, r(3, "a", "so", 12, 15), r(3, "q", None, 13, 14)], UNDECIDED, (0, 0), id="at once"
        ),
        pytest.param(
            [QUESTION, ANSWER, r(3, "a", "so", 12, 13), r(4, "q", None, 14, 15)], UNDECIDED, (0, 0), id="two readers"
        ),
        pytest.param(
            [w(1, "x", 1, 0, 50), w(2, "y", 1, 1, 51), r(3, "x", 1, 2, 3), r(3, "y", None, 4, 5), r(4, "y", 1, 6, 7),
             r(4, "x", None, 8, 9)],
            BAD,
            (0, 1),
            id="long fork",
        ),
        pytest.param(
            [w(1, "x", 1, 0, 50), w(2, "y", 1, 1, 51), r(3, "x", 1, 2, 3), r(3, "y", None, 4, 5), r(4, "x", 1, 6, 7),
             r(4, "y", None, 8, 9)],
            GOOD,
            (0, 0),
            id="both saw the same one first",
        ),
        pytest.param(
            [w(1, "x", 1, 0, 50), w(1, "x", 1, 51, 52), r(3, "x", 1, 60, 61)], UNDECIDED, (0, 0), id="a value twice"
        ),
        pytest.param([], UNDECIDED, (0, 0), id="nothing"),
    ],
)  # fmt: skip
def test_consistent_prefix(operations: list[Operation], expected: str, kinds: tuple[int, int]) -> None:
    found = consistent_prefix(operations)
    assert found.verdict.status == expected
    assert (len(found.reversals), len(found.forks)) == kinds


def test_a_reversal_is_told_in_words() -> None:
    found = consistent_prefix([QUESTION, READS_QUESTION, ANSWER, r(3, "a", "so", 12, 13), r(3, "q", None, 14, 15)])
    assert found.verdict.witness[0]["words"] == (
        'session 3: process 3 read a = "so" (operation 12), then process 3 read q = nothing (operation 14); it lacks:'
        ' process 1 wrote q = "why?" (operation 0), though its writer had seen that'
    )


@pytest.mark.parametrize(
    ("operations", "expected", "fates"),
    [
        pytest.param([w(1, "x", 1, 0, 1), r(2, "x", 1, 2, 3)], GOOD, ["stable"], id="stable"),
        pytest.param([w(1, "x", 1, 0, 1), r(2, "x", None, 2, 3)], BAD, ["lost"], id="lost"),
        pytest.param(
            [w(1, "x", 1, 0, 1), r(2, "x", None, 2, 3), r(2, "x", 1, 4, 5)], GOOD, ["stale"], id="stale, then there"
        ),
        pytest.param(
            [w(1, "x", 1, 0, 1), r(2, "x", 1, 2, 3), r(2, "x", None, 4, 5)], BAD, ["lost"], id="there, then lost"
        ),
        pytest.param(
            [w(1, "x", 1, 0, 1), r(2, "x", None, 2, 3), r(2, "x", 1, 4, 5), r(2, "x", None, 6, 7)],
            BAD,
            ["lost"],
            id="stale, then there, then lost",
        ),
        pytest.param([w(1, "x", 1, 0, 9), r(2, "x", None, 2, 3)], UNDECIDED, ["never_read"], id="not known then"),
        pytest.param(
            [w(1, "x", 1, 0, 1), w(1, "x", 2, 2, 3), r(2, "x", 2, 4, 5)], GOOD, ["stable"] * 2, id="overwritten"
        ),
        pytest.param([w(1, "x", 1, 0, None), r(2, "x", None, 2, 3)], UNDECIDED, [], id="in doubt, never known"),
        pytest.param(
            [w(1, "x", 1, 0, None), r(2, "x", 1, 2, 3), r(2, "x", None, 4, 5)], BAD, ["lost"], id="known by a read"
        ),
    ],
)
def test_known_values(operations: list[Operation], expected: str, fates: list[str]) -> None:
    found = known_values(operations)
    assert found.verdict.status == expected
    assert list(found.fates.values()) == fates


def test_a_write_in_doubt_that_was_read_is_recovered() -> None:
    found = known_values([w(1, "x", 1, 0, None), r(2, "x", 1, 2, 3), r(2, "x", 1, 4, 5)])
    assert (found.counts["recovered"], found.counts["stable"], found.verdict.status) == (1, 1, GOOD)


def random_sessions(seed: int) -> list[Operation]:
    random = Random(seed)
    operations: list[Operation] = []
    written: dict[str, list[Any]] = {"x": [None], "y": [None], "z": [None]}
    open_until: dict[int, int] = {}
    for place in range(0, random.randint(4, 26), 2):
        session = random.randrange(4)
        key = random.choice("xxyyz")
        begin = max(place * 10, open_until.get(session, 0)) + session
        end = begin + random.choice([3, 35]) + 1
        open_until[session] = end
        if random.random() < 0.4:
            written[key].append(place + 1)
            operations.append(w(session, key, place + 1, begin, end))
        else:
            operations.append(r(session, key, random.choice(written[key]), begin, end))
    moments = sorted(
        [(one.begin, 0, at) for at, one in enumerate(operations)]
        + [(one.end, 1, at) for at, one in enumerate(operations)]
    )
    places = {(kind, at): place for place, (_, kind, at) in enumerate(moments)}
    placed = [msgspec.structs.replace(one, number=at, begin=places[0, at], end=places[1, at])
              for at, one in enumerate(operations)]  # fmt: skip
    return sorted(placed, key=lambda one: one.begin)


def anomalies(operations: list[Operation]) -> tuple[set[int], bool]:
    """The definitions, written out: reads that lack what came before another one, and whether there is a long fork."""
    made = {(one.key, one.value): one for one in operations if one.f == "write"}
    reads = [one for one in operations if one.f == "read"]
    source = {one.number: made.get((one.key, one.value)) for one in reads}
    explained = [
        one for one in reads
        if one.value is None or ((write := source[one.number]) is not None and write.begin <= one.end)
    ]  # fmt: skip

    def older(seen: Operation | None, than: Operation) -> bool:
        return seen is None or seen.end < than.begin

    def before(write: Operation) -> set[int]:
        """Numbers of writes that the session of `write` had seen or made, directly or through others."""
        found: set[int] = set()
        waiting = [write]
        while waiting:
            now = waiting.pop()
            for one in operations:
                if one.session != now.session or one.end > now.begin or one.number == now.number:
                    continue
                seen = one if one.f == "write" else source[one.number] if one in explained else None
                if seen is not None and seen.number not in found:
                    found.add(seen.number)
                    waiting.append(seen)
        return found

    by_number = {one.number: one for one in operations}
    reversed_reads = set()
    for answer in explained:
        write = source[answer.number]
        if write is None:
            continue
        earlier = [by_number[number] for number in before(write)]
        earlier += [one for one in made.values() if one.end < write.begin]
        for later in explained:
            if later.session == answer.session and answer.end < later.begin and later.key != answer.key:
                lacking = [one for one in earlier if one.key == later.key and older(source[later.number], one)]
                reversed_reads |= {later.number} if lacking else set()
    sights = [
        (source[one.number], source[two.number], one.key, two.key)
        for one in explained for two in explained
        if one.session == two.session and one.end < two.begin and one.key != two.key and source[one.number]
    ]  # fmt: skip
    fork = any(
        (x, y) == (v, u) and older(lacks_b, b) and older(lacks_a, a)
        for a, lacks_b, x, y in sights for b, lacks_a, u, v in sights if a and b
    )  # fmt: skip
    return reversed_reads, fork


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**48))
def test_as_the_definitions_say(seed: int) -> None:
    operations = random_sessions(seed)
    found = consistent_prefix(operations)
    reversed_reads, fork = anomalies(operations)
    assert {one.read.number for one in found.reversals} == reversed_reads
    assert bool(found.forks) == fork
