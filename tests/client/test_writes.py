"""Writes through failovers: they follow the leader, take effect once, and fail honestly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.fakes import FakeReplica, Reply, Request, log, on_stage, reply_to, says, silent
from workbench.errors import DefiniteError, IndefiniteError, NotLeaderError, OverloadedError, StatementError
from workbench.protocol.messages import Outcome
from workbench.protocol.values import Position, Transaction

INSERT = "INSERT INTO kv VALUES (1)"


async def test_an_acknowledged_write_says_how_logs_name_it() -> None:
    async with on_stage() as stage:
        session = stage.session()
        await session.write(INSERT)
        result = await session.write(INSERT)
        assert (result.position, result.replica) == (Position(1, 3), "a")
        assert (result.sequence, result.identifier) == (2, session.identifier)
        assert [(one.session, one.sequence) for _, one in stage.asked if isinstance(one, Transaction)] == [
            (session.identifier, 1),
            (session.identifier, 2),
        ]


async def test_a_write_that_waits_for_a_dead_leader_goes_to_the_new_one_at_once() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        session = stage.session(retry_s=20.0)
        write = asyncio.create_task(session.write(INSERT))
        await stage.until_asked("a")
        stage.elect("b", 2)
        assert (await write).replica == "b"
        (_, first), (_, second) = stage.asked
        assert first == second, "the same (session, sequence)"


async def test_news_moves_every_write_and_no_read_that_anybody_may_answer() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.respond = silent
        sessions = [stage.session(retry_s=20.0) for _ in range(3)]
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(session.write(INSERT)) for session in sessions]
        tasks += [asyncio.create_task(stage.session(policy).read("SELECT 1")) for policy in ("leader", "linearizable")]
        await stage.until_asked("a", 5)
        sticky = asyncio.create_task(stage.session("sticky", retry_s=20.0).read("SELECT 1"))
        await stage.until_any_asked(6)
        before = stage.names_asked().count("b")
        stage.elect("b", 2)
        await stage.until_asked("b", before + 5)
        assert stage.names_asked()[6:] == ["b"] * 5
        for task in (*tasks, sticky):
            task.cancel()


async def test_older_news_and_older_replies_are_ignored() -> None:
    async with on_stage() as stage:
        session = stage.session()
        stage.elect("b", 5)
        await session.write(INSERT)
        assert (stage.connection.leader, stage.connection.term) == ("b", 5)
        stage.spread_news("c", 4)
        await stage.session("any").read("SELECT 1", replica="a")  # which still believes in itself, in term 1
        assert (stage.connection.leader, stage.connection.term) == ("b", 5)


async def test_replies_tell_of_a_new_leader_too() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        write = asyncio.create_task(stage.session(retry_s=20.0).write(INSERT))
        await stage.until_asked("a")
        stage.elect("b", 2, news=False, heard_by=["c"])
        await stage.session("any").read("SELECT 1", replica="c")
        assert (await write).replica == "b"


async def test_without_news_others_are_asked_who_leads() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        stage.elect("b", 2, news=False, heard_by=["c"])
        assert (await stage.session(retry_s=0.05).write(INSERT)).replica == "b"
        assert stage.names_asked()[0] == "a"
        assert stage.names_asked().count("a") == 1


async def test_while_nobody_leads_the_others_are_asked_again_with_pauses() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        for name in "bc":
            stage[name].leader = ""
        write = asyncio.create_task(stage.session(retry_s=0.05).write(INSERT))
        await stage.until_asked("b", 3)
        stage.elect("b", 2, news=False)
        assert (await write).replica == "b"
        assert {"a", "b", "c"} == set(stage.names_asked())


async def test_news_ends_a_pause() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.leader = ""
        write = asyncio.create_task(stage.session().write(INSERT))
        await stage.until_asked("c")
        await asyncio.sleep(0.01)
        stage.elect("b", 2)
        assert (await write).replica == "b"


async def test_a_slow_leader_is_asked_again_and_answers_once() -> None:
    async with on_stage() as stage:
        release: list[Request] = []

        def keep(request: Request) -> Reply | None:
            release.append(request)
            return None

        stage["a"].respond = keep
        write = asyncio.create_task(stage.session(retry_s=0.05).write(INSERT))
        await stage.until_asked("a", 3)
        assert len(set(release)) == 1
        reply = stage["a"].by_the_rules(release[0])
        assert reply is not None
        stage.tell("a", reply)
        assert (await write).position == Position(1, 2)
        assert set(stage.names_asked()) > {"a"}, "others were asked, and named it again"


async def test_success_counts_from_an_earlier_try_and_nothing_else_does() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.respond = silent
        write = asyncio.create_task(stage.session(retry_s=20.0).write(INSERT))
        await stage.until_asked("a")
        stage.elect("b", 2)
        await stage.until_asked("b")
        request = stage.asked[0][1]
        others = (Outcome.REFUSED, Outcome.NOT_LEADER, Outcome.INDEFINITE, Outcome.OVERLOADED, Outcome.EXPIRED)
        stage.tell("a", *(reply_to(request, outcome) for outcome in others))
        done = stage["a"].by_the_rules(request)
        assert done is not None
        stage.tell("a", done)
        assert (await write).replica == "a"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.REFUSED, StatementError),
        (Outcome.OVERLOADED, OverloadedError),
        (Outcome.INDEFINITE, IndefiniteError),
    ],
)
async def test_endings_of_a_write_that_was_tried_once(outcome: Outcome, error: type[Exception]) -> None:
    async with on_stage() as stage:
        stage["a"].respond = says(outcome, "why")
        session = stage.session()
        with pytest.raises(error, match="why") as caught:
            await session.write(INSERT)
        assert isinstance(caught.value, DefiniteError | IndefiniteError)
        assert (caught.value.identifier, caught.value.sequence) == (session.identifier, 1)
        assert len(stage.asked) == 1


def answer_the_second(replica: FakeReplica, outcome: Outcome) -> Callable[[Request], Reply | None]:
    """Silent at first, then always `outcome`."""
    requests: list[Request] = []

    def respond(request: Request) -> Reply | None:
        requests.append(request)
        return reply_to(request, outcome, "why") if len(requests) > 1 else None

    return respond


@pytest.mark.parametrize("outcome", [Outcome.OVERLOADED, Outcome.EXPIRED])
async def test_after_an_unanswered_try_a_refusal_says_nothing_about_it(outcome: Outcome) -> None:
    async with on_stage("a") as stage:
        stage["a"].respond = answer_the_second(stage["a"], outcome)
        with pytest.raises(IndefiniteError):
            await stage.session(retry_s=0.05).write(INSERT)


async def test_refused_sql_is_definite_where_only_the_refusing_replica_was_asked() -> None:
    async with on_stage("a") as stage:
        stage["a"].respond = answer_the_second(stage["a"], Outcome.REFUSED)
        with pytest.raises(StatementError):
            await stage.session(retry_s=0.05).write(INSERT)


async def test_refused_sql_is_indefinite_where_another_replica_may_have_executed_it() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        stage["b"].respond = says(Outcome.REFUSED, "UNIQUE constraint failed")
        write = asyncio.create_task(stage.session(retry_s=20.0).write(INSERT))
        await stage.until_asked("a")
        stage.elect("b", 2)
        with pytest.raises(IndefiniteError, match="UNIQUE"):
            await write


async def test_refused_sql_is_indefinite_where_the_replica_was_asked_in_an_earlier_reign() -> None:
    async with on_stage("a") as stage:
        stage["a"].respond = answer_the_second(stage["a"], Outcome.REFUSED)
        write = asyncio.create_task(stage.session(retry_s=20.0).write(INSERT))
        await stage.until_asked("a")
        stage.elect("a", 2)
        with pytest.raises(IndefiniteError):
            await write


async def test_a_leader_that_steps_down_leaves_the_answer_to_the_next() -> None:
    async with on_stage() as stage:
        stage["a"].respond = says(Outcome.INDEFINITE, "stepped down")
        stage.elect("b", 2, news=False, heard_by=["a", "c"])
        stage.connection.leader = "a"
        assert (await stage.session().write(INSERT)).replica == "b"
        assert stage.names_asked() == ["a", "b"]


async def test_a_leader_that_stepped_down_may_have_executed_what_the_next_refuses() -> None:
    async with on_stage() as stage:
        stage["a"].respond = says(Outcome.INDEFINITE, "stepped down")
        stage["b"].respond = says(Outcome.REFUSED, "UNIQUE constraint failed")
        stage.elect("b", 2, news=False, heard_by=["a", "c"])
        stage.connection.leader = "a"
        with pytest.raises(IndefiniteError, match="UNIQUE"):
            await stage.session().write(INSERT)


async def test_no_leader_in_time() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.leader = ""
        with pytest.raises(NotLeaderError, match="found no leader within"):
            await stage.session(timeout_s=0.1, retry_s=0.1).write(INSERT)
        stage["b"].respond = silent
        with pytest.raises(IndefiniteError, match="the write may have happened"):
            await stage.session(timeout_s=0.3, retry_s=0.05).write(INSERT)


async def test_a_session_that_was_forgotten_begins_anew() -> None:
    async with on_stage() as stage:
        stage["a"].committed = 7
        session = stage.session()
        await session.write(INSERT)
        first = session.identifier

        def respond(request: Request) -> Reply | None:
            if isinstance(request, Transaction) and request.born < 500:
                return reply_to(request, Outcome.EXPIRED)
            return stage["a"].by_the_rules(request)

        stage["a"].respond, stage["a"].committed = respond, 600
        result = await session.write(INSERT)
        assert session.identifier != first
        assert (result.identifier, result.sequence) == (session.identifier, 2)
        born = [(one.session, one.born) for _, one in stage.asked if isinstance(one, Transaction)]
        assert born == [(first, 0), (first, 0), (session.identifier, 600)]
        await session.write(INSERT)
        assert stage.asked[-1][1] == Transaction(session.identifier, 3, stage.asked[-1][1].statements, 600)  # type: ignore[union-attr]


async def test_a_session_is_born_when_it_first_writes() -> None:
    async with on_stage() as stage:
        session = stage.session("any")
        stage["a"].committed = 9
        await session.read("SELECT 1", replica="a")
        stage["a"].committed = 12
        await session.write(INSERT)
        await session.write(INSERT)
        assert [one.born for _, one in stage.asked if isinstance(one, Transaction)] == [9, 9]
        assert stage.connection.committed == 12
        stage["b"].committed = 3
        await session.read("SELECT 1", replica="b")
        assert stage.connection.committed == 12


async def test_a_new_leader_that_does_not_know_what_is_committed_is_given_time() -> None:
    async with on_stage() as stage:

        def respond(request: Request) -> Reply | None:
            assert isinstance(request, Transaction)
            if len(stage.asked) == 1:
                asyncio.get_running_loop().call_later(0.1, lambda: setattr(stage["a"], "committed", 600))
            return stage["a"].by_the_rules(request) if request.born == 600 else reply_to(request, Outcome.EXPIRED)

        stage["a"].respond = respond
        await stage.session().write(INSERT)
        born = [one.born for _, one in stage.asked if isinstance(one, Transaction)]
        assert born == [0] * (len(born) - 1) + [600]
        assert len(born) < 10, "with a pause between"


async def test_after_an_unanswered_try_the_expiry_of_the_session_is_indefinite_and_the_next_write_goes_on() -> None:
    async with on_stage("a") as stage:
        stage["a"].respond = answer_the_second(stage["a"], Outcome.EXPIRED)
        session = stage.session(retry_s=0.05)
        before = session.identifier
        with pytest.raises(IndefiniteError, match="the session expired: the write may have happened") as caught:
            await session.write(INSERT)
        assert caught.value.identifier == before
        stage["a"].respond = lambda request: (
            reply_to(request, Outcome.EXPIRED)
            if isinstance(request, Transaction) and request.session == before
            else stage["a"].by_the_rules(request)
        )
        await session.write(INSERT)


async def test_replicas_that_join_are_asked_and_those_that_left_are_not() -> None:
    async with on_stage() as stage:
        for name in "ab":
            stage[name].respond = silent
        stage["c"].leader = "c"
        stage.connection.members = ("b", "c")
        stage.connection.leader = ""
        assert (await stage.session(retry_s=0.05).write(INSERT)).replica == "c"
        assert "a" not in stage.names_asked()


async def test_closing_ends_what_waits() -> None:
    async with on_stage() as stage:
        stage["a"].respond = silent
        session, other = stage.session(), stage.session()
        write = asyncio.create_task(session.write(INSERT))
        await stage.until_asked("a")
        await stage.connection.close()
        with pytest.raises(IndefiniteError, match="before the cluster was stopped"):
            await write
        with pytest.raises(DefiniteError, match="nothing was sent"):
            await other.write(INSERT)


def test_the_log_of_a_fake_replica() -> None:
    assert log((1, 3), (4, 2)).last == Position(4, 5)
