"""Planted bugs: a line of a module's source is another one, in this process only, when the module is imported.

The files stay as they are, and so does what is compiled of them. A process that is to have a bug installs it first of
all; so this module imports nothing of the system.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType


@dataclass(frozen=True, slots=True)
class Patch:
    """`before`: a piece of one line that occurs exactly once in the source of `module`; `after` takes its place."""

    module: str
    before: str
    after: str

    def apply(self, source: str) -> str:
        """The patched source. Raises `ValueError` where `before` does not occur exactly once."""
        times = source.count(self.before)
        if times != 1:
            raise ValueError(f"{self.before!r} occurs {times} times in {self.module}, once is expected")
        return source.replace(self.before, self.after)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a patched source; nothing of it is cached."""

    def __init__(self, patch: Patch, path: str) -> None:
        super().__init__(patch.module, path)
        self._patch = patch

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = importlib.util.decode_source(self.get_data(path))
        return compile(self._patch.apply(source), path, "exec", dont_inherit=True)


class _Finder:
    """Finds the one module that a patch is for."""

    def __init__(self, patch: Patch) -> None:
        self._patch = patch

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The import system asks for this."""
        if name != self._patch.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(self._patch, spec.origin)
        return spec


def install(patch: Patch) -> None:
    """Let the module be patched when it is imported. Raises `RuntimeError` if it was imported already."""
    if patch.module in sys.modules:
        raise RuntimeError(f"{patch.module} was imported before it could be patched")
    sys.meta_path.insert(0, _Finder(patch))


def source_of(patch: Patch) -> str:
    """The source of the module that a patch is for, as it is."""
    spec = importlib.util.find_spec(patch.module)
    assert spec is not None
    assert spec.origin is not None, patch.module
    return Path(spec.origin).read_text(encoding="utf-8")
