"""A replica as an operating-system process: `python -m workbench.replica CONFIG.json`.

Its standard input is a pipe from whoever started it; it ends when that closes, or at SIGTERM. An error that ends it
is the last line of its log.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeAlias

from workbench import config_file, failpoints
from workbench.config import ReplicaConfig
from workbench.errors import WorkbenchError
from workbench.event_loop import run_in_loop
from workbench.parent import exit_when_parent_dies
from workbench.replica.driver import ReplicaDriver
from workbench.replica.storage import explain
from workbench.transport.base import Handler, Link
from workbench.transport.mqtt import MqttTransport, connect_mqtt

EXIT_FAILED = 1

Connect: TypeAlias = Callable[[str, Handler], Awaitable[Link]]
"""Makes a transport for a client's name and the handler of what it receives."""

_logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run one replica until it is told to stop; return the process's exit code."""
    exit_when_parent_dies()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    (path,) = sys.argv[1:] if arguments is None else arguments
    config = config_file.load(Path(path), ReplicaConfig)
    return run_in_loop(exit_code_of(run(config), config.name))


async def run(config: ReplicaConfig) -> None:
    """Run one replica until SIGTERM. Raises what ended it otherwise."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    if config.failpoint:
        failpoints.arm(config.failpoint)

    async def connect(identifier: str, handler: Handler) -> MqttTransport:
        return await connect_mqtt(config.broker_url, identifier=identifier, handler=handler)

    await serve(config, ReplicaDriver(config), connect, stopped)


async def exit_code_of(serving: Coroutine[None, None, None], name: str) -> int:
    """0 when `serving` returns; when an error ends it, `EXIT_FAILED`, and its last line says which."""
    try:
        await serving
    except WorkbenchError as error:
        _logger.error("%s", error)
        return EXIT_FAILED
    except OSError as error:
        _logger.error("%s", explain(error))
        return EXIT_FAILED
    except Exception as error:  # a fault of ours; the last line must say what it was
        _logger.exception("an unexpected error ended %s", name)
        text = " ".join(str(error).split())
        _logger.error("unexpected %s: %s", type(error).__name__, text or "see the traceback above")
        return EXIT_FAILED
    return 0


async def serve(config: ReplicaConfig, driver: ReplicaDriver, connect: Connect, stopped: asyncio.Event) -> None:
    """Let `driver` replicate until `stopped`. Raises what ended it otherwise."""
    transport = await connect(f"{config.cluster_id}-{config.name}", driver.receive)
    try:
        await driver.start(transport)
        ends = [asyncio.ensure_future(end) for end in (stopped.wait(), driver.ended, transport.closed())]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            if end not in done:
                end.cancel()
        failures = [error for end in done if (error := end.exception()) is not None]
        if failures:
            raise failures[0]
        await driver.stop()
    finally:
        await transport.close()
