"""`workbench lab`: JupyterLab on the quickstart, on loopback only, without questions about news and updates."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from workbench.commands.arguments import Parser, whole_number
from workbench.errors import ConfigurationError

FIRST = "00_quickstart.ipynb"
SETTINGS = Path(__file__).with_name("lab_settings")
"""JupyterLab's defaults as we want them; what a user has set beats them. Without them it asks about news."""


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--port", type=whole_number(1, 65535), metavar="N", help="port (default: 8888 or the next free)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(arguments: argparse.Namespace) -> int:
    """Become JupyterLab; it ends with Ctrl-C. Raises `ConfigurationError` when it or the notebooks are missing."""
    folder = find_notebooks()
    if importlib.util.find_spec("jupyterlab") is None:
        raise ConfigurationError(
            "jupyterlab is not installed", hint="run `make lab`, or pip install 'replication-workbench[lab]'"
        )
    command = lab_command(folder, port=arguments.port, browser=has_display() and not arguments.no_browser)
    sys.stdout.flush()
    environment = {**os.environ, "JUPYTER_PLATFORM_DIRS": "1"}  # silences a warning about where settings lie
    os.execve(command[0], command, environment)  # so that Ctrl-C and signals reach Jupyter itself


def find_notebooks() -> Path:
    """The folder of notebooks: of the project that we are in, else of the checkout that this package runs from."""
    here = Path.cwd()
    candidates = [here / "notebooks", *(parent for parent in (here, *here.parents) if parent.name == "notebooks")]
    candidates.append(Path(__file__).resolve().parents[2] / "notebooks")
    for folder in candidates:
        if (folder / FIRST).is_file():
            return folder
    raise ConfigurationError(
        f"found no notebooks/{FIRST}", hint="call it in a clone of the project: the notebooks are not in the package"
    )


def lab_command(folder: Path, *, port: int | None, browser: bool) -> list[str]:
    """The command line that starts JupyterLab."""
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        str(folder / FIRST),
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        f"--LabApp.app_settings_dir={SETTINGS}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def has_display() -> bool:
    """Whether a browser could show itself here."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
