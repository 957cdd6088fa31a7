"""What every notebook keeps to, read from the files; running them is `make notebooks`."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
CHECKED = "# NBVAL_CHECK_OUTPUT"
OURS = re.compile(r"(?<![\w.])/(?:root|work|tmp|home|Users|private|var)/")
LINES_MAX = 14
"""Lines of code in a cell: helpers live in the package."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return found


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert {path.name[:2] for path in NOTEBOOKS} >= {"00", "01", "02", "04"}


def test_the_first_cell_says_what_to_expect_and_how_long_it_takes(path: Path, notebook: nbformat.NotebookNode) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {path.name[:2]} · ")
    for part in ("**The question.**", "**What you will see.**", "**Time.**"):
        assert part in first.source
    assert re.search(r"\*\*Time\.\*\* About \d+ (seconds|minutes?) to run", first.source)


def test_every_cell_was_executed_in_order(notebook: nbformat.NotebookNode) -> None:
    """nbval skips a cell without a count in silence."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_a_checked_cell_has_output(notebook: nbformat.NotebookNode) -> None:
    checked = [cell for cell in code_cells(notebook) if cell.source.startswith(CHECKED)]
    assert checked
    assert [cell.source for cell in checked if not cell.outputs] == []
    printed = "".join(output.get("text", "") for cell in checked for output in cell.outputs)
    assert "converged=True" in printed
    assert re.search(r"world=(real|simulated) replica_processes=\d", printed)


def test_no_output_is_an_error_or_noise(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []


def test_no_path_of_a_machine_leaks(path: Path) -> None:
    assert OURS.findall(path.read_text(encoding="utf-8")) == []


def test_every_picture_has_words(notebook: nbformat.NotebookNode) -> None:
    pictures = [
        output for cell in code_cells(notebook) for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert pictures
    for output in pictures:
        assert output.metadata["image/png"]["alt"] == output.data["text/plain"]
        assert len(output.data["text/plain"]) > 40


def test_saved_widgets_are_words(notebook: nbformat.NotebookNode) -> None:
    """A widget without its kernel is an error message; see scripts/execute_notebooks.py."""
    kinds = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert "widgets" not in notebook.metadata


def test_cells_hold_no_helpers(notebook: nbformat.NotebookNode) -> None:
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LINES_MAX
        assert re.search(r"^\s*(def|class|async def) ", cell.source, re.MULTILINE) is None


def test_it_ends_with_exercises(notebook: nbformat.NotebookNode) -> None:
    assert notebook.cells[-1].source.startswith("## Exercises\n\n1. ")


def test_any_python_3_kernel_runs_it(notebook: nbformat.NotebookNode) -> None:
    assert notebook.metadata.kernelspec["name"] == "python3"


def test_links_lead_somewhere(path: Path, notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^):#]+)\)", text)
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_readme_lists_it(path: Path) -> None:
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")
