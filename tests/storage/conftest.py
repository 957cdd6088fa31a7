"""Fixtures that run each test of the stores' contract once for every log format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.replicas import Replicas
from workbench.config import LOG_FORMATS, LogFormatName


@pytest.fixture(params=LOG_FORMATS)
def log_format(request: pytest.FixtureRequest) -> LogFormatName:
    name: LogFormatName = request.param
    return name


@pytest.fixture
def replicas(tmp_path: Path, log_format: LogFormatName) -> Iterator[Replicas]:
    made = Replicas(tmp_path, log_format)
    yield made
    made.close()
