"""A connection to a broker that lives in memory: it remembers what is sent, and can break, refuse or take its time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from host.config import Address
from host.mqtt.client import Message, MqttProblem, Refused


@dataclass(frozen=True)
class Sent:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Any

    @property
    def body(self) -> Any:
        return json.loads(self.payload)


class FakeConnection:
    """What `host.mqtt.client.Connection` offers, without a network."""

    def __init__(self, *, modern: bool = True, largest: int = 10**9, forbidden: tuple[str, ...] = ()) -> None:
        self.is_modern = modern
        self.address = Address("127.0.0.1", 1883)
        self.refused: set[str] = set()  # topics whose messages end the connection, as with mosquitto 2.0
        self.sent: list[Sent] = []
        self.heard: list[str] = []
        self.acknowledged: list[Message] = []
        self.forbidden = forbidden
        self.break_after: int | None = None
        self.acknowledging = asyncio.Event()  # of results; states are acknowledged at once
        self.acknowledging.set()
        self._largest = largest
        self._lost = asyncio.Event()
        self._incoming: list[Message] = []
        self._has_arrived = asyncio.Event()

    async def listen(self, filter: str, qos: int = 1, *, ignore_retained: bool = False) -> None:
        if filter in self.forbidden:
            raise MqttProblem(f"The broker refused {filter}.")
        self.heard.append(filter)

    async def send(
        self, topic: str, payload: bytes | str = b"", *, qos: int = 1, retain: bool = False, properties: Any = None
    ) -> None:
        content = payload.encode() if isinstance(payload, str) else payload
        if len(content) > self._largest:
            raise MqttProblem(f"{len(content)} bytes are more than the broker takes.")
        if self._lost.is_set():
            raise aiomqtt.MqttError("the connection was lost")
        if topic in self.refused:
            self.lose()
            raise Refused("The broker refused the message: Not authorized.", "Allow it.")
        self.sent.append(Sent(topic, content, qos, retain, properties))
        if self.break_after is not None and len(self.on("results")) > self.break_after:
            self.lose()
        if self._lost.is_set():
            raise aiomqtt.MqttError("the connection was lost")
        if "results" in topic.split("/"):
            await self.acknowledging.wait()

    async def arrived(self) -> list[Message]:
        while not self._incoming:
            if self._lost.is_set():
                raise aiomqtt.MqttError("the connection was lost")
            self._has_arrived.clear()
            await self._has_arrived.wait()
        messages, self._incoming = self._incoming, []
        return messages

    def lose(self) -> None:
        """The broker goes away."""
        self._lost.set()
        self._has_arrived.set()

    def deliver(self, topic: str, payload: bytes = b"", *, retain: bool = False, **properties: Any) -> Message:
        """A message from the broker."""
        known = None
        if properties:
            known = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(known, name, value)
        message = Message(topic, payload, 1, retain, False, len(self._incoming) + 1, time.time(), known, self)
        self._incoming.append(message)
        self._has_arrived.set()
        return message

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages

    def on(self, word: str) -> list[Sent]:
        """What was sent on topics with such a level."""
        return [sent for sent in self.sent if word in sent.topic.split("/")]
