"""The page about faults names every kind, where it can be had, and shows a schedule that loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from workbench.cluster.injector import _STRIKES
from workbench.faults.schedules import check_schedule, load_schedule
from workbench.faults.values import KINDS, World

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")


def test_every_kind_has_its_row_and_says_whether_real_clusters_have_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", PAGE, re.MULTILINE)
    assert sorted(kind for kind, _, _ in rows) == sorted(KINDS)
    real = {kind for kind, _, how in rows if "simulated worlds only" not in how}
    assert real == {kind for kind, value in KINDS.items() if "real" in value.worlds} == set(_STRIKES)


def test_the_schedule_on_the_page_fits_both_worlds(tmp_path: Path) -> None:
    (source,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "schedule.toml"
    path.write_text(source)
    for world in get_args(World):
        check_schedule(load_schedule(path), ("replica-1",), world)
