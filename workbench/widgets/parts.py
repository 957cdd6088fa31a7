"""Pieces that the panels share: a box with a plain fallback, and short lines of text."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from workbench.errors import WorkbenchError

STOPPED = "Stopped; nothing is left running."


class PlainBox(ipywidgets.VBox):  # type: ignore[misc]
    """A box that says in words what it would be where it cannot be shown: in a saved notebook, in plain text."""

    fallback = "A panel: run this cell in JupyterLab to use it."

    def __init__(self, children: Any) -> None:
        super().__init__(children)
        try:
            self._home: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # made outside a notebook
            self._home = None

    def _at_home(self, what: Callable[..., object], *arguments: object) -> None:
        """Have the loop in which the panel was made call `what`.

        JupyterLab delivers clicks on a thread with an event loop of its own, where nothing of ours lives.
        """
        (self._home or asyncio.get_running_loop()).call_soon_threadsafe(what, *arguments)

    def __repr__(self) -> str:
        return self.fallback


def note(text: str) -> str:
    """A quiet line, read out by screen readers when it changes."""
    return f'<span role="status" style="opacity:.8">{html.escape(text)}</span>'


def hidden(text: str) -> str:
    """What a picture shows, for screen readers: an image widget has no alt text of its own."""
    return f'<span style="position:absolute;width:1px;height:1px;overflow:hidden">{html.escape(text)}</span>'


def error_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return f'<span role="alert" style="color:#b3261e"><b>Error:</b> {html.escape(line)}</span>'
