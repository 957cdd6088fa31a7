"""Entries that are too long for one message travel in pieces, each asked for when the one before it has come."""

from __future__ import annotations

from tests.protocol.scenes import ask, cluster, outcomes, run, run_until_led, state, write_many
from tests.protocol.world import World, converged
from workbench.config import Limits
from workbench.protocol.codec import decode
from workbench.protocol.messages import AppendEntries, EntryPiece, Outcome
from workbench.protocol.values import Position

PIECE_BYTES = 100
LONG = "x" * 950
"""Ten pieces and a bit."""
LAST = "replica-3"


def small(**limits: int) -> World:
    return cluster(limits=Limits(catch_up_bytes_max=PIECE_BYTES, **limits))


def pieces_to(world: World, name: str) -> list[EntryPiece]:
    """Those that are on their way."""
    messages = [decode(frame) for _, target, frame in world.network if target == name]
    return [message for message in messages if isinstance(message, EntryPiece)]


def step_until_pieces(world: World, name: str, count: int) -> None:
    """Let things happen until a replica has so many pieces of a long entry."""
    for _ in range(2_000):
        if state(world, name).notes.get("receiving", "").split(": ")[-1].startswith(f"{count * PIECE_BYTES:,} of"):
            return
        if not world.step(time_too=False):
            world.tick_all(10)
    raise AssertionError("the pieces do not come")


def test_a_long_entry_comes_in_pieces_and_no_message_is_longer() -> None:
    world = small()
    ask(world, 1, 1, LONG)
    run(world, 500)
    assert outcomes(world, 1) == [Outcome.OK]
    assert converged(world)
    assert world.laws.happened["pieces"] >= 2 * len(LONG) / PIECE_BYTES
    assert world.message_bytes_max <= PIECE_BYTES, "not even the live stream carries it whole"
    assert "receiving" not in state(world, LAST).notes


def test_one_piece_for_each_follower_is_on_its_way_at_most_and_the_status_says_how_far_it_is() -> None:
    world = small()
    ask(world, 1, 1, LONG)
    step_until_pieces(world, LAST, 3)
    note = state(world, LAST).notes["receiving"]
    assert note.startswith(f"entry {Position(1, 2)}: 300 of ")
    for _ in range(200):
        assert len(pieces_to(world, LAST)) <= 1
        world.step(time_too=False)


def test_a_lost_piece_is_asked_for_again_and_nothing_else() -> None:
    world = small()
    ask(world, 1, 1, LONG)
    step_until_pieces(world, LAST, 3)
    world.network = [one for one in world.network if one[1] != LAST]
    before = world.laws.happened["pieces"]
    run(world, 3_000)
    assert converged(world)
    rest = 2 * len(LONG) // PIECE_BYTES + 6
    assert world.laws.happened["pieces"] - before <= rest


def test_the_next_leader_goes_on_where_the_last_one_stopped() -> None:
    world = small()
    ask(world, 1, 1, LONG)
    world.cut_off = set()
    step_until_pieces(world, LAST, 5)
    world.paused = {LAST}
    run(world, 500)
    assert outcomes(world, 1) == [Outcome.OK], "the other follower has it"
    world.paused = set()
    world.crash("replica-1")
    leader = run_until_led(world)
    assert leader.name == "replica-2"
    before = world.laws.happened["pieces"]
    run(world, 1_000)
    assert world.nodes[LAST].log == leader.log
    assert world.laws.happened["pieces"] - before <= 8


def test_pieces_of_an_entry_that_the_next_leader_does_not_have_are_forgotten() -> None:
    world = small()
    world.cut_links = {("replica-1", "replica-2")}
    ask(world, 1, 1, LONG)
    step_until_pieces(world, LAST, 5)
    world.cut_links = set()
    world.crash("replica-1")
    run_until_led(world)
    ask(world, 2, 1, "y" * 950)
    run(world, 2_000)
    assert world.nodes["replica-2"].log == world.nodes[LAST].log
    assert world.nodes[LAST].data["k2"] == "y" * 950
    assert "k1" not in world.nodes[LAST].data


def test_short_entries_follow_a_long_one() -> None:
    world = small(unacknowledged_bytes_max=200)
    ask(world, 1, 1, LONG)
    write_many(world, 2, 12)
    run(world, 2_000)
    assert outcomes(world, 1) == [Outcome.OK] * 12
    assert converged(world)


def test_heartbeats_pass_between_the_pieces() -> None:
    world = small()
    ask(world, 1, 1, LONG * 20)
    step_until_pieces(world, LAST, 3)
    world.tick_all(200)
    messages = [decode(frame) for source, _, frame in world.network if source == "replica-1"]
    assert any(isinstance(message, AppendEntries) and not message.entries for message in messages)
