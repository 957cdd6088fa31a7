"""The small language of `scenarios/*.txt`: what each command does to a world that tells what happens.

A file is a heading in comments, then commands at the margin, each with what came of it below, indented. `replay` runs
the commands, and gives the file as it ought to be; scenarios/README.md describes the commands for readers.
"""

from __future__ import annotations

from tests.protocol.scenario_trace import TellingWorld
from tests.protocol.world import transaction
from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.protocol.codec import decode
from workbench.protocol.messages import AddMember, Campaign, ClientBatch, RemoveMember, TransferLeadership
from workbench.protocol.roles import Role

INDENT = "    "
_LIMITS = {"retained_log_bytes": "retained_log_bytes_max", "catch_up_bytes": "catch_up_bytes_max"}
_TIMES = {"session_expiry_ms", "ack_timeout_ms", "election_timeout_ms"}


class ScenarioError(Exception):
    """A command that is none, or a claim that does not hold: which line, and why."""


def replay(text: str, name: str = "scenario") -> str:
    """The text with what every command gives now below it. Raises `ScenarioError`."""
    lines: list[str] = []
    scenario = Scenario()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(INDENT):
            continue
        lines.append(line.rstrip())
        if line.strip() and not line.startswith("#"):
            try:
                lines += [INDENT + one for one in scenario.run(line)]
            except (ScenarioError, AssertionError) as error:
                raise ScenarioError(f"{name}:{number}: {line}: {error}") from error
    return "\n".join(lines) + "\n"


class Scenario:
    """One scenario under way."""

    def __init__(self) -> None:
        self._world: TellingWorld | None = None
        self._requests = 0

    @property
    def world(self) -> TellingWorld:
        """The cluster, which the first command makes."""
        if self._world is None:
            raise ScenarioError("the first command is `cluster`")
        return self._world

    def run(self, line: str) -> list[str]:
        """Carry out one command; what happened, in lines."""
        words = line.split()
        if words[0] == "cluster":
            return self._begin(words[1:])
        if words[0] == "expect":
            self._expect(words[1:])
            return []
        if words == ["show"]:
            return self.world.table()
        for carry_out in (self._ask, self._pass_messages, self._pass_time, self._break):
            if carry_out(words):
                self.world.work()
                return self.world.take_told() or ["nothing happens"]
        raise ScenarioError("no such command (tests/protocol/scenarios/README.md lists them)")

    def _begin(self, words: list[str]) -> list[str]:
        options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        limits = {_LIMITS[key]: int(value) for key, value in options.items() if key in _LIMITS}
        times = {key: float(value) for key, value in options.items() if key in _TIMES}
        unknown = set(options) - set(_LIMITS) - _TIMES - {"ack", "without"}
        if unknown or (set(words[1:]) - {"leaderless"} - {f"{key}={value}" for key, value in options.items()}):
            raise ScenarioError(f"no such option of a cluster: {' '.join(words[1:])}")
        without = options["without"].split(",") if "without" in options else []
        protections = Protections(**dict.fromkeys(without, False))
        self._world = world = TellingWorld(
            followers=int(words[0]) - 1,
            ack=AckPolicy.parse(options.get("ack", "quorum")),
            limits=Limits(**limits),
            timing=Timing(**times),
            protections=protections,
            elected=protections.up_to_date_check and protections.fencing,
        )
        if "leaderless" not in words:
            with world.in_brief():
                world.receive("replica-1", Campaign(0, ""))
                world.work()
                world.come_to_rest()
                world.let_pass(200)
        return world.take_told()

    # What clients, and whoever runs the cluster, ask for.

    def _ask(self, words: list[str]) -> bool:
        world = self.world
        match words:
            case ["write", name, assignment, "as", who, *rest]:
                key, value = assignment.split("=")
                session, sequence = _client(who)
                born = int(rest[0].removeprefix("born=")) if rest else 0
                world.receive(name, ClientBatch("client", (transaction(session, sequence, key, value, born),)))
            case ["read", name, key, "as", who, *terms] if terms in ([], ["from", "leader"], ["linearizable"]):
                session, request = _client(who)
                linearizable = terms == ["linearizable"]
                world.read(
                    session, request, key, name, from_leader=terms == ["from", "leader"], linearizable=linearizable
                )
            case ["load", name, times, "writes", "as", session]:
                self._load(name, int(times), int(session.removeprefix("c")))
            case ["campaign", name]:
                world.receive(name, Campaign(0, ""))
            case ["add", name, "at", leader]:
                if name not in world.nodes:
                    world.add_node(name)
                world.receive(leader, AddMember(self._request(), "", name))
            case ["remove", name, "at", leader]:
                world.receive(leader, RemoveMember(self._request(), "", name))
            case ["transfer", leader, "->", name]:
                world.receive(leader, TransferLeadership(self._request(), "", name))
            case _:
                return False
        return True

    def _load(self, name: str, times: int, session: int) -> None:
        """Writes one after another, each delivered everywhere before the next."""
        world = self.world
        with world.in_brief():
            for _ in range(times):
                sequence = max((one.sequence for one in world.writes if one.session == session), default=0) + 1
                world.receive(name, ClientBatch("client", (transaction(session, sequence, "n", sequence),)))
                world.work()
                world.come_to_rest()
        world.told = [line for line in world.told if " answers " not in line]

    def _request(self) -> int:
        self._requests += 1
        return self._requests

    # Messages.

    def _pass_messages(self, words: list[str]) -> bool:
        world = self.world
        match words:
            case ["deliver", *link]:
                for one in self._chosen(link):
                    world.hand_over(one)
            case ["drop", *link]:
                for one in self._chosen(link):
                    world.tell(f"lost: {type(decode(one[2])).__name__} of {one[0]} to {one[1]}")
                    world.network = [other for other in world.network if other is not one]
            case ["settle"]:
                with world.in_brief():
                    world.come_to_rest()
            case _:
                return False
        return True

    def _chosen(self, link: list[str]) -> list[tuple[str, str, bytes]]:
        """The messages that lie on a link now: all, the first, or those of a kind."""
        match link:
            case []:
                chosen = self.world.on_the_way("*", "*")
            case [source, "->", target, *which]:
                chosen = self.world.on_the_way(source, target)
                if which == ["first"]:
                    chosen = chosen[:1]
                elif which:
                    chosen = [one for one in chosen if type(decode(one[2])).__name__ in which]
            case _:
                raise ScenarioError("a link is written `replica-1 -> replica-2`, or with `*`")
        if not chosen:
            raise ScenarioError("no such message is on its way")
        return chosen

    # Time.

    def _pass_time(self, words: list[str]) -> bool:
        world = self.world
        match words:
            case ["tick", name, "until", what]:
                before = len(world.told)
                if not world.tick_until(name, lambda: self._reached(name, what, before)):
                    raise ScenarioError(f"{name} does not come to that within ten seconds")
            case ["tick", name, milliseconds, "ms"]:
                for _ in range(int(milliseconds) // 20):
                    world.tick(name)
            case ["wait", milliseconds, "ms"]:
                with world.in_brief():
                    world.let_pass(float(milliseconds))
            case ["wait", "until", name, "leads"]:
                with world.in_brief():
                    if not world.let_pass(10_000, lambda: world.nodes[name].core.role is Role.LEADER):
                        raise ScenarioError(f"{name} does not lead within ten seconds")
            case ["time", milliseconds, "ms"]:
                world.now += int(milliseconds) * 1_000_000
                world.tell("nobody notices yet")
            case _:
                return False
        return True

    def _reached(self, name: str, what: str, before: int) -> bool:
        told = self.world.told[before:]
        match what:
            case "campaign":
                return any(line.startswith(f"{name} -> ") and ": RequestVote" in line for line in told)
            case "heartbeat":
                return any(line.startswith(f"{name} -> ") and ": AppendEntries" in line for line in told)
            case "fetch":
                return any(line.startswith(f"{name} -> ") and ": Fetch" in line for line in told)
            case "follower":
                return self.world.nodes[name].core.role is Role.FOLLOWER
            case _:
                raise ScenarioError("until campaign, heartbeat, fetch or follower")

    # Faults.

    def _break(self, words: list[str]) -> bool:
        world = self.world
        match words:
            case ["crash", name]:
                world.power_off(name, forgets=False)
                world.tell(f"{name} is down; the system keeps what it wrote")
            case ["power", "loss", name]:
                world.power_off(name, forgets=True)
                world.tell(f"{name} is down; what was not synced is gone")
            case ["restart", name]:
                world.restart(name)
            case ["pause", name]:
                world.paused.add(name)
                world.tell(f"{name} is stopped, and does not notice")
            case ["resume", name]:
                world.paused.discard(name)
                world.tell(f"{name} goes on")
            case ["isolate", name]:
                world.cut_off.add(name)
                world.tell(f"{name} hears no replica, nor is heard")
            case ["cut", source, "->", target]:
                world.cut_links.add((source, target))
                world.tell(f"{target} does not hear {source}")
            case ["heal"]:
                world.cut_off.clear()
                world.cut_links.clear()
                world.tell("all links carry again")
            case ["hold", source, "->", target]:
                world.held_links.add((source, target))
                world.tell(f"what goes from {source} to {target} waits on its way")
            case ["release", "links"]:
                world.held_links.clear()
                world.tell("what waited may arrive")
            case ["hold", "disk", name]:
                world.held_disks.add(name)
                world.tell(f"the disk of {name} does nothing for now")
            case ["release", "disk", name]:
                world.held_disks.discard(name)
            case _:
                return False
        return True

    # Claims: they hold when a trace is rewritten, too.

    def _expect(self, words: list[str]) -> None:
        world = self.world
        found: object
        match words:
            case ["no", "leader"]:
                found, wanted = [node.name for node in world.leaders()], []
            case ["leader" | "leaders", *names]:
                found, wanted = [node.name for node in world.leaders()], names
            case ["role", name, role]:
                found, wanted = [str(world.nodes[name].core.role)], [role]
            case ["term", name, term]:
                found, wanted = [str(world.nodes[name].term[0])], [term]
            case ["committed", name, index]:
                found, wanted = [str(world.nodes[name].core.state.committed)], [index]
            case ["members", name, *names]:
                found, wanted = list(world.nodes[name].core.state.members), names
            case ["log", name, *positions]:
                found, wanted = [str(entry.position) for entry, _ in world.nodes[name].log], positions
            case ["no", "answer", who]:
                found, wanted = self._answers(who), []
            case ["answers", who, *outcomes] if outcomes:
                found, wanted = self._answers(who), outcomes
            case ["executed", who, times, "times", "on", name]:
                found, wanted = [str(self._executions(who, name))], [times]
            case [assignment, "on", *names] if "=" in assignment and names:
                key, value = assignment.split("=")
                found = [str(world.nodes[name].data.get(key, "nothing")) for name in names]
                wanted = [value] * len(names)
            case _:
                raise ScenarioError("no such claim (tests/protocol/scenarios/README.md lists them)")
        if found != wanted:
            raise ScenarioError(f"it is {' '.join(map(str, found)) or 'none'}")

    def _answers(self, who: str) -> list[str]:
        session, number = _client(who)
        writes = [one.outcome.name for one in self.world.writes if (one.session, one.sequence) == (session, number)]
        reads = [one.outcome.name for one in self.world.reads if (one.session, one.request) == (session, number)]
        return writes + reads

    def _executions(self, who: str, name: str) -> int:
        log = self.world.nodes[name].log
        return sum((member.session, member.sequence) == _client(who) for entry, _ in log for member in entry.members)


def _client(who: str) -> tuple[int, int]:
    """`c1/2`: session 1, its operation 2."""
    session, _, number = who.removeprefix("c").partition("/")
    if not (session.isdigit() and number.isdigit()):
        raise ScenarioError(f"a client's operation is written c1/1, not {who}")
    return int(session), int(number)
