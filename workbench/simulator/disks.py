"""What the replicas of one world keep their data in: in memory, or in real storage with a real log format."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from workbench.config import LOG_FORMATS, LogFormatName, ReplicaConfig
from workbench.errors import ConfigurationError
from workbench.faults.draws import between
from workbench.faults.schedules import Schedule, random_schedule
from workbench.simulator.memory_disk import MemoryNode
from workbench.simulator.memory_format import MemoryWorkload, Snapshot, Workload
from workbench.simulator.node import Node
from workbench.simulator.sql_node import SqlNode
from workbench.simulator.sql_workload import SqlWorkload
from workbench.temporary import make_temporary_directory

if TYPE_CHECKING:
    from pathlib import Path

    from workbench.simulator.world import World, WorldConfig

MEMORY: Final = "memory"
FORMATS: Final = (MEMORY, *LOG_FORMATS)
"""What a world can be told to have: `memory`, or a real log format."""
_QUIET: Final = logging.NullHandler()
_PAGE_BYTES: Final = 512
_SEGMENT_BYTES: Final = 6_000
_LARGER: Final = 12
"""Entries of a real log format are so many times as long as those in memory, and so are their bounds."""
_OF_DISKS: Final = ("power_loss", "crash", "failing_sync", "disk_full")
_NOT_DONE: Final = frozenset({"damage"})
"""What is done to the database behind a replica's back, a real one might not notice before it matters."""


class Disks(Protocol):
    """All disks of one world."""

    @property
    def log_format(self) -> str:
        """As its replicas tell each other, like `layout`."""
        ...

    @property
    def layout(self) -> str: ...

    @property
    def workload(self) -> Workload:
        """What clients ask."""
        ...

    def add(self, name: str, world: World) -> Node:
        """An empty one, for a replica of `world`."""
        ...


class MemoryDisks:
    """Dictionaries and lists."""

    log_format = MEMORY
    layout = "in memory"

    def __init__(self) -> None:
        self.workload = MemoryWorkload()
        self._snapshots: dict[str, Snapshot] = {}

    def add(self, name: str, world: World) -> Node:
        """As of `Disks`."""
        return MemoryNode(name=name, laws=world.laws, snapshots=self._snapshots, first_members=world.first_members)


class SqlDisks:
    """Real storage below `folder`. Everything drawn follows from `seed`."""

    def __init__(self, log_format: LogFormatName, folder: Path, seed: int) -> None:
        self._random = Random(f"{seed}/disks")
        self.log_format = log_format
        self.layout = ""
        self.workload = SqlWorkload(rich=self._random.random() < 0.5)
        self._folder = folder
        self._seed = seed

    def add(self, name: str, world: World) -> Node:
        """As of `Disks`."""
        config = ReplicaConfig(
            name=name,
            members=world.first_members,
            cluster_id=f"simulated-{self._seed}",
            broker_url="",
            directory=self._folder / name,
            log_format=self.log_format,
            ack=world.config.ack,
            link_delay_ms=0,
            page_size=_PAGE_BYTES,
            limits=world.config.limits,
            timing=world.config.timing,
            protections=world.config.protections,
            observer=name in world.observers,
        )
        self.layout = config.layout
        random = Random(f"{self._seed}/disks/{name}")
        return SqlNode(name=name, laws=world.laws, config=config, now_ns=lambda: world.events.now, random=random)


def check_format(text: str) -> None:
    """Raise `ConfigurationError` where there is no such log format."""
    if text not in FORMATS:
        raise ConfigurationError(f"there is no log format {text!r}", hint="one of " + ", ".join(FORMATS))


@contextmanager
def disks_of(log_format: str, seed: int) -> Iterator[Disks]:
    """Disks for one world, gone at the end."""
    if log_format == MEMORY:
        yield MemoryDisks()
        return
    check_format(log_format)
    logging.getLogger("workbench").addHandler(_QUIET)  # what storage has to say of crashes is expected here
    folder = make_temporary_directory(in_memory=True)
    try:
        yield SqlDisks(log_format, folder, seed)  # type: ignore[arg-type]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        gc.collect()  # connections of processes that were killed are open until then


def fitted(config: WorldConfig, log_format: str) -> WorldConfig:
    """The same world with bounds that leave room for entries of `log_format`."""
    if log_format == MEMORY:
        return config
    limits = config.limits
    larger = replace(
        limits,
        unacknowledged_bytes_max=limits.unacknowledged_bytes_max * _LARGER,
        catch_up_bytes_max=limits.catch_up_bytes_max * _LARGER,
        retained_log_bytes_max=min(limits.retained_log_bytes_max * _LARGER, 1 << 28),
        segment_bytes_max=_SEGMENT_BYTES,
    )
    return replace(config, limits=larger)


def aimed(schedule: Schedule, log_format: str, random: Random, duration_ms: float) -> Schedule:
    """A drawn schedule for disks of this kind: on real ones, some more faults of disks and of their power."""
    if log_format == MEMORY:
        return schedule
    more = random_schedule(random, duration_ms, between(random, 2, 10), kinds=_OF_DISKS)
    faults = [*(one for one in schedule if one.kind not in _NOT_DONE), *more]
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def check_strikes(schedule: Schedule, log_format: str) -> None:
    """Raise `ConfigurationError` where a fault cannot be done to disks of this kind."""
    for number, one in enumerate(schedule, start=1):
        if log_format != MEMORY and one.kind in _NOT_DONE:
            raise ConfigurationError(
                f"fault {number}: {one.kind} is not done to disks with a real log format", hint="--log-format memory"
            )
