"""A replica killed at any point comes back to what the laws allow. `tests/replica/script.py` says what it was doing."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.replica.bench import Bench, config_of
from tests.replica.crash_server import COUNT
from tests.replica.memory import folder_in_memory
from tests.replica.script import Script, check, check_goes_on, make_script
from workbench import failpoints
from workbench.config import LOG_FORMATS, LogFormatName
from workbench.errors import ConfigurationError
from workbench.failpoints import POINTS

RANDOM_VISITS = 40


class Victims:
    """Children that play one log format's script and are killed."""

    def __init__(self, directory: Path, log_format: LogFormatName) -> None:
        self.directory = directory
        self.script = make_script(self.directory / "story", log_format)
        (self.directory / "script").write_bytes(pickle.dumps(self.script))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.replica.crash_server", str(self.directory / "script")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        self.visits: dict[str, int] = self.ask("count", COUNT)[0]

    def ask(self, name: str, failpoint: str) -> tuple[Any, int]:
        """Play in the directory `name`: the exit code, and the step that was begun last."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(self.directory / name), failpoint]) + "\n")
        self._server.stdin.flush()
        code, step = json.loads(self._server.stdout.readline())
        return code, step

    def kill_and_check(self, failpoint: str) -> None:
        """Let one die at `failpoint`, and judge what it leaves."""
        name = failpoint.replace(":", "-")
        code, step = self.ask(name, failpoint)
        assert code == -signal.SIGKILL, f"{failpoint} was not hit"
        bench = Bench(config_of(self.directory / name, self.script.log_format))
        check(self.script, bench, step, self.directory / "models")
        check_goes_on(bench)
        shutil.rmtree(self.directory / name)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()


@pytest.fixture(scope="module", params=LOG_FORMATS)
def victims(request: pytest.FixtureRequest) -> Iterator[Victims]:
    with folder_in_memory() as directory:
        made = Victims(directory, request.param)
        yield made
        made.close()


@pytest.mark.parametrize("point", POINTS)
def test_law_3_a_replica_killed_at_any_point_comes_back(victims: Victims, point: str) -> None:
    victims.kill_and_check(point)


def test_law_3_a_replica_killed_at_any_visit_of_a_point_comes_back(victims: Victims) -> None:
    random = Random(1)
    visits = [(point, visit) for point, count in victims.visits.items() for visit in range(2, count + 1)]
    for point, visit in random.sample(visits, RANDOM_VISITS):
        victims.kill_and_check(f"{point}:{visit}")


def test_a_script_that_is_not_interrupted_ends_where_it_should(tmp_path: Path, log_format: LogFormatName) -> None:
    script = make_script(tmp_path, log_format)
    assert {name for name, _ in script.steps} >= {"write", "abandon", "rewind", "copy", "drop", "install", "restart"}
    check_whole(script, tmp_path)


def check_whole(script: Script, directory: Path) -> None:
    bench = Bench(config_of(directory / "a", script.log_format))
    check(script, bench, len(script.steps) - 1, directory / "models")
    bench.close()


# ------------------------------------------------------------------------------------------- the points


def test_an_unknown_point_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"log\.append\.after_write"):
        failpoints.arm("log.append.after_wrote")
    for bad in ("log.sync.after:0", "log.sync.after:x", "log.sync.after:-1"):
        with pytest.raises(ConfigurationError, match="visit"):
            failpoints.arm(bad)
    failpoints.hit("log.sync.after")  # nothing is armed


def test_every_point_that_is_visited_is_listed_and_the_other_way_round() -> None:
    package = Path(failpoints.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    for point in POINTS:
        assert f'hit("{point}")' in source, point
    assert source.count('hit("') == sum(source.count(f'hit("{point}")') for point in POINTS)
    assert len(POINTS) >= 15
