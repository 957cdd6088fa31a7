"""A vote is durable and whole, or refused."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from workbench.errors import ConfigurationError, LogCorruption
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.storage.files import LocalFiles
from workbench.storage.hard_state import HardState, load, save

STATE = HardState(term=7, voted_for="replica-2", replica="replica-1", cluster_id="6f1c")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "hard_state"
    assert load(files, path) is None
    save(files, path, STATE)
    assert load(files, path) == STATE
    later = HardState(term=8, replica="replica-1", cluster_id="6f1c")
    save(files, path, later)
    assert load(files, path) == later


def test_every_flipped_bit_and_every_cut_is_refused(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "hard_state"
    save(files, path, STATE)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(LogCorruption) as caught:
            load(files, path)
        assert caught.value.path == str(path)
        assert "move its directory away" in caught.value.hint


def test_the_state_of_a_newer_version_is_refused_clearly(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "hard_state"
    save(files, path, HardState(term=7, replica="a", cluster_id="c", version=2))
    with pytest.raises(ConfigurationError, match="version 2"):
        load(files, path)


@pytest.mark.parametrize("seed", range(10))
def test_law_1_a_saved_vote_survives_power_loss(tmp_path: Path, seed: int) -> None:
    files, path, random = FaultyFiles(), tmp_path / "hard_state", Random(seed)
    saved = 0
    for term in range(1, 40):
        files.power_after(random.randrange(8))
        try:
            save(files, path, HardState(term=term, voted_for="b", replica="a", cluster_id="c"))
            saved = term
        except PowerCut:
            pass
        files.power_loss(random)
        state = load(files, path)
        assert (state.term if state else 0) in {saved, term}
        saved = state.term if state else 0
    assert saved > 0
