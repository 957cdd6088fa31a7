"""The columns of the table of operations, and the file in which a load generator streams its rows.

A load generator process has no pandas, so this module has none either. The file is JSON Lines: a header that names
the columns and says when the load began, then one array an operation in the order of `COLUMNS`, then a footer with the
number of rows. A file without its footer was not finished: `read_rows` refuses it, unless told to take what is there.
`workbench.history` turns rows into a DataFrame; docs/results.md shows the table made by `markdown_table`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, get_args

import msgspec

from workbench.errors import HistoryError

Kind = Literal["read", "write"]
Outcome = Literal["ok", "fail", "info"]
ColumnType = Literal["int64", "Int64", "str"]

KINDS: tuple[Kind, ...] = get_args(Kind)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

ROWS_VERSION = 2
"""Rises with every change of the columns or of the file's form."""

_FLUSH_S = 0.02


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of operations. `Int64` is the nullable integer type of pandas."""

    name: str
    dtype: ColumnType
    unit: str
    description: str


COLUMNS: tuple[Column, ...] = (
    Column("operation", "int64", "-", "number of the operation, unique in the run"),
    Column("cell", "str", "-", "label of the parameter combination it belongs to; empty if there is only one"),
    Column("session", "int64", "-", "the session that issued it"),
    Column("kind", "str", "-", "`read` or `write`"),
    Column("key", "str", "-", "what was read or written"),
    Column(
        "value", "Int64", "-", "the value written or read; missing on a read: the key was absent, or no answer came"
    ),
    Column("outcome", "str", "-", "`ok`; `fail`: it did not happen (definite); `info`: it may have (indefinite)"),
    Column("error", "str", "-", "one line on what went wrong; empty for `ok`"),
    Column("replica", "str", "-", "the replica that answered; empty if unknown"),
    Column("term", "int64", "term", "term of the position below; 0 if unknown"),
    Column(
        "index",
        "int64",
        "entry",
        "write: position of its entry; read: position that the answering replica had applied; 0 if unknown",
    ),
    Column("member", "int64", "-", "place of the write among the members of its entry, from 0"),
    Column("intended_ns", "Int64", "ns", "when the schedule meant it to start, from the start of the load"),
    Column("invoked_ns", "Int64", "ns", "when it was sent; missing: it never was (then the outcome is `fail`)"),
    Column("completed_ns", "Int64", "ns", "when its answer or its timeout came; missing: it never completed"),
    Column("sequence", "int64", "-", "write: its number in its session; 0 if unknown"),
    Column(
        "identifier",
        "int64",
        "-",
        "write: the session's identifier, which with `sequence` names it in logs and `rollback/`; 0 if unknown",
    ),
)


class OperationRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One operation: the fields are the columns, in their order. Times are monotonic, 0 = start of the load."""

    operation: int
    cell: str = ""
    session: int = 0
    kind: Kind
    key: str
    value: int | None = None
    outcome: Outcome
    error: str = ""
    replica: str = ""
    term: int = 0
    index: int = 0
    member: int = 0
    intended_ns: int | None = None
    invoked_ns: int | None = None
    completed_ns: int | None = None
    sequence: int = 0
    identifier: int = 0


class RowsHeader(NamedTuple):
    """What the header of a file says. `start_ns`: the host's monotonic clock at time 0 of the rows; 0 if unknown."""

    rows_version: int
    start_ns: int


def markdown_table() -> str:
    """The columns as a Markdown table, as docs/results.md shows them."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{column.name}` | {column.dtype} | {column.unit} | {column.description} |" for column in COLUMNS]
    return "\n".join(lines) + "\n"


class OperationRowsWriter:
    """Streams rows into a file; a context manager. Only `close` without an exception writes the footer.

    `start_ns`: what the host's monotonic clock shows when the load begins, at time 0 of the rows.
    """

    def __init__(self, path: Path | str, *, start_ns: int = 0, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.path = Path(path)
        self._now_ns = now_ns
        self.rows = 0
        self._encoder = msgspec.json.Encoder()
        self._file = self.path.open("wb", buffering=1 << 18)
        columns = [column.name for column in COLUMNS]
        self._line({"rows_version": ROWS_VERSION, "columns": columns, "start_ns": start_ns})
        self.flush()

    def write(self, row: OperationRow) -> None:
        """Append one operation. After a pause it can be read at once (`read_new_rows`), in a stream a little later."""
        self._file.write(self._encoder.encode(row) + b"\n")
        self.rows += 1
        if self._now_ns() >= self._flush_at:
            self.flush()

    def write_many(self, rows: Iterable[OperationRow]) -> None:
        """Append several operations."""
        for row in rows:
            self.write(row)

    def flush(self) -> None:
        """Hand what is buffered to the operating system, so that others can read it and it outlives this process."""
        self._file.flush()
        self._flush_at = self._now_ns() + round(_FLUSH_S * 1e9)

    def close(self) -> None:
        """Write the footer and close; further calls do nothing."""
        if not self._file.closed:
            self._line({"rows": self.rows})
            self._file.close()

    def abort(self) -> None:
        """Close without the footer: the file stays recognizable as unfinished."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(self._encoder.encode(value) + b"\n")


def read_rows_header(path: Path | str) -> RowsHeader:
    """The header of a file of `OperationRowsWriter`, also while it is being written. Raises `HistoryError`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            line = file.readline()
    except OSError as error:
        raise _cannot_read(path, error) from error
    return _check_header(path, line)


def read_rows(path: Path | str, *, partial: bool = False) -> list[OperationRow]:
    """Every row of a file of `OperationRowsWriter`.

    With `partial`, a file whose writer was killed gives the rows up to the first torn one. Raises `HistoryError`
    with the line number.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise _cannot_read(path, error) from error
    torn = lines.pop()  # what follows the last newline: empty, unless the writer died within a line
    finished = len(lines) >= 2 and lines[-1].startswith(b"{") and not torn
    if not finished and not partial:
        raise HistoryError(
            f"{path}: the footer is missing", hint="the load generator ended early; partial=True reads what is there"
        )
    _check_header(path, lines[0] if lines else b"")
    rows = _decode(path, lines[1 : -1 if finished else None])
    if finished:
        _check_footer(path, lines[-1], len(rows))
    return rows


def read_new_rows(path: Path | str, offset: int = 0) -> tuple[list[OperationRow], int]:
    """The rows behind byte `offset` of a file that is being written, and the offset to go on from.

    Raises `HistoryError`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            new = file.read()
    except OSError as error:
        raise _cannot_read(path, error) from error
    whole = new[: new.rfind(b"\n") + 1]
    rows = _decode(path, [line for line in whole.split(b"\n") if line.startswith(b"[")])  # no header, no footer
    return rows, offset + len(whole)


def _decode(path: Path, lines: list[bytes]) -> list[OperationRow]:
    decode = msgspec.json.Decoder(OperationRow).decode
    rows: list[OperationRow] = []
    try:
        rows.extend(map(decode, lines))
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{path}, line {len(rows) + 2}: not an operation: {error}") from error
    return rows


def _object(path: Path, line: bytes, number: int) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{path}, line {number}: expected an object: {error}") from error


def _cannot_read(path: Path, error: OSError) -> HistoryError:
    return HistoryError(f"cannot read operations from {path}: {error.strerror}")


def _check_header(path: Path, line: bytes) -> RowsHeader:
    header = _object(path, line, 1)
    expected = [column.name for column in COLUMNS]
    start_ns = header.get("start_ns")
    if header.get("rows_version") != ROWS_VERSION or header.get("columns") != expected or not isinstance(start_ns, int):
        raise HistoryError(
            f"{path}, line 1: not the header of operation rows of version {ROWS_VERSION}",
            hint="the file must come from OperationRowsWriter of this version of the workbench",
        )
    return RowsHeader(ROWS_VERSION, start_ns)


def _check_footer(path: Path, line: bytes, rows: int) -> None:
    stated = _object(path, line, rows + 2).get("rows")
    if stated != rows:
        raise HistoryError(f"{path}: the footer states {stated} rows, but there are {rows}")
