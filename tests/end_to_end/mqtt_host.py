"""A host called `attic` with a real broker, and subscribers that miss nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from host.config import Mqtt
from host.mqtt.client import Connection, Message, stay_connected
from tests.end_to_end.host_process import Place, host
from tests.mosquitto import Mosquitto

HOST = "sensorium/hosts/attic"


class MqttPlace(Place):
    """A host called `attic` that talks to a broker."""

    broker: Mosquitto
    name = "attic"
    more_inboxes: Sequence[str] = ()
    subscribe: Sequence[dict[str, Any]] = ({"topic": "devices/{device}/in"},)

    @property
    def mqtt(self) -> dict[str, Any]:
        subscribe = [dict(one) for one in self.subscribe]
        return {"broker": self.broker.url, "name": self.name, "control": True, "subscribe": subscribe}

    @property
    def settings(self) -> Mqtt:
        return Mqtt.model_validate(self.mqtt)

    def config(self) -> dict[str, Any]:
        config = super().config()
        more = [{"path": str(self.root / name)} for name in self.more_inboxes]
        return {**config, "inbox": [*config["inbox"], *more], "mqtt": self.mqtt}

    def drop(self, name: str, text: str) -> None:
        """A file for the inbox, whole at once."""
        hidden = self.inbox / f".{name}"
        hidden.write_text(text)
        hidden.rename(self.inbox / name)


@dataclass
class Recorder:
    """A subscriber that the broker knows: it misses nothing while it, or the broker, is away."""

    settings: Mqtt
    filter: str
    name: str
    messages: list[Message] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        await stay_connected(lambda: Connection(self.settings, self.name, keep_session=True), self._record)

    async def _record(self, connection: Connection) -> None:
        await connection.listen(self.filter)
        while True:
            arrived = await connection.arrived()
            for message in arrived:
                message.acknowledge()
            async with self.changed:
                self.messages += arrived
                self.changed.notify_all()

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    def on(self, topic: str) -> list[Message]:
        return [message for message in self.messages if message.topic == topic]

    def last(self, topic: str) -> bytes | None:
        return found[-1].payload if (found := self.on(topic)) else None

    def bodies(self, word: str) -> list[dict[str, Any]]:
        chosen = [one for one in self.messages if one.topic.startswith(f"sensorium/{word}/")]
        return [json.loads(one.payload) for one in chosen]

    def origins(self) -> set[str]:
        return {body["event"]["origin"] for body in self.bodies("results")}


@contextlib.asynccontextmanager
async def recording(place: MqttPlace, filter: str = "#", name: str = "recorder") -> AsyncIterator[Recorder]:
    recorder = Recorder(place.settings, filter, name)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(place: MqttPlace) -> AsyncIterator[Any]:
    """A host that has said `online`."""
    async with host_says(place, f"{HOST}/availability", b"online") as process:
        yield process


@contextlib.asynccontextmanager
async def host_says(place: MqttPlace, topic: str, payload: bytes) -> AsyncIterator[Any]:
    """A host that has said this."""
    with host(place) as process:
        async with recording(place, topic, "watcher") as watcher:
            await watcher.until(lambda: watcher.last(topic) == payload)
        yield process


@contextlib.asynccontextmanager
async def device(place: MqttPlace, **changes: Any) -> AsyncIterator[Connection]:
    async with Connection(place.settings.model_copy(update=changes), "device") as connection:
        yield connection
