"""Schedules of faults: drawn, kept as TOML, and refused with the reason."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from workbench.errors import ConfigurationError
from workbench.faults.schedules import as_toml, check_schedule, load_schedule, random_schedule
from workbench.faults.values import KINDS, Crash, Cut, Delay, Loss, PowerLoss

REPLICAS = ("replica-1", "replica-2")


def test_a_drawn_schedule_is_in_order_over_in_time_and_the_same_for_the_same_seed() -> None:
    schedule = random_schedule(Random(3), 10_000, 500)
    assert schedule == random_schedule(Random(3), 10_000, 500)
    assert [fault.at_ms for fault in schedule] == sorted(fault.at_ms for fault in schedule)
    assert all(fault.at_ms + fault.for_ms <= 10_000 for fault in schedule)
    assert {fault.kind for fault in schedule} == set(KINDS)
    check_schedule(schedule, REPLICAS, "simulated")


def test_a_drawn_schedule_has_every_kind_where_that_is_asked_for() -> None:
    real = {kind for kind, fault in KINDS.items() if "real" in fault.worlds}
    for seed in range(20):
        schedule = random_schedule(Random(seed), 10_000, len(real), "real", every_kind=True)
        assert {fault.kind for fault in schedule} == real
        assert [fault.at_ms for fault in schedule] == sorted(fault.at_ms for fault in schedule)
    assert len(random_schedule(Random(1), 10_000, 3, "real", every_kind=True)) == 3


def test_a_schedule_without_faults_comes_back_too(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    path.write_text(as_toml(()), encoding="utf-8")
    assert load_schedule(path) == ()


def test_a_schedule_comes_back_from_its_toml(tmp_path: Path) -> None:
    schedule = random_schedule(Random(4), 10_000, 100)
    path = tmp_path / "faults.toml"
    path.write_text(as_toml(schedule), encoding="utf-8")
    assert load_schedule(path) == schedule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]]\nkind = 'crash'", "fault 1: a crash without at_ms"),
        ("[[fault]]\nkind = 'crash'\nat_ms = -1", "fault 1: at_ms of crash is -1 ms"),
        ("[[fault]]\nkind = 'earthquake'\nat_ms = 1", "fault 1: unknown fault 'earthquake'"),
        ("[[fault]]\nkind = 'loss'\nat_ms = 1\nfraction = 2", "fraction is 2"),
        ("[[fault]]\nkind = 'loss'\nat_ms = 1\nfractions = 0.5", "loss has no 'fractions'"),
        ("[[fault]]\nkind = 'loss'\nat_ms = '1'", "at_ms of loss is '1'"),
        ("[[fault]]\nkind = 'cut'\nat_ms = 1\nshape = 'star'", "unknown shape 'star'"),
        ("[[fault]]\nkind = 'delay'\nat_ms = 1\ndistribution = 'normal'", "unknown distribution 'normal'"),
        ("kind = 'crash'", "is no schedule of faults"),
        ("fault = 3", "is no schedule of faults"),
        ("", "is no schedule of faults"),
        ("[[fault", "is not TOML"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_schedule(path)
    assert words in str(refused.value)


def test_a_world_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ConfigurationError, match="fault 2: a real cluster cannot do power_loss"):
        check_schedule((Crash(at_ms=1), PowerLoss(at_ms=1)), REPLICAS, "real")
    with pytest.raises(ConfigurationError, match="fault 1: there is no replica 'replica-9'"):
        check_schedule((Loss(at_ms=1, target="replica-9"),), REPLICAS, "simulated")
    check_schedule((Cut(at_ms=1, target="replica-2"), Delay(at_ms=2, target="minority")), REPLICAS, "real")
