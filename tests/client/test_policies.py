"""Read policies as text, in the documents, and as terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.client.own import Own
from workbench.client.policies import POLICIES, AfterWriteWindow, Situation, Terms, markdown_table, parse_policy
from workbench.client.seen import Seen
from workbench.client.tokens import Token
from workbench.errors import ConfigurationError
from workbench.protocol.values import Position, Statement

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf-8")
MEMBERS = ("a", "b", "c")


def terms(policy: str, seen: Seen | None = None, **more: object) -> Terms:
    situation = Situation(Statement("SELECT * FROM kv"), seen or Seen(), Own(), MEMBERS, {}, 100.0)
    return parse_policy(policy).terms(situation._replace(**more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "leader", "any", "sticky", "read_your_writes", "read_your_writes:leader_for_own", "read_your_writes:window",
        "read_your_writes:window:200ms", "monotonic", "causal", "bounded:0", "bounded:12", "bounded:50ms",
        "bounded:0.5ms", "linearizable",
    ],
)  # fmt: skip
def test_a_policy_comes_back_from_its_text(text: str) -> None:
    assert str(parse_policy(text)) == text
    assert parse_policy(str(parse_policy(text))) == parse_policy(text)


def test_other_ways_to_write_a_policy() -> None:
    assert parse_policy("read_your_writes:token") == parse_policy("read_your_writes")
    assert parse_policy(" causal ") == parse_policy("causal")
    assert parse_policy("read_your_writes:window:1000ms") == AfterWriteWindow()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("leadr", "did you mean 'leader'"),
        ("linearisable", "did you mean 'linearizable'"),
        ("read_your_writes:leader", "did you mean 'read_your_writes:leader_for_own'"),
        ("bounded", "did you mean 'bounded:N'"),
        ("bounded:-1", "bounded:N"),
        ("bounded:1s", "bounded:Nms"),
        ("read_your_writes:window:", "read_your_writes:window"),
        ("", "leader"),
    ],
)
def test_an_unknown_policy_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(hint)) as caught:
        parse_policy(text)
    assert all(form.text in str(caught.value) for form in POLICIES)


def test_the_page_shows_every_policy() -> None:
    shown = re.search(r"<!-- policies:.*?-->\n(.*?)<!-- end of policies -->", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == markdown_table(), "replace it by what workbench.client.policies.markdown_table() returns"


def test_terms_without_a_past() -> None:
    assert terms("leader") == Terms(from_leader=True)
    assert terms("linearizable") == Terms(linearizable=True)
    assert terms("any") == Terms(replicas=MEMBERS)
    assert terms("sticky") == Terms(replicas=MEMBERS, sticky=True)
    assert terms("bounded:5") == Terms(replicas=MEMBERS, lag_entries_max=5)
    assert terms("bounded:0") == Terms(replicas=MEMBERS, lag_entries_max=0)
    assert terms("bounded:50ms") == Terms(replicas=MEMBERS, lag_ms_max=50)
    for policy in ("read_your_writes", "monotonic", "causal", "read_your_writes:window"):
        assert terms(policy) == Terms(replicas=MEMBERS)
    assert terms("read_your_writes:leader_for_own") == Terms(replicas=MEMBERS)


def test_who_relies_on_what() -> None:
    seen = Seen()
    seen.has_read(Position(1, 8), Token())
    seen.wrote(Position(1, 6), at=1.0)
    seen.observe(Token.parse("1.9"))
    assert str(terms("read_your_writes", seen).after) == "1.6"
    assert str(terms("monotonic", seen).after) == "1.8"
    assert str(terms("causal", seen).after) == "1.9"


def test_the_leader_for_what_is_own() -> None:
    assert terms("read_your_writes:leader_for_own", own=Own(tables=["kv"])) == Terms(from_leader=True)
    assert terms("read_your_writes:leader_for_own", own=Own(tables=["other"])) == Terms(replicas=MEMBERS)


def test_a_window_after_a_write() -> None:
    seen = Seen()
    seen.wrote(Position(2, 6), at=99.5)
    applied = {"a": Position(2, 6), "b": Position(2, 5), "c": Position(1, 9)}
    up_to_date = Terms(replicas=("a",), after=Token.parse("2.6"))
    assert terms("read_your_writes:window", seen) == Terms(from_leader=True)
    assert terms("read_your_writes:window", seen, applied=applied) == up_to_date
    assert terms("read_your_writes:window:400ms", seen, applied=applied) == Terms(replicas=MEMBERS)
    assert terms("read_your_writes:window", seen, applied=applied, now=100.6) == Terms(replicas=MEMBERS)
