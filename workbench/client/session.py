"""A session: one client's sequence of operations, one at a time.

Writes find the leader by themselves and are retried under the same (session, sequence), so that they take effect
once however often they are sent. Every failure is definite or indefinite, and says which.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from workbench.client.connection import ClientConnection
from workbench.client.results import ReadResult, WriteResult
from workbench.client.routing import ReadRouter
from workbench.errors import (
    ConfigurationError,
    DefiniteError,
    IndefiniteError,
    NotLeaderError,
    OverloadedError,
    StatementError,
)
from workbench.protocol.messages import Outcome, Read, ReadReply, SqlValue, Statement, Transaction, WriteReply

_SEARCH_PAUSE_S = 0.02
_INTEGER_MAX = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """How long a session waits: `timeout_s` for an operation, `retry_s` before it asks again."""

    timeout_s: float = 10.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s <= self.timeout_s <= 3600:
            raise ConfigurationError(
                f"timeout_s {self.timeout_s} with retry_s {self.retry_s}", hint="0 < retry_s <= timeout_s <= 3600"
            )


class Session:
    """Made by `Cluster.session`. Operations of one session run one after another, even when started together."""

    def __init__(
        self,
        connection: ClientConnection,
        *,
        read_policy: str = "leader",
        options: SessionOptions | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.identifier = secrets.randbits(48)
        self._connection = connection
        self._options = options or SessionOptions()
        self._rng = rng or random.Random()
        self._router = ReadRouter(read_policy, connection.members, self._rng)
        self._sequence = 0
        self._request = 0
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    @property
    def read_policy(self) -> str:
        """`leader`, `any` or `sticky`."""
        return self._router.policy

    async def write(self, sql: str, parameters: Sequence[SqlValue] = ()) -> WriteResult:
        """Execute one SQL statement on the leader; return once it is acknowledged.

        Raises `StatementError` (the SQL was refused), `NotLeaderError`, `OverloadedError`: it did not happen.
        Raises `IndefiniteError`: it may have happened.
        """
        return await self.transaction([(sql, parameters)])

    async def transaction(self, statements: Sequence[tuple[str, Sequence[SqlValue]]]) -> WriteResult:
        """Execute statements as one transaction, all of them or none; errors as for `write`."""
        checked = make_statements(statements)
        async with self._turn:
            self._sequence += 1
            return await self._write(Transaction(self.identifier, self._sequence, checked))

    async def read(self, sql: str, parameters: Sequence[SqlValue] = (), *, replica: str | None = None) -> ReadResult:
        """Run one reading statement on the replica that the policy chooses, or on `replica`.

        Raises `StatementError` (the SQL was refused), `NotLeaderError`, or `IndefiniteError` (no answer in time).
        """
        if replica is not None and replica not in self._connection.members:
            raise ConfigurationError(
                f"there is no replica {replica!r}", hint="one of " + ", ".join(self._connection.members)
            )
        statement = make_statement(sql, parameters)
        async with self._turn:
            return await self._read(statement, replica)

    # Writes.

    async def _write(self, transaction: Transaction) -> WriteResult:
        began = self._loop.time()
        deadline = began + self._options.timeout_s
        target = self._connection.leader
        unanswered = False
        while True:
            wait_s = min(self._options.retry_s, deadline - self._loop.time())
            if wait_s <= 0 or self._connection.closed:
                raise self._gave_up(unanswered, target)
            answer = await self._connection.write(target, transaction, wait_s)
            if answer is None:
                unanswered = True
                target = self._elsewhere(target)
                continue
            replica, reply = answer  # type: ignore[misc]
            assert isinstance(reply, WriteReply)
            if reply.outcome is Outcome.OK:
                milliseconds = (self._loop.time() - began) * 1e3
                return WriteResult(reply.position, reply.member, replica, reply.results, milliseconds)
            if reply.outcome is not Outcome.NOT_LEADER:
                raise _failure(reply, unanswered)
            target = await self._next_leader(target)

    async def _next_leader(self, refused_by: str) -> str:
        """Where to try after `refused_by` said that it does not lead."""
        leader = self._connection.leader
        if leader != refused_by:
            return leader
        await asyncio.sleep(_SEARCH_PAUSE_S)
        return self._elsewhere(refused_by)

    def _elsewhere(self, unlike: str) -> str:
        """The leader that is known by now, or any other replica, which may know it."""
        leader = self._connection.leader
        others = [name for name in self._connection.members if name != unlike]
        if leader != unlike or not others:
            return leader
        return self._rng.choice([*others, unlike])

    def _gave_up(self, unanswered: bool, target: str) -> IndefiniteError | DefiniteError:
        why = self._why_no_answer()
        if unanswered:
            return IndefiniteError(f"no acknowledgement {why}: the write may have happened")
        if self._connection.closed:
            return DefiniteError("the cluster of this session was stopped: nothing was sent")
        return NotLeaderError(f"found no leader {why}", leader=target)

    def _why_no_answer(self) -> str:
        if self._connection.closed:
            return "before the cluster was stopped"
        trouble = self._connection.trouble()
        return f"within {self._options.timeout_s:g} s" + (f" ({trouble})" if trouble else "")

    # Reads.

    async def _read(self, statement: Statement, replica: str | None) -> ReadResult:
        began = self._loop.time()
        deadline = began + self._options.timeout_s
        from_leader = replica is None and self._router.policy == "leader"
        target = replica or self._router.choose(self._connection.leader)
        self._request += 1  # one number for all tries, so that a slow answer to the first is still an answer
        read = Read(self.identifier, self._request, statement, from_leader)
        while True:
            wait_s = min(self._options.retry_s, deadline - self._loop.time())
            if wait_s <= 0 or self._connection.closed:
                raise IndefiniteError(f"no answer to a read from {target} {self._why_no_answer()}")
            answer = await self._connection.read(target, read, wait_s)
            if answer is None:
                self._router.gave_no_answer(target)
                target = replica or self._router.choose(self._elsewhere(target))
                continue
            answered_by, reply = answer  # type: ignore[misc]
            assert isinstance(reply, ReadReply)
            if reply.outcome is Outcome.OK:
                milliseconds = (self._loop.time() - began) * 1e3
                return ReadResult(reply.columns, reply.rows, reply.position, answered_by, milliseconds)
            if reply.outcome is not Outcome.NOT_LEADER:
                raise _failure(reply, unanswered=False)
            target = await self._next_leader(target)


def _failure(reply: WriteReply | ReadReply, unanswered: bool) -> Exception:
    """The error that a reply stands for.

    A refusal for lack of room says nothing about an earlier try of the same write that was never answered.
    """
    match reply.outcome:
        case Outcome.REFUSED:
            return StatementError(reply.reason)
        case Outcome.OVERLOADED if not unanswered:
            return OverloadedError(reply.reason, hint="send less at once")
        case _:
            return IndefiniteError(reply.reason)


def make_statements(pairs: Any) -> tuple[Statement, ...]:
    """Check a transaction's statements. Raises `StatementError`, naming what is wrong."""
    expected = "give at least one (sql, parameters) pair"
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        raise StatementError(f"a transaction must be a list of statements, not {type(pairs).__name__}", hint=expected)
    statements: list[Statement] = []
    for place, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise StatementError(f"statement {place} of the transaction is not a pair", hint=expected)
        statements.append(make_statement(*pair))
    if not statements:
        raise StatementError("a transaction without statements", hint=expected)
    return tuple(statements)


def make_statement(sql: str, parameters: Sequence[SqlValue]) -> Statement:
    """Check a statement's types. Raises `StatementError`, naming the parameter."""
    if not isinstance(sql, str):
        raise StatementError(f"SQL must be text, not {type(sql).__name__}")
    if not sql.isascii() and not _is_unicode(sql):
        raise StatementError("the SQL is not valid Unicode text", hint="it holds half of a surrogate pair")
    if isinstance(parameters, str | bytes | Mapping | Set) or not isinstance(parameters, Iterable):
        raise StatementError(
            f"parameters must be a sequence, not {type(parameters).__name__}", hint="for one parameter: (value,)"
        )
    return Statement(sql, tuple([_check_value(place, value) for place, value in enumerate(parameters, start=1)]))


def _check_value(place: int, value: SqlValue) -> SqlValue:
    """The common cases first: this runs for every parameter of every operation."""
    kind = type(value)
    if value is None or kind is bytes or kind is float:
        return value
    if isinstance(value, int):
        return _check_integer(place, value)
    if isinstance(value, str):
        return value if value.isascii() else _check_text(place, value)
    if isinstance(value, float | bytes):
        return value
    raise StatementError(f"parameter {place} is a {kind.__name__}", hint="None, int, float, str or bytes")


def _check_integer(place: int, value: int) -> int:
    if not -_INTEGER_MAX <= value < _INTEGER_MAX:
        raise StatementError(f"parameter {place} is out of range: {value}", hint="integers have 64 bits")
    return int(value)


def _check_text(place: int, value: str) -> str:
    if not _is_unicode(value):
        raise StatementError(f"parameter {place} is not valid Unicode text", hint="pass it as bytes")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
