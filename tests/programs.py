"""Programs that some tests need and a computer may lack: mosquitto, chromium, chromedriver.

A test says so with `@pytest.mark.needs("mosquitto")`, a parameter with `marks=pytest.mark.needs("mosquitto")`. Without
the program the test is skipped and the reason printed; with `CI=true` it is an error, so that a broken installation
step cannot pass for green. `find_program` says where a program is.
"""

from __future__ import annotations

import os
import shutil

from workbench.cluster.broker import search_path

_NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "Google Chrome", "Chromium"),
    "chromedriver": ("chromedriver",),
    "mosquitto": ("mosquitto",),
}
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS",
    "/Applications/Chromium.app/Contents/MacOS",
)


def find_program(program: str) -> str | None:
    """Path of an installed program, or None. Raises `KeyError` for a program that no test may need."""
    path = os.pathsep.join([search_path(), *_PLACES])
    return next((found for name in _NAMES[program] if (found := shutil.which(name, path=path))), None)


def missing_programs(programs: tuple[str, ...]) -> str:
    """Why a test cannot run: one line naming what is missing, or the empty string."""
    missing = [program for program in programs if find_program(program) is None]
    return f"needs {' and '.join(missing)}, not installed here" if missing else ""
