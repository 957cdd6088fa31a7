"""Clusters in virtual time: one seed, one story; the laws hold in all of them, and planted bugs are found."""

from __future__ import annotations

from collections import Counter

import pytest

from workbench.faults.values import KINDS, Crash, Cut, Pause
from workbench.protocol import leading as leading_module
from workbench.protocol.election import Election
from workbench.protocol.following import Following
from workbench.protocol.messages import RequestVote
from workbench.protocol.replica import Replica
from workbench.simulator.memory_disk import MemoryNode
from workbench.simulator.run import simulate
from workbench.simulator.swarm import Swarm, run_seeds

SAMPLE = range(100)
BUG_SEEDS = 300
"""A planted bug is found within so many; most within a few."""


@pytest.mark.timeout(600)
def test_a_sample_of_seeds_breaks_no_law_comes_right_and_meets_every_kind_of_fault() -> None:
    """Each seed twice: one that told another story the second time would have failed."""
    swarm = Swarm()
    happened: Counter[str] = Counter()
    for one in run_seeds(SAMPLE, twice=True):
        assert not one.failure, f"seed {one.seed}, {one.failure}: {one.reason}"
        answered = sum(count for what, count in one.happened.items() if what.endswith(" OK"))
        assert answered > 20, "a seed in which nothing happens proves nothing"
        swarm.add(one)
        happened += one.happened
    assert set(swarm.faults) == set(KINDS)
    for what in (
        "messages lost",
        "messages twice",
        "messages overtaking",
        "messages queued",
        "disks full",
        "syncs failed",
        "installs",
        "divergences",
    ):
        assert happened[what] > 0, what
    assert happened["leaders"] > 2 * len(SAMPLE)


def test_one_seed_tells_one_story() -> None:
    first, second = simulate(7), simulate(7)
    assert first.trace_hash == second.trace_hash
    assert (first.messages, first.faults, first.happened) == (second.messages, second.faults, second.happened)
    assert simulate(8).trace_hash != first.trace_hash


def test_the_story_is_the_same_in_another_process() -> None:
    here = {seed: simulate(seed).trace_hash for seed in (3, 4)}
    assert {one.seed: one.trace_hash for one in run_seeds((3, 4), workers=2)} == here


def test_a_schedule_by_hand_strikes_what_it_names() -> None:
    schedule = (
        Crash(at_ms=1_000, for_ms=500, target="leader"),
        Cut(at_ms=3_000, for_ms=500, target="replica-2", shape="isolate"),
        Pause(at_ms=4_000, for_ms=100, target="nobody"),
    )
    one = simulate(1, schedule=schedule)
    assert not one.failure, one.reason
    assert one.faults == {"crash": 1, "cut": 1}
    assert one.happened["leaders"] >= 2
    assert one.happened["messages cut"] > 0


# ------------------------------------------------------------------------------------------------- planted bugs


def found(kind: str) -> str:
    """Why the first seed that fails does so."""
    for seed in range(BUG_SEEDS):
        one = simulate(seed)
        if one.failure:
            assert one.failure == kind, one.reason
            assert simulate(seed).trace_hash == one.trace_hash, "it can be replayed"
            return one.reason
    raise AssertionError(f"{BUG_SEEDS} seeds have not found it")


def test_votes_for_logs_that_lack_something_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(_election: Election, _request: RequestVote) -> bool:
        return True

    monkeypatch.setattr(Election, "_is_up_to_date", always)
    assert "law 6" in found("correctness")


def test_a_missing_sync_of_the_log_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryNode, "sync", lambda node: None)
    assert "law" in found("correctness")


def test_a_commit_without_a_majority_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading_module, "committed_index", lambda *, durable, followers: durable)
    assert "law 6" in found("correctness")


def test_a_replica_that_never_serves_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Following, "on_rebuilt", lambda *_: None)
    assert "within 60 s without faults" in found("liveness")


def test_an_error_in_the_code_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Replica, "_become", fail)
    assert found("crash") == "ZeroDivisionError: planted"
