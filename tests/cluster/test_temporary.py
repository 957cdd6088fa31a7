"""What a killed owner leaves in the temporary directory, the next one removes; nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workbench.temporary import make_temporary_directory


def test_folders_of_dead_processes_are_removed_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    abandoned = tmp_path / f"replication-workbench-{int(dead.stdout)}-abc"
    alive = tmp_path / f"replication-workbench-{os.getppid()}-abc"
    foreign = tmp_path / "replication-workbench-notes"
    for path in (abandoned, alive, foreign):
        path.mkdir()
        (path / "file").touch()
    mine = make_temporary_directory()
    assert sorted(tmp_path.iterdir()) == sorted([alive, foreign, mine])
    assert not any(mine.iterdir())
