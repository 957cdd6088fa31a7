"""The seam between a store and a log format: how effects become an entry's body, and a body becomes effects.

A format gets a connection and the hooks below; it knows nothing of files (except `wal`, which reads frames), of
roles, or of positions. The store owns BEGIN, SAVEPOINT and COMMIT. Rules:

- On the leader, everything between `begin_group` and `finish_group` happens inside one open transaction of the
  database, and each client transaction inside a savepoint of its own, released before `end_transaction(True)`.
- A body is decoded strictly and whole before anything of it is applied: bytes that are not a body raise `CodecError`,
  a body that does not fit the database raises `DivergedError`; the caller rolls back.
- Nothing is guessed: what a format cannot carry, it refuses on the leader, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import apsw
import msgspec

from workbench.config import LogFormatName
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.causes import SAFE, Examination
from workbench.protocol.values import Statement

Parameter: TypeAlias = None | bool | int | float | str | bytes
"""A parameter as it stands in a body: what SQLite can bind (it stores a bool as an integer)."""

INTERNAL_PREFIX = "_workbench_"
"""Names of the workbench's own tables, triggers and savepoints begin so; clients cannot touch them."""

_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """What is known of one SQL text once SQLite has compiled it for the first time under the present schema."""

    keyword: str
    """First word, in capitals."""
    reads_only: bool
    changes_schema: bool
    """CREATE, ALTER, DROP, REINDEX, ANALYZE: travels as SQL text in the logical format, too."""
    copies_into_new_table: bool = False
    """CREATE TABLE ... AS SELECT."""
    columns: tuple[str, ...] = ()
    """Names of the columns that it returns; none when it returns no rows."""
    examination: Examination = SAFE
    """What is unsafe about it; always `SAFE` where nobody wants to know."""


class Capture(Protocol):
    """The leader's half of a log format: notes what a group does. A group is what becomes one entry."""

    @property
    def name(self) -> LogFormatName: ...

    def refusal(self, facts: StatementFacts) -> str:
        """Why this format cannot carry a statement, or the empty string. Asked once for each SQL text."""
        ...

    def begin_group(self) -> None: ...

    def begin_transaction(self, *, changes_schema: bool) -> None:
        """The next client transaction starts (before its savepoint); `changes_schema` if a statement of it will."""
        ...

    def before_schema_change(self) -> None:
        """A statement that changes the schema runs next."""
        ...

    def after_schema_change(self, sql: str) -> None:
        """It has succeeded."""
        ...

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        """The client transaction was kept (`statements` are those that did more than read), or undone."""
        ...

    def finish_group(self) -> bytes:
        """The body of the entry: before COMMIT, but for `wal`, whose effects are visible only after it."""
        ...

    def discard_group(self) -> None:
        """The group was rolled back, or its body is no longer wanted."""
        ...


class Watch(Protocol):
    """What a log format may want besides: to know what is unsafe, and to stand around each statement on the leader.

    In the order of the calls: `begin`, then for each statement `before_examination` if its text is new,
    `before_statement`, its run, `after_statement`. Each may raise `StatementError`, which refuses the transaction.
    """

    def begin(self, statements: Sequence[Statement]) -> None:
        """The savepoint of a client transaction is open; it has these statements."""
        ...

    def before_examination(self) -> None:
        """EXPLAIN of the statement that comes next will run."""
        ...

    def before_statement(self, facts: StatementFacts) -> None:
        """A statement is compiled and runs next."""
        ...

    def after_statement(self, facts: StatementFacts) -> None:
        """It has succeeded, and its rows are read."""
        ...


class LogFormat(Capture, Protocol):
    """A log format whose bodies are applied through SQL, inside a transaction."""

    def lead(self) -> None:
        """Prepare the connection for executing clients' statements."""
        ...

    def follow(self) -> None:
        """Prepare the connection for applying bodies."""
        ...

    def encode_alone(self, statement: Statement) -> bytes:
        """The body of a group that is one statement which runs outside of a transaction; always the same bytes."""
        ...

    def apply(self, body: bytes) -> None:
        """Bring the effects of one body into the open transaction. Raises `CodecError` or `DivergedError`."""
        ...

    def undo(self, body: bytes) -> bool:
        """Take the effects of one applied body back, in the open transaction; False when it does not say how. Raises as
        `apply`."""
        ...

    def after_apply(self) -> None:
        """The transaction with the applied or undone bodies is committed, or rolled back."""
        ...


def strict_decoder(body_type: Callable[..., _Body]) -> Callable[[bytes], _Body]:
    """A function from bytes to `body_type` that raises `CodecError`, and nothing else, for any other bytes."""
    decoder: Any = msgspec.msgpack.Decoder(body_type, strict=True)
    name = getattr(body_type, "__name__", "body")

    def decode(body: bytes) -> _Body:
        try:
            result: _Body = decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise CodecError(f"not a {name}: {error}") from error
        return result

    return decode


NO_DIVERGENCE = (apsw.FullError, apsw.IOError, apsw.NoMemError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError)
"""What SQLite raises when the disk or the file fails: the caller makes a `StorageError` of it."""


def diverged(action: str, error: Exception) -> DivergedError:
    """What the leader did fails here: the databases cannot be equal."""
    text = " ".join(str(error).split()) or type(error).__name__
    return DivergedError(f"cannot {action}: {text}", hint="this replica's database differs from the leader's")


def run(connection: apsw.Connection, sql: str, parameters: tuple[Parameter, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of one internal statement."""
    return connection.execute(sql, parameters).fetchall()


def set_enforcement(connection: apsw.Connection, *, on: bool) -> None:
    """Turn triggers and foreign keys on or off, also while a transaction is open (the pragma could not)."""
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(on))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, int(on))
