"""Replication Workbench: single-leader replication to see, measure and break, on one machine.

The names below are loaded when they are first used, so that `import workbench` stays quick and a replica process
carries no pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.client.tokens import Token
    from workbench.cluster.cluster import Cluster
    from workbench.config import AckPolicy, ClusterConfig, Limits, Protections, Timing
    from workbench.facade import Run, experiment, experiments

__version__ = "0.1.0"

_HOMES = {
    "AckPolicy": "workbench.config",
    "Cluster": "workbench.cluster.cluster",
    "ClusterConfig": "workbench.config",
    "Limits": "workbench.config",
    "Protections": "workbench.config",
    "Run": "workbench.facade",
    "Timing": "workbench.config",
    "Token": "workbench.client.tokens",
    "experiment": "workbench.facade",
    "experiments": "workbench.facade",
}

__all__ = [
    "AckPolicy",
    "Cluster",
    "ClusterConfig",
    "Limits",
    "Protections",
    "Run",
    "Timing",
    "Token",
    "experiment",
    "experiments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
