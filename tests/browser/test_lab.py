"""JupyterLab as a newcomer meets it: no questions, a form with a Run button, a result, and a clean end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.chromium import console_errors
from tests.browser.lab_server import END_S, LabServer, lab_server
from tests.browser.process_table import Process, descendants, naming, processes, until
from workbench.charts.drawing import alt_text, draw_png
from workbench.experiments.registry import experiment
from workbench.results import RunFolder

pytestmark = pytest.mark.needs("chromium", "chromedriver")

NOTEBOOK = "01_write_latency.ipynb"
EXPERIMENT = "write_latency"
PAGE_S = 40
RUN_S = 60
RUN_BUTTON = "//button[contains(@class, 'jupyter-button')][normalize-space()='Run'][not(@disabled)]"
PANEL = "//*[contains(@class, 'widget-vbox')][.//button[normalize-space()='Run']]"
DONE = f"{PANEL}//*[@role='status'][starts-with(., 'Done in')]"
ERROR = f"{PANEL}//*[@role='alert']"
PICTURE = f"{PANEL}//img"
VERDICT = f"{PANEL}//li[contains(., 'valid') or contains(., 'unknown')]"
INTERRUPTIONS = "//*[contains(@class, 'jp-Dialog') or contains(@class, 'Toastify__toast ')]"
"""Dialogs, and the notes in a corner that JupyterLab asks about news with."""
CLUSTER = ("workbench.replica", "workbench.client.load")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabServer]:
    with lab_server(tmp_path) as server:
        yield server


def test_a_panel_runs_and_a_restarted_kernel_leaves_nothing_behind(browser: Chrome, lab: LabServer) -> None:
    browser.get(lab.address(NOTEBOOK))
    run_cell(browser, "question = experiment(")
    run_cell(browser, "question.panel()")
    click(browser, RUN_BUTTON)
    wait_for_end(browser)
    (folder,) = (lab.project / "data" / "runs").iterdir()
    assert_result(browser, RunFolder.open(folder))
    assert texts(browser, INTERRUPTIONS) == []
    assert console_errors(browser) == []

    (kernel,) = lab.ask("kernels")
    (kernel_process,) = kernels(lab)
    click(browser, RUN_BUTTON)
    cluster = until(lambda: whole_cluster(lab))
    lab.ask(f"kernels/{kernel['id']}/restart", "POST")
    groups = {process.group for process in cluster} | {kernel_process.group}
    until(lambda: not any(process.group in groups for process in processes()))
    until(lambda: not naming(str(lab.project / "data")))
    assert lab.children() == kernels(lab), "only the new kernel is left"
    assert texts(browser, INTERRUPTIONS) == []

    lab.process.terminate()
    lab.process.wait(timeout=END_S)
    until(lambda: not naming(str(lab.project.parent / "jupyter")))


def run_cell(browser: Chrome, code: str) -> None:
    """Run the cell with this text: click into it, then Ctrl+Enter."""
    cell = f"//*[contains(@class, 'jp-CodeCell')][.//*[contains(@class, 'cm-content')][contains(., '{code}')]]"
    line = f"{cell}//*[contains(@class, 'cm-line')]"
    element = WebDriverWait(browser, PAGE_S).until(expect.presence_of_element_located((By.XPATH, line)))
    scroll(browser, element)
    WebDriverWait(browser, PAGE_S).until(expect.element_to_be_clickable((By.XPATH, line))).click()
    ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()


def click(browser: Chrome, button: str) -> None:
    element = WebDriverWait(browser, PAGE_S).until(expect.presence_of_element_located((By.XPATH, button)))
    scroll(browser, element)
    WebDriverWait(browser, PAGE_S).until(expect.element_to_be_clickable((By.XPATH, button))).click()


def scroll(browser: Chrome, element: WebElement) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)


def texts(browser: Chrome, elements: str) -> list[str]:
    return [element.text for element in browser.find_elements(By.XPATH, elements)]


def wait_for_end(browser: Chrome) -> None:
    WebDriverWait(browser, RUN_S).until(
        expect.any_of(
            expect.presence_of_element_located((By.XPATH, DONE)), expect.presence_of_element_located((By.XPATH, ERROR))
        )
    )
    assert texts(browser, ERROR) == []


def assert_result(browser: Chrome, run: RunFolder) -> None:
    """The panel shows the chart, in words too, and a verdict for each claim."""
    picture = WebDriverWait(browser, PAGE_S).until(expect.presence_of_element_located((By.XPATH, PICTURE)))
    WebDriverWait(browser, PAGE_S).until(
        lambda _: browser.execute_script("return arguments[0].naturalWidth > 0", picture)
    )
    words = browser.execute_script("return arguments[0].textContent", browser.find_element(By.XPATH, PANEL))
    assert alt_text(run, next(iter(draw_png(run)))) in words
    assert len(browser.find_elements(By.XPATH, VERDICT)) == len(experiment(EXPERIMENT).claims)


def kernels(lab: LabServer) -> list[Process]:
    return [child for child in lab.children() if "ipykernel" in child.command]


def whole_cluster(lab: LabServer) -> list[Process]:
    """Every process below the kernel, once there are replicas and a load generator; before that, none."""
    below = [process for kernel in kernels(lab) for process in descendants(kernel.pid)]
    return below if all(any(module in child.command for child in below) for module in CLUSTER) else []
