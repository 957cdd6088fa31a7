"""The report in a real browser: every chart is seen, nothing is fetched, it fits a phone and a desk, day and night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.browser.chromium import console_errors
from workbench.charts.report import write_report
from workbench.results import RunFolder

pytestmark = pytest.mark.needs("chromium", "chromedriver")

EXAMPLES = Path(__file__).resolve().parents[2] / "data" / "examples"
CONTRAST_MIN = 4.5
"""WCAG 2.2, success criterion 1.4.3, for text of ordinary size."""

IMAGES = "return [...document.images].map(i => ({width: i.naturalWidth, shown: i.clientWidth, alt: i.alt}))"

# What lies in a box that scrolls sideways by itself may be wider than the window.
TOO_WIDE = """
const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
return [...document.body.querySelectorAll('*')]
  .filter(e => e.getBoundingClientRect().right > window.innerWidth + 0.5 && !scrolls(e.parentElement))
  .map(e => `${e.tagName} ${e.className} ${e.getBoundingClientRect().right}`);
"""

# Text, its colour, and the nearest background behind it that is not transparent; once for each pair of colours.
COLOURS = """
const rgba = colour => colour.match(/[\\d.]+/g).map(Number);
const behind = e => { const c = rgba(getComputedStyle(e).backgroundColor);
  return c.length === 4 && c[3] === 0 ? (e.parentElement ? behind(e.parentElement) : [255, 255, 255]) : c; };
const seen = {};
for (const e of [document.body, ...document.body.querySelectorAll('*')]) {
  const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
  if (text || e === document.body) {
    const pair = [rgba(getComputedStyle(e).color), behind(e)];
    seen[JSON.stringify(pair)] ??= {text: `${e.tagName}: ${text.slice(0, 40)}`, ink: pair[0], paper: pair[1]};
  }
}
return Object.values(seen);
"""


@pytest.fixture
def page(browser: Chrome, tmp_path: Path) -> Chrome:
    runs = [RunFolder.open(path) for path in sorted(EXAMPLES.iterdir())]
    browser.get(write_report(runs, tmp_path / "report.html").as_uri())
    return browser


def test_the_page_is_whole_and_fits_day_and_night(page: Chrome) -> None:
    images = page.execute_script(IMAGES)
    assert len(images) >= 3
    assert all(image["width"] > 0 and image["shown"] > 0 and len(image["alt"]) > 40 for image in images), images
    for width_px in (400, 1200):
        resize(page, width_px)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width_px
        assert page.execute_script(TOO_WIDE) == []
    day, night = (luminance(judged_colours(page, scheme)[0]["paper"]) for scheme in ("light", "dark"))
    assert night < 0.05
    assert day > 0.8
    fetched = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert console_errors(page) == []


def resize(page: Chrome, width_px: int) -> None:
    """Not by the window, which cannot be narrower than 500 pixels."""
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return window.innerWidth") == width_px


def judged_colours(page: Chrome, scheme: str) -> list[dict[str, Any]]:
    """All pairs of ink and paper of the page, the body's first, after checking that each can be read."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    colours: list[dict[str, Any]] = page.execute_script(COLOURS)
    assert len(colours) >= 5
    poor = [pair for pair in colours if contrast(pair["ink"], pair["paper"]) < CONTRAST_MIN]
    assert poor == [], scheme
    return colours


def luminance(colour: list[float]) -> float:
    """Relative luminance of red, green and blue of 0 to 255, as WCAG 2.2 defines it."""
    parts = [part / 255 for part in colour[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of WCAG 2.2: 1 for equal colours, 21 for black on white."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
