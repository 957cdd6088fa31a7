"""One planted bug, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.simulator.patching import Patch


@dataclass(frozen=True, slots=True)
class Bug:
    """What part it is in, how it fails, what it breaks in one sentence, and the line."""

    name: str
    area: str
    failure: Literal["correctness", "liveness", "crash"]
    breaks: str
    patch: Patch
    first_seed: int = 0
    log_format: str = "memory"
    """What the disks must be made of, for a bug in the code of real ones."""
