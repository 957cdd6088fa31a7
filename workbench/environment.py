"""Where a run took place: versions, machine, git state. Every figure depends on them, so each run folder holds them.

Nothing here fails: what cannot be found out is left out or empty. The machine's name and user are not recorded.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "aiomqtt",
    "amqtt",
    "apsw",
    "duckdb",
    "matplotlib",
    "msgspec",
    "numpy",
    "paho-mqtt",
    "pandas",
    "pyarrow",
    "seaborn",
    "uvloop",
)


def versions() -> dict[str, str]:
    """Versions of Python, the workbench, SQLite (the one inside APSW) and the libraries; those that are installed."""
    found = {"python": platform.python_version(), "python_implementation": platform.python_implementation()}
    for name, distribution in [("workbench", "replication-workbench"), *((name, name) for name in DISTRIBUTIONS)]:
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    try:
        import apsw

        found["sqlite"] = apsw.sqlite_lib_version()
    except ImportError:
        found["sqlite"] = sqlite3.sqlite_version
    return found


def machine() -> dict[str, Any]:
    """Cores, processor, memory and operating system."""
    return {
        "cores": os.cpu_count(),
        "cores_usable": _cores_usable(),
        "processor": _processor(),
        "memory_bytes": _memory_bytes(),
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
    }


def git_state() -> dict[str, Any] | None:
    """`commit` and `dirty` of the checkout that the package runs from; None outside of one."""
    package = Path(__file__).resolve()
    # A package in a virtual environment inside somebody's checkout is not part of that checkout.
    if _output("git", "-C", str(package.parent), "ls-files", "--error-unmatch", package.name) is None:
        return None
    commit = _output("git", "-C", str(package.parent), "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _output("git", "-C", str(package.parent), "status", "--porcelain")
    return {"commit": commit, "dirty": changes != ""}


def _output(*command: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, env=environment)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _cores_usable() -> int | None:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
