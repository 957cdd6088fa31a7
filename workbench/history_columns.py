"""Any history as a table of operations, with a number in place of each value: made column by column, as it is read.

A million operations as objects take more than a gigabyte; in columns of machine integers they take a tenth of it, and
no object is made that outlives its line. A cas that matched becomes a read of what it expected and a write of what it
set, at the same time. One that did not match says only what the key was not, and is left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.history import SCHEMA, validate_operations
from workbench.history_events import Pair, read_pairs
from workbench.history_operations import Operation, token, told

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


def read_coded(path: Path | str) -> Coded:
    """`coded_table` of a file of JSON Lines, without its operations. Raises `HistoryError` with the line that is wrong.

    Rows are in the order of their invocation.
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


class _Columns:
    """The columns of a table that grows."""

    def __init__(self) -> None:
        self.numbers = {name: array("q") for name in _NUMBERS}
        self.no_value = bytearray()
        self.not_completed = bytearray()
        self.texts = {name: array("q") for name in _TEXTS}
        self.words: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
        self.codes: dict[Any, int] | None = None
        """Value -> its code; None as long as all values are integers, which stand for themselves."""
        self.originals: dict[int, Any] = {}
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
        into["value"].append(0 if value is None else self.code(value))
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

    def code(self, value: Any) -> int:
        if self.codes is None:
            if type(value) is int and -_INT64 <= value < _INT64:
                return value
            self.codes = {}
            values = self.numbers["value"]
            for row, before in enumerate(values):
                if not self.no_value[row]:
                    values[row] = self.code(before)
        stands_for = token(value)
        code = self.codes.get(stands_for)
        if code is None:
            code = self.codes[stands_for] = len(self.codes) + 1
            self.originals[code] = value
        return code

    def coded(self) -> Coded:
        """The table, in the order of the invocations."""
        columns = {name: np.frombuffer(self.numbers[name], dtype=np.int64) for name in _NUMBERS}
        if not self.operations:
            columns = {name: np.zeros(0, dtype=np.int64) for name in _NUMBERS}
        number = columns["operation"].copy()
        added = np.array(self.cas_reads, dtype=np.int64)
        numbers: dict[int, int] = {}
        if len(added):
            unused = int(number.max()) + 1
            numbers = {unused + at: int(number[row]) for at, row in enumerate(self.cas_reads)}
            number[added] = unused + np.arange(len(added))
        along = np.lexsort((columns["place"], columns["invoked_ns"]))
        table = {name: columns[name][along] for name in ("session", "term", "index", "member")}
        table["operation"] = number[along]
        nothing = np.zeros(len(along), dtype=np.int64)
        done = self._nullable(columns["completed_ns"], self.not_completed, along)
        begun = self._nullable(columns["invoked_ns"], bytearray(len(along)), along)
        whole = {
            **table,
            **{name: self._text(name, along) for name in _TEXTS},
            "value": self._nullable(columns["value"], self.no_value, along),
            "intended_ns": begun,
            "invoked_ns": begun.copy(),
            "completed_ns": done,
            "sequence": nothing,
            "identifier": nothing.copy(),
        }
        frame = validate_operations(pd.DataFrame({name: whole[name] for name in SCHEMA}, copy=False))
        return Coded(frame, self.operations, self.originals, numbers)

    @staticmethod
    def _nullable(values: Any, missing: bytearray, along: Any) -> Any:
        return pd.arrays.IntegerArray(values[along], np.frombuffer(bytes(missing), dtype=bool)[along])

    def _text(self, name: str, along: Any) -> Any:
        words = pd.array(list(self.words[name]), dtype="str")
        codes = np.array(self.texts[name], dtype=np.int64)[along]
        return words.take(codes) if len(codes) else words
