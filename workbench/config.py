"""Configuration as frozen, validated values; a mistake is refused where the value is built.

Everything here is pure data. A `ClusterConfig` describes a whole cluster; each replica process gets a
`ReplicaConfig` made from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from workbench.errors import ConfigurationError

LogFormatName = Literal["statement", "wal", "logical", "mixed"]
Level = Literal["received", "durable", "applied"]
Who = Literal["async", "semi_sync", "quorum", "sync"]
UnsafePolicy = Literal["allow", "refuse", "pin", "mixed"]
EngineName = Literal["sqlite", "duckdb"]

LOG_FORMATS: tuple[LogFormatName, ...] = get_args(LogFormatName)
UNSAFE_POLICIES: tuple[UnsafePolicy, ...] = get_args(UnsafePolicy)
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class AckPolicy:
    """Who must hold an entry, and how firmly, before its writes are acknowledged.

    The leader itself always has the entry durable first. `count` is the number of followers for `semi_sync`.
    Written as text `who[:count][/level]`, as in `async`, `semi_sync:1`, `quorum`, `sync/durable`.

    Raises `ConfigurationError` for an unknown word or a count below one.
    """

    who: Who
    level: Level
    count: int = 0

    def __post_init__(self) -> None:
        if self.who not in get_args(Who):
            raise ConfigurationError(f"unknown ack policy {self.who!r}", hint="one of " + ", ".join(get_args(Who)))
        if self.level not in LEVELS:
            raise ConfigurationError(f"unknown ack level {self.level!r}", hint="one of " + ", ".join(LEVELS))
        if (self.who == "semi_sync") != (self.count > 0):
            raise ConfigurationError(
                f"{self.who} with a count of {self.count}", hint="semi_sync:k needs k >= 1 and no other policy takes k"
            )

    @classmethod
    def asynchronous(cls) -> AckPolicy:
        """The leader has the entry durable; followers may have nothing."""
        return cls("async", "durable")

    @classmethod
    def semi_sync(cls, count: int = 1, level: Level = "durable") -> AckPolicy:
        """The leader and at least `count` followers hold the entry at `level`."""
        return cls("semi_sync", level, count)

    @classmethod
    def quorum(cls, level: Level = "durable") -> AckPolicy:
        """A majority of the members, the leader among them, holds the entry at `level`."""
        return cls("quorum", level)

    @classmethod
    def sync(cls, level: Level = "applied") -> AckPolicy:
        """All members hold the entry at `level`."""
        return cls("sync", level)

    @classmethod
    def parse(cls, text: str) -> AckPolicy:
        """Read a policy from text such as `semi_sync:1/received`. Raises `ConfigurationError`."""
        match = re.fullmatch(r"(async|semi_sync|quorum|sync)(?::(\d+))?(?:/(\w+))?", text.strip())
        if match is None:
            raise ConfigurationError(
                f"unknown ack policy {text!r}",
                hint="async, semi_sync:K, quorum or sync, then /received, /durable or /applied",
            )
        who, count, level = match.groups()
        default = "applied" if who == "sync" else "durable"
        return cls(who, level or default, int(count or (1 if who == "semi_sync" else 0)))  # type: ignore[arg-type]

    def followers_needed(self, members: int) -> int:
        """How many of the `members - 1` followers must hold an entry."""
        match self.who:
            case "async":
                return 0
            case "semi_sync":
                return self.count
            case "quorum":
                return members // 2
            case "sync":
                return members - 1

    def __str__(self) -> str:
        default = "applied" if self.who == "sync" else "durable"
        count = f":{self.count}" if self.count else ""
        return f"{self.who}{count}" + ("" if self.level == default else f"/{self.level}")


def check_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise `ConfigurationError` for a value outside of its range."""
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}{unit}", hint=f"it must lie between {low} and {high}{unit}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bound of every queue, batch and wait in a replica. What happens at each stands in docs/protocol.md."""

    transaction_bytes_max: int = 4 * 1024 * 1024
    """SQL text and parameters of one client transaction; larger ones are refused."""
    reply_bytes_max: int = 64 * 1024
    """Rows returned by one write (they travel in the entry); more is refused."""
    read_rows_max: int = 100_000
    """Rows returned by one read; more is refused."""
    read_bytes_max: int = 16 * 1024 * 1024
    """Bytes returned by one read; more is refused."""
    entry_bytes_max: int = 96 * 1024 * 1024
    """What a log format may make of one group of writes; a group with more is refused (one message carries it)."""
    group_transactions_max: int = 256
    """Client transactions that the leader puts into one entry."""
    waiting_transactions_max: int = 10_000
    """Client transactions waiting on the leader; more are refused with `OverloadedError`."""
    sessions_max: int = 20_000
    """Sessions whose last write is remembered, so that retries take effect once; beyond that the older half expires."""
    retained_log_bytes_max: int = 64 * 1024 * 1024
    """Log behind the newest snapshot at which a replica makes another one and drops what it covers."""
    unacknowledged_bytes_max: int = 8 * 1024 * 1024
    """Bytes on the way to one follower before it leaves the live stream for catch-up."""
    catch_up_bytes_max: int = 1024 * 1024
    """Entries sent in answer to one fetch."""
    segment_bytes_max: int = 16 * 1024 * 1024
    """Size at which the replication log starts a new segment file."""
    statement_timeout_s: float = 30.0
    """A statement that runs longer is interrupted and refused."""
    disk_bytes_max: int = 0
    """Bytes that a replica may write to its replication log; 0 is no bound. Shows what a full disk does."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            low = 0 if name == "disk_bytes_max" else 0.001 if name == "statement_timeout_s" else 1
            check_range(name, getattr(self, name), low, 2**40)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How often a replica speaks and how long it waits, in milliseconds."""

    tick_ms: float = 20.0
    heartbeat_ms: float = 100.0
    """Longest silence of a leader towards its followers."""
    election_timeout_ms: float = 500.0
    """Silence of the leader after which a follower stands for election: a random time between this and its double.
    The leader's lease is a tenth shorter than this, so it must be well above heartbeat and round trip together."""
    fetch_retry_ms: float = 250.0
    """A follower asks again for missing entries after this."""
    ack_timeout_ms: float = 5_000.0
    """A write that waits longer for its ack policy is answered as indefinite."""
    read_wait_ms: float = 500.0
    """A read waits so long for the position that it asks for; then the replica says that it is not ready."""
    downgrade_ms: float = 0.0
    """Under `semi_sync`: when no write was acknowledged for so long, the leader goes on as under `async` until its
    followers have caught up. 0: never."""
    session_expiry_ms: float = 600_000.0
    """A session that wrote nothing for so long is forgotten."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            low = 0 if name == "downgrade_ms" else 1
            check_range(name, getattr(self, name), low, 86_400_000, " ms")
        if self.election_timeout_ms < 2 * self.heartbeat_ms:
            raise ConfigurationError(
                f"election_timeout_ms is {self.election_timeout_ms:g} with heartbeat_ms {self.heartbeat_ms:g}",
                hint="at least twice as long: one lost heartbeat must not depose a leader",
            )

    @classmethod
    def for_delay(cls, delay_ms: float) -> Timing:
        """Time-outs under which followers that hear everything `delay_ms` late do not take their leader for dead, and
        its lease does not run out before their answers come."""
        return cls(election_timeout_ms=max(cls().election_timeout_ms, 2 * delay_ms + 400))


@dataclass(frozen=True, kw_only=True, slots=True)
class Protections:
    """What keeps replication safe, each to be switched off to show what it protects from."""

    fencing: bool = True
    """Messages of an older term are refused, and a leader that hears of a newer one, or whose lease has run out, stops
    acknowledging and answering. Without: two leaders at once, each with followers that believe whoever spoke last."""
    up_to_date_check: bool = True
    """Only a replica whose log is at least as long as the voter's gets its vote. Without: committed writes are lost."""
    pre_vote: bool = True
    """A replica asks whether it could win before it makes a new term. Without: whoever comes back from a cut deposes
    the leader, though nobody will have him."""
    check_quorum: bool = True
    """A leader holds a lease from a majority, and nobody votes while its leader has a lease. Without: a leader that is
    cut off goes on answering reads, and acknowledging what its policy allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """One cluster: a leader, its followers, a broker between them.

    `broker` is an MQTT URL (`mqtt://user:password@host:1883`, `mqtts://...`), `"mosquitto"`, `"amqtt"`, or `None`
    for mosquitto when it is on PATH and amqtt otherwise. `directory` holds every replica's files; `None` means a
    temporary directory that is removed at the end. `follower_delay_ms` is added to every message that a
    follower receives from another replica. Raises `ConfigurationError`.
    """

    followers: int = 2
    log_format: LogFormatName = "logical"
    ack: AckPolicy = field(default_factory=AckPolicy.quorum)
    broker: str | None = None
    directory: Path | None = None
    follower_delay_ms: float = 0.0
    page_size: int = 4096
    unsafe: UnsafePolicy = "allow"
    """Of the statement format: what becomes of a statement whose effect may differ between replicas. `allow`: it
    travels as it is; `refuse`: an error that names the cause; `pin`: the time and the random values that it saw travel
    with it, and what cannot be pinned is refused; `mixed`: it travels as rows, as in the format `mixed`."""
    layout_check: bool = True
    """Replicas whose database is laid out differently are refused. Without: they are let in, and corrupted."""
    reverse_unordered: bool = False
    """All replicas but the first read rows in another order wherever SQL leaves the order open, as another version of
    SQLite, or another plan, might."""
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    protections: Protections = field(default_factory=Protections)
    apply_times: bool = False
    """Every replica writes down when which entry became visible and when it answered reads, in its directory (see
    `workbench.replica.apply_times`)."""
    seed: int = 0
    """Of the replicas' election timeouts; 0 draws them anew each time."""
    start_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_range("followers", self.followers, 0, 15)
        if self.log_format not in LOG_FORMATS:
            raise ConfigurationError(f"unknown log format {self.log_format!r}", hint="one of " + ", ".join(LOG_FORMATS))
        if self.unsafe not in UNSAFE_POLICIES:
            raise ConfigurationError(
                f"unknown unsafe policy {self.unsafe!r}", hint="one of " + ", ".join(UNSAFE_POLICIES)
            )
        if self.unsafe != "allow" and self.log_format != "statement":
            raise ConfigurationError(
                f"unsafe policy {self.unsafe} with the {self.log_format} log format",
                hint="only the statement format has unsafe statements",
            )
        if self.ack.count > self.followers:
            raise ConfigurationError(
                f"ack policy {self.ack} with {self.followers} followers", hint="it could never be met; add followers"
            )
        check_range("follower_delay_ms", self.follower_delay_ms, 0, 60_000, " ms")
        if self.page_size not in {512 << n for n in range(8)}:
            raise ConfigurationError(f"page_size is {self.page_size}", hint="a power of two from 512 to 65536")
        check_range("start_timeout_s", self.start_timeout_s, 0.1, 600, " s")

    @property
    def replica_names(self) -> tuple[str, ...]:
        """`replica-1` (the first leader), `replica-2`, ..."""
        return tuple(f"replica-{n}" for n in range(1, self.followers + 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaConfig:
    """What one replica process needs to know; made by the cluster, passed to the process as JSON.

    `members` are the first members of the cluster, or for a replica that is to join those that it may meet: whoever
    is not among them waits to be made one.
    """

    name: str
    members: tuple[str, ...]
    cluster_id: str
    broker_url: str
    directory: Path
    log_format: LogFormatName
    ack: AckPolicy
    link_delay_ms: float
    page_size: int
    limits: Limits
    timing: Timing
    protections: Protections = field(default_factory=Protections)
    unsafe: UnsafePolicy = "allow"
    layout_check: bool = True
    reverse_unordered: bool = False
    engine: EngineName = "sqlite"
    """What holds the data. Another engine than SQLite can only apply entries."""
    observer: bool = False
    """Follows whoever leads, serves reads, and counts for nothing: it is no member, never votes and never leads."""
    apply_times: bool = False
    seed: int = 0
    failpoint: str = ""
    """Where the process is to kill itself: see `workbench.failpoints`."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigurationError(f"unknown engine {self.engine!r}", hint="one of " + ", ".join(ENGINES))
        if self.engine != "sqlite" and not self.observer:
            raise ConfigurationError(
                f"{self.name} holds its data in {self.engine} and is to be a member",
                hint="a replica on another engine than SQLite cannot lead: make it an observer",
            )

    @property
    def layout(self) -> str:
        """What the replicas of a cluster must have in common to use each other's entries and snapshots: pages fit only
        the same engine and page size, rows and statements any."""
        if self.log_format == "wal":
            return f"wal log format, {self.engine}, page size {self.page_size}"
        return f"{self.log_format} log format"
