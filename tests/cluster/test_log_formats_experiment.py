"""`log_formats` on real clusters: every cell of both matrices is as its table of expectations predicts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from workbench.experiments import log_formats_engines
from workbench.experiments.base import Context
from workbench.experiments.log_formats_engines import CHANGES, FORMATS, measure_format
from workbench.experiments.log_formats_scenarios import COLUMNS, SCENARIOS
from workbench.experiments.registry import experiment
from workbench.experiments.runner import run_experiment

HAS_DUCKDB = importlib.util.find_spec("duckdb") is not None


async def test_every_cell_of_both_matrices_is_as_predicted(tmp_path: Path) -> None:
    value = experiment("log_formats")
    run = await run_experiment(value, profile="ci", output=tmp_path)
    bad = {claim: str(verdict) for claim, verdict in run.verdicts.items() if verdict.status != "valid"}
    if not HAS_DUCKDB:
        assert "not installed" in bad.pop("engine_duckdb")
    assert bad == {}
    assert set(run.verdicts) == set(value.claims)
    parts = run.to_json()["parts"]
    for scenario in SCENARIOS:
        assert set(parts[f"unsafe_{scenario.cause}"]) == {column.name for column in COLUMNS}
    for change in CHANGES:
        assert set(parts[f"engine_{change.name}"]) == set(FORMATS)
    assert run.invariants["converged"] is True
    assert run.invariants["lost_acknowledged_writes"] == 0
    assert str(tmp_path) not in run.table("engines").to_json()


async def test_without_duckdb_its_row_is_unknown_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(log_formats_engines, "CHANGES", [change for change in CHANGES if change.name == "duckdb"])
    (row,) = await measure_format(Context(directory=tmp_path, seed=1), "logical")
    assert (row["outcome"], row["verdict"]) == ("unknown", "unknown")
    assert "duckdb is not installed" in row["detail"]
