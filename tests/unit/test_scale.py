"""What `scale` claims of given cells, which cells it measures, and how its charts are told in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.synthetic_scale import CELLS, scale_cell, scale_run
from workbench.charts.scale_measured import errors
from workbench.charts.scale_run import curves
from workbench.charts.tables import finding, shown_table
from workbench.errors import ConfigurationError
from workbench.experiments.scale import EXPERIMENT, Parameters, settings_of
from workbench.experiments.scale_cells import Cell, FailoverSample, summary_row
from workbench.experiments.scale_claims import invariants, judge


def statuses(cells: list[Cell]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(cells).items()}


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert statuses(CELLS) == dict.fromkeys(EXPERIMENT.claims, "valid")


def broken(**changes: Any) -> Cell:
    cell = scale_cell(9)
    for name, value in changes.items():
        setattr(cell, name, value)
    return cell


def with_failover(**changes: Any) -> Cell:
    cell = scale_cell(9)
    cell.failovers[1] = replace(cell.failovers[1], **changes)
    return cell


@pytest.mark.parametrize(
    ("cell", "claim", "status"),
    [
        (with_failover(term_after=2), "every_failover_took_effect", "invalid"),
        (with_failover(failover_ms=float("nan")), "every_failover_took_effect", "invalid"),
        (broken(problem="nobody led"), "every_failover_took_effect", "invalid"),
        (broken(failovers=[]), "every_failover_took_effect", "unknown"),
        (broken(lost=1), "no_acknowledged_write_is_lost", "invalid"),
        (broken(converged=False), "no_acknowledged_write_is_lost", "invalid"),
        (broken(lost=None), "no_acknowledged_write_is_lost", "unknown"),
        (broken(acknowledged=1), "no_acknowledged_write_is_lost", "unknown"),
        (with_failover(elected_ms=1_850.0), "nobody_is_elected_before_the_timeout", "invalid"),
        (broken(writes=[replace(scale_cell(9).writes[0], latency_ms=0.1)]), "no_write_outruns_its_majority", "invalid"),
        (broken(writes=[]), "no_write_outruns_its_majority", "unknown"),
        (broken(load=replace(scale_cell(9).load, out_per_write=9.0)), "one_publication_reaches_everybody", "invalid"),
    ],
)
def test_each_claim_can_be_seen_broken_or_unproven(cell: Cell, claim: str, status: str) -> None:
    assert statuses([scale_cell(3), cell])[claim] == status


def test_of_real_processes_only_is_claimed_what_can_be_seen() -> None:
    assert set(statuses([scale_cell(3, world="real")])) == {
        "every_failover_took_effect",
        "no_acknowledged_write_is_lost",
    }


def test_invariants_say_what_is_not_known() -> None:
    assert invariants(CELLS) == {
        "converged": True,
        "kills": 24,
        "kills_that_took_effect": 24,
        "largest_cluster": 300,
        "lost_acknowledged_writes": 0,
        "replica_processes": 300,
    }
    assert invariants([broken(lost=None)])["lost_acknowledged_writes"] is None


# Rows.


def test_only_failovers_that_took_effect_count() -> None:
    failed = FailoverSample(kill=4, leader="replica-4", term_before=4)
    row = summary_row(broken(failovers=[*scale_cell(9).failovers, failed]))
    assert (row["kills"], row["kills_that_took_effect"], row["failover_ms_p50"]) == (4, 3, 2_041.0)


def test_a_term_without_a_leader_is_a_split_vote() -> None:
    assert summary_row(with_failover(term_after=5))["split_votes"] == 2


# Cells.


def sizes(world: str, **changes: Any) -> list[tuple[int, int]]:
    parameters = EXPERIMENT.resolve("ci", {"network": "lan", **changes})
    return [(setting.size, setting.voters) for setting in settings_of(parameters, world)]


def test_few_voters_are_measured_where_there_are_more_replicas() -> None:
    assert sizes("simulated") == [(3, 3), (9, 9), (40, 40), (9, 5), (40, 5)]


def test_real_processes_are_few() -> None:
    assert sizes("real") == [(3, 3), (9, 9)]


def test_many_voters_get_a_longer_timeout_unless_somebody_objects() -> None:
    def timeouts(**changes: Any) -> list[float]:
        parameters = EXPERIMENT.resolve("quick", {"network": "lan", "voters": "0", "size": "9,1000", **changes})
        return [setting.election_timeout_ms for setting in settings_of(parameters, "simulated")]

    short, long = timeouts()
    assert short == 2_000
    assert long > 10 * short
    assert timeouts(suited_timeouts=False) == [2_000, 2_000]
    assert timeouts(fan_out="direct") == [2_000, 2_000]


@pytest.mark.parametrize(
    ("world", "changes", "message"),
    [
        ("real", {"size": "25"}, "no such cluster can be made of real processes"),
        ("real", {"network": "wan-3-regions"}, "no such cluster can be made of real processes"),
        ("simulated", {"voters": "2"}, "ack policy quorum with 2 voters"),
        ("simulated", {"ack": "semi_sync:7", "size": "5"}, "ack policy semi_sync:7 with 5 voters"),
        ("simulated", {"ack": "sync"}, "while a leader is killed"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(world: str, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        sizes(world, **changes)
    assert refused.value.hint


def test_parameters_of_costs_are_those_of_the_model() -> None:
    assert Parameters(send_us=7.0).costs.send_us == 7.0
    assert Parameters().costs == type(Parameters().costs)()


# Charts.


def test_curves_part_by_network_and_voters(tmp_path: Path) -> None:
    found = curves(scale_run(tmp_path))
    assert [(curve.words, list(curve.cells["size"])) for curve in found] == [
        ("all vote, in one place", [3, 9, 300]),
        ("5 vote, in one place", [9, 300]),
        ("all vote, in 5 regions", [3, 9, 300]),
    ]


def test_the_title_compares(tmp_path: Path) -> None:
    run = scale_run(tmp_path)
    assert finding(run) == "300 voters replace a leader in 3.1 s; 5 voters among 300 replicas do in 2.0 s"
    assert len(shown_table(run).rows) == len(CELLS)


def test_errors_are_shares_of_what_was_measured() -> None:
    import pandas as pd

    columns = ("failover_ms_p50", "latency_ms_p50", "messages_out_per_s", "messages_in_per_s")
    row = {f"{name}_simulated": 3.0 for name in columns} | {f"{name}_measured": 2.0 for name in columns}
    row["messages_in_per_s_measured"] = float("nan")
    found = errors(pd.DataFrame([row]))
    assert found["failover_ms_p50"] == pytest.approx(0.5)
    assert found["messages_in_per_s"] != found["messages_in_per_s"]
