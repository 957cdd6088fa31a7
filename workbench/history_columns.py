"""Any history as a table of operations, with a number in place of each value: made column by column, as it is read.

A million operations as objects take more than a gigabyte; in columns of machine integers they take a tenth of it, and
no object is made that outlives its line. A cas that matched becomes a read of what it expected and a write of what it
set, at the same time. One that did not match says only what the key was not, and is left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from workbench.history import SCHEMA, validate_operations
from workbench.history_events import Pair, read_pairs
from workbench.history_operations import Operation, token, told

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Booleans: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

_INT64: Final = 2**63
_NUMBERS: Final = ("operation", "session", "value", "term", "index", "member", "invoked_ns", "completed_ns", "place")
_TEXTS: Final = ("cell", "kind", "key", "outcome", "error", "replica")


@dataclass(frozen=True, slots=True)
class Coded:
    """A table of operations made of any history: `values[code]` is the value that a number stands for.

    `operations`: how many the history has. `numbers` maps the read that was added for a cas to the cas.
    """

    table: pd.DataFrame
    operations: int
    values: Mapping[int, Any] = field(default_factory=dict)
    numbers: Mapping[int, int] = field(default_factory=dict)

    def value(self, code: Any) -> Any:
        """What stood in the history in place of `code`."""
        return self.values.get(code, code)

    def number(self, number: int) -> int:
        """The operation of the history that row `number` was made of."""
        return self.numbers.get(number, number)

    def codes(self) -> dict[Any, int]:
        """Token of a value -> what stands for it; empty if codes are the values."""
        return {token(value): code for code, value in self.values.items()}

    def labels(self) -> dict[int, str]:
        """Code -> value as a sentence shows it; empty if codes are the values."""
        return {code: told(value) for code, value in self.values.items()}


def coded_table(operations: Iterable[Operation]) -> Coded:
    """A table of operations with a number in place of each value; integers stand for themselves if all values are."""
    columns = _Columns()
    for one in operations:
        columns.add(
            one.f, one.outcome, one.matched, one.expected, one.value,
            (one.number, one.session, one.term, one.index, one.member, one.invoked_ns, one.completed_ns, one.begin),
            (one.cell, one.key, one.error, one.replica),
        )  # fmt: skip
    return columns.coded()


def read_coded_by_lines(path: Path | str) -> Coded:
    """`coded_table` of a file of JSON Lines, without its operations. Raises `HistoryError` with the line that is wrong.

    Rows are in the order of their invocation. `history_bulk.read_coded` is the same, and quicker.
    """
    columns = _Columns()
    for pair in read_pairs(path):
        _add_pair(columns, pair)
    return columns.coded()


def _add_pair(columns: _Columns, pair: Pair) -> None:
    start, end = pair.invocation, pair.end
    session = start.process if start.session is None else start.session
    numbers: tuple[int | None, ...]
    if end is None:
        outcome, answer, matched = "info", None, None
        numbers = (start.operation, session, 0, 0, 0, start.time_ns, None, pair.line)
        texts = (start.cell, start.key, "", "")
    else:
        outcome, answer = end.type, end.value
        matched = end.result is not False
        numbers = (
            start.operation, session, end.term, end.index, end.member, start.time_ns, end.time_ns, pair.line,
        )  # fmt: skip
        texts = (start.cell, start.key, end.error, end.replica)
    expected, value = start.value if start.f == "cas" else (None, start.value)
    if start.f == "read":
        value = answer if outcome == "ok" else None
    columns.add(start.f, outcome, matched, expected, value, numbers, texts)


class ValueCodes:
    """Numbers for values: 64-bit integers stand for themselves as long as all are such; else values are numbered."""

    def __init__(self) -> None:
        self.originals: dict[int, Any] = {}
        """Code -> value; empty as long as values stand for themselves."""
        self._codes: dict[Any, int] | None = None

    def extend(self, column: array[int], missing: bytearray, values: Sequence[Any]) -> None:
        """Append to `column` what stands for `values` (0 for None). `missing`: which of all rows hold None."""
        if self._codes is None and not _stand_for_themselves(values):
            self._codes = {}
            for row, before in enumerate(column):
                if not missing[row]:
                    column[row] = self._code(before)
        if self._codes is None:
            column.fromlist([0 if value is None else value for value in values])
        else:
            column.fromlist([0 if value is None else self._code(value) for value in values])

    def _code(self, value: Any) -> int:
        assert self._codes is not None
        stands_for = token(value)
        code = self._codes.get(stands_for)
        if code is None:
            code = self._codes[stands_for] = len(self._codes) + 1
            self.originals[code] = value
        return code


def _stand_for_themselves(values: Sequence[Any]) -> bool:
    if not set(map(type, values)) <= {int, type(None)}:
        return False
    integers = [value for value in values if value is not None]
    return not integers or (min(integers) >= -_INT64 and max(integers) < _INT64)


def coded_of(
    numbers: Mapping[str, Integers],
    labels: Mapping[str, tuple[Sequence[str], Integers]],
    no_value: Booleans,
    not_completed: Booleans,
    operations: int,
    values: Mapping[int, Any],
    added: Mapping[int, int] | None = None,
) -> Coded:
    """The table made of its columns, whose rows are in order. `labels`: words, and which of them each row has."""
    nothing = np.zeros(len(no_value), dtype=np.int64)
    begun = pd.arrays.IntegerArray(numbers["invoked_ns"], np.zeros(len(no_value), dtype=bool))
    whole = {
        **{name: numbers[name] for name in ("operation", "session", "term", "index", "member")},
        **{name: _text(*labels[name]) for name in _TEXTS},
        "value": pd.arrays.IntegerArray(numbers["value"], no_value),
        "intended_ns": begun,
        "invoked_ns": begun.copy(),
        "completed_ns": pd.arrays.IntegerArray(numbers["completed_ns"], not_completed),
        "sequence": nothing,
        "identifier": nothing.copy(),
    }
    frame = validate_operations(pd.DataFrame({name: whole[name] for name in SCHEMA}, copy=False))
    return Coded(frame, operations, values, added or {})


def _text(words: Sequence[str], codes: Integers) -> Any:
    known = pd.array(list(words), dtype="str")
    return known.take(codes) if len(codes) else known[:0]


class _Columns:
    """The columns of a table that grows."""

    def __init__(self) -> None:
        self.numbers = {name: array("q") for name in _NUMBERS}
        self.no_value = bytearray()
        self.not_completed = bytearray()
        self.texts = {name: array("q") for name in _TEXTS}
        self.words: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
        self.values = ValueCodes()
        self.cas_reads: list[int] = []
        self.operations = 0

    def add(
        self,
        f: str,
        outcome: str,
        matched: bool | None,
        expected: Any,
        value: Any,
        numbers: tuple[int | None, ...],
        texts: tuple[str, ...],
    ) -> None:
        """One operation. `numbers`: number, session, term, index, member, invoked_ns, completed_ns, place of its
        beginning; `texts`: cell, key, error, replica."""
        self.operations += 1
        if f == "cas":
            if outcome == "fail" or (outcome == "ok" and matched is False):
                return
            if outcome == "ok":
                self.cas_reads.append(len(self.no_value))
                self.row("read", outcome, expected, numbers, texts)
        self.row("read" if f == "read" else "write", outcome, value, numbers, texts)

    def row(self, kind: str, outcome: str, value: Any, numbers: tuple[int | None, ...], texts: tuple[str, ...]) -> None:
        number, session, term, index, member, invoked, completed, place = numbers
        into = self.numbers
        into["operation"].append(number or 0)
        into["session"].append(session or 0)
        self.values.extend(into["value"], self.no_value, (value,))
        into["term"].append(term or 0)
        into["index"].append(index or 0)
        into["member"].append(member or 0)
        into["invoked_ns"].append(invoked or 0)
        into["completed_ns"].append(completed or 0)
        into["place"].append(place or 0)
        self.no_value.append(value is None)
        self.not_completed.append(completed is None)
        cell, key, error, replica = texts
        for name, text in (
            ("cell", cell), ("kind", kind), ("key", key), ("outcome", outcome), ("error", error), ("replica", replica),
        ):  # fmt: skip
            words = self.words[name]
            self.texts[name].append(words.setdefault(text, len(words)))

    def coded(self) -> Coded:
        """The table, in the order of the invocations."""
        columns = {name: np.array(self.numbers[name], dtype=np.int64) for name in _NUMBERS}
        number = columns["operation"]
        added = np.array(self.cas_reads, dtype=np.int64)
        numbers: dict[int, int] = {}
        if len(added):
            used = set(number.tolist())
            unused = list(islice((one for one in count() if one not in used), len(added)))
            numbers = dict(zip(unused, number[added].tolist(), strict=True))
            number[added] = unused
        along = np.lexsort((columns["place"], columns["invoked_ns"]))
        labels = {name: (list(self.words[name]), np.array(self.texts[name], dtype=np.int64)[along]) for name in _TEXTS}
        return coded_of(
            {name: column[along] for name, column in columns.items()},
            labels,
            np.frombuffer(bytes(self.no_value), dtype=bool)[along],
            np.frombuffer(bytes(self.not_completed), dtype=bool)[along],
            self.operations,
            self.values.originals,
            numbers,
        )
