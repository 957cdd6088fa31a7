"""`workbench load` says where replicas differ and why, and can leave the cluster's files for `workbench log show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console

from workbench.commands.divergence_text import print_divergence
from workbench.inspection.divergence import DivergedValue, Divergence

SCRIPT = "CREATE TABLE dice (id INTEGER PRIMARY KEY, x);\nINSERT INTO dice VALUES (1, 1), (2, random());\n"


def test_a_divergence_is_located(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "dice.sql").write_text(SCRIPT)
    called = call("load", "dice.sql", "--log-format", "statement", "--followers", "1", "--json")
    divergence = json.loads(called.out)["divergence"]
    (value,) = divergence["values"]
    assert (value["table"], value["key"], value["column"], value["cause"]) == ("dice", "id=2", "x", "random")
    assert (value["term"], value["index"]) == (1, 3)
    assert value["replica-1"] != value["replica-2"]
    assert divergence["summary"] == "1 row of dice differs since entry 1.3 (random)"
    assert called.code == 1


def test_a_divergence_is_printed(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "dice.sql").write_text(SCRIPT)
    shown = call("load", "dice.sql", "--log-format", "statement", "--followers", "1").out
    assert "Values that differ" in shown
    assert "entry 1.3: INSERT INTO dice VALUES (1, 1), (2, random())\n  random(): every replica draws" in shown


def test_nothing_is_located_where_nothing_differs(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "dice.sql").write_text(SCRIPT)
    called = call("load", "dice.sql", "--followers", "1", "--json")
    assert json.loads(called.out)["divergence"] is None


def test_the_files_can_be_kept_and_looked_at(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "dice.sql").write_text(SCRIPT)
    called = call("load", "dice.sql", "--followers", "1", "--directory", "kept")
    assert "the cluster's files are kept in kept: workbench log show kept" in called.out
    shown = call("log", "show", "kept", "--replica", "replica-2", "--json").out
    entries = [json.loads(line) for line in shown.splitlines()]
    assert [one["index"] for one in entries] == [1, 2, 3]
    assert [part["new"]["id"] for part in entries[2]["content"]] == [1, 2]
    again = call("load", "dice.sql", "--followers", "1", "--directory", "kept")
    assert again.err == "error: kept is not empty (name a directory that does not exist yet)\n"
    assert again.code == 2


def test_the_values_of_many_replicas_share_a_column() -> None:
    divergence = Divergence(
        reference="a",
        replicas=("a", "b", "c", "d", "e"),
        tables=(),
        values=(DivergedValue(table="t", key="id=1", column="x", values=dict(zip("abcde", "12111", strict=True))),),
        entries=1,
    )
    screen = Console(width=100, file=StringIO(), highlight=False)
    print_divergence(screen, divergence)
    assert isinstance(screen.file, StringIO)
    words = " ".join(screen.file.getvalue().split())
    assert "1 on a, c, d, e" in words
    assert "2 on b" in words
