"""Long messages travel as fragments; what does not come whole does not come at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.transport.fragments import MARKER, Assembler, Fragmenter

SMALL = 64
ROOM = SMALL - 21


def cut(message: bytes, fragmenter: Fragmenter | None = None) -> list[bytes]:
    return list((fragmenter or Fragmenter(SMALL)).cut(message))


@given(st.binary(min_size=1, max_size=1_000))
def test_no_fragment_is_longer_than_it_may_be_and_together_they_are_the_message(message: bytes) -> None:
    assembler = Assembler(10_000)
    fragments = cut(message)
    assert all(len(fragment) <= SMALL for fragment in fragments)
    *before, last = [assembler.take("t", fragment) for fragment in fragments]
    assert before == [None] * (len(fragments) - 1)
    assert last == message
    assert (assembler.bytes, assembler.dropped) == (0, 0)


@pytest.mark.parametrize(
    ("message", "whole"),
    [(b"", True), (b"x" * SMALL, True), (b"x" * (SMALL + 1), False), (MARKER, False), (MARKER + b"x", False)],
)
def test_what_is_short_travels_as_it_is_unless_it_looks_like_a_fragment(message: bytes, whole: bool) -> None:
    assert Fragmenter(SMALL).takes_whole(message) is whole


@given(st.lists(st.integers(0, 11), max_size=30), st.integers(1, 2_000))
@settings(max_examples=300)
def test_lost_repeated_and_mixed_up_fragments_never_make_a_message_that_was_not_sent(
    order: list[int], bytes_max: int
) -> None:
    one, other = Fragmenter(SMALL), Fragmenter(SMALL)
    messages = [bytes([number]) * 3 * ROOM for number in range(4)]
    fragments = [part for number, message in enumerate(messages) for part in cut(message, (one, other)[number % 2])]
    assembler = Assembler(bytes_max)
    for place in order:
        whole = assembler.take("t", fragments[place])
        assert whole is None or whole in messages
        assert 0 <= assembler.bytes <= bytes_max + SMALL


def test_streams_and_topics_do_not_disturb_each_other() -> None:
    assembler = Assembler(10_000)
    found = []
    for one, other in zip(cut(b"a" * 100), cut(b"b" * 100), strict=True):
        found += [assembler.take("s", one), assembler.take("t", other)]
    assert [message for message in found if message] == [b"a" * 100, b"b" * 100]


def test_the_oldest_unfinished_message_makes_room() -> None:
    assembler = Assembler(3 * ROOM)
    old, new = cut(b"a" * 5 * ROOM), cut(b"b" * 3 * ROOM)
    for fragment in old[:2]:
        assembler.take("t", fragment)
    assert [assembler.take("t", fragment) for fragment in new] == [None, None, b"b" * 3 * ROOM]
    assert assembler.take("t", old[2]) is None
    assert assembler.dropped == 3


@given(st.binary(max_size=80))
def test_any_bytes_behind_a_marker_are_a_fragment_or_nothing(rest: bytes) -> None:
    assembler = Assembler(1_000)
    whole = assembler.take("t", MARKER + rest)
    assert whole is None or len(rest) > 20
