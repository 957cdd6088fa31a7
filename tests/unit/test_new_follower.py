"""What `new_follower` claims of given figures, how these are made, and what its charts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.histories import history, write
from tests.unit.synthetic_followers import join_row, new_follower_run
from workbench.charts.drawing import alt_text
from workbench.charts.tables import finding, shown_table
from workbench.client.load import LoadConfig
from workbench.cluster.status import ConvergenceReport, ReplicaStatus
from workbench.experiments.cells import MeasuredLoad
from workbench.experiments.join_claims import CLAIMS, judge
from workbench.experiments.new_follower import Join, Probe, summary_row

MS = 1_000_000


def statuses(*rows: dict[str, Any]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(rows).items()}


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert statuses(join_row(8.0), join_row(200.0)) == dict.fromkeys(CLAIMS, "valid")


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"first_entry": "1.584"}, "first_entry_applied_follows_the_snapshot"),
        ({"first_entry": "1.582"}, "first_entry_applied_follows_the_snapshot"),
        ({"first_entry": "0.0"}, "first_entry_applied_follows_the_snapshot"),
        ({"snapshot_position": "0.0", "first_entry": "1.1"}, "first_entry_applied_follows_the_snapshot"),
        ({"snapshot_position": "2.582", "first_entry": "1.583"}, "first_entry_applied_follows_the_snapshot"),
        ({"write_gap_ms_during": 1_001.0}, "writes_go_on"),
        ({"converged": False}, "it_holds_everything"),
        ({"probe_waited": False}, "the_new_follower_counts"),
        ({"is_member": False}, "the_new_follower_counts"),
    ],
)
def test_each_claim_can_be_seen_broken(changes: dict[str, Any], claim: str) -> None:
    found = statuses(join_row(**changes))
    assert {name for name, status in found.items() if status != "valid"} == {claim}
    assert found[claim] == "invalid"


def test_the_first_entry_may_be_of_a_later_term() -> None:
    assert statuses(join_row(first_entry="2.583"))["first_entry_applied_follows_the_snapshot"] == "valid"


def test_a_long_join_may_have_a_longer_gap() -> None:
    assert statuses(join_row(200.0, join_ms=9_000.0, write_gap_ms_during=4_000.0))["writes_go_on"] == "valid"


def test_without_writes_meanwhile_nothing_is_proved() -> None:
    found = statuses(join_row(entries_during_join=2, writes_during_join=2, write_gap_ms_during=500.0))
    assert (found["first_entry_applied_follows_the_snapshot"], found["writes_go_on"]) == ("unknown", "unknown")
    assert statuses(join_row(writes_per_s_before=0.0))["writes_go_on"] == "unknown"


def test_a_write_that_nobody_acknowledged_proves_nothing_of_who_counts() -> None:
    assert statuses(join_row(probe_acknowledged=False))["the_new_follower_counts"] == "unknown"


def test_a_policy_that_needs_no_follower_says_nothing_of_who_counts() -> None:
    assert "the_new_follower_counts" not in statuses(join_row(ack="async", probe_needed=False))


# Figures.


def joined(**times: float) -> Join:
    operations = history(
        write("x", 1, 0, 10 * MS),
        write("x", 2, 50 * MS, 130 * MS),
        write("x", 3, 150 * MS, 160 * MS),
        write("x", 4, 210 * MS, 240 * MS),
        write("x", 5, 410 * MS, 420 * MS),
    )
    members = ("replica-1", "replica-2", "replica-3", "replica-4")
    load = MeasuredLoad(
        cell="database_mb=8",
        config=LoadConfig(),
        operations=operations,
        growth={name: {} for name in members},
        leader="replica-1",
        converged=ConvergenceReport(ok=True, reason="", digests={}, positions={}),
        final={},
    )
    newcomer = ReplicaStatus(
        name="replica-4",
        role="follower",
        last=25,
        members=members,
        notes={"snapshot": "1.20", "first_entry": "1.21"},
        counters={"snapshot_bytes_in": 8_000_000},
    )
    moments = {"asked": 100.0, "fetch_begun": 120.0, "snapshot_begun": 130.0, "snapshot_sealed": 180.0}
    moments |= {"snapshot_ready": 180.0, "snapshot_received": 220.0, "snapshot_installed": 250.0, "member": 300.0}
    return Join(
        database_mb=8.0,
        load=load,
        events=[],
        newcomer=newcomer,
        times=moments | times,
        entries_fetched=4,
        probe=Probe(needed=True, waited=True, acknowledged=True),
    )


def test_the_steps_add_up_to_the_join() -> None:
    row = summary_row(joined())
    steps = ["start_ms", "snapshot_wait_ms", "snapshot_transfer_ms", "snapshot_install_ms", "catch_up_ms"]
    assert [row[name] for name in steps] == [20.0, 60.0, 40.0, 30.0, 50.0]
    assert sum(row[name] for name in steps) == row["join_ms"] == 200.0
    assert row["snapshot_made_ms"] == 50.0


def test_writers_before_and_meanwhile() -> None:
    row = summary_row(joined())
    assert (row["followers"], row["entries_during_join"], row["snapshot_bytes"]) == (2, 5, 8_000_000)
    assert (row["writes"], row["writes_during_join"], row["write_gap_ms_during"]) == (5, 3, 80.0)
    figures = [row[f"write_latency_ms_p99_{phase}"] for phase in ("before", "during", "after")]
    assert figures == [80.0, 30.0, 10.0]


# Charts.


def test_the_headline_says_how_long_it_took_and_that_writes_went_on(tmp_path: Path) -> None:
    assert finding(new_follower_run(tmp_path)) == (
        "A replica joins with 40 MB in 1.6 s, while writes go on: 196 a second, 200 before"
    )


def test_the_words_tell_the_snapshots_position_and_the_first_entry(tmp_path: Path) -> None:
    run = new_follower_run(tmp_path)
    assert "snapshot at 1.582, first entry applied 1.583" in alt_text(run, "rates")
    assert "76 ms during" in alt_text(run, "steps")


def test_the_table_has_the_99th_percentile_before_and_meanwhile(tmp_path: Path) -> None:
    table = shown_table(new_follower_run(tmp_path))
    row = dict(zip([column.heading for column in table.columns], table.rows[0], strict=True))
    assert (row["snapshot"], row["first applied"]) == ("1.582", "1.583")
    assert (row["p99 before"], row["p99 meanwhile"]) == ("9", "76")
