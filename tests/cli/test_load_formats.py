"""`workbench load` of a script with everything in it leaves equal replicas in every log format.

WORKBENCH_SCRIPT_STATEMENTS makes the script longer, WORKBENCH_SCRIPT_SEED another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.big_script import make_script
from workbench.config import LOG_FORMATS

STATEMENTS = int(os.environ.get("WORKBENCH_SCRIPT_STATEMENTS", "700"))
SEED = int(os.environ.get("WORKBENCH_SCRIPT_SEED", "1"))
OTHER_TABLES = {"(schema)", "sqlite_sequence"}
"""What only SQLite has."""

pytestmark = pytest.mark.timeout(120 + STATEMENTS / 10)

digests: dict[str, dict[str, str]] = {}
"""Log format -> table -> digest: the formats agree with each other, too."""


@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_a_script_with_everything_in_it_converges(call: Callable, tmp_path: Path, log_format: str) -> None:
    (tmp_path / "big.sql").write_text("".join(make_script(STATEMENTS, SEED)), encoding="utf-8")
    called = call("load", "big.sql", "--log-format", log_format, "--json")
    document = json.loads(called.out)
    assert document["converged"] is True, document["reason"]
    assert called.code == 0
    assert document["statements"] >= STATEMENTS
    digests[log_format] = document["digests"]["replica-1"]
    assert {"customers", "orders", "lines", "files", "audit", "notes", "unkeyed"} < set(digests[log_format])
    assert digests[log_format] == next(iter(digests.values()))


def test_a_follower_on_another_engine_converges(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "plain.sql").write_text("".join(make_script(STATEMENTS, SEED, plain=True)), encoding="utf-8")
    called = call("load", "plain.sql", "--engine", "duckdb", "--followers", "1", "--json")
    document = json.loads(called.out)
    assert document["converged"] is True, document["reason"]
    assert called.code == 0
    sqlite, duckdb = document["digests"]["replica-1"], document["digests"]["replica-3"]
    assert {table for table, digest in duckdb.items() if digest.startswith("left out")} == OTHER_TABLES
    assert set(duckdb) == set(sqlite)
    assert all(duckdb[table] == sqlite[table] for table in set(duckdb) - OTHER_TABLES)
