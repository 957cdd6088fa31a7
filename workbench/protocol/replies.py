"""Building replies to clients, for whichever role answers."""

from __future__ import annotations

from collections import defaultdict

from workbench.protocol.effects import Reply
from workbench.protocol.inputs import Queried
from workbench.protocol.messages import Outcome, ReadReply


def answer_queries(queried: Queried) -> list[Reply]:
    """One `Reply` for each client that has answers in `queried`."""
    replies: defaultdict[str, list[ReadReply]] = defaultdict(list)
    for client, read, result in queried.answers:
        outcome = Outcome.REFUSED if result.error else Outcome.OK
        replies[client].append(
            ReadReply(read.session, read.request, outcome, queried.position, result.columns, result.rows, result.error)
        )
    return [Reply(client, reads=tuple(reads)) for client, reads in replies.items()]
