"""A headless Chromium that a test drives, and that is gone after the test however the test ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException

from tests.browser.process_table import kill, naming
from tests.programs import find_program

_SWITCHES = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1280,1000",
)


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start one with a new profile below `folder`, which no other process may have in its command line."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium") or ""
    profile = folder / "chromium"
    for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=find_program("chromedriver"))
    try:
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            with contextlib.suppress(WebDriverException):
                driver.quit()
    finally:
        service.stop()
        kill(naming(str(profile)))


def console_errors(driver: webdriver.Chrome) -> list[str]:
    """What the page has complained about since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
