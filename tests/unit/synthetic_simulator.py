"""Invented runs of `simulator`, one of each world, and what they are made of."""

from __future__ import annotations

from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from tests.unit.synthetic_followers import rates
from workbench.results import RunFolder

REAL = "ack=quorum, log_format=logical"
QUESTION = "Can bad luck be repeated?"


def seed_row(seed: int, **changes: object) -> Row:
    """A seed that told the same story twice, and in which all went well."""
    return {
        "seed": seed,
        "messages": 2_000 + seed,
        "entries": 150,
        "simulated_s": 12.0,
        "faults_drawn": 14,
        "faults": 9,
        "failure": "",
        "reason": "",
        "trace_hash": f"{seed:032x}",
        "trace_hash_again": f"{seed:032x}",
        "told_alike": True,
    } | changes


def bug_row(bug: str = "vote_twice", **changes: object) -> Row:
    """A planted bug that was caught, shrunk and replayed."""
    return {
        "cell": bug,
        "bug": bug,
        "area": "election",
        "breaks": "A voter forgets that it has voted in this term.",
        "seeds": 1,
        "messages": 1_325,
        "entries": 90,
        "simulated_s": 3.2,
        "faults_drawn": 18,
        "faults": 7,
        "violations": 1,
        "seed": 8,
        "failure": "correctness",
        "law": "law 1",
        "reason": "law 1: two leaders in a term",
        "faults_kept": 2,
        "kept_reason": "law 1: two leaders in a term",
        "kept_simulated_s": 3.1,
        "replayed_law": "law 1",
        "trace_hash": "ab" * 16,
        "replayed_trace_hash": "ab" * 16,
        "told_alike": 1,
        "replays_alike": 1,
    } | changes


def real_row(**changes: object) -> Row:
    """A real cluster that came through everything."""
    return {
        "cell": REAL,
        "ack": "quorum",
        "log_format": "logical",
        "under_faults_s": 300.0,
        "faults_planned": 120,
        "faults_that_struck": 113,
        "faults": 101,
        "kinds": 18,
        "leader_changes": 22,
        "acknowledged_writes": 27_426,
        "failed": 49,
        "indefinite": 43,
        "lost_acknowledged_writes": 0,
        "converged": True,
        "unexplained_ends": 0,
        "problem": "",
    } | changes


def kind_row(kind: str, took_effect: int = 3, **changes: object) -> Row:
    """How often a kind of fault took effect."""
    return {
        "cell": REAL,
        "kind": kind,
        "planned": 4,
        "struck": 4,
        "took_effect": took_effect,
        "evidence": "seen",
    } | changes


def _story(cell: str, schedule: str, faults: int) -> tuple[list[Row], list[Row]]:
    common = {"cell": cell, "schedule": schedule}
    states = [
        {"replica": "replica-1", "state": "leader", "term": 1, "from_ms": 0.0, "to_ms": 2_000.0},
        {"replica": "replica-1", "state": "paused", "term": 0, "from_ms": 2_000.0, "to_ms": 3_100.0},
        {"replica": "replica-2", "state": "follower", "term": 1, "from_ms": 0.0, "to_ms": 2_700.0},
        {"replica": "replica-2", "state": "leader", "term": 2, "from_ms": 2_700.0, "to_ms": 3_100.0},
    ]
    struck = [
        {"kind": kind, "target": "one", "from_ms": 300.0 * place, "to_ms": 300.0 * place + 500}
        for place, kind in enumerate(
            ("pause", "cut", "clock_drift", "slow_disk", "join", "broker_down", "loss")[:faults]
        )
    ]
    return [common | row for row in states], [common | row for row in struck]


def simulator_run(root: Path, *, empty: bool = False) -> RunFolder:
    """Seeds and bugs in the simulated world."""
    seeds = [seed_row(seed) for seed in range(1, 7)]
    bugs = [bug_row(), bug_row("vote_not_saved", violations=0, seeds=200)]
    plain: Row = {
        "cell": "no bug", "bug": "", "area": "", "seeds": 6, "messages": 12_021, "entries": 900, "simulated_s": 72.0,
        "faults_drawn": 84, "faults": 54, "violations": 0, "told_alike": 6,
    }  # fmt: skip
    stories = [_story("vote_twice", schedule, faults) for schedule, faults in (("drawn", 7), ("kept", 2))]
    tables = {
        "seeds": seeds,
        "bugs": bugs,
        "faults": [kind_row(kind) for kind in ("crash", "cut", "slow_disk")],
        "states": [row for states, _ in stories for row in states],
        "struck": [row for _, struck in stories for row in struck],
        "kept_faults": [
            {"cell": "vote_twice", "kind": "pause", "at_ms": 10.0, "for_ms": 20.0, "target": "leader", "values": ""}
        ],
    }
    summary = [] if empty else [plain, *bugs]
    return write(root, "simulator", QUESTION, summary, {} if empty else tables, empty=empty, world="simulated")


def real_simulator_run(root: Path, *, empty: bool = False, faults: int = 7) -> RunFolder:
    """A real cluster under faults."""
    states, _ = _story(REAL, "", 0)
    kinds = ("pause", "cut", "clock_drift", "slow_disk", "join", "broker_down", "loss")
    struck = [
        {"cell": REAL, "kind": kinds[place % len(kinds)], "target": "one", "replicas": "replica-1",
         "from_ms": 20.0 * place,
         "to_ms": 20.0 * place + 900, "took_effect": place != 1, "evidence": "seen"}
        for place in range(faults)
    ]  # fmt: skip
    tables = {
        "faults": [kind_row(kind) for kind in kinds],
        "struck": struck,
        "states": states,
        "rates": rates(REAL, 3_100.0, lambda kind, _: 40.0 if kind == "write" else 0.0),
    }
    return write(root, "simulator", QUESTION, [] if empty else [real_row()], {} if empty else tables, empty=empty)
