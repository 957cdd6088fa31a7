"""Turns the core's effects into I/O: one event loop for messages and time, one thread for storage.

What has arrived together goes to the core together. Replies that come of one arrival, or of one answer from storage,
travel in one message for each client.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence

import msgspec

from workbench import clock
from workbench.config import ReplicaConfig
from workbench.errors import BrokerError, ClusterError, CodecError
from workbench.protocol.codec import decode, encode
from workbench.protocol.effects import (
    Answer,
    Broadcast,
    Effect,
    Leave,
    Reply,
    SaveTerm,
    Send,
    StorageEffect,
    TellClients,
)
from workbench.protocol.fault_messages import Disconnect, SetClock, SetDisk, SetLinks
from workbench.protocol.inputs import Input, Received, Tick
from workbench.protocol.messages import (
    AddMember,
    Campaign,
    ClientBatch,
    Inspect,
    Message,
    RemoveMember,
    ReplicaStatus,
    ReplyBatch,
    TransferLeadership,
    sender_of,
)
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.state import ReplicaState
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage, StorageAnswer
from workbench.replica.storage_thread import RunStorage, StorageThread
from workbench.replica.troubles import Troubles
from workbench.transport.base import Inbound, Transport
from workbench.transport.topics import Topics

_STALL_MS = 500.0
"""Storage at one thing for longer is reported in the status: a long statement, or a disk that does not answer."""
_SUBSCRIBE_AGAIN_S = 0.1
_REPLIES_BYTES_MAX = 16 * 1024 * 1024

_logger = logging.getLogger(__name__)


class ReplicaDriver:
    """One replica at work. Give `receive` to the transport as its handler, then `start`, then wait for `ended`."""

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        open_storage: Callable[[ReplicaConfig, Counters], ReplicaStorage] = ReplicaStorage,
        run_storage: RunStorage = StorageThread,
    ) -> None:
        """`open_storage` opens what is durable; `run_storage` makes what carries out the effects on it, a thread in the
        real world."""
        self._config = config
        self._open_storage = open_storage
        self._run_storage = run_storage
        self._topics = Topics(config.cluster_id)
        self._counters = Counters()
        self._troubles = Troubles(config)
        self._links = self._troubles.links
        self._links_timer: asyncio.TimerHandle | None = None
        """Set for when the first of the messages that wait in links is due."""
        self._loop = asyncio.get_running_loop()
        self._inbox: list[Message] = []
        self._log_topic = self._topics.log_of(config.name)
        self._inbox_topics: dict[str, str] = {}
        self._members: tuple[str, ...] = ()
        """Those whose log topics are listened to."""
        self._replies: dict[str, list[Reply]] = {}
        self._reading: set[tuple[int, int]] = set()
        """(session, request) of reads that have no answer yet: asking again must not run them again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Never has a result; has the exception that ended the replica."""

    async def start(self, transport: Transport) -> None:
        """Recover from disk, then listen. Raises `StorageError`, `LogCorruption` or `BrokerError`."""
        config = self._config
        self._transport = transport
        self._storage = self._open_storage(config, self._counters)
        self._troubles.strike_disk(self._storage.files)
        recovered = self._storage.recover()
        state = ReplicaState.recover(
            name=config.name,
            log_format=config.log_format,
            layout=config.layout if config.layout_check else "",
            ack=config.ack,
            limits=config.limits,
            timing=config.timing,
            protections=config.protections,
            random=random.Random(f"{config.seed}/{config.name}" if config.seed else None).random,
            recovered=recovered,
            observer=config.observer,
        )
        self._core = Replica(state, self._troubles.now_ns(), recovered.incoming)
        self._thread = self._run_storage(self._storage, answered=self._on_answers, failed=self._fail)
        self._control_topic = self._topics.replica_control(config.name)
        self._members = state.members
        others = (self._topics.log_of(name) for name in {*state.members, *config.members} - {config.name})
        await transport.subscribe(self._control_topic, self._topics.replica_inbox(config.name), *others)
        self._begin(self._tick())
        _logger.info("%s is up in term %d with its log at %s", config.name, state.term, state.log.last)

    async def stop(self) -> None:
        """Finish what storage has been given and leave the disk in order."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._thread.stop()
        self._storage.close()

    # Messages in.

    def receive(self, batch: Sequence[Inbound]) -> None:
        """Handler of the transport: decode, hold back what a link delays, and wake the core once."""
        self._counters.messages_in += len(batch)
        for topic, payload in batch:
            self._counters.bytes_in += len(payload)
            try:
                message = decode(payload)
            except CodecError as error:
                self._counters.bad_messages += 1
                _logger.warning("dropped a message on %s: %s", topic, error)
                continue
            if topic == self._control_topic:
                self._on_control(message)
            else:
                self._admit(message, len(payload))
        if not self._links.are_clear:
            self._take_from_links()
        if self._inbox:
            self._turn()

    def _admit(self, message: Message, size: int) -> None:
        if isinstance(message, ClientBatch):
            self._inbox.append(self._without_repeated_reads(message) if message.reads else message)
            return
        sender = sender_of(message)
        if not sender or sender == self._config.name:
            self._drop(message, "an inbox")
            return
        if self._links.are_clear:
            self._inbox.append(message)
        else:
            self._links.admit(sender, message, size, clock.now_ns(), leads=self._core.role is Role.LEADER)

    def _take_from_links(self) -> None:
        """Move what is due from the links to the inbox, and be called again for the next."""
        if self._links_timer is not None:
            self._links_timer.cancel()
            self._links_timer = None
        self._inbox += self._links.take_due(clock.now_ns())
        due_ns = self._links.next_due_ns
        if due_ns is not None:
            self._links_timer = self._loop.call_later((due_ns - clock.now_ns()) / 1e9, self._on_links_due)

    def _on_links_due(self) -> None:
        self._links_timer = None
        self._take_from_links()
        if self._inbox:
            self._turn()

    def _without_repeated_reads(self, batch: ClientBatch) -> ClientBatch:
        new = tuple(read for read in batch.reads if (read.session, read.request) not in self._reading)
        self._reading.update((read.session, read.request) for read in new)
        return batch if len(new) == len(batch.reads) else ClientBatch(batch.client, batch.writes, new)

    def _drop(self, message: Message, place: str) -> None:
        self._counters.bad_messages += 1
        _logger.warning("dropped a message on %s: %s is not for it", place, type(message).__name__)

    def _arrive(self, message: Message) -> None:
        """A message that comes alone."""
        self._inbox.append(message)
        self._turn()

    def _turn(self) -> None:
        """Give the core everything that is waiting."""
        messages, self._inbox = tuple(self._inbox), []
        self._counters.inbox_max = max(self._counters.inbox_max, len(messages))
        self._handle(Received(messages))

    def _on_answers(self, answers: Sequence[StorageAnswer]) -> None:
        for answer in answers:
            if isinstance(answer, Send):
                self._carry_out([answer])
            else:
                self._handle(answer, more=True)
        self._send_replies()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._config.timing.tick_ms / 1e3 / self._troubles.clock_rate)
            self._handle(Tick())

    # Effects out.

    def _handle(self, happened: Input, *, more: bool = False) -> None:
        """Let the core handle an input; unless `more` of them follow at once, send the replies that came of it."""
        if self.ended.done():
            return
        try:
            self._carry_out(self._core.handle(happened, self._troubles.now_ns()))
            if not more:
                self._send_replies()
            if self._core.state.members is not self._members:
                self._follow_members()
        except Exception as error:  # noqa: BLE001  whatever it is, it ends the replica
            self._fail(error)

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        storage: list[StorageEffect] = []
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._publish(self._inbox_topic(to), message)
                case Broadcast(message):
                    self._publish(self._log_topic, message)
                case Reply(client):
                    self._replies.setdefault(client, []).append(effect)
                case SaveTerm():
                    self._storage.save_term(effect)
                case TellClients(message):
                    self._publish(self._topics.clients(), message)
                case Answer(request, reply_to, refusal):
                    self._begin(self._report(request, reply_to, refusal=refusal))
                case Leave(reason):
                    self._fail(ClusterError(reason))
                case _:
                    storage.append(effect)
        if storage:
            self._thread.submit(storage)

    def _inbox_topic(self, name: str) -> str:
        topic = self._inbox_topics.get(name)
        if topic is None:
            topic = self._inbox_topics[name] = self._topics.replica_inbox(name)
        return topic

    def _follow_members(self) -> None:
        """Listen to the logs of whoever may lead from now on. Until that works, leaders send heartbeats by inbox."""
        former, self._members = self._members, self._core.state.members
        new = [self._topics.log_of(name) for name in self._members if name not in (*former, self._config.name)]
        if new:
            self._begin(self._listen(new))

    async def _listen(self, topics: Sequence[str]) -> None:
        """Subscribe, as often as it takes: the connection to the broker may be lost, and made again."""
        while True:
            try:
                return await self._transport.subscribe(*topics)
            except BrokerError as error:
                _logger.info("%s", error)
                await asyncio.sleep(_SUBSCRIBE_AGAIN_S)

    def _publish(self, topic: str, message: Message) -> None:
        self._publish_frame(topic, encode(message))

    def _publish_frame(self, topic: str, frame: bytes) -> None:
        self._counters.messages_out += 1
        self._counters.bytes_out += len(frame)
        self._transport.publish(topic, frame)

    def _send_replies(self) -> None:
        """One message for each client, whatever happened in this turn of the loop."""
        held, self._replies = self._replies, {}
        state = self._core.state
        for client, replies in held.items():
            writes = tuple(write for reply in replies for write in reply.writes)
            reads = tuple(read for reply in replies for read in reply.reads)
            self._reading.difference_update((read.session, read.request) for read in reads)
            batch = ReplyBatch(self._config.name, state.leader, writes, reads, state.term, state.committed)
            self._publish_replies(client, batch)

    def _publish_replies(self, client: str, batch: ReplyBatch) -> None:
        """In one message, unless long answers would make it too long for any: then each read has its own."""
        frame = encode(batch)
        if len(frame) <= _REPLIES_BYTES_MAX or len(batch.reads) + bool(batch.writes) <= 1:
            self._publish_frame(self._topics.client_inbox(client), frame)
            return
        if batch.writes:
            self._publish_replies(client, msgspec.structs.replace(batch, reads=()))
        for read in batch.reads:
            self._publish_replies(client, msgspec.structs.replace(batch, writes=(), reads=(read,)))

    # Control.

    def _on_control(self, message: Message) -> None:
        match message:
            case Campaign() | AddMember() | RemoveMember() | TransferLeadership():
                self._arrive(message)
            case SetLinks() | SetDisk() | SetClock() | Disconnect():
                self._begin(self._report(message.request, message.reply_to, refusal=self._trouble(message)))
            case Inspect(digests=digests):
                self._begin(self._report(message.request, message.reply_to, digests=digests))
            case _:
                self._drop(message, "the control topic")

    def _trouble(self, message: SetLinks | SetDisk | SetClock | Disconnect) -> str:
        """Let something go wrong, or right again; why it cannot be done, or the empty string."""
        match message:
            case SetLinks():
                self._troubles.set_links(message)
                self._on_links_due()
            case SetDisk():
                return self._troubles.set_disk(message)
            case SetClock():
                self._troubles.set_clock(message)
            case Disconnect(for_ms=for_ms):
                return self._troubles.disconnect(self._transport, for_ms)
        return ""

    async def _report(self, request: int, reply_to: str, *, digests: bool = False, refusal: str = "") -> None:
        taken = await self._thread.digest() if digests else {}
        state = self._core.state
        busy_ms = self._thread.busy_ms
        storage = {"storage": f"at one piece of work for {busy_ms / 1e3:.1f} s"} if busy_ms > _STALL_MS else {}
        status = ReplicaStatus(
            request=request,
            name=state.name,
            role=self._core.role.value,
            term=state.term,
            leader=state.leader,
            last=state.log.last,
            durable=state.durable,
            applied=state.applied,
            committed=state.committed,
            counters={
                **self._counters.as_dict(),
                **state.counts,
                **state.milestones.counts(),
                **self._troubles.counters(),
                "refused_messages": state.refused_messages,
            },
            digests=taken,
            members=state.members,
            joining=self._core.joining,
            refusal=refusal,
            notes=state.notes | state.milestones.notes() | storage | self._troubles.notes(),
        )
        self._publish(self._topics.client_inbox(reply_to), status)

    # Ends.

    def _begin(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
