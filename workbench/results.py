"""Run folders: everything that one execution of an experiment leaves behind, in `data/runs/<utc>-<experiment>-<id>/`.

`RunFolder.create` makes the folder and gives its writer; `RunFolder.open` gives read access to a finished one.
`run.json` is written first with the status `running` and last with the final one, after everything else is on disk:
a crash never leaves a folder that looks complete. docs/results.md explains every file and column.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import pandas as pd

from workbench.checkers.verdict import Verdict
from workbench.environment import git_state, machine, versions
from workbench.errors import ConfigurationError, RunError
from workbench.history import complete_columns, operations_frame, validate_operations
from workbench.run_listing import SCHEMA_VERSION, find_run, list_runs, prune_runs, read_info, runs_root
from workbench.strict_json import plain, put_in_place, write_json

__all__ = ["SCHEMA_VERSION", "RunFolder", "RunWriter", "list_runs", "prune_runs", "runs_root"]

FinalStatus = Literal["complete", "failed", "interrupted"]
FINAL_STATUSES: tuple[FinalStatus, ...] = get_args(FinalStatus)

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class RunFolder:
    """Read access to one run folder. Tables are read when first asked for.

    `run = RunFolder.open(path)`; `run.summary` and `run.operations` are DataFrames, `run.verdicts` and `run.checks`
    map names to `Verdict`, `run.invariants` to plain values; `run.conclusion` is the `Verdict` on all of it, `run.info`
    all of `run.json`.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info

    @staticmethod
    def create(
        root: Path | str | None = None,
        *,
        experiment: str,
        title: str = "",
        question: str = "",
        parameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
        profile: str = "",
        world: str = "real",
        broker: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Make a new folder under `root` (see `runs_root`), holding only what is known at the start.

        Raises `RunError` if the folder cannot be made, `ConfigurationError` for a name that is no folder's name.
        """
        if not _NAME.fullmatch(experiment):
            raise ConfigurationError(f"experiment name {experiment!r}", hint="lower-case letters, digits, underscores")
        started = datetime.now(UTC)
        path = runs_root(root) / f"{started:%Y%m%dT%H%M%SZ}-{experiment}-{secrets.token_hex(4)}"
        info: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run": path.name,
            "status": "running",
            "experiment": experiment,
            "title": title,
            "question": question,
            "parameters": dict(parameters or {}),
            "seed": seed,
            "profile": profile,
            "world": world,
            "started_utc": started.isoformat(),
            "ended_utc": None,
            "error": "",
            "process": os.getpid(),
            "versions": versions(),
            "machine": machine(),
            "broker": dict(broker) if broker else None,
            "git": git_state(),
        }
        try:
            path.mkdir(parents=True)
            return RunWriter(path, info)
        except OSError as error:
            raise RunError(
                f"cannot make the run folder {path}: {error.strerror}", hint="choose another root"
            ) from error

    @classmethod
    def open(cls, path: Path | str, *, unfinished: bool = False) -> Self:
        """Open a run folder by its path, or by its name under `runs_root()`.

        `unfinished` also opens runs that failed, were interrupted, or are still going on: what they lack raises
        `RunError` when asked for. Raises `RunError` for anything that is not a run folder of a known schema.
        """
        folder = find_run(Path(path))
        info = read_info(folder)
        status = info["status"]
        if status != "complete" and not unfinished:
            reason = f": {info['error']}" if info.get("error") else ""
            hint = "its logs/ tell more" if status in FINAL_STATUSES else "it is still going on, or its process died"
            raise RunError(f"run {folder} is not complete but {status}{reason}", hint=hint)
        return cls(folder, info)

    @property
    def experiment(self) -> str:
        return str(self.info["experiment"])

    @property
    def seed(self) -> int | None:
        seed = self.info.get("seed")
        return None if seed is None else int(seed)

    @property
    def status(self) -> str:
        return str(self.info["status"])

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.info.get("parameters", {}))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a cell, as the experiment defines it."""
        types: dict[str, str] = self.info.get("summary_types", {})
        if not types:
            return pd.DataFrame()
        try:
            # Only "NaN" is a missing number: an empty label must stay a label.
            return pd.read_csv(
                self.path / "summary.csv",
                dtype=types,
                keep_default_na=False,
                na_values=["NaN"],
            )
        except (OSError, ValueError) as error:
            raise self._unreadable("summary.csv", error) from error

    @cached_property
    def operations(self) -> pd.DataFrame:
        """The table of operations; its columns stand in docs/results.md."""
        frame = self._parquet(Path("operations.parquet"))
        return validate_operations(complete_columns(frame) if self.info["schema_version"] < 2 else frame)

    def table(self, name: str) -> pd.DataFrame:
        """A further table that the experiment stored, such as `lag`."""
        return self._parquet(Path("tables") / f"{name}.parquet")

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the further tables."""
        return tuple(sorted(path.stem for path in (self.path / "tables").glob("*.parquet")))

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Claim -> verdict."""
        return self._verdicts("verdicts")

    @property
    def checks(self) -> dict[str, Verdict]:
        """Checker -> its verdict on the history, whatever the experiment claims."""
        return self._verdicts("checks")

    @property
    def required_checks(self) -> dict[str, Verdict]:
        """Of the checks that were made, those that must hold whatever the experiment shows."""
        required = self.info.get("required_checks", ())
        return {name: verdict for name, verdict in self.checks.items() if name in required}

    @property
    def conclusion(self) -> Verdict:
        """On the claims and the required checks together: its exit code is the run's. No claims: unknown."""
        claimed = self.verdicts or {"claims": Verdict.unknown("nothing was judged")}
        return Verdict.all({**claimed, **self.required_checks})

    @property
    def invariants(self) -> dict[str, Any]:
        """Name -> value, such as `lost_acknowledged_writes` -> 0."""
        return dict(self._judged["invariants"])

    @property
    def charts_directory(self) -> Path:
        return self.path / "charts"

    @property
    def logs_directory(self) -> Path:
        return self.path / "logs"

    def to_json(self) -> dict[str, Any]:
        """The JSON of a run: strict, missing numbers are None."""
        rows = self.summary.astype(object).to_dict(orient="records")
        return {
            "run": str(self.path),
            "experiment": self.experiment,
            "seed": self.seed,
            "conclusion": self.conclusion.status,
            "verdicts": {name: verdict.status for name, verdict in self.verdicts.items()},
            "parts": {name: dict(verdict.parts) for name, verdict in self.verdicts.items() if verdict.parts},
            "checks": {name: plain(verdict) for name, verdict in self.checks.items()},
            "required_checks": list(self.required_checks),
            "invariants": plain(self.invariants),
            "summary": plain(rows),
        }

    @cached_property
    def _judged(self) -> dict[str, Any]:
        try:
            judged: dict[str, Any] = json.loads((self.path / "verdicts.json").read_text(encoding="utf-8"))
            if not all(isinstance(judged[part], dict) for part in ("verdicts", "checks", "invariants")):
                raise ValueError("a part is not an object")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable("verdicts.json", error) from error
        return judged

    def _verdicts(self, part: str) -> dict[str, Verdict]:
        try:
            return {name: Verdict.from_json(data) for name, data in self._judged[part].items()}
        except ValueError as error:
            raise self._unreadable("verdicts.json", error) from error

    def _parquet(self, name: Path) -> pd.DataFrame:
        try:
            return pd.read_parquet(self.path / name)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise self._unreadable(str(name), error) from error

    def _unreadable(self, name: str, error: Exception) -> RunError:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error).partition("\n")[0]
        return RunError(f"cannot read {name} of run {self.path}: {reason}", hint="repeat the run")


class RunWriter:
    """A run folder in the making; a context manager that ends it, as `failed` or `interrupted`, on an exception."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self._info = info
        self._finished = False
        for directory in (self.charts_directory, self.logs_directory):
            directory.mkdir()
        self._write_info()

    @property
    def charts_directory(self) -> Path:
        return self.path / "charts"

    @property
    def logs_directory(self) -> Path:
        return self.path / "logs"

    @property
    def rollback_directory(self) -> Path:
        """Made on first use: a run without a rewind has none."""
        directory = self.path / "rollback"
        directory.mkdir(exist_ok=True)
        return directory

    def note(self, **facts: Any) -> None:
        """Add to `run.json` what is only known later, such as `broker={"name": ..., "version": ..., "settings": ...}`.

        Raises `ValueError` for a name that the folder itself keeps.
        """
        kept = {"schema_version", "run", "status", "experiment", "started_utc", "ended_utc", "error", "process"}
        if taken := kept & facts.keys():
            raise ValueError(f"run.json keeps {', '.join(sorted(taken))} itself")
        self._info |= facts
        self._write_info()

    def finish(
        self,
        *,
        status: FinalStatus = "complete",
        operations: pd.DataFrame | None = None,
        summary: pd.DataFrame | None = None,
        verdicts: Mapping[str, Verdict] | None = None,
        checks: Mapping[str, Verdict] | None = None,
        invariants: Mapping[str, Any] | None = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        error: str = "",
    ) -> RunFolder:
        """Write what the run found, then its final status, and open it.

        Raises `HistoryError` for a malformed table of operations, `RunError` if the disk refuses.
        """
        assert not self._finished, "a run is finished once"
        assert status in FINAL_STATUSES
        try:
            self._write_operations(operations)
            self._write_tables(tables or {})
            self._write_summary(summary)
            judged = {"verdicts": verdicts or {}, "checks": checks or {}, "invariants": invariants or {}}
            write_json(self.path / "verdicts.json", judged)
            self._end(status, error)
        except OSError as problem:
            raise RunError(f"cannot write the run folder {self.path}: {problem.strerror}") from problem
        return RunFolder.open(self.path, unfinished=True)

    def fail(self, error: str, *, status: FinalStatus = "failed") -> None:
        """End the run without results; does nothing if it has ended."""
        if not self._finished:
            self._end(status, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.fail("the run ended without results")
        else:  # Ctrl-C, a cancelled task and SystemExit are no Exceptions
            status: FinalStatus = "failed" if issubclass(kind, Exception) else "interrupted"
            self.fail(f"{kind.__name__}: {error}".removesuffix(": "), status=status)

    def _end(self, status: FinalStatus, error: str) -> None:
        self._info |= {"status": status, "error": error, "ended_utc": datetime.now(UTC).isoformat()}
        self._write_info()
        self._finished = True

    def _write_info(self) -> None:
        write_json(self.path / "run.json", self._info)

    def _write_operations(self, operations: pd.DataFrame | None) -> None:
        frame = operations_frame([]) if operations is None else validate_operations(operations)
        _write_parquet(frame, self.path / "operations.parquet")

    def _write_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        for name, frame in tables.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"table name {name!r} must consist of lower-case letters, digits and underscores")
            (self.path / "tables").mkdir(exist_ok=True)
            _write_parquet(frame, self.path / "tables" / f"{name}.parquet")

    def _write_summary(self, summary: pd.DataFrame | None) -> None:
        frame = pd.DataFrame() if summary is None else summary
        temporary = self.path / ".summary.csv.partial"
        frame.to_csv(temporary, index=False, na_rep="NaN", lineterminator="\n")
        put_in_place(temporary, self.path / "summary.csv")
        self._info["summary_types"] = {str(name): _csv_type(frame[name]) for name in frame.columns}


def _csv_type(column: pd.Series) -> str:
    dtype = str(column.dtype)
    return dtype if dtype in ("bool", "boolean", "Int64") or dtype.startswith(("int", "uint", "float")) else "str"


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    frame.to_parquet(temporary, index=False)
    put_in_place(temporary, path)
