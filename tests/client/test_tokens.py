"""Tokens: text and back, merging, and what a token of several terms takes to be shown."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.client.seen import Seen
from workbench.client.tokens import Containment, Token
from workbench.errors import ConfigurationError
from workbench.protocol.values import Position

POSITIONS = st.builds(Position, st.integers(0, 4), st.integers(0, 9))
TOKENS = st.lists(POSITIONS, max_size=5).map(
    lambda positions: Token().including(Position()) if not positions else merged(*map(Token.of, positions))
)


def merged(*tokens: Token) -> Token:
    result = Token()
    for token in tokens:
        result = result | token
    return result


def test_text_of_tokens() -> None:
    assert str(Token()) == "0.0"
    assert str(Token.of(Position(3, 17))) == "3.17"
    assert str(merged(Token.of(Position(3, 17)), Token.of(Position(2, 9)))) == "2.9+3.17"
    assert Token.parse("3.17").position == Position(3, 17)
    assert Token.parse("0.0") == Token()
    assert not Token()
    assert Token.parse("1.1")


@given(TOKENS)
def test_a_token_comes_back_from_its_text(token: Token) -> None:
    assert Token.parse(str(token)) == token


@pytest.mark.parametrize(
    "text", ["", "3", "3.", "3.1+", "a.b", "-1.2", "3.17 ", "3.17\n", "1.99999999999999999999", "1.2.3"]
)
def test_text_that_is_no_token(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a token"):
        Token.parse(text)


def test_numbers_that_no_message_carries() -> None:
    with pytest.raises(ConfigurationError, match="beyond 64 bits"):
        Token.parse("1.9223372036854775808")


@given(TOKENS, TOKENS, TOKENS)
def test_merging_is_a_union(one: Token, other: Token, third: Token) -> None:
    assert one | other == other | one
    assert (one | other) | third == one | (other | third)
    assert one | one == one
    assert (one | other).position == max(one.position, other.position)


@given(TOKENS)
def test_one_position_a_term_oldest_first(token: Token) -> None:
    terms = [position.term for position in token.positions]
    assert terms == sorted(set(terms))


def test_within_a_term_the_newer_position_stands_for_the_older() -> None:
    assert merged(Token.of(Position(2, 5)), Token.of(Position(2, 3))) == Token.of(Position(2, 5))


class Histories:
    """The logs of a few terms: each term goes on from some point of an earlier one's log."""

    def __init__(self, rng: random.Random) -> None:
        self.of_term: dict[int, list[Position]] = {0: []}
        for term in range(1, rng.randint(2, 5)):
            before = self.of_term[rng.choice(list(self.of_term))]
            log = before[: rng.randint(0, len(before))]
            self.of_term[term] = log + [Position(term, len(log) + more + 1) for more in range(rng.randint(1, 4))]
        self.replicas = []
        for _ in range(3):
            log = rng.choice([log for log in self.of_term.values() if log])
            self.replicas.append(log[: rng.randint(1, len(log))])


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_whatever_is_shown_is_contained(seed: int) -> None:
    """Against the definition, over random histories, replicas and orders of asking."""
    rng = random.Random(seed)
    histories = Histories(rng)
    everything = sorted({position for log in histories.of_term.values() for position in log})
    token = merged(*(Token.of(one) for one in rng.sample(everything, min(len(everything), rng.randint(1, 4)))))
    containment = Containment(token)
    for _ in range(12):
        log = rng.choice(histories.replicas)
        after = containment.after
        assert after in token.positions
        if after in log and containment.is_shown_by(after, log[-1]):
            assert set(token.positions) <= set(log)
            return


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_a_replica_that_has_everything_shows_it(seed: int) -> None:
    """Whatever others said before; and one that does not have everything lacks something that it is asked for."""
    rng = random.Random(seed)
    histories = Histories(rng)
    log, *others = histories.replicas
    everything = sorted({position for log in histories.of_term.values() for position in log})
    token = merged(*(Token.of(one) for one in rng.sample(everything, min(len(everything), rng.randint(1, 4)))))
    containment = Containment(token)
    for other in others:
        if (after := containment.after) in other and containment.is_shown_by(after, other[-1]):
            return
    for _ in range(len(token.positions) + 1):
        after = containment.after
        if after not in log:
            assert not set(token.positions) <= set(log)
            return
        if containment.is_shown_by(after, log[-1]):
            return
    raise AssertionError(f"{token} is neither shown by {log} nor lacked")


def test_one_answer_from_beyond_the_newest_is_enough() -> None:
    containment = Containment(Token.parse("1.10+2.12"))
    assert containment.after == Position(1, 10)
    assert containment.is_shown_by(Position(1, 10), Position(2, 12))


def test_an_answer_from_an_older_term_is_not() -> None:
    containment = Containment(Token.parse("1.10+2.12"))
    assert not containment.is_shown_by(Position(1, 10), Position(1, 11))
    assert containment.after == Position(2, 12)
    assert not containment.is_shown_by(Position(2, 12), Position(2, 13)), "the term 2 may have begun before (1, 10)"
    assert containment.after == Position(1, 10)
    assert containment.is_shown_by(Position(1, 10), Position(2, 13))


def test_what_a_session_has_seen() -> None:
    seen = Seen()
    seen.wrote(Position(1, 5), at=1.0)
    seen.has_read(Position(1, 3), Token())
    assert (str(seen.written), str(seen.read), str(seen.everything)) == ("1.5", "1.3", "1.5")
    seen.observe(Token.parse("1.9"))
    assert (str(seen.written), str(seen.read), str(seen.everything)) == ("1.5", "1.3", "1.9")
    seen.forget()
    assert {seen.written, seen.read, seen.everything} == {Token()}


def test_positions_of_several_terms_are_kept_until_a_read_has_contained_them() -> None:
    seen = Seen()
    seen.wrote(Position(1, 5), at=1.0)
    seen.wrote(Position(2, 6), at=2.0)
    assert str(seen.written) == str(seen.everything) == "1.5+2.6"
    seen.has_read(Position(2, 7), Token.parse("2.6"))
    assert (str(seen.written), str(seen.everything)) == ("1.5+2.6", "1.5+2.7")
    seen.has_read(Position(3, 8), seen.everything)
    assert (str(seen.written), str(seen.read), str(seen.everything)) == ("2.6", "3.8", "3.8")
    seen.has_read(Position(4, 9), Token())
    assert (str(seen.written), str(seen.everything)) == ("2.6", "3.8+4.9")
