"""`python -m workbench.cluster.embedded_broker --port N`: the MQTT broker amqtt in a process of its own.

For machines without mosquitto. It listens on 127.0.0.1 for anyone on this machine, keeps nothing on disk, and ends when
its parent does. asyncio's streams (uvloop's too) set TCP_NODELAY on every connection by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from typing import Any

from workbench.parent import exit_when_parent_dies

HOST = "127.0.0.1"


def settings(port: int) -> dict[str, Any]:
    """Configuration of amqtt. Its default plugins also log every packet and publish statistics; only one is needed."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}", "max_connections": 0}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


async def serve(port: int) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    from amqtt.broker import Broker

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(settings(port))
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def run(port: int) -> None:
    """Run `serve` on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(port))
    else:
        uvloop.run(serve(port))


def main() -> None:
    """Read the command line and run."""
    exit_when_parent_dies()
    parser = argparse.ArgumentParser(prog="python -m workbench.cluster.embedded_broker")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run(options.port)


if __name__ == "__main__":
    main()
