"""Simulated clients, and the habits by which they differ: each against replicas that the test plays."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from workbench.protocol.messages import ClientBatch, Outcome, ReplyBatch, WriteReply
from workbench.protocol.values import Position, Transaction
from workbench.simulator.clients import Client
from workbench.simulator.events import Events
from workbench.simulator.habits import USUAL, Habits, draw_habits
from workbench.simulator.memory_format import MemoryWorkload

WRITER = replace(USUAL, writes=1.0, patience_ms=2_000.0, retry_ms=100.0)


class Replicas:
    """A world in which nobody answers by itself. `asked`: whom, in which millisecond, for what."""

    def __init__(self, habits: Habits) -> None:
        self.events = Events()
        self.names: tuple[str, ...] = ("a", "b", "c")
        self.workload = MemoryWorkload()
        self.asked: list[tuple[str, float, Transaction]] = []
        self._sessions = 0
        self.client = Client(self, "client", Random(1), habits)

    def ask(self, client: str, replica: str, batch: ClientBatch) -> None:
        assert client == "client"
        self.asked += [(replica, self.events.now / 1e6, write) for write in batch.writes]

    def new_session(self) -> int:
        self._sessions += 1
        return self._sessions

    def run_for(self, milliseconds: float) -> None:
        self.events.run_until(self.events.now + int(milliseconds * 1e6))

    def answer(self, outcome: Outcome, *, replica: str = "a", leader: str = "a") -> None:
        """`replica` says how the newest write ended."""
        write = self.asked[-1][2]
        reply = WriteReply(write.session, write.sequence, outcome, Position(1, 1))
        self.client.receive(ReplyBatch(replica, leader, (reply,)))


def begun(habits: Habits = WRITER) -> Replicas:
    """A client whose first write is on its way."""
    replicas = Replicas(habits)
    while not replicas.asked:
        replicas.run_for(1)
    return replicas


def test_a_write_is_asked_for_under_one_number_until_somebody_answers() -> None:
    replicas = begun()
    replicas.run_for(1_000)
    assert len(replicas.asked) > 5
    assert {(write.session, write.sequence) for _, _, write in replicas.asked} == {(1, 1)}
    replicas.answer(Outcome.OK)
    assert replicas.client.history[-1].outcome == "ok"
    assert replicas.client.history[-1].retries == len(replicas.asked) - 1


def test_who_insists_asks_again_where_the_leader_does_not_know() -> None:
    gives_up, insists = begun(), begun(replace(WRITER, insists=True))
    for replicas in (gives_up, insists):
        replicas.answer(Outcome.INDEFINITE)
    assert gives_up.client.history[-1].outcome == "info"
    assert insists.client.open is not None
    insists.run_for(150)
    insists.answer(Outcome.OK)
    assert insists.client.history[-1].outcome == "ok"


def test_who_is_loyal_stays_with_its_leader_until_that_one_does_not_answer() -> None:
    loyal, follows = begun(replace(WRITER, follows_news=False)), begun()
    for replicas in (loyal, follows):
        replicas.client.heard_of_leader("b")
    assert [name for name, _, _ in loyal.asked] != [name for name, _, _ in follows.asked]
    assert follows.asked[-1][0] == "b"
    assert len(loyal.asked) == 1
    loyal.run_for(150)  # nobody has answered
    loyal.client.heard_of_leader("b")
    assert loyal.asked[-1][0] == "b"


def test_late_copies_come_when_nobody_waits_for_them() -> None:
    replicas = begun(replace(WRITER, late_copies=1.0))
    replicas.answer(Outcome.OK)
    replicas.client.is_stopped = True
    replicas.run_for(5_000)
    assert [(write.session, write.sequence) for _, _, write in replicas.asked] == [(1, 1), (1, 1)]


def test_lost_replies_are_not_heard() -> None:
    replicas = begun(replace(WRITER, lost_replies=1.0))
    replicas.answer(Outcome.OK)
    assert replicas.client.open is not None


def test_clients_of_one_seed_differ_and_seeds_differ() -> None:
    drawn = [draw_habits(Random(seed), 4) for seed in range(50)]
    assert drawn == [draw_habits(Random(seed), 4) for seed in range(50)]
    assert any(len(set(habits)) > 1 for habits in drawn)
    assert {one.think_ms for habits in drawn for one in habits} > {20.0}
    assert all(len({one.think_ms for one in habits}) == 1 for habits in drawn)
    assert any(all(one.writes < 0.1 for one in habits) for habits in drawn)
