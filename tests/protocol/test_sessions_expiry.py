"""At most once (law 7) across failovers, snapshots and the expiry of sessions."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import add, ask, cluster, drain, outcomes, remove, run, run_until_led, state, write_many
from tests.protocol.world import World, converged
from workbench.config import Limits, Protections, Timing
from workbench.protocol.messages import Outcome, TransferLeadership, WriteReply
from workbench.protocol.values import EXPIRY_KIND

BRIEF = Timing(session_expiry_ms=800)
"""A session is forgotten after about a second of silence."""


def replies(world: World, session: int) -> list[WriteReply]:
    return [reply for reply in world.writes if reply.session == session]


def executions(world: World, session: int) -> int:
    """How often the writes of a session stand in the leader's log."""
    return sum(member.session == session for entry, _ in world.leader().log for member in entry.members)


def horizons(world: World, name: str) -> int:
    """How many expiry entries a log has."""
    return sum(entry.kind == EXPIRY_KIND for entry, _ in world.nodes[name].log)


def known(world: World, name: str, session: int) -> bool:
    return state(world, name).ledger.sessions.newest(session) is not None


def expired(world: World) -> World:
    """Session 1 wrote once, long ago; session 2 writes all the time."""
    ask(world, 1, 1)
    run(world, 50)
    for number in range(1, 30):
        ask(world, 2, number, number)
        run(world, 50)
    return world


# Failover and snapshots.


@pytest.mark.parametrize("seed", range(3))
def test_law_7_a_retry_after_failovers_gets_its_first_reply(seed: int) -> None:
    world = cluster(seed=seed)
    ask(world, 1, 1)
    run(world, 50)
    for _ in range(3):
        dead = world.leader().name
        world.crash(dead)
        leader = run_until_led(world)
        ask(world, 1, 1, "again", to=leader.name)
        run(world, 100)
        world.restart(dead)
        run(world, 500)
    first, *again = replies(world, 1)
    assert len(again) == 3
    assert again == [first] * 3
    assert executions(world, 1) == 1
    assert world.leader().data == {"k1": 1}


def test_law_7_a_retry_is_known_to_a_leader_that_has_the_write_only_from_a_snapshot() -> None:
    world = cluster(limits=Limits(retained_log_bytes_max=200, catch_up_bytes_max=100))
    ask(world, 5, 3)
    run(world, 50)
    write_many(world, 1, 30)
    add(world, "replica-4")
    run(world, 1_000)
    newcomer = world.nodes["replica-4"]
    assert newcomer.installed[0].index > replies(world, 5)[0].position.index
    remove(world, "replica-3")
    run(world, 200)
    for name in ("replica-1", "replica-2"):
        world.nodes[name].core._election._patience_ns = 10**12
    world.crash("replica-1")
    assert run_until_led(world).name == "replica-4"
    ask(world, 5, 3, "again")
    ask(world, 5, 2, "an old copy")
    run(world, 100)
    first, again, older = sorted(replies(world, 5), key=lambda reply: -reply.sequence)
    assert again == first
    assert older.outcome is Outcome.INDEFINITE
    assert executions(world, 5) == 1


# Expiry.


def test_law_7_a_retry_in_an_expired_session_is_not_run_again() -> None:
    world = expired(cluster(timing=BRIEF))
    assert horizons(world, "replica-1") >= 1
    assert not known(world, "replica-1", 1)
    ask(world, 1, 1, "again")
    ask(world, 1, 2, "the next")
    run(world, 100)
    assert outcomes(world, 1) == [Outcome.OK, Outcome.EXPIRED, Outcome.EXPIRED], "it may have happened: here it has"
    assert executions(world, 1) == 1
    assert "k1" in world.leader().data


def test_law_7_no_replica_takes_an_expired_session_for_a_new_one() -> None:
    """Not after a failover, a crash, or a snapshot that was taken since."""
    world = expired(cluster(timing=BRIEF, limits=Limits(retained_log_bytes_max=300, catch_up_bytes_max=200)))
    add(world, "replica-4")
    run(world, 1_000)
    assert world.nodes["replica-4"].installed != []
    for number, name in enumerate(("replica-1", "replica-2", "replica-3", "replica-4")):
        world.crash(name)
        run_until_led(world)
        world.restart(name)
        run(world, 600)
        assert not known(world, name, 1)
        ask(world, 1, 1, "again")
        run(world, 100)
        assert outcomes(world, 1) == [Outcome.OK] + [Outcome.EXPIRED] * (number + 1)
    assert converged(world)


def test_a_session_that_was_born_since_is_run() -> None:
    world = expired(cluster(timing=BRIEF))
    born = state(world, "replica-1").committed
    ask(world, 7, 1, born=0)
    ask(world, 8, 1, born=born)
    run(world, 50)
    assert outcomes(world, 7) == [Outcome.EXPIRED], "it might have been known, for all that anybody can tell"
    assert outcomes(world, 8) == [Outcome.OK]


def test_a_session_that_goes_on_does_not_expire_and_an_idle_one_does() -> None:
    world = cluster(timing=BRIEF)
    ask(world, 1, 1)
    ask(world, 2, 1)
    run(world, 50)
    for number in range(2, 40):
        ask(world, 2, number, number)
        run(world, 100)
        if number == 8:
            assert known(world, "replica-1", 1), "700 ms of silence are no 800"
    assert not known(world, "replica-1", 1)
    assert set(outcomes(world, 2)) == {Outcome.OK}
    for name in world.names:
        assert len(state(world, name).ledger.sessions) == 1


def test_nothing_expires_in_a_cluster_that_rests() -> None:
    """No entries without end for sessions that were forgotten already."""
    world = expired(cluster(timing=BRIEF))
    run(world, 2_000)
    count = horizons(world, "replica-1")
    last = world.nodes["replica-1"].last
    run(world, 10_000)
    assert horizons(world, "replica-1") == count <= 4
    assert world.nodes["replica-1"].last == last


def test_law_7_a_session_that_expired_by_an_entry_that_is_rewound_comes_back() -> None:
    world = cluster(timing=BRIEF, protections=Protections(check_quorum=False))
    ask(world, 1, 1)
    run(world, 50)
    world.cut_off, world.paused = {"replica-1"}, {"replica-2", "replica-3"}
    run(world, 1_500)
    assert horizons(world, "replica-1") == 1, "alone, and not committed"
    assert not known(world, "replica-1", 1)
    ask(world, 1, 1, "again", to="replica-1")
    drain(world)
    assert outcomes(world, 1) == [Outcome.OK, Outcome.EXPIRED], "it knows nothing better"
    world.paused = set()
    while len(world.leaders()) == 1:
        run(world, 10)
    other = world.leader().name
    run(world, 100)
    ask(world, 1, 1, "again", to=other)
    drain(world)
    first, _, again = replies(world, 1)
    assert again == first, "the successor has not let it expire"
    world.cut_off = set()
    run(world, 300)
    assert [entry.kind for entry in world.nodes["replica-1"].rollback] == [EXPIRY_KIND]
    assert known(world, "replica-1", 1)
    ask(world, 1, 2, "the next", to=other)
    run(world, 50)
    assert outcomes(world, 1)[-1] is Outcome.OK


def test_law_7_only_committed_writes_make_a_session_old() -> None:
    """Else a session could expire that a rewind would have to bring back from nowhere."""
    world = cluster("async", timing=BRIEF, protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    ask(world, 1, 1, to="replica-1")
    run(world, 3_000)
    assert horizons(world, "replica-1") == 0
    assert known(world, "replica-1", 1)


def test_of_more_sessions_than_may_be_remembered_the_older_half_expires() -> None:
    world = cluster(limits=Limits(sessions_max=10))
    for session in range(1, 41):
        ask(world, session, 1, born=state(world, "replica-1").committed)
        run(world, 20)
        assert all(len(state(world, name).ledger.sessions) <= 12 for name in world.names)
    assert [outcomes(world, session) for session in range(1, 41)] == [[Outcome.OK]] * 40
    ask(world, 1, 1)
    ask(world, 40, 1)
    run(world, 50)
    assert outcomes(world, 1) == [Outcome.OK, Outcome.EXPIRED]
    assert outcomes(world, 40) == [Outcome.OK] * 2
    assert horizons(world, "replica-1") >= 4


def test_law_7_a_write_that_waits_while_its_session_expires_is_run_once() -> None:
    """It waits for the end of a handover that comes to nothing."""
    world = cluster(timing=BRIEF)
    world.crash("replica-3")
    ask(world, 1, 1)
    run(world, 600)
    world.receive("replica-1", TransferLeadership(1, "", "replica-3"))
    ask(world, 1, 2, "waits")
    run(world, 490)
    assert horizons(world, "replica-1") == 1
    assert outcomes(world, 1) == [Outcome.OK]
    run(world, 100)
    ask(world, 1, 2, "again")
    ask(world, 1, 1, "an old copy")
    run(world, 100)
    assert executions(world, 1) == 2
    assert outcomes(world, 1) == [Outcome.OK, Outcome.OK, Outcome.OK, Outcome.INDEFINITE]


def test_law_7_what_a_snapshot_says_of_sessions_is_as_of_its_position() -> None:
    """A session that wrote once before it and once behind it: whoever begins with the snapshot knows the first only."""
    world = cluster()
    ask(world, 1, 1)
    run(world, 50)
    leader = state(world, "replica-1")
    at = leader.log.last
    ask(world, 1, 2, "behind")
    ask(world, 2, 1)
    run(world, 50)
    image = leader.snapshot_state(at).ledger.sessions
    assert [(one.session, [old.sequence for old in one.remembered]) for one in image.sessions] in ([], [(1, [1])])
    assert leader.snapshot_state(leader.log.last).ledger.sessions.sessions != ()
