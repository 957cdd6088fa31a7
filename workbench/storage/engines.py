"""Which store holds a replica's data: SQLite's, or that of another engine, which is imported only where it is used."""

from __future__ import annotations

from pathlib import Path

from workbench.config import ReplicaConfig
from workbench.storage.base import Store
from workbench.storage.files import Files
from workbench.storage.sqlite import open_store


def open_configured_store(config: ReplicaConfig, directory: Path, files: Files) -> Store:
    """Open, or create, the database of the replica that `config` describes, in `directory`. Raises as `open_store`."""
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
