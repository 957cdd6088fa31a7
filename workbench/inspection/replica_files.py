"""Where the files of replicas lie: below a replica's own directory, a cluster's directory, or a run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigurationError
from workbench.storage.log_reader import segment_names_of

_CELLS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ReplicaFiles:
    """One replica: its directory, and what to call it there: its name, with the cell of a run before it."""

    label: str
    directory: Path

    @property
    def name(self) -> str:
        """Without the cell."""
        return self.label.rpartition("/")[2]

    @property
    def log(self) -> Path:
        """The folder of its replication log."""
        return self.directory / "log"


def find_replicas(directory: Path) -> list[ReplicaFiles]:
    """The replicas with a replication log below `directory`, by name. Raises `ConfigurationError` if there is none."""
    if not directory.exists():
        raise ConfigurationError(f"there is no directory {directory}")
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file, not a directory", hint="give the directory of a replica")
    if directory.name == "log" and segment_names_of(directory):
        directory = directory.absolute().parent
    if _has_log(directory):
        return [ReplicaFiles(directory.absolute().name, directory)]
    found = [
        ReplicaFiles(
            "/".join(part for part in path.parent.relative_to(directory).parts if part != "replicas"), path.parent
        )
        for path in _logs(directory)
        if _has_log(path.parent)
    ]
    if not found:
        raise ConfigurationError(f"{directory} holds no replication log", hint=_what_it_is(directory))
    return sorted(found, key=lambda one: one.label)


def choose(replicas: Sequence[ReplicaFiles], wanted: str) -> ReplicaFiles:
    """The replica called `wanted`, or the first one. Raises `ConfigurationError`."""
    if not wanted:
        return replicas[0]
    matching = [one for one in replicas if wanted in (one.label, one.name)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(one.label for one in replicas)
    if matching:
        raise ConfigurationError(f"there are {len(matching)} replicas called {wanted!r}", hint=f"one of {names}")
    raise ConfigurationError(f"there is no replica {wanted!r}", hint=f"one of {names}")


def _has_log(directory: Path) -> bool:
    log = directory / "log"
    return log.is_dir() and bool(segment_names_of(log))


def _logs(directory: Path) -> list[Path]:
    """The folders called `log` of a cluster, or of the cells of a run."""
    found: list[Path] = []
    for pattern in ("*/log", "replicas/*/log", "*/replicas/*/log", "*/*/replicas/*/log"):
        for path in directory.glob(pattern):
            found.append(path)
            if len(found) >= _CELLS_MAX:
                return found
    return found


def _what_it_is(directory: Path) -> str:
    info = directory / "run.json"
    if info.is_file():
        try:
            name = str(json.loads(info.read_text(encoding="utf-8")).get("experiment", "a run"))
        except (OSError, ValueError, AttributeError):
            name = "a run"
        return (
            f"the run folder of {name} keeps what was measured, not the replicas' files; "
            "`workbench load FILE.sql --directory DIR` keeps them"
        )
    return "give the directory of a replica, of a cluster or of a run; `workbench load --directory` makes one"
