"""What a replica's storage takes from its surroundings that is never the same twice; a simulated world has its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`wall_ns`: the time of day, nanoseconds since 1970. `draw`: so many random bytes."""

    wall_ns: Callable[[], int] = time.time_ns
    draw: Callable[[int], bytes] = os.urandom


HOST: Final = Surroundings()
"""Those of the machine."""
