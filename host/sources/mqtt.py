"""Messages from a broker. Each is acknowledged once library and journal have it, and not before.

    arrived → matched → in library → committed → acknowledged (PUBACK)
        └─ nobody asked for it, or a host said it, or it was retained and those are ignored → acknowledged

Whatever is not acknowledged comes again, marked as a duplicate: it then gets the revision that it had, so that the
journal knows it. While nothing can be committed nothing is acknowledged; the broker waits, and nothing is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import platform
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from host.config import Address, Mqtt, Subscription
from host.errors import HostError
from host.intake import Intake, Refused, Unsettled
from host.journal import Journal
from host.log import get_logger
from host.mqtt.client import Connection, Message, acknowledge, stay_connected
from host.mqtt.link import Link
from host.names import to_text
from host.sources.messages import SOURCE, MessageArrival, payload_limit
from host.topics import TopicPattern

GROUP = 500  # messages that are taken in together
GROUP_BYTES = 16 * 2**20
TAKERS = 2  # groups under way: one is read while the other waits for its commit
QUIET = 0.5  # seconds without a message after which the broker's backlog counts as worked off
# What hosts say below their base topic, and what is said to them there: taken in, it would never end.
TALK = ("artifacts", "control", "errors", "hosts", "progress", "request", "response", "results")
RETRY = 2.0  # seconds until it is tried again to commit

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """A subscription, and its topic as a pattern."""

    subscription: Subscription
    pattern: TopicPattern


class MqttSource:
    """What is subscribed to; `run` takes it in until it is cancelled."""

    def __init__(
        self,
        settings: Mqtt,
        data: Path,
        intake: Intake,
        journal: Journal,
        *,
        on_refused: Callable[[list[tuple[str, str]]], None] = lambda refused: None,
        address: Callable[[], Address] | None = None,
    ) -> None:
        self.settings = settings
        self.link = Link()
        self._address = address or (lambda: settings.address)
        self.client_id = settings.client_id or client_id_of(data)
        self._intake = intake
        self._journal = journal
        self._on_refused = on_refused
        self._rules = [Rule(one, TopicPattern.parse(one.topic)) for one in settings.subscribe]
        self.trouble = ""
        self._talk = (*(f"{settings.base_topic}/{one}/" for one in TALK), f"{settings.discovery_prefix}/device/")
        self._serial = 0
        self.taken = 0
        self.idle = asyncio.Event()

    @property
    def alarm(self) -> str:
        """Why messages are not taken in as they should be, and what to do; empty when all is well."""
        unconnected = "It is not connected yet." if self.link.state == "connecting" else self.link.problem
        return f"{unconnected} {self.trouble}".strip()

    async def run(self) -> None:
        """Stay connected and take in; ends only by cancellation."""
        await stay_connected(self._connect, self._take_in, self._on_state)

    def _connect(self) -> Connection:
        name, window = self.client_id, self.settings.window
        limits = [payload_limit(one, one.max_size_mb * 2**20) for one in self.settings.subscribe]
        largest = max(limits, default=0)
        return Connection(
            self.settings, name, keep_session=True, window=window, largest=largest, address=self._address()
        )

    def _on_state(self, problem: str) -> None:
        if not problem:
            return  # it stands once all is subscribed to
        if problem != self.link.problem:
            log.warning("nothing can be taken in from the broker; it is tried again", reason=problem)
        self.link.tell(problem)
        self.idle.set()

    def _on_trouble(self, trouble: str) -> None:
        """What keeps messages of a connection that stands from being committed."""
        if trouble and trouble != self.trouble:
            log.warning("messages wait with the broker", reason=trouble)
        self.trouble = trouble

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _take_in(self, connection: Connection) -> None:
        for rule in self._rules:
            ignore = rule.subscription.retained == "ignore" and not rule.pattern.is_shared
            await connection.listen(rule.pattern.filter, rule.subscription.qos, ignore_retained=ignore)
        self.link.tell("")
        async with asyncio.TaskGroup() as tasks:  # what is under way ends before another connection brings it again
            lost = await self._read(connection, tasks)
        raise lost

    async def _read(self, connection: Connection, tasks: asyncio.TaskGroup) -> aiomqtt.MqttError:
        """Have group after group taken in, until the connection is lost: then why."""
        turns: deque[asyncio.Task[None]] = deque()
        try:
            while True:
                for group in groups(await self._next(connection, turns)):
                    arrivals = await self._arrivals(group)
                    if len(turns) == TAKERS:
                        await turns.popleft()
                    before = turns[-1] if turns else None
                    turns.append(tasks.create_task(self._take_group(group, arrivals, before), name="mqtt-taker"))
        except aiomqtt.MqttError as error:
            return error

    async def _next(self, connection: Connection, turns: Collection[asyncio.Task[None]]) -> list[Message]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                return await connection.arrived()
        if turns:
            await asyncio.wait(turns)
        self.idle.set()
        messages = await connection.arrived()
        self.idle.clear()
        return messages

    async def _take_group(
        self, messages: Sequence[Message], arrivals: Sequence[MessageArrival | None], before: asyncio.Task[None] | None
    ) -> None:
        """Commit a group and acknowledge it, in the order in which it came and after the one before it."""
        waiting = [arrival for arrival in arrivals if arrival is not None]
        while waiting := await self._accept(waiting):  # noqa: ASYNC110 - a disk that has room again tells nobody
            await asyncio.sleep(RETRY)
        if before is not None:
            await asyncio.wait([before])
        acknowledge(messages)
        self.taken += len(messages)

    async def _accept(self, arrivals: list[MessageArrival]) -> list[MessageArrival]:
        """Those that have to be tried again."""
        if not arrivals:
            return []
        try:
            verdicts = await self._intake.accept(arrivals)
        except HostError as error:
            self._on_trouble(f"Nothing can be taken in: {error} It is tried again every few seconds.")
            return arrivals
        pairs = list(zip(arrivals, verdicts, strict=True))
        again = [(arrival, verdict) for arrival, verdict in pairs if isinstance(verdict, Unsettled)]
        self._on_trouble(again[0][1].reason if again else "")
        await self._report([(one.origin, verdict.reason) for one, verdict in pairs if isinstance(verdict, Refused)])
        return [arrival for arrival, _ in again]

    async def _report(self, refused: list[tuple[str, str]]) -> None:
        for origin, reason in refused:
            log.warning("refused", source=SOURCE, topic=origin[:200], reason=reason)
        if refused:
            await asyncio.to_thread(self._on_refused, refused)

    # -- from messages to arrivals -----------------------------------------------------------------------------------

    async def _arrivals(self, messages: Sequence[Message]) -> list[MessageArrival | None]:
        known = await self._known(messages)
        return [self._arrival(message, known) for message in messages]

    def _arrival(self, message: Message, known: dict[tuple[str, int], str]) -> MessageArrival | None:
        rules = () if message.topic.startswith(self._talk) else self._rules
        for rule in rules:
            levels = rule.pattern.match(message.topic)
            if levels is None:
                continue
            if message.retain and rule.subscription.retained == "ignore":
                return None
            limit = self._limit(rule.subscription, message.connection)
            revision, origin = self._revision(message, known), to_text(message.topic)
            return MessageArrival(message, rule.subscription, levels, limit, revision, origin)
        log.debug("not for the intake", topic=message.topic[:200])  # or of a subscription that is configured no more
        return None

    def _limit(self, subscription: Subscription, connection: Connection) -> int:
        limit = subscription.max_size_mb * 2**20
        return min(limit, connection.maximum_packet or limit)

    def _revision(self, message: Message, known: dict[tuple[str, int], str]) -> str:
        """What tells this message from others on its topic: the same for a message that is delivered again.

        A retained one has no time of its own: its content is taken once, however often the broker sends it.
        """
        if message.retain:
            return "retained"
        self._serial = max(self._serial + 1, time.time_ns())
        return known.get((message.topic, message.mid)) or f"{message.mid}.{self._serial}"

    async def _known(self, messages: Iterable[Message]) -> dict[tuple[str, int], str]:
        """The latest revisions in the journal that messages which are marked as duplicates can have had."""
        duplicates = [message for message in messages if message.duplicate and message.qos]
        if not duplicates:
            return {}
        asked = json.dumps([[to_text(one.topic), str(one.mid), one.topic] for one in duplicates])
        rows = await self._journal.rows("redelivered", found=asked, source=SOURCE)
        return {(row["topic"], int(row["mid"])): row["revision"] for row in rows if row["revision"]}


def groups(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Messages in groups of a bounded number and size."""
    start = size = 0
    for number, message in enumerate(messages):
        if number > start and (number - start >= GROUP or size + len(message.payload) > GROUP_BYTES):
            yield messages[start:number]
            start, size = number, 0
        size += len(message.payload)
    if messages:
        yield messages[start:]


def client_id_of(data: Path) -> str:
    """What a broker knows a host by: the same at each start, and another for another machine or data folder."""
    name = hashlib.sha256("\0".join((platform.node(), str(data))).encode()).hexdigest()
    return f"sensorium-{name[:12]}"
