"""However the program that runs a cluster ends, no replica, broker or load generator is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.cluster.process_table import group_states
from tests.transport.recorder import until
from workbench.cluster.processes import python_environment

PARENT = """
import asyncio, sys
from workbench import Cluster, ClusterConfig
from workbench.client.load import LoadConfig

async def main(broker):
    async with Cluster(ClusterConfig(followers=1, broker=broker)) as cluster:
        load = LoadConfig(sessions=4, duration_s=60)
        await cluster.prepare_load(load)
        loading = asyncio.create_task(cluster.load(load))
        session = await cluster.session()
        while not (await session.read("SELECT count(*) FROM registers")).rows[0][0]:
            pass
        groups = [process.pid for process in (*cluster.processes, cluster.broker_process) if process is not None]
        print(*groups, flush=True)
        await loading

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("broker", [pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto")), "amqtt"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_nothing_is_left_behind(broker: str, ending: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, broker]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=python_environment(), start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        groups = [int(word) for word in parent.stdout.readline().split()]
        assert len(groups) == 4, "two replicas, a load generator and a broker"
        assert all(group_states(group) for group in groups)
        parent.send_signal(ending)
        parent.wait(timeout=30)
    await until(lambda: not any(group_states(group) for group in groups))
