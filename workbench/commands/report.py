"""`workbench report`: one self-contained HTML page about one run, or about several."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.commands.arguments import Parser, add_json


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder: its path, or its name in data/runs")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write the page (default: report.html in the first run)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from workbench.commands.terminal import console, plain, print_json, progress, shown_path
    from workbench.results import RunFolder

    folders = [RunFolder.open(name, unfinished=True) for name in arguments.runs]
    path = arguments.output or folders[0].path / "report.html"
    with progress("report") as tell:
        tell(0.0, "drawing")
        from workbench.charts.report import write_report

        written = write_report(folders, path)
    if arguments.json:
        print_json({"report": str(written), "runs": [str(folder.path) for folder in folders]})
    else:
        console().print(f"wrote {plain(shown_path(written))}", soft_wrap=True)
    return 0
