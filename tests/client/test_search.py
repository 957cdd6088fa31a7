"""Whom to ask next, step by step."""

from __future__ import annotations

import asyncio
import random

from tests.client.fakes import Stage, on_stage
from workbench.client.connection import Answer
from workbench.client.outbox import Request
from workbench.client.search import LeaderSearch, ReplicaSearch
from workbench.protocol.messages import Read
from workbench.protocol.values import Statement


def search(stage: Stage, retry_s: float = 1.0) -> LeaderSearch:
    return LeaderSearch(stage.connection, random.Random(1), retry_s)


def no(replica: str, leader: str) -> Answer:
    """`replica` does not lead; it believes in `leader`."""
    return Answer(None, replica, leader, (replica,))


async def test_waits_double_up_to_the_bound() -> None:
    async with on_stage("a") as stage:
        for one in (search(stage), ReplicaSearch(lambda avoid: "a", 1.0)):
            waits: list[float] = []
            while len(waits) < 4:
                replica, patience_s = one.next()
                if replica:
                    waits.append(patience_s)
                    one.no_answer((replica,))
            assert waits == [0.25, 0.5, 1.0, 1.0]
        assert search(stage, retry_s=0.1).next() == ("a", 0.1)


async def test_refusals_cost_no_patience() -> None:
    async with on_stage() as stage:
        one = search(stage)
        waits: list[float] = []
        while len(waits) < 6:
            replica, patience_s = one.next()
            if replica:
                waits.append(patience_s)
                one.refused(no(replica, ""))
        assert waits == [0.25] * 6


async def test_everybody_is_asked_once_then_there_is_a_pause_which_grows() -> None:
    async with on_stage() as stage:
        one = search(stage)
        rounds: list[list[str]] = [[]]
        pauses: list[float] = []
        while len(pauses) < 6:
            replica, patience_s = one.next()
            if replica:
                rounds[-1].append(replica)
                one.refused(no(replica, ""))
            else:
                pauses.append(patience_s)
                rounds.append([])
        assert [sorted(names) for names in rounds[:-1]] == [["a", "b", "c"]] * 6
        assert all(names[0] == "a" for names in rounds[:-1]), "the leader that is known comes first"
        assert pauses == [0.02, 0.04, 0.08, 0.16, 0.25, 0.25]


async def test_who_is_silent_is_asked_again_when_it_is_named() -> None:
    async with on_stage() as stage:
        one = search(stage)
        assert one.next().replica == "a"
        one.no_answer(("a",))
        second = one.next().replica
        assert second in "bc"
        one.refused(no(second, "a"))
        assert one.next().replica == "a"
        one.no_answer(("a",))
        (third,) = {"b", "c"} - {second}
        assert one.next().replica == third
        one.refused(no(third, ""))
        assert one.next().replica == "", "a is silent, the others have refused"


async def test_a_leader_that_is_not_ready_is_asked_again_after_a_pause() -> None:
    async with on_stage() as stage:
        one = search(stage)
        assert one.next().replica == "a"
        one.refused(no("a", "a"))
        assert [one.next().replica for _ in range(2)] == ["", "a"]


async def test_a_new_leader_is_asked_though_it_was_silent_before() -> None:
    async with on_stage() as stage:
        one = search(stage)
        one.no_answer(("b",))
        stage.connection.leader, stage.connection.term = "b", 2
        one.no_answer(("a",))
        assert one.next().replica == "b"


async def test_no_wait_is_longer_than_the_operation() -> None:
    async with on_stage() as stage, asyncio.timeout(20):
        request = Request.of(Read(1, 1, Statement("SELECT 1")))
        until = asyncio.get_running_loop().time() + 0.05
        answer = await stage.connection.ask("", request, patience_s=1000, until=until, needs_leader=False)
        assert answer == (None, "", "", ())
