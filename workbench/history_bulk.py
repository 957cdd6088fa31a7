"""Long histories read by columns, some megabytes at a time: a million operations in seconds.

Lines are decoded by the thousand, and whether they are sound is asked of whole columns: of each process, sorted, every
other event must be an invocation, and fit the one behind it. Nothing is said here about what is wrong. Where a history
is not sound, or holds anything rarer than reads and writes, the reader by lines (`history_events`) has the last word.
So both must accept the same; a test compares them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from workbench.errors import HistoryError
from workbench.history_columns import Coded, ValueCodes, coded_of, read_coded_by_lines
from workbench.history_events import Event

Progress: TypeAlias = Callable[[float], None]
"""Is told the share of the file that was read."""

_CHUNK_BYTES: Final = 4 << 20
_TYPES: Final = {"invoke": 0, "ok": 1, "fail": 2, "info": 3}
_INVOKE, _OK, _INFO = 0, 1, 3
_KINDS: Final = {"read": 0, "write": 1}
_READ, _WRITE = 0, 1
_PLAIN: Final = ("process", "time_ns", "term", "index", "member")
_NUMBERS: Final = (*_PLAIN, "session", "operation", "value")
_CODES: Final = ("type", "kind")
_TEXTS: Final = ("key", "cell", "replica", "error")

_SCALARS: Final = {str, int, float, bool, type(None)}

Array: TypeAlias = np.ndarray[Any, Any]
Columns: TypeAlias = dict[str, Array]
"""Field -> what each event has there; texts and values as numbers that stand for them."""


def read_coded(path: Path | str, progress: Progress | None = None) -> Coded:
    """The table of operations of a file of JSON Lines. Raises `HistoryError` with the line that is wrong.

    Rows are in the order of their invocation.
    """
    found = read_quickly(path, progress)
    return read_coded_by_lines(path) if found is None else found


def read_quickly(path: Path | str, progress: Progress | None = None) -> Coded | None:
    """The same, or None for a history that only the reader by lines can judge. Raises `HistoryError` without a file."""
    columns = _EventColumns()
    try:
        with Path(path).open("rb") as file:
            size = max(Path(path).stat().st_size, 1)
            while lines := file.readlines(_CHUNK_BYTES):
                if not columns.take(lines):
                    return None
                if progress is not None:
                    progress(file.tell() / size)
    except OSError as error:
        raise HistoryError(f"cannot read the history {path}: {error.strerror}") from error
    return columns.coded()


class _EventColumns:
    """What lines say, a column a field. A row is an event."""

    def __init__(self) -> None:
        self.numbers = {name: array("q") for name in _NUMBERS}
        self.codes = {name: bytearray() for name in _CODES}
        self.no_value = bytearray()
        self.texts = {name: array("i") for name in _TEXTS}
        self.words: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
        self.values = ValueCodes()
        self._decode = msgspec.json.Decoder(Event).decode

    def take(self, lines: list[bytes]) -> bool:
        """Add lines; False if they are not for here."""
        try:
            events = list(map(self._decode, lines))
            self.codes["kind"] += bytes([_KINDS[event.f] for event in events])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
            return False
        values = [event.value for event in events]
        if any(event.result is not None for event in events) or not set(map(type, values)) <= _SCALARS:
            return False
        line = len(self.no_value)
        for name in _PLAIN:
            self.numbers[name].fromlist(list(map(attrgetter(name), events)))
        self.numbers["session"].fromlist([one.process if one.session is None else one.session for one in events])
        self.numbers["operation"].fromlist(
            [line + at if one.operation is None else one.operation for at, one in enumerate(events)]
        )
        self.codes["type"] += bytes([_TYPES[event.type] for event in events])
        for name in _TEXTS:
            self.texts[name].fromlist(self._numbered(name, list(map(attrgetter(name), events))))
        self.no_value += bytes([value is None for value in values])
        self.values.extend(self.numbers["value"], self.no_value, values)
        return True

    def _numbered(self, name: str, texts: list[str]) -> list[int]:
        words = self.words[name]
        here = dict.fromkeys(texts)
        for word in here.keys() - words.keys():
            words[word] = len(words)
        return [words[texts[0]]] * len(texts) if len(here) == 1 else [words[text] for text in texts]

    def coded(self) -> Coded | None:
        """The operations, if the events are sound."""
        columns = {name: _array(column, np.int64) for name, column in self.numbers.items()}
        columns |= {name: _array(column, np.uint8) for name, column in self.codes.items()}
        columns |= {name: _array(column, np.int32) for name, column in self.texts.items()}
        columns["no_value"] = _array(self.no_value, np.bool_)
        start = np.flatnonzero(columns["type"] == _INVOKE)
        if not _have_values(columns, start) or not _unique(columns["operation"][start]):
            return None
        ends = _ends(columns)
        if ends is None:
            return None
        start = start[np.argsort(columns["time_ns"][start], kind="stable")]
        return self._table(columns, start, ends[start])

    def _table(self, columns: Columns, start: Array, end: Array) -> Coded:
        """Of each operation the events that began and ended it; -1 where none did."""
        ended = end >= 0
        is_read = columns["kind"][start] == _READ
        telling = np.where(is_read, end, start)
        missing = columns["no_value"][telling] | (is_read & (~ended | (columns["type"][end] != _OK)))
        numbers = {name: columns[name][start] for name in ("operation", "session")}
        numbers |= {name: np.where(ended, columns[name][end], 0) for name in ("term", "index", "member")}
        numbers["value"] = np.where(missing, 0, columns["value"][telling])
        numbers["invoked_ns"] = columns["time_ns"][start]
        numbers["completed_ns"] = np.where(ended, columns["time_ns"][end], 0)
        labels: dict[str, tuple[list[str], Array]] = {
            "kind": (list(_KINDS), columns["kind"][start]),
            "outcome": (list(_TYPES), np.where(ended, columns["type"][end], _INFO)),
        }
        labels |= {name: (list(self.words[name]), columns[name][start]) for name in ("key", "cell")}
        for name in ("replica", "error"):
            words = [*self.words[name], ""]
            labels[name] = words, np.where(ended, columns[name][end], len(words) - 1)
        return coded_of(numbers, labels, missing, ~ended, len(start), self.values.originals)


def _have_values(columns: Columns, start: Array) -> bool:
    """Whether all writes set something."""
    return not ((columns["kind"][start] == _WRITE) & columns["no_value"][start]).any()


def _unique(numbers: Array) -> bool:
    ordered = np.sort(numbers)
    return not (ordered[1:] == ordered[:-1]).any()


def _ends(columns: Columns) -> Array | None:
    """Event -> the event of its process that ended it, -1 if none did; None if the events are not sound."""
    process, type_ = columns["process"], columns["type"]
    along = np.argsort(process, kind="stable")  # those of one process together, in the order of their lines
    before, after = along[:-1], along[1:]
    same = process[before] == process[after]
    first = np.concatenate(([True], ~same))[: len(along)]
    invokes = type_ == _INVOKE
    if not invokes[along[first]].all():
        return None
    before, after = before[same], after[same]
    in_turn = (invokes[before] != invokes[after]) & (type_[before] != _INFO)
    in_time = columns["time_ns"][before] <= columns["time_ns"][after]
    if not (in_turn & in_time).all():
        return None
    begins = invokes[before]
    begun, ended = before[begins], after[begins]
    is_same = (columns["kind"][begun] == columns["kind"][ended]) & (columns["key"][begun] == columns["key"][ended])
    writes = (columns["kind"][begun] == _WRITE) & (type_[ended] == _OK)
    as_asked = (columns["value"][begun] == columns["value"][ended]) & ~columns["no_value"][ended]
    if not (is_same & (as_asked | ~writes)).all():
        return None
    ends = np.full(len(along), -1, dtype=np.int64)
    ends[begun] = ended
    return ends


def _array(column: array[int] | bytearray, dtype: Any) -> Array:
    return np.frombuffer(column, dtype=dtype) if len(column) else np.zeros(0, dtype=dtype)
