"""A broker is got in three ways, is ready when `start` returns, and its end is noticed."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.process_table import group_states
from tests.transport.recorder import PATIENCE_S, Recorder, until
from workbench.cluster import broker as broker_module
from workbench.cluster.broker import Broker, find_mosquitto, mosquitto_configuration, mosquitto_version
from workbench.cluster.processes import python_environment
from workbench.errors import BrokerError, ConfigurationError
from workbench.transport.mqtt import connect_mqtt

MOSQUITTO = pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto"))

PARENT = """
import asyncio, sys
from pathlib import Path
from workbench.cluster.broker import Broker

async def main(choice, logs):
    broker = await Broker.start(choice, Path(logs))
    print(broker.process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("choice", [MOSQUITTO, "amqtt"])
async def test_a_started_broker_is_ready_described_and_gone_after_the_block(choice: str, tmp_path: Path):
    async with await Broker.start(choice, tmp_path / "logs") as broker:
        async with await connect_mqtt(broker.url, identifier="a", handler=Recorder()):
            pass
        assert broker.info.name == choice
        assert broker.info.version[0].isdigit()
        assert broker.info.url == broker.url
        assert broker.url.startswith("mqtt://127.0.0.1:")
        assert broker.info.settings["set_tcp_nodelay"] == "true"
        json.dumps(dict(broker.info.settings))
        assert (tmp_path / "logs" / "broker.log").exists()
        assert broker.process is not None
        group = broker.process.pid
    await until(lambda: not group_states(group))
    with pytest.raises(BrokerError, match="cannot reach"):
        await connect_mqtt(broker.url, identifier="a", handler=Recorder())


@pytest.mark.parametrize("choice", [MOSQUITTO, "amqtt"])
async def test_an_unexpected_end_is_noticed(choice: str, tmp_path: Path):
    async with await Broker.start(choice, tmp_path) as broker:
        ended = asyncio.create_task(broker.ended())
        await asyncio.sleep(0)
        assert not ended.done()
        assert broker.process is not None
        os.killpg(broker.process.pid, signal.SIGKILL)
        error = await asyncio.wait_for(ended, PATIENCE_S)
        assert isinstance(error, BrokerError)
        assert f"{choice} ended unexpectedly with status -9" in str(error)
        assert str(tmp_path / "broker.log") in error.hint


async def test_an_end_on_purpose_is_not_unexpected(tmp_path: Path):
    broker = await Broker.start("amqtt", tmp_path)
    ended = asyncio.create_task(broker.ended())
    await asyncio.sleep(0)
    await broker.stop()
    await asyncio.sleep(0)
    assert not ended.done()
    ended.cancel()


@pytest.mark.parametrize("choice", [MOSQUITTO, "amqtt"])
async def test_a_port_taken_in_between_is_not_the_end(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], broker_module._free_port()]
        monkeypatch.setattr(broker_module, "_free_port", lambda: ports.pop(0))
        expected = ports[1]
        async with await Broker.start(choice, tmp_path) as broker:
            assert broker.url == f"mqtt://127.0.0.1:{expected}"


@pytest.mark.parametrize("choice", [MOSQUITTO, "amqtt"])
async def test_no_broker_outlives_a_parent_that_is_killed(choice: str, tmp_path: Path):
    command = [sys.executable, "-c", PARENT, choice, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=python_environment(), text=True) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert group_states(group)
        parent.kill()
    await until(lambda: not group_states(group))


async def test_the_best_broker_at_hand_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module, "find_mosquitto", lambda: None)
    async with await Broker.start(None, tmp_path) as broker:
        assert broker.info.name == "amqtt"


@pytest.mark.needs("mosquitto")
async def test_mosquitto_is_preferred(tmp_path: Path):
    async with await Broker.start(None, tmp_path) as broker:
        assert broker.info.name == "mosquitto"


async def test_mosquitto_asked_for_but_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module, "find_mosquitto", lambda: None)
    with pytest.raises(BrokerError, match="mosquitto was not found") as caught:
        await Broker.start("mosquitto", tmp_path)
    assert "amqtt" in caught.value.hint


async def test_a_mosquitto_that_does_not_start_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho no licence for this machine >&2\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setattr(broker_module, "find_mosquitto", lambda: str(program))
    with pytest.raises(BrokerError, match=r"mosquitto ended unexpectedly with status 9: .*no licence") as caught:
        await Broker.start("mosquitto", tmp_path / "logs")
    assert "broker.log" in caught.value.hint


async def test_a_broker_that_never_accepts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(broker_module, "find_mosquitto", lambda: str(program))
    monkeypatch.setattr(broker_module, "mosquitto_version", lambda _: "unknown")
    with pytest.raises(BrokerError, match=r"did not accept a connection within 0\.1 s"):
        await Broker.start("mosquitto", tmp_path / "logs", timeout_s=0.1)


@pytest.mark.parametrize("choice", ["rabbit", "", "localhost:1883"])
async def test_an_unknown_broker_is_refused(choice: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="unknown broker"):
        await Broker.start(choice, tmp_path)


async def test_a_url_is_checked_and_not_started(tmp_path: Path):
    async with await Broker.start("amqtt", tmp_path) as ours:
        async with await Broker.start(ours.url.replace("://", "://ann:topsecret@"), tmp_path) as theirs:
            assert theirs.process is None
            assert theirs.info.name == "external"
            assert "topsecret" in theirs.url
            assert "topsecret" not in repr(theirs.info)
        async with await connect_mqtt(ours.url, identifier="a", handler=Recorder()):
            pass  # leaving the block of a broker that is not ours has not ended it


async def test_a_url_where_nobody_listens(tmp_path: Path):
    with pytest.raises(BrokerError, match=r"cannot reach a broker at 127\.0\.0\.1:1:") as caught:
        await Broker.start("mqtt://ann:topsecret@127.0.0.1:1", tmp_path)
    assert "topsecret" not in str(caught.value)


def test_mosquitto_is_found_on_path_and_in_the_sbin_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_mosquitto() is None
    for folder in ("sbin", "bin"):
        program = tmp_path / folder / "mosquitto"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert find_mosquitto() == str(program)


@pytest.mark.needs("mosquitto")
def test_mosquitto_says_its_version():
    assert mosquitto_version(str(find_mosquitto()))[0].isdigit()


def test_the_version_of_something_else_is_unknown():
    assert mosquitto_version("/bin/echo") == "unknown"
    assert mosquitto_version("/no/such/program") == "unknown"


def test_the_configuration_admits_this_machine_only():
    lines = mosquitto_configuration(1234).splitlines()
    assert [line for line in lines if line.startswith(("listener", "port", "bind"))] == ["listener 1234 127.0.0.1"]
    assert "set_tcp_nodelay true" in lines
    assert "max_queued_messages 1000000" in lines
    assert "persistence false" in lines
