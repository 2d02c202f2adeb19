"""The host's memory under a stream of messages that are too large, beside what it has after the first of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from host.config import Mqtt
from host.control import connect
from host.mqtt.client import Connection
from tests.mosquitto import mosquitto
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report

MESSAGES = 400
SIZE = 4 * 2**20  # bytes; the subscription takes a quarter of that
FIRST = MESSAGES // 4
AT_ONCE = 8

CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
[plugins.clip]
enabled = false
[mqtt]
broker = "{url}"
[[mqtt.subscribe]]
topic = "sensorium/in/{{device}}/#"
max_size_mb = 1
"""


async def stream(settings: Mqtt, data: Path, host: psutil.Process) -> tuple[float, list[float], int]:
    """MB of the host before, its memory after each error that it told, and how many errors were missed."""
    while await connect(data) is None:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.1)
    sizes: list[float] = []
    told: set[str] = set()
    async with Connection(settings, "listener") as listener, Connection(settings, "camera") as camera:
        await listener.listen("sensorium/errors/#")
        await listener.listen("sensorium/hosts/+/availability")
        while not any(message.payload == b"online" for message in await _taken(listener)):
            pass
        before = host.memory_info().rss / 2**20
        room, payload = asyncio.Semaphore(AT_ONCE), bytes(SIZE)

        async def send(number: int) -> None:
            async with room:
                await camera.send(f"sensorium/in/camera/{number}", payload)

        sends = asyncio.gather(*(send(number) for number in range(MESSAGES)))
        deadline = time.monotonic() + 300
        while len(told) < MESSAGES and time.monotonic() < deadline:
            for message in await _taken(listener):
                if message.topic.startswith("sensorium/errors/"):
                    told.add(json.loads(message.payload)["origin"])
                    sizes.append(host.memory_info().rss / 2**20)
        await sends
    return before, sizes, MESSAGES - len(told)


async def _taken(connection: Connection) -> list:
    messages = await connection.arrived()
    for message in messages:
        message.acknowledge()
    return messages


def mqtt_oversize() -> Report:
    """The most memory in the last three quarters of the stream beside the most in the first one."""
    with workplace() as folder, mosquitto(folder / "broker") as broker:
        (folder / "config.toml").write_text(CONFIG.format(url=broker.url))
        with (folder / "host.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "host", "run"], cwd=folder, stdout=log, stderr=log)
        try:
            settings, data = Mqtt(broker=broker.url), folder / "data"
            before, sizes, missed = asyncio.run(stream(settings, data, psutil.Process(process.pid)))
        finally:
            process.terminate()
            process.wait(60)
    first, later = max(sizes[:FIRST]), max(sizes[FIRST:])
    streamed = MESSAGES * SIZE / 2**20
    figures = [
        Figure("memory, most", f"{later:.0f} MB", f"{first:.0f} MB", later / first, 1.1, False),
        Figure("growth beside what was streamed", f"{max(first, later) - before:.0f} MB", f"{streamed:.0f} MB",
               (max(first, later) - before) / streamed, 0.2, False),
    ]  # fmt: skip
    notes = [f"{MESSAGES} messages of {SIZE // 2**20} MB where 1 MB is taken; beside: the first {FIRST} of them. "
             f"The host had {before:.0f} MB before. `lost` are messages whose refusal was not told."]  # fmt: skip
    title = "A stream of messages that are too large, each refused on the error topic"
    return Report("mqtt_oversize", title, missed, 0, figures, notes)
