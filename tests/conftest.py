"""What all tests share: the `needs` marker, which tells a missing program from a broken test (see programs.py)."""

from __future__ import annotations

import os

import pytest

from tests.programs import missing_programs


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing; with `CI=true` that is an error of the machine."""
    for marker in item.iter_markers("needs"):
        if reason := missing_programs(marker.args):
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason}, and CI=true", pytrace=False)
            pytest.skip(reason)
