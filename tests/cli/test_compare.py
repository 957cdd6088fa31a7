"""`workbench compare`: two run folders become a table of ratios; what cannot be compared is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.test_metrics_comparing import load
from workbench.results import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"


def run_in(root: Path, seed: int, scale: float = 1.0, *, count: int = 1_000, cell: str = "") -> str:
    operations = load(seed, scale, count=count).assign(cell=cell).astype({"cell": "str"})
    writer = RunFolder.create(root, experiment="write_latency", parameters={"warmup_s": 0.1})
    return str(writer.finish(operations=operations).path)


def test_ratios_with_intervals(call, tmp_path: Path) -> None:
    runs = (run_in(tmp_path, 1), run_in(tmp_path, 2, 2.0))
    called = call("compare", *runs, "--json")
    assert called.code == 0
    document = json.loads(called.out)
    assert document["runs"] == list(runs)
    median = next(row for row in document["figures"] if row["figure"] == "latency_ms_p50")
    assert (median["kind"], median["verdict"]) == ("write", "higher")
    assert median["ratio_low"] < median["ratio"] < median["ratio_high"]
    text = call("compare", *runs).out
    for words in ("write latency_ms_p50", "achieved_per_s", "95 % interval", "higher"):
        assert words in text


def test_shares_of_stale_reads_and_lost_writes(call) -> None:
    example = str(EXAMPLES / "split_brain")
    called = call("compare", example, example, "--json")
    figures = [row for row in json.loads(called.out)["figures"] if row["cell"] == "how=pause, fencing=false"]
    lost = next(row for row in figures if row["figure"] == "lost_rate")
    assert (called.code, lost["kind"], lost["verdict"]) == (0, "write", "no difference")
    assert lost["first"] == lost["second"] > 0
    assert lost["difference_low"] < lost["difference"] == 0 < lost["difference_high"]
    assert {"not_ok_rate", "stale_rate", "non_monotonic_rate"} <= {row["figure"] for row in figures}
    text = call("compare", example, example).out
    assert "write lost_rate" in text
    assert "unknown: read stale_rate_acknowledged, read stale_rate: " in text


def test_too_little_is_unknown(call, tmp_path: Path) -> None:
    runs = (run_in(tmp_path, 1, count=150), run_in(tmp_path, 2, count=150))
    called = call("compare", *runs, "--json")
    assert called.code == 3
    figures = json.loads(called.out)["figures"]
    assert {row["verdict"] for row in figures} == {"unknown"}
    assert figures[0]["ratio"] is None
    assert "at least 100 are needed" in call("compare", *runs).out


def test_mistakes_are_one_line(call, tmp_path: Path) -> None:
    one, other = run_in(tmp_path, 1, cell="a"), run_in(tmp_path, 2, cell="b")
    for arguments, words in (((one, other), "no cell"), ((one, str(tmp_path / "none")), "none"), ((one,), "required")):
        called = call("compare", *arguments)
        assert (called.code, called.out, called.err.count("\n")) == (2, "", 1)
        assert words in called.err
