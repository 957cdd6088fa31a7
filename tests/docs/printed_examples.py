"""Examples in documents that are what commands print: run anew, written into the page, or compared with it.

    .venv/bin/python -m tests.docs.printed_examples docs/log-formats.md      writes the blocks of the page anew

In a page, `<!-- file: NAME -->` before a block says that its text is a file, and `<!-- printed: workbench ... -->` that
it is what the command prints, run in a folder with these files. What differs from run to run (times, random values,
names of sessions, line breaks) does not count when a page is compared.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

COLUMNS = "100"
_BLOCK = re.compile(r"(<!-- (file|printed): (.+?) -->\n+```\w*\n)(.*?)(```)", re.DOTALL)
_CHANGING = (
    r"\d{4}-\d\d-\d\d",
    r"\d\d:\d\d:\d\d(\.\d+)?",
    r"\b[0-9a-f]{6,12}#\d+",
    r"\b[0-9a-f]{32}\b",
    r"\b[0-9a-f]{12}\b",
    r"-?\b\d{14,20}\b",
    r"\d+\.\d\d s\b",
    r"\b(mosquitto|amqtt)\b",
)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name or command, text) of each marked block."""
    for match in _BLOCK.finditer(page):
        yield match[2], match[3], match[4]


def printed(page: str, command: str) -> str:
    """What `command` prints in a folder with the files of the page."""
    from workbench.cli import main

    arguments = shlex.split(command)
    assert arguments[0] == "workbench"
    out = io.StringIO()
    with _folder(page), contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        for step in " ".join(map(shlex.quote, arguments)).split(" '&&' workbench "):
            words = shlex.split(step)
            out.seek(0)
            out.truncate()
            main(words[1:] if words[0] == "workbench" else words)
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines()) + "\n"


def comparable(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern in _CHANGING:
        text = re.sub(pattern, "*", text)
    return " ".join(text.replace("─", " ").split())


def rewritten(page: str) -> str:
    """The page with all its printed blocks made anew."""
    return _BLOCK.sub(
        lambda match: match[1] + (printed(page, match[3]) if match[2] == "printed" else match[4]) + match[5], page
    )


@contextlib.contextmanager
def _folder(page: str) -> Iterator[None]:
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    with tempfile.TemporaryDirectory() as name:
        for kind, file, text in blocks(page):
            if kind == "file":
                (Path(name) / file).write_text(text, encoding="utf-8")
        os.chdir(name)
        os.environ["COLUMNS"] = COLUMNS
        try:
            yield
        finally:
            os.chdir(before)
            if columns is None:
                del os.environ["COLUMNS"]
            else:
                os.environ["COLUMNS"] = columns


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
