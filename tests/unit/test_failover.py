"""What `failover` claims of given kills and accounts, and what its charts say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.unit.synthetic_failover import failover_run, kill, losses_of, writes_of
from workbench.charts.drawing import alt_text, draw
from workbench.charts.tables import finding, shown_table
from workbench.checkers import Verdict
from workbench.errors import ConfigurationError
from workbench.experiments.failover import EXPERIMENT, Parameters, timing_of
from workbench.experiments.failover_claims import judge, kill_rows, survives_failover
from workbench.experiments.failover_kills import Kill

KILLS = [kill(1), kill(2)]


def judged(
    kills: list[Kill],
    operations: pd.DataFrame,
    *,
    lost: set[int] | None = None,
    dropped: set[int] | None = None,
    survives: bool = True,
    asked: int = 2,
    problem: str = "",
) -> dict[str, Verdict]:
    accounts = losses_of(operations, lost=lost or set(), dropped=dropped or set())
    rows = kill_rows(kills, operations, accounts)
    return judge(rows, accounts, asked=asked, survives=survives, problem=problem)


def statuses(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts.items()}


# Rows.


def test_a_kill_is_told_from_the_operations() -> None:
    operations = writes_of()
    first, second = kill_rows(KILLS, operations, losses_of(operations, lost=set(), dropped=set()))
    assert (first["leader"], first["successor"]) == ("replica-1", "replica-2")
    assert (first["term_before"], first["term_after"], first["took_effect"]) == (1, 2, True)
    assert (first["recovery_ms"], first["election_ms"]) == (600.0, 590.0)
    assert (first["outage_ms"], second["outage_ms"]) == (610.0, 710.0)
    assert (first["down_ms"], first["catch_up_ms"]) == (900.0, 50.0)
    assert (first["failed"], second["failed"], first["indefinite"]) == (60, 70, 0)


def test_a_loss_belongs_to_the_reign_in_which_it_was_acknowledged() -> None:
    operations = writes_of()
    accounts = losses_of(operations, lost={99, 100, 250}, dropped={99, 100, 250})
    rows = kill_rows(KILLS, operations, accounts)
    assert [row["lost_acknowledged_writes"] for row in rows] == [2, 1]


def test_a_kill_that_came_to_nothing_has_no_times() -> None:
    operations = writes_of(1)
    stuck = kill(1, successor="", term_after=0, elected_ms=None, restarted_ms=None, caught_up_ms=None, problem="nobody")
    (row,) = kill_rows([stuck], operations, losses_of(operations, lost=set(), dropped=set()))
    assert row["took_effect"] is False
    assert all(pd.isna(row[name]) for name in ("election_ms", "recovery_ms", "outage_ms", "down_ms", "catch_up_ms"))


# Claims.


def test_all_claims_hold_where_nothing_is_lost() -> None:
    verdicts = judged(KILLS, writes_of(), dropped={99, 100})
    assert statuses(verdicts) == dict.fromkeys(EXPERIMENT.claims, "valid")
    assert "2 acknowledged writes that rewinds dropped all took effect again" in (
        verdicts["lost_writes_are_accounted_for"].reason
    )


def test_under_async_losses_are_no_broken_claim_if_they_are_written_down() -> None:
    verdicts = statuses(judged(KILLS, writes_of(), lost={99, 100}, dropped={99, 100}, survives=False))
    assert set(verdicts) == set(EXPERIMENT.claims) - {"no_acknowledged_write_is_lost"}
    assert set(verdicts.values()) == {"valid"}


def test_under_async_no_loss_proves_nothing() -> None:
    verdicts = statuses(judged(KILLS, writes_of(), survives=False))
    assert verdicts["lost_writes_are_accounted_for"] == "unknown"


@pytest.mark.parametrize(
    ("lost", "dropped", "broken"),
    [
        ({99}, {99}, {"no_acknowledged_write_is_lost"}),
        ({99}, set(), {"no_acknowledged_write_is_lost", "lost_writes_are_accounted_for"}),
    ],
)
def test_a_loss_is_seen(lost: set[int], dropped: set[int], broken: set[str]) -> None:
    verdicts = judged(KILLS, writes_of(), lost=lost, dropped=dropped)
    assert {name for name, verdict in verdicts.items() if verdict.status == "invalid"} == broken
    assert all(verdicts[name].witness[0]["value"] == 99 for name in broken)


@pytest.mark.parametrize(
    ("kills", "broken"),
    [
        ([kill(1), kill(2, gone=False)], "every_kill_took_effect"),
        ([kill(1), kill(2, term_after=2)], "every_kill_took_effect"),
        ([kill(1)], "every_kill_took_effect"),
    ],
)
def test_a_kill_without_effect_is_seen(kills: list[Kill], broken: str) -> None:
    assert judged(kills, writes_of())[broken].status == "invalid"


def test_clients_that_never_hear_of_the_new_leader_are_seen() -> None:
    verdict = judged(KILLS, writes_of(2))["clients_find_the_new_leader"]
    assert verdict.status == "invalid"
    assert [row["kill"] for row in verdict.witness] == [2]


def test_without_final_rows_nothing_is_said_of_writes() -> None:
    verdicts = statuses(judged(KILLS, writes_of(), problem="no final rows were given"))
    assert verdicts["no_acknowledged_write_is_lost"] == verdicts["lost_writes_are_accounted_for"] == "unknown"


def test_too_few_writes_decide_nothing() -> None:
    operations = writes_of().iloc[95:165]
    assert set(statuses(judged([kill(1)], operations, asked=1)).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("ack", "members", "survives"),
    [
        ("async", 3, False),
        ("semi_sync:1", 3, True),
        ("semi_sync:1", 5, False),
        ("quorum", 5, True),
        ("quorum/received", 3, False),
        ("sync", 3, True),
        ("sync/durable", 4, True),
    ],
)
def test_which_policies_promise_survival(ack: str, members: int, survives: bool) -> None:
    assert survives_failover(ack, members) is survives


@pytest.mark.parametrize("options", [{"follower_delay_ms": 400.0}, {"cut_off_ms": 300.0}])
def test_time_outs_that_depose_healthy_leaders_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="election_timeout_ms"):
        timing_of(replace(Parameters(), **options))
    assert timing_of(replace(Parameters(election_timeout_ms=1_000.0), **options)).election_timeout_ms == 1_000
    assert timing_of(Parameters(election_timeout_ms=200.0)).heartbeat_ms == 40


# Charts.


def test_the_title_tells_what_was_lost(tmp_path: Path) -> None:
    assert finding(failover_run(tmp_path)).startswith("Killing the leader twice under async lost 40 writes that were")
    assert finding(failover_run(tmp_path, ack="quorum", lost=0)).endswith(
        "under quorum lost no acknowledged write, and stopped writes for about 0.66 s each time"
    )
    assert finding(failover_run(tmp_path, ack="quorum", kills=1, lost=0)).endswith("for about 0.64 s")


def test_many_kills_are_told_in_few_words(tmp_path: Path) -> None:
    run = failover_run(tmp_path, kills=20)
    assert "20 kills; first acknowledged write of the new leader after 640 to 1,400 ms" in alt_text(run, "timeline")
    assert len(alt_text(run, "recovery")) < 400
    draw(run)


def test_the_table_has_a_row_a_kill(tmp_path: Path) -> None:
    rows = shown_table(failover_run(tmp_path)).rows
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][1] == "replica-1 → replica-2"
