"""`workbench load`: a SQL script through a leader, one transaction after the other, and what the replicas hold then.

The script is read to its end before anything is started, so that a mistake in its last line costs nothing. A
statement that SQLite or the workbench refuses ends the replay with its file and line.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_broker, add_json, nearest, whole_number
from workbench.config import ENGINES, LOG_FORMATS, AckPolicy, ClusterConfig, EngineName
from workbench.errors import ConfigurationError, DefiniteError, IndefiniteError, WorkbenchError

if TYPE_CHECKING:
    from workbench.cluster.cluster import Cluster, ConvergenceReport
    from workbench.commands.terminal import Tell
    from workbench.inspection.divergence import Divergence
    from workbench.workloads.sql_script import ScriptStatement, ScriptTransaction

_CONVERGENCE_TIMEOUT_S = 60.0
_POLL_S = 0.1
_FOREIGN_KEYS_OFF = re.compile(r"PRAGMA\s+foreign_keys\s*=\s*(OFF|0|NO|FALSE)", re.IGNORECASE)


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE.sql", help="the script: UTF-8, statements end with semicolons")
    parser.add_argument(
        "--log-format", default="logical", metavar="F", help="statement, mixed, wal or logical (default)"
    )
    parser.add_argument(
        "--unsafe",
        default="allow",
        metavar="P",
        help="statements whose effect may differ between replicas, in the statement format: allow (default), refuse,"
        " pin or mixed",
    )
    parser.add_argument(
        "--followers", type=whole_number(0, 15), default=2, metavar="N", help="followers of the leader (default: 2)"
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="sqlite",
        metavar="E",
        help="duckdb adds one replica on that engine, which only follows (default: sqlite, none is added)",
    )
    parser.add_argument(
        "--ack", default="quorum", metavar="A", help="ack policy, such as async, quorum (default) or sync/durable"
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="keep the cluster's files there, as for `workbench log show`"
    )
    add_broker(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Replay; 0 when the replicas are equal at the end, 1 when they differ, 3 when that could not be found out."""
    if arguments.log_format not in LOG_FORMATS:
        hint = nearest(arguments.log_format, LOG_FORMATS, "log formats")
        raise ConfigurationError(f"unknown log format {arguments.log_format!r}", hint=hint)
    config = ClusterConfig(
        followers=arguments.followers,
        log_format=arguments.log_format,
        unsafe=arguments.unsafe,
        ack=AckPolicy.parse(arguments.ack),
        broker=arguments.broker,
        directory=_new_directory(arguments.directory),
    )
    from workbench.commands.running import run_to_end
    from workbench.commands.terminal import print_json, progress
    from workbench.storage.engines import check_engine
    from workbench.workloads.sql_script import check_script

    check_engine(arguments.engine)
    transactions, statements = check_script(arguments.file)
    if not statements:
        raise ConfigurationError(f"{arguments.file} holds no statement", hint="a statement ends with a semicolon")
    with progress(arguments.file.name) as tell:
        result = run_to_end(_replay(arguments.file, config, arguments.engine, transactions, tell))
    if arguments.json:
        print_json(_document(arguments.file, config, result))
    else:
        _print(arguments.file, config, result)
    return {True: 0, False: 1, None: 3}[_verdict(result)]


def _new_directory(path: Path | None) -> Path | None:
    """`path`, unless something lies there: another cluster's files cannot be gone on with."""
    try:
        if path is not None and path.exists() and any(path.iterdir()):
            raise ConfigurationError(f"{path} is not empty", hint="name a directory that does not exist yet")
    except OSError as error:
        raise ConfigurationError(f"the directory {path} cannot be used: {error.strerror}") from error
    return path


@dataclass(slots=True)
class _Result:
    broker: dict[str, Any]
    convergence: ConvergenceReport
    positions: set[tuple[int, int]] = field(default_factory=set)
    transactions: int = 0
    statements: int = 0
    changes: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    divergence: Divergence | None = None
    """Where the replicas differ, if they do."""
    engine: EngineName = "sqlite"
    observer: str = ""
    """The replica on another engine than SQLite, if one was asked for."""
    observer_failure: str = ""
    """Why it could not follow to the end."""


async def _replay(path: Path, config: ClusterConfig, engine: EngineName, transactions: int, tell: Tell) -> _Result:
    from workbench.cluster.cluster import Cluster, ConvergenceReport
    from workbench.workloads.sql_script import read_script

    tell(0.0, "starting replicas")
    async with Cluster(config) as cluster:
        broker = {"name": cluster.broker.name, "version": cluster.broker.version}
        waiting = ConvergenceReport(ok=False, reason="", digests={}, positions={})
        result = _Result(broker=broker, convergence=waiting, engine=engine)
        if engine != "sqlite":
            tell(0.0, f"starting a replica on {engine}")
            result.observer = (await cluster.add_follower(engine=engine, observer=True)).name
        session = await cluster.session(read_policy="leader")
        started = time.monotonic()
        for transaction in read_script(path):
            statements = [(statement.sql, ()) for statement in transaction.statements if not _is_noise(statement)]
            result.skipped += [
                f"{path}:{statement.line}" for statement in transaction.statements if _is_noise(statement)
            ]
            if not statements:
                continue
            try:
                written = await session.transaction(statements)
            except (DefiniteError, IndefiniteError) as error:
                raise _placed(error, path, transaction, result.statements) from error
            result.positions.add((written.position.term, written.position.index))
            result.transactions += 1
            result.statements += len(statements)
            result.changes += written.changes
            tell(result.transactions / (transactions + 1), f"{result.statements:,} statements")
        result.seconds = time.monotonic() - started
        tell(transactions / (transactions + 1), "comparing replicas")
        if result.observer and (failure := await _why_not_following(cluster, result.observer)):
            result.convergence = replace(waiting, reason=failure)
            result.observer_failure = failure
            return result
        result.convergence = await cluster.converged(timeout_s=_CONVERGENCE_TIMEOUT_S)
        if not result.convergence.ok and result.convergence.digests:
            from workbench.inspection.locating import locate

            tell(transactions / (transactions + 1), "locating what differs")
            result.divergence = await locate(cluster, result.convergence)
        return result


def _shown(digest: str) -> str:
    from workbench.storage.base import LEFT_OUT

    return "left out" if digest.startswith(LEFT_OUT) else digest[:12]


async def _why_not_following(cluster: Cluster, observer: str) -> str:
    """Wait until `observer` has applied everything: the empty string; or why it cannot."""
    from workbench.cluster.status import DOWN

    deadline = time.monotonic() + _CONVERGENCE_TIMEOUT_S
    while time.monotonic() < deadline:
        statuses = await cluster.replicas()
        status = next(one for one in statuses if one.name == observer)
        if status.role == DOWN:
            return status.reason
        if diverged := status.notes.get("diverged", ""):
            return f"{observer} has diverged: {diverged}"
        if status.applied >= max(one.last for one in statuses):
            break
        await asyncio.sleep(_POLL_S)
    return ""


def _is_noise(statement: ScriptStatement) -> bool:
    """What every dump of the sqlite3 shell begins with. Clients may set no pragmas, and this one is off anyway."""
    return _FOREIGN_KEYS_OFF.fullmatch(statement.sql) is not None


def _placed(error: WorkbenchError, path: Path, transaction: ScriptTransaction, done: int) -> WorkbenchError:
    """The same error with its place in the script, and how far the script had come."""
    where = "in the transaction that begins here: " if len(transaction.statements) > 1 else ""
    before = "1 statement" if done == 1 else f"{done:,} statements"
    hint = error.hint or f"{before} before it took effect"
    return type(error)(f"{path}:{transaction.line}: {where}{error.message}", hint=hint)


def _verdict(result: _Result) -> bool | None:
    """Whether all replicas hold the same rows; None when that could not be found out."""
    known = result.convergence.digests or result.observer_failure
    return result.convergence.ok if known else None


def _document(path: Path, config: ClusterConfig, result: _Result) -> dict[str, Any]:
    from workbench.cluster.status import left_out
    from workbench.commands.divergence_text import divergence_document

    report = result.convergence
    return {
        "file": str(path),
        "log_format": config.log_format,
        "unsafe": config.unsafe,
        "followers": config.followers,
        "engine": result.engine,
        "observer": result.observer or None,
        "left_out": left_out(report.digests.get(result.observer, {})),
        "ack": str(config.ack),
        "directory": str(config.directory) if config.directory else None,
        "broker": result.broker,
        "statements": result.statements,
        "transactions": result.transactions,
        "entries": len(result.positions),
        "rows_changed": result.changes,
        "skipped": result.skipped,
        "seconds": round(result.seconds, 6),
        "converged": _verdict(result),
        "reason": report.reason,
        "divergence": divergence_document(result.divergence) if result.divergence else None,
        "positions": {name: {"term": at.term, "index": at.index} for name, at in report.positions.items()},
        "digests": {name: dict(tables) for name, tables in report.digests.items()},
    }


def _print(path: Path, config: ClusterConfig, result: _Result) -> None:
    from workbench.cluster.status import left_out
    from workbench.commands.terminal import console, make_table, plain, shown_path

    screen = console()
    screen.print(
        plain(
            f"{path}: {result.statements:,} statements in {result.transactions:,} transactions, "
            f"{len(result.positions):,} entries, {result.seconds:.2f} s "
            f"({config.log_format} format, {config.ack}, {config.followers} followers, {result.broker['name']})"
        ),
        soft_wrap=True,
    )
    for place in result.skipped:
        screen.print(plain(f"skipped {place}: PRAGMA foreign_keys=OFF, which changes nothing here"), soft_wrap=True)
    if config.directory is not None:
        kept = shown_path(config.directory)
        screen.print(plain(f"the cluster's files are kept in {kept}: workbench log show {kept}"), soft_wrap=True)
    report = result.convergence
    if result.observer_failure:
        screen.print(plain(f"DIVERGED: {result.observer_failure}"), soft_wrap=True)
        return
    if not report.digests:
        screen.print(plain(f"unknown: the replicas could not be compared: {report.reason}"), soft_wrap=True)
        return
    names = list(report.digests)
    headings = ["table", *(f"{name} ({result.engine})" if name == result.observer else name for name in names)]
    table = make_table("Digest of each table", [(heading, "left") for heading in headings])
    for name in sorted({name for tables in report.digests.values() for name in tables}):
        table.add_row(plain(name), *(_shown(report.digests[replica].get(name, "absent")) for replica in names))
    screen.print(table)
    for name, why in left_out(report.digests.get(result.observer, {})).items():
        screen.print(plain(f"{result.observer} leaves out {name}: {why}"), soft_wrap=True)
    equal = f"all {len(names)} replicas hold the same rows"
    screen.print(plain(f"converged: {equal}" if report.ok else f"DIVERGED: {report.reason}"), soft_wrap=True)
    if result.divergence is not None:
        from workbench.commands.divergence_text import print_divergence

        print_divergence(screen, result.divergence)
