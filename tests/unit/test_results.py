"""Run folders: what goes in comes out, and nothing unfinished looks complete."""

import asyncio
import json
import math
from random import Random
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tests.unit.histories import history, read, write
from workbench import strict_json
from workbench.checkers import Verdict
from workbench.errors import ConfigurationError, HistoryError, RunError
from workbench.results import SCHEMA_VERSION, RunFolder, list_runs, prune_runs

OPERATIONS = history(write("x", 2**62 + 1, 0, 1), read("x", None, 2, 3))
SUMMARY = pd.DataFrame(
    {
        "cell": ["", "NA", "007"],
        "rate": [0.1 + 0.2, math.nan, math.inf],
        "reads": [1, 2, 3],
        "met": [True, False, True],
        "flag": ["", 'a,b\n"c"', "NaNs"],
        "worst": pd.array([None, 2**62 + 1, 3], dtype="Int64"),
    }
)
LAG = pd.DataFrame({"time_ns": [1, 2], "lag_ms": [0.5, 1.5]})


def create(root, **more: Any):
    given: dict[str, Any] = {"experiment": "stale_reads", "seed": 7, "parameters": {"followers": 2}} | more
    return RunFolder.create(root, **given)


IN_PARTS = Verdict("valid", "3 of 9", (), {"reads": 9}, {"any": "valid", "leader": "valid"})


def complete(root, **more):
    return create(root, **more).finish(
        operations=OPERATIONS,
        summary=SUMMARY,
        verdicts={"returns the past": IN_PARTS},
        checks={"staleness": Verdict.invalid("stale", [{"key": "x", "value": None}])},
        invariants={"lost_acknowledged_writes": 0, "converged": True, "rate": math.nan},
        tables={"lag": LAG},
    )


def test_round_trip(tmp_path):
    run = RunFolder.open(complete(tmp_path).path)
    assert (run.experiment, run.seed, run.status, run.parameters) == ("stale_reads", 7, "complete", {"followers": 2})
    assert_frame_equal(run.operations, OPERATIONS)
    assert_frame_equal(run.summary, SUMMARY, check_dtype=False)
    assert run.summary["rate"].tolist()[0] == 0.1 + 0.2
    assert_frame_equal(run.table("lag"), LAG)
    assert run.tables == ("lag",)
    assert run.verdicts == {"returns the past": IN_PARTS}
    assert run.checks["staleness"].witness == ({"key": "x", "value": None},)
    assert run.invariants == {"lost_acknowledged_writes": 0, "converged": True, "rate": None}
    assert run.charts_directory.is_dir()
    assert run.logs_directory.is_dir()
    assert not (run.path / "rollback").exists()
    assert not list(run.path.rglob("*.partial"))


def test_numbers_of_the_summary_come_back_exactly(tmp_path):
    random = Random(5)
    numbers = [random.uniform(0, 1) * 10.0 ** random.randint(-12, 12) for _ in range(500)]
    run = create(tmp_path).finish(summary=pd.DataFrame({"value": numbers}))
    assert run.summary["value"].tolist() == numbers


def test_run_json_tells_where_and_how(tmp_path):
    broker = {"name": "mosquitto", "version": "2.0", "settings": {"url": "mqtt://me:secret@localhost"}}
    with create(tmp_path, title="T", question="Q?", profile="quick") as writer:
        writer.note(broker=broker)
        writer.finish()
    text = (writer.path / "run.json").read_text()
    assert "secret" not in text
    info = json.loads(text)
    assert info["schema_version"] == SCHEMA_VERSION
    assert (info["title"], info["question"], info["profile"], info["world"]) == ("T", "Q?", "quick", "real")
    assert info["broker"]["name"] == "mosquitto"
    assert {"python", "pandas", "sqlite"} <= info["versions"].keys()
    assert info["machine"]["cores"] >= 1
    assert info["machine"]["memory_bytes"] > 0
    assert info["started_utc"] <= info["ended_utc"]
    with pytest.raises(ValueError, match=r"run\.json keeps status"):
        writer.note(status="complete")


def test_the_json_of_a_run_is_strict(tmp_path):
    run = complete(tmp_path)

    def refuse(text):
        raise AssertionError(text)

    data = json.loads(json.dumps(run.to_json(), allow_nan=False), parse_constant=refuse)
    named = ["run", "experiment", "seed", "conclusion", "verdicts", "parts", "checks", "required_checks"]
    assert list(data) == [*named, "invariants", "summary"]
    assert data["run"] == str(run.path)
    assert data["verdicts"] == {"returns the past": "valid"}
    assert data["parts"] == {"returns the past": {"any": "valid", "leader": "valid"}}
    assert data["checks"]["staleness"]["status"] == "invalid"
    first, second, third = data["summary"]
    assert first == {"cell": "", "rate": 0.1 + 0.2, "reads": 1, "met": True, "flag": "", "worst": None}
    assert (second["cell"], second["rate"], second["worst"]) == ("NA", None, 2**62 + 1)
    assert third["cell"] == "007"
    assert third["rate"] is None


def test_a_run_without_tables(tmp_path):
    run = create(tmp_path).finish()
    assert run.summary.empty
    assert run.operations.empty
    assert run.tables == ()
    assert run.to_json()["summary"] == []
    with pytest.raises(RunError, match=r"cannot read tables/lag\.parquet.*missing"):
        run.table("lag")


def test_a_folder_is_incomplete_until_the_end(tmp_path):
    writer = create(tmp_path)
    with pytest.raises(RunError, match=r"not complete but running.*still going on"):
        RunFolder.open(writer.path)
    with pytest.raises(HistoryError):
        writer.finish(operations=OPERATIONS.drop(columns="key"))
    with pytest.raises(RunError, match="not complete"):
        RunFolder.open(writer.path)
    unfinished = RunFolder.open(writer.path, unfinished=True)
    with pytest.raises(RunError, match=r"verdicts\.json.*missing"):
        _ = unfinished.verdicts


def test_complete_is_written_last(tmp_path, monkeypatch):
    """Whatever step of `finish` a crash cuts short, the folder does not look complete."""
    steps = []
    original = strict_json.put_in_place, strict_json.write_json

    def crash_at(step):
        def counted(function):
            def wrapper(*arguments):
                steps.append(arguments)
                if len(steps) > step:
                    raise KeyboardInterrupt
                return function(*arguments)

            return wrapper

        steps.clear()
        monkeypatch.setattr("workbench.results.put_in_place", counted(original[0]))
        monkeypatch.setattr("workbench.results.write_json", counted(original[1]))

    for step in range(1, 7):  # run.json at the start, operations, lag, summary, verdicts, run.json at the end
        crash_at(step)
        with pytest.raises((KeyboardInterrupt, RunError)):
            complete(tmp_path / str(step))
        assert not list_runs(tmp_path / str(step)) or list_runs(tmp_path / str(step))[0].status == "running"
        if step == 5:
            break
    crash_at(6)
    complete(tmp_path / "last")
    assert list_runs(tmp_path / "last")[0].status == "complete"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("no broker"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (asyncio.CancelledError(), "interrupted"),
    ],
)
def test_an_exception_ends_the_run(tmp_path, error, status):
    with pytest.raises(type(error)), create(tmp_path) as writer:
        raise error
    assert list_runs(tmp_path)[0].status == status
    with pytest.raises(RunError, match=f"not complete but {status}: {type(error).__name__}"):
        RunFolder.open(writer.path)
    assert RunFolder.open(writer.path, unfinished=True).info["ended_utc"]


def test_leaving_without_results_is_a_failure(tmp_path):
    with create(tmp_path):
        pass
    assert list_runs(tmp_path)[0].status == "failed"


def test_what_is_not_a_run_folder_is_refused_with_a_reason(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunError, match=r"it has no run\.json"):
        RunFolder.open(tmp_path)
    for content, why in (("{", "cannot be read"), ("[]", "another kind"), ('{"schema_version": 1}', "another kind")):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(RunError, match=why):
            RunFolder.open(tmp_path)
    newer = complete(tmp_path).path
    info = json.loads((newer / "run.json").read_text())
    (newer / "run.json").write_text(json.dumps(info | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(RunError, match=rf"schema version {SCHEMA_VERSION + 1}.*newer workbench"):
        RunFolder.open(newer)


def test_operations_of_schema_1_lack_names_of_writes(tmp_path):
    run = complete(tmp_path)
    old = OPERATIONS.drop(columns=["sequence", "identifier"])
    old.to_parquet(run.path / "operations.parquet", index=False)
    with pytest.raises(HistoryError, match="lacks the column sequence, identifier"):
        _ = RunFolder.open(run.path).operations
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"schema_version": 1}))
    assert_frame_equal(RunFolder.open(run.path).operations, OPERATIONS)


def test_damaged_files_are_named(tmp_path):
    run = complete(tmp_path)
    (run.path / "operations.parquet").write_bytes(b"PAR1")
    (run.path / "verdicts.json").write_text("{}")
    opened = RunFolder.open(run.path)
    with pytest.raises(RunError, match=r"operations\.parquet"):
        _ = opened.operations
    with pytest.raises(RunError, match=r"verdicts\.json"):
        _ = opened.checks


def test_bad_names(tmp_path):
    with pytest.raises(ConfigurationError, match="experiment name"):
        create(tmp_path, experiment="../escape")
    with pytest.raises(ValueError, match="table name"):
        create(tmp_path).finish(tables={"../lag": LAG})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the run folder"):
        create(tmp_path / "file")


def test_the_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_RUNS", raising=False)
    assert create(None).path.parent.resolve() == tmp_path / "data" / "runs"
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "elsewhere"))
    run = complete(None)
    assert run.path.parent == tmp_path / "elsewhere"
    assert RunFolder.open(run.path.name).path == run.path


def aged(root, day, **more):
    """A complete run of that day of January."""
    run = complete(root, **more)
    info = json.loads((run.path / "run.json").read_text()) | {"started_utc": f"2026-01-{day:02}T00:00:00+00:00"}
    (run.path / "run.json").write_text(json.dumps(info))
    return run.path


def test_list_is_newest_first(tmp_path):
    paths = [aged(tmp_path, day) for day in (2, 3, 1)]
    assert [listing.path for listing in list_runs(tmp_path)] == [paths[1], paths[0], paths[2]]
    assert list_runs(tmp_path / "absent") == []
    listing = list_runs(tmp_path)[0]
    assert (listing.experiment, listing.seed, listing.status) == ("stale_reads", 7, "complete")


def test_prune_keeps_the_newest(tmp_path):
    paths = [aged(tmp_path, day) for day in (2, 3, 1)]
    assert prune_runs(tmp_path, keep=2) == [paths[2]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths[:2])
    assert prune_runs(tmp_path, keep=2) == []
    with pytest.raises(ConfigurationError, match="keep is -1"):
        prune_runs(tmp_path, keep=-1)


def test_prune_touches_nothing_but_run_folders(tmp_path):
    outside = aged(tmp_path / "outside", 1)
    root = tmp_path / "runs"
    renamed = aged(root, 1)
    renamed.rename(root / renamed.name.replace("stale_reads", "my_favourite"))
    newer = aged(root, 1)
    info = json.loads((newer / "run.json").read_text())
    (newer / "run.json").write_text(json.dumps(info | {"schema_version": SCHEMA_VERSION + 1}))
    without_info = aged(root, 1)
    (without_info / "run.json").unlink()
    linked = root / outside.name  # all but the link itself is as in a run folder
    linked.symlink_to(outside)
    (root / "notes.txt").write_text("mine")
    (root / "mine").mkdir()
    (root / "mine" / "run.json").write_text((outside / "run.json").read_text())
    alive = create(root).path  # still running: its process is this one
    before = sorted(path.name for path in root.iterdir())
    doomed = aged(root, 1)
    (doomed / "link").symlink_to(outside)
    assert prune_runs(root, keep=0) == [doomed]
    assert sorted(path.name for path in root.iterdir()) == before
    assert alive.is_dir()
    assert (outside / "run.json").is_file()


def test_prune_removes_what_died_and_what_an_earlier_prune_left(tmp_path):
    dead = create(tmp_path).path
    info = json.loads((dead / "run.json").read_text())
    (dead / "run.json").write_text(json.dumps(info | {"process": 2**40}))
    left = aged(tmp_path, 1)
    left.rename(tmp_path / f".removed-{left.name}")
    (tmp_path / ".removed-mine").mkdir()
    assert prune_runs(tmp_path, keep=0) == [dead]
    assert [path.name for path in tmp_path.iterdir()] == [".removed-mine"]
