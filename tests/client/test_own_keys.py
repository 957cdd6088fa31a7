"""Keys that belong to a session: it alone writes them, and the plan says so before anything is sent."""

from __future__ import annotations

import itertools

import pytest

from workbench.client.load import LoadConfig, Planned, plan_operations
from workbench.errors import ConfigurationError

SESSIONS = 9
LOAD = LoadConfig(sessions=SESSIONS, rate_per_s=1000.0, own_keys=2, own_read_fraction=0.7, read_fraction=0.8, seed=5)


def planned(load: LoadConfig, count: int) -> list[Planned]:
    return list(itertools.islice(plan_operations(load), count))


def owner_of(operation: Planned) -> int:
    return int(operation.key.removeprefix("s").partition(".")[0])


def test_a_session_writes_no_keys_but_its_own() -> None:
    writes = [one for one in planned(LOAD, 4_000) if not one.is_read]
    assert {owner_of(one) - one.number % SESSIONS for one in writes} == {0}
    assert len({one.key for one in writes}) == 2 * SESSIONS


def test_it_reads_its_own_keys_and_those_of_its_neighbours() -> None:
    reads = [one for one in planned(LOAD, 4_000) if one.is_read]
    turns_ago = [(one.number - owner_of(one)) % SESSIONS for one in reads]
    assert set(turns_ago) == {0, 1, 4, 7}, "itself, and neighbours that had their turns long and short ago"
    assert turns_ago.count(0) / len(reads) == pytest.approx(0.7, abs=0.03)


def test_without_own_keys_all_sessions_share_all_keys() -> None:
    shared = planned(LoadConfig(keys=3, seed=5), 200)
    assert {one.key for one in shared} == {"k0", "k1", "k2"}


def test_a_closed_loop_has_no_own_keys() -> None:
    with pytest.raises(ConfigurationError, match="rate_per_s"):
        LoadConfig(own_keys=1)
