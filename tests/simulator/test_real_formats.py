"""Real log formats in virtual time: real storage on disks that forget, every law as in memory, one seed one story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from workbench import cli
from workbench.config import LOG_FORMATS
from workbench.faults.values import Crash, DiskFull, FailingSync, Join, PowerLoss
from workbench.simulator.disks import aimed, disks_of
from workbench.simulator.drawing import draw_schedule
from workbench.simulator.run import Simulated, simulate, simulate_twice
from workbench.simulator.sql_node import SqlNode

SEEDS = (1, 3, 7)
"""Small ones, for time."""


@pytest.fixture(scope="module", params=LOG_FORMATS)
def simulated(request: pytest.FixtureRequest) -> tuple[str, list[Simulated]]:
    return request.param, [simulate_twice(seed, log_format=request.param) for seed in SEEDS]


def test_no_law_is_broken_and_a_seed_tells_the_same_story_twice(simulated: tuple[str, list[Simulated]]) -> None:
    _, ones = simulated
    for one in ones:
        assert not one.failure, f"seed {one.seed}, {one.failure}: {one.reason}"


def test_what_was_simulated_was_something(simulated: tuple[str, list[Simulated]]) -> None:
    log_format, ones = simulated
    happened: Counter[str] = sum((one.happened for one in ones), Counter())
    faults: Counter[str] = sum((one.faults for one in ones), Counter())
    assert happened["writes OK"] > 60
    assert happened[f"{log_format} entries"] == sum(one.entries for one in ones) > 60
    assert faults["power_loss"] > 0
    assert happened["reads judged"] > 20


def test_another_process_with_other_hashes_tells_the_same_story() -> None:
    hashes = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "workbench", "simulate", "--seeds", "7:8", "--log-format", "logical", "--json"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
        hashes.add(json.loads(done.stdout)["trace_hash"])
    assert len(hashes) == 1


@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_a_replica_joins_by_a_snapshot_and_disks_fail_by_hand(log_format: str) -> None:
    schedule = (
        Join(at_ms=2_500, for_ms=100, target="leader"),
        DiskFull(at_ms=4_000, for_ms=300, target="leader"),
        FailingSync(at_ms=6_000, for_ms=300, target="leader"),
        PowerLoss(at_ms=7_500, for_ms=300, target="all"),
        Crash(at_ms=9_000, for_ms=300, target="all"),
    )
    one = simulate(3, schedule=schedule, log_format=log_format)
    assert not one.failure, one.reason
    assert one.faults["power_loss"] == one.faults["crash"] == 1
    assert one.happened["syncs failed"] == 1


def test_a_sync_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.storage.replication_log.ReplicationLog.sync", lambda _log: None)
    schedule = (PowerLoss(at_ms=2_000, for_ms=300, target="all"),)
    failed = [one for one in (simulate(s, schedule=schedule, log_format="logical") for s in range(5)) if one.failure]
    assert failed
    assert {one.law for one in failed} == {"law 3"}


def test_a_database_that_is_not_its_log_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqlNode, "digest", lambda node: node.name)
    one = simulate(7, log_format="statement")
    assert (one.failure, one.law) == ("correctness", "law 3")
    assert "another database" in one.reason


def test_nothing_is_left_on_the_machine() -> None:
    with disks_of("wal", 1) as disks:
        folder: Path = disks._folder  # type: ignore[attr-defined]
        assert folder.is_dir()
    assert not folder.exists()


def test_real_disks_have_more_faults_of_their_own_and_none_behind_their_back() -> None:
    drawn = draw_schedule(Random(1), 10_000)
    on_disks = aimed(drawn, "wal", Random(1), 10_000)
    assert aimed(drawn, "memory", Random(1), 10_000) == drawn
    assert [fault for fault in on_disks if fault.kind == "damage"] == []
    assert len(on_disks) > len([fault for fault in drawn if fault.kind != "damage"])


def test_an_unknown_format_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--seeds", "1:2", "--log-format", "binary"]) == 2
    err = capsys.readouterr().err
    assert "there is no log format 'binary'" in err
    assert "logical" in err
    assert err.count("\n") <= 2


def test_a_fault_that_real_disks_do_not_have_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faults.toml"
    file.write_text('[[fault]]\nkind = "damage"\nat_ms = 100\ntarget = "one"\n')
    assert cli.main(["simulate", "--seeds", "1:2", "--log-format", "wal", "--faults", str(file)]) == 2
    assert "damage is not done to disks with a real log format" in capsys.readouterr().err
