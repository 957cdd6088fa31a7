"""Which store holds a replica's data: SQLite's, or that of another engine, which is imported only where it is used."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from workbench.config import EngineName, ReplicaConfig
from workbench.errors import ConfigurationError
from workbench.storage.base import Store
from workbench.storage.files import Files
from workbench.storage.restoring import remove_database, restore_sqlite
from workbench.storage.snapshot_file import SnapshotFile
from workbench.storage.sqlite import open_store


def check_engine(engine: EngineName) -> None:
    """Raise `ConfigurationError` when the package that `engine` needs is not installed."""
    if engine != "sqlite" and find_spec(engine) is None:
        raise ConfigurationError(
            f"the package {engine} is not installed",
            hint=f"install the extra: pip install 'replication-workbench[{engine}]'",
        )


def open_configured_store(config: ReplicaConfig, directory: Path, files: Files) -> Store:
    """Open, or create, the database of the replica that `config` describes, in `directory`. Raises as `open_store`."""
    check_engine(config.engine)
    if config.engine == "duckdb":
        from workbench.storage.duckdb_store import open_duckdb_store

        return open_duckdb_store(
            directory,
            config.log_format,
            config.limits,
            files,
            page_size=config.page_size,
        )
    return open_store(
        directory,
        config.log_format,
        config.limits,
        page_size=config.page_size,
        unsafe=config.unsafe,
        layout_check=config.layout_check,
        reverse_unordered=config.reverse_unordered,
        files=files,
    )


def restore_configured_database(config: ReplicaConfig, directory: Path, files: Files, snapshot: SnapshotFile) -> None:
    """Make the database in `directory` that of `snapshot`, durably, as the replica's engine has it; no store is open.

    Raises `LogCorruption` for a damaged snapshot, `StorageError` for one that cannot be taken over.
    """
    files.make_directory(directory)
    remove_database(files, directory)
    if config.engine == "duckdb":
        from workbench.storage.duckdb_restore import restore_duckdb

        restore_duckdb(files, directory, snapshot, config.log_format, config.limits)
    else:
        restore_sqlite(files, directory, snapshot, config.page_size)
