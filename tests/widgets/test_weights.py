"""The sliders of `trade_off`: each move ranks a recorded run anew, in words and as a picture of fixed size."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.synthetic_split_brain import split_brain_run
from tests.unit.synthetic_trade_off import trade_off_run
from workbench.errors import ConfigurationError
from workbench.facade import Run
from workbench.widgets import WeightsPanel


def size_of(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


async def until_painted(panel: WeightsPanel) -> None:
    """Painting begins with the next turn of the loop, and once more when a slider was moved meanwhile."""
    await asyncio.sleep(0)
    while panel._painting is not None and not panel._painting.done():
        await asyncio.wait([panel._painting])
        await asyncio.sleep(0)
    assert not panel._is_due


async def test_a_slider_ranks_the_policies_anew(tmp_path: Path) -> None:
    panel = WeightsPanel(Run(trade_off_run(tmp_path)))
    first, told = bytes(panel.picture.value), panel.best.value
    for column in ("read_latency_from_send_ms_mean", "stale_rate_acknowledged", "leader_share"):
        panel.sliders[column].value = 0
    panel.sliders["lost_writes_per_failover"].value = 0
    await until_painted(panel)
    assert "async · any costs least" in panel.best.value
    assert panel.best.value != told
    assert bytes(panel.picture.value) != first
    assert size_of(bytes(panel.picture.value)) == size_of(first)
    assert "async · any" in panel.words.value


async def test_what_counts_as_stale_can_be_chosen(tmp_path: Path) -> None:
    panel = WeightsPanel(trade_off_run(tmp_path))
    assert panel.ranked[0].row["ack"] == "sync"
    panel.stale.value = panel.stale.options[1]
    await until_painted(panel)
    assert (panel.ranked[0].row["ack"], panel.ranked[0].row["read_policy"]) == ("semi_sync:1", "leader")
    assert "semi_sync:1 · leader costs least" in panel.best.value


def test_it_works_without_a_running_loop(tmp_path: Path) -> None:
    panel = WeightsPanel(trade_off_run(tmp_path))
    before = bytes(panel.picture.value)
    panel.sliders["write_latency_ms_p50"].value = 10
    assert bytes(panel.picture.value) != before


def test_only_a_run_with_policies_has_weights(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no policies to weigh"):
        WeightsPanel(split_brain_run(tmp_path))
