"""The eight laws of a replica (DESIGN.md, section 4), each held by a small scenario that names it.

`test_random_schedules.py` holds most of them under every kind of bad luck; here one can see what each is about.
"""

from __future__ import annotations

import pytest

from tests.protocol.world import CLIENT, World, converged, transaction
from workbench.config import AckPolicy, Limits
from workbench.protocol.codec import decode
from workbench.protocol.effects import Broadcast, SaveTerm, Send
from workbench.protocol.inputs import Received
from workbench.protocol.messages import AppendEntries, ClientBatch, Outcome, Progress, TakeOver
from workbench.protocol.roles import Role
from workbench.protocol.values import Position, Statement, Transaction


def started(ack: str, **options: object) -> World:
    """A cluster whose first leader has its empty entry everywhere."""
    world = World(ack=AckPolicy.parse(ack), **options)  # type: ignore[arg-type]
    world.appoint()
    world.settle()
    return world


def run_dry(world: World) -> None:
    """Everything that can happen without time passing."""
    while world.step(time_too=False):
        pass


def outcome_of(world: World, session: int) -> Outcome:
    """How a session's only write ended."""
    (reply,) = [reply for reply in world.writes if reply.session == session]
    return reply.outcome


# Law 1: one leader a term.


def test_law_1_a_restarted_leader_never_resumes_its_term() -> None:
    world = started("async")
    world.crash("replica-1")
    world.restart("replica-1")
    assert world.nodes["replica-1"].core.role is Role.FOLLOWER
    world.appoint()
    assert world.nodes["replica-1"].term == (2, "replica-1")


def test_law_1_a_term_is_durable_before_anybody_hears_of_it() -> None:
    world = started("async")
    effects = world.nodes["replica-2"].core.handle(Received((TakeOver(1, "replica-1"),)), world.now)
    kinds = [type(effect) for effect in effects]
    assert kinds.index(SaveTerm) < min(kinds.index(kind) for kind in (Send, Broadcast) if kind in kinds)


def test_law_1_a_second_leader_of_a_term_is_not_listened_to() -> None:
    world = started("async")
    follower = world.nodes["replica-3"]
    pretender = AppendEntries(1, "replica-2", Position(1, 1), 1, 1)
    world.receive("replica-3", pretender)
    world.receive("replica-1", pretender)
    assert follower.core.state.leader == "replica-1"
    assert world.nodes["replica-1"].core.role is Role.LEADER
    assert [world.nodes[name].core.state.refused_messages for name in ("replica-1", "replica-3")] == [1, 1]


# Law 2: log matching.


def test_law_2_an_entry_is_taken_only_behind_the_entry_it_follows() -> None:
    world = started("async")
    world.elect(("replica-2", "replica-3"))  # replica-1 goes on in term 1 and hears nothing
    world.network.clear()
    world.write(1, 1, "x", "old", to="replica-1")
    world.store_all("replica-1")
    world.write(2, 1, "x", "new", to="replica-2")
    world.store_all("replica-2")
    new = [one for one in world.network if one[:2] == ("replica-2", "replica-1")]
    world.network = new[-1:]  # replica-1 holds an entry at the index before this one, but not that of replica-2
    world.deliver()
    assert world.nodes["replica-1"].core.state.log.last == Position(1, 2)
    world.settle()
    assert converged(world)
    assert world.nodes["replica-1"].data == {"x": "new"}


# Law 3: state is the log.


def test_law_3_a_database_shows_its_log_through_crashes_and_rewinds() -> None:
    world = started("async")
    for number in range(1, 6):
        world.write(1, number, f"k{number}", number)
        world.store("replica-1")
        world.answer("replica-1")
        world.deliver_all()
        world.store_all("replica-2")
        if number == 3:
            world.store_all("replica-3")
        if number < 5:
            world.store_all("replica-1")
    world.crash("replica-1")  # between the execution of the fifth write and its sync
    world.crash("replica-3")
    world.restart("replica-1")
    world.restart("replica-3")
    assert world.nodes["replica-1"].data == {f"k{number}": number for number in range(1, 5)}
    assert world.nodes["replica-2"].data == {f"k{number}": number for number in range(1, 6)}
    world.appoint("replica-1")
    world.settle()
    assert converged(world)
    assert world.nodes["replica-2"].data == {f"k{number}": number for number in range(1, 5)}


# Law 4: no early acknowledgement.


@pytest.mark.parametrize(
    ("policy", "followers", "level"),
    [
        ("async", 0, ""),
        ("semi_sync:1/received", 1, "received"),
        ("quorum", 1, "durable"),
        ("sync/durable", 2, "durable"),
        ("sync", 2, "applied"),
    ],
)
def test_law_4_a_write_is_acknowledged_when_the_policy_is_met_and_not_before(
    policy: str, followers: int, level: str
) -> None:
    world = started(policy)
    world.write(1, 1, "x", 1)
    world.store("replica-1")
    world.answer("replica-1")
    shipped, world.network = world.network, []
    assert not world.writes, "the leader itself has it in memory only"
    world.store_all("replica-1")
    for name in ("replica-2", "replica-3")[:followers]:
        assert not world.writes
        world.network = [one for one in shipped if one[1] == name]
        world.deliver()
        for _ in range({"received": 0, "durable": 1, "applied": 2}[level]):
            world.deliver_all()
            assert not world.writes
            world.store(name)
            world.answer(name)
        world.deliver_all()
    assert [reply.outcome for reply in world.writes] == [Outcome.OK]


def test_law_4_a_retry_of_an_inherited_write_waits_for_the_new_term() -> None:
    world = started("quorum", elected=True)
    world.write(1, 1, "x", 1)
    world.store("replica-1")
    world.answer("replica-1")
    world.deliver_all()
    world.store_all("replica-2")
    world.crash("replica-1")
    world.elect(("replica-2", "replica-3"))
    world.store_all("replica-2")
    world.network.clear()
    world.write(1, 1, "x", 1, to="replica-2")
    world.receive("replica-2", Progress(2, "replica-3", 2, 2, 2))  # the inherited entry is on a majority's disks
    world.receive("replica-2", ClientBatch("client-2", (transaction(1, 1, "x", 1),)))
    assert not world.writes, "but none of the own term is"
    world.settle()
    assert [(reply.outcome, reply.position) for reply in world.writes] == [(Outcome.OK, Position(1, 2))] * 2


def test_law_4_a_follower_counts_only_entries_that_match_its_leaders_log() -> None:
    world = started("async")
    for number in (1, 2, 3):
        world.write(1, number, "x", number)
        world.store_all("replica-1")
    world.deliver_to("replica-2")
    world.store_all("replica-2")
    world.network.clear()
    world.receive("replica-2", AppendEntries(2, "replica-3", Position(1, 1), 1, 1))
    (report,) = (decode(frame) for _, target, frame in world.network if target == "replica-3")
    assert world.nodes["replica-2"].core.state.applied == 4
    assert report == Progress(2, "replica-2", 1, 1, 1)


# Law 5: fencing.


def test_law_5_an_old_leader_acknowledges_nothing_once_a_majority_follows_another() -> None:
    world = started("quorum")
    world.elect(("replica-2", "replica-3"))
    world.network.clear()  # replica-1 has not heard of it
    world.write(1, 1, "x", "old", to="replica-1")
    world.store_all("replica-1")
    run_dry(world)  # its followers answer with the newer term
    assert outcome_of(world, 1) is Outcome.INDEFINITE
    assert world.nodes["replica-1"].core.role is Role.FOLLOWER
    world.write(2, 1, "x", "late", to="replica-1")
    assert outcome_of(world, 2) is Outcome.NOT_LEADER


# Law 6: committed entries survive.


def test_law_6_only_what_a_majority_has_on_disk_is_committed() -> None:
    world = started("semi_sync:1", followers=4, elected=True)
    leader = world.nodes["replica-1"].core.state
    world.write(1, 1, "x", 1)
    world.store_all("replica-1")
    for name in ("replica-2", "replica-3"):
        assert leader.committed == 1
        world.deliver_to(name)
        world.store_all(name)
        world.deliver_to("replica-1")
        assert outcome_of(world, 1) is Outcome.OK, "the policy asks for less than a majority"
    assert leader.committed == 2


@pytest.mark.parametrize("seed", range(5))
def test_law_6_committed_entries_survive_the_loss_of_any_minority(seed: int) -> None:
    world = started("quorum", followers=4, seed=seed, elected=True)
    for number in range(1, 31):
        world.write(number, 1, f"k{number}", number, to=world.leader().name)
        for _ in range(world.rng.randrange(30)):
            world.step()
        if number % 10 == 0:
            lost = world.rng.sample(world.names, 2)
            for name in lost:
                world.crash(name)
            world.elect()
            run_dry(world)
            for name in lost:
                world.restart(name)
    world.settle()
    acknowledged = {f"k{reply.session}" for reply in world.writes if reply.outcome is Outcome.OK}
    assert len(acknowledged) >= 10
    assert acknowledged <= world.leader().data.keys()
    world.laws.committed_survived(world.leader().log)


# Law 7: at most once.


def test_law_7_an_old_copy_does_not_run_behind_a_newer_write() -> None:
    world = started("quorum")
    world.write(1, 2, "x", "second")
    world.write(1, 3, "x", "third")  # waits while the second executes
    world.write(1, 1, "x", "first")
    world.settle()
    world.write(1, 3, "x", "third")
    world.settle()
    assert [(reply.sequence, reply.outcome) for reply in world.writes] == [
        (1, Outcome.INDEFINITE),
        (2, Outcome.OK),
        (3, Outcome.OK),
        (3, Outcome.OK),
    ]
    world.laws.took_effect_once(world.nodes["replica-1"].log)
    assert world.nodes["replica-1"].data == {"x": "third"}


def test_law_7_a_retry_at_the_next_leader_gets_the_first_reply() -> None:
    world = started("quorum", elected=True)
    world.write(1, 1, "x", 1)
    world.settle()
    world.crash("replica-1")
    leader = world.elect()
    world.write(1, 1, "x", 1, to=leader)
    world.settle()
    first, again = world.writes
    assert first == again
    world.laws.took_effect_once(world.nodes[leader].log)


def test_law_7_a_write_forgotten_for_lack_of_room_is_known_by_its_number() -> None:
    world = World(ack=AckPolicy.asynchronous())
    world.appoint()
    for number in range(1, 101):  # nothing is committed: no follower hears of anything
        world.write(1, number, "x", number)
        world.store_all("replica-1")
    world.network.clear()
    world.depose("replica-2")  # which has nothing of all that
    world.settle()
    world.depose("replica-1")
    world.writes.clear()
    world.write(1, 50, "x", "an old copy")
    world.write(1, 101, "x", "the next write")
    world.settle()
    assert [reply.outcome for reply in world.writes] == [Outcome.INDEFINITE, Outcome.OK]
    assert world.nodes["replica-1"].data == {"x": "the next write"}


def test_law_7_a_write_that_was_rewound_is_run_again_when_it_is_asked_for_again() -> None:
    world = started("async")
    world.write(1, 1, "x", 1)
    world.store_all("replica-1")
    world.network.clear()
    world.depose("replica-2")
    world.settle()
    world.depose("replica-1")
    world.write(1, 1, "x", 1)
    world.settle()
    assert [(reply.outcome, reply.position.term) for reply in world.writes] == [(Outcome.OK, 1), (Outcome.OK, 3)]
    assert [node.data for node in world.nodes.values()] == [{"x": 1}] * 3


# Law 8: honest errors.


def test_law_8_what_was_refused_definitely_never_happens() -> None:
    limits = Limits(waiting_transactions_max=1, group_transactions_max=1)
    world = World(ack=AckPolicy.sync(), limits=limits)
    world.write(1, 1, "a", 1, to="replica-2")  # not the leader
    world.appoint()
    world.receive("replica-1", ClientBatch(CLIENT, (Transaction(2, 1, (Statement("explode"),)),)))
    world.write(3, 1, "c", 1)
    world.write(4, 1, "d", 1)  # one executes, one waits: no room
    world.settle()
    assert [outcome_of(world, session) for session in (1, 2, 3, 4)] == [
        Outcome.NOT_LEADER,
        Outcome.REFUSED,
        Outcome.OK,
        Outcome.OVERLOADED,
    ]
    assert [node.data for node in world.nodes.values()] == [{"c": 1}] * 3


def test_law_8_at_the_end_of_a_reign_only_what_was_never_logged_is_definite() -> None:
    world = started("sync", limits=Limits(group_transactions_max=1))
    world.write(1, 1, "a", 1)
    world.store_all("replica-1")  # logged, and waiting for the followers
    world.write(2, 1, "b", 1)
    world.store("replica-1")  # executed, but not logged
    world.write(3, 1, "c", 1)  # waits
    world.receive("replica-1", Progress(2, "replica-2", 0, 0, 0))
    assert [outcome_of(world, session) for session in (1, 2, 3)] == [
        Outcome.INDEFINITE,
        Outcome.NOT_LEADER,
        Outcome.NOT_LEADER,
    ]
    world.elect()
    world.settle()
    assert converged(world)
    assert world.leader().data == {"a": 1}, "indefinite: here it happened"


def test_law_8_a_write_that_waits_too_long_is_indefinite_and_may_be_asked_for_again() -> None:
    world = started("sync")
    world.crash("replica-3")
    world.write(1, 1, "x", 1)
    run_dry(world)
    world.tick_all(5_000)
    assert outcome_of(world, 1) is Outcome.INDEFINITE
    world.write(1, 1, "x", 1)
    run_dry(world)
    assert len(world.writes) == 1, "the retry has a wait of its own"
    world.restart("replica-3")
    world.settle()
    assert [reply.outcome for reply in world.writes] == [Outcome.INDEFINITE, Outcome.OK]
    world.laws.took_effect_once(world.nodes["replica-3"].log)
