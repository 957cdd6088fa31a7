"""The zoo of planted bugs: each is one line of a module; the simulator catches it in its class, and its replay does."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from workbench import cli
from workbench.commands.simulate import _Run
from workbench.faults.schedules import load_schedule
from workbench.simulator.bug import Bug
from workbench.simulator.patching import Patch, install, source_of
from workbench.simulator.run import EXIT_CODES, Simulated
from workbench.simulator.swarm import Swarm
from workbench.simulator.zoo import BUGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulator.md"
BY_NAME = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


def simulate(*options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = cli.main(["simulate", *options, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return code, document


@BY_NAME
def test_a_bug_is_one_line_that_is_there_once(bug: Bug) -> None:
    source = source_of(bug.patch)
    patched = bug.patch.apply(source)
    assert len(patched.splitlines()) == len(source.splitlines())
    changed = [new for old, new in zip(source.splitlines(), patched.splitlines(), strict=True) if old != new]
    assert len(changed) == 1


def test_there_are_bugs_of_every_part_and_class() -> None:
    assert len(BUGS) >= 26
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert {bug.failure for bug in BUGS} == {"correctness", "liveness", "crash"}
    areas = Counter(bug.area for bug in BUGS)
    assert set(areas) >= {"election", "log matching", "acks", "rewind", "snapshots", "fsync"}
    assert min(areas["fencing"] + areas["lease"], areas["dedupe"], areas["membership"]) >= 4
    assert all(bug.first_seed < 1_000 for bug in BUGS)


@BY_NAME
def test_the_simulator_catches_it(bug: Bug, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = f"{bug.first_seed}:{bug.first_seed + 1}"
    code, found = simulate("--bug", bug.name, "--seeds", seeds, "--no-shrink", "--output", str(tmp_path), capsys=capsys)
    assert code == EXIT_CODES[bug.failure], f"look for another seed: workbench simulate --bug {bug.name}"
    (failed,) = found["failed"]
    assert failed["failure"] == bug.failure


@pytest.mark.parametrize("name", ["vote_twice", "vote_not_saved", "log_not_synced"])
def test_what_was_caught_is_shrunk_and_its_replay_fails_in_the_same_way(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that needs some faults, one that needs none, one in real storage."""
    (bug,) = (bug for bug in BUGS if bug.name == name)
    seeds = f"{bug.first_seed}:{bug.first_seed + 1}"
    code, found = simulate("--bug", name, "--seeds", seeds, "--output", str(tmp_path), capsys=capsys)
    (failed,) = found["failed"]
    assert failed["faults_kept"] < failed["faults_of"]
    assert len(load_schedule(Path(failed["schedule"]))) == failed["faults_kept"]
    replay = shlex.split(failed["replay"])
    assert replay[:2] == ["workbench", "simulate"]
    again, replayed = simulate(*replay[2:], capsys=capsys)
    (once_more,) = replayed["failed"]
    assert (again, once_more["law"], once_more["seed"]) == (code, failed["law"], failed["seed"])


def test_a_story_that_is_not_repeated_is_replayed_twice() -> None:
    run = _Run(None, None, "wal", True, 1, Swarm())
    one = Simulated(seed=3, failure="correctness", reason="repetition: the trace was another one")
    assert run.replay(one) == "workbench simulate --log-format wal --seeds 3:4 --twice"


def test_without_its_bug_the_same_seed_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = simulate("--seeds", "8:9", capsys=capsys)
    assert (code, found["violations"]) == (0, 0)
    assert found["trace_hash"]


def test_an_unknown_bug_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--bug", "vote_twyce"]) == 2
    assert "did you mean 'vote_twice'?" in capsys.readouterr().err


def test_the_list_names_every_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--bug", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(bug.name in shown for bug in BUGS)


def test_a_patch_that_fits_no_line_or_comes_too_late_is_refused() -> None:
    with pytest.raises(ValueError, match="occurs 0 times"):
        Patch("workbench.protocol.acks", "no such line", "").apply("x = 1\n")
    with pytest.raises(RuntimeError, match="imported before"):
        install(Patch("workbench.simulator.zoo", "x", "y"))


def test_the_page_lists_the_zoo_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (\w+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(bug.name, bug.area, bug.failure, bug.breaks) for bug in BUGS]
