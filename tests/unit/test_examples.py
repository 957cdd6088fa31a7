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
    runs = [RunFolder.open(path) for path in sorted(EXAMPLES.glob(f"{name}*"))]
    assert runs[0].path.name == name
    assert {run.experiment for run in runs} == {name}
    assert {claim for run in runs for claim in run.verdicts} == set(experiment(name).claims)
    for run in runs:
        assert {verdict.status for verdict in run.verdicts.values()} == {"valid"}
        assert run.invariants["lost_acknowledged_writes"] == 0
        charts = draw_png(run)
        assert charts
        for chart, picture in charts.items():
            assert picture.startswith(b"\x89PNG")
            assert alt_text(run, chart)
