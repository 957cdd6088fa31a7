"""The zoo's bugs in what must hold across failovers: who may still act as a leader, which writes took effect, and who
counts. Few schedules bring them to light: seeds draw themes, and aim (`drawing.py`)."""

from __future__ import annotations

from typing import Final

from workbench.simulator.bug import Bug
from workbench.simulator.patching import Patch

FAILOVER_BUGS: Final = (
    Bug(
        "stays_leader_in_newer_term",
        "fencing",
        "liveness",
        "A leader that hears of a newer term goes on leading.",
        Patch(
            "workbench.protocol.replica",
            "        if term > state.term:\n            self",
            "        if term > state.term and self.role is not Role.LEADER:\n            self",
        ),
        first_seed=12,
    ),
    Bug(
        "acts_after_handing_over",
        "fencing",
        "correctness",
        "A leader that has asked another one to take over still acknowledges and answers.",
        Patch(
            "workbench.protocol.leading",
            "if self._handover is not None and self._handover.asked:",
            "if self._handover is not None and self.is_over:",
        ),
        first_seed=69,
    ),
    Bug(
        "lease_too_long",
        "lease",
        "correctness",
        "A lease lasts longer than others keep from voting.",
        Patch(
            "workbench.protocol.state",
            "return self.election_timeout_ns * 9 // 10",
            "return self.election_timeout_ns * 2",
        ),
        first_seed=105,
    ),
    Bug(
        "lease_from_receipt",
        "lease",
        "correctness",
        "A lease begins when an answer comes, not when that was sent which it answers.",
        Patch(
            "workbench.protocol.progress",
            "self.echo_ns = max(self.echo_ns, progress.echo_ns)",
            "self.echo_ns = max(self.echo_ns, at)",
        ),
        first_seed=40,
    ),
    Bug(
        "read_of_an_old_round",
        "lease",
        "correctness",
        "A linearizable read is confirmed by answers to what was sent before it was asked.",
        Patch(
            "workbench.protocol.leader_reads",
            "if one.asked_at <= confirmed_ns and one.position.index <= state.committed:",
            "if one.position.index <= state.committed:",
        ),
        first_seed=114,
    ),
    Bug(
        "copy_of_older_write",
        "dedupe",
        "correctness",
        "A late copy of a write is known only while it is the newest of its session.",
        Patch(
            "workbench.protocol.admission",
            "if known is not None and known.sequence >= write.sequence:",
            "if known is not None and known.sequence == write.sequence:",
        ),
        first_seed=2,
    ),
    Bug(
        "retry_at_once",
        "dedupe",
        "correctness",
        "A retry is acknowledged as soon as the leader itself has the write on its disk.",
        Patch(
            "workbench.protocol.admission",
            "if known.position.index <= settled:",
            "if known.position.index <= self._state.durable:",
        ),
        first_seed=0,
    ),
    Bug(
        "forgets_what_it_forgot",
        "dedupe",
        "correctness",
        "A session that may have expired is taken for a new one.",
        Patch(
            "workbench.protocol.sessions",
            "return born < self._horizons[-1][1]",
            "return born < 0",
        ),
        first_seed=2,
    ),
    Bug(
        "rewind_keeps_sessions",
        "dedupe",
        "correctness",
        "After a rewind, the dropped writes still count as done.",
        Patch(
            "workbench.protocol.ledger",
            "self.sessions.truncate(after)",
            "self.sessions.commit(0)",
        ),
        first_seed=10,
    ),
    Bug(
        "snapshot_without_sessions",
        "dedupe",
        "correctness",
        "A snapshot does not say which writes took effect.",
        Patch(
            "workbench.protocol.sessions",
            "for one in image.sessions:",
            "for one in image.sessions[:0]:",
        ),
        first_seed=59,
    ),
    Bug(
        "observers_count",
        "membership",
        "correctness",
        "Observers count like members.",
        Patch(
            "workbench.protocol.progress",
            "if not (one.joining or one.observer)]",
            "if not one.joining]",
        ),
        first_seed=44,
    ),
    Bug(
        "removed_stands",
        "membership",
        "correctness",
        "A replica that was removed stands for election, and votes for itself.",
        Patch(
            "workbench.protocol.replica",
            "                if self._state.is_member:\n                    self._stand(at)",
            "                if self._state.members:\n                    self._stand(at)",
        ),
        first_seed=19,
    ),
    Bug(
        "rewind_keeps_members",
        "membership",
        "correctness",
        "A rewind does not undo a change of members that it drops.",
        Patch(
            "workbench.protocol.ledger",
            "self.membership.truncate(after)",
            "self.membership.truncate(after + 1_000_000)",
        ),
        first_seed=19,
    ),
    Bug(
        "two_changes_at_once",
        "membership",
        "correctness",
        "A change of members does not wait until the one before it is committed.",
        Patch(
            "workbench.protocol.handover",
            "if self.due is not None or state.ledger.membership.changed_at > state.committed:",
            "if self.due is not None:",
        ),
        first_seed=60,
    ),
    Bug(
        "no_abandon",
        "fencing",
        "correctness",
        "A leader that steps down leaves the group that it executes open.",
        Patch(
            "workbench.protocol.leading",
            "            self._state.ask(Abandon())",
            "            self._executing = None",
        ),
        first_seed=10,
    ),
    Bug(
        "reports_unmatched",
        "log matching",
        "correctness",
        "A follower reports its whole log, also where its leader's may differ.",
        Patch(
            "workbench.protocol.following",
            "            matched = self._matched",
            "            matched = state.log.last.index",
        ),
        first_seed=49,
    ),
)
