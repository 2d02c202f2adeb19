"""Results, states and answers over MQTT: everything that the host says to a broker.

    connected → subscribed → states (retained) → `online` → what is true no more, cleared → what is owed, in order → …
    ending    → `offline`, which is also the will

The topics and messages are described in `host.mqtt.messages`. A request is answered on its connection and acknowledged
afterwards: one that a crash cut off is delivered again. A retained request or order is nobody's any more and is
ignored, or each new connection would carry it out once more.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hooks.errors import SensoriumError
from host.errors import HostError, NotFound, RequestCode, UsageError, WorkFailed
from host.findings import Finding
from host.journal import Journal
from host.log import get_logger
from host.mqtt.client import Connection, Message, MqttProblem, Refused, stay_connected
from host.mqtt.discovery import birth_topic, components_of, discovery_message, discovery_topic, with_removals
from host.mqtt.link import Link
from host.mqtt.messages import (
    ACTIONS,
    UNPUBLISHABLE,
    Answer,
    Asked,
    FailureMessage,
    ProgressMessage,
    ResponseError,
    ResponseMessage,
    Topics,
    host_state,
    level,
    read_order,
    read_request,
    to_json,
    transaction_of,
)
from host.sinks.outbox import DeviceOf, Outbox, Outgoing, Owed
from host.sinks.retained import Retained
from host.views import Service, View

AT_ONCE = 20  # entries of the outbox that may wait for the broker's acknowledgement
REQUESTS_AT_ONCE = 64
STATE_EVERY = 2.0  # seconds; a host that takes long to tell its state is asked less often
GOODBYE = 2.0
REFUSED_FOR = 600.0  # seconds until a topic is tried again that the broker refused
SHOWN = 3  # topics that an alarm names
CODES: dict[type[HostError], RequestCode] = {NotFound: "not_found", UsageError: "bad_request", WorkFailed: "failed"}

Answerer = Callable[[str, bytes, Mapping[str, Any]], Awaitable[Sequence[Finding]]]
Progress = Callable[[], dict[tuple[str, str], float]]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """How Home Assistant is told of the host: the prefix of its discovery, and this host's version."""

    prefix: str
    version: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A topic that the broker refused, and until when (by the monotonic clock) it is not tried again."""

    problem: Refused
    until: float


class MqttSink:
    """Publishes what is owed and how the host stands, and obeys requests and, with `control`, orders."""

    def __init__(
        self,
        outbox: Outbox,
        journal: Journal,
        service: Service,
        answer: Answerer,
        progress: Progress,
        device_of: DeviceOf,
        *,
        announcement: Announcement | None = None,
        control: bool = False,
        state_every: float = STATE_EVERY,
    ) -> None:
        self._outbox = outbox
        self._topics: Topics = outbox.topics
        self._journal = journal
        self._service = service
        self._answer = answer
        self._progress = progress
        self._device_of = device_of
        self._announcement = announcement
        self._control = control
        self._state_every = state_every
        self._wake = asyncio.Event()
        self._news = asyncio.Event()  # the state has changed in a way that somebody waits to see
        self.idle = asyncio.Event()
        self.link = Link()
        self._refused: dict[str, Refusal] = {}
        self._retained = Retained(journal)

    @property
    def will(self) -> aiomqtt.Will:
        """What the broker says for a host that is gone."""
        return aiomqtt.Will(self._topics.availability, "offline", qos=1, retain=True)

    @property
    def trouble(self) -> str:
        """What the broker does not let the host say, and what to do."""
        if not self._refused:
            return ""
        topics = ", ".join(sorted(self._refused)[:SHOWN]) + (", …" if len(self._refused) > SHOWN else "")
        return f"{next(iter(self._refused.values())).problem} It was for {topics}."

    def wake(self) -> None:
        """Something may be owed."""
        self.idle.clear()
        self._wake.set()

    async def run(self, connect: Callable[[], Connection]) -> None:
        """Stay connected until cancelled; `connect` makes a connection that has this sink's will."""
        await stay_connected(connect, self.use, self._on_state)

    def _on_state(self, problem: str) -> None:
        if not problem:
            return  # it stands once it has greeted
        if problem != self.link.problem:
            log.warning("nothing can be published; it is kept", reason=problem)
        self.link.tell(problem)

    async def use(self, connection: Connection) -> None:
        """Everything that is done on one connection; ends with what breaks it."""
        try:
            told: dict[str, bytes] = {}
            await self._greet(connection, told)
            log.info("connected to the broker", address=str(connection.address))
            self.link.tell("")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(connection, tasks), name="mqtt-listen")
                tasks.create_task(self._publish_owed(connection), name="mqtt-publish")
                tasks.create_task(self._tell_state(connection, told), name="mqtt-state")
        except BaseExceptionGroup as group:
            raise _cause(group) from None
        finally:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await self._say(connection, self._topics.availability, "offline")

    async def _greet(self, connection: Connection, told: dict[str, bytes]) -> None:
        for topic in self._heard():
            try:
                await connection.listen(topic)
            except MqttProblem as error:  # results are published all the same
                log.warning("a topic is not heard", topic=topic, reason=str(error))
        await self._publish_state(connection, told)
        await self._say(connection, self._topics.availability, "online")
        await self._announce(connection)
        await self._take_back(connection)

    def _heard(self) -> list[str]:
        """What is subscribed to."""
        orders = [self._topics.control("+")] if self._control else []
        births = [birth_topic(self._announcement.prefix)] if self._announcement else []
        return [self._topics.request("+"), *orders, *births]

    async def _announce(self, connection: Connection) -> None:
        if self._announcement is not None:
            topic = discovery_topic(self._announcement.prefix, self._topics.host)
            inboxes = [inbox.name for inbox in (await self._service.status()).inboxes]
            message = discovery_message(self._topics, self._announcement.version, inboxes, control=self._control)
            now, before = components_of(message), json.loads(await self._retained.note(topic) or "{}")
            await self._retained.keep({topic: json.dumps({**before, **now})})
            if gone := {key: platform for key, platform in before.items() if key not in now}:
                await self._say(connection, topic, json.dumps(with_removals(message, gone)))
            if await self._say(connection, topic, json.dumps(message)):
                await self._retained.keep({topic: json.dumps(now)})

    async def _take_back(self, connection: Connection) -> None:
        """Clear what was left with the broker, by this host or under another name of it, and is true no more."""
        current = {*await self._states(), self._topics.availability}
        if self._announcement is not None:
            current.add(discovery_topic(self._announcement.prefix, self._topics.host))
        for topic in await self._retained.stale(current):
            if await self._say(connection, topic, b""):
                await self._retained.forget(topic)

    async def _say(self, connection: Connection, topic: str, content: str | bytes) -> bool:
        """Publish a retained state; a broker that refuses it is no reason to publish nothing else."""
        with contextlib.suppress(MqttProblem):
            await self._put(connection, topic, content, retain=True)
            return True
        return False

    async def _put(self, connection: Connection, topic: str, content: str | bytes, **options: Any) -> None:
        """Publish, unless the broker refused this topic a while ago: then the connection might end each time."""
        refused = self._refused.get(topic)
        if refused is not None and time.monotonic() < refused.until:
            raise refused.problem
        try:
            await connection.send(topic, content, **options)
        except Refused as error:
            log.warning("the broker refuses a topic", topic=topic, reason=str(error))
            self._refused[topic] = Refusal(error, time.monotonic() + REFUSED_FOR)
            raise
        self._refused.pop(topic, None)

    # -- what is owed ------------------------------------------------------------------------------------------------

    async def _publish_owed(self, connection: Connection) -> None:
        while True:
            self._wake.clear()
            if await self._outbox.count():
                await self._publish_all(connection)
            elif not self._wake.is_set():
                self.idle.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._state_every):  # refusals wake nobody
                        await self._wake.wait()

    async def _publish_all(self, connection: Connection) -> None:
        """Publish in order, several under way; what was acknowledged is settled also when the connection breaks."""
        settling = _Settling(self._outbox)
        room = asyncio.Semaphore(AT_ONCE)

        async def publish(owed: Owed) -> None:
            try:
                await self._publish(connection, owed)
                settling.add(owed.id)
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as sends:
                async for owed in self._outbox.owed():
                    await room.acquire()
                    sends.create_task(publish(owed), name=f"mqtt-publish-{owed.id}")
                    await asyncio.sleep(0)  # it hands its messages over before the next one: that is the order
            await settling.end()
        except BaseException:
            await settling.end(within=GOODBYE)
            raise

    async def _publish(self, connection: Connection, owed: Owed) -> None:
        sends = [self._send(connection, message) for message in owed.messages]
        try:
            await asyncio.gather(*sends)
        except MqttProblem as error:  # this message; a connection that broke is another error
            log.error("a result cannot be published", source=owed.source, origin=owed.origin, reason=str(error))
            with contextlib.suppress(MqttProblem):
                await self._put(connection, *self._unpublishable(owed, error))

    def _unpublishable(self, owed: Owed, error: MqttProblem) -> tuple[str, bytes]:
        host, topic = self._topics.host, self._topics.errors(self._device_of(owed.source, owed.origin))
        message = FailureMessage(
            id=owed.id, host=host, source=owed.source, origin=owed.origin, code=UNPUBLISHABLE,
            message=error.message, hint=error.hint,
        )  # fmt: skip
        return topic, to_json(message)

    async def _send(self, connection: Connection, message: Outgoing) -> None:
        properties = _content_type(message.media_type) if connection.is_modern else None
        await self._put(connection, message.topic, message.payload, properties=properties)

    # -- how it stands -----------------------------------------------------------------------------------------------

    async def _tell_state(self, connection: Connection, told: dict[str, bytes]) -> None:
        while True:
            began = time.monotonic()
            self._news.clear()
            await self._publish_state(connection, told)
            await self._publish_progress(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._state_every, 20 * (time.monotonic() - began))):
                    await self._news.wait()

    async def _publish_state(self, connection: Connection, told: dict[str, bytes]) -> None:
        """Publish the retained states that differ from what was told."""
        states = await self._states()
        await self._retained.keep(dict.fromkeys((*states, self._topics.availability), ""))
        for topic, view in states.items():
            text = to_json(view)
            if told.get(topic) != text:
                await self._say(connection, topic, text)
                told[topic] = text

    async def _states(self) -> dict[str, View]:
        status = await self._service.status()
        row = await self._journal.row("last_result")
        finished = row["finished"] if row else None
        last = None if finished is None else datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds")
        used = {plugin.name for plugin in await self._service.plugins() if plugin.enabled and not plugin.problem}
        queues = [queue for queue in status.queues if queue.plugin in used or queue.queued or queue.running]
        place = self._topics.of_host
        return {
            place("state"): host_state(status, last),
            **{place("inboxes", inbox.name): inbox for inbox in status.inboxes},
            **{place("queues", queue.plugin): queue for queue in queues},
            **{place("devices", device.name): device for device in status.devices},
        }

    async def _publish_progress(self, connection: Connection) -> None:
        for (plugin, event_id), fraction in self._progress().items():
            arrivals = await self._journal.rows("arrivals_of_event", event_id=event_id)
            for source, origin in {(row["source"], row["origin"]) for row in arrivals}:
                message = ProgressMessage(
                    event=event_id, plugin=plugin, source=source, origin=origin, fraction=fraction
                )
                topic = self._topics.progress(self._device_of(source, origin), plugin)
                await connection.send(topic, to_json(message), qos=0)

    # -- what it is told ---------------------------------------------------------------------------------------------

    async def _listen(self, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        room = asyncio.Semaphore(REQUESTS_AT_ONCE)
        requests, orders = self._topics.request(""), self._topics.control("")
        while True:
            for message in await connection.arrived():
                if message.topic.startswith(requests) and not message.retain:
                    await room.acquire()  # until then nothing more is read, and the broker waits
                    task = tasks.create_task(self._request(connection, message), name="mqtt-request")
                    task.add_done_callback(lambda task: room.release())
                    continue
                message.acknowledge()
                if message.topic.startswith(orders) and not message.retain:
                    await self._order(message.topic.removeprefix(orders), message)
                elif self._is_birth(message):
                    await self._announce(connection)

    def _is_birth(self, message: Message) -> bool:
        """Whether Home Assistant has just started; what it said before we came is known."""
        known = self._announcement is not None and message.topic == birth_topic(self._announcement.prefix)
        return known and message.payload == b"online" and not message.retain

    async def _order(self, action: str, message: Message) -> None:
        if not self._control or action not in ACTIONS:
            return
        try:
            order = read_order(message.payload)
            if action == "requeue":
                await self._service.requeue([order.event] if order.event else [], order.plugin)
            elif action == "unload":
                await self._service.unload(order.model)
            else:
                await self._service.pause(action == "pause")
            log.info("an order was carried out", action=action, by="mqtt")
            self._news.set()
        except SensoriumError as error:
            log.warning("an order was refused", action=action, reason=str(error))

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _request(self, connection: Connection, message: Message) -> None:
        plugin = message.topic.removeprefix(self._topics.request(""))
        response = await self._response(plugin, message)
        topic = getattr(message.properties, "ResponseTopic", None) or self._topics.response(plugin)
        properties = _correlation(message.properties) if connection.is_modern else None
        try:
            if not self._topics.may_answer_on(topic):
                raise MqttProblem(f"An answer cannot go to {topic[:100]!r}.", "Name a response topic of your own.")
            await connection.send(topic, to_json(response), properties=properties)
        except MqttProblem as error:
            log.warning("a request cannot be answered", plugin=plugin[:100], reason=str(error))
        message.acknowledge()

    async def _response(self, plugin: str, message: Message) -> ResponseMessage:
        transaction = transaction_of(message.payload)
        try:
            asked = read_request(message.payload)
            left = _seconds_left(message, asked)
            if left == 0:
                raise TimeoutError
            async with asyncio.timeout(left):
                findings = await self._answer(plugin, asked.content, asked.meta)
            return ResponseMessage(plugin=plugin, transaction=transaction, results=[_answer(one) for one in findings])
        except TimeoutError:
            error = ResponseError(code="expired", message="The request expired before it was its turn.")
        except (UsageError, NotFound, WorkFailed) as refused:
            error = ResponseError(code=CODES[type(refused)], message=refused.message, hint=refused.hint)
        except OSError as full:
            error = ResponseError(code="failed", message=f"The content cannot be put aside: {full.strerror}.")
        return ResponseMessage(plugin=level(plugin), transaction=transaction, error=error)


class _Settling:
    """Notes what was acknowledged, one write after the other, while more is being sent."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._ids: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, number: int) -> None:
        self._ids.append(number)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="mqtt-settle")

    async def _write(self) -> None:
        while self._ids:
            ids, self._ids = self._ids, []
            await self._outbox.settle(ids)

    async def end(self, within: float | None = None) -> None:
        """Wait until everything is noted; after `within` seconds what is left is given up, and sent again."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=within is not None)


def _seconds_left(message: Message, asked: Asked) -> float | None:
    """For how long an answer is wanted: by the message's expiry, and by what the request says."""
    now = time.time()
    ends = [end for end in (message.expires, message.received + asked.timeout if asked.timeout else None) if end]
    return max(0.0, min(ends) - now) if ends else None


def _answer(finding: Finding) -> Answer:
    blob = None if finding.blob is None else base64.b64encode(finding.blob).decode()
    return Answer(type=finding.type, version=finding.version, data=finding.data, blob=blob)


def _content_type(media_type: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = media_type
    return properties


def _correlation(asked: Properties | None) -> Properties:
    properties = _content_type("application/json")
    correlation = getattr(asked, "CorrelationData", None)
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a connection: of several errors first one that is not the connection's own."""
    leaves = [leaf for error in group.exceptions for leaf in _leaves(error)]
    return min(leaves, key=lambda error: isinstance(error, aiomqtt.MqttError | MqttProblem | OSError))


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]
