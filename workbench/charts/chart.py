"""A drawn chart as a value that shows itself: in a notebook as PNG with its alt text, elsewhere as the alt text."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHOWN_SHARE = 0.8
"""Points of a page for each pixel of the picture: charts are drawn finer than they are shown."""


@dataclass(frozen=True, slots=True)
class Chart:
    """PNG bytes, and what the picture shows in words."""

    png: bytes = field(repr=False)
    alt: str

    @property
    def width(self) -> int:
        """In pixels."""
        return int.from_bytes(self.png[16:20], "big")

    @property
    def height(self) -> int:
        """In pixels."""
        return int.from_bytes(self.png[20:24], "big")

    def save(self, path: Path | str) -> Path:
        """Write the PNG file."""
        target = Path(path)
        target.write_bytes(self.png)
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """For Jupyter. The alt text stands in the metadata, and as the plain text of the output."""
        shown = {"alt": self.alt, "width": round(self.width * _SHOWN_SHARE)}
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": shown}
