"""The broker of a cluster, got in one of three ways: the user's own (a URL), mosquitto, or amqtt in its own process.

A broker that we start listens on a free port of 127.0.0.1, keeps nothing on disk, and ends with this process. It counts
as started once it has accepted an MQTT connection. What runs, in which version and with which settings, is part of
every result (`BrokerInfo`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.cluster.embedded_broker import settings as amqtt_settings
from workbench.cluster.processes import ChildProcess, python_command, python_environment
from workbench.errors import BrokerError, ConfigurationError
from workbench.transport.base import Inbound
from workbench.transport.broker_url import parse_broker_url
from workbench.transport.fragments import FRAGMENT_BYTES
from workbench.transport.mqtt import connect_mqtt

HOST = "127.0.0.1"
_PORT_ATTEMPTS = 5
_ASK_VERSION_S = 0.5
_RETRY_S = 0.02
_PROBE_S = 0.5


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """Which broker a result was made with; `url` without its password, `settings` as far as they are known."""

    name: str
    version: str
    url: str
    settings: Mapping[str, str]


class Broker:
    """A broker that is ready. Make it with `start`; leave an `async with` block or `stop` it."""

    def __init__(
        self,
        url: str,
        info: BrokerInfo,
        process: ChildProcess | None,
        start_again: Callable[[], Awaitable[ChildProcess]] | None = None,
    ) -> None:
        """`start_again` starts another process at the same address."""
        self.url = url
        """The address to connect to, password included: not for logs or results."""
        self.info = info
        self.process = process
        """None for a broker that we did not start, and while it is halted."""
        self._start_again = start_again
        self._is_wanted = asyncio.Event()
        self._is_wanted.set()

    @classmethod
    async def start(cls, choice: str | None, logs: Path, *, timeout_s: float = 10.0) -> Broker:
        """Get the broker that `choice` names: a URL, `"mosquitto"`, `"amqtt"`, or None for the best one at hand.

        Its log goes to `logs/broker.log`. Raises `BrokerError`, and `ConfigurationError` for another `choice`.
        """
        match choice:
            case None:
                return await cls.start("mosquitto" if find_mosquitto() else "amqtt", logs, timeout_s=timeout_s)
            case "mosquitto":
                return await _start_mosquitto(logs, timeout_s)
            case "amqtt":
                return await _start_amqtt(logs, timeout_s)
            case url if "://" in url:
                return await _check_external(url, timeout_s)
        raise ConfigurationError(
            f"unknown broker {choice!r}", hint="mosquitto, amqtt or a URL such as mqtt://host:1883"
        )

    async def stop(self) -> None:
        """End it if it is ours. Not an unexpected end for `ended`."""
        self._is_wanted.clear()
        if self.process is not None:
            await self.process.terminate(grace_s=3.0)

    async def halt(self) -> int | None:
        """End it for a while, as a fault; the exit status, or None where it is not ours or halted already."""
        process = self.process
        if process is None or self._start_again is None:
            return None
        self._is_wanted.clear()
        self.process = None
        return await process.terminate(grace_s=3.0)

    async def restart(self) -> None:
        """Start it again at the same address after `halt`. Raises `BrokerError`; nothing happens if it runs."""
        if self.process is None and self._start_again is not None:
            self.process = await self._start_again()
            self._is_wanted.set()

    async def ended(self) -> BrokerError:
        """Wait until the broker's process ends unexpectedly; return what happened, for someone else to raise."""
        while True:
            if (process := self.process) is not None:
                status = await process.wait()
                if self._is_wanted.is_set() and process is self.process:
                    return _end_error(self.info.name, process, status)
            elif self._start_again is None:
                never: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
                return await never  # it is not ours
            await self._is_wanted.wait()  # it ended because we wanted it to

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def find_mosquitto() -> str | None:
    """Path of the mosquitto program, or None."""
    return shutil.which("mosquitto", path=search_path())


def search_path() -> str:
    """PATH, and for each `bin` folder on it the `sbin` beside it, where packages put servers and users seldom look."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    beside = [f"{folder.removesuffix('/bin')}/sbin" for folder in folders if folder.endswith("/bin")]
    return os.pathsep.join([*folders, *beside])


def mosquitto_version(program: str) -> str:
    """Version of a mosquitto program, such as `2.0.18`; `unknown` when it does not say."""
    try:
        result = subprocess.run(
            [program, "-h"], capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.search(r"mosquitto version (\S+)", result.stdout)
    return match.group(1) if match else "unknown"


def mosquitto_settings() -> dict[str, str]:
    """Settings that a run's figures depend on; they stand in the run's metadata."""
    return {
        "set_tcp_nodelay": "true",  # Nagle's algorithm adds 40 ms to a round trip
        "max_inflight_messages": "0",
        "max_queued_messages": "1000000",  # not 0 for "no limit": 2.0.x then drops messages of QoS 0
        "message_size_limit": str(2 * FRAGMENT_BYTES),
        "persistence": "false",
        "sys_interval": "0",
    }


def mosquitto_configuration(port: int) -> str:
    """The configuration file for one broker on a loopback port that logs to standard error."""
    lines = [f"listener {port} {HOST}", "allow_anonymous true"]
    lines += [f"{name} {value}" for name, value in mosquitto_settings().items()]
    lines += ["log_dest stderr", "log_timestamp_format %Y-%m-%dT%H:%M:%S"]
    lines += [f"log_type {kind}" for kind in ("error", "warning", "notice")]
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes user mosquitto, who may be unable to read its own files
    return "\n".join(lines) + "\n"


async def _start_mosquitto(logs: Path, timeout_s: float) -> Broker:
    program = find_mosquitto()
    if program is None:
        raise BrokerError("mosquitto was not found", hint="install it, or choose the broker amqtt")
    logs.mkdir(parents=True, exist_ok=True)
    version = await asyncio.to_thread(mosquitto_version, program)
    configuration = logs / "mosquitto.conf"

    def command(port: int) -> Sequence[str]:
        configuration.write_text(mosquitto_configuration(port))
        return [program, "-c", str(configuration)]

    broker_program = _Program("mosquitto", command, logs, timeout_s, guarded=True)
    process, url = await broker_program.start()
    return Broker(url, BrokerInfo("mosquitto", version, url, mosquitto_settings()), process, broker_program.start_again)


async def _start_amqtt(logs: Path, timeout_s: float) -> Broker:
    if importlib.util.find_spec("amqtt") is None:
        raise BrokerError("the broker amqtt is not installed", hint="pip install amqtt, or install mosquitto")

    def command(port: int) -> Sequence[str]:
        return python_command("workbench.cluster.embedded_broker", "--port", str(port))

    program = _Program("amqtt", command, logs, timeout_s, guarded=False)
    process, url = await program.start()
    loop = "asyncio" if importlib.util.find_spec("uvloop") is None else "uvloop"
    plugins = ",".join(amqtt_settings(0)["plugins"])
    known = {"set_tcp_nodelay": "true", "event_loop": loop, "plugins": plugins}
    return Broker(
        url, BrokerInfo("amqtt", importlib.metadata.version("amqtt"), url, known), process, program.start_again
    )


class _Program:
    """How a broker of ours is started: `command` gives its command line for a port."""

    def __init__(
        self, name: str, command: Callable[[int], Sequence[str]], logs: Path, timeout_s: float, *, guarded: bool
    ) -> None:
        self._name = name
        self._command = command
        self._log = logs / "broker.log"
        self._timeout_s = timeout_s
        self._guarded = guarded
        self._port = 0

    async def start(self) -> tuple[ChildProcess, str]:
        """Start it on a free port; its process and URL. Someone may take the port before it does: then try another."""
        for _ in range(_PORT_ATTEMPTS):
            self._port = _free_port()
            with contextlib.suppress(_PortTakenError):
                return await self._start(), f"mqtt://{HOST}:{self._port}"
        raise BrokerError(f"{self._name} found no free port on {HOST} in {_PORT_ATTEMPTS} attempts")

    async def start_again(self) -> ChildProcess:
        """Start it on the port that it had, which connections that end may hold for a moment."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._timeout_s
        while True:
            try:
                return await self._start()
            except _PortTakenError as error:
                if loop.time() > give_up_at:
                    raise BrokerError(f"another program has taken the port {self._port} of {self._name}") from error
                await asyncio.sleep(_RETRY_S)

    async def _start(self) -> ChildProcess:
        process = await ChildProcess.start(
            self._command(self._port), self._log, python_environment(), name=self._name, guarded=self._guarded
        )
        try:
            await _wait_until_ready(process, self._port, self._timeout_s)
        except _PortTakenError:
            raise
        except BaseException:
            await process.kill()
            raise
        return process


async def _wait_until_ready(process: ChildProcess, port: int, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_s
    while True:
        if process.returncode is not None:
            lines = "\n".join(process.last_log_lines(10))
            if re.search("address already in use", lines, re.IGNORECASE):
                raise _PortTakenError("port taken")
            raise _end_error(process.name, process, process.returncode)
        try:
            await _try_connection(f"mqtt://{HOST}:{port}", _PROBE_S)
        except BrokerError as error:
            if loop.time() > give_up_at:
                raise BrokerError(
                    f"{process.name} did not accept a connection within {timeout_s:g} s", hint=f"see {process.log_path}"
                ) from error
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _try_connection(url: str, timeout_s: float) -> None:
    async with await connect_mqtt(
        url, identifier=_identifier(), handler=lambda _: None, connect_timeout_s=timeout_s, reconnect_for_s=0
    ):
        pass


async def _check_external(url: str, timeout_s: float) -> Broker:
    """Connect once to a broker that is not ours, and ask for its version, which mosquitto and others publish."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def take(messages: Sequence[Inbound]) -> None:
        if not answer.done():
            answer.set_result(messages[0][1].decode(errors="replace"))

    version = "unknown"
    async with await connect_mqtt(
        url, identifier=_identifier(), handler=take, connect_timeout_s=timeout_s, reconnect_for_s=0
    ) as transport:
        with contextlib.suppress(BrokerError, TimeoutError):  # it need not tell
            await transport.subscribe("$SYS/broker/version")
            version = await asyncio.wait_for(answer, _ASK_VERSION_S)
    return Broker(url, BrokerInfo("external", version, str(parse_broker_url(url)), {}), None)


def _end_error(name: str, process: ChildProcess, status: int) -> BrokerError:
    last = "; ".join(process.last_log_lines(2)) or "its log is empty"
    return BrokerError(f"{name} ended unexpectedly with status {status}: {last}", hint=f"see {process.log_path}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _identifier() -> str:
    return f"workbench-check-{secrets.token_hex(4)}"


class _PortTakenError(BrokerError):
    """Another program took the port between our probe and the broker's start."""
