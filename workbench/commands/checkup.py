"""The checks of `workbench doctor`, which give findings and raise nothing that a broken machine could cause."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.environment import machine, versions
from workbench.errors import WorkbenchError
from workbench.run_listing import runs_root

if TYPE_CHECKING:
    from workbench.commands.terminal import Tell
    from workbench.transport.base import Inbound

_NEEDED = ("aiomqtt", "apsw", "matplotlib", "msgspec", "numpy", "pandas", "pyarrow", "seaborn")
_HELD_BACK_MS = 20.0
"""Nagle's algorithm waits for a delayed acknowledgement: 40 ms or more. A loopback without it takes 1."""
_SLOW_SYNC_MS = 20.0
_LITTLE_DISK_BYTES = 1_000_000_000
_ROUND_TRIPS = 15
_SYNCS = 25
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result. `note` is worth knowing, `missing` must be mended before experiments can run."""

    name: str
    status: Literal["ok", "note", "missing"]
    text: str
    hint: str = ""


async def check_all(broker: str | None, tell: Tell) -> list[Finding]:
    """All findings, in the order in which they are shown."""
    tell(0.0, "packages")
    findings = [_python(), _machine(), *_packages(), _jupyter(), *_disk()]
    tell(0.3, "broker")
    findings += await _broker(broker)
    if all(finding.status != "missing" for finding in findings):
        tell(0.7, "replicas")
        findings.append(await _cluster(broker))
    return findings


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_implementation()} {platform.python_version()}")


def _machine() -> Finding:
    found = machine()
    cores, usable = found["cores"], found["cores_usable"]
    text = f"{found['system']} {found['release']}, {found['architecture']}, {usable} of {cores} cores"
    if usable is not None and usable < 2:
        return Finding("machine", "note", text, "replicas share one core: latencies mean little")
    return Finding("machine", "ok", text)


def _packages() -> Iterator[Finding]:
    found = versions()
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        yield Finding("packages", "missing", "not installed: " + ", ".join(missing), "`make demo` installs them")
    else:
        names = ("sqlite", "apsw", "aiomqtt", "pandas", "seaborn", "uvloop")
        yield Finding("packages", "ok", ", ".join(f"{name} {found[name]}" for name in names if name in found))
    if "apsw" in found:
        import apsw

        if not hasattr(apsw, "Session"):
            yield Finding("sqlite", "missing", "APSW was built without sessions", "pip install --force-reinstall apsw")
    if "uvloop" not in found:
        yield Finding("uvloop", "note", "not installed", "asyncio's own event loop is used, which is slower")


def _jupyter() -> Finding:
    if importlib.util.find_spec("jupyterlab") is None:
        return Finding("jupyter", "note", "not installed", "`make lab` installs it; only the notebooks need it")
    from importlib.metadata import version

    return Finding("jupyter", "ok", f"jupyterlab {version('jupyterlab')}")


def _disk() -> Iterator[Finding]:
    root = runs_root()
    folder = next(path for path in (root, *root.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free where run folders go"
    if free < _LITTLE_DISK_BYTES:
        yield Finding("disk", "note", text, "`workbench runs prune --keep 10` deletes old runs")
    else:
        yield Finding("disk", "ok", text)
    try:
        milliseconds = _sync_ms(folder)
    except OSError as error:
        yield Finding("fsync", "missing", f"cannot write to {folder}: {error.strerror}", "set WORKBENCH_RUNS")
        return
    slow = milliseconds > _SLOW_SYNC_MS
    hint = "a slow disk: every durable write waits that long" if slow else ""
    yield Finding("fsync", "note" if slow else "ok", f"{milliseconds:.2f} ms for 4 KiB (median)", hint)


def _sync_ms(folder: Path) -> float:
    """The median cost of making a small write durable."""
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            sync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


async def _broker(choice: str | None) -> Sequence[Finding]:
    from workbench.cluster.broker import Broker, find_mosquitto

    with tempfile.TemporaryDirectory(prefix="replication-workbench-") as folder:
        try:
            async with await Broker.start(choice, Path(folder)) as broker:
                name = f"{broker.info.name} {broker.info.version}"
                milliseconds = await _two_writes_ms(broker.url)
        except WorkbenchError as error:
            return [Finding("broker", "missing", error.message, error.hint)]
    better = choice is None and find_mosquitto() is None
    hint = "with mosquitto installed, experiments are faster" if better else ""
    return [Finding("broker", "note" if better else "ok", name, hint), _nodelay(milliseconds)]


def _nodelay(milliseconds: float) -> Finding:
    text = f"two writes in a row arrive within {milliseconds:.2f} ms (median)"
    if milliseconds > _HELD_BACK_MS:
        return Finding("nodelay", "note", text, "TCP_NODELAY seems to be off in the broker: every latency is wrong")
    return Finding("nodelay", "ok", text)


async def _two_writes_ms(url: str) -> float:
    """The median time in which two small messages, sent in two writes, come back: what Nagle's algorithm delays."""
    from workbench.transport.mqtt import connect_mqtt

    arrived: asyncio.Queue[None] = asyncio.Queue()

    def take(messages: Sequence[Inbound]) -> None:
        for _ in messages:
            arrived.put_nowait(None)

    topic = f"workbench-doctor/{secrets.token_hex(4)}"
    times = []
    async with await connect_mqtt(url, identifier=f"doctor-{secrets.token_hex(4)}", handler=take) as transport:
        await transport.subscribe(topic)
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            transport.publish(topic, b"first")
            await asyncio.sleep(0.001)  # so that the second is a write of its own
            transport.publish(topic, b"second")
            for _ in range(2):
                await asyncio.wait_for(arrived.get(), _PATIENCE_S)
            times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


async def _cluster(choice: str | None) -> Finding:
    """Three replicas, one write, everywhere."""
    from workbench.cluster.cluster import Cluster
    from workbench.config import AckPolicy, ClusterConfig

    began = time.perf_counter()
    try:
        async with Cluster(ClusterConfig(broker=choice, ack=AckPolicy.sync())) as cluster:
            ready_s = time.perf_counter() - began
            session = await cluster.session()
            await session.write("CREATE TABLE checkup (id INTEGER PRIMARY KEY)")
            report = await cluster.converged()
    except WorkbenchError as error:
        return Finding("cluster", "missing", error.message, error.hint)
    if not report.ok:
        return Finding("cluster", "missing", f"the replicas are not equal: {report.reason}")
    return Finding("cluster", "ok", f"three replicas ready in {ready_s:.1f} s, a write reached all of them")
