"""Experiments as values, the folder that one run leaves, and what the claims say of given figures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from workbench.checkers import Verdict
from workbench.errors import ConfigurationError, RunError
from workbench.experiments import stale_reads, write_latency
from workbench.experiments.base import Context, Experiment, Outcome
from workbench.experiments.cells import cell_name, cell_seed, check_ack, claim
from workbench.experiments.parameters import PROFILES, parameter
from workbench.experiments.registry import experiment, experiment_names
from workbench.experiments.runner import keep_logs, keep_rollbacks, run_experiment
from workbench.results import RunFolder, list_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    sessions: int = parameter(4, help="Sessions.", low=1, high=64)
    ack: tuple[str, ...] = parameter(("async",), help="Policies.", choices=("async", "sync"))


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    folder = context.directory / "cell" / "logs"
    folder.mkdir(parents=True)
    (folder / "replica-1.log").write_text("ready\n")
    (folder / "database.db").write_text("rows")
    context.progress(0.5, "halfway")
    context.notes["broker"] = {"name": "none"}
    return Outcome(
        summary=[{"ack": ack, "writes": parameters.sessions} for ack in parameters.ack],
        verdicts={"holds": Verdict.valid("seen", writes=4)},
        tables={"further": [{"x": 1}]},
        invariants={"converged": True},
    )


EXAMPLE = Experiment(
    name="example",
    number="42",
    question="Does it?",
    parameters=Parameters,
    profiles={"ci": {"sessions": 1}, "quick": {}, "full": {"sessions": 64}},
    conduct=conduct,
    claims={"holds": "It does."},
)


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_resolves_in_every_profile(name: str) -> None:
    found = experiment(name)
    assert found.name == name
    assert found.question.endswith("?")
    for profile in PROFILES:
        found.resolve(profile)
    for info in found.parameter_infos:
        assert info.help.endswith("."), info.name
        assert info.parse(info.default) == info.default


def test_an_unknown_experiment_names_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'stale_reads'"):
        experiment("stale_read")


def test_overrides_beat_the_profile_which_beats_the_defaults() -> None:
    assert EXAMPLE.resolve("quick") == Parameters(sessions=4)
    assert EXAMPLE.resolve("ci") == Parameters(sessions=1)
    assert EXAMPLE.resolve("ci", {"sessions": "7", "ack": "sync"}) == Parameters(sessions=7, ack=("sync",))
    with pytest.raises(ConfigurationError, match="did you mean 'sessions'"):
        EXAMPLE.resolve("ci", {"session": 3})


def test_an_experiment_needs_all_profiles_with_valid_values() -> None:
    with pytest.raises(ConfigurationError, match="profiles"):
        replace(EXAMPLE, profiles={"quick": {}})
    with pytest.raises(ConfigurationError, match="from 1 to 64"):
        replace(EXAMPLE, profiles={**EXAMPLE.profiles, "full": {"sessions": 65}})


async def test_a_run_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    run = await run_experiment(
        EXAMPLE,
        profile="ci",
        seed=9,
        overrides={"ack": ("async", "sync")},
        output=tmp_path,
        progress=lambda *step: told.append(step),
    )
    reopened = RunFolder.open(run.path)
    assert reopened.parameters == {"sessions": 1, "ack": ["async", "sync"]}
    assert (reopened.seed, reopened.info["profile"]) == (9, "ci")
    assert reopened.summary.to_dict("records") == [{"ack": "async", "writes": 1}, {"ack": "sync", "writes": 1}]
    assert reopened.verdicts["holds"].status == "valid"
    assert reopened.invariants == {"converged": True, "world": "real"}
    assert reopened.tables == ("further",)
    assert reopened.info["broker"] == {"name": "none"}
    assert reopened.info["claims"] == {"holds": "It does."}
    assert told == [(0.5, "halfway")]


async def test_a_run_keeps_logs_and_no_databases(tmp_path: Path) -> None:
    run = await run_experiment(EXAMPLE, profile="ci", output=tmp_path)
    kept = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert "logs/cell/logs/replica-1.log" in kept
    assert not any("database" in name or ".replicas" in name for name in kept)


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("the disk is full"), "failed"), (KeyboardInterrupt(), "interrupted")],
)
async def test_a_run_that_ends_early_says_so(tmp_path: Path, error: BaseException, status: str) -> None:
    async def broken(context: Context, parameters: Parameters) -> Outcome:
        raise error

    with pytest.raises(type(error)):
        await run_experiment(replace(EXAMPLE, conduct=broken), output=tmp_path)
    (listing,) = list_runs(tmp_path)
    assert listing.status == status
    with pytest.raises(RunError, match=status):
        RunFolder.open(listing.path)
    assert not list(listing.path.glob(".replicas-*"))


async def test_a_cancelled_run_is_interrupted(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless(context: Context, parameters: Parameters) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(run_experiment(replace(EXAMPLE, conduct=endless), output=tmp_path))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [listing.status for listing in list_runs(tmp_path)] == ["interrupted"]


async def test_a_wrong_parameter_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        await run_experiment(EXAMPLE, overrides={"sessions": 0}, output=tmp_path)
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("claims", "checks", "code"),
    [
        (["valid", "valid"], ["valid", "invalid"], 0),
        (["valid", "invalid", "unknown"], ["valid"], 1),
        (["valid", "unknown"], ["valid"], 3),
        (["valid"], ["invalid"], 1),
        (["valid"], ["unknown"], 3),
        (["unknown"], ["invalid"], 1),
        (["valid"], [], 0),
        ([], ["valid"], 3),
        ([], ["invalid"], 1),
    ],
)
async def test_the_claims_and_the_first_check_decide_how_a_run_ends(
    tmp_path: Path, claims: list[Any], checks: list[Any], code: int
) -> None:
    async def judged(context: Context, parameters: Parameters) -> Outcome:
        found = {f"check_{number}": Verdict(status) for number, status in enumerate(checks)}
        return Outcome(
            summary=[], verdicts={str(at): Verdict(status) for at, status in enumerate(claims)}, checks=found
        )

    sentences = {str(at): "It holds." for at in range(len(claims))}
    judging = replace(EXAMPLE, conduct=judged, claims=sentences, required_checks=("check_0",))
    run = await run_experiment(judging, output=tmp_path)
    assert run.conclusion.exit_code == code
    assert RunFolder.open(run.path).to_json()["conclusion"] == run.conclusion.status


def test_cells_have_names_and_seeds_of_their_own() -> None:
    name = cell_name(ack="sync", follower_delay_ms=20.0, followers=2)
    assert name == "ack=sync, follower_delay_ms=20, followers=2"
    assert cell_seed(1, name) == cell_seed(1, name)
    assert len({cell_seed(1, name), cell_seed(2, name), cell_seed(1, "other")}) == 3


def test_a_policy_that_could_never_be_met_is_refused_before_the_run() -> None:
    check_ack("semi_sync:2", 2)
    with pytest.raises(ConfigurationError, match="never be met"):
        check_ack("semi_sync:3", 2)


def test_a_claim_tells_what_was_seen_in_its_cells() -> None:
    judged = claim({"a": Verdict.valid("12 ms", writes=5), "b": Verdict.valid("13 ms", writes=6)})
    assert judged == Verdict("valid", "a: 12 ms; b: 13 ms", (), {"writes": 11}, {"a": "valid", "b": "valid"})
    broken = claim({"a": Verdict.valid("12 ms"), "b": Verdict.invalid("90 ms")})
    assert (broken.reason, broken.parts) == ("b: 90 ms", {"a": "valid", "b": "invalid"})
    assert claim({}).status == "unknown"


# write_latency


def latency(ack: str, median: float, *, delay: float = 40.0, writes: int = 100) -> dict[str, Any]:
    return {
        "cell": f"{ack} {delay:g}",
        "ack": ack,
        "followers": 2,
        "follower_delay_ms": delay,
        "writes": writes,
        "latency_ms_p50": median,
    }


def statuses(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts.items()}


def test_write_latency_as_expected() -> None:
    rows = [latency("async", 2), latency("quorum", 42), latency("sync", 43), latency("sync", 3, delay=0)]
    assert statuses(write_latency.judge(rows)) == dict.fromkeys(write_latency.EXPERIMENT.claims, "valid")


@pytest.mark.parametrize(
    ("row", "broken"),
    [
        (latency("sync", 39.9), "waiting_costs_the_delay"),
        (latency("async", 40), "async_does_not_wait"),
        (latency("async", 70), "async_is_fastest"),
        (latency("quorum", 70), "quorum_is_between"),
    ],
)
def test_write_latency_sees_each_claim_broken(row: dict[str, Any], broken: str) -> None:
    rows = {"async": latency("async", 2), "quorum": latency("quorum", 42), "sync": latency("sync", 43)}
    rows[row["ack"]] = row
    assert write_latency.judge(list(rows.values()))[broken].status == "invalid"


def test_write_latency_makes_no_claim_about_what_was_not_measured() -> None:
    assert statuses(write_latency.judge([latency("sync", 43)])) == {"waiting_costs_the_delay": "valid"}
    assert write_latency.judge([latency("async", 2, delay=0), latency("sync", 3, delay=0)]) == {}


def test_too_few_writes_decide_nothing() -> None:
    few = [latency("async", 90, writes=3), latency("sync", 1, writes=3)]
    assert set(statuses(write_latency.judge(few)).values()) == {"unknown"}
    none = [latency("sync", float("nan"), writes=0)]
    assert statuses(write_latency.judge(none)) == {"waiting_costs_the_delay": "unknown"}


SLOW = {"target_met": False, "target_rate_per_s": 200.0, "achieved_rate_per_s": 80.0}


def test_what_a_policy_costs_is_unknown_where_the_load_was_not_kept_up() -> None:
    rows = [latency("async", 90) | SLOW, latency("quorum", 39), latency("sync", 1) | SLOW]
    verdicts = write_latency.judge(rows)
    assert statuses(verdicts) == {
        "waiting_costs_the_delay": "invalid",  # a slow machine is no excuse
        "async_does_not_wait": "unknown",
        "async_is_fastest": "unknown",
        "quorum_is_between": "unknown",
    }
    assert verdicts["async_does_not_wait"].reason == (
        "async, 2 followers, 40 ms: only 80 of 200 operations a second were kept up; median 90.00 ms, delay 40 ms"
    )


# stale_reads


def reads(ack: str, policy: str, verdict: Verdict, delay: float = 40.0) -> tuple[dict[str, Any], Verdict]:
    return {"cell": f"{ack} {policy}", "ack": ack, "read_policy": policy, "follower_delay_ms": delay}, verdict


FRESH = Verdict.valid("none of 400 reads was stale", reads=400, reads_at_risk=390)
STALE = Verdict.invalid("7 of 400 reads were stale", reads=400, reads_at_risk=390)
NO_READS = Verdict.unknown("no read could be judged", reads=0, reads_at_risk=0)


def test_stale_reads_as_expected() -> None:
    cells = [reads("async", "any", STALE), reads("async", "leader", FRESH), reads("sync", "any", FRESH)]
    assert statuses(stale_reads.judge(cells)) == dict.fromkeys(stale_reads.EXPERIMENT.claims, "valid")


def test_stale_reads_sees_each_claim_broken() -> None:
    cells = [reads("async", "any", FRESH), reads("async", "leader", STALE), reads("sync", "any", STALE)]
    assert statuses(stale_reads.judge(cells)) == dict.fromkeys(stale_reads.EXPERIMENT.claims, "invalid")


def test_an_anomaly_that_a_late_load_did_not_show_is_unknown() -> None:
    (labels, verdict) = reads("async", "any", FRESH)
    cells = [(labels | SLOW, verdict), (reads("async", "leader", STALE)[0] | SLOW, STALE)]
    assert statuses(stale_reads.judge(cells)) == {
        "async_any_returns_the_past": "unknown",
        "leader_reads_are_fresh": "invalid",
    }


def test_no_reads_are_unknown_and_not_zero_percent() -> None:
    cells = [reads("async", "any", NO_READS), reads("async", "leader", NO_READS), reads("sync", "any", NO_READS)]
    verdicts = stale_reads.judge(cells)
    assert statuses(verdicts) == dict.fromkeys(stale_reads.EXPERIMENT.claims, "unknown")
    assert Verdict.all(verdicts).exit_code == 3


def test_freshness_needs_enough_reads_that_could_have_been_stale() -> None:
    few = Verdict.valid("none of 400 reads was stale", reads=400, reads_at_risk=2)
    cells = [reads("async", "any", few), reads("async", "leader", few)]
    assert set(statuses(stale_reads.judge(cells)).values()) == {"unknown"}


def test_weaker_levels_of_sync_promise_no_fresh_reads() -> None:
    assert stale_reads.judge([reads("sync/durable", "any", STALE), reads("async", "any", STALE, delay=0)]) == {}


def test_processes_logs_and_rollbacks_are_kept_and_replicas_data_is_not(tmp_path: Path) -> None:
    replica = tmp_path / "work" / "ack-async" / "replicas" / "replica-2"
    for path, text in {
        tmp_path / "work" / "ack-async" / "logs" / "replica-2.log": "up",
        replica / "log" / "00000000000000000001.log": "entries",
        replica / "database" / "database.sqlite": "rows",
        replica / "rollback" / "0001-after-1.7.jsonl": "dropped",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    writer = RunFolder.create(tmp_path, experiment="e", title="t", question="q", parameters={}, seed=1, profile="ci")
    keep_logs(tmp_path / "work", writer.logs_directory)
    keep_rollbacks(tmp_path / "work", writer)
    kept = {path.relative_to(writer.path).as_posix() for path in writer.path.rglob("*.*") if path.suffix != ".json"}
    assert kept == {"logs/ack-async/logs/replica-2.log", "rollback/ack-async/replicas/replica-2/0001-after-1.7.jsonl"}
