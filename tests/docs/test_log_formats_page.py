"""The page about log formats says what the code says: examples are printed anew, causes and policies compared."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import apsw
import pytest

from tests.docs.printed_examples import blocks, comparable, printed
from workbench.config import LOG_FORMATS, UNSAFE_POLICIES
from workbench.inspection.causes import examined
from workbench.log_formats.causes import REASONS, Cause

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "log-formats.md").read_text()
FILES = {name: text for kind, name, text in blocks(PAGE) if kind == "file"}
PRINTED = {command: text for kind, command, text in blocks(PAGE) if kind == "printed"}


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    lines = PAGE.partition(f"\n## {heading}\n")[2].splitlines()
    begins = next(place for place, line in enumerate(lines) if line.startswith("|"))
    table = list(takewhile(lambda line: line.startswith("|"), lines[begins:]))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.mark.parametrize("command", PRINTED)
def test_an_example_is_what_the_command_prints(command: str) -> None:
    shown = printed(PAGE, command)
    assert shown.strip(), "the command printed nothing"
    hint = "run .venv/bin/python -m tests.docs.printed_examples docs/log-formats.md"
    assert comparable(shown) == comparable(PRINTED[command]), hint


def test_the_examples_show_every_format() -> None:
    everything = " ".join(PRINTED.values())
    assert [name for name in (*LOG_FORMATS, *UNSAFE_POLICIES) if name not in everything] == []
    assert len(PRINTED) >= 6


def test_every_cause_stands_there_with_its_reason() -> None:
    assert [(row[0], row[2]) for row in rows_of("Unsafe statements")] == [(str(one), REASONS[one]) for one in Cause]


@pytest.mark.parametrize("row", rows_of("Unsafe statements"), ids=lambda row: row[0])
def test_the_example_of_a_cause_has_that_cause(row: list[str]) -> None:
    cause, example, _, pinned = row
    connection = apsw.Connection(":memory:")
    connection.execute(FILES["causes.sql"])
    certain, _ = examined(connection, example.strip("`"))
    found = {str(one.cause): one.pinnable for one in certain}
    assert cause in found
    assert pinned == ("yes" if found[cause] else "no")


def test_every_policy_and_format_stands_there() -> None:
    assert [row[0].strip("`") for row in rows_of("Policies of the statement format")] == list(UNSAFE_POLICIES)
    headings = re.search(r"\n\| \|(.+)\|\n", PAGE)
    assert headings is not None
    assert {cell.strip() for cell in headings[1].split("|")} == set(LOG_FORMATS)
