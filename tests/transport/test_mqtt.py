"""What is special about MQTT: refusals, lost connections, bounds, and Nagle's algorithm staying off."""

import asyncio
import contextlib
import logging
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from tests.transport.recorder import PATIENCE_S, Recorder, until
from workbench.cluster import broker as broker_module
from workbench.cluster.broker import Broker, find_mosquitto
from workbench.cluster.processes import ChildProcess
from workbench.errors import BrokerError
from workbench.transport.mqtt import MESSAGE_BYTES_MAX, MqttTransport, connect_mqtt

ACCEPTED = bytes([0x20, 2, 0, 0])
EACH_BROKER = [pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto")), "amqtt"]


@pytest.fixture(params=EACH_BROKER)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    async with await Broker.start(request.param, tmp_path) as started:
        yield started


@contextlib.asynccontextmanager
async def fake_broker(*answers: bytes) -> AsyncIterator[str]:
    """A server that sends the next of `answers` for each packet it gets, and nothing more after the last."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in answers:
                await reader.read(4096)
                writer.write(answer)
            while await reader.read(4096):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Proxy:
    """Stands between clients and a broker, and can cut them off."""

    def __init__(self, broker_url: str) -> None:
        self._target = broker_url.rpartition(":")[2]
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.refusing = False
        self.url = ""

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(self._target))
        self._writers += [writer, far_writer]
        for source, target in ((reader, far_writer), (far_reader, writer)):
            self._tasks.append(asyncio.create_task(self._pump(source, target)))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
        target.transport.abort()


def client_socket(transport: MqttTransport) -> socket.socket:
    """The socket itself; no public way leads to it, and the claim is about nothing less."""
    assert transport._connection is not None
    found = transport._connection._client._client.socket()
    assert isinstance(found, socket.socket)
    return found


# --- Nagle's algorithm


async def test_the_clients_socket_has_tcp_nodelay(broker: Broker):
    async with await connect_mqtt(broker.url, identifier="a", handler=Recorder()) as transport:
        assert client_socket(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def usual_round_s(publisher: MqttTransport, replies: Recorder, writes: int) -> float:
    """Time of a round in which the publisher sends `writes` messages and the echo answers the last.

    The first rounds do not count, since a young connection acknowledges at once; of the others the lower quartile,
    which a busy machine hardly touches.
    """
    rounds = []
    for _ in range(36):
        replies.messages.clear()
        begin = time.perf_counter()
        for number in range(writes):
            publisher.publish("ping", b"%d" % (writes - 1 - number))
        await replies.until(1)
        rounds.append(time.perf_counter() - begin)
    return statistics.quantiles(rounds[16:], n=4)[0]


async def two_writes_to_one(url: str, *, nodelay: bool) -> float:
    """How much longer a round takes with two small writes than with one.

    Nagle's algorithm holds the second write back until the first is acknowledged, and the other side delays that by
    40 ms or more, at the client as well as at the broker; a round of one write never waits so.
    """
    replies = Recorder()

    def echo(batch: object) -> None:
        for payload in [payload for _, payload in batch if payload == b"0"]:  # type: ignore[attr-defined]
            answering.publish("pong", payload)

    async with (
        await connect_mqtt(url, identifier="publisher", handler=replies) as publisher,
        await connect_mqtt(url, identifier="echo", handler=echo) as answering,
    ):
        await publisher.subscribe("pong")
        await answering.subscribe("ping")
        if not nodelay:
            client_socket(publisher).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        two = await usual_round_s(publisher, replies, 2)
        one = await usual_round_s(publisher, replies, 1)
        return two / one


async def test_a_second_small_write_does_not_wait_for_the_first_to_be_acknowledged(broker: Broker):
    assert await two_writes_to_one(broker.url, nodelay=True) < 10


@pytest.mark.skipif(sys.platform != "linux", reason="how long an acknowledgement is delayed differs by system")
async def test_the_test_above_would_notice_nagles_algorithm(broker: Broker):
    assert await two_writes_to_one(broker.url, nodelay=False) > 10


# --- sending and receiving


async def test_a_burst_arrives_whole_and_in_order(broker: Broker):
    recorder = Recorder()
    async with (
        await connect_mqtt(broker.url, identifier="a", handler=recorder) as receiver,
        await connect_mqtt(broker.url, identifier="b", handler=Recorder()) as publisher,
    ):
        await receiver.subscribe("t")
        for number in range(3000):
            publisher.publish("t", b"%d" % number)
        await recorder.until(3000)
        assert recorder.payloads() == [b"%d" % number for number in range(3000)]
        assert publisher.dropped_messages == 0
        assert receiver.incoming_messages == 0


async def test_a_message_of_many_megabytes_arrives(broker: Broker):
    recorder = Recorder()
    async with await connect_mqtt(broker.url, identifier="a", handler=recorder) as transport:
        await transport.subscribe("t")
        payload = bytes(range(256)) * (MESSAGE_BYTES_MAX // 256)
        transport.publish("t", payload)
        await recorder.until(1)
        assert recorder.payloads() == [payload]


async def test_a_message_too_long_is_dropped_and_the_connection_stands(broker: Broker):
    recorder = Recorder()
    async with await connect_mqtt(broker.url, identifier="a", handler=recorder) as transport:
        await transport.subscribe("t")
        transport.publish("t", bytes(MESSAGE_BYTES_MAX + 1))
        transport.publish("t", b"short")
        await recorder.until(1)
        assert recorder.payloads() == [b"short"]
        assert (transport.dropped_messages, transport.reconnects) == (1, 0)


async def test_beyond_the_bound_messages_are_dropped_and_what_fitted_arrives(broker: Broker):
    recorder = Recorder()
    bound, size, count = 1_000_000, 100_000, 300  # far more than a socket's buffer takes
    async with await connect_mqtt(broker.url, identifier="a", handler=recorder, outgoing_bytes_max=bound) as transport:
        await transport.subscribe("t", "end")
        for number in range(count):
            transport.publish("t", b"%03d" % number + bytes(size - 3))
        assert transport.outgoing_bytes == bound
        fitted = count - transport.dropped_messages
        assert bound // size < fitted < count
        await until(lambda: transport.outgoing_bytes == 0)
        transport.publish("end", b"")
        await recorder.until(fitted + 1)
        assert [payload[:3] for payload in recorder.payloads("t")] == [b"%03d" % number for number in range(fitted)]


async def test_closing_sends_what_was_published_and_leaves_no_task(broker: Broker):
    before = asyncio.all_tasks()
    recorder = Recorder()
    receiver = await connect_mqtt(broker.url, identifier="a", handler=recorder)
    await receiver.subscribe("t")
    publisher = await connect_mqtt(broker.url, identifier="b", handler=Recorder())
    for number in range(1000):
        publisher.publish("t", b"%d" % number)
    await publisher.close()
    assert publisher.dropped_messages == publisher.outgoing_bytes == 0
    if broker.info.name == "mosquitto":  # amqtt may forget what a client had sent that has left since
        await recorder.until(1000)
    await receiver.close()
    await until(lambda: asyncio.all_tasks() == before)


async def test_closing_at_once_leaves_no_task(broker: Broker):
    before = asyncio.all_tasks()
    transport = await connect_mqtt(broker.url, identifier="a", handler=Recorder())
    await transport.close()
    await until(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("choice", EACH_BROKER)
def test_it_works_on_either_event_loop(
    run: Callable[[Coroutine[object, object, None]], None], choice: str, tmp_path: Path
):
    async def scenario() -> None:
        recorder = Recorder()
        async with (
            await Broker.start(choice, tmp_path) as started,
            await connect_mqtt(started.url, identifier="a", handler=recorder) as transport,
        ):
            await transport.subscribe("t")
            for number in range(200):
                transport.publish("t", b"%d" % number)
            await recorder.until(200)
            assert recorder.payloads() == [b"%d" % number for number in range(200)]

    run(scenario())


@pytest.mark.needs("mosquitto")
async def test_a_unix_socket_serves_as_well():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        place = Path(folder)
        settings = f"listener 0 {place}/m.sock\nallow_anonymous true\n" + ("user root\n" if os.geteuid() == 0 else "")
        (place / "m.conf").write_text(settings)
        program = str(find_mosquitto())
        async with await ChildProcess.start([program, "-c", f"{place}/m.conf"], place / "m.log", guarded=True):
            await until((place / "m.sock").exists)
            recorder = Recorder()
            async with await connect_mqtt(f"unix://{place}/m.sock", identifier="a", handler=recorder) as transport:
                await transport.subscribe("t")
                transport.publish("t", b"1")
                await recorder.until(1)


# --- refusals


async def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(BrokerError, match=f"cannot reach a broker at {place}") as caught:
            await connect_mqtt(f"mqtt://{place}", identifier="a", handler=Recorder())
        assert "is it running?" in str(caught.value)


async def test_a_host_that_cannot_be_one():
    with pytest.raises(BrokerError, match="cannot reach a broker"):
        await connect_mqtt(f"mqtt://{'x' * 70}.example:1", identifier="a", handler=Recorder())


@pytest.mark.parametrize("code", [4, 5])
async def test_the_password_is_refused_and_shown_nowhere(code: int, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        async with fake_broker(bytes([0x20, 2, 0, code])) as place:
            with pytest.raises(BrokerError, match=f"{place} refused the user name or password") as caught:
                await connect_mqtt(f"mqtt://ann:topsecret@{place}", identifier="a", handler=Recorder())
    assert "topsecret" not in str(caught.value) + caplog.text


async def test_another_refusal_says_why():
    async with fake_broker(bytes([0x20, 2, 0, 3])) as place:
        with pytest.raises(BrokerError, match=r"refused the connection.*unavailable"):
            await connect_mqtt(f"mqtt://{place}", identifier="a", handler=Recorder())


async def test_a_server_that_says_nothing_is_given_up_and_leaves_no_task():
    before = asyncio.all_tasks()
    async with fake_broker() as place:
        with pytest.raises(BrokerError, match=f"no MQTT broker answered at {place}"):
            await connect_mqtt(f"mqtt://{place}", identifier="a", handler=Recorder(), connect_timeout_s=0.1)
        await until(lambda: not [task for task in asyncio.all_tasks() - before if "misc" in repr(task)])


async def test_a_refused_subscription_is_an_error():
    async with fake_broker(ACCEPTED, bytes([0x90, 4, 0, 1, 0, 0x80])) as place:
        transport = await connect_mqtt(f"mqtt://{place}", identifier="a", handler=Recorder())
        with pytest.raises(BrokerError, match="refused the subscription of bad"):
            await asyncio.wait_for(transport.subscribe("good", "bad"), PATIENCE_S)
        await transport.close()


# --- lost connections


async def test_a_lost_connection_is_made_again_with_its_subscriptions(broker: Broker):
    recorder = Recorder()
    again = asyncio.Event()
    async with (
        Proxy(broker.url) as proxy,
        await connect_mqtt(broker.url, identifier="b", handler=Recorder()) as publisher,
        await connect_mqtt(proxy.url, identifier="a", handler=recorder, on_reconnect=again.set) as receiver,
    ):
        await receiver.subscribe("t", "u")
        await receiver.unsubscribe("u")
        proxy.cut()
        await asyncio.wait_for(again.wait(), PATIENCE_S)
        publisher.publish("u", b"not subscribed any more")
        publisher.publish("t", b"after")
        await recorder.until(1)
        assert recorder.messages == [("t", b"after")]
        assert receiver.reconnects == 1


async def test_what_is_published_without_a_connection_is_dropped_and_counted(broker: Broker):
    recorder = Recorder()
    again = asyncio.Event()
    async with (
        Proxy(broker.url) as proxy,
        await connect_mqtt(proxy.url, identifier="a", handler=recorder, on_reconnect=again.set) as transport,
    ):
        await transport.subscribe("t")
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not transport.connected)
        transport.publish("t", b"lost")
        with pytest.raises(BrokerError, match="no connection"):
            await transport.subscribe("u")
        assert (transport.dropped_messages, transport.outgoing_bytes) == (1, 0)
        proxy.refusing = False
        await asyncio.wait_for(again.wait(), PATIENCE_S)
        transport.publish("t", b"kept")
        await recorder.until(1)
        assert recorder.payloads() == [b"kept"]


@pytest.mark.parametrize("reconnect_for_s", [0, 0.2])
async def test_a_connection_that_cannot_be_made_again_ends_closed(broker: Broker, reconnect_for_s: float):
    before = asyncio.all_tasks()
    transport = await connect_mqtt(broker.url, identifier="a", handler=Recorder(), reconnect_for_s=reconnect_for_s)
    await broker.stop()
    with pytest.raises(BrokerError, match="for good"):
        await asyncio.wait_for(transport.closed(), PATIENCE_S)
    await transport.close()
    await until(lambda: asyncio.all_tasks() == before)


async def test_what_on_reconnect_raises_ends_closed(broker: Broker):
    def broken() -> None:
        raise LookupError("mine")

    async with (
        Proxy(broker.url) as proxy,
        await connect_mqtt(proxy.url, identifier="a", handler=Recorder(), on_reconnect=broken) as transport,
    ):
        proxy.cut()
        with pytest.raises(LookupError, match="mine"):
            await asyncio.wait_for(transport.closed(), PATIENCE_S)
        assert not transport.connected


@pytest.mark.parametrize("choice", EACH_BROKER)
async def test_a_client_survives_the_restart_of_its_broker(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = await Broker.start(choice, tmp_path)
    port = int(first.url.rpartition(":")[2])
    recorder = Recorder()
    again = asyncio.Event()
    async with await connect_mqtt(first.url, identifier="a", handler=recorder, on_reconnect=again.set) as transport:
        await transport.subscribe("t")
        assert first.process is not None
        await first.process.kill()
        monkeypatch.setattr(broker_module, "_free_port", lambda: port)
        async with await Broker.start(choice, tmp_path) as second:
            assert second.url == first.url
            await asyncio.wait_for(again.wait(), PATIENCE_S)
            transport.publish("t", b"after")
            await recorder.until(1)
            assert recorder.payloads() == [b"after"]
