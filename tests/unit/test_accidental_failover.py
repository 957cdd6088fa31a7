"""What `accidental_failover` claims of given cells, and how failovers are told from what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests.unit.synthetic_accidental import accidental_failover_run, accidental_row
from workbench.charts.tables import finding
from workbench.checkers import Verdict
from workbench.cluster.status import DOWN, ReplicaStatus
from workbench.experiments.accidental_failover import EXPERIMENT
from workbench.experiments.accidental_failover_claims import failover_rows, invariants, judge
from workbench.experiments.accidental_failover_watch import Reign, Watch
from workbench.history import operations_frame
from workbench.protocol.values import Position

ROWS = [accidental_row(load, timeout) for load in (0.0, 1.5) for timeout in (200.0, 800.0)]
KEPT = {"a cell": Verdict.valid("none is lost")}


def statuses(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(rows, KEPT).items()}


def changed(place: int, **changes: Any) -> list[dict[str, Any]]:
    return [row | changes if number == place else row for number, row in enumerate(ROWS)]


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert statuses(ROWS) == dict.fromkeys(EXPERIMENT.claims, "valid")


@pytest.mark.parametrize(
    ("place", "changes", "claim", "status"),
    [
        (0, {"false_failovers": 1}, "no_false_failover_without_congestion", "invalid"),
        (0, {"false_failovers": 1, "stall_ms": 90.0}, "no_false_failover_without_congestion", "unknown"),
        (0, {"observed_timeouts": 19.9}, "no_false_failover_without_congestion", "unknown"),
        (2, {"false_failovers_per_min": 0.0}, "short_timeouts_depose_healthy_leaders", "invalid"),
        (3, {"false_failovers_per_min": 45.0}, "short_timeouts_depose_healthy_leaders", "invalid"),
        (3, {"observed_timeouts": 19.0}, "short_timeouts_depose_healthy_leaders", "unknown"),
        (3, {"problem": "it did not start"}, "short_timeouts_depose_healthy_leaders", "unknown"),
    ],
)
def test_each_claim_can_be_seen_broken_or_unproven(
    place: int, changes: dict[str, Any], claim: str, status: str
) -> None:
    assert statuses(changed(place, **changes))[claim] == status


def test_a_lost_write_breaks_the_claim() -> None:
    lost = KEPT | {"another": Verdict.invalid("1 acknowledged writes are absent")}
    assert judge(ROWS, lost)["no_acknowledged_write_is_lost"].status == "invalid"


def test_no_claim_about_what_was_not_measured() -> None:
    assert set(statuses(ROWS[:1])) == {"no_false_failover_without_congestion", "no_acknowledged_write_is_lost"}
    assert set(statuses(ROWS[2:])) == {"short_timeouts_depose_healthy_leaders", "no_acknowledged_write_is_lost"}


def test_invariants_say_what_is_not_known() -> None:
    assert invariants(ROWS) == {
        "converged": True,
        "crashed_replicas": 0,
        "lost_acknowledged_writes": 0,
        "observed_timeouts_min": 20,
    }
    assert invariants(changed(0, lost_acknowledged_writes=None))["lost_acknowledged_writes"] is None


# Failovers.


def writes(*at_ms_and_term: tuple[float, int, str]) -> pd.DataFrame:
    return operations_frame(
        {
            "operation": number,
            "kind": "write",
            "key": "k",
            "value": number,
            "outcome": outcome,
            "term": term,
            "invoked_ns": 0,
            "completed_ns": round(at_ms * 1e6),
        }
        for number, (at_ms, term, outcome) in enumerate(at_ms_and_term)
    )


def test_a_failover_is_told_with_its_windows() -> None:
    reigns = [Reign("a", 1, 0.0, 1_000.0), Reign("b", 2, 1_420.0, 3_000.0, 1_400.0)]
    operations = writes((700, 1, "ok"), (800, 1, "ok"), (1_200, 0, "info"), (1_600, 2, "ok"), (2_900, 2, "ok"))
    (row,) = failover_rows(reigns, operations, 500.0, 3_000.0, {"cell": "c"})
    assert (row["old_leader"], row["new_leader"], row["term"], row["at_ms"]) == ("a", "b", 2, 1_000.0)
    assert (row["elected_ms"], row["recovered_ms"]) == (420.0, 600.0)
    assert (row["writes_per_s_before"], row["writes_per_s_during"], row["writes_per_s_after"]) == (2.0, 0.0, 1.0)
    assert (row["failed_before"], row["failed_during"], row["failed_after"]) == (0, 1, 0)


def test_windows_of_neighbours_do_not_overlap() -> None:
    reigns = [
        Reign("a", 1, 0.0, 1_000.0),
        Reign("b", 2, 1_400.0, 1_450.0, 1_400.0),
        Reign("a", 3, 1_900.0, 4_000.0, 1_900.0),
    ]
    first, second = failover_rows(reigns, writes((100, 1, "ok")), 500.0, 4_000.0, {})
    assert first["seconds_after"] == pytest.approx(0.05)
    assert second["seconds_before"] == pytest.approx(0.05)
    assert pd.isna(first["writes_per_s_after"])
    assert pd.isna(first["recovered_ms"])
    assert failover_rows(reigns[:1], writes((100, 1, "ok")), 500.0, 4_000.0, {}) == []


# The watch.


def status(name: str, role: str, term: int, index: int) -> ReplicaStatus:
    return ReplicaStatus(name=name, role=role, term=term, last_position=Position(term, index))


def watch_of(looks: Iterable[tuple[float, list[ReplicaStatus]]]) -> tuple[Watch, list[tuple[Any, ...]]]:
    noted: list[tuple[Any, ...]] = []
    load = SimpleNamespace(note=lambda event, replica, detail, *, at_ms: noted.append((event, replica, at_ms)))
    watch = Watch(SimpleNamespace(), load, 20.0)  # type: ignore[arg-type]
    for at_ms, found in looks:
        watch.look(found, at_ms)
    return watch, noted


def test_a_leader_of_an_older_term_leads_no_more() -> None:
    watch, noted = watch_of(
        [
            (0.0, [status("a", "leader", 1, 5), status("b", "follower", 1, 5)]),
            (20.0, [status("a", "leader", 1, 6), status("b", "candidate", 2, 5)]),
            (40.0, [status("a", "leader", 1, 6), status("b", "leader", 2, 6)]),
            (60.0, [ReplicaStatus(name="a", role=DOWN), status("b", "leader", 2, 6)]),
        ]
    )
    assert [(reign.leader, reign.term, reign.seen_ms, reign.last_ms) for reign in watch.reigns] == [
        ("a", 1, 0.0, 0.0),
        ("b", 2, 40.0, 60.0),
    ]
    assert noted == [("leads", "a", 0.0), ("stands", "b", 20.0), ("leads", "b", 40.0)]
    assert (watch.looks, watch.looks_without_leader, watch.down) == (4, 1, {"a"})


def test_what_a_follower_has_not_heard_of_grows_old() -> None:
    def look(index: int, behind: int) -> list[ReplicaStatus]:
        return [status("a", "leader", 1, index), status("b", "follower", 1, behind)]

    watch, _ = watch_of([(0.0, look(5, 5)), (20.0, look(6, 5)), (40.0, look(7, 5)), (60.0, look(7, 6))])
    assert watch.lags_ms == [0.0, 0.0, 20.0, 20.0]


def test_the_title_compares(tmp_path: Path) -> None:
    assert finding(accidental_failover_run(tmp_path)) == (
        "Under congestion a timeout of 200 ms deposes a healthy leader 45 times a minute, one of 800 ms never; without "
        "congestion none was"
    )
