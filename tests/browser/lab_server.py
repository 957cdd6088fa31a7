"""`workbench lab` on a copy of the notebooks, with settings and temporary files of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser.process_table import Process, descendants, kill, naming, processes, until
from workbench.cluster.processes import python_environment

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR")
END_S = 20.0
_REQUEST_S = 20.0


class LabServer:
    """A running JupyterLab."""

    def __init__(self, process: subprocess.Popen[bytes], project: Path, port: int, token: str) -> None:
        self.process = process
        self.project = project
        self.url = f"http://127.0.0.1:{port}"
        self.token = token

    def address(self, notebook: str) -> str:
        """Where a browser finds a notebook, token included."""
        return f"{self.url}/lab/tree/{notebook}?token={self.token}"

    def ask(self, path: str, method: str = "GET") -> Any:
        """One request of Jupyter's REST API. Raises `OSError` when it fails."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=_REQUEST_S) as answer:
            return json.load(answer)

    def is_ready(self) -> bool:
        """Whether it answers. Fails when it has ended."""
        assert self.process.poll() is None, (self.project / "lab.log").read_text()
        with contextlib.suppress(OSError):
            return bool(self.ask("status"))
        return False

    def children(self) -> list[Process]:
        """Every process below it: kernels and what they have started."""
        return descendants(self.process.pid)


@contextlib.contextmanager
def lab_server(folder: Path) -> Iterator[LabServer]:
    """Start one below `folder`; whatever happens, it and all it has started are gone in the end."""
    project = folder / "project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copy(ROOT / "pyproject.toml", project)  # by which the notebooks know that this is their project
    port, token = free_port(), secrets.token_hex(16)
    environment = {**python_environment(), "JUPYTER_TOKEN": token, "WORKBENCH_PROFILE": "ci"}
    for name in FOLDERS:
        environment[name] = str(folder / name.lower())
        Path(environment[name]).mkdir()
    command = [sys.executable, "-m", "workbench", "lab", "--no-browser", "--port", str(port)]
    with (project / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    server = LabServer(process, project, port, token)
    try:
        until(server.is_ready)
        yield server
    finally:
        left = set(server.children()) if process.poll() is None else set()
        process.terminate()
        try:
            process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kill([child for child in processes() if child in left])
        kill(naming(str(folder)))


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
