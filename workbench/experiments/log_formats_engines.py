"""The other matrix of `log_formats`: a follower that differs from its leader joins a running cluster, for each format.

A leader alone holds a table; a follower that reads in another order, has other pages, or runs another engine, joins as
an observer; then more is written, one statement of which depends on the order in which rows are read. Its rows are
compared with the leader's by digest. Where pages were let in that do not fit, SQLite's own `integrity_check` is asked
what has become of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from workbench.cluster.status import DOWN
from workbench.config import LogFormatName
from workbench.errors import ClusterError, ConfigurationError
from workbench.experiments.base import Context, Row
from workbench.experiments.cells import started_cluster
from workbench.experiments.log_formats_scenarios import Expected, Outcome
from workbench.experiments.log_formats_unsafe import verdict_of
from workbench.experiments.log_formats_workloads import filled
from workbench.storage.sqlite_connection import DATABASE_NAME

if TYPE_CHECKING:
    from workbench.client.session import Session
    from workbench.cluster.cluster import Cluster

FORMATS: tuple[LogFormatName, ...] = ("statement", "mixed", "logical", "wal")
OTHER_PAGE_SIZE = 8_192
_JOIN_S = 8.0
"""A follower that is not let in is told so at once; this bounds what else may keep it out."""
_SETTLE_S = 15.0
_POLL_S = 0.02
_ROWS = 200
_TABLES = ("products", "numbered")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How the follower differs: fields of its `ReplicaConfig`."""

    name: str
    words: str
    options: Mapping[str, Any] = field(default_factory=dict)


CHANGES: tuple[Change, ...] = (
    Change(name="plan", words="reads in another order", options={"reverse_unordered": True}),
    Change(name="page_size", words="another page size", options={"page_size": OTHER_PAGE_SIZE}),
    Change(
        name="page_size_unchecked",
        words="another page size, layout_check=false",
        options={"page_size": OTHER_PAGE_SIZE, "layout_check": False},
    ),
    Change(name="duckdb", words="another engine: DuckDB", options={"engine": "duckdb"}),
)

_NO_PAGES = Expected("converged", "neither statements nor rows say anything of pages")
_ROWS_FIT = Expected("converged", "rows are rows, in whatever order they were read")
ENGINE_EXPECTATIONS: Mapping[str, Mapping[LogFormatName, Expected]] = {
    "plan": {
        "statement": Expected("diverged", "a statement that leaves the order open gives other keys on the follower"),
        "mixed": _ROWS_FIT,
        "logical": _ROWS_FIT,
        "wal": Expected("converged", "the follower reads nothing to apply pages"),
    },
    "page_size": {
        "statement": _NO_PAGES,
        "mixed": _NO_PAGES,
        "logical": _NO_PAGES,
        "wal": Expected("refused", "pages fit only a file with pages of the same size"),
    },
    "page_size_unchecked": {
        "statement": _NO_PAGES,
        "mixed": _NO_PAGES,
        "logical": _NO_PAGES,
        "wal": Expected("corrupted", "pages are written where pages of another size belong"),
    },
    "duckdb": {
        "statement": Expected(
            "diverged", "the dialects differ: not every statement means the same, or anything, there"
        ),
        "mixed": Expected("diverged", "what is safe on SQLite still travels as a statement of its dialect"),
        "logical": Expected("converged", "rows are rows on any engine"),
        "wal": Expected("refused", "pages of SQLite mean nothing to another engine"),
    },
}
"""Change -> log format -> what is expected."""

_SETUP = (
    "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL, picture BLOB)",
    "CREATE TABLE numbered (id INTEGER PRIMARY KEY, name TEXT)",
    filled("products", "id, name, price, picture", "n, printf('product %d', n), n * 0.25, zeroblob(n % 50)", _ROWS),
)
_MORE = (
    "INSERT INTO products(name, price) VALUES (printf('product %s', 'new'), 9.75)",
    "UPDATE products SET price = price + 1 WHERE id % 10 = 0",
    "DELETE FROM products WHERE id % 25 = 0",
    "INSERT INTO numbered(name) SELECT name FROM products WHERE id <= 20",
)
"""Written once the follower has joined; the last statement leaves the order open."""
_LOOK = "SELECT name FROM numbered ORDER BY id DESC LIMIT 1"


async def measure_format(context: Context, log_format: LogFormatName) -> list[Row]:
    """One row a change."""
    rows: list[Row] = []
    async with started_cluster(context, f"engines-{log_format}", followers=0, log_format=log_format) as cluster:
        session = await cluster.session(read_policy="leader")
        for sql in _SETUP:
            await session.write(sql)
        for change in CHANGES:
            expected = ENGINE_EXPECTATIONS[change.name][log_format]
            outcome, said = await _observe(cluster, session, change)
            detail = said.replace(f"{cluster.directory}/", "")  # results say nothing of the machine's folders
            rows.append(
                {
                    "change": change.name,
                    "words": change.words,
                    "log_format": log_format,
                    "expected": expected.outcome,
                    "why": expected.why,
                    "outcome": outcome,
                    "verdict": verdict_of(outcome, expected, detail).status,
                    "detail": detail,
                }
            )
    return rows


async def _observe(cluster: Cluster, session: Session, change: Change) -> tuple[Outcome, str]:
    """What becomes of one follower, and the words for it."""
    if change.options.get("engine") == "duckdb" and importlib.util.find_spec("duckdb") is None:
        return "unknown", "the package duckdb is not installed (the extra duckdb of the workbench brings it)"
    name = change.name.replace("_", "-")
    try:
        await cluster.add_follower(name, observer=True, timeout_s=_JOIN_S, **change.options)
    except (ClusterError, ConfigurationError) as error:
        said = _said_to_have_diverged(cluster, name)
        return ("diverged", said) if said else ("refused", str(error))
    try:
        for sql in _MORE:
            await session.write(sql)
        return await _compare(cluster, session, name)
    finally:
        with contextlib.suppress(ClusterError):
            await cluster.remove_follower(name)


async def _compare(cluster: Cluster, session: Session, name: str) -> tuple[Outcome, str]:
    """Wait until it has applied everything, or cannot, and compare."""
    log_format = cluster.config.log_format
    reason = await _settled(cluster, name)
    if reason is None:
        return "unknown", f"{name} had not applied everything after {_SETTLE_S:g} s"
    if log_format == "wal" and (damage := await _damage(cluster, name)):
        return "corrupted", damage
    if reason:
        return "diverged", reason
    report = await cluster.converged(_SETTLE_S)
    if name not in report.digests:
        return "unknown", report.reason
    leader, follower = report.digests[cluster.leader], report.digests[name]
    differing = [table for table in _TABLES if leader.get(table) != follower.get(table)]
    if not differing:
        return "converged", "same rows"
    values = {one: str((await session.read(_LOOK, replica=one)).rows[0][0]) for one in (cluster.leader, name)}
    shown = ", ".join(f"{one}: {value}" for one, value in values.items())
    return "diverged", f"{' and '.join(differing)} differs; the name with the largest key is {shown}"


async def _settled(cluster: Cluster, name: str) -> str | None:
    """Why it could not apply what the leader has; empty when it has applied all of it; None when time is up."""
    deadline_s = asyncio.get_running_loop().time() + _SETTLE_S
    while asyncio.get_running_loop().time() < deadline_s:
        statuses = {status.name: status for status in await cluster.replicas()}
        status, last = statuses[name], max(one.last for one in statuses.values())
        if status.role == DOWN:
            return _said_to_have_diverged(cluster, name) or status.reason
        if said := status.notes.get("diverged", ""):
            return said
        if status.applied >= last:
            return ""
        await asyncio.sleep(_POLL_S)
    return None


def _said_to_have_diverged(cluster: Cluster, name: str) -> str:
    """What a replica that may have ended meanwhile wrote to its log about its divergence."""
    path = cluster.logs / f"{name}.log"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.findall(r"has diverged: (.*)", text)
    return str(found[0]) if found else ""


async def _damage(cluster: Cluster, name: str) -> str:
    """What SQLite says is wrong with a file made of pages, asked of a copy of it; empty for a sound one."""
    files = list((cluster.directory / "replicas" / name).rglob(DATABASE_NAME))
    said = await asyncio.to_thread(check_file, files[0]) if files else "ok"
    return "" if said == "ok" else said


def check_file(path: Path) -> str:
    """`ok`, or what is wrong with a database file, in one line."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / path.name
        shutil.copyfile(path, copy)
        try:
            connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                return " ".join(str(connection.execute("PRAGMA integrity_check(1)").fetchall()[0][0]).split())
            finally:
                connection.close()
        except apsw.Error as error:
            return " ".join(str(error).split())
