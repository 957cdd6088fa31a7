"""What `follower_crash` claims of given figures, what its charts say, and where a log's files end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.histories import history, read, write
from tests.unit.synthetic_followers import crash_row, follower_crash_run
from workbench.charts.drawing import alt_text
from workbench.charts.tables import finding, shown_table
from workbench.client.load import LoadConfig
from workbench.cluster.status import ConvergenceReport
from workbench.experiments.cells import MeasuredLoad
from workbench.experiments.follower_crash import EXPERIMENT, Crash, judge, summary_row
from workbench.experiments.log_end import log_end
from workbench.protocol.values import Position
from workbench.storage.files import LocalFiles
from workbench.storage.log_segment import Record
from workbench.storage.replication_log import ReplicationLog

MS = 1_000_000


def statuses(*rows: dict[str, Any]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(rows).items()}


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert statuses(crash_row("quorum"), crash_row("sync")) == dict.fromkeys(EXPERIMENT.claims, "valid")


@pytest.mark.parametrize(
    ("row", "claim"),
    [
        (crash_row("quorum", first_entry_fetched="1.262"), "it_knows_its_position"),
        (crash_row("quorum", first_entry_fetched="1.260"), "it_knows_its_position"),
        (crash_row("quorum", first_entry_fetched="0.0"), "it_knows_its_position"),
        (crash_row("quorum", position_recovered="1.259", first_entry_fetched="1.260"), "it_knows_its_position"),
        (crash_row("quorum", entries_sent_twice=1), "nothing_is_sent_twice"),
        (crash_row("quorum", writes_per_s_down=0.0, write_gap_ms_down=2_000.0), "writes_go_on_without_it"),
        (crash_row("quorum", read_gap_ms_down=1_001.0), "reads_go_on"),
        (crash_row("sync", writes_acknowledged_down=1), "writes_wait_under_sync"),
    ],
)
def test_each_claim_can_be_seen_broken(row: dict[str, Any], claim: str) -> None:
    other = crash_row("sync" if row["ack"] == "quorum" else "quorum")
    found = statuses(row, other)
    assert {name for name, status in found.items() if status != "valid"} == {claim}
    assert found[claim] == "invalid"


def test_a_follower_that_missed_nothing_proves_nothing() -> None:
    found = statuses(crash_row("quorum", entries_missed=0, entries_fetched=0, first_entry_fetched="0.0"))
    assert (found["it_knows_its_position"], found["nothing_is_sent_twice"]) == ("unknown", "unknown")


def test_no_write_that_waits_proves_nothing_about_waiting() -> None:
    assert statuses(crash_row("sync", writes_waiting=0))["writes_wait_under_sync"] == "unknown"


def test_reads_that_never_were_are_unknown() -> None:
    silent = crash_row("quorum", reads_per_s_before=0.0, reads_per_s_down=0.0, read_gap_ms_down=2_000.0)
    assert statuses(silent)["reads_go_on"] == "unknown"


def test_a_policy_that_asks_for_some_followers_can_do_without_one() -> None:
    assert "writes_wait_under_sync" not in statuses(crash_row("semi_sync:1"), crash_row("async"))
    everyone = statuses(crash_row("semi_sync:2", writes_per_s_down=0.0, writes_acknowledged_down=0))
    assert "writes_go_on_without_it" not in everyone


# Figures.


def crashed(**changes: Any) -> Crash:
    operations = history(
        write("x", 1, 0, 10 * MS),
        read("x", 1, 20 * MS, 30 * MS),
        write("x", 2, 90 * MS, 260 * MS),  # under way when the follower died
        write("x", 3, 120 * MS, 150 * MS),
        write("x", 4, 130 * MS, 270 * MS),
        write("x", 5, 140 * MS, None),
        read("x", 1, 150 * MS, 160 * MS),
    )
    load = MeasuredLoad(
        cell="ack=sync",
        config=LoadConfig(),
        operations=operations,
        growth={f"replica-{number}": {} for number in (1, 2, 3)},
        leader="replica-1",
        converged=ConvergenceReport(ok=True, reason="", digests={}, positions={}),
        final={},
    )
    given: dict[str, Any] = {
        "ack": "sync",
        "load": load,
        "events": [{"event": "killed", "at_ms": 95.0}],
        "follower": "replica-3",
        "on_disk": Position(1, 7),
        "recovered": Position(1, 7),
        "first_fetched": Position(1, 8),
        "leader_last": 11,
        "entries_fetched": 5,
        "writes_fetched": 20,
        "entries_sent_twice": 0,
        "dead_ms": 100.0,
        "restarted_ms": 200.0,
        "fetch_begun_ms": 240.0,
        "caught_up_ms": 250.0,
    }
    return Crash(**given | changes)


def test_writes_are_told_apart_by_when_they_began_and_ended() -> None:
    row = summary_row(crashed())
    assert (row["writes_begun_down"], row["writes_acknowledged_down"], row["writes_waiting"]) == (3, 1, 3)
    assert (row["writes"], row["reads"], row["not_ok"]) == (4, 2, 1)


def test_times_and_rates_of_catching_up() -> None:
    row = summary_row(crashed())
    assert (row["down_ms"], row["restart_ms"], row["catch_up_ms"]) == (105.0, 40.0, 10.0)
    assert (row["catch_up_entries_per_s"], row["catch_up_writes_per_s"]) == (500.0, 2_000.0)
    assert (row["entries_missed"], row["position_on_disk"], row["first_entry_fetched"]) == (4, "1.7", "1.8")
    assert (row["reads_per_s_down"], row["read_gap_ms_down"]) == (10.0, 60.0)


# Charts.


def test_the_headline_says_who_waits(tmp_path: Path) -> None:
    assert finding(follower_crash_run(tmp_path)) == (
        "While a follower is down, under quorum writes go on, under sync writes wait until it is back"
    )


def test_the_words_of_the_positions_tell_what_was_sent_twice(tmp_path: Path) -> None:
    run = follower_crash_run(tmp_path, twice=3)
    assert "on disk up to 1.260, first fetched 1.261" in alt_text(run, "positions")
    assert "3 of them sent twice" in alt_text(run, "positions")


def test_the_table_has_the_three_figures_of_the_question(tmp_path: Path) -> None:
    first = shown_table(follower_crash_run(tmp_path)).rows[0]
    assert first[:5] == ("quorum", "1.260", "1.261", "700", "0")


# Where a log ends.


def written(directory: Path, entries: int, *, segment_bytes_max: int = 1 << 20) -> list[Path]:
    """A log of entries of the terms 1 and 2; its segments."""
    log = ReplicationLog.open(LocalFiles(), directory, identity=b"x", segment_bytes_max=segment_bytes_max)
    for index in range(1, entries + 1):
        log.append([Record(1 if index < 3 else 2, index, b"entry" * 10)])
        log.sync()
    log.close()
    return sorted(directory.glob("*.log"))


def test_a_log_ends_with_its_last_whole_entry(tmp_path: Path) -> None:
    assert len(written(tmp_path / "short", 4)) == 1
    assert log_end(tmp_path / "short") == Position(2, 4)
    assert len(written(tmp_path / "long", 20, segment_bytes_max=200)) > 2
    assert log_end(tmp_path / "long") == Position(2, 20)
    assert log_end(tmp_path / "none") == Position()


def test_a_torn_record_is_no_entry(tmp_path: Path) -> None:
    (segment,) = written(tmp_path, 4)
    with segment.open("rb+") as file:
        file.truncate(segment.stat().st_size - 3)
    assert log_end(tmp_path) == Position(2, 3)


def test_a_segment_without_a_whole_header_is_not_there_yet(tmp_path: Path) -> None:
    (segment,) = written(tmp_path, 4)
    segment.with_name("00000000000000000005.log").write_bytes(b"WB")
    assert log_end(tmp_path) == Position(2, 4)
