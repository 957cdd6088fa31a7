#!/usr/bin/env python3
"""Executes notebooks in place, so that they are committed with outputs: `execute_notebooks.py [FILE ...]`, default all.

Panels work only while a kernel runs, so a saved notebook keeps their line of text instead of a broken widget; times
and widget states, which change with every execution, are left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def execute(path: Path) -> None:
    """Run every cell and write the notebook back. Raises `CellExecutionError` and changes nothing if a cell fails."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}},
        record_timing=False, store_widget_state=False,
    )  # fmt: skip
    client.execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    notebook.metadata["language_info"].pop("version", None)
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


def main() -> int:
    """Execute the notebooks named, or all."""
    root = str(NOTEBOOKS.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        sys.stdout.write(f"{path.name}\n")
        execute(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
