"""Snapshots: when they are made, what they replace, how a follower gets one, and what may go wrong on the way."""

from __future__ import annotations

import pytest

from tests.protocol.scenes import (
    add,
    answer,
    ask,
    cluster,
    drain,
    outcomes,
    role,
    run,
    run_until_led,
    sent,
    state,
    write_many,
)
from tests.protocol.world import World, converged
from workbench.config import Limits, Protections
from workbench.protocol.codec import decode, encode_entry
from workbench.protocol.effects import Append, InstallSnapshot, Rewind, SaveChunk, SealSnapshot
from workbench.protocol.following import Following
from workbench.protocol.inputs import ChunkSaved, Received
from workbench.protocol.ledger import Ledger
from workbench.protocol.log_view import Fate
from workbench.protocol.messages import (
    AppendEntries,
    Campaign,
    Fetch,
    FetchSnapshot,
    Mismatch,
    Outcome,
    Progress,
    SnapshotChunk,
    SnapshotNeeded,
    Vote,
)
from workbench.protocol.roles import Role
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import Entry, Position
from workbench.simulator.memory_disk import CHUNK_BYTES, SNAPSHOT_BYTES
from workbench.simulator.memory_format import Snapshot

SHORT = Limits(retained_log_bytes_max=300, catch_up_bytes_max=200)
"""A dozen entries make a long log."""


def following(world: World, name: str) -> Following:
    duty = world.nodes[name].core._duty
    assert isinstance(duty, Following)
    return duty


def behind_the_log(**options: object) -> World:
    """`replica-3` is down, and what it lacks is in no log any more."""
    world = cluster(limits=SHORT, **options)  # type: ignore[arg-type]
    world.crash("replica-3")
    write_many(world, 1, 30)
    assert all(state(world, name).log.first_index > 10 for name in world.names if name != "replica-3")
    return world


def until_asked(world: World, name: str, steps: int = 3_000) -> None:
    """Go on until a replica asks for its first piece; the question is on its way."""
    for _ in range(steps):
        if any(isinstance(message, FetchSnapshot) for message in sent(world, name)):
            return
        world.step()
    raise AssertionError("no snapshot was asked for")


def until_holding(world: World, name: str, steps: int = 3_000) -> None:
    """Go on until a part of a snapshot is on a replica's disk."""
    for _ in range(steps):
        if 0 < world.nodes[name].incoming[1] < SNAPSHOT_BYTES:
            return
        world.step()
    raise AssertionError("no piece arrived")


# Making one.


def test_a_long_log_makes_every_replica_take_a_snapshot_and_drop_what_it_covers() -> None:
    world = cluster(limits=SHORT)
    write_many(world, 1, 40)
    run(world, 200)
    for name in world.names:
        node = world.nodes[name]
        assert node.base is not None
        assert node.core.state.base == node.base.state.position
        assert 1 < node.first_index <= node.base.state.position.index + 1
        assert node.core.state.log.first_index == node.first_index
        assert node.core.state.log_bytes <= 2 * SHORT.retained_log_bytes_max
    for name in world.names:
        world.crash(name)
        world.restart(name)
    leader = run_until_led(world)
    ask(world, 1, 41, 41, to=leader.name)
    run(world, 200)
    assert converged(world)
    assert leader.data == {"k1": 41}


def test_law_6_a_copy_becomes_a_snapshot_only_when_its_position_is_committed() -> None:
    """Or a rewind would lead back behind it, where no log is left."""
    world = cluster("async", limits=SHORT, protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    for number in range(1, 30):
        ask(world, 1, number, number, to="replica-1")
        run(world, 10)
    leader = world.nodes["replica-1"]
    assert leader.copied is not None, "the copy is made"
    assert (leader.base, leader.first_index, leader.core.state.base) == (None, 1, Position())
    world.cut_off = set()
    run(world, 500)
    assert leader.base is not None
    assert leader.base.state.position.index <= state(world, "replica-1").committed


def test_law_6_a_copy_that_a_rewind_has_overtaken_never_becomes_a_snapshot() -> None:
    world = cluster("async", limits=SHORT, protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    for number in range(1, 30):
        ask(world, 1, number, number, to="replica-1")
        run(world, 10)
    old = world.nodes["replica-1"]
    assert old.copied is not None
    run(world, 2_000)
    world.cut_off = set()
    run(world, 1_000)
    assert [entry.members[0].sequence for entry in old.rollback] == list(range(1, 30)), "law 6: each, once, in order"
    write_many(world, 30, 60)
    run(world, 500)
    assert old.base is not None, "it tries again"
    assert converged(world)


def test_a_snapshot_is_made_while_entries_go_on_and_holds_none_of_them() -> None:
    world = cluster(limits=SHORT)
    for number in range(1, 30):
        ask(world, 1, number, number)
        world.store_all("replica-1")
        if world.nodes["replica-1"].copying is not None:
            break
        drain(world)
    copying = world.nodes["replica-1"].copy
    assert copying is not None
    position, data = copying
    before = dict(data)
    ask(world, 1, number + 1, "later")
    run(world, 100)
    base = world.nodes["replica-1"].base
    assert base is not None
    assert (base.state.position, base.data) == (position, before)


# Getting one.


def test_a_follower_behind_the_log_gets_a_snapshot_and_goes_on_with_the_entry_behind_it() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    run(world, 1_000)
    node = world.nodes["replica-3"]
    (position,) = node.installed
    assert position.index >= 10
    assert converged(world)
    assert node.data == {"k1": 30}
    ask(world, 2, 1)
    run(world, 50)
    assert node.data == {"k1": 30, "k2": 1}
    world.crash("replica-3")
    world.restart("replica-3")
    assert (node.core.state.base, node.core.state.log.last) == (position, node.last), "and it starts from there again"


def test_law_2_behind_a_snapshot_only_the_entry_that_follows_it_is_taken() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    run(world, 1_000)
    core = world.nodes["replica-3"].core
    last, base = core.state.log.last, core.state.base
    assert base.index < last.index
    for previous in (Position(7, last.index), Position(7, base.index), Position(0, base.index), Position(7, 2)):
        entry = encode_entry(Entry(9, previous.index + 1, "", (), b"")).encoded
        world.receive("replica-3", AppendEntries(9, "replica-2", previous, previous.index + 1, 0, (entry,)))
        assert core.state.log.last == last


def test_law_3_entries_that_wait_for_the_disk_are_written_before_a_snapshot_takes_their_place() -> None:
    """A backlog in memory: it must neither be appended to the snapshot's log nor vanish without a trace."""
    world = cluster("async", limits=SHORT, elected=False)  # the history of its snapshot is made up
    world.cut_off = {"replica-2"}
    for number in range(1, 16):  # only replica-3 hears of these, and is slow
        ask(world, 1, number, number, to="replica-1")
        world.store_all("replica-1")
        world.deliver_to("replica-3")
    backlog = len(following(world, "replica-3")._received)
    assert backlog > 3
    world.crash("replica-1")
    core, node = world.nodes["replica-3"].core, world.nodes["replica-3"]
    world.network.clear()
    snapshot = other_snapshot(world, "replica-2", Position(5, 40))
    world.receive("replica-3", AppendEntries(5, "replica-2", Position(5, 40), 40, 40), SnapshotNeeded(5, "replica-2"))
    for offset in range(0, SNAPSHOT_BYTES, CHUNK_BYTES):
        data = bytes(min(CHUNK_BYTES, SNAPSHOT_BYTES - offset))
        world.receive("replica-3", SnapshotChunk(5, "replica-2", snapshot, SNAPSHOT_BYTES, offset, data, 0))
    world.store_all("replica-3")
    assert node.installed == [Position(5, 40)]
    assert (core.state.log.last, node.last) == (Position(5, 40), Position(5, 40))
    assert [entry.members[0].sequence for entry in node.rollback] == list(range(1, 16))


def other_snapshot(world: World, maker: str, position: Position) -> str:
    """A snapshot of a history that parted from the present one behind its first entry; its name."""
    first = world.nodes[maker].log[:1]
    covered = [*first, *(encode_entry(Entry(5, index, "", (), b"")) for index in range(2, position.index + 1))]
    image = Ledger(world.first_members).image_at(0)
    world.snapshots["other"] = Snapshot("other", SnapshotState(position, ((1, 1), (5, 2)), image), {}, covered)
    return "other"


@pytest.mark.parametrize("seed", range(8))
def test_pieces_that_get_lost_come_twice_or_out_of_order_do_no_harm(seed: int) -> None:
    world = behind_the_log(seed=seed)
    world.restart("replica-3")
    world.loss = world.duplication = world.reordering = 0.3
    run(world, 4_000)
    world.loss = world.duplication = world.reordering = 0.0
    run(world, 2_000)
    assert world.nodes["replica-3"].installed != []
    assert converged(world)


def test_a_crash_of_the_receiver_costs_only_the_piece_that_was_on_its_way() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    until_holding(world, "replica-3")
    name, held = world.nodes["replica-3"].incoming
    world.crash("replica-3")
    world.network.clear()
    world.restart("replica-3")
    until_asked(world, "replica-3")
    (question,) = [message for message in sent(world, "replica-3") if isinstance(message, FetchSnapshot)]
    assert (question.snapshot, question.offset) == (name, held)
    run(world, 1_000)
    assert converged(world)


def test_a_receiver_that_crashed_with_all_pieces_on_disk_installs_them() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    until_holding(world, "replica-3")
    node = world.nodes["replica-3"]
    node.incoming = (node.incoming[0], SNAPSHOT_BYTES)
    world.crash("replica-3")
    world.network.clear()
    world.restart("replica-3")
    asked = set()
    while not node.installed:
        world.step()
        asked |= {message.offset for message in sent(world, "replica-3") if isinstance(message, FetchSnapshot)}
    assert asked == {SNAPSHOT_BYTES}, "nothing comes again"


def test_a_new_leader_sends_its_own_snapshot_from_the_beginning() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    until_holding(world, "replica-3")
    first = world.nodes["replica-3"].incoming[0]
    world.crash("replica-1")
    run(world, 5_000)
    node = world.nodes["replica-3"]
    assert world.leader().name == "replica-2"
    assert world.nodes["replica-2"].base is not None
    assert first != world.nodes["replica-2"].base.name
    assert node.installed == [world.nodes["replica-2"].base.state.position]
    assert node.data == world.nodes["replica-2"].data


def test_a_piece_that_the_disk_refused_is_asked_for_again() -> None:
    """Also the first one, of which the disk then holds nothing, or something else."""
    world = behind_the_log()
    world.restart("replica-3")
    until_asked(world, "replica-3")
    drain_leader(world)
    pieces = [message for message in sent(world, "replica-1") if isinstance(message, SnapshotChunk)]
    world.network.clear()
    world.receive("replica-3", pieces[0])
    world.nodes["replica-3"].jobs.clear()  # its checksum was wrong
    world.network.clear()
    world.handle("replica-3", ChunkSaved("", 0))
    run(world, 2_000)
    assert world.nodes["replica-3"].installed != []
    assert converged(world)


def drain_leader(world: World) -> None:
    world.paused = {"replica-3"}
    drain(world)
    world.paused = set()


def test_a_piece_that_comes_twice_or_too_early_is_not_saved() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    until_asked(world, "replica-3")
    drain_leader(world)
    (first,) = [message for message in sent(world, "replica-1") if isinstance(message, SnapshotChunk)]
    world.nodes["replica-3"].jobs.clear()
    second = SnapshotChunk(1, "replica-1", first.snapshot, SNAPSHOT_BYTES, CHUNK_BYTES, bytes(CHUNK_BYTES), 0)
    for piece in (second, first, first, second, first, second):
        world.receive("replica-3", piece)
    saved = [job.chunk.offset for job in world.nodes["replica-3"].jobs if isinstance(job, SaveChunk)]
    assert saved == [0, CHUNK_BYTES]


def test_an_install_that_is_refused_changes_nothing() -> None:
    """A copy of an old `SnapshotNeeded` turns up when everything is there already, and more."""
    world = behind_the_log()
    world.restart("replica-3")
    run(world, 1_000)
    node = world.nodes["replica-3"]
    installed, last = list(node.installed), node.last
    world.receive("replica-3", SnapshotNeeded(1, "replica-1"))
    ask(world, 2, 1)
    run(world, 2_000)
    assert node.installed == installed
    assert node.rollback == []
    assert node.last > last
    assert converged(world)


def test_a_follower_that_has_all_it_needs_does_not_wait_for_a_snapshot() -> None:
    """A copy of an old `SnapshotNeeded` must not keep it from taking and acknowledging entries."""
    world = behind_the_log()
    world.restart("replica-3")
    run(world, 1_000)
    world.crash("replica-2")
    world.receive("replica-3", SnapshotNeeded(1, "replica-1"))
    world.nodes["replica-3"].jobs.clear()
    world.network = [one for one in world.network if one[0] != "replica-3"]  # its question got lost
    ask(world, 2, 1)
    drain(world)
    assert outcomes(world, 2) == [Outcome.OK]


def test_law_4_what_was_installed_from_an_earlier_leader_does_not_count_as_the_present_ones() -> None:
    """Without the up-to-date check they may differ."""
    world = behind_the_log(protections=Protections(up_to_date_check=False))
    world.restart("replica-3")
    node = world.nodes["replica-3"]
    while not any(isinstance(job, InstallSnapshot) for job in node.jobs):
        world.step()
    world.network.clear()
    world.receive("replica-3", AppendEntries(5, "replica-2", Position(5, 99), 99, 0, (), world.now))
    world.network.clear()
    world.store_all("replica-3")
    assert node.installed != []
    reports = [message for message in sent(world, "replica-3") if isinstance(message, Progress)]
    assert {report.received for report in reports} <= {0}
    world.receive("replica-3", AppendEntries(5, "replica-2", node.last, 99, 0, (), world.now))
    last = sent(world, "replica-3")[-1]
    assert isinstance(last, Progress | Fetch)
    assert max(m.received for m in sent(world, "replica-3") if isinstance(m, Progress)) == node.last.index


def test_a_replica_that_installs_neither_stands_nor_appends() -> None:
    world = behind_the_log()
    world.restart("replica-3")
    node = world.nodes["replica-3"]
    while not any(isinstance(job, InstallSnapshot) for job in node.jobs):
        world.step()
    state(world, "replica-3").leader = ""
    world.paused = {"replica-1", "replica-2"}
    world.slow_disks = {"replica-3"}
    world.receive("replica-3", Campaign(0, ""))
    for _ in range(200):
        world.tick_all(20)
    assert role(world, "replica-3") is Role.FOLLOWER
    assert not any(isinstance(job, Append | Rewind) for job in node.jobs)
    world.paused, world.slow_disks = set(), set()
    run(world, 2_000)
    assert converged(world)


def test_a_candidate_does_not_install_what_came_before_it_stood() -> None:
    """It may win, and lead with the log that it has. The pieces stay on its disk."""
    world = behind_the_log(protections=Protections(up_to_date_check=False))
    world.restart("replica-3")
    until_holding(world, "replica-3")
    node = world.nodes["replica-3"]
    while node.incoming[1] < SNAPSHOT_BYTES:
        world.step()
    saved = [one for one in node.answers if isinstance(one, ChunkSaved)]
    assert len(saved) == 1, "the core has not heard of the last piece"
    state(world, "replica-3").leader = ""
    world.handle("replica-3", Received((Campaign(0, ""),)))
    world.store_all("replica-3")
    assert not any(isinstance(job, InstallSnapshot) for job in node.jobs)
    assert node.installed == []
    term = state(world, "replica-3").term
    world.receive("replica-3", Vote(term, "replica-2", granted=True))
    assert role(world, "replica-3") is Role.LEADER
    world.store_all("replica-3")
    assert node.last.term == term


# What a snapshot does not take with it.


def test_positions_before_a_snapshot_can_still_be_told_from_lost_ones() -> None:
    """A read may ask for a position that no log has any more: its term's history travels with the snapshot."""
    world = cluster("async", limits=SHORT)
    world.cut_off = {"replica-1"}
    ask(world, 5, 1, to="replica-1")
    run(world, 20)
    lost = state(world, "replica-1").log.last
    run(world, 2_000)
    world.cut_off = set()
    run(world, 500)
    ask(world, 6, 1)
    run(world, 100)
    held = next(reply.position for reply in world.writes if reply.session == 6)
    follower = next(name for name in ("replica-2", "replica-3") if name != world.leader().name)
    world.crash(follower)
    write_many(world, 1, 40)
    world.restart(follower)
    run(world, 1_000)
    add(world, "replica-4")
    run(world, 2_000)
    for name in ("replica-1", follower, "replica-4"):
        log = state(world, name).log
        assert log.first_index > held.index >= lost.index
        assert (log.fate(lost), log.fate(held)) == (Fate.LOST, Fate.HELD)
        assert log.fate(Position(held.term, 999)) is Fate.UNKNOWN
        world.crash(name)
        world.restart(name)
        assert (state(world, name).log.fate(lost), state(world, name).log.fate(held)) == (Fate.LOST, Fate.HELD)
    world.read(9, 1, "k1", "replica-4", after=lost)
    world.read(9, 2, "k1", "replica-4", after=held)
    drain(world)
    assert [reply.outcome for reply in world.reads] == [Outcome.LOST_POSITION, Outcome.OK]
    assert answer(world, 2) is not None


def test_a_follower_whose_log_parted_before_the_leaders_log_begins_is_sent_a_snapshot() -> None:
    world = cluster("async", limits=SHORT, protections=Protections(check_quorum=False))
    world.cut_off = {"replica-1"}
    for number in range(1, 5):
        ask(world, 5, number, to="replica-1")
        run(world, 10)
    run(world, 2_000)
    other = next(node for node in world.leaders() if node.name != "replica-1")
    for number in range(1, 40):
        ask(world, 1, number, number, to=other.name)
        run(world, 10)
    assert state(world, other.name).log.first_index > 6
    world.cut_off = set()
    run(world, 2_000)
    old = world.nodes["replica-1"]
    assert len(old.installed) == 1
    assert [(entry.members[0].session, entry.members[0].sequence) for entry in old.rollback] == [
        (5, number) for number in range(1, 5)
    ], "law 6: exactly what was dropped, though no rewind dropped it"
    assert converged(world)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_replica_leaves_rather_than_go_back_behind_its_snapshot(is_known: bool) -> None:
    """Only where committed entries can be lost: no log leads back there. People must decide what is to become of it.

    The disk may have sealed the snapshot, or be about to, when the core has not heard of it yet.
    """
    world = cluster(limits=SHORT, protections=Protections(up_to_date_check=False))
    node = world.nodes["replica-2"]
    if is_known:
        write_many(world, 1, 30)
    else:
        world.slow_disks = {"replica-2"}
        for number in range(1, 60):
            ask(world, 1, number, number)
            for _ in range(40):
                world.step()
                if any(isinstance(job, SealSnapshot) for job in node.jobs):
                    break
            else:
                continue
            break
        assert state(world, "replica-2").base.index == 0
    sealing = next((job.state.position for job in node.jobs if isinstance(job, SealSnapshot)), Position())
    base = max(state(world, "replica-2").base, sealing)
    assert base.index > 0
    other = encode_entry(Entry(9, base.index, "", (), b""))
    before = state(world, "replica-2").log.position_at(base.index - 1)
    world.receive("replica-2", AppendEntries(9, "replica-3", before, base.index, 1, (other.encoded,), world.now))
    assert "committed entries are lost" in world.left["replica-2"]
    assert not any(isinstance(job, Rewind) for job in world.nodes["replica-2"].jobs)


def test_a_leader_without_the_log_or_the_agreement_says_which() -> None:
    world = behind_the_log()
    log = state(world, "replica-1").log
    world.network.clear()
    held, parted, gone = log.last, Position(7, log.last.index + 5), Position(1, 3)
    for after in (held, parted, gone, Position()):
        world.receive("replica-1", Fetch(1, "replica-3", after))
        world.store_all("replica-1")
    kinds = [type(decode(frame)) for _, target, frame in world.network if target == "replica-3"]
    assert sorted(kind.__name__ for kind in kinds) == [
        "AppendEntries",
        Mismatch.__name__,
        SnapshotNeeded.__name__,
        SnapshotNeeded.__name__,
    ]


def test_a_follower_that_goes_on_receiving_from_a_leader_without_a_snapshot_makes_it_take_one() -> None:
    world = cluster()
    write_many(world, 1, 3)
    leader = world.leader()
    follower = next(name for name in world.names if name != leader.name)
    request = FetchSnapshot(state(world, leader.name).term, follower, "another leader's", 8, "in memory")
    world.receive(leader.name, request)
    run(world, 500)
    assert leader.base is not None, "it would be asked for ever, and never have anything to send"
