"""The saying side of MQTT in a running host: its outbox, its requests, and the one connection that they share."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import metadata

from host.config import Address, Config, Mqtt
from host.dispatcher import Dispatcher
from host.journal import Journal
from host.library import Library
from host.mqtt.client import Connection
from host.mqtt.link import Link
from host.mqtt.messages import Topics
from host.names import from_text
from host.requests import Requests
from host.sinks.mqtt import REQUESTS_AT_ONCE, Announcement, MqttSink
from host.sinks.outbox import Outbox
from host.sources.messages import SOURCE
from host.sources.mqtt import client_id_of
from host.topics import TopicPattern
from host.views import Service

# Requests wait so long for a host that is away: whoever asked has given up by then.
REQUESTS_WAIT = 300


class Publisher:
    """Publishes what the host finds and how it stands, and answers requests; `open` comes before `run`."""

    def __init__(
        self,
        config: Config,
        service: Service,
        journal: Journal,
        library: Library,
        requests: Requests,
        dispatcher: Dispatcher,
        address: Callable[[], Address],
    ) -> None:
        self._settings = config.mqtt
        self._address = address
        self._data = config.paths.data
        named = device_namer(config.mqtt)
        topics = Topics(config.mqtt.base_topic, config.mqtt.name or socket.gethostname())
        self._outbox = Outbox(journal, library, topics, named)
        self._sink = MqttSink(
            self._outbox,
            journal,
            service,
            requests.answer,
            lambda: {key: progress.fraction for key, progress in dispatcher.progress.items()},
            named,
            announcement=_announcement(config.mqtt),
            control=config.mqtt.control,
        )

    async def open(self) -> None:
        """From now on every outcome is owed to the broker."""
        await self._outbox.open()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await self._sink.run(self._connect)

    @property
    def link(self) -> Link:
        """How its connection stands."""
        return self._sink.link

    @property
    def trouble(self) -> str:
        """What the broker does not let the host say."""
        return self._sink.trouble

    async def owed(self) -> int:
        """How many outcomes the broker has not acknowledged yet."""
        return await self._outbox.count()

    def wake(self) -> None:
        """Something may be owed."""
        self._sink.wake()

    async def sent(self) -> None:
        """Returns when everything is sent, at once without a connection."""
        if self.link.state == "connected":
            await self._sink.idle.wait()

    def _connect(self) -> Connection:
        name = f"{self._settings.client_id or client_id_of(self._data)}-out"
        settings = self._settings.model_copy(update={"session_expiry": REQUESTS_WAIT})
        return Connection(
            settings, name, keep_session=True, window=REQUESTS_AT_ONCE, will=self._sink.will, address=self._address()
        )


def device_namer(settings: Mqtt) -> Callable[[str, str], str]:
    """By whose name the outcome of an arrival is published: the `{device}` in its topic, else its source."""
    patterns = [TopicPattern.parse(one.topic) for one in settings.subscribe]

    def device_of(source: str, origin: str) -> str:
        if source != SOURCE:
            return source
        topic = from_text(origin)
        levels = next((found for pattern in patterns if (found := pattern.match(topic)) is not None), {})
        return levels.get("device") or source

    return device_of


def _announcement(settings: Mqtt) -> Announcement | None:
    return Announcement(settings.discovery_prefix, metadata.version("sensorium")) if settings.discovery else None
