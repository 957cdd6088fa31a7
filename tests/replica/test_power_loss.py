"""A replica whose machine loses its power at any operation comes back to what the laws allow, or says that it cannot.

The same story as in `test_failpoints.py`, on a disk that forgets what was not synced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.replica.bench import Bench, config_of
from tests.replica.memory import folder_in_memory
from tests.replica.script import Script, check, check_goes_on, make_script, play
from workbench.config import LOG_FORMATS
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut

CASES = 60


class Machine:
    """One log format's story, played again and again until the power fails. `steps`: operations of the whole story."""

    def __init__(self, directory: Path, script: Script) -> None:
        self.directory = directory
        self.script = script
        files = self.files()
        play(script, directory / "whole", files=files, begun=lambda _: None).close()
        self.steps = files.steps

    def files(self) -> FaultyFiles:
        return FaultyFiles(shares_main_file=self.script.log_format == "wal")

    def run(self, seed: int) -> None:
        """Cut the power once while the story is played, perhaps again while the replica recovers, and judge."""
        random = Random(seed)
        place = self.directory / str(seed)
        (place / "0").mkdir(parents=True)
        files, begun = self.files(), [-1]
        files.power_after(random.randrange(self.steps))
        with suppress(PowerCut):
            play(self.script, place / "0", files=files, begun=begun.append)
        number = 0
        files.power_loss_into(random, place / "0", place / "1")
        for _ in range(random.choice((0, 0, 1, 3))):
            number += 1
            files = self.files()
            files.power_after(random.randrange(1, 80))
            with suppress(PowerCut):
                Bench(config_of(place / str(number), self.script.log_format), files=files)
            files.power_loss_into(random, place / str(number), place / str(number + 1))
        bench = Bench(config_of(place / str(number + 1), self.script.log_format))
        check(self.script, bench, begun[-1], self.directory / "models")
        check_goes_on(bench)
        shutil.rmtree(place)


@pytest.fixture(scope="module", params=LOG_FORMATS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with folder_in_memory() as directory:
        yield Machine(directory, make_script(directory / "story", request.param))


@pytest.mark.parametrize("seed", range(CASES))
def test_law_3_power_loss_at_any_operation(machine: Machine, seed: int) -> None:
    machine.run(seed)
