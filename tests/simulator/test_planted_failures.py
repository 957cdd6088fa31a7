"""A run whose history says otherwise ends with exit code 1: of each experiment and each of its checkers.

The checkers are the real ones. What is planted is what they judge: an operation of the history, or the rows that a
replica holds in the end, changed so that something is wrong that this checker must see. Nothing else may be found then.
And a run in which too little was done for any of this ends with exit code 3.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.cli import main
from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment

Corrupt = Callable[..., tuple[Any, ...]]


def row_missing(operations: pd.DataFrame, final: dict[str, dict[str, int]]) -> tuple[Any, ...]:
    """One replica lacks the row of an acknowledged write."""
    key = str(acknowledged(operations)["key"].iloc[-1])
    replica = sorted(final)[-1]
    return operations, final | {replica: {name: value for name, value in final[replica].items() if name != key}}


def other_digest(digests: dict[str, dict[str, str]]) -> tuple[Any, ...]:
    """One replica's tables have digests of their own."""
    replica = sorted(digests)[-1]
    return (dict(digests) | {replica: dict.fromkeys(digests[replica], "other")},)


def append_missing(operations: pd.DataFrame, final: dict[str, list[tuple[str, int]]]) -> tuple[Any, ...]:
    """One replica lacks the row that an acknowledged write added."""
    write = acknowledged(operations).iloc[0]
    replica = sorted(final)[-1]
    return operations, final | {replica: [row for row in final[replica] if row != (write["key"], write["value"])]}


def append_twice(operations: pd.DataFrame, final: dict[str, list[tuple[str, int]]]) -> tuple[Any, ...]:
    """One replica holds a row twice."""
    replica = sorted(final)[-1]
    return operations, final | {replica: [*final[replica], final[replica][0]]}


def append_denied(operations: pd.DataFrame, final: dict[str, list[tuple[str, int]]]) -> tuple[Any, ...]:
    """A client was told that a write had failed for certain, and its row is there."""
    changed = operations.copy()
    changed.loc[acknowledged(operations).index[0], "outcome"] = "fail"
    return changed, final


def old_read(operations: pd.DataFrame) -> tuple[Any, ...]:
    """A read in the middle returns a key's first value, whose second one had been acknowledged long before."""
    changed, writes = operations.copy(), acknowledged(operations)
    key = Counter(writes["key"]).most_common(1)[0][0]
    reads = operations[(operations["kind"] == "read") & (operations["key"] == key) & (operations["outcome"] == "ok")]
    changed.loc[reads.index[len(reads) // 2], "value"] = int(
        writes[writes["key"] == key].sort_values("completed_ns")["value"].iloc[0]
    )
    return (changed,)


def own_write_unseen(operations: pd.DataFrame) -> tuple[Any, ...]:
    """A session that has written a key finds nothing there."""
    changed = operations.copy()
    written = acknowledged(operations).groupby(["session", "key"])["completed_ns"].min().rename("written_ns")
    reads = operations[(operations["kind"] == "read") & (operations["outcome"] == "ok")].join(
        written, ["session", "key"]
    )
    later = reads[(reads["invoked_ns"] > reads["written_ns"]).fillna(False).to_numpy(dtype=bool)]
    changed.loc[later.index[-1], "value"] = pd.NA
    return (changed,)


def acknowledged_twice(operations: pd.DataFrame) -> tuple[Any, ...]:
    """The index of an acknowledged write was acknowledged in another term, too."""
    changed = operations.copy()
    first, second = acknowledged(operations).drop_duplicates("index").index[:2]
    changed.loc[second, "index"] = changed.loc[first, "index"]
    changed.loc[second, "term"] = changed.loc[first, "term"] + 1
    return (changed,)


def acknowledged(operations: pd.DataFrame) -> pd.DataFrame:
    return operations[(operations["kind"] == "write") & (operations["outcome"] == "ok")]


@dataclass(frozen=True)
class Plant:
    """What is planted before the checker `checker` of the module `place`, and what must be found."""

    experiment: str
    place: str
    checker: str
    corrupt: Corrupt
    found: set[str]
    parameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.experiment}-{self.corrupt.__name__}"


WRITES: dict[str, Any] = {"ack": ("sync",), "follower_delay_ms": (5.0,), "duration_s": 0.4, "warmup_s": 0.0}
READS: dict[str, Any] = WRITES | {"ack": ("async",), "read_policy": ("leader",)}
SESSIONS: dict[str, Any] = {"read_policy": ("causal",), "duration_s": 0.5, "warmup_s": 0.0}
JOIN: dict[str, Any] = {"database_mb": (0.0,), "before_s": 0.2, "after_s": 0.2}
CRASH: dict[str, Any] = {"ack": ("quorum",), "before_s": 0.3, "down_s": 0.3, "after_s": 0.3}
KILL: dict[str, Any] = {"kills": 1, "pause_s": 0.3, "down_s": 0.1, "rate_per_s": 200.0}
BRAINS: dict[str, Any] = {"fencing": (True,), "how": ("pause",), "before_s": 0.3, "both_s": 0.8}
CALM: dict[str, Any] = {"congestion": (0.0,), "election_timeout_ms": (200.0,), "observed_s_min": 1.0}
TRADE: dict[str, Any] = {"ack": ("sync",), "read_policy": ("leader",), "duration_s": 0.5}

PLANTS = [
    Plant("write_latency", "cells", "lost_writes", row_missing, {"lost_writes"}, WRITES),
    Plant("write_latency", "cells", "convergence", other_digest, {"convergence"}, WRITES),
    Plant("stale_reads", "cells", "lost_writes", row_missing, {"lost_writes"}, READS),
    Plant("stale_reads", "stale_reads", "staleness", old_read, {"leader_reads_are_fresh"}, READS),
    Plant("session_guarantees", "cells", "lost_writes", row_missing, {"lost_writes"}, SESSIONS),
    Plant("session_guarantees", "session_guarantees", "session_guarantees", own_write_unseen,
          {"read_your_writes_holds", "monotonic_reads_hold"}, SESSIONS),
    Plant("new_follower", "cells", "lost_writes", row_missing, {"lost_writes"}, JOIN),
    Plant("follower_crash", "cells", "lost_writes", row_missing, {"lost_writes"}, CRASH),
    Plant("failover", "failover", "appends", append_missing,
          {"no_acknowledged_write_is_lost", "lost_writes_are_accounted_for"}, KILL),
    Plant("failover", "failover", "appends", append_twice, {"repeated"}, KILL),
    Plant("failover", "failover", "appends", append_denied, {"denied"}, KILL),
    Plant("failover", "failover", "convergence", other_digest, {"convergence"}, KILL),
    Plant("split_brain", "split_brain", "double_acknowledgements", acknowledged_twice,
          {"fencing_stops_the_old_leader"}, BRAINS),
    Plant("split_brain", "split_brain", "appends", append_missing, {"appends_with_fencing"}, BRAINS),
    Plant("accidental_failover", "accidental_failover", "appends", append_missing,
          {"no_acknowledged_write_is_lost"}, CALM),
    Plant("accidental_failover", "accidental_failover", "appends", append_twice, {"repeated"}, CALM),
    Plant("trade_off", "trade_off", "appends", append_missing, {"a_majority_loses_nothing"}, TRADE),
    Plant("trade_off", "trade_off", "appends", append_denied, {"denied"}, TRADE),
    Plant("trade_off", "trade_off", "staleness", old_read,
          {"leader_reads_are_fresh", "sync_applied_reads_are_fresh"}, TRADE),
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS, ids=str)
async def test_what_is_planted_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sow(plant, monkeypatch)
    run = await run_experiment(
        experiment(plant.experiment), world="simulated", profile="ci", overrides=plant.parameters, output=tmp_path
    )
    judged = run.verdicts | run.required_checks
    assert {name for name, verdict in judged.items() if verdict.status == "invalid"} == plant.found
    assert run.conclusion.exit_code == 1


FEW: dict[str, dict[str, Any]] = {
    "write_latency": WRITES | {"rate_per_s": 20.0},
    "stale_reads": READS | {"rate_per_s": 20.0},
    "session_guarantees": SESSIONS | {"rate_per_s": 50.0},
    "failover": KILL | {"rate_per_s": 20.0},
    "trade_off": TRADE | {"rate_per_s": 20.0},
}
"""Loads that are too small to show anything."""


@pytest.mark.parametrize("name", FEW)
async def test_a_run_that_did_too_little_is_unknown_and_ends_with_3(name: str, tmp_path: Path) -> None:
    run = await run_experiment(experiment(name), world="simulated", profile="ci", overrides=FEW[name], output=tmp_path)
    assert run.conclusion.status == "unknown"
    assert run.conclusion.exit_code == 3


def test_the_command_says_so_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sow(PLANTS[0], monkeypatch)
    assignments = [f"--set={name}={value[0] if isinstance(value, tuple) else value}" for name, value in WRITES.items()]
    assert main(["run", "write_latency", "--world", "simulated", "--output", str(tmp_path), *assignments]) == 1
    said = capsys.readouterr().out
    assert "that must hold, and do not" in said
    assert "invalid  lost_writes" in said


def sow(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"workbench.experiments.{plant.place}")
    check = getattr(module, plant.checker)
    monkeypatch.setattr(module, plant.checker, lambda *judged: check(*plant.corrupt(*judged)))
