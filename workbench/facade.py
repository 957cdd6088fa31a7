"""What notebooks and outside tools use: experiments to run, runs to look at.

    run = await experiment("write_latency").run(profile="quick", seed=1, sessions=8)
    run.chart()

A `Run` is a run folder with a face: tables are DataFrames, charts show themselves in a notebook as PNG with alt
text. Folders go to `data/runs` of the project, also when the working directory is its `notebooks` folder. Paths are
shown relative, so that a notebook's output says nothing about the machine.
"""

from __future__ import annotations

import html
import os
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.charts.chart import Chart
from workbench.charts.tables import finding, shown_table
from workbench.checkers.verdict import Verdict
from workbench.experiments import registry
from workbench.experiments.base import Experiment, Progress, silent
from workbench.results import RunFolder
from workbench.run_listing import runs_root

if TYPE_CHECKING:
    import pandas as pd

    from workbench.charts.history_timeline import HistoryTimeline
    from workbench.widgets.panel import ExperimentPanel

__all__ = ["ExperimentHandle", "Run", "experiment", "experiments", "invariant_lines"]

_TOGETHER = ("world", "replica_processes")
"""Invariants that are printed in one line, the last."""


def experiment(name: str) -> ExperimentHandle:
    """The experiment of that name. Raises `ConfigurationError`, naming the nearest one, for a name that is none."""
    return ExperimentHandle(registry.experiment(name))


def experiments() -> list[ExperimentHandle]:
    """All experiments, in the order of their notebooks."""
    found = [experiment(name) for name in registry.experiment_names()]
    return sorted(found, key=lambda handle: handle.number)


class ExperimentHandle:
    """One experiment, ready to be run: from code by `run`, by hand with `panel`."""

    def __init__(self, value: Experiment[Any]) -> None:
        self.value = value
        """The experiment itself, see `workbench.experiments.base`."""

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def number(self) -> str:
        """NN of its notebook."""
        return self.value.number

    @property
    def question(self) -> str:
        return self.value.question

    @property
    def claims(self) -> dict[str, str]:
        """Name of a claim -> the sentence that must hold on any machine."""
        return dict(self.value.claims)

    @property
    def parameters(self) -> pd.DataFrame:
        """One row a parameter: its default, what is allowed, and what it means."""
        import pandas as pd

        rows = [
            {
                "parameter": info.name,
                "default": _words(info.default),
                "allowed": info.range_text + (", several" if info.many else ""),
                "meaning": info.help,
            }
            for info in self.value.parameter_infos
        ]
        return pd.DataFrame(rows).set_index("parameter")

    async def run(
        self,
        *,
        profile: str | None = None,
        seed: int = 1,
        broker: str | None = None,
        world: str | None = None,
        output: Path | str | None = None,
        progress: Progress | None = None,
        **parameters: object,
    ) -> Run:
        """Run the experiment and return its run; `parameters` are set by name.

        `world`: `real`, or `simulated` for the same code in virtual time; the experiment's own by default.
        In a notebook its progress is shown below the cell unless `progress` says where else to tell it. Raises
        `ConfigurationError` for a parameter that is unknown or out of range, before anything is started.
        """
        from workbench.charts.drawing import CHARTED, save_charts
        from workbench.experiments.runner import run_experiment

        shown = None if progress else _shown_progress(self.name)
        folder = await run_experiment(
            self.value,
            profile=profile,
            seed=seed,
            overrides=parameters,
            broker=broker,
            world=self.value.choose_world(world),
            output=_root(output),
            progress=progress or shown or silent,
        )
        if folder.experiment in CHARTED:
            save_charts(folder)
        if shown is not None:
            shown.end()
        return Run(folder)

    def panel(self) -> ExperimentPanel:
        """A form with the experiment's parameters and a Run button, for a notebook. Needs the extra `lab`."""
        from workbench.widgets.panel import ExperimentPanel

        return ExperimentPanel(self.value, output=_root(None), wrap=Run)

    def __repr__(self) -> str:
        return f"experiment({self.name!r}): {self.question}"

    def _repr_html_(self) -> str:
        claims = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.claims.values())
        return f"<p><b>{html.escape(self.question)}</b> <code>{self.name}</code></p><ul>{claims}</ul>"


class Run:
    """One finished run; see docs/results.md for every file and column."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The run in the folder `path`, or of that name in `data/runs`. Raises `RunError`."""
        root = _root(None)
        inside = root / path if root and not Path(path).exists() and len(Path(path).parts) == 1 else Path(path)
        return cls(RunFolder.open(inside if inside.exists() else path))

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def experiment(self) -> str:
        return self.folder.experiment

    @property
    def seed(self) -> int | None:
        return self.folder.seed

    @property
    def parameters(self) -> dict[str, Any]:
        """What was set, defaults included."""
        return self.folder.parameters

    @property
    def summary(self) -> pd.DataFrame:
        """One row a cell, units in the column names."""
        return self.folder.summary

    @property
    def operations(self) -> pd.DataFrame:
        """One row an operation of a client."""
        return self.folder.operations

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of further tables, for `table`."""
        return self.folder.tables

    def table(self, name: str) -> pd.DataFrame:
        """A further table of the run."""
        return self.folder.table(name)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Claim -> whether it held."""
        return self.folder.verdicts

    @property
    def checks(self) -> dict[str, Verdict]:
        """Checker -> what it says of the history, whatever the experiment claims."""
        return self.folder.checks

    @property
    def invariants(self) -> dict[str, Any]:
        """What is the same on any machine, such as `lost_acknowledged_writes`."""
        return self.folder.invariants

    @property
    def finding(self) -> str:
        """What was found, in one sentence."""
        return finding(self.folder) + "."

    @property
    def charts(self) -> tuple[str, ...]:
        """Names of the charts, the headline first."""
        return tuple(self._drawn)

    def chart(self, name: str | None = None) -> Chart:
        """A chart by name, by default the headline; as the last value of a cell it shows itself.

        Raises `RunError` for a name that is none, with the names there are.
        """
        from workbench.errors import RunError

        if name is None:
            return next(iter(self._drawn.values()))
        if name not in self._drawn:
            raise RunError(f"this run has no chart {name!r}", hint="charts: " + ", ".join(self._drawn))
        return self._drawn[name]

    def timeline(self) -> HistoryTimeline:
        """The history, judged for linearizability, as an interactive page: the last value of a cell shows itself.

        Of one that is not linearizable it shows the first key that fails, with what conflicts, and who led meanwhile.
        """
        from workbench.charts.history_timeline import run_timeline
        from workbench.checkers.linearizability import linearizability
        from workbench.history_tables import table_operations

        operations = table_operations(self.operations)
        events = self.table("events") if "events" in self.tables else None
        return run_timeline(operations, linearizability(operations), events)

    def report(self, path: Path | str | None = None) -> Path:
        """Write one self-contained HTML page about the run; by default to `report.html` in its folder."""
        from workbench.charts.report import write_report

        return write_report([self.folder], Path(path) if path else self.path / "report.html")

    def print_invariants(self, *names: str) -> None:
        """Print what is the same on any machine, one value a line: for cells whose output is checked.

        All of it, or those named; the world and its replica processes in any case.
        """
        found = self.invariants
        together = {name: found[name] for name in _TOGETHER if name in found}
        chosen = {name: found[name] for name in names} | together if names else found
        sys.stdout.write("\n".join(invariant_lines(chosen)) + "\n")

    def print_verdicts(self, *claims: str) -> None:
        """Print `claim=status`, one a line, of the claims named, or of all."""
        found = self.verdicts
        sys.stdout.write("".join(f"{name}={found[name].status}\n" for name in (claims or found)))

    @cached_property
    def _drawn(self) -> Mapping[str, Chart]:
        from workbench.charts.drawing import alt_text, draw_png

        return {name: Chart(data, alt_text(self.folder, name)) for name, data in draw_png(self.folder).items()}

    def __repr__(self) -> str:
        statuses = ", ".join(f"{name}={verdict.status}" for name, verdict in self.verdicts.items())
        return f"Run({os.path.relpath(self.path)!r}): {statuses}"

    def _repr_html_(self) -> str:
        from workbench.charts.verdicts import verdicts_html

        claims = verdicts_html(self.verdicts, self.folder.info.get("claims", {}))
        return shown_table(self.folder).to_html() + claims


def invariant_lines(invariants: Mapping[str, Any]) -> list[str]:
    """The invariants in a fixed form: `name=value` in order of name, then the world and its replica processes."""
    lines = [f"{name}={value}" for name, value in sorted(invariants.items()) if name not in _TOGETHER]
    last = " ".join(f"{name}={invariants[name]}" for name in _TOGETHER if name in invariants)
    return [*lines, last] if last else lines


def _root(output: Path | str | None) -> Path | None:
    """Where run folders go: from the project's folder of notebooks, the same place as from the project."""
    if output is not None:
        return Path(output)
    here = Path.cwd()
    if "WORKBENCH_RUNS" not in os.environ and here.name == "notebooks" and (here.parent / "pyproject.toml").is_file():
        return Path("..") / runs_root()
    return None


def _words(value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in values)


class _ShownProgress:
    """Progress below a notebook's cell, in one line that is written anew; at the end it says how long it took."""

    def __init__(self, name: str, display: Any, make_html: Any) -> None:
        self._name, self._make_html = name, make_html
        self._began = time.monotonic()
        self._handle = display(make_html(f"<i>{name}: starting</i>"), display_id=True)

    def __call__(self, fraction: float, text: str) -> None:
        bar = f'<progress value="{fraction:.3f}" max="1" aria-label="progress of {self._name}"></progress>'
        self._show(f"{bar} {self._name}: {html.escape(text)}")

    def end(self) -> None:
        self._show(f"<i>{self._name}: measured in {time.monotonic() - self._began:.0f} s</i>")

    def _show(self, text: str) -> None:
        self._handle.update(self._make_html(text))


def _shown_progress(name: str) -> _ShownProgress | None:
    """None outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display

    return _ShownProgress(name, display, HTML)
