"""Clusters that elect for real, and the moves that many scenarios share."""

from __future__ import annotations

from tests.protocol.world import CLIENT, World, transaction
from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.protocol.codec import decode
from workbench.protocol.messages import AddMember, Campaign, ClientBatch, Message, Outcome, ReadReply, RemoveMember
from workbench.protocol.roles import Role
from workbench.protocol.state import ReplicaState
from workbench.simulator.memory_disk import MemoryNode


def cluster(
    ack: str = "quorum",
    *,
    followers: int = 2,
    seed: int = 0,
    limits: Limits | None = None,
    timing: Timing | None = None,
    protections: Protections | None = None,
    elected: bool | None = None,
) -> World:
    """A cluster that `replica-1` leads by election, with a lease from everybody, its first entry everywhere."""
    protections = protections or Protections()
    world = World(
        followers=followers,
        ack=AckPolicy.parse(ack),
        seed=seed,
        limits=limits,
        timing=timing,
        protections=protections,
        elected=protections.up_to_date_check and protections.fencing if elected is None else elected,
    )
    world.receive("replica-1", Campaign(0, ""))
    run(world, 2 * world.timing.heartbeat_ms)
    assert world.leader().name == "replica-1"
    return world


def drain(world: World) -> None:
    """Everything that can happen without time passing."""
    while world.step(time_too=False):
        pass


def run(world: World, milliseconds: float, every: float = 10.0) -> None:
    """Let time pass, and everything happen that it brings."""
    drain(world)
    for _ in range(round(milliseconds / every)):
        world.tick_all(every)
        drain(world)


def run_until_led(world: World, milliseconds_max: float = 10_000) -> MemoryNode:
    """Let time pass until there is exactly one leader, which can acknowledge; that leader."""
    for _ in range(round(milliseconds_max / 10)):
        run(world, 10)
        leaders = world.leaders()
        if len(leaders) == 1 and leaders[0].core.state.committed == leaders[0].core.state.log.last.index:
            return leaders[0]
    raise AssertionError(f"no leader after {milliseconds_max} ms:\n{world.describe()}")


def state(world: World, name: str) -> ReplicaState:
    """What a replica is."""
    return world.nodes[name].core.state


def role(world: World, name: str) -> Role:
    """What a replica takes itself for."""
    return world.nodes[name].core.role


def sent(world: World, source: str, target: str = "") -> list[Message]:
    """What is on its way from a replica."""
    return [decode(frame) for one, to, frame in world.network if one == source and target in {"", to}]


def elections(world: World) -> int:
    """Elections that anybody stood for, since its process started."""
    return sum(node.core.state.counts["elections"] for node in world.nodes.values())


def ask(world: World, session: int, sequence: int, value: object = 1, *, to: str = "", born: int = 0) -> None:
    """A write of a session of its own key, at the leader if nobody else is named."""
    write = transaction(session, sequence, f"k{session}", value, born)
    world.receive(to or world.leader().name, ClientBatch(CLIENT, (write,)))


def write_many(world: World, first: int, last: int) -> None:
    """One entry each, acknowledged, on every disk that can be reached."""
    for number in range(first, last + 1):
        ask(world, 1, number, number)
        run(world, 10)


def outcomes(world: World, session: int) -> list[Outcome]:
    """How the writes of a session ended, in the order of the answers."""
    return [reply.outcome for reply in world.writes if reply.session == session]


def reading(world: World, request: int, to: str, **terms: object) -> ReadReply | None:
    """The answer to a read that is asked now, if storage and core can give it at once."""
    world.read(9, request, "k1", to, **terms)  # type: ignore[arg-type]
    world.store_all(to)
    return answer(world, request)


def answer(world: World, request: int) -> ReadReply | None:
    """The answer to a read, if it came."""
    return next((reply for reply in world.reads if reply.request == request), None)


def add(world: World, name: str, request: int = 1) -> str:
    """A replica with an empty disk, and the wish that it joins; why not, if so."""
    if name not in world.nodes:
        world.add_node(name)
    world.receive(world.leader().name, AddMember(request, "", name))
    return world.answers[request]


def remove(world: World, name: str, request: int = 2) -> str:
    """The wish that a replica counts no more; why not, if so."""
    world.receive(world.leader().name, RemoveMember(request, "", name))
    return world.answers[request]
