"""One execution of an experiment: the run folder before, the measuring, what it found after.

Whatever happens, the folder tells: `complete` with results, `failed` with the error, or `interrupted` after Ctrl-C
or a cancelled task. The replicas keep their files in a hidden folder of the run while it lasts (a system's temporary
directory may lie in memory, where fsync costs nothing), and only their logs stay.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Experiment, Outcome, Progress, silent
from workbench.experiments.parameters import choose_profile

if TYPE_CHECKING:
    from workbench.faults.values import World
    from workbench.results import RunFolder, RunWriter

KEPT_SUFFIXES = {".log", ".stderr", ".stdout", ".conf"}
LOG_BYTES_MAX = 4 * 1024 * 1024
"""A longer log keeps its end only."""


async def run_experiment(
    experiment: Experiment[Any],
    *,
    profile: str | None = None,
    seed: int = 1,
    overrides: Mapping[str, object] | None = None,
    broker: str | None = None,
    world: World | None = None,
    output: Path | None = None,
    progress: Progress = silent,
) -> RunFolder:
    """Run `experiment` and return its finished run folder, made under `output` (default: `data/runs`).

    `overrides` are parameters by name, typed or as text; `world`: the experiment's first by default. Raises
    `ConfigurationError` before anything is started or written; any other error after the folder was marked `failed`.
    """
    from workbench.results import RunFolder

    profile = choose_profile(profile)
    parameters = experiment.resolve(profile, overrides)
    world = experiment.choose_world(world)
    if world == "simulated" and broker is not None:
        raise ConfigurationError(f"broker {broker!r} in a simulated world", hint="it has a broker of its own")
    writer = RunFolder.create(
        output,
        experiment=experiment.name,
        title=experiment.question,
        question=experiment.question,
        parameters=asdict(parameters),
        seed=seed,
        profile=profile,
        world=world,
    )
    with writer, tempfile.TemporaryDirectory(prefix=".replicas-", dir=writer.path) as directory:
        writer.note(claims=dict(experiment.claims), required_checks=list(experiment.required_checks))
        context = Context(directory=Path(directory).resolve(), seed=seed, broker=broker, progress=progress)
        try:
            outcome = await _conduct(experiment, world, context, parameters)
        finally:
            keep_logs(context.directory, writer.logs_directory)
            keep_rollbacks(context.directory, writer)
            writer.note(**context.notes)
        return _finish(experiment, world, writer, outcome)


async def _conduct(experiment: Experiment[Any], world: World, context: Context, parameters: object) -> Outcome:
    if world == "real":
        return await experiment.conduct(context, parameters)
    from workbench.simulator.virtual_host import in_virtual_time

    loop = asyncio.get_running_loop()

    def tell(fraction: float, text: str) -> None:
        loop.call_soon_threadsafe(context.progress, fraction, text)

    told = replace(context, progress=tell)
    return await in_virtual_time(context.seed, lambda host: experiment.conduct(replace(told, host=host), parameters))


def _finish(experiment: Experiment[Any], world: World, writer: RunWriter, outcome: Outcome) -> RunFolder:
    import pandas as pd

    unknown = set(outcome.verdicts) - set(experiment.claims)
    assert not unknown, f"{experiment.name} judged what it does not claim: {sorted(unknown)}"
    return writer.finish(
        operations=outcome.operations,
        summary=pd.DataFrame(list(outcome.summary)),
        tables={name: pd.DataFrame(list(rows)) for name, rows in outcome.tables.items() if rows},
        verdicts=outcome.verdicts,
        checks=outcome.checks,
        invariants=_with_place(outcome.invariants, world),
    )


def _with_place(invariants: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Where it took place is an invariant, too. Simulated replicas are no processes."""
    processes = {"replica_processes": 0} if world == "simulated" and "replica_processes" in invariants else {}
    return {**invariants, **processes, "world": world}


def keep_logs(source: Path, target: Path) -> None:
    """Copy every process's log below `source` to the folder `target`, the end of it where it is long.

    Logs of processes lie in folders named `logs`; the replication logs elsewhere are data, and stay behind.
    """
    for path in sorted(source.rglob("*")):
        if "logs" not in path.parts[len(source.parts) :] or path.suffix not in KEPT_SUFFIXES or not path.is_file():
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as read, copy.open("wb") as written:
            read.seek(max(0, path.stat().st_size - LOG_BYTES_MAX))
            shutil.copyfileobj(read, written)


def keep_rollbacks(source: Path, writer: RunWriter) -> None:
    """Copy what rewinds dropped, replica by replica, to the run's `rollback/`, which exists only if there was one."""
    for path in sorted(source.rglob("rollback/*.jsonl")):
        copy = writer.rollback_directory / path.relative_to(source).parent.parent / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
