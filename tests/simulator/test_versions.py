"""One seed tells one story on every version of Python: whatever runs these tests comes to the hashes that stand here.

They were written down on Python 3.11.7, and found again on 3.13.0. A change of the protocol or of the simulator changes
the stories: `python -m tests.simulator.test_versions` prints the hashes as they are then, to be written down when two
versions agree on them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from workbench.simulator.run import simulate

FILE = Path(__file__).with_name("hashes.json")
STORIES = (("memory", 3), ("memory", 4), ("statement", 7), ("logical", 3), ("wal", 3))


@pytest.mark.parametrize(("log_format", "seed"), STORIES)
def test_the_story_is_the_one_that_was_written_down(log_format: str, seed: int) -> None:
    assert simulate(seed, log_format=log_format).trace_hash == json.loads(FILE.read_text())[f"{log_format} {seed}"]


if __name__ == "__main__":
    found = {f"{log_format} {seed}": simulate(seed, log_format=log_format).trace_hash for log_format, seed in STORIES}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
