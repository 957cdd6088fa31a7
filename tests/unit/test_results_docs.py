"""docs/results.md tells what the code does: its tables are held against schema, files and columns."""

import json
import re
from pathlib import Path

import pandas as pd

from tests.unit.histories import history, read, write
from tests.unit.synthetic_accidental import accidental_failover_run
from tests.unit.synthetic_failover import failover_run
from tests.unit.synthetic_followers import follower_crash_run, new_follower_run
from tests.unit.synthetic_log_formats import log_formats_run
from tests.unit.synthetic_runs import stale_reads_run
from tests.unit.synthetic_scale import scale_run
from tests.unit.synthetic_sessions import session_guarantees_run
from tests.unit.synthetic_simulator import real_simulator_run, simulator_run
from tests.unit.synthetic_split_brain import split_brain_run
from tests.unit.synthetic_trade_off import trade_off_run
from workbench.checkers import session_guarantees, staleness
from workbench.experiments.registry import experiment, experiment_names
from workbench.metrics import lag, lag_summary, latency_summary, rate_summary
from workbench.operation_rows import markdown_table
from workbench.results import RunFolder

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
EXAMPLES = PROJECT / "data" / "examples"


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text):
    """Names in the first column of the tables of `text`; `_p90` is short for the last whole name's part before `_`."""
    names, whole = [], ""
    for line in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", line):
            if name.startswith("_"):
                names.append(re.sub(r"_(mean|p50)$", "", whole) + name)
            else:
                whole = name
                names.append(name)
    return names


def test_the_table_of_operations_is_the_schema():
    shown = re.search(r"<!-- operations:.*?-->\n(.*?)<!-- end of operations -->", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == markdown_table(), "replace it by what workbench.operation_rows.markdown_table() returns"


def test_the_checks_of_every_experiment_are_listed():
    rows = re.findall(
        r"^\| `(\w+)` \| (`convergence`.*?) \| ?(.*?) ?\|$", section("Checks that must hold"), re.MULTILINE
    )
    listed = {
        name: (re.findall(r"`(\w+)`", required), re.findall(r"`(\w+)`", others)) for name, required, others in rows
    }
    judging = [name for name in experiment_names() if experiment(name).required_checks]
    assert set(listed) == set(judging)
    for name, (required, others) in listed.items():
        assert tuple(required) == experiment(name).required_checks
        assert set(RunFolder.open(EXAMPLES / name).checks) <= {*required, *others}


def test_every_field_of_run_json_is_explained(tmp_path):
    run = RunFolder.create(tmp_path, experiment="any").finish(summary=pd.DataFrame({"cell": ["a"]}))
    fields = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert first_cells(section("`run.json`")) == list(fields)
    assert set(fields["machine"]) <= set(re.findall(r"`(\w+)`", section("`run.json`")))


def test_every_file_is_explained(tmp_path):
    writer = RunFolder.create(tmp_path, experiment="any")
    _ = writer.rollback_directory
    writer.finish(tables={"lag": pd.DataFrame({"a": [1]})})
    present = {path.name + "/" * path.is_dir() for path in writer.path.iterdir()}
    explained = {name.replace("tables/<name>.parquet", "tables/") for name in first_cells(PAGE.split("\n## ")[0])}
    assert explained == present


def test_every_column_of_checkers_and_metrics_is_explained():
    operations = history(write("x", 1, 0, 1), read("x", 1, 2, 3))
    samples = pd.DataFrame({"time_ns": [0], "replica": ["r1"], "last": [1], "durable": [1], "applied": [1]})
    tables = [
        staleness(operations).summary(),
        session_guarantees(operations).summary(),
        latency_summary(operations),
        rate_summary(operations),
    ]
    columns = {name for table in [*tables, lag_summary(lag(samples))] for name in table.columns}
    intervals = {name for name in columns if name.removesuffix("_low").removesuffix("_high") in columns - {name}}
    keys = {"kind", "replica", "level", "samples"}
    assert set(first_cells(section("`summary.csv`"))) == columns - intervals - keys


def test_the_parts_of_a_verdict_and_of_the_json_are_explained(tmp_path):
    run = RunFolder.create(tmp_path, experiment="any").finish()
    assert first_cells(section("`verdicts.json`")) == ["verdicts", "checks", "invariants"]
    named = re.findall(r"`(\w+)`", section("The JSON of a run"))
    assert set(run.to_json()) <= set(named)


def test_what_is_explained_of_single_experiments_is_in_their_summaries(tmp_path):
    runs = (
        stale_reads_run,
        session_guarantees_run,
        new_follower_run,
        follower_crash_run,
        failover_run,
        split_brain_run,
        trade_off_run,
        accidental_failover_run,
        simulator_run,
        scale_run,
        real_simulator_run,
    )
    present = {column for run in runs for column in run(tmp_path).summary.columns}
    formats = log_formats_run(tmp_path)
    present |= {column for name in formats.tables for column in formats.table(name)} | set(formats.summary.columns)
    explained = {name for name in first_cells(section("Columns of single experiments")) if "..." not in name}
    assert explained <= present
    matrices = {column for name in ("costs", "unsafe", "engines") for column in formats.table(name)}
    assert matrices <= explained, "explain these columns of log_formats"
