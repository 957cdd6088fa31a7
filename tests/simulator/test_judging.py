"""What clients saw, against the log that is there in the end: one broken history for each rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.protocol.codec import encode_entry
from workbench.protocol.values import Entry, LoggedEntry, Member, Position
from workbench.simulator.clients import Operation
from workbench.simulator.judging import judge
from workbench.simulator.laws import LawBroken


def logged(index: int, *writes: tuple[int, int], term: int = 1) -> LoggedEntry:
    return encode_entry(Entry(term, index, "memory", tuple(Member(*write, ()) for write in writes), b""))


def write(index: int, value: int, *, sequence: int, at_ns: int, key: str = "a") -> Operation:
    return Operation(
        session=1,
        sequence=sequence,
        kind="write",
        values={key: value},
        invoked_ns=at_ns,
        completed_ns=at_ns + 5,
        outcome="ok",
        position=Position(1, index),
    )


def read(index: int, value: object, how: str, at_ns: int) -> Operation:
    return Operation(
        session=1,
        sequence=0,
        kind="read",
        how=how,
        values={"a": value},
        invoked_ns=at_ns,
        completed_ns=at_ns + 5,
        outcome="ok",
        position=Position(1, index),
    )


LOG = [logged(1), logged(2, (1, 1)), logged(3, (1, 2))]
ONE, TWO = write(2, 10, sequence=1, at_ns=0), write(3, 20, sequence=2, at_ns=20)


def broken(*operations: Operation, log: list[LoggedEntry] | None = None, survives: bool = True) -> str:
    with pytest.raises(LawBroken) as caught:
        judge({"client-1": operations}, LOG if log is None else log, survives=survives)
    return str(caught.value)


def test_an_honest_history_is_judged_in_full() -> None:
    reads = [read(3, 20, how, 40 + 10 * place) for place, how in enumerate(("any", "linearizable", "after_all"))]
    assert judge({"client-1": [ONE, TWO, *reads]}, LOG, survives=True)["reads judged"] == 3


def test_an_acknowledged_write_that_is_gone_or_elsewhere_is_seen() -> None:
    assert "it is gone" in broken(ONE, TWO, log=LOG[:2])
    assert "it is at 1.3" in broken(ONE, replace(TWO, position=Position(1, 2)))
    judge({"client-1": [ONE, TWO]}, LOG[:2], survives=False)


def test_a_write_that_nobody_asked_for_is_seen() -> None:
    assert "nobody asked for" in broken(ONE)


def test_a_read_of_something_else_than_the_log_had_is_seen() -> None:
    assert "read a = 10 at 1.3, where the log has 20" in broken(ONE, TWO, read(3, 10, "any", 40))


def test_a_read_of_what_was_rolled_back_is_counted_unless_it_was_linearizable() -> None:
    elsewhere = replace(read(3, 99, "any", 40), position=Position(7, 3))
    assert judge({"client-1": [ONE, TWO, elsewhere]}, LOG, survives=True)["reads rolled back"] == 1
    assert "rolled back" in broken(ONE, TWO, replace(elsewhere, how="linearizable"))


def test_a_session_that_misses_its_own_write_is_seen() -> None:
    assert "after_writes 1.3 showed 1.2" in broken(ONE, TWO, read(2, 10, "after_writes", 40))
    judge({"client-1": [ONE, TWO, read(2, 10, "any", 40)]}, LOG, survives=True)


def test_a_linearizable_read_of_the_past_is_seen() -> None:
    assert "no order" in broken(ONE, TWO, read(2, 10, "linearizable", 40))
