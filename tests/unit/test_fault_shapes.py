"""Which links each shape of a cut breaks."""

from __future__ import annotations

import pytest

from workbench.faults.shapes import cut_links

NAMES = ("a", "b", "c", "d", "e")


def hears(shape: str, names: tuple[str, ...] = NAMES, targets: tuple[str, ...] = ("a",)) -> dict[str, str]:
    """Replica -> those that it hears."""
    broken = set(cut_links(shape, names, targets))  # type: ignore[arg-type]
    return {one: "".join(other for other in names if other != one and (other, one) not in broken) for one in names}


def test_isolated_replicas_hear_and_are_heard_by_each_other_only() -> None:
    assert hears("isolate") == {"a": "", "b": "cde", "c": "bde", "d": "bce", "e": "bcd"}
    assert hears("isolate", targets=("a", "b")) == {"a": "b", "b": "a", "c": "de", "d": "ce", "e": "cd"}


def test_one_way_the_targets_are_heard_and_hear_nobody() -> None:
    assert hears("one_way") == {"a": "", "b": "acde", "c": "abde", "d": "abce", "e": "abcd"}


def test_who_is_mute_hears_everybody_and_is_heard_by_nobody() -> None:
    assert hears("mute") == {"a": "bcde", "b": "cde", "c": "bde", "d": "bce", "e": "bcd"}


def test_halves_do_not_hear_each_other() -> None:
    assert hears("halves") == {"a": "b", "b": "a", "c": "de", "d": "ce", "e": "cd"}


def test_a_bridge_hears_both_parts() -> None:
    assert hears("bridge") == {"a": "bc", "b": "ac", "c": "abde", "d": "ce", "e": "cd"}


@pytest.mark.parametrize("names", [NAMES, ("a", "b", "c"), ("a", "b", "c", "d")])
def test_in_a_ring_each_hears_a_majority_itself_included_and_no_two_the_same(names: tuple[str, ...]) -> None:
    heard = hears("ring", names)
    assert {len(one) for one in heard.values()} == {len(names) // 2}
    assert len({frozenset(name + one) for name, one in heard.items()}) == len(names)


@pytest.mark.parametrize("shape", ["isolate", "one_way", "mute", "halves", "bridge", "ring"])
def test_one_replica_has_no_links(shape: str) -> None:
    assert cut_links(shape, ("a",), ("a",)) == []  # type: ignore[arg-type]
