"""Fixtures that run a test once for every log format, in folders that are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replica.memory import folder_in_memory
from workbench.config import LOG_FORMATS, LogFormatName


@pytest.fixture(params=LOG_FORMATS)
def log_format(request: pytest.FixtureRequest) -> LogFormatName:
    name: LogFormatName = request.param
    return name


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as path:
        yield path
