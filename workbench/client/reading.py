"""One read, from its first try to its end.

All tries on the same terms have one number, so that a slow answer to the first is still an answer. A read that must
contain several positions takes as many numbers as it needs (see `tokens.Containment`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from workbench.client.connection import Answer, ClientConnection
from workbench.client.outbox import Request
from workbench.client.policies import Terms
from workbench.client.results import ReadResult
from workbench.client.search import Search
from workbench.client.tokens import Containment
from workbench.client.writing import why_no_answer
from workbench.errors import (
    DefiniteError,
    IndefiniteError,
    LostPosition,
    NotReadyError,
    OverloadedError,
    StatementError,
)
from workbench.protocol.messages import Outcome, Read, ReadReply
from workbench.protocol.values import Position, Statement


class ReadOperation:
    """Asks for the answer of one statement, on the same terms wherever it asks, until `timeout_s` is over."""

    def __init__(self, connection: ClientConnection, search: Search, terms: Terms, timeout_s: float) -> None:
        self._connection = connection
        self._search = search
        self._terms = terms
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._until = self._began + timeout_s
        self._last_asked = ""
        self._reason = ""
        """Why the last one that answered could not give what was asked for."""

    async def run(self, session: int, number: Callable[[], int], statement: Statement) -> ReadResult:
        """The rows. `number` gives the next number of a request. Raises what `Session.read` raises."""
        containment = Containment(self._terms.after)
        replica = ""
        while True:
            after = containment.after
            read = self._read(session, number(), statement, after)
            reply, replica = await self._ask(Request.of(read), replica)
            if containment.is_shown_by(after, reply.position):
                milliseconds = (self._loop.time() - self._began) * 1e3
                return ReadResult(reply.columns, reply.rows, reply.position, replica, milliseconds)

    def _read(self, session: int, request: int, statement: Statement, after: Position) -> Read:
        terms = self._terms
        return Read(
            session,
            request,
            statement,
            terms.from_leader,
            terms.linearizable,
            after,
            terms.lag_entries_max,
            terms.lag_ms_max,
        )

    async def _ask(self, request: Request, first: str) -> tuple[ReadReply, str]:
        """Rows, and who gave them. The replica `first`, if any, is asked first: its answer adds to its last one."""
        while True:
            if self._loop.time() >= self._until or self._connection.closed:
                raise self._gave_up()
            replica, patience_s = self._search.next()
            replica, first = first or replica, ""
            self._last_asked = replica or self._last_asked
            answer = await self._connection.ask(
                replica, request, patience_s=patience_s, until=self._until, needs_leader=self._terms.needs_leader
            )
            if answer.reply is None:
                self._search.no_answer(answer.asked)
                continue
            assert isinstance(answer.reply, ReadReply)
            if answer.reply.outcome is Outcome.OK:
                return answer.reply, answer.replica
            if answer.reply.outcome not in {Outcome.NOT_LEADER, Outcome.NOT_READY}:
                raise _failure(answer.reply, request)
            self._reason = _reason(answer)
            self._search.refused(answer)

    def _gave_up(self) -> IndefiniteError | DefiniteError:
        why = why_no_answer(self._connection, self._timeout_s)
        if self._reason and not self._connection.closed:
            return NotReadyError(f"no replica could answer {why}: {self._reason}")
        asked = f" from {self._last_asked}" if self._last_asked else ""
        return IndefiniteError(f"no answer to a read{asked} {why}")


def _reason(answer: Answer) -> str:
    assert answer.reply is not None
    if answer.reply.outcome is Outcome.NOT_LEADER:
        return f"{answer.replica} does not lead"
    return answer.reply.reason


def _failure(reply: ReadReply, request: Request) -> Exception:
    match reply.outcome:
        case Outcome.REFUSED:
            return StatementError(reply.reason)
        case Outcome.OVERLOADED:
            return OverloadedError(reply.reason, hint="send less at once")
        case Outcome.LOST_POSITION:
            assert isinstance(request.content, Read)
            return LostPosition(request.content.after)
        case _:
            return IndefiniteError(reply.reason)
