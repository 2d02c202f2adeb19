"""A doorbell on MQTT, for the demonstration: it publishes a picture and hears what is found, asks and is answered."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.app import App
from host.mqtt.client import Connection, Message
from host.mqtt.messages import Topics

NAME = "doorbell"
PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """One message: who said it, on which topic, and what it was in a few words."""

    who: str
    topic: str
    what: str


async def ring(app: App, picture: Path, other: Path, plugins: Collection[str]) -> list[Seen]:
    """Publish one picture and wait until each of these has told of it; then ask what the other one shows."""
    settings, address = app.config.mqtt, app.broker.address if app.broker else app.config.mqtt.address
    topics = Topics(settings.base_topic, settings.name)
    async with asyncio.timeout(PATIENCE), Connection(settings, NAME, address=address) as bell:
        for word in ("results", "artifacts", "errors"):
            await bell.listen(f"{topics.base}/{word}/{NAME}/#")
        await bell.listen(topics.response("clip"))
        content = await asyncio.to_thread(picture.read_bytes)
        seen = [await _publish(bell, f"{topics.base}/in/{NAME}/front", content, "a picture")]
        awaited = set(plugins)
        async for message in _heard(bell):
            seen.append(Seen("host", message.topic, _in_words(message)))
            awaited -= {message.topic.rsplit("/", 1)[1]} if _is_last(message) else set()
            if not awaited:
                break
        return seen + await _ask(bell, topics, other)


async def _ask(bell: Connection, topics: Topics, picture: Path) -> list[Seen]:
    content = base64.b64encode(await asyncio.to_thread(picture.read_bytes)).decode()
    asked = {"transaction": "who-is-there", "media": content, "timeout": 30}
    began = time.perf_counter()
    question = await _publish(bell, topics.request("clip"), json.dumps(asked).encode(), "what is on this one?")
    async for message in _heard(bell):
        if message.topic == topics.response("clip"):
            took = (time.perf_counter() - began) * 1000
            return [question, Seen("host", message.topic, f"{_in_words(message)}, after {took:.0f} ms")]
    return [question]


async def _publish(bell: Connection, topic: str, content: bytes, words: str) -> Seen:
    await bell.send(topic, content)
    return Seen(NAME, topic, f"{words}, {len(content):,} bytes")


async def _heard(bell: Connection) -> AsyncIterator[Message]:
    while True:
        for message in await bell.arrived():
            message.acknowledge()
            yield message


def _is_last(message: Message) -> bool:
    """Whether it is all that is said of one plugin: files come before the result that names them."""
    return "/artifacts/" not in message.topic


def _in_words(message: Message) -> str:
    if "/artifacts/" in message.topic:
        return f"a file, {len(message.payload):,} bytes"
    body: dict[str, Any] = json.loads(message.payload)
    if problem := body.get("message") or body.get("error"):
        return str(problem)
    found = {one["type"]: one["data"] for one in body["results"]}
    if "labels" in found:
        best = found["labels"]["labels"][0]
        return f"{best['name']} {best['score']:.2f}"
    return ", ".join(found) or "nothing"
