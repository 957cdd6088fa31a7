"""`log_formats`: expectations are complete, workloads cost what they should, and each claim can fail."""

from __future__ import annotations

import asyncio
import math
import threading
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from tests.unit.synthetic_log_formats import (
    cost_rows,
    crossing_rows,
    divergence_rows,
    engine_rows,
    log_formats_run,
    summary_rows,
    unsafe_rows,
)
from workbench.charts.drawing import alt_text, draw
from workbench.charts.tables import shown_table
from workbench.checkers.verdict import Verdict
from workbench.config import Limits, LogFormatName
from workbench.experiments import log_formats, log_formats_costs
from workbench.experiments.log_formats_claims import CLAIMS, judge
from workbench.experiments.log_formats_costs import Check, Stores, crossing, measure_bulk, measure_workload, on_a_thread
from workbench.experiments.log_formats_engines import CHANGES, ENGINE_EXPECTATIONS, FORMATS, check_file
from workbench.experiments.log_formats_scenarios import COLUMNS, CONSTANTS, EXPECTATIONS, SCENARIOS, Expected
from workbench.experiments.log_formats_unsafe import example, judge_digests, verdict_of
from workbench.experiments.log_formats_workloads import REPEATS_MAX, WORKLOADS, bulk_setup, bulk_update
from workbench.log_formats.nondeterminism import Cause, analyse

FORMATS_MEASURED: tuple[LogFormatName, ...] = ("statement", "wal", "logical")
Row = dict[str, Any]


def everything() -> dict[str, list[Row]]:
    return {
        "summary": summary_rows(),
        "costs": cost_rows(),
        "crossings": crossing_rows(),
        "unsafe": unsafe_rows(),
        "engines": engine_rows(),
        "divergence": divergence_rows(),
    }


# What is expected.


def test_every_cause_has_a_row_in_the_matrix_and_every_cell_an_expectation() -> None:
    assert [scenario.cause for scenario in SCENARIOS] == [CONSTANTS, *(cause.value for cause in Cause)]
    for cause, row in EXPECTATIONS.items():
        assert list(row) == [column.name for column in COLUMNS], cause
        assert all(expected.why and "\n" not in expected.why for expected in row.values())


def test_every_change_of_a_follower_has_an_expectation_for_each_format() -> None:
    assert list(ENGINE_EXPECTATIONS) == [change.name for change in CHANGES]
    assert {tuple(row) for row in ENGINE_EXPECTATIONS.values()} == {FORMATS}


def test_every_row_of_the_matrices_is_a_claim() -> None:
    assert {f"unsafe_{cause}" for cause in EXPECTATIONS} | {f"engine_{name}" for name in ENGINE_EXPECTATIONS} == {
        name for name in CLAIMS if name.startswith(("unsafe_", "engine_"))
    }
    assert log_formats.EXPERIMENT.claims == CLAIMS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.cause)
def test_a_scenario_is_unsafe_for_its_one_reason(scenario: Any) -> None:
    """So that a refusal names it, and nothing else. Whether rowids are used up, only the rows can tell."""
    connection = apsw.Connection(":memory:")
    for sql in scenario.setup:
        assert analyse(connection, sql) == (), sql
        connection.execute(sql)
    found = {unsafe.cause.value for unsafe in analyse(connection, scenario.statement)}
    assert found == (set() if scenario.cause in (CONSTANTS, "random_rowid") else {scenario.cause})
    connection.execute(scenario.statement)
    assert len(connection.execute(scenario.look).fetchall()) == 1
    assert {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")} >= set(scenario.tables)


# How cells are judged.


@pytest.mark.parametrize(
    ("digests", "refused", "outcome"),
    [
        ([("a",), ("a",)], False, "converged"),
        ([("a",), ("a",)], True, "refused"),
        ([("a",), ("b",)], False, "diverged"),
        ([("a",), ("b",)], True, "diverged"),
        ([("a",)], False, "unknown"),
        ([("a",), ("",)], False, "unknown"),
        ([], True, "unknown"),
    ],
)
def test_digests_say_what_became_of_a_cell(digests: list[tuple[str, ...]], refused: bool, outcome: str) -> None:
    assert judge_digests(digests, refused=refused) == outcome


def test_a_cell_is_valid_only_as_predicted() -> None:
    expected = Expected("diverged", "each rolls its own dice")
    assert verdict_of("diverged", expected).status == "valid"
    assert verdict_of("unknown", expected, "replica-2 is down") == Verdict.unknown("replica-2 is down")
    other = verdict_of("converged", expected)
    assert (other.status, other.reason) == ("invalid", "converged, expected was diverged: each rolls its own dice")


def test_a_refusal_must_name_the_cause() -> None:
    expected = Expected("refused", "found before it runs")
    assert verdict_of("refused", expected, "", "random() may differ (cause random)", "random").status == "valid"
    assert verdict_of("refused", expected, "", "no such table: t", "random").status == "invalid"


def test_an_example_is_short_and_names_replicas_only_where_they_differ() -> None:
    assert example({"replica-1": "42", "replica-2": "42"}) == "every replica: 42"
    assert example({"replica-1": "1", "replica-2": "2"}) == "replica-1: 1, replica-2: 2"


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "whole"))
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value); CREATE INDEX i ON t(value)")
    connection.execute("INSERT INTO t(value) VALUES (1), (2)")
    connection.close()
    assert check_file(tmp_path / "whole") == "ok"
    damaged = bytearray((tmp_path / "whole").read_bytes())
    damaged[4_096:4_196] = b"\xff" * 100
    (tmp_path / "damaged").write_bytes(damaged)
    assert check_file(tmp_path / "damaged") not in ("", "ok")
    (tmp_path / "other").write_bytes(b"no database " * 1_000)
    assert "not a database" in check_file(tmp_path / "other")


# What the claims say.


def statuses(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts.items()}


def test_all_claims_hold_for_what_is_predicted() -> None:
    verdicts = judge(**everything())
    assert statuses(verdicts) == dict.fromkeys(CLAIMS, "valid")
    assert verdicts["a_statement_beats_rows"].reason == "from 2 rows on"
    assert verdicts["pages_beat_rows"].reason == "from 128 rows on"


def test_every_cell_of_both_matrices_has_a_verdict() -> None:
    verdicts = judge(**everything())
    for cause in EXPECTATIONS:
        assert verdicts[f"unsafe_{cause}"].parts == {column.name: "valid" for column in COLUMNS}
    for change in ENGINE_EXPECTATIONS:
        assert verdicts[f"engine_{change}"].parts == dict.fromkeys(FORMATS, "valid")


def test_what_was_not_measured_is_no_claim() -> None:
    assert judge() == {}
    assert set(judge(engines=engine_rows())) == {f"engine_{change}" for change in ENGINE_EXPECTATIONS}
    assert set(judge(summary=summary_rows())) == {"every_format_was_loaded"}


def change(rows: list[Row], where: dict[str, Any], **values: Any) -> None:
    """Alter the rows that match."""
    matching = [row for row in rows if all(row[name] == value for name, value in where.items())]
    assert matching
    for row in matching:
        row.update(values)


def cost(log_format: str, workload: str) -> Row:
    return {"log_format": log_format, "workload": workload}


FLAT = "statements_cost_the_same_for_any_rows"
INVALID = {"outcome": "diverged", "verdict": "invalid"}


@pytest.mark.parametrize(
    ("table", "where", "values", "broken"),
    [
        ("summary", {"log_format": "wal"}, {"writes": 3}, "every_format_was_loaded"),
        ("costs", cost("wal", "insert"), {"converged": False}, "costs_leave_replicas_equal"),
        ("costs", {"log_format": "statement", "rows": 10_000}, {"body_bytes": 640.0}, FLAT),
        ("costs", {"log_format": "logical", "rows": 10_000}, {"body_bytes": 100_000.0}, "rows_cost_by_the_row"),
        ("costs", cost("wal", "insert"), {"pages": 0.4}, "pages_cost_by_the_page"),
        ("crossings", {"smaller": "statement", "larger": "logical"}, {"from_rows": math.nan}, "a_statement_beats_rows"),
        ("crossings", {"smaller": "wal"}, {"from_rows": math.nan}, "pages_beat_rows"),
        ("costs", cost("wal", "indexed_insert"), {"body_bytes": 4_107.0}, "indexes_cost_pages_only"),
        ("costs", cost("logical", "indexed_insert"), {"body_bytes": 400.0}, "indexes_cost_pages_only"),
        ("costs", cost("logical", "triggered_insert"), {"body_bytes": 140.0}, "triggers_cost_rows_and_pages"),
        ("costs", cost("statement", "triggered_insert"), {"body_bytes": 300.0}, "triggers_cost_rows_and_pages"),
        ("unsafe", {"cause": "random", "column": "wal"}, INVALID, "unsafe_random"),
        ("engines", {"change": "plan", "log_format": "mixed"}, {"verdict": "unknown"}, "engine_plan"),
        ("divergence", {"table": "queue"}, {"index": None}, "divergence_is_located"),
        ("divergence", {"table": "full_house"}, {"key": ""}, "divergence_is_located"),
    ],
)  # fmt: skip
def test_each_claim_can_fail_alone(table: str, where: Row, values: Row, broken: str) -> None:
    found = everything()
    change(found[table], where, **values)
    verdicts = statuses(judge(**found))
    assert {name for name, status in verdicts.items() if status != "valid"} == {broken}


def test_broken_cells_are_named() -> None:
    found = everything()
    change(found["unsafe"], {"cause": "limit", "column": "logical"}, outcome="diverged", verdict="invalid")
    verdict = judge(**found)["unsafe_limit"]
    assert verdict.reason == (
        "logical: diverged, expected was converged: the rows travel, and nothing is left to decide"
    )
    assert verdict.parts["logical"] == "invalid"
    assert verdict.parts["wal"] == "valid"


def test_the_mixed_format_ships_a_safe_statement_as_it_is() -> None:
    costs = [row | {"log_format": row["log_format"].replace("statement", "mixed")} for row in cost_rows()]
    assert set(statuses(judge(costs=costs)).values()) == {"valid"}


def test_pages_are_not_said_to_beat_wide_rows() -> None:
    found = everything() | {"crossings": crossing_rows(row_bytes=100)}
    assert "pages_beat_rows" not in judge(**found)
    assert judge(**found)["a_statement_beats_rows"].status == "valid"


# Costs, measured.


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_workload_runs_in_every_format_and_always_costs_the_same_bytes(workload: Any, tmp_path: Path) -> None:
    first = measure_workload(workload, FORMATS_MEASURED, tmp_path / "a", 1, 3)
    again = measure_workload(workload, FORMATS_MEASURED, tmp_path / "b", 1, 3)
    assert [row["log_format"] for row in first] == list(FORMATS_MEASURED)
    assert [row["body_bytes"] for row in first] == [row["body_bytes"] for row in again]
    assert all(row["converged"] and row["repeats"] == 3 and row["body_bytes"] > 0 for row in first)


def test_a_workload_changes_as_many_rows_as_it_says() -> None:
    """To the last repetition: what finds no rows any more costs nothing, and would be averaged in."""
    for workload in WORKLOADS:
        connection = apsw.Connection(":memory:")
        for sql in workload.setup:
            connection.execute(sql)
        for number in range(REPEATS_MAX):
            before = connection.total_changes()
            for statement in workload.write(number, Random(number)):
                connection.execute(statement.sql, statement.parameters)
            assert connection.total_changes() - before == workload.rows, workload.name


def test_bulk_updates_cross_where_their_bodies_do(tmp_path: Path) -> None:
    bulk = measure_bulk((1, 10, 100, 1_000), FORMATS_MEASURED, tmp_path / "bulk", 0)
    crossings = {(row["smaller"], row["larger"]): row["from_rows"] for row in bulk.crossings}
    for (first, second), rows in crossings.items():
        with_bytes = {}
        for log_format in (first, second):
            with Stores(tmp_path / f"{first}-{second}-{log_format}", log_format) as stores:
                stores.set_up(bulk_setup(1_000, 0))
                with_bytes[log_format] = [len(stores.run(bulk_update(n)).body) for n in (int(rows) - 1, int(rows)) if n]
        assert with_bytes[first][-1] < with_bytes[second][-1]
        if rows > 1:
            assert with_bytes[first][0] >= with_bytes[second][0]


def test_what_no_entry_can_carry_is_a_row_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_formats_costs, "Limits", partial(Limits, entry_bytes_max=50_000))
    bulk = measure_bulk((10, 10_000), FORMATS_MEASURED, tmp_path / "bulk", 0, set_up_rows=500)
    rows = {(row["log_format"], row["rows"]): row for row in bulk.costs}
    refused = rows["logical", 10_000]
    assert "too much was written at once" in refused["refusal"]
    assert refused["repeats"] == 0
    assert math.isnan(refused["body_bytes"])
    assert rows["statement", 10_000]["body_bytes"] > 0
    assert statuses(judge(costs=bulk.costs))["statements_cost_the_same_for_any_rows"] == "valid"


async def test_a_measurement_that_nobody_waits_for_ends_and_closes_its_files(tmp_path: Path) -> None:
    """Otherwise a run that is interrupted could not clear its folder away."""
    begun, ended = threading.Event(), threading.Event()

    def measure(check: Check) -> None:
        begun.set()
        try:
            with Stores(tmp_path, "logical", check) as stores:
                stores.set_up(bulk_setup(10, 0))
                while True:
                    stores.run(bulk_update(10))
        finally:
            ended.set()

    task = asyncio.create_task(on_a_thread(measure))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({1: 50, 10: 50, 100: 50}, {1: 40, 10: 400, 100: 4_000}, 2),
        ({1: 50, 10: 50}, {1: 60, 10: 600}, 1),
        ({1: 50, 10: 700}, {1: 60, 10: 600}, None),
        ({1: 50, 10: 50, 100: math.nan}, {1: 40, 10: 400, 100: 4_000}, 2),
        ({}, {}, None),
    ],
)
def test_a_crossing_is_found_between_sizes(
    first: dict[int, float], second: dict[int, float], expected: int | None
) -> None:
    assert crossing(first, second, lambda rows: (50, 40 * rows)) == expected


# What is shown.


def test_charts_are_of_what_was_run(tmp_path: Path) -> None:
    run = log_formats_run(tmp_path)
    assert list(draw(run)) == ["bytes", "workloads", "costs", "unsafe", "divergence", "engines"]
    run.info["parameters"] = {"parts": ["engines", "costs"]}
    assert list(draw(run)) == ["bytes", "workloads", "engines"]


def test_matrices_say_every_cell_in_words(tmp_path: Path) -> None:
    run = log_formats_run(tmp_path)
    drawn = {name: [text.get_text() for text in figure.axes[0].texts] for name, figure in draw(run).items()}
    for name, table in (("unsafe", unsafe_rows()), ("engines", engine_rows())):
        words = [text.split()[-1] for text in drawn[name]]
        assert sorted(words) == sorted(row["outcome"] for row in table)
    assert "random(): statement/allow diverged, statement/refuse refused" in alt_text(run, "unsafe")
    assert "from 128 rows on" in alt_text(run, "bytes")


def test_an_unexpected_cell_is_marked(tmp_path: Path) -> None:
    from workbench.charts import log_formats_matrices as matrices

    run = log_formats_run(tmp_path)
    cells = run.table("engines")
    cells.loc[0, ["outcome", "verdict"]] = ["corrupted", "invalid"]
    cells.to_parquet(run.path / "tables" / "engines.parquet")
    figure = matrices.draw_engines(run)
    assert [text.get_text() for text in figure.axes[0].texts if "not expected" in text.get_text()] == [
        "‼  corrupted\n(not expected)"
    ]
    assert "corrupted (not expected)" in matrices.engines_alt(run)


def test_the_table_counts_what_diverged(tmp_path: Path) -> None:
    shown = shown_table(log_formats_run(tmp_path))
    place = [column.heading for column in shown.columns].index("unsafe statements")
    assert [row[place] for row in shown.rows] == ["11 of 12 DIVERGE", "all converge", "all converge"]
