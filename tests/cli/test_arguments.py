"""A user's mistake is one line with what to do about it, exit code 2, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
OPTIONS_OF_RUN = "--broker, --help, --json, --output, --profile, --seed, --set, --world"

MISTAKES = {
    "rnu": "error: unknown command 'rnu' (did you mean 'run'? commands: " + ", ".join(COMMANDS) + ")",
    "--verison": "error: unknown option '--verison' (commands: " + ", ".join(COMMANDS) + ")",
    "run": "error: workbench run: the following arguments are required: NAME (see `workbench run --help`)",
    "run stale_reads extra": "error: workbench run takes no argument 'extra' (see `workbench run --help`)",
    "run stale_reads --sed 3": "error: workbench run has no option '--sed' (did you mean '--seed'? options: "
    f"{OPTIONS_OF_RUN})",
    "run stale_reads --see 3": "error: workbench run has no option '--see' (did you mean '--seed'? options: "
    f"{OPTIONS_OF_RUN})",
    "run stale_reads --seed x": "error: workbench run: argument --seed: 'x' is not a whole number "
    "(see `workbench run --help`)",
    "run stale_reads --seed -1": "error: workbench run: argument --seed: -1 is out of range, it must be from 0 to "
    "9223372036854775807 (see `workbench run --help`)",
    "run stale_reads --set followers": "error: cannot read 'followers' (write name=value, as in followers=2)",
    "run stale_reads --set followers=99": "error: followers is 99 (it must be from 1 to 7)",
    "run stale_reads --world x": "error: unknown world 'x' (worlds: real, simulated)",
    "run log_formats --world simulated": "error: log_formats cannot run in the simulated world (only in the real)",
    "run stale_reads --profile qick": "error: unknown profile 'qick' (did you mean 'quick'? profiles: ci, quick, full)",
    "runs show": "error: unknown action 'show' (actions: list, export, prune)",
    "runs prune": "error: prune needs --keep N (workbench runs prune --keep 10 keeps the newest ten)",
    "runs list --keep 3": "error: --keep goes with prune (workbench runs prune --keep 10)",
    "report nowhere": "error: nowhere is not a run folder: there is no such folder (`workbench runs list` shows them)",
    "load none.sql": "error: cannot read none.sql: No such file or directory",
    "load a.sql --log-format wall": "error: unknown log format 'wall' (did you mean 'wal'? log formats: statement, "
    "wal, logical, mixed)",
    "load a.sql --ack sometimes": "error: unknown ack policy 'sometimes' (async, semi_sync:K, quorum or sync, then "
    "/received, /durable or /applied)",
    "load a.sql --ack semi_sync:3": "error: ack policy semi_sync:3 with 2 followers (it could never be met; add "
    "followers)",
    "load a.sql --followers 16": "error: workbench load: argument --followers: 16 is out of range, it must be from 0 "
    "to 15 (see `workbench load --help`)",
    "load a.sql --directory /dev/null": "error: the directory /dev/null cannot be used: Not a directory",
    "explain": "error: workbench explain: the following arguments are required: SQL (see `workbench explain --help`)",
    "log": "error: workbench log: the following arguments are required: ACTION, DIRECTORY (see `workbench log --help`)",
    "log shwo x": "error: unknown action 'shwo' (did you mean 'show'? actions: show)",
    "log show x --limit 0": "error: workbench log: argument --limit: 0 is out of range, it must be from 1 to "
    "9223372036854775807 (see `workbench log --help`)",
    "lab --port 0": "error: workbench lab: argument --port: 0 is out of range, it must be from 1 to 65535 "
    "(see `workbench lab --help`)",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(call: Callable, line: str) -> None:
    called = call(*line.split())
    assert called.err == MISTAKES[line] + "\n"
    assert called.out == ""
    assert called.code == 2


def test_an_unknown_experiment_names_the_nearest(call: Callable) -> None:
    called = call("run", "stale_read")
    assert called.err.startswith("error: unknown experiment 'stale_read' (did you mean 'stale_reads'? experiments: ")
    assert called.err.count("\n") == 1
    assert called.code == 2


def test_an_unknown_parameter_names_the_nearest(call: Callable) -> None:
    called = call("run", "stale_reads", "--set", "folowers=1")
    assert "stale_reads has no parameter 'folowers' (did you mean 'followers'?" in called.err
    assert called.code == 2


def test_with_json_an_error_is_the_one_document(call: Callable) -> None:
    called = call("run", "stale_reads", "--set", "followers=99", "--json")
    assert json.loads(called.out) == {
        "error": "followers is 99",
        "hint": "it must be from 1 to 7",
        "kind": "ConfigurationError",
    }
    assert called.code == 2


def test_a_broker_that_is_down_is_one_line(call: Callable) -> None:
    called = call("run", "stale_reads", "--broker", "mqtt://127.0.0.1:1")
    assert called.err.splitlines()[-1].startswith("error: cannot reach a broker at 127.0.0.1:1")
    assert "Traceback" not in called.err
    assert called.code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(call: Callable, name: str) -> None:
    called = call(name, "--help")
    text = " ".join(called.out.split())
    assert COMMANDS[name].sentence in text
    assert f"example: {COMMANDS[name].example}" in text
    assert (called.code, called.err) == (0, "")
    assert call("help", name).out == called.out


def test_help_lists_every_command(call: Callable) -> None:
    text = call("--help").out
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []


def test_alone_it_says_what_to_do_next(call: Callable) -> None:
    called = call()
    assert "workbench demo" in called.out
    assert "workbench --help" in called.out
    assert called.code == 0


def test_experiments_lists_and_describes(call: Callable) -> None:
    everything = json.loads(call("experiments", "--json").out)
    assert {"write_latency", "stale_reads", "log_formats"} <= {one["name"] for one in everything}
    one = json.loads(call("experiments", "stale_reads", "--json").out)
    assert one["question"] in call("experiments").out
    shown = call("experiments", "stale_reads").out
    assert [parameter["name"] for parameter in one["parameters"] if parameter["name"] not in shown] == []


def test_runs_says_what_to_do_when_there_are_none(call: Callable) -> None:
    assert call("runs").out == "no runs in data/runs yet; `workbench demo` makes three\n"
    assert json.loads(call("runs", "--json").out) == []


def test_a_failing_program_is_not_an_invalid_claim(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.commands import runs

    def fail(arguments: object) -> int:
        raise ZeroDivisionError("our own bug")

    monkeypatch.setattr(runs, "run", fail)
    called = call("runs")
    assert "ZeroDivisionError: our own bug" in called.err
    assert called.code == 3


def test_a_reader_that_goes_away_is_no_error() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m workbench experiments stale_reads | true; echo ${{PIPESTATUS[0]}}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in ("0", str(128 + signal.SIGPIPE))
    assert done.stderr == ""


def test_no_colour_codes_reach_a_pipe(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in call("experiments", "stale_reads").out


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_tables_keep_to_the_width(call: Callable, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = call("experiments", "stale_reads").out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= int(columns)
