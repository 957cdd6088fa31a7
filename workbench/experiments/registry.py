"""Experiments by name. Listing the names imports none of them; asking for one imports its module alone."""

from __future__ import annotations

import importlib
from typing import Any

from workbench.errors import ConfigurationError
from workbench.experiments.base import Experiment
from workbench.experiments.parameters import nearest

_MODULES = {
    "write_latency": "workbench.experiments.write_latency",
    "stale_reads": "workbench.experiments.stale_reads",
    "session_guarantees": "workbench.experiments.session_guarantees",
    "log_formats": "workbench.experiments.log_formats",
    "new_follower": "workbench.experiments.new_follower",
    "follower_crash": "workbench.experiments.follower_crash",
    "failover": "workbench.experiments.failover",
    "split_brain": "workbench.experiments.split_brain",
    "accidental_failover": "workbench.experiments.accidental_failover",
    "trade_off": "workbench.experiments.trade_off",
    "simulator": "workbench.experiments.simulator",
    "scale": "workbench.experiments.scale",
}


def experiment_names() -> tuple[str, ...]:
    """All names, in the order of their notebooks."""
    return tuple(_MODULES)


def experiment(name: str) -> Experiment[Any]:
    """The experiment of that name. Raises `ConfigurationError` for a name that is none, with the nearest one."""
    if name not in _MODULES:
        raise ConfigurationError(f"unknown experiment {name!r}", hint=nearest(name, _MODULES, "experiments"))
    found = importlib.import_module(_MODULES[name]).EXPERIMENT
    assert isinstance(found, Experiment)
    return found
