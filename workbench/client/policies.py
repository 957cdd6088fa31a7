"""Read policies: who may answer a session's reads, and on which terms. Each is a value, written as text.

A policy turns what the client knows (`Situation`) into `Terms`. The replicas enforce the terms; the client only
chooses whom to ask, and goes on to the next when one cannot answer. `POLICIES` is the one list of them: parsing, the
choices of experiments and the table in docs/sessions.md are made from it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from workbench.client.own import Own
from workbench.client.seen import Seen
from workbench.client.tokens import Token
from workbench.errors import ConfigurationError
from workbench.protocol.values import Position, Statement


class Situation(NamedTuple):
    """What a session knows when it is about to read."""

    statement: Statement
    seen: Seen
    own: Own
    members: tuple[str, ...]
    applied: Mapping[str, Position]
    """Replica -> the position at which it last read for this process."""
    now: float
    """On the clock of the event loop."""


_NOTHING = Token()


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Who may be asked, in no order, and the terms that the read carries. Nobody to ask: the leader."""

    replicas: tuple[str, ...] = ()
    sticky: bool = False
    """Of the replicas always the same one, as long as it answers."""
    from_leader: bool = False
    linearizable: bool = False
    after: Token = _NOTHING
    lag_entries_max: int = -1
    lag_ms_max: float = -1.0

    @property
    def needs_leader(self) -> bool:
        """Whether nobody but the leader may answer."""
        return self.from_leader or self.linearizable


class ReadPolicy(Protocol):
    """A policy; `str` gives the text that `parse_policy` takes."""

    def terms(self, situation: Situation) -> Terms:
        """The terms of one read."""
        ...


_LEADER = Terms(from_leader=True)


@dataclass(frozen=True, slots=True)
class Leader:
    """Only the leader, while its lease lasts."""

    def terms(self, situation: Situation) -> Terms:
        return _LEADER

    def __str__(self) -> str:
        return "leader"


@dataclass(frozen=True, slots=True)
class Anywhere:
    """A random replica for each read."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members)

    def __str__(self) -> str:
        return "any"


@dataclass(frozen=True, slots=True)
class Sticky:
    """One random replica for the whole session."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members, sticky=True)

    def __str__(self) -> str:
        return "sticky"


@dataclass(frozen=True, slots=True)
class ReadYourWrites:
    """Any replica that has applied the session's own writes."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members, after=situation.seen.written)

    def __str__(self) -> str:
        return "read_your_writes"


@dataclass(frozen=True, slots=True)
class LeaderForOwn:
    """The leader for what the session may edit (`Own`), any replica for the rest."""

    def terms(self, situation: Situation) -> Terms:
        return _LEADER if situation.own.is_read_by(situation.statement) else Terms(replicas=situation.members)

    def __str__(self) -> str:
        return "read_your_writes:leader_for_own"


WINDOW_MS = 1000.0


@dataclass(frozen=True, slots=True)
class AfterWriteWindow:
    """For a while after a write the leader, or whoever is known to have applied it; later any replica."""

    window_ms: float = WINDOW_MS

    def terms(self, situation: Situation) -> Terms:
        seen = situation.seen
        if situation.now - seen.wrote_at > self.window_ms / 1000:
            return Terms(replicas=situation.members)
        position = seen.written.position
        up_to_date = tuple(name for name in situation.members if situation.applied.get(name, Position()) >= position)
        # Asked for all the same: since it answered, the replica may have been restarted on older data.
        return Terms(replicas=up_to_date, after=Token.of(position)) if up_to_date else _LEADER

    def __str__(self) -> str:
        length = "" if self.window_ms == WINDOW_MS else f":{self.window_ms:g}ms"
        return f"read_your_writes:window{length}"


@dataclass(frozen=True, slots=True)
class Monotonic:
    """Any replica that has applied everything that the session's reads have seen."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members, after=situation.seen.read)

    def __str__(self) -> str:
        return "monotonic"


@dataclass(frozen=True, slots=True)
class Causal:
    """Any replica that has applied everything that the session has written, read or heard of."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members, after=situation.seen.everything)

    def __str__(self) -> str:
        return "causal"


@dataclass(frozen=True, slots=True)
class Bounded:
    """Any replica that is at most so far behind the leader; one of the bounds is negative, and not meant."""

    lag_entries_max: int = -1
    lag_ms_max: float = -1.0

    def terms(self, situation: Situation) -> Terms:
        return Terms(replicas=situation.members, lag_entries_max=self.lag_entries_max, lag_ms_max=self.lag_ms_max)

    def __str__(self) -> str:
        return f"bounded:{self.lag_ms_max:g}ms" if self.lag_ms_max >= 0 else f"bounded:{self.lag_entries_max}"


@dataclass(frozen=True, slots=True)
class Linearizable:
    """The leader, once it has proved that it leads and that what it shows cannot be lost."""

    def terms(self, situation: Situation) -> Terms:
        return Terms(linearizable=True)

    def __str__(self) -> str:
        return "linearizable"


class Form(NamedTuple):
    """One way to write a policy: as it is shown, as it is recognized, and what it becomes."""

    text: str
    pattern: str
    make: Callable[[re.Match[str]], ReadPolicy]
    meaning: str


_MS = r"(\d{1,9}(?:\.\d{1,9})?)ms"

POLICIES: tuple[Form, ...] = (
    Form("leader", "leader", lambda _: Leader(), "the leader, while it can be sure to be it"),
    Form("any", "any", lambda _: Anywhere(), "any replica: may be stale"),
    Form("sticky", "sticky", lambda _: Sticky(), "one replica for the whole session, another if it does not answer"),
    Form(
        "read_your_writes",
        "read_your_writes(?::token)?",
        lambda _: ReadYourWrites(),
        "any replica that has applied the session's own writes (also written `read_your_writes:token`)",
    ),
    Form(
        "read_your_writes:leader_for_own",
        "read_your_writes:leader_for_own",
        lambda _: LeaderForOwn(),
        "the leader for tables and keys that the session may edit (by default, tables that it wrote), else any replica",
    ),
    Form(
        "read_your_writes:window",
        f"read_your_writes:window(?::{_MS})?",
        lambda match: AfterWriteWindow(float(match[1]) if match[1] else WINDOW_MS),
        "for 1 s (or with `:200ms` behind it) after a write the leader, or a replica known to be so far; then any",
    ),
    Form(
        "monotonic", "monotonic", lambda _: Monotonic(), "any replica that has applied what the session has read so far"
    ),
    Form(
        "causal",
        "causal",
        lambda _: Causal(),
        "any replica that has applied what the session has written, read, or been told by tokens",
    ),
    Form(
        "bounded:N",
        r"bounded:(\d{1,15})",
        lambda match: Bounded(lag_entries_max=int(match[1])),
        "any replica that is at most N entries behind the leader, as far as it has heard of them",
    ),
    Form(
        "bounded:Nms",
        f"bounded:{_MS}",
        lambda match: Bounded(lag_ms_max=float(match[1])),
        "any replica that is at most N milliseconds behind the leader",
    ),
    Form(
        "linearizable",
        "linearizable",
        lambda _: Linearizable(),
        "the leader, after a majority has confirmed it and what it shows is committed",
    ),
)


def parse_policy(text: str) -> ReadPolicy:
    """Read a policy from text such as `causal` or `bounded:50ms`. Raises `ConfigurationError`, naming the nearest."""
    for form in POLICIES:
        if match := re.fullmatch(form.pattern, text.strip()):
            return form.make(match)
    names = [form.text for form in POLICIES]
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.6)
    nearest = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigurationError(f"unknown read policy {text!r}", hint=f"{nearest}policies: " + ", ".join(names))


def split_policies(text: str) -> tuple[str, ...]:
    """The policies of a load whose sessions have several: `any,leader`. Raises `ConfigurationError` as above."""
    return tuple(str(parse_policy(part)) for part in text.split(","))


def policy_of(text: str, session: int) -> str:
    """The policy of one session of such a load: they have the policies in turn."""
    policies = text.split(",")
    return policies[session % len(policies)].strip()


def markdown_table() -> str:
    """The policies as a Markdown table, as docs/sessions.md shows them."""
    lines = ["| policy | who may answer |", "|---|---|"]
    lines += [f"| `{form.text}` | {form.meaning} |" for form in POLICIES]
    return "\n".join(lines) + "\n"
