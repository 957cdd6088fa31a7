"""The timeline of a history in a real browser: all bars are there, keys go through them, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys

from tests.browser.chromium import console_errors
from workbench.charts.history_timeline import Fault, history_timeline
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


@pytest.mark.parametrize("in_a_frame", [False, True], ids=["page", "notebook"])
def test_the_timeline(browser: Chrome, tmp_path: Path, in_a_frame: bool) -> None:
    faults = [Fault("cut off replica-2", 1500, 5500), Fault("killed replica-1", 2500, 2500)]
    timeline = history_timeline(OPERATIONS, linearizability(OPERATIONS), faults)
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
    assert len(browser.find_elements("css selector", ".fault")) == 1
    assert len(browser.find_elements("css selector", ".end")) == 1
    lanes = [text.text for text in browser.find_elements("css selector", "text.name")]
    assert lanes == ["process 0", "process 1", "process 2"]
    bars[0].send_keys(Keys.ARROW_RIGHT)
    details = browser.find_element("id", "details")
    assert "process 0 wrote x" in details.text
    for key, words in ((Keys.ARROW_RIGHT, "process 1 wrote"), ("c", "(operation 3)"), (Keys.ARROW_UP, "operation 0")):
        browser.switch_to.active_element.send_keys(key)
        assert words in details.text
    browser.find_element("id", "scale").click()
    browser.find_element("id", "in").click()
    assert len(browser.find_elements("css selector", ".op")) == 4
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert fetched == []
    assert console_errors(browser) == []
