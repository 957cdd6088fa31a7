"""The scenarios of `scenarios/*.txt`: what each command gives is what stands below it.

`REWRITE_SCENARIOS=1 python -m pytest tests/protocol/test_scenarios.py` writes the outputs anew after a change that is
meant; look at the difference before you keep it. The claims in a scenario (`expect`) must hold then, too.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.protocol.scenario_language import INDENT, ScenarioError, replay

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.txt"))
WORDS_OF_THE_SUBJECT = ("split vote", "PreVote", "lease", "histories", "snapshot", "members", "retry", "session")


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_gives_what_stands_in_it(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    try:
        now = replay(written, path.name)
    except ScenarioError as error:
        pytest.fail(str(error), pytrace=False)
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(now, encoding="utf-8")
        return
    if now != written:
        difference = difflib.unified_diff(
            written.splitlines(),
            now.splitlines(),
            f"{path.name}, as written",
            f"{path.name}, as it is now",
            lineterm="",
        )
        pytest.fail("\n".join([*difference, "if this is meant: REWRITE_SCENARIOS=1"]), pytrace=False)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_says_first_what_it_shows_and_claims_something(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    title, blank, *heading = lines[: lines.index("")]
    assert title.startswith("# ")
    assert title.endswith(".")
    assert blank == "#"
    assert len(" ".join(heading)) > 150, "why it matters"
    assert any(line.startswith("expect ") for line in lines)


def test_the_readme_lists_all_scenarios_by_their_titles() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in SCENARIOS:
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").removesuffix(".")
        assert f"[{title}]({path.name})" in listed, path.name
    for words in WORDS_OF_THE_SUBJECT:
        assert words in listed


def test_a_trace_that_differs_is_noticed_and_written_anew() -> None:
    text = "# One replica.\n\ncluster 1\n    something else\nshow\nexpect leader replica-1\n"
    now = replay(text)
    assert "something else" not in now
    assert f"{INDENT}replica-1  leader     term 1  committed 1   1.1" in now.splitlines()
    assert replay(now) == now


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("dance replica-1", "no such command"),
        ("expect replica-1 dances", "no such claim"),
        ("expect leader replica-2", "it is replica-1"),
        ("write replica-1 x=1 as me", "written c1/1"),
        ("deliver replica-1 -> replica-2", "no such message is on its way"),
        ("deliver replica-1", "a link is written"),
        ("wait until replica-2 leads", "does not lead within ten seconds"),
        ("cluster 3 size=4", "no such option of a cluster"),
    ],
)
def test_a_command_that_is_none_and_a_claim_that_does_not_hold_are_one_line_with_their_place(
    line: str, complaint: str
) -> None:
    with pytest.raises(ScenarioError, match=complaint) as raised:
        replay(f"cluster 3\nisolate replica-3\n{line}\n", "file.txt")
    assert str(raised.value).startswith(f"file.txt:3: {line}: ")
    assert "\n" not in str(raised.value)
