"""Who is elected, and who is not: terms, votes, logs, PreVote, silence."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import ask, cluster, drain, elections, outcomes, run, run_until_led, sent, state
from tests.protocol.world import MS, World
from workbench.config import Protections
from workbench.protocol.effects import SaveTerm, Send
from workbench.protocol.election import Stage
from workbench.protocol.inputs import Received, Tick
from workbench.protocol.log_view import LogView
from workbench.protocol.messages import AppendEntries, Campaign, Outcome, Progress, RequestVote, Vote
from workbench.protocol.roles import Role
from workbench.protocol.values import Position

FREE = Protections(check_quorum=False, pre_vote=False)
"""Votes are given whenever term and log allow it."""


def ask_for_vote(world: World, voter: str, candidate: str, term: int, last: Position | None = None) -> bool | None:
    """Whether the voter says yes; None if it does not answer."""
    world.network.clear()
    world.receive(voter, RequestVote(term, candidate, last or state(world, voter).log.last))
    votes = [message for message in sent(world, voter, candidate) if isinstance(message, Vote)]
    return votes[0].granted if votes else None


# Law 1: votes.


def test_law_1_a_vote_is_durable_before_it_is_sent() -> None:
    world = cluster(protections=FREE)
    voter = world.nodes["replica-2"].core
    effects = voter.handle(Received((RequestVote(5, "replica-3", voter.state.log.last),)), world.now)
    (sending,) = (effect for effect in effects if isinstance(effect, Send))
    assert sending.message == Vote(5, "replica-2", granted=True)
    assert effects.index(SaveTerm(5, "replica-3")) < effects.index(sending)


def test_law_1_a_candidate_is_durably_for_itself_before_it_asks_others() -> None:
    world = cluster(protections=FREE)
    candidate = world.nodes["replica-2"].core
    candidate.state.leader = ""
    effects = candidate.handle(Received((Campaign(0, ""),)), world.now)
    asked = [place for place, effect in enumerate(effects) if isinstance(effect, Send)]
    assert len(asked) == 2
    assert effects.index(SaveTerm(2, "replica-2")) < min(asked)


def test_law_1_a_replica_votes_once_a_term_also_across_a_restart() -> None:
    world = cluster(protections=FREE)
    assert ask_for_vote(world, "replica-2", "replica-3", 5)
    assert ask_for_vote(world, "replica-2", "replica-1", 5) is False
    world.crash("replica-2")
    world.restart("replica-2")
    assert ask_for_vote(world, "replica-2", "replica-1", 5) is False
    assert ask_for_vote(world, "replica-2", "replica-3", 5), "the same answer again, if the first one was lost"
    assert ask_for_vote(world, "replica-2", "replica-1", 6), "a new term, a new vote"


def test_law_1_a_leader_of_a_term_that_stepped_down_cannot_get_votes_for_it_any_more() -> None:
    world = cluster(protections=FREE)
    world.receive("replica-2", Progress(7, "replica-3", 0, 0, 0))
    world.receive("replica-2", Vote(7, "replica-1", granted=True), Vote(7, "replica-3", granted=True))
    assert world.nodes["replica-2"].core.role is Role.FOLLOWER, "it did not stand in term 7"
    world.receive("replica-1", Progress(7, "replica-3", 0, 0, 0))
    world.receive("replica-1", Vote(1, "replica-2", granted=True), Vote(7, "replica-2", granted=True))
    assert world.nodes["replica-1"].core.role is Role.FOLLOWER


def test_votes_of_an_earlier_candidacy_and_of_strangers_do_not_count() -> None:
    world = cluster(followers=4, protections=FREE)
    for candidacy in (2, 3):
        state(world, "replica-2").leader = ""
        world.receive("replica-2", Campaign(0, ""))
        assert state(world, "replica-2").term == candidacy
    world.receive(
        "replica-2",
        Vote(2, "replica-3", granted=True),
        Vote(2, "replica-4", granted=True),
        Vote(3, "replica-5", granted=True),
        Vote(3, "replica-5", granted=True),
        Vote(3, "stranger", granted=True),
        Vote(3, "replica-3", granted=True, pre=True),
    )
    assert world.leaders() == [world.nodes["replica-1"]], "its own vote and one more are not enough"
    world.receive("replica-2", Vote(3, "replica-4", granted=True))
    assert world.leader().name == "replica-2"


def test_clients_and_silent_followers_are_told_of_a_new_leader_each_by_a_way_of_its_own() -> None:
    world = cluster()
    assert [(news.term, news.leader) for news in world.news] == [(1, "replica-1")]
    world.cut_off = {"replica-3"}  # it hears no broadcast
    run(world, 260)
    world.paused, world.cut_off = {"replica-3"}, set()
    world.network.clear()
    run(world, 100)
    heartbeats = [len(sent(world, "replica-1", name)) for name in ("replica-2", "replica-3")]
    assert heartbeats == [0, 2], "the broadcast, and one for itself"
    world.crash("replica-1")
    world.paused = set()
    leader = run_until_led(world)
    assert [(news.term, news.leader) for news in world.news] == [(1, "replica-1"), (2, leader.name)]


# Law 6: the most up-to-date log.


@pytest.mark.parametrize(
    ("last", "granted"),
    [((2, 2), False), ((2, 9), False), ((3, 1), False), ((3, 2), True), ((3, 3), True), ((4, 1), True)],
)
def test_law_6_a_vote_goes_only_to_a_log_that_does_not_end_before_the_voters(
    last: tuple[int, int], granted: bool
) -> None:
    """First the term of the last entry counts, then its index."""
    world = cluster(protections=FREE)
    state(world, "replica-2").log = LogView([(1, 1), (3, 2)], last_index=2)
    assert ask_for_vote(world, "replica-2", "replica-3", 9, Position(*last)) is granted


@pytest.mark.parametrize("up_to_date_check", [True, False])
def test_law_6_the_most_up_to_date_replica_wins_and_without_the_check_committed_writes_are_lost(
    up_to_date_check: bool,
) -> None:
    world = cluster(protections=Protections(up_to_date_check=up_to_date_check))
    world.cut_off = {"replica-3"}
    ask(world, 1, 1)
    run(world, 100)
    assert outcomes(world, 1) == [Outcome.OK]
    assert state(world, "replica-1").committed == 2
    world.crash("replica-1")
    run(world, 300)  # no votes while the leader may have a lease
    world.cut_off = set()
    world.nodes["replica-2"].core._election._patience_ns = 10**12  # the other one stands first
    run(world, 700)
    assert elections(world) > 1 or up_to_date_check, "replica-3 had a try"
    world.nodes["replica-2"].core._election._patience_ns = 10**9
    leader = run_until_led(world)
    assert leader.name == ("replica-2" if up_to_date_check else "replica-3")
    survived = {name: "k1" in world.nodes[name].data for name in ("replica-2", "replica-3")}
    assert survived == dict.fromkeys(survived, up_to_date_check)


# PreVote and CheckQuorum.


@pytest.mark.parametrize("check_quorum", [True, False])
@pytest.mark.parametrize("pre_vote", [True, False])
def test_who_comes_back_from_a_cut_deposes_the_leader_unless_there_is_pre_vote(
    pre_vote: bool, check_quorum: bool
) -> None:
    world = cluster(protections=Protections(pre_vote=pre_vote, check_quorum=check_quorum))
    world.cut_off = {"replica-3"}
    run(world, 3_000)
    assert state(world, "replica-1").term == 1
    assert world.nodes["replica-3"].core.role is Role.CANDIDATE
    assert (state(world, "replica-3").term == 1) is pre_vote, "terms that nobody else hears of"
    world.cut_off = set()
    while not sent(world, "replica-3"):  # its questions come before any heartbeat reaches it
        world.now += 10 * MS
        world.handle("replica-3", Tick())
    run(world, 3_000)
    assert (state(world, "replica-1").term == 1) is pre_vote
    assert len(world.leaders()) == 1
    assert not pre_vote or world.leader().name == "replica-1"


def test_a_pre_vote_changes_nobodys_term_and_promises_nothing() -> None:
    world = cluster()
    world.now += 600 * MS
    voter = world.nodes["replica-2"]
    last = voter.core.state.log.last
    world.network.clear()
    world.receive("replica-2", RequestVote(2, "replica-3", last, pre=True), RequestVote(2, "replica-1", last, pre=True))
    world.receive("replica-2", RequestVote(2, "replica-3", Position(), pre=True))
    votes = [message for message in sent(world, "replica-2") if isinstance(message, Vote)]
    assert [(vote.granted, vote.pre) for vote in votes] == [(True, True), (True, True), (False, True)]
    assert voter.term == (1, "replica-1"), "on disk, as before"
    assert voter.core.state.term == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("check_quorum", [True, False])
@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_dead_leader_is_replaced_and_a_replica_that_comes_back_is_taken_in_under_every_combination(
    pre_vote: bool, check_quorum: bool, seed: int
) -> None:
    """No livelock: within ten seconds exactly one leads, and goes on leading."""
    protections = Protections(pre_vote=pre_vote, check_quorum=check_quorum)
    world = cluster(followers=4, seed=seed, protections=protections)
    world.cut_off = {"replica-5"}
    run(world, 2_500)  # in terms of its own, if there is no PreVote
    world.crash("replica-1")
    first = run_until_led(world)
    ask(world, 1, 1, to=first.name)
    run(world, 200)
    assert outcomes(world, 1) == [Outcome.OK]
    world.loss = 0.1
    world.cut_off = set()
    run(world, 1_000)
    world.loss = 0.0
    second = run_until_led(world)
    run(world, 3_000)
    assert [node.name for node in world.leaders()] == [second.name], "whoever leads goes on leading"
    followers = [name for name in world.names if name not in {"replica-1", second.name}]
    assert [state(world, name).leader for name in followers] == [second.name] * 3
    assert second.data == {"k1": 1}
    world.restart("replica-1")
    run(world, 2_000)
    assert [node.name for node in world.leaders()] == [second.name]
    assert world.nodes["replica-1"].data == {"k1": 1}


def test_with_two_members_a_dead_leader_cannot_be_replaced() -> None:
    world = cluster(followers=1)
    world.crash("replica-1")
    run(world, 5_000)
    assert world.leaders() == []
    assert world.nodes["replica-2"].core.role is Role.CANDIDATE
    assert state(world, "replica-2").term == 1, "PreVote: it asks, and makes no terms"
    world.restart("replica-1")
    run_until_led(world)


def test_a_single_member_elects_itself() -> None:
    world = cluster(followers=0)
    world.crash("replica-1")
    world.restart("replica-1")
    assert run_until_led(world).core.state.term == 2


# Silence.


def test_a_follower_that_was_stalled_reads_its_inbox_before_it_takes_the_leader_for_dead() -> None:
    world = cluster()
    world.paused = {"replica-2"}
    run(world, 10_000)
    world.paused = set()
    follower = world.nodes["replica-2"].core
    for _ in range(5):  # the ticks come first, the inbox a little later
        world.now += 20 * MS
        world.handle("replica-2", Tick())
    assert follower.role is Role.FOLLOWER
    world.deliver_to("replica-2")
    run(world, 1_000)
    assert (follower.role, follower.state.leader) == (Role.FOLLOWER, "replica-1")
    assert (elections(world), state(world, "replica-1").term) == (1, 1)


def test_nobody_stands_within_an_election_timeout_of_hearing_its_leader() -> None:
    """Its answer may be what the leader's lease rests on. A late tick must not count for the time before it heard."""
    world = cluster()
    follower = world.nodes["replica-2"].core
    follower._election._patience_ns = state(world, "replica-2").election_timeout_ns
    world.now += 100 * MS
    heard_at = world.now
    last = follower.state.log.last
    world.receive("replica-2", AppendEntries(1, "replica-1", last, last.index, last.index, (), heard_at))
    while follower.role is Role.FOLLOWER:
        world.now += 1 * MS
        world.handle("replica-2", Tick())
    assert world.now - heard_at >= follower.state.election_timeout_ns


def test_a_candidate_follows_again_when_its_leader_turns_out_to_be_alive() -> None:
    world = cluster()
    world.cut_off = {"replica-2"}
    run(world, 1_500)
    candidate = world.nodes["replica-2"].core
    assert (candidate.role, candidate._election.stage) == (Role.CANDIDATE, Stage.PRE_VOTE)
    world.cut_off = set()
    last = state(world, "replica-1").log.last
    world.receive("replica-2", AppendEntries(1, "replica-1", last, last.index, last.index, (), world.now))
    assert (candidate.role, candidate._election.stage, candidate.state.leader) == (Role.FOLLOWER, None, "replica-1")
    world.receive("replica-2", Vote(2, "replica-3", granted=True, pre=True))
    assert candidate.role is Role.FOLLOWER, "the promise came too late"


def test_candidates_that_split_the_votes_try_again_until_one_wins() -> None:
    world = cluster(followers=3, protections=FREE)
    world.crash("replica-1")
    for name in ("replica-2", "replica-3", "replica-4"):
        world.nodes[name].core._election._patience_ns = 0
    world.tick_all(20)
    assert [world.nodes[name].core.role for name in world.names[1:]] == [Role.CANDIDATE] * 3, "nobody is left to vote"
    drain(world)
    assert world.leaders() == []
    run_until_led(world)


def test_a_candidate_with_an_older_log_cannot_win_but_its_term_is_taken_note_of() -> None:
    world = cluster(protections=FREE)
    world.cut_off = {"replica-3"}
    ask(world, 1, 1)
    run(world, 1_500)
    behind = state(world, "replica-3").term
    assert behind > 1
    world.cut_off = set()
    run(world, 3_000)
    leader = run_until_led(world)
    assert leader.name != "replica-3"
    assert leader.core.state.term > behind
    assert world.nodes["replica-3"].data == {"k1": 1}
