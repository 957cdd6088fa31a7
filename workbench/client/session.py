"""A session: one client's sequence of operations, one at a time.

Writes find the leader by themselves and are retried under the same (session, sequence), so that they take effect
once however often they are sent. Every failure is definite or indefinite, and says which. What a session has written
and read is remembered as a token; whether later reads depend on it is for its read policy to say (`policies.py`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from workbench.client.connection import ClientConnection
from workbench.client.own import Own
from workbench.client.policies import Terms
from workbench.client.reading import ReadOperation
from workbench.client.results import ReadResult, WriteResult
from workbench.client.routing import ReadRouter
from workbench.client.search import ReplicaSearch
from workbench.client.seen import Seen
from workbench.client.statements import make_statement, make_statements
from workbench.client.tokens import Token
from workbench.client.writing import WriteOperation
from workbench.errors import ConfigurationError, OperationError
from workbench.protocol.values import SqlValue, Statement, Transaction

_IDENTIFIER_BITS = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """How long a session waits: `timeout_s` for an operation, at most `retry_s` before it asks again."""

    timeout_s: float = 10.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s <= self.timeout_s <= 3600:
            raise ConfigurationError(
                f"timeout_s {self.timeout_s} with retry_s {self.retry_s}", hint="0 < retry_s <= timeout_s <= 3600"
            )


class Session:
    """Made by `Cluster.session`. Operations of one session run one after another, even when started together.

    `own_tables` and `own_keys` (values of parameters) are what the session may edit, for the read policy
    `read_your_writes:leader_for_own`; given neither, it is every table that the session has written to.
    """

    def __init__(
        self,
        connection: ClientConnection,
        *,
        read_policy: str = "leader",
        options: SessionOptions | None = None,
        own_tables: Iterable[str] | None = None,
        own_keys: Set[SqlValue] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.identifier = secrets.randbits(_IDENTIFIER_BITS)
        """What the replicas know it by. A session that they have forgotten takes another one."""
        self._born: int | None = None
        """What was committed when the session first wrote under its identifier."""
        self._connection = connection
        self._options = options or SessionOptions()
        self._rng = rng or random.Random()
        self._own = Own(own_tables, own_keys)
        self._router = ReadRouter(read_policy, connection, self._own, self._rng)
        self._seen = Seen()
        self._sequence = 0
        self._request = 0
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    @property
    def read_policy(self) -> str:
        """The policy as text; docs/sessions.md lists them."""
        return str(self._router.policy)

    # What it has seen.

    @property
    def token(self) -> Token:
        """What this session has written, read and been told; `str` of it can be passed on, `Token.parse` reads it."""
        return self._seen.everything

    def observe(self, token: Token) -> None:
        """What this session reads from now on under `causal` contains what `token` stands for."""
        self._seen.observe(token)

    def forget(self) -> None:
        """Depend on nothing that was seen so far; how a session goes on after `LostPosition`."""
        self._seen.forget()

    # Writes.

    async def write(self, sql: str, parameters: Sequence[SqlValue] = ()) -> WriteResult:
        """Execute one SQL statement on the leader; return once it is acknowledged.

        Raises `StatementError` (the SQL was refused), `NotLeaderError`, `OverloadedError`: it did not happen.
        Raises `IndefiniteError`: it may have happened. Each error carries `identifier` and `sequence`.
        """
        return await self.transaction([(sql, parameters)])

    async def transaction(self, statements: Sequence[tuple[str, Sequence[SqlValue]]]) -> WriteResult:
        """Execute statements as one transaction, all of them or none; errors as for `write`."""
        checked = make_statements(statements)
        async with self._turn:
            self._sequence += 1
            self._own.wrote(checked)
            operation = WriteOperation(self._connection, self._rng, self._options.timeout_s, self._options.retry_s)
            transaction = self._transaction(checked)
            try:
                while (result := await operation.run(transaction)) is None:  # forgotten, but nothing was sent before
                    self.identifier, self._born = secrets.randbits(_IDENTIFIER_BITS), None
                    transaction = self._transaction(checked)
            except OperationError as error:
                error.identifier, error.sequence = transaction.session, transaction.sequence
                raise
            self._seen.wrote(result.position, self._loop.time())
            return result

    def _transaction(self, statements: tuple[Statement, ...]) -> Transaction:
        if self._born is None:
            self._born = self._connection.committed
        return Transaction(self.identifier, self._sequence, statements, self._born)

    # Reads.

    async def read(self, sql: str, parameters: Sequence[SqlValue] = (), *, replica: str | None = None) -> ReadResult:
        """Run one reading statement where the policy allows it; or on `replica`, whatever the policy says.

        Raises `StatementError` (the SQL was refused), `LostPosition` (what the policy relies on was dropped by a
        rewind), `NotReadyError` (no replica could answer on the policy's terms), `OverloadedError`, or
        `IndefiniteError` (no answer in time).
        """
        names = (*self._connection.members, *self._connection.observers)
        if replica is not None and replica not in names:
            raise ConfigurationError(f"there is no replica {replica!r}", hint="one of " + ", ".join(names))
        statement = make_statement(sql, parameters)
        async with self._turn:
            retry_s = self._options.retry_s
            if replica is None:
                terms = self._router.terms(statement, self._seen, self._loop.time())
                search = self._router.search(terms, retry_s)
            else:
                terms = Terms(replicas=(replica,))
                search = ReplicaSearch(lambda avoid: "" if replica in avoid else replica, retry_s)
            operation = ReadOperation(self._connection, search, terms, self._options.timeout_s)
            result = await operation.run(self.identifier, self._next_request, statement)
            self._seen.has_read(result.position, terms.after)
            return result

    def _next_request(self) -> int:
        self._request += 1
        return self._request
