"""The recorded runs in data/examples: charts and reports open without a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.charts.drawing import alt_text, draw_png
from workbench.experiments.registry import experiment, experiment_names
from workbench.results import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_has_a_recorded_run_whose_claims_held(name: str) -> None:
    run = RunFolder.open(EXAMPLES / name)
    assert run.experiment == name
    assert set(run.verdicts) == set(experiment(name).claims)
    assert {verdict.status for verdict in run.verdicts.values()} == {"valid"}
    assert run.invariants["lost_acknowledged_writes"] == 0
    charts = draw_png(run)
    assert charts
    for chart, picture in charts.items():
        assert picture.startswith(b"\x89PNG")
        assert alt_text(run, chart)
