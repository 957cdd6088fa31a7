"""Reading a SQL script as client transactions.

A statement ends at a semicolon, where SQLite says so: not within a string, a quoted name, a comment or the body of a
trigger. BEGIN ... COMMIT (or END) makes one transaction of the statements between them, ROLLBACK drops them; any
other statement is a transaction of its own. Each statement keeps its line and its exact text, from its first token
to its last. Only splitting happens here: whether a statement makes sense is for SQLite to say.

Files are UTF-8, with or without a byte order mark, and are read a line at a time: memory holds one transaction. A
mistake raises `ConfigurationError` with file and line when the reader gets there; who must know beforehand that the
whole file can be read calls `check_script` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from workbench.config import Limits
from workbench.errors import ConfigurationError

LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class ScriptStatement(NamedTuple):
    """One statement without its semicolon; `line` is where it begins."""

    line: int
    sql: str


class ScriptTransaction(NamedTuple):
    """Statements that take effect together; `line` is that of BEGIN, or of the only statement."""

    line: int
    statements: tuple[ScriptStatement, ...]


def read_script(
    path: Path, *, transaction_bytes_max: int = Limits().transaction_bytes_max
) -> Iterator[ScriptTransaction]:
    """The transactions of the script at `path`, in order. Raises `ConfigurationError`."""
    return _transactions(
        split_statements(_lines(path), str(path), transaction_bytes_max), str(path), transaction_bytes_max
    )


def check_script(path: Path, *, transaction_bytes_max: int = Limits().transaction_bytes_max) -> tuple[int, int]:
    """(transactions, statements) of the script at `path`, read to its end. Raises `ConfigurationError`."""
    transactions = statements = 0
    for transaction in read_script(path, transaction_bytes_max=transaction_bytes_max):
        transactions += 1
        statements += len(transaction.statements)
    return transactions, statements


def split_statements(
    lines: Iterable[str], source: str = "script", bytes_max: int = Limits().transaction_bytes_max
) -> Iterator[ScriptStatement]:
    """The statements in `lines`, each of which keeps its line end. Raises `ConfigurationError`."""
    splitter = _Splitter(source, bytes_max)
    for line in lines:
        yield from splitter.feed(line)
    splitter.finish()


def _error(source: str, line: int, message: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(f"{source}:{line}: {message}", hint=hint)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield _decode(raw, str(path), number)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _decode(raw: bytes, source: str, number: int) -> str:
    if len(raw) > LINE_BYTES_MAX:
        raise _error(source, number, f"a line of more than {LINE_BYTES_MAX} bytes")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise _error(
            source, number, f"not UTF-8: byte 0x{byte:02x} at column {error.start + 1}", "save it as UTF-8"
        ) from None
    if "\0" in line:
        raise _error(source, number, "a NUL byte", "a script is text; write binary values as x'...'")
    return line


# ----------------------------------------------------------------------------------------------- into statements

_TOKEN = re.compile(
    r"(?P<space>[ \t\n\f\r]+|--[^\n]*)|(?P<word>[A-Za-z0-9_$\x80-\U0010ffff]+)|(?P<end>;)"
    r"|(?P<open>['\"`\[]|/\*)|(?P<other>[^ \t\n\f\r;'\"`\[/\-A-Za-z0-9_$\x80-\U0010ffff]+|.)"
)
_CLOSE: Final = {"'": "'", '"': '"', "`": "`", "[": "]", "/*": "*/"}
_CALLED: Final = {"'": "string", "/*": "comment"}
_TRIGGER = re.compile(r"(EXPLAIN )?CREATE (TEMP |TEMPORARY )*TRIGGER")
_BEGINNINGS: Final = frozenset(
    {"ALTER", "ANALYZE", "ATTACH", "BEGIN", "COMMIT", "CREATE", "DELETE", "DETACH", "DROP", "END", "EXPLAIN", "INSERT"}
    | {"PRAGMA", "REINDEX", "RELEASE", "REPLACE", "ROLLBACK", "SAVEPOINT", "SELECT", "UPDATE", "VACUUM", "VALUES"}
    | {"WITH"}
)
_HEAD_WORDS: Final = 5


class _Splitter:
    """Where in the script we are: within which quotes, in which statement. Fed a line at a time."""

    def __init__(self, source: str, bytes_max: int) -> None:
        self._source = source
        self._bytes_max = bytes_max
        self._number = 0
        self._open = ""
        """The quote or comment that we are in, as it was opened."""
        self._opened_at = 0
        self._reset()

    def _reset(self) -> None:
        self._started_at = 0
        """Line where the statement begins; 0 between statements."""
        self._parts: list[str] = []
        self._length = 0
        """Characters in `_parts`."""
        self._token_end = 0
        """Where in the statement its last token ends."""
        self._head: list[str] = []
        self._trigger = False
        self._previous = ("", "")
        """The last two tokens, as far as the end of a trigger needs them: `;`, `END` or something else."""

    def feed(self, line: str) -> Iterator[ScriptStatement]:
        self._number += 1
        at = start = 0
        """`start`: where in this line the statement's text goes on."""
        while at < len(line):
            if self._open:
                at = self._close(line, at, start)
                continue
            match = _TOKEN.match(line, at)
            assert match is not None, "the last alternative takes any character"
            token, at = match.group(), match.end()
            if match.lastgroup == "space":
                continue
            if token == "/*":
                self._open, self._opened_at = token, self._number
                continue
            if token == ";" and self._is_end():
                if self._started_at:
                    self._parts.append(line[start : match.start()])
                    yield ScriptStatement(self._started_at, "".join(self._parts)[: self._token_end])
                self._reset()
                start = at
                continue
            if not self._started_at:
                start = match.start()
                self._begin(token)
            self._take(token, match.lastgroup == "open")
            self._token_end = self._length + at - start
        if self._started_at:
            self._parts.append(line[start:])
            self._length += len(line) - start
            if self._length > self._bytes_max:
                opened = f"; a {self._called()} opened in line {self._opened_at}" if self._open else ""
                message = f"a statement of more than {self._bytes_max} bytes begins here{opened}"
                raise _error(self._source, self._started_at, message)

    def _close(self, line: str, at: int, start: int) -> int:
        """Look for the end of what is open; return where to go on."""
        closing = _CLOSE[self._open]
        found = line.find(closing, at)
        if found < 0:
            return len(line)
        if self._open != "/*":
            self._token_end = self._length + found + len(closing) - start
        self._open = ""
        return found + len(closing)

    def _begin(self, token: str) -> None:
        if token.upper() not in _BEGINNINGS:
            hint = "a command of the sqlite3 shell cannot be replayed" if token.startswith(".") else "is the file SQL?"
            raise _error(self._source, self._number, f"no SQL statement begins with {token[:40]!r}", hint)
        self._started_at = self._number

    def _take(self, token: str, opens: bool) -> None:
        if opens:
            self._open, self._opened_at = token, self._number
        word = token.upper()
        if len(self._head) < _HEAD_WORDS:
            self._head.append(word)
            self._trigger = _TRIGGER.fullmatch(" ".join(self._head)) is not None or self._trigger
        self._previous = (self._previous[1], word if word in {";", "END"} else "")

    def _is_end(self) -> bool:
        return not self._trigger or self._previous == (";", "END")

    def finish(self) -> None:
        if self._open:
            raise _error(self._source, self._opened_at, f"a {self._called()} begins here that is never closed")
        if self._started_at:
            hint = "end the trigger with END;" if self._trigger else "end it with a semicolon"
            raise _error(self._source, self._started_at, "a statement begins here that never ends", hint)

    def _called(self) -> str:
        return _CALLED.get(self._open, "quoted name")


# --------------------------------------------------------------------------------------------- into transactions

_CONTROL = re.compile(r"(?P<word>BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_WHOLE: Final = {
    "BEGIN": re.compile(r"BEGIN( (DEFERRED|IMMEDIATE|EXCLUSIVE))?( TRANSACTION( \S+)?)?"),
    "COMMIT": re.compile(r"COMMIT( TRANSACTION( \S+)?)?"),
    "END": re.compile(r"END( TRANSACTION( \S+)?)?"),
    "ROLLBACK": re.compile(r"ROLLBACK( TRANSACTION( \S+)?)?"),
}


def _transactions(statements: Iterable[ScriptStatement], source: str, bytes_max: int) -> Iterator[ScriptTransaction]:
    begun_at = size = 0
    group: list[ScriptStatement] = []
    for statement in statements:
        match control := _control_of(statement, source):
            case "":
                group.append(statement)
                size += len(statement.sql.encode())
                if size > bytes_max:
                    line = begun_at or statement.line
                    raise _error(source, line, f"a transaction of more than {bytes_max} bytes", "make it several")
                if not begun_at:
                    yield ScriptTransaction(statement.line, (statement,))
            case "BEGIN" if begun_at:
                raise _error(source, statement.line, f"BEGIN within the transaction that began in line {begun_at}")
            case "BEGIN":
                begun_at = statement.line
            case _ if not begun_at:
                raise _error(source, statement.line, f"{control} without a BEGIN before it")
            case _:
                if control != "ROLLBACK" and group:
                    yield ScriptTransaction(begun_at, tuple(group))
                begun_at = 0
        if not begun_at:
            group, size = [], 0
    if begun_at:
        raise _error(source, begun_at, "a transaction begins here that never ends", "end it with COMMIT;")


def _control_of(statement: ScriptStatement, source: str) -> str:
    """BEGIN, COMMIT, END or ROLLBACK; the empty string for any other statement."""
    match = _CONTROL.match(statement.sql)
    if match is None:
        return ""
    word = match["word"].upper()
    text = " ".join(_COMMENT.sub(" ", statement.sql).upper().split())
    if word not in _WHOLE:
        raise _error(source, statement.line, f"{word} is not supported", "a transaction is BEGIN, statements, COMMIT")
    if _WHOLE[word].fullmatch(text) is None:
        raise _error(
            source, statement.line, f"not supported: {text[:60]}", "a transaction is BEGIN, statements, COMMIT"
        )
    return word
