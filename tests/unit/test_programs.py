"""A missing program skips a test on a desk and is an error in CI."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PROBE = """
import pytest

@pytest.mark.needs("mosquitto")
def test_probe():
    pass
"""


@pytest.fixture
def probe(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr("tests.programs._NAMES", {"mosquitto": ("mosquitto-that-nobody-has",)})
    pytester.makeconftest("from tests.conftest import pytest_runtest_setup")
    pytester.makeini("[pytest]\nmarkers = needs(program): x\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(PROBE)
    return pytester


def test_missing_program_is_skipped_with_its_name(probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = probe.runpytest_inprocess("-ra")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs mosquitto, not installed here*"])


def test_missing_program_is_an_error_in_ci(probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = probe.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs mosquitto, not installed here, and CI=true*"])


def test_program_that_is_there_runs_the_test(probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.programs._NAMES", {"mosquitto": ("sh",)})
    monkeypatch.setenv("CI", "true")
    probe.runpytest_inprocess().assert_outcomes(passed=1)
