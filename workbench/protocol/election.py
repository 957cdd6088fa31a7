"""Elections: when a replica stands, whom it votes for, when it has won. Raft's rules (Ongaro, 2014, chapters 3 and 9).

- **Silence.** Whoever hears no leader for a random time between the election timeout and its double stands. Silence
  is counted in ticks, and a late tick counts for little: after a stall of this very process, what lies in its inbox is
  read before the leader is taken for dead.
- **PreVote.** It first asks everybody whether it could win, in a term that nobody has yet. Only if a majority says so
  it makes the term, and asks for votes. Whoever has heard from a leader within the election timeout does not say so.
- **Up to date.** A vote goes only to a log whose end is not older than the voter's own (of what may have counted).
- **The lease's other half (CheckQuorum).** Whoever has heard from a leader within the election timeout votes for
  nobody, in real time this time, and the same for that time after its own start, since it may have forgotten that it
  heard. So
  while a majority's answers are younger than that, nobody else can be elected. Two exceptions: an election that the
  leader itself has asked for, and a replica without a term, which cannot have heard from any leader.

Terms and votes are durable before they are sent (`effects.py`, 1).
"""

from __future__ import annotations

import enum

from workbench.protocol.effects import Send
from workbench.protocol.messages import RequestVote, Vote
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position

_TICKS_COUNTED_MAX = 3
"""A tick counts for at most as much silence as this many ticks that come in time."""


class Stage(enum.Enum):
    """How far a candidate is."""

    PRE_VOTE = enum.auto()
    VOTE = enum.auto()


class Silence:
    """How long nothing was heard, in ticks that came in time. Times are nanoseconds."""

    def __init__(self, state: ReplicaState) -> None:
        self._tick_ns_max = _TICKS_COUNTED_MAX * state.ns(state.timing.tick_ms)
        self._last_tick = 0
        self.lasted_ns = 0

    def tick(self, at: int) -> None:
        """Time has passed."""
        if self._last_tick:
            self.lasted_ns += min(at - self._last_tick, self._tick_ns_max)
        self._last_tick = at

    def end(self, at: int) -> None:
        """Something was heard: what was before does not count, not even as a part of the next tick."""
        self.lasted_ns, self._last_tick = 0, at


class Election:
    """What a replica knows of the present election, through all of its terms and roles."""

    def __init__(self, state: ReplicaState, at: int) -> None:
        self._state = state
        self._silence = Silence(state)
        self._heard_at: int | None = at if state.term else None
        self._patience_ns = 0
        self._votes: set[str] = set()
        self._transfer = False
        self.stage: Stage | None = None
        """None: it does not stand."""
        self._draw_patience()

    def _draw_patience(self) -> None:
        self._patience_ns = round(self._state.election_timeout_ns * (1 + self._state.random()))

    # Time.

    def heard_leader(self, at: int) -> None:
        """The leader of the present term is alive."""
        self._heard_at = at
        self._silence.end(at)
        self.stage = None

    def is_patience_over(self, at: int) -> bool:
        """A tick: whether nothing was heard for so long that it is time to stand, or to stand again."""
        self._silence.tick(at)
        return self._silence.lasted_ns >= self._patience_ns

    def _hears_leader(self, at: int) -> bool:
        return self._heard_at is not None and at - self._heard_at < self._state.election_timeout_ns

    # Standing.

    def stand(self, at: int, *, transfer: bool = False, at_once: bool = False) -> None:
        """Ask for votes, or, where that is the rule, for promises of votes first."""
        self._silence.end(at)
        self._draw_patience()
        self._transfer = transfer
        pre = self._state.protections.pre_vote and not transfer and not at_once
        self._ask(Stage.PRE_VOTE if pre else Stage.VOTE)

    def stop(self) -> None:
        """Stand no more: somebody leads, or a newer term has begun."""
        self.stage = None

    def _ask(self, stage: Stage) -> None:
        state = self._state
        self.stage = stage
        self._votes = {state.name}
        pre = stage is Stage.PRE_VOTE
        if not pre:
            state.counts["elections"] += 1
            state.save_term(state.term + 1, state.name)
        state.leader = ""
        request = RequestVote(state.term + pre, state.name, state.log.last, pre, self._transfer)
        state.ask(*(Send(other, request) for other in state.others))
        self._count()

    def on_vote(self, vote: Vote) -> None:
        """Count a vote that was given in this very stage."""
        expected = (Stage.PRE_VOTE, self._state.term + 1) if vote.pre else (Stage.VOTE, self._state.term)
        if vote.granted and (self.stage, vote.term) == expected and vote.voter in self._state.members:
            self._votes.add(vote.voter)
            self._count()

    def _count(self) -> None:
        if self.stage is Stage.PRE_VOTE and self._has_majority():
            self._ask(Stage.VOTE)

    def _has_majority(self) -> bool:
        return len(self._votes) >= self._state.majority

    @property
    def is_won(self) -> bool:
        """Whether a majority has voted for this replica in the present term."""
        return self.stage is Stage.VOTE and self._has_majority()

    # Voting.

    def ignores(self, request: RequestVote, at: int) -> bool:
        """Whether a request is not even to be considered, since there is a leader."""
        matters = request.pre or self._state.protections.check_quorum
        return matters and not request.transfer and self._hears_leader(at)

    def answer(self, request: RequestVote, at: int) -> None:
        """Vote. The request's term is the present one; a PreVote's may be newer."""
        state = self._state
        if request.pre:
            granted = request.term > state.term and self._is_up_to_date(request)
        else:
            granted = state.voted_for in {"", request.candidate} and self._is_up_to_date(request)
            if granted and not state.voted_for:
                state.save_term(state.term, request.candidate)
            if granted:
                self._silence.end(at)
        term = request.term if granted else state.term
        state.ask(Send(request.candidate, Vote(term, state.name, granted, request.pre)))

    def _is_up_to_date(self, request: RequestVote) -> bool:
        return request.last >= self._own_last or not self._state.protections.up_to_date_check

    @property
    def _own_last(self) -> Position:
        """End of the own log, as far as it may have counted for a commit.

        A replica whose removal may still be undone is asked only by candidates that have not heard of it. Its copies of
        the removal and of what follows never counted: it gives its vote as if it had none of them. It does not stand
        itself; if it withheld its vote, nobody might be left to elect.
        """
        state = self._state
        changed_at = state.ledger.membership.changed_at
        if state.is_member or changed_at <= state.committed:
            return state.log.last
        return state.log.position_at(changed_at - 1)
