"""The load generator in its own process's place: what it records, and that it goes on whatever happens."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.client.fakes import Reply, Request, Stage, log, on_stage, reply_to, silent
from workbench.client.load import LoadConfig, LoadGenerator, LoadSpec
from workbench.errors import ConfigurationError
from workbench.history import read_operations
from workbench.operation_rows import OperationRowsWriter, read_rows_header
from workbench.protocol.messages import Outcome, Read, ReadReply
from workbench.protocol.values import Position, Transaction


async def run(stage: Stage, path: Path, *, stop_when: asyncio.Event | None = None, **options: Any) -> pd.DataFrame:
    """Run a load on the stage; return its operations."""
    defaults: dict[str, Any] = {"sessions": 2, "duration_s": 0.2, "warmup_s": 0, "keys": 3, "timeout_s": 1.0}
    load = LoadConfig(**defaults | options)
    spec = LoadSpec(load=load, cell="c", broker_url="", cluster_id="stage", members=("a",), leader="a", rows_path=path)
    start_ns = time.monotonic_ns()
    with OperationRowsWriter(path, start_ns=start_ns) as writer:
        generator = LoadGenerator(spec, stage.connection, writer, start_ns)
        running = asyncio.create_task(generator.run())
        if stop_when is not None:
            await stop_when.wait()
            generator.stop()
        await running
    return read_operations(path)


def rows_are_numbers(stage: Stage) -> None:
    """Reads return a number, as the workloads' do."""
    for replica in stage.replicas.values():

        def respond(request: Request, rules: Any = replica.by_the_rules) -> Reply | None:
            reply: Reply | None = rules(request)
            if isinstance(reply, ReadReply) and reply.outcome is Outcome.OK:
                return ReadReply(reply.session, reply.request, reply.outcome, reply.position, ("value",), ((1,),))
            return reply

        replica.respond = respond


@pytest.mark.parametrize("rate", [None, 200.0])
async def test_writes_are_recorded_as_the_replicas_name_them(rate: float | None, tmp_path: Path) -> None:
    async with on_stage() as stage:
        rows_are_numbers(stage)
        before_ns = time.monotonic_ns()
        operations = await run(stage, tmp_path / "rows", rate_per_s=rate)
        sent = {(one.session, one.sequence) for _, one in stage.asked if isinstance(one, Transaction)}
        writes = operations[operations["kind"] == "write"]
        assert len(sent) > 3
        assert set(zip(writes["identifier"], writes["sequence"], strict=True)) == sent
        reads = operations[operations["kind"] == "read"]
        assert (reads[["identifier", "sequence"]] == 0).all(axis=None)
        header = read_rows_header(tmp_path / "rows")
        assert before_ns <= header.start_ns <= time.monotonic_ns() - operations["completed_ns"].max()


async def test_failed_writes_are_named_too_and_their_sessions_go_on(tmp_path: Path) -> None:
    async with on_stage() as stage:

        def respond(request: Request) -> Reply | None:
            odd = isinstance(request, Transaction) and request.sequence % 2 == 1
            return reply_to(request, Outcome.INDEFINITE, "why") if odd else stage["a"].by_the_rules(request)

        stage["a"].respond = respond
        operations = await run(stage, tmp_path / "rows", read_fraction=0)
        assert set(operations["outcome"]) == {"ok", "info"}
        odd = operations[operations["outcome"] == "info"]
        assert (odd["sequence"] % 2 == 1).all()
        assert (odd["identifier"] > 0).all()
        assert set(odd["error"]) == {"why"}
        assert operations.groupby("session")["sequence"].apply(lambda numbers: sorted(numbers) == list(numbers)).all()


async def test_a_lost_position_is_recorded_once_and_forgotten(tmp_path: Path) -> None:
    async with on_stage("a") as stage:
        rows_are_numbers(stage)
        answer = stage["a"].respond

        def respond(request: Request) -> Reply | None:
            if len(stage.asked) == 6:
                stage["a"].log = log((2, 50))
            return answer(request)

        stage["a"].respond = respond
        operations = await run(stage, tmp_path / "rows", sessions=1, read_fraction=1, read_policy="causal")
        assert operations["outcome"].tolist()[:8] == ["ok"] * 5 + ["fail"] + ["ok"] * 2
        assert operations["error"][5].startswith("position 1.1")
        after = [request.after for _, request in stage.asked[:8] if isinstance(request, Read)]
        assert after == [Position()] + [Position(1, 1)] * 5 + [Position(), Position(2, 50)]


async def test_a_cluster_that_stays_down_ends_the_load(tmp_path: Path) -> None:
    async with on_stage() as stage:
        for replica in stage.replicas.values():
            replica.respond = silent
        operations = await run(stage, tmp_path / "rows", rate_per_s=300.0, timeout_s=0.2, duration_s=0.3)
        never = operations[operations["invoked_ns"].isna()]
        assert len(never) > 0
        assert set(never["outcome"]) == {"fail"}
        assert set(never["error"]) == {"never sent: the load was over"}
        assert never["completed_ns"].isna().all()
        assert set(operations["outcome"][operations["invoked_ns"].notna()]) == {"info"}
        assert operations["operation"].is_unique


async def test_stopping_begins_nothing_new(tmp_path: Path) -> None:
    async with on_stage("a") as stage:
        asked = asyncio.Event()
        kept: list[Request] = []

        def respond(request: Request) -> Reply | None:
            kept.append(request)
            asked.set()
            return None

        stage["a"].respond = respond
        operations = await run(
            stage, tmp_path / "rows", sessions=1, rate_per_s=500.0, duration_s=60, timeout_s=0.2, stop_when=asked
        )
        assert len(set(kept)) == 1
        assert operations["invoked_ns"].notna().sum() == 1


async def test_a_session_of_the_load_owns_the_keys_that_it_wrote(tmp_path: Path) -> None:
    async with on_stage() as stage:
        rows_are_numbers(stage)
        operations = await run(
            stage, tmp_path / "rows", sessions=1, keys=4, read_policy="read_your_writes:leader_for_own"
        )
        first_write = operations[operations["kind"] == "write"].groupby("key")["invoked_ns"].min()
        reads = operations[operations["kind"] == "read"]
        own = reads["invoked_ns"] > reads["key"].map(first_write)
        assert set(reads["replica"][own]) == {"a"}
        assert reads["replica"][~own].isin(["a", "b", "c"]).all()


@pytest.mark.parametrize("policy", ["bounded:20ms", "causal", "read_your_writes:window:200ms", "linearizable"])
def test_every_policy_is_accepted(policy: str) -> None:
    assert LoadConfig(read_policy=policy).read_policy == policy
    with pytest.raises(ConfigurationError, match="did you mean"):
        LoadConfig(read_policy=policy[:-1] + "x")
