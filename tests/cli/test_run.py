"""`workbench run`, `report` and `runs` on a real run, and what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--set", "duration_s=0.3", "--set", "warmup_s=0", "--set", "ack=async", "--set", "read_policy=any")


def test_a_run_is_one_document_and_a_folder(call: Callable, tmp_path: Path) -> None:
    called = call("run", "stale_reads", "--profile", "ci", "--seed", "5", *SMALL, "--json")
    document = json.loads(called.out)
    assert {"run", "experiment", "seed", "verdicts", "checks", "invariants", "summary"} <= set(document)
    assert (document["experiment"], document["seed"]) == ("stale_reads", 5)
    assert document["invariants"]["lost_acknowledged_writes"] == 0
    assert called.code == {"valid": 0, "invalid": 1, "unknown": 3}[document["conclusion"]]
    assert document["required_checks"] == ["convergence", "lost_writes"]
    folder = tmp_path / document["run"]
    assert json.loads((folder / "run.json").read_text())["status"] == "complete"
    assert sorted(path.suffix for path in (folder / "charts").iterdir()) == [".png"] * 4 + [".txt"] * 4

    listed = json.loads(call("runs", "--json").out)
    assert [one["experiment"] for one in listed] == ["stale_reads"]
    assert folder.name in call("runs").out

    assert call("report", folder.name).out == f"wrote data/runs/{folder.name}/report.html\n"
    assert "<!DOCTYPE html>" in (folder / "report.html").read_text()

    assert folder.name in call("runs", "prune", "--keep", "0").out
    assert not folder.exists()


def test_too_little_is_unknown_not_valid(call: Callable) -> None:
    called = call("run", "stale_reads", "--profile", "ci", *SMALL, "--set", "read_fraction=0", "--json")
    assert set(json.loads(called.out)["verdicts"].values()) == {"unknown"}
    assert called.code == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_cluster_and_marks_the_run(tmp_path: Path, number: signal.Signals, code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "workbench", "run", "stale_reads", "--profile", "ci", "--set", "duration_s=60"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_replicas(process, tmp_path)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == ""
    assert re.fullmatch(r"(interrupted|terminated): nothing is left running", err.splitlines()[-1])
    assert "Traceback" not in err
    (folder,) = (tmp_path / "data" / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert processes_that_name(str(tmp_path)) == []


def wait_for_replicas(process: subprocess.Popen[str], folder: Path) -> None:
    """Until the cluster's processes are there."""
    give_up_at = time.monotonic() + 60
    while not processes_that_name(str(folder)):
        assert process.poll() is None, "it ended before it started a replica"
        assert time.monotonic() < give_up_at, "no replica appeared"
        time.sleep(0.05)


def processes_that_name(text: str) -> list[str]:
    """Commands of running processes whose arguments name a folder."""
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if text in line and "workbench" in line]
