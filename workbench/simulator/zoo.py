"""A zoo of planted bugs: what an engineer could have got wrong, a line each, to see that the simulator notices.

A bug is a value; nothing of it is in the product's code (`patching.py`). `first_seed` is one of the first thousand that
catches it: where a test begins to look. Many seeds tell another story after a change of the simulator; then
`workbench simulate --bug NAME` says which it is now.
"""

from __future__ import annotations

from typing import Final

from workbench.simulator.bug import Bug
from workbench.simulator.patching import Patch
from workbench.simulator.zoo_disks import DISK_BUGS
from workbench.simulator.zoo_failovers import FAILOVER_BUGS

CORE_BUGS: Final = (
    Bug(
        "vote_for_older_log",
        "election",
        "correctness",
        "A vote goes to any log whose last term is as new as the voter's, however short it is.",
        Patch(
            "workbench.protocol.election",
            "return request.last >= self._own_last or",
            "return request.last.term >= self._own_last.term or",
        ),
        first_seed=7,
    ),
    Bug(
        "vote_twice",
        "election",
        "correctness",
        "A voter forgets that it has voted in this term.",
        Patch(
            "workbench.protocol.election",
            'granted = state.voted_for in {"", request.candidate} and self._is_up_to_date(request)',
            "granted = self._is_up_to_date(request)",
        ),
        first_seed=8,
    ),
    Bug(
        "vote_not_saved",
        "fsync",
        "correctness",
        "A vote is sent before it is on the disk.",
        Patch(
            "workbench.protocol.election",
            "state.save_term(state.term, request.candidate)",
            "state.voted_for = request.candidate",
        ),
        first_seed=0,
    ),
    Bug(
        "candidacy_not_saved",
        "fsync",
        "correctness",
        "A candidate asks for votes before its own term and vote are on the disk.",
        Patch(
            "workbench.protocol.election",
            "state.save_term(state.term + 1, state.name)",
            "state.term, state.voted_for = state.term + 1, state.name",
        ),
        first_seed=0,
    ),
    Bug(
        "term_not_saved",
        "fsync",
        "correctness",
        "A newer term is followed, and told to others, without being on the disk.",
        Patch(
            "workbench.protocol.replica",
            'self._state.save_term(term, "")',
            'self._state.term, self._state.voted_for = term, ""',
        ),
        first_seed=0,
    ),
    Bug(
        "half_is_majority",
        "election",
        "correctness",
        "Half of an even number of members is taken for a majority.",
        Patch(
            "workbench.protocol.state",
            "return len(self.members) // 2 + 1",
            "return (len(self.members) + 1) // 2",
        ),
        first_seed=19,
    ),
    Bug(
        "read_of_uncommitted",
        "lease",
        "correctness",
        "A linearizable read confirms the leadership alone, not that what it shows is committed.",
        Patch(
            "workbench.protocol.leader_reads",
            "if one.asked_at <= confirmed_ns and one.position.index <= state.committed:",
            "if one.asked_at <= confirmed_ns:",
        ),
        first_seed=7,
    ),
    Bug(
        "commit_without_majority",
        "acks",
        "correctness",
        "One disk too few commits an entry.",
        Patch(
            "workbench.protocol.acks",
            "return _kth_largest(held, len(held) // 2 + 1)",
            "return _kth_largest(held, len(held) // 2)",
        ),
        first_seed=0,
    ),
    Bug(
        "one_follower_too_few",
        "acks",
        "correctness",
        "The policy is met with one follower too few.",
        Patch(
            "workbench.protocol.acks",
            "needed = policy.followers_needed(len(followers) + 1)",
            "needed = max(0, policy.followers_needed(len(followers) + 1) - 1)",
        ),
        first_seed=0,
    ),
    Bug(
        "received_for_durable",
        "acks",
        "correctness",
        "What a follower has in memory counts as on its disk.",
        Patch(
            "workbench.protocol.progress",
            "                return self.durable",
            "                return self.received",
        ),
        first_seed=0,
    ),
    Bug(
        "retry_of_inherited_entry",
        "acks",
        "correctness",
        "A new leader acknowledges inherited entries before one of its own term meets the policy.",
        Patch(
            "workbench.protocol.leading",
            "if index < self._term_start or not is_new or not self._has_authority(at):",
            "if not is_new or not self._has_authority(at):",
        ),
        first_seed=66,
    ),
    Bug(
        "acknowledges_without_lease",
        "lease",
        "correctness",
        "A leader acknowledges though its lease has run out.",
        Patch(
            "workbench.protocol.leading",
            "if index < self._term_start or not is_new or not self._has_authority(at):",
            "if index < self._term_start or not is_new:",
        ),
        first_seed=15,
    ),
    Bug(
        "entries_without_match",
        "log matching",
        "correctness",
        "Entries are taken if the one before them has the right index, whatever its term.",
        Patch(
            "workbench.protocol.following",
            "fits = state.log.holds(message.previous)",
            "fits = message.previous.index <= state.log.last.index",
        ),
        first_seed=19,
    ),
    Bug(
        "rewind_keeps_durable",
        "rewind",
        "correctness",
        "After a rewind the dropped entries' indices still count as on disk.",
        Patch(
            "workbench.protocol.state",
            "        self.durable = min(self.durable, to.index)",
            "        self.durable = max(self.durable, to.index)",
        ),
        first_seed=102,
    ),
    Bug(
        "snapshot_of_uncommitted",
        "snapshots",
        "correctness",
        "A snapshot is sealed before what it holds is committed.",
        Patch(
            "workbench.protocol.compaction",
            "elif state.committed >= self._copied.index:",
            "else:",
        ),
        first_seed=43,
    ),
    Bug(
        "drops_one_entry_more",
        "snapshots",
        "correctness",
        "The log is dropped one entry beyond the snapshot.",
        Patch(
            "workbench.protocol.compaction",
            "state.ask(DropLog(position.index, ",
            "state.ask(DropLog(position.index + 1, ",
        ),
        first_seed=0,
    ),
    Bug(
        "never_goes_back",
        "log matching",
        "liveness",
        "A follower whose log differs asks for the same entries again and again.",
        Patch(
            "workbench.protocol.following",
            "self._fetch(at, self._state.log.newest_up_to(message.at))",
            "self._fetch(at)",
        ),
        first_seed=5,
    ),
    Bug(
        "stranger_ends_leader",
        "membership",
        "crash",
        "A report of a replica that is no member any more ends the leader.",
        Patch(
            "workbench.protocol.leading",
            "if follower is None or progress.received > self._state.log.last.index:",
            "if progress.received > self._state.log.last.index:",
        ),
        first_seed=6,
    ),
    Bug(
        "reads_without_lease",
        "lease",
        "correctness",
        "A leader read is answered though the lease has run out.",
        Patch(
            "workbench.protocol.leader_reads",
            "if needs_leader and (asked_at is None or (read.from_leader and not leads)):",
            "if needs_leader and asked_at is None:",
        ),
        first_seed=505,
    ),
)

BUGS: Final = (*CORE_BUGS, *FAILOVER_BUGS, *DISK_BUGS)
