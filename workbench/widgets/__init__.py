"""Things to look at and to touch in a notebook. Loaded when first used: they need the extra `lab`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.widgets.live import LivePanel
    from workbench.widgets.panel import ExperimentPanel
    from workbench.widgets.watching import Watch, read_everywhere, watch
    from workbench.widgets.weights import WeightsPanel

_HOMES = {
    "ExperimentPanel": "workbench.widgets.panel",
    "LivePanel": "workbench.widgets.live",
    "Watch": "workbench.widgets.watching",
    "WeightsPanel": "workbench.widgets.weights",
    "read_everywhere": "workbench.widgets.watching",
    "watch": "workbench.widgets.watching",
}

__all__ = ["ExperimentPanel", "LivePanel", "Watch", "WeightsPanel", "read_everywhere", "watch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench.widgets' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
