"""Which session of a load does what: readers and writers, and those that insist on the first leader."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from tests.client.fakes import Stage
from workbench.client.insistent import InsistentConnection
from workbench.client.load import LoadConfig, plan_operations, session_of
from workbench.errors import ConfigurationError, NotLeaderError


def sessions_of(load: LoadConfig, count: int = 2_000) -> Counter[tuple[int, bool]]:
    planned = itertools.islice(plan_operations(load), count)
    return Counter((session_of(load, one.number, is_read=one.is_read), one.is_read) for one in planned)


def test_separate_readers_only_read_and_all_sessions_have_their_turns() -> None:
    load = LoadConfig(sessions=8, read_fraction=0.25, rate_per_s=100, separate_readers=True)
    turns = sessions_of(load)
    assert set(turns) == {(0, True), (1, True)} | {(session, False) for session in range(2, 8)}
    assert min(turns.values()) > 100


def test_without_them_every_session_does_both() -> None:
    turns = sessions_of(LoadConfig(sessions=3, rate_per_s=100))
    assert set(turns) == {(session, is_read) for session in range(3) for is_read in (True, False)}


@pytest.mark.parametrize(
    "options",
    [{"rate_per_s": None}, {"read_fraction": 0.0}, {"read_fraction": 1.0}, {"sessions": 1}, {"read_fraction": 0.01}],
)
def test_separate_readers_need_sessions_of_both_sorts_and_a_rate(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="some must read and some write"):
        LoadConfig(**{"sessions": 8, "rate_per_s": 100.0, "separate_readers": True} | options)


@pytest.mark.parametrize(("fraction", "insistent"), [(0, 0), (0.25, 2), (0.5, 4), (0.9, 7), (1, 8)])
def test_insistent_sessions_are_spread(fraction: float, insistent: int) -> None:
    load = LoadConfig(sessions=8, insistent_fraction=fraction)
    insist = [load.is_insistent(session) for session in range(8)]
    assert insist.count(True) == insistent
    if fraction == 0.5:
        assert insist == [False, True] * 4


async def test_an_insistent_session_asks_its_replica_whatever_it_hears() -> None:
    stage = Stage(("a", "b", "c"))
    stage.connection = await InsistentConnection.over(stage.connect, "stage", ("a",))
    try:
        assert (await stage.session().write("INSERT")).replica == "a"
        stage.elect("b", 2, heard_by=("a", "c"))
        await asyncio.sleep(0)
        with pytest.raises(NotLeaderError, match="found no leader"):
            await stage.session(timeout_s=0.3, retry_s=0.1).write("INSERT")
        assert set(stage.names_asked()) == {"a"}
        stage.elect("a", 3, heard_by=("b", "c"))
        assert (await stage.session().write("INSERT")).replica == "a"
    finally:
        await stage.connection.close()
