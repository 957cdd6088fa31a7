"""One write, from its first try to its end.

A try that got no answer may have happened, and may still. From then on only an acknowledgement ends the write for
certain, or a refusal of its SQL, where every try went to the replica that refuses it: another one may execute what this
one refused. Whatever else a replica answers is about its own try alone.
"""

from __future__ import annotations

import asyncio
import random

from workbench.client.connection import Answer, ClientConnection
from workbench.client.outbox import Request
from workbench.client.results import WriteResult
from workbench.client.search import FIRST_WAIT_S, LeaderSearch, Next
from workbench.errors import DefiniteError, IndefiniteError, NotLeaderError, OverloadedError, StatementError
from workbench.protocol.messages import Outcome, WriteReply
from workbench.protocol.values import Transaction

_COMMIT_PAUSE_S = 0.05
_BYTES_PER_S_MIN = 5e6
"""A long write is sent again only after a time in which it could have been answered."""


class WriteOperation:
    """Sends one client transaction until it has ended or `timeout_s` is over."""

    def __init__(self, connection: ClientConnection, rng: random.Random, timeout_s: float, retry_s: float) -> None:
        self._connection = connection
        self._rng = rng
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._made_search: LeaderSearch | None = None
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._until = self._began + timeout_s
        self._unanswered: set[str] = set()
        """Who has not answered a try, or only that he does not know how it ends."""
        self._several_reigns = False
        """Whether somebody was asked again because he was elected again: his later word is not about his first try."""
        self._reason = ""

    async def run(self, transaction: Transaction) -> WriteResult | None:
        """The acknowledgement; None when the replicas have forgotten the session, and certainly did nothing.

        Raises what `Session.write` raises.
        """
        request = Request.of(transaction)
        on_its_way_s = size_bytes(transaction) / _BYTES_PER_S_MIN
        while True:
            if self._loop.time() >= self._until or self._connection.closed:
                raise self._gave_up()
            replica, patience_s = self._next()
            answer = await self._connection.ask(
                replica, request, patience_s=patience_s + on_its_way_s, until=self._until, needs_leader=True
            )
            reply = answer.reply
            if reply is None:
                self._unanswered.update(answer.asked)
                self._search.no_answer(answer.asked)
                continue
            assert isinstance(reply, WriteReply)
            if reply.outcome is Outcome.OK:
                return self._result(transaction, reply, answer.replica)
            self._several_reigns |= answer.asked.count(answer.replica) > 1
            self._unanswered.update(name for name in answer.asked if name != answer.replica)
            if reply.outcome is Outcome.EXPIRED and not self._is_in_doubt:
                await self._until_committed(transaction.born)
                return None
            if not self._may_go_on(reply, answer):
                raise self._failure(reply, answer.replica)
            self._search.refused(answer)

    def _next(self) -> Next:
        """Nearly every write is answered by the leader that it is sent to first, and needs no search."""
        if self._made_search is None and (leader := self._connection.leader):
            return Next(leader, min(FIRST_WAIT_S, self._retry_s))
        return self._search.next()

    @property
    def _search(self) -> LeaderSearch:
        if self._made_search is None:
            self._made_search = LeaderSearch(self._connection, self._rng, self._retry_s)
        return self._made_search

    async def _until_committed(self, born: int) -> None:
        """A new leader may not know yet what is committed: a session born at the same index would be unknown again."""
        if self._connection.committed <= born:
            self._reason = "the leader does not know yet what is committed"
            await asyncio.sleep(_COMMIT_PAUSE_S)

    @property
    def _is_in_doubt(self) -> bool:
        return bool(self._unanswered) or self._several_reigns

    def _result(self, transaction: Transaction, reply: WriteReply, replica: str) -> WriteResult:
        return WriteResult(
            reply.position,
            reply.member,
            replica,
            reply.results,
            (self._loop.time() - self._began) * 1e3,
            transaction.sequence,
            transaction.session,
        )

    def _may_go_on(self, reply: WriteReply, answer: Answer) -> bool:
        """Whether another replica may still bring the write to a certain end."""
        match reply.outcome:
            case Outcome.NOT_LEADER | Outcome.NOT_READY:
                return True
            case Outcome.INDEFINITE if answer.leader != answer.replica:
                # It has stopped leading while the write waited. The next leader knows whether it took effect.
                self._unanswered.add(answer.replica)
                self._reason = reply.reason
                return True
            case _:
                return False

    def _failure(self, reply: WriteReply, replica: str) -> Exception:
        match reply.outcome:
            case Outcome.REFUSED if self._unanswered <= {replica} and not self._several_reigns:
                return StatementError(reply.reason)
            case Outcome.OVERLOADED if not self._is_in_doubt:
                return OverloadedError(reply.reason, hint="send less at once")
            case Outcome.EXPIRED:
                return IndefiniteError("the session expired: the write may have happened")
            case _:
                return IndefiniteError(reply.reason)

    def _gave_up(self) -> IndefiniteError | DefiniteError:
        why = why_no_answer(self._connection, self._timeout_s)
        reason = f"; {self._reason}" if self._reason else ""
        if self._is_in_doubt:
            return IndefiniteError(f"no acknowledgement {why}: the write may have happened{reason}")
        if self._connection.closed:
            return DefiniteError("the cluster of this session was stopped: nothing was sent")
        return NotLeaderError(f"found no leader {why}{reason}", leader=self._connection.leader)


def size_bytes(transaction: Transaction) -> int:
    """About how long a transaction is."""
    size = 0
    for statement in transaction.statements:
        size += len(statement.sql)
        for value in statement.parameters:
            if type(value) is str or type(value) is bytes:
                size += len(value)
    return size


def why_no_answer(connection: ClientConnection, timeout_s: float) -> str:
    """How long was waited in vain, and what is known of the cause."""
    if connection.closed:
        return "before the cluster was stopped"
    trouble = connection.trouble()
    return f"within {timeout_s:g} s" + (f" ({trouble})" if trouble else "")
