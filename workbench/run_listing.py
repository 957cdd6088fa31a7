"""Finding, listing and pruning run folders. It needs no pandas.

What is not a run folder is never touched: a folder counts only if its name has the form of one and its `run.json`
names it. A deletion renames the folder first (to `.removed-...`), so that one which is cut short leaves nothing that
looks like a run; the next deletion removes what it left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ConfigurationError, RunError

SCHEMA_VERSION = 2
"""Version of the run folder; rises when a reader of the old one could misread the new one."""

_FOLDER = re.compile(r"\d{8}T\d{6}Z-[a-z][a-z0-9_]*-[0-9a-f]{8}")
_REMOVED = ".removed-"


def runs_root(root: Path | str | None = None) -> Path:
    """Where run folders go: `root`, else the environment variable WORKBENCH_RUNS, else `data/runs` from here."""
    return Path(root or os.environ.get("WORKBENCH_RUNS") or Path("data") / "runs")


@dataclass(frozen=True, slots=True)
class RunListing:
    """One line of `list_runs`."""

    path: Path
    experiment: str
    started_utc: str
    status: str
    seed: int | None
    profile: str
    world: str
    title: str


def list_runs(root: Path | str | None = None) -> list[RunListing]:
    """The run folders under `root`, newest first; whatever else lies there is passed over."""
    listings = []
    for path, info in _run_folders(runs_root(root)):
        texts = {
            name: str(info.get(name, ""))
            for name in ("experiment", "started_utc", "status", "profile", "world", "title")
        }
        listings.append(RunListing(path=path, seed=info.get("seed"), **texts))
    return sorted(listings, key=lambda listing: (listing.started_utc, listing.path.name), reverse=True)


def prune_runs(root: Path | str | None = None, *, keep: int) -> list[Path]:
    """Delete all but the newest `keep` run folders under `root`; returns those deleted.

    Never touches what is not a run folder of a known schema, symbolic links, and runs whose process is alive.
    """
    if keep < 0:
        raise ConfigurationError(f"keep is {keep}", hint="it must be 0 or more")
    _remove_leftovers(runs_root(root))
    removed = []
    for listing in list_runs(root)[keep:]:
        if listing.status == "running" and _is_alive(read_info(listing.path).get("process")):
            continue
        _remove(listing.path)
        removed.append(listing.path)
    return removed


def _run_folders(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_symlink() or not path.is_dir() or not _FOLDER.fullmatch(path.name):
            continue
        try:
            info = read_info(path)
        except RunError:
            continue
        if info["run"] == path.name:  # a folder that was renamed is somebody's keepsake
            found.append((path, info))
    return found


def find_run(path: Path) -> Path:
    """`path`, or the run folder of that name under `runs_root()`."""
    if not path.exists() and len(path.parts) == 1 and (runs_root() / path).is_dir():
        return runs_root() / path
    return path


def read_info(folder: Path) -> dict[str, Any]:
    """The content of `run.json`; raises `RunError` unless it is one of a schema that this version reads."""
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = "there is no such folder" if not folder.exists() else "it has no run.json"
        raise RunError(f"{folder} is not a run folder: {missing}", hint="`workbench runs list` shows them") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is not a run folder: run.json cannot be read: {error}") from error
    version = info.get("schema_version") if isinstance(info, dict) else None
    if not isinstance(version, int) or not all(
        isinstance(info.get(name), str) for name in ("run", "experiment", "status")
    ):
        raise RunError(f"{folder} is not a run folder: its run.json is of another kind")
    if version > SCHEMA_VERSION:
        raise RunError(
            f"run {folder} has schema version {version}, this workbench reads up to {SCHEMA_VERSION}",
            hint="install a newer workbench",
        )
    return dict(info)


def _remove(path: Path) -> None:
    """Delete the folder `path`. Symbolic links inside it are deleted, never followed. Raises `RunError`."""
    hidden = path.with_name(_REMOVED + path.name)
    try:
        path.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise RunError(f"cannot delete the run folder {path}: {error.strerror}") from error


def _remove_leftovers(root: Path) -> None:
    """Delete what interrupted calls of `_remove` left under `root`, whatever its age."""
    for path in sorted(root.glob(f"{_REMOVED}*")) if root.is_dir() else []:
        if _FOLDER.fullmatch(path.name.removeprefix(_REMOVED)) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: object) -> bool:
    """Whether a process with this id exists; a number used again counts, which errs on the side of keeping."""
    if not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
