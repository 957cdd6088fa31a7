"""On which terms a read is answered, when it waits, and how it is refused."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import answer, ask, cluster, drain, outcomes, reading, role, run, run_until_led, sent, state
from tests.protocol.world import CLIENT, MS, World
from workbench.config import Protections, Timing
from workbench.protocol.inputs import Tick
from workbench.protocol.leading import Leading
from workbench.protocol.messages import AppendEntries, ClientBatch, Outcome, Progress, Read
from workbench.protocol.roles import Role
from workbench.protocol.values import Position, Statement


def outcome(world: World, request: int) -> Outcome | None:
    """How a read ended, if it did."""
    reply = answer(world, request)
    return None if reply is None else reply.outcome


def outcome_now(world: World, request: int, to: str, **terms: object) -> Outcome | None:
    """How a read ends, if it can be answered at once."""
    reading(world, request, to, **terms)
    return outcome(world, request)


# A position.


def test_a_read_waits_for_the_position_that_it_asks_for() -> None:
    world = cluster()
    ask(world, 1, 1)
    world.store_all("replica-1")
    after = state(world, "replica-1").log.last
    assert outcome_now(world, 1, "replica-2", after=after) is None
    world.deliver_to("replica-2")
    assert outcome(world, 1) is None, "received is not applied"
    world.store_all("replica-2")
    reply = answer(world, 1)
    assert reply is not None
    assert (reply.outcome, reply.rows, reply.position) == (Outcome.OK, ((1,),), after)


def test_a_leader_too_answers_a_read_only_when_its_own_database_shows_the_position() -> None:
    world = cluster()
    ask(world, 1, 1)
    world.store("replica-1")
    world.answer("replica-1")
    after = state(world, "replica-1").log.last
    world.read(9, 1, "k1", "replica-1", after=after)
    assert outcome(world, 1) is None
    world.store_all("replica-1")
    assert outcome(world, 1) is Outcome.OK


def test_a_read_whose_position_does_not_come_in_time_is_told_that_the_replica_is_not_ready() -> None:
    world = cluster()
    world.cut_off = {"replica-2"}
    ask(world, 1, 1)
    run(world, 20)
    assert outcome_now(world, 1, "replica-2", after=state(world, "replica-1").log.last) is None
    run(world, 490)
    assert outcome(world, 1) is None
    run(world, 30)
    assert outcome(world, 1) is Outcome.NOT_READY
    assert state(world, "replica-2").reading == 0


def test_a_read_whose_position_was_dropped_by_a_rewind_is_told_so() -> None:
    world = cluster("async")
    world.cut_off = {"replica-1"}
    ask(world, 1, 1, to="replica-1")
    run(world, 20)
    lost = state(world, "replica-1").log.last
    assert outcomes(world, 1) == [Outcome.OK], "acknowledged, while the lease lasted"
    assert outcome_now(world, 1, "replica-1", after=lost) is Outcome.OK
    run(world, 2_000)
    leader = run_until_led(world)
    assert outcome_now(world, 2, leader.name, after=lost) is Outcome.LOST_POSITION
    assert outcome_now(world, 3, "replica-1", after=lost) is Outcome.OK, "it has not heard of the rewind"
    world.cut_off = set()
    run(world, 500)
    assert outcome_now(world, 4, "replica-1", after=lost) is Outcome.LOST_POSITION


def test_a_read_that_waits_for_a_position_learns_that_it_was_lost() -> None:
    world = cluster("async")
    world.cut_links = {("replica-1", "replica-2"), ("replica-1", "replica-3")}
    ask(world, 1, 1, to="replica-1")
    run(world, 20)
    lost = state(world, "replica-1").log.last
    patient = Timing(read_wait_ms=5_000)
    for name in ("replica-2", "replica-3"):
        state(world, name).timing = patient
        assert outcome_now(world, int(name[-1]), name, after=lost) is None
    world.crash("replica-1")
    run_until_led(world)
    run(world, 500)
    ends = {outcome(world, 2), outcome(world, 3)}
    assert ends == {Outcome.LOST_POSITION, Outcome.NOT_READY}, "whoever begins to lead refuses what waits"


# Bounds.


def test_a_read_bounded_in_entries_is_refused_by_a_follower_that_lacks_more() -> None:
    world = cluster()
    world.slow_disks = {"replica-2"}
    world.paused = set()
    for number in (1, 2, 3):
        ask(world, 1, number, number)
        world.store_all("replica-1")
        world.deliver_to("replica-2")
    lacking = {most: outcome_now_without_storing(world, most, "replica-2") for most in (0, 1, 2, 3)}
    assert lacking == {0: Outcome.NOT_READY, 1: Outcome.NOT_READY, 2: Outcome.NOT_READY, 3: None}, "three entries"
    world.store_all("replica-2")
    assert outcome(world, 3) is Outcome.OK
    assert outcome_now(world, 10, "replica-2", lag_entries_max=0) is Outcome.OK
    assert outcome_now(world, 11, "replica-1", lag_entries_max=0) is Outcome.OK, "a leader lacks nothing"


def outcome_now_without_storing(world: World, most: int, to: str) -> Outcome | None:
    world.read(9, most, "k1", to, lag_entries_max=most)
    return outcome(world, most)


def test_a_follower_that_hears_nothing_cannot_say_how_many_entries_it_lacks() -> None:
    world = cluster()
    run(world, 100)
    world.cut_off = {"replica-2"}
    assert outcome_now(world, 1, "replica-2", lag_entries_max=100) is Outcome.OK
    run(world, 310)
    assert outcome_now(world, 2, "replica-2", lag_entries_max=100) is Outcome.NOT_READY


def test_a_read_bounded_in_time_is_refused_when_the_follower_may_be_further_behind() -> None:
    world = cluster()
    last = state(world, "replica-1").log.last
    spoke_at = world.now
    world.receive("replica-2", AppendEntries(1, "replica-1", last, last.index, last.index, (), spoke_at))
    world.now = spoke_at + 50 * MS
    assert outcome_now(world, 1, "replica-2", lag_ms_max=50.1) is Outcome.OK
    assert outcome_now(world, 2, "replica-2", lag_ms_max=49.0) is Outcome.NOT_READY
    ask(world, 1, 1)
    world.store_all("replica-1")
    world.deliver_to("replica-2")  # received, not applied: it knows now that it lacks something
    assert outcome_of_waiting(world, 3) is Outcome.NOT_READY
    world.store_all("replica-2")
    assert outcome_now(world, 4, "replica-2", lag_ms_max=0.1) is Outcome.OK


def outcome_of_waiting(world: World, request: int) -> Outcome | None:
    world.read(9, request, "k1", "replica-2", lag_ms_max=49.0)
    return outcome(world, request)


@pytest.mark.parametrize("bound", [{"lag_entries_max": 0}, {"lag_ms_max": 150.0}])
def test_bounds_are_about_the_present_leader_also_when_the_one_before_had_more(bound: dict[str, float]) -> None:
    """What an old leader said of its log, which was longer, must not count against the new one's followers."""
    world = cluster("async")
    world.slow_disks = {"replica-1"}
    last = state(world, "replica-1").log.last
    for follower in ("replica-2", "replica-3"):
        world.receive(follower, AppendEntries(1, "replica-1", last, 1_000, last.index, (), world.now))
    world.crash("replica-1")
    leader = run_until_led(world)
    run(world, 300)
    (follower,) = {"replica-2", "replica-3"} - {leader.name}
    assert outcome_now(world, 1, follower, **bound) is Outcome.OK


def test_a_follower_says_nothing_of_a_new_leader_before_it_has_heard_from_it() -> None:
    """It may have been fresh by the word of the old one; the new one may have had entries all the time."""
    world = cluster()
    run(world, 100)
    world.receive("replica-2", Progress(5, "replica-3", 0, 0, 0))
    assert outcome_now(world, 1, "replica-2", lag_ms_max=1_000.0) is Outcome.NOT_READY
    assert outcome_now(world, 2, "replica-2", lag_entries_max=1_000) is Outcome.NOT_READY


# Linearizable.


def test_law_5_a_linearizable_read_is_not_answered_before_what_it_saw_is_committed() -> None:
    """Leader-first: the leader shows what nobody else has, and a failover would take it back."""
    world = cluster("async")
    ask(world, 1, 1)
    world.store_all("replica-1")
    held, world.network = world.network, []
    assert outcomes(world, 1) == [Outcome.OK]
    world.now += MS
    world.read(9, 1, "k1", "replica-1", linearizable=True)
    world.store_all("replica-1")
    world.now += MS
    at = state(world, "replica-1").log.last
    world.receive(
        "replica-1", Progress(1, "replica-2", 1, 1, 1, world.now), Progress(1, "replica-3", 2, 1, 1, world.now)
    )
    assert outcome(world, 1) is None, "a majority has answered, and lacks the entry"
    world.network += held
    drain(world)
    reply = answer(world, 1)
    assert reply is not None
    assert (reply.outcome, reply.rows, reply.position) == (Outcome.OK, ((1,),), at)


def test_law_5_a_linearizable_read_needs_a_round_that_was_begun_after_it_arrived() -> None:
    """No lease will do: here everybody's promise is fresh, and the answers to an earlier round come after the read."""
    world = cluster()
    drain(world)
    world.now += 100 * MS
    world.handle("replica-1", Tick())  # speaks
    early = world.now
    world.deliver_to("replica-2")
    world.deliver_to("replica-3")
    world.now += MS
    world.read(9, 1, "k1", "replica-1", linearizable=True)
    world.store_all("replica-1")
    world.paused = {"replica-2", "replica-3"}
    drain(world)
    assert outcome(world, 1) is None
    world.receive("replica-1", Progress(1, "replica-2", 1, 1, 1, early))
    assert outcome(world, 1) is None
    assert any(isinstance(message, AppendEntries) for message in sent(world, "replica-1")), "it asks for one at once"
    world.paused = {"replica-3"}
    drain(world)
    assert outcome(world, 1) is Outcome.OK


def test_law_5_a_linearizable_read_is_not_answered_by_a_deposed_leader_however_its_clock_stands() -> None:
    """Even if its clock has stopped, so that an answered round seems to have been sent when the read arrived."""
    world = cluster(protections=Protections(check_quorum=False))
    world.clock_ms["replica-1"] = -10_000
    ask(world, 1, 1)
    drain(world)  # everybody has answered what was sent at this very time
    assert outcomes(world, 1) == [Outcome.OK]
    world.paused = {"replica-1"}
    run(world, 2_000)
    ask(world, 1, 2)
    run(world, 50)
    assert outcomes(world, 1) == [Outcome.OK] * 2
    world.paused = set()
    held, world.network = world.network, []
    world.read(9, 1, "k1", "replica-1", linearizable=True)
    world.store_all("replica-1")
    assert outcome(world, 1) is None
    world.network += held
    run(world, 1_000)
    assert outcome(world, 1) is Outcome.NOT_LEADER


def test_linearizable_reads_that_no_majority_confirms_end_with_the_patience_for_a_write() -> None:
    world = cluster(protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    world.read(9, 1, "k1", "replica-1", linearizable=True)
    run(world, 4_990)
    assert outcome(world, 1) is None
    run(world, 30)
    assert outcome(world, 1) is Outcome.NOT_LEADER
    assert state(world, "replica-1").reading == 0


def test_a_linearizable_read_sees_what_was_acknowledged_by_the_leader_before() -> None:
    world = cluster()
    ask(world, 1, 1)
    run(world, 50)
    world.crash("replica-1")
    leader = run_until_led(world)
    world.read(9, 1, "k1", leader.name, linearizable=True)
    drain(world)
    reply = answer(world, 1)
    assert reply is not None
    assert (reply.outcome, reply.rows) == (Outcome.OK, ((1,),))


# Reigns.


@pytest.mark.parametrize("terms", [{"from_leader": True}, {"linearizable": True}])
def test_law_5_an_answer_that_an_earlier_reign_asked_for_is_not_given(terms: dict[str, bool]) -> None:
    """Others may have led in between, even when the same replica leads again, and is asked the same again."""
    world = cluster()
    world.read(9, 1, "k1", "replica-1", **terms)
    world.store("replica-1")
    (answer_of_old,) = world.nodes["replica-1"].answers
    world.nodes["replica-1"].answers.clear()
    world.paused = {"replica-1"}
    run(world, 1_500)
    ask(world, 1, 1, "by another")
    run(world, 50)
    world.paused = set()
    run(world, 100)
    assert role(world, "replica-1") is Role.FOLLOWER
    world.receive("replica-1", Progress(state(world, "replica-2").term + 1, "replica-2", 0, 0, 0))
    world.crash(world.leader().name)
    world.nodes["replica-1"].core._election._patience_ns = 0
    for name in ("replica-2", "replica-3"):
        world.nodes[name].core._election._patience_ns = 10**12
    leader = run_until_led(world)
    assert leader.name == "replica-1"
    world.reads.clear()
    world.read(9, 1, "k1", "replica-1", **terms)
    world.nodes["replica-1"].answers.append(answer_of_old)
    drain(world)
    assert all(reply.rows == (("by another",),) for reply in world.reads if reply.outcome is Outcome.OK)
    assert Outcome.NOT_LEADER in {reply.outcome for reply in world.reads}, "the old answer was withheld"


def test_answers_to_ordinary_reads_are_given_whoever_leads_by_then() -> None:
    world = cluster()
    world.read(9, 1, "k1", "replica-1")
    world.store("replica-1")
    world.receive("replica-1", Progress(5, "replica-2", 0, 0, 0))
    world.answer("replica-1")
    assert outcome(world, 1) is Outcome.OK


def test_reads_that_end_a_reign_are_all_answered() -> None:
    world = cluster()
    world.cut_off = {"replica-1"}
    ask(world, 1, 1, to="replica-1")
    world.read(9, 1, "k1", "replica-1", linearizable=True)  # waits behind the write
    world.store("replica-1")
    world.read(9, 2, "k1", "replica-1", from_leader=True)
    world.read(9, 3, "k1", "replica-1", after=Position(1, 99))
    run(world, 20)
    world.read(9, 4, "k1", "replica-1", linearizable=True)
    run(world, 10)
    world.receive("replica-1", Progress(5, "replica-2", 0, 0, 0))
    run(world, 600)
    assert {request: outcome(world, request) for request in (1, 2, 3, 4)} == {
        1: Outcome.NOT_LEADER,
        2: Outcome.OK,
        3: Outcome.NOT_LEADER,
        4: Outcome.NOT_LEADER,
    }
    assert state(world, "replica-1").reading == 0


# Bounds of memory.


def test_reads_that_a_leader_refuses_leave_nothing_behind() -> None:
    world = cluster()
    lost = Position(0, 5)  # of a term that the log has gone past
    reads = tuple(Read(9, request, Statement("get", ("k1",)), after=lost) for request in range(100))
    world.laws.asked(reads)
    world.receive("replica-1", ClientBatch(CLIENT, (), reads))
    assert [reply.outcome for reply in world.reads] == [Outcome.LOST_POSITION] * 100
    duty = world.nodes["replica-1"].core._duty
    assert isinstance(duty, Leading)
    kept = [value for value in vars(duty._reads).values() if isinstance(value, dict | list)]
    assert sum(map(len, kept)) == 0


def test_more_reads_than_may_wait_are_refused_at_once() -> None:
    world = cluster()
    most = world.limits.waiting_transactions_max
    reads = tuple(Read(9, request, Statement("get", ("k1",)), after=Position(1, 99)) for request in range(most + 2))
    world.laws.asked(reads)
    world.receive("replica-2", ClientBatch(CLIENT, (), reads))
    assert [reply.outcome for reply in world.reads] == [Outcome.OVERLOADED] * 2
