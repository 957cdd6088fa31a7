"""The timeline of a history in a real browser: all bars are there, keys go through them, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys

from tests.browser.chromium import console_errors
from workbench.charts.history_timeline import history_timeline
from workbench.charts.spans import Span
from workbench.checkers.linearizability import linearizability
from workbench.history_operations import Operation

pytestmark = pytest.mark.needs("chromium", "chromedriver")

OPERATIONS = [
    Operation(number=0, process=0, f="write", key="x", value="</script>", outcome="ok", begin=0, end=1,
              invoked_ns=0, completed_ns=1000),
    Operation(number=1, process=1, f="write", key="x", value=2, outcome="ok", begin=2, end=3,
              invoked_ns=2000, completed_ns=3000),
    Operation(number=2, process=2, f="write", key="x", value=3, outcome="info", begin=4, invoked_ns=4000),
    Operation(number=3, process=0, f="read", key="x", value="</script>", outcome="ok", begin=5, end=6,
              invoked_ns=5000, completed_ns=6000, replica="replica-2"),
]  # fmt: skip


STATES = [
    Span("replica-1", "down", 0.0025, 0.006),
    Span("replica-2", "leads", 0, 0.001),
    Span("replica-2", "cut off", 0.0015, 0.0055),
]


@pytest.mark.parametrize("in_a_frame", [False, True], ids=["page", "notebook"])
def test_the_timeline(browser: Chrome, tmp_path: Path, in_a_frame: bool) -> None:
    timeline = history_timeline(OPERATIONS, linearizability(OPERATIONS), STATES)
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html>{timeline._repr_html_()}" if in_a_frame else timeline.html)
    browser.get(page.as_uri())
    if in_a_frame:
        browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    bars = browser.find_elements("css selector", ".op")
    assert len(bars) == 4
    assert all(bar.rect["width"] > 0 for bar in bars)
    assert len(browser.find_elements("css selector", ".op .mark")) == 3
    assert len(browser.find_elements("css selector", ".op.doubt")) == 1
    assert len(browser.find_elements("css selector", ".state")) == 3
    assert len(browser.find_elements("css selector", ".band")) == 2
    assert len(browser.find_elements("css selector", ".end")) == 1
    assert lanes(browser) == ["replica-1", "replica-2", "process 0", "process 1", "process 2"]
    bars[0].send_keys(Keys.ARROW_RIGHT)
    details = browser.find_element("id", "details")
    assert "process 0 wrote x" in details.text
    for key, words in ((Keys.ARROW_RIGHT, "process 1 wrote"), ("c", "(operation 3)"), (Keys.ARROW_UP, "operation 0")):
        browser.switch_to.active_element.send_keys(key)
        assert words in details.text
    for name in ("scale", "in", "out"):
        browser.find_element("id", name).click()
        assert len(browser.find_elements("css selector", ".op")) == 4
    assert nothing_was_fetched(browser)
    assert console_errors(browser) == []


def test_what_conflicts_is_listed_and_one_click_away(browser: Chrome, tmp_path: Path) -> None:
    browser.get(history_timeline(OPERATIONS, linearizability(OPERATIONS)).write(tmp_path / "page.html").as_uri())
    listed = browser.find_elements("css selector", "#conflict button")
    assert ["operation 0" in one.text for one in listed] == [True, False, False]
    listed[-1].click()
    assert "process 0 read x" in browser.find_element("id", "details").text
    assert browser.switch_to.active_element.get_attribute("data-number") == "3"
    ActionChains(browser).move_to_element(browser.find_elements("css selector", ".op")[1]).perform()
    assert "process 1 wrote x" in browser.find_element("id", "details").text


def test_a_long_history_has_an_overview_that_leads_to_its_conflict(browser: Chrome, tmp_path: Path) -> None:
    timeline = history_timeline(LONG, linearizability(LONG))
    browser.get(timeline.write(tmp_path / "page.html").as_uri())
    assert timeline.operations_shown == len(LONG) == len(browser.find_elements("css selector", ".op"))
    overview = browser.find_element("id", "overview")
    assert overview.is_displayed()
    assert is_on_the_screen(browser, len(LONG) - 1)  # the page opens where the failing prefix ends
    assert not is_on_the_screen(browser, 0)
    ActionChains(browser).move_to_element_with_offset(overview, 2 - overview.rect["width"] // 2, 0).click().perform()
    assert is_on_the_screen(browser, 0)
    wide = width_of(browser)
    for _ in range(8):
        browser.find_element("id", "out").click()
    assert width_of(browser) < wide / 4
    assert console_errors(browser) == []


LONG = [
    Operation(number=at, process=at % 4, f="write", key="x", value=at, outcome="ok", begin=2 * at, end=2 * at + 1,
              invoked_ns=2_000 * at, completed_ns=2_000 * at + 1_000)
    for at in range(1_200)
] + [
    Operation(number=1_200, process=0, f="read", key="x", value=7, outcome="ok", begin=2_400, end=2_401,
              invoked_ns=2_400_000, completed_ns=2_401_000),
]  # fmt: skip


def lanes(browser: Chrome) -> list[str]:
    return [text.text for text in browser.find_elements("css selector", "text.name")]


def is_on_the_screen(browser: Chrome, number: int) -> bool:
    holder = browser.find_element("id", "scroll").rect
    bar = browser.find_element("css selector", f".op[data-number='{number}']").rect
    return bool(holder["x"] <= bar["x"] < holder["x"] + holder["width"])


def width_of(browser: Chrome) -> int:
    return int(browser.execute_script("return document.getElementById('scroll').scrollWidth"))


def nothing_was_fetched(browser: Chrome) -> bool:
    return browser.execute_script("return performance.getEntriesByType('resource').length") == 0
