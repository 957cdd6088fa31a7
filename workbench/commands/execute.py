"""Running one experiment for a command, and drawing its charts into the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.running import run_to_end
from workbench.experiments.base import Experiment, Progress
from workbench.experiments.runner import run_experiment

if TYPE_CHECKING:
    from workbench.faults.values import World
    from workbench.results import RunFolder

_MEASURING_SHARE = 0.95


def execute(
    experiment: Experiment[Any],
    *,
    profile: str | None,
    seed: int,
    broker: str | None,
    world: World | None = None,
    output: Path | None,
    overrides: Mapping[str, object],
    tell: Progress,
) -> RunFolder:
    """Run it to its end and draw its charts. Raises as `run_experiment` does."""

    def measuring(fraction: float, text: str) -> None:
        tell(_MEASURING_SHARE * fraction, text)

    tell(0.0, "starting")
    folder = run_to_end(
        run_experiment(
            experiment,
            profile=profile,
            seed=seed,
            overrides=overrides,
            broker=broker,
            world=world,
            output=output,
            progress=measuring,
        )
    )
    tell(_MEASURING_SHARE, "drawing")
    from workbench.charts.drawing import CHARTED, save_charts

    if folder.experiment in CHARTED:
        save_charts(folder)
    tell(1.0, "done")
    return folder
