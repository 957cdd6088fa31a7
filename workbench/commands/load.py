"""`workbench load`: a SQL script through a leader, one transaction after the other, and what the replicas hold then.

The script is read to its end before anything is started, so that a mistake in its last line costs nothing. A
statement that SQLite or the workbench refuses ends the replay with its file and line.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_broker, add_json, nearest, whole_number
from workbench.config import LOG_FORMATS, AckPolicy, ClusterConfig
from workbench.errors import ConfigurationError, DefiniteError, IndefiniteError, WorkbenchError

if TYPE_CHECKING:
    from workbench.cluster.cluster import ConvergenceReport
    from workbench.commands.terminal import Tell
    from workbench.inspection.divergence import Divergence
    from workbench.workloads.sql_script import ScriptStatement, ScriptTransaction

_CONVERGENCE_TIMEOUT_S = 60.0
_FOREIGN_KEYS_OFF = re.compile(r"PRAGMA\s+foreign_keys\s*=\s*(OFF|0|NO|FALSE)", re.IGNORECASE)


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE.sql", help="the script: UTF-8, statements end with semicolons")
    parser.add_argument("--log-format", default="logical", metavar="F", help="statement, wal or logical (default)")
    parser.add_argument(
        "--followers", type=whole_number(0, 15), default=2, metavar="N", help="followers of the leader (default: 2)"
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
        ack=AckPolicy.parse(arguments.ack),
        broker=arguments.broker,
        directory=_new_directory(arguments.directory),
    )
    from workbench.commands.running import run_to_end
    from workbench.commands.terminal import print_json, progress
    from workbench.workloads.sql_script import check_script

    transactions, statements = check_script(arguments.file)
    if not statements:
        raise ConfigurationError(f"{arguments.file} holds no statement", hint="a statement ends with a semicolon")
    with progress(arguments.file.name) as tell:
        result = run_to_end(_replay(arguments.file, config, transactions, tell))
    if arguments.json:
        print_json(_document(arguments.file, config, result))
    else:
        _print(arguments.file, config, result)
    if result.convergence.ok:
        return 0
    return 1 if result.convergence.digests else 3


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


async def _replay(path: Path, config: ClusterConfig, transactions: int, tell: Tell) -> _Result:
    from workbench.cluster.cluster import Cluster, ConvergenceReport
    from workbench.workloads.sql_script import read_script

    tell(0.0, "starting replicas")
    async with Cluster(config) as cluster:
        broker = {"name": cluster.broker.name, "version": cluster.broker.version}
        waiting = ConvergenceReport(ok=False, reason="", digests={}, positions={})
        result = _Result(broker=broker, convergence=waiting)
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
        result.convergence = await cluster.converged(timeout_s=_CONVERGENCE_TIMEOUT_S)
        if not result.convergence.ok and result.convergence.digests:
            from workbench.inspection.locating import locate

            tell(transactions / (transactions + 1), "locating what differs")
            result.divergence = await locate(cluster, result.convergence)
        return result


def _is_noise(statement: ScriptStatement) -> bool:
    """What every dump of the sqlite3 shell begins with. Clients may set no pragmas, and this one is off anyway."""
    return _FOREIGN_KEYS_OFF.fullmatch(statement.sql) is not None


def _placed(error: WorkbenchError, path: Path, transaction: ScriptTransaction, done: int) -> WorkbenchError:
    """The same error with its place in the script, and how far the script had come."""
    where = "in the transaction that begins here: " if len(transaction.statements) > 1 else ""
    before = "1 statement" if done == 1 else f"{done:,} statements"
    hint = error.hint or f"{before} before it took effect"
    return type(error)(f"{path}:{transaction.line}: {where}{error.message}", hint=hint)


def _document(path: Path, config: ClusterConfig, result: _Result) -> dict[str, Any]:
    from workbench.commands.divergence_text import divergence_document

    report = result.convergence
    return {
        "file": str(path),
        "log_format": config.log_format,
        "followers": config.followers,
        "ack": str(config.ack),
        "directory": str(config.directory) if config.directory else None,
        "broker": result.broker,
        "statements": result.statements,
        "transactions": result.transactions,
        "entries": len(result.positions),
        "rows_changed": result.changes,
        "skipped": result.skipped,
        "seconds": round(result.seconds, 6),
        "converged": report.ok if report.digests else None,
        "reason": report.reason,
        "divergence": divergence_document(result.divergence) if result.divergence else None,
        "positions": {name: {"term": at.term, "index": at.index} for name, at in report.positions.items()},
        "digests": {name: dict(tables) for name, tables in report.digests.items()},
    }


def _print(path: Path, config: ClusterConfig, result: _Result) -> None:
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
    if not report.digests:
        screen.print(plain(f"unknown: the replicas could not be compared: {report.reason}"), soft_wrap=True)
        return
    names = list(report.digests)
    table = make_table("Digest of each table", [("table", "left"), *((name, "left") for name in names)])
    for name in sorted({name for tables in report.digests.values() for name in tables}):
        table.add_row(plain(name), *(report.digests[replica].get(name, "absent")[:12] for replica in names))
    screen.print(table)
    equal = f"all {len(names)} replicas hold the same rows"
    screen.print(plain(f"converged: {equal}" if report.ok else f"DIVERGED: {report.reason}"), soft_wrap=True)
    if result.divergence is not None:
        from workbench.commands.divergence_text import print_divergence

        print_divergence(screen, result.divergence)
