"""Reads under every policy: whom they ask, what they ask for, and what they do about the answers."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.fakes import Reply, Request, Stage, log, on_stage, says, silent
from workbench.client.tokens import Token
from workbench.errors import (
    ConfigurationError,
    IndefiniteError,
    LostPosition,
    NotReadyError,
    OverloadedError,
    StatementError,
)
from workbench.protocol.messages import Outcome, Read
from workbench.protocol.values import Position

SELECT = "SELECT name FROM kv"


def is_behind(stage: Stage, *names: str) -> None:
    """These replicas have not applied what the leader has."""
    stage["a"].log = log((1, 9))
    for name in stage.replicas:
        stage[name].log = log((1, 3 if name in names else 9))


async def test_a_reader_of_the_leader_asks_nobody_else() -> None:
    async with on_stage() as stage:
        session = stage.session("leader")
        for _ in range(5):
            assert (await session.read(SELECT)).rows == (("a",),)
        assert set(stage.names_asked()) == {"a"}
        assert stage.last_read().from_leader
        assert not stage.last_read().linearizable


async def test_a_linearizable_read_says_so() -> None:
    async with on_stage() as stage:
        assert (await stage.session("linearizable").read(SELECT)).replica == "a"
        assert stage.last_read().linearizable


@pytest.mark.parametrize("policy", ["leader", "linearizable"])
async def test_such_a_read_looks_for_the_leader_until_it_is_found(policy: str) -> None:
    async with on_stage() as stage:
        stage["a"].leader = ""
        read = asyncio.create_task(stage.session(policy, retry_s=0.05).read(SELECT))
        await stage.until_asked("a", 2)
        stage.elect("b", 2, news=False)
        assert (await read).replica == "b"


async def test_a_leader_that_is_not_ready_is_asked_again() -> None:
    async with on_stage() as stage:

        def respond(request: Request) -> Reply | None:
            outcome = says(Outcome.NOT_READY, "no lease yet")
            return outcome(request) if len(stage.asked) < 3 else stage["a"].by_the_rules(request)

        stage["a"].respond = respond
        assert (await stage.session("leader").read(SELECT)).replica == "a"
        assert stage.names_asked() == ["a"] * 3


async def test_a_read_that_nobody_is_ready_for_says_why() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.respond = says(Outcome.NOT_READY, "no majority answers")
        with pytest.raises(NotReadyError, match="no majority answers"):
            await stage.session("linearizable", timeout_s=0.2, retry_s=0.05).read(SELECT)
        stage["b"].respond = silent
        with pytest.raises(IndefiniteError, match="no answer to a read from b"):
            await stage.session("any", timeout_s=0.2, retry_s=0.05).read(SELECT, replica="b")


@pytest.mark.parametrize(
    ("outcome", "error"), [(Outcome.REFUSED, StatementError), (Outcome.OVERLOADED, OverloadedError)]
)
async def test_endings_of_a_read(outcome: Outcome, error: type[Exception]) -> None:
    async with on_stage() as stage:
        stage["a"].respond = says(outcome, "why")
        with pytest.raises(error, match="why"):
            await stage.session("leader").read(SELECT)
        assert len(stage.asked) == 1


async def test_any_asks_everybody_and_sticky_one() -> None:
    async with on_stage() as stage:
        anywhere, sticky = stage.session("any"), stage.session("sticky")
        assert {(await anywhere.read(SELECT)).replica for _ in range(40)} == {"a", "b", "c"}
        assert len({(await sticky.read(SELECT)).replica for _ in range(20)}) == 1


async def test_a_sticky_session_stays_with_its_new_replica() -> None:
    async with on_stage() as stage:
        session = stage.session("sticky", retry_s=0.05)
        first = (await session.read(SELECT)).replica
        stage[first].respond = silent
        second = (await session.read(SELECT)).replica
        assert second != first
        stage[first].respond = stage[first].by_the_rules
        assert {(await session.read(SELECT)).replica for _ in range(10)} == {second}


async def test_replicas_that_left_are_asked_no_more_and_those_that_joined_are() -> None:
    async with on_stage() as stage:
        anywhere, sticky = stage.session("any"), stage.session("sticky")
        mine = (await sticky.read(SELECT)).replica
        stage.connection.members = tuple(name for name in "abc" if name != mine)
        assert {(await anywhere.read(SELECT)).replica for _ in range(30)} == set("abc") - {mine}
        (second,) = {(await sticky.read(SELECT)).replica for _ in range(10)}
        assert second != mine
        with pytest.raises(ConfigurationError, match="no replica"):
            await anywhere.read(SELECT, replica=mine)
        stage.connection.members = tuple("abc")
        assert {(await anywhere.read(SELECT)).replica for _ in range(40)} == set("abc")
        assert (await sticky.read(SELECT)).replica == second


@pytest.mark.parametrize("policy", ["any", "sticky", "causal", "bounded:3"])
async def test_a_silent_replica_is_passed_over(policy: str) -> None:
    async with on_stage() as stage:
        stage["b"].respond = stage["c"].respond = silent
        session = stage.session(policy, retry_s=0.05)
        assert [(await session.read(SELECT)).replica for _ in range(4)] == ["a"] * 4


async def test_bounds_are_asked_for() -> None:
    async with on_stage() as stage:
        await stage.session("bounded:3").read(SELECT)
        assert (stage.last_read().lag_entries_max, stage.last_read().lag_ms_max) == (3, -1)
        await stage.session("bounded:50ms").read(SELECT)
        assert (stage.last_read().lag_entries_max, stage.last_read().lag_ms_max) == (-1, 50)


async def test_who_is_not_ready_is_passed_over_and_the_leader_is_the_last_resort() -> None:
    async with on_stage("a", "b", "c") as stage:
        for name in "bc":
            stage[name].respond = says(Outcome.NOT_READY, "behind")
        stage.connection.members = ("b", "c")  # so that the leader is not drawn by chance
        assert (await stage.session("bounded:0").read(SELECT)).replica == "a"
        assert sorted(stage.names_asked()) == ["a", "b", "c"]


async def test_those_who_were_not_ready_are_asked_again() -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():

            def respond(request: Request, name: str = replica.name) -> Reply | None:
                first = stage.names_asked().count(name) == 1
                return says(Outcome.NOT_READY, "behind")(request) if first else stage[name].by_the_rules(request)

            replica.respond = respond
        await stage.session("bounded:0").read(SELECT)
        assert sorted(stage.names_asked()[:3]) == ["a", "b", "c"]
        assert len(stage.asked) == 4


@pytest.mark.parametrize("policy", ["read_your_writes", "causal"])
async def test_own_writes_are_seen(policy: str) -> None:
    async with on_stage() as stage:
        is_behind(stage, "b")
        session = stage.session(policy)
        position = (await session.write("INSERT INTO kv VALUES (1)")).position
        for _ in range(10):
            result = await session.read(SELECT)
            assert result.position >= position
            assert result.replica == "a"
        assert stage.last_read().after == position
        assert {"b", "c"} & set(stage.names_asked()), "they were asked, and were not ready"


async def test_monotonic_reads_ask_for_what_was_read() -> None:
    async with on_stage() as stage:
        is_behind(stage, "b")
        session = stage.session("monotonic")
        await session.write("INSERT INTO kv VALUES (1)")
        await session.read(SELECT, replica="c")
        for _ in range(10):
            assert (await session.read(SELECT)).replica in "ac"
        assert stage.last_read().after >= Position(1, 9)


async def test_a_monotonic_session_does_not_ask_for_its_writes() -> None:
    async with on_stage() as stage:
        session = stage.session("monotonic")
        await session.write("INSERT INTO kv VALUES (1)")
        await session.read(SELECT, replica="b")
        await session.read(SELECT)
        assert stage.last_read().after == Position(1, 1)


async def test_causality_across_sessions() -> None:
    async with on_stage() as stage:
        is_behind(stage, "b")
        writer, reader = stage.session("causal"), stage.session("causal")
        await writer.write("INSERT INTO kv VALUES (1)")
        reader.observe(Token.parse(str(writer.token)))
        assert reader.token == writer.token == Token.of(Position(1, 10))
        assert {(await reader.read(SELECT)).replica for _ in range(10)} == {"a"}
        strangers = [stage.session("causal") for _ in range(20)]
        assert "b" in {(await stranger.read(SELECT)).replica for stranger in strangers}


async def test_a_lost_position_is_said_and_can_be_forgotten() -> None:
    async with on_stage() as stage:
        is_behind(stage)
        session = stage.session("causal")
        position = (await session.write("INSERT INTO kv VALUES (1)")).position
        for replica in stage.replicas.values():
            replica.log = log((1, 5), (2, 9))
        for _ in range(2):
            with pytest.raises(LostPosition, match=rf"{position}.*forget\(\)") as caught:
                await session.read(SELECT)
            assert caught.value.position == position
            assert "\n" not in str(caught.value)
        session.forget()
        assert session.token == Token()
        assert (await session.read(SELECT)).position == Position(2, 14)


@pytest.mark.parametrize("policy", ["read_your_writes", "causal"])
async def test_a_lost_write_is_noticed_though_a_later_one_was_kept(policy: str) -> None:
    """The newest position alone would not tell."""
    async with on_stage() as stage:
        is_behind(stage)
        session = stage.session(policy)
        lost = (await session.write("INSERT INTO kv VALUES (1)")).position
        for replica in stage.replicas.values():
            replica.log = log((1, 9), (2, 4))
        stage.elect("b", 2, heard_by=["a", "c"])
        kept = (await session.write("INSERT INTO kv VALUES (2)")).position
        stage["a"].log = stage["c"].log = stage["b"].log
        assert str(session.token) == f"{lost}+{kept}"
        with pytest.raises(LostPosition) as caught:
            await session.read(SELECT)
        assert caught.value.position == lost


@pytest.mark.parametrize("policy", ["read_your_writes", "causal"])
async def test_a_write_that_survived_a_failover_costs_nothing(policy: str) -> None:
    async with on_stage() as stage:
        is_behind(stage)
        session = stage.session(policy)
        await session.write("INSERT INTO kv VALUES (1)")
        for replica in stage.replicas.values():
            replica.log = log((1, 10), (2, 4))
        stage.elect("b", 2, heard_by=["a", "c"])
        kept = (await session.write("INSERT INTO kv VALUES (2)")).position
        stage["a"].log = stage["c"].log = stage["b"].log
        asked = len(stage.asked)
        assert (await session.read(SELECT)).position == kept
        assert len(stage.asked) == asked + 1
        await session.read(SELECT)
        assert stage.last_read().after == kept
        assert session.token.positions[-1] == kept


async def test_a_replica_that_is_behind_the_failover_is_asked_until_it_is_not() -> None:
    async with on_stage() as stage:
        is_behind(stage)
        session = stage.session("read_your_writes")
        await session.write("INSERT INTO kv VALUES (1)")
        stage["c"].log = log((1, 10))
        stage.elect("b", 2, heard_by=["a", "c"])
        stage["b"].log = log((1, 10), (2, 4))
        stage.connection.members = ("c",)
        await session.write("INSERT INTO kv VALUES (2)")
        assert (await session.read(SELECT)).replica == "b"
        after = [request.after for name, request in stage.asked if isinstance(request, Read)]
        assert after[:2] == [Position(1, 10), Position(2, 15)], "c has the first, and not the second"


async def test_a_window_after_a_write() -> None:
    async with on_stage() as stage:
        is_behind(stage, "b", "c")
        session = stage.session("read_your_writes:window:60000ms")
        position = (await session.write("INSERT INTO kv VALUES (1)")).position
        assert (await session.read(SELECT)).replica == "a"
        assert stage.last_read().from_leader
        stage["c"].log = log((1, 12))
        await session.read(SELECT, replica="c")
        assert {(await session.read(SELECT)).replica for _ in range(20)} == {"a", "c"}, "both are known to have it"
        assert stage.last_read().after == position
        over = stage.session("read_your_writes:window:0ms")
        await over.write("INSERT INTO kv VALUES (1)")
        assert "b" in {(await over.read(SELECT)).replica for _ in range(40)}


async def test_the_leader_for_own_tables_and_keys() -> None:
    async with on_stage() as stage:
        policy = "read_your_writes:leader_for_own"
        session = stage.session(policy)
        assert {(await session.read(SELECT)).replica for _ in range(40)} == {"a", "b", "c"}
        await session.write("INSERT INTO kv VALUES (1)")
        assert {(await session.read(SELECT)).replica for _ in range(10)} == {"a"}
        assert {(await session.read("SELECT * FROM other")).replica for _ in range(40)} == {"a", "b", "c"}
        by_key = stage.session(policy, own_keys={"mine"})
        assert {(await by_key.read("SELECT ?", ("mine",))).replica for _ in range(10)} == {"a"}
        by_table = stage.session(policy, own_tables={"kv"})
        assert {(await by_table.read(SELECT)).replica for _ in range(10)} == {"a"}


async def test_a_replica_that_is_named_is_asked_whatever_the_policy() -> None:
    async with on_stage() as stage:
        session = stage.session("causal")
        await session.write("INSERT INTO kv VALUES (1)")
        result = await session.read(SELECT, replica="b")
        assert result.replica == "b"
        assert stage.last_read().after == Position()
        assert session.token == Token.of(Position(1, 2))


async def test_the_policy_of_a_session_as_text() -> None:
    async with on_stage() as stage:
        assert stage.session("bounded:7").read_policy == "bounded:7"
        with pytest.raises(ConfigurationError, match="did you mean 'sticky'"):
            stage.session("sticy")


async def test_who_did_not_answer_is_left_alone_for_a_while_by_all_sessions() -> None:
    async with on_stage() as stage:
        stage["b"].respond = silent
        for _ in range(4):
            reader = stage.session("any", retry_s=0.05)
            for _ in range(10):
                assert (await reader.read(SELECT)).replica in {"a", "c"}
        assert stage.names_asked().count("b") == 1
