"""Parameters of experiments: what a user may write after `--set`, and what the error says when it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from workbench.config import AckPolicy
from workbench.errors import ConfigurationError
from workbench.experiments.parameters import (
    choose_profile,
    parameter,
    parameters_of,
    parse_assignments,
)


@dataclass(frozen=True, kw_only=True)
class Example:
    followers: int = parameter(2, help="Followers of the leader.", low=1, high=15)
    follower_delay_ms: tuple[float, ...] = parameter((0.0, 20.0), help="Delay.", unit="ms", low=0, high=60_000)
    ack: tuple[str, ...] = parameter(("async",), help="Policies.", choices=("async", "sync"), check=AckPolicy.parse)
    read_policy: str = parameter("any", help="Where reads go.", choices=("leader", "any", "sticky"))
    fencing: bool = parameter(True, help="Whether old leaders are fenced.")


INFOS = {info.name: info for info in parameters_of(Example)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("followers", "3", 3),
        ("followers", 3.0, 3),
        ("follower_delay_ms", "0, 2.5", (0.0, 2.5)),
        ("follower_delay_ms", 5, (5.0,)),
        ("follower_delay_ms", [1, 2], (1.0, 2.0)),
        ("ack", "sync/durable,semi_sync:1", ("sync/durable", "semi_sync:1")),
        ("read_policy", "leader", "leader"),
        ("fencing", "false", False),
        ("fencing", True, True),
    ],
)
def test_a_value_is_read_as_its_type(name: str, text: object, value: object) -> None:
    parsed = INFOS[name].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("followers", "0", ["followers is 0", "from 1 to 15"]),
        ("followers", "2.5", ["followers is '2.5'", "whole number"]),
        ("followers", 2.5, ["whole number"]),
        ("followers", "many", ["'many'", "from 1 to 15"]),
        ("follower_delay_ms", "60001", ["60001 ms", "from 0 to 60000 ms"]),
        ("follower_delay_ms", "nan", ["nan", "from 0 to 60000 ms"]),
        ("follower_delay_ms", "5,5", ["twice"]),
        ("follower_delay_ms", "", ["''", "a number"]),
        ("follower_delay_ms", [], ["at least one"]),
        ("ack", "sync/applyed", ["ack", "applyed"]),
        ("read_policy", "leadr", ["did you mean 'leader'", "sticky"]),
        ("fencing", "maybe", ["true or false"]),
    ],
)
def test_a_wrong_value_names_the_parameter_and_what_is_allowed(name: str, text: object, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        INFOS[name].parse(text)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_suffices_for_an_option_or_a_slider() -> None:
    delay = INFOS["follower_delay_ms"]
    assert (delay.kind, delay.many, delay.unit, delay.low, delay.high) == (float, True, "ms", 0, 60_000)
    assert INFOS["read_policy"].range_text == "one of leader, any, sticky"
    assert list(INFOS) == ["followers", "follower_delay_ms", "ack", "read_policy", "fencing"]


def test_assignments_are_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a=1", " b =x=y", "a=2"]) == {"a": "2", "b": "x=y"}
    for wrong in ("followers", "=3"):
        with pytest.raises(ConfigurationError, match="name=value"):
            parse_assignments([wrong])


def test_an_option_beats_the_environment_which_beats_quick() -> None:
    assert choose_profile("full", {"WORKBENCH_PROFILE": "ci"}) == "full"
    assert choose_profile(None, {"WORKBENCH_PROFILE": "ci"}) == "ci"
    assert choose_profile(None, {}) == "quick"
    assert choose_profile(None, {"WORKBENCH_PROFILE": ""}) == "quick"
    with pytest.raises(ConfigurationError, match=r"WORKBENCH_PROFILE.*did you mean 'quick'"):
        choose_profile(None, {"WORKBENCH_PROFILE": "quik"})
