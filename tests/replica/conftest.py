"""Fixtures that run a test once for every log format."""

from __future__ import annotations

import pytest

from workbench.config import LOG_FORMATS, LogFormatName


@pytest.fixture(params=LOG_FORMATS)
def log_format(request: pytest.FixtureRequest) -> LogFormatName:
    name: LogFormatName = request.param
    return name
