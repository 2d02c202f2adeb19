"""From a request over MQTT to its answer, with a resident model: alone, and with a backlog of jobs behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from host.config import Config, check_plugin_settings, load_config
from host.control import connect
from host.leasing.devices import find_devices
from host.mqtt.client import Connection
from host.plugin_manager import find_plugins
from host.workers import Launch, Worker
from tests.mosquitto import Mosquitto, mosquitto
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report
from tools.drawn_world import write_samples

WARM_UP = 20
TURN = 20  # requests, calls and batches that are measured before the others have their turn
BACKLOG = 1_000
BATCH = 8
SYNCS = 100
ALLOWANCE = 0.005  # seconds, beside the model and four times a fdatasync
ANSWER = "bench/answer"
# Without it mosquitto holds an answer back for 40 ms, until its last acknowledgement is acknowledged by TCP.
BROKER = "allow_anonymous true\nset_tcp_nodelay true"

CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
quiet = 0.1
[mqtt]
broker = "{url}"
[plugins.metadata]
enabled = false
[plugins.clip]
batch = {batch}
"""


def time_sync(folder: Path) -> float:
    """Median seconds of a fdatasync after 4 KB."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            file.write(b"\1" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _event(path: Path, number: int = 0) -> dict[str, object]:
    return {
        "kind": "image", "id": f"{number:020}", "media_type": "image/png", "sha256": "0" * 64,
        "size": path.stat().st_size, "path": str(path), "name": path.name, "source": "bench", "origin": path.name,
        "created": 0.0,
    }  # fmt: skip


class Bare:
    """A worker with the model and nothing around it."""

    def __init__(self, config: Config, pictures: list[Path], scratch: Path) -> None:
        registry = find_plugins(config.plugins, lambda name, cls: check_plugin_settings(config, name, cls))
        plugin, device = registry.usable["clip"], find_devices(config.devices)[0]
        self._worker = Worker(Launch(plugin.name, plugin.module, plugin.spec, device, plugin.settings, scratch))
        self._events = [_event(path, number) for number, path in enumerate(pictures)]

    async def __aenter__(self) -> Self:
        await self._worker.start()
        await self._worker.load()
        await self.times(1, WARM_UP)
        await self.times(BATCH, WARM_UP)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._worker.stop()

    async def times(self, batch: int, count: int) -> list[float]:
        """Seconds of each of so many batches of this size."""
        body = {"op": "run", "hook": "on_image", "events": self._events[:batch]}
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            await self._worker.request(body, limit=60, each=lambda message: None)
            taken.append(time.perf_counter() - began)
        return taken


@contextlib.contextmanager
def host_process(folder: Path, broker: Mosquitto) -> Iterator[Config]:
    """A host of its own process, on a configuration in the folder."""
    path = folder / "config.toml"
    path.write_text(CONFIG.format(url=broker.url, batch=BATCH))
    with (folder / "host.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "host", "run", "--config", str(path)], stdout=log, stderr=log)
    try:
        yield load_config(path)
    finally:
        process.terminate()
        process.wait(60)


class Requester:
    """Asks the host, one request after the other, with MQTT 5's response topic."""

    def __init__(self, connection: Connection, picture: bytes) -> None:
        self._connection = connection
        self._picture = picture
        self.failed = 0
        self.asked = 0

    async def ask(self) -> float:
        """Seconds from the request to its answer."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = ANSWER, b"%d" % self.asked
        self.asked += 1
        began = time.perf_counter()
        async with asyncio.timeout(120):
            sent = asyncio.ensure_future(
                self._connection.send("sensorium/request/clip", self._picture, properties=properties)
            )
            [answer] = await self._connection.arrived()
            took = time.perf_counter() - began
            await sent
        answer.acknowledge()
        right = answer.properties is not None and answer.properties.CorrelationData == properties.CorrelationData
        self.failed += not (right and json.loads(answer.payload)["results"])
        return took


async def _status(config: Config) -> tuple[int, bool]:
    """How many jobs wait, and whether the host is there."""
    client = await connect(config.paths.data)
    if client is None:
        return 0, False
    return (await client.status()).queued, True


@dataclass
class Measured:
    """Seconds of each request alone, of each with a backlog, and of single pictures and batches in a bare worker."""

    alone: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    failed: int = 0


async def measure(config: Config, pictures: list[Path], scratch: Path) -> Measured:
    """Ask a host with a backlog, in turns with one that is paused and with a bare worker: all have the same weather."""
    while not (await _status(config))[1]:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.1)
    found, content = Measured(), pictures[0].read_bytes()
    async with Connection(config.mqtt, "bench") as connection, Bare(config, pictures, scratch) as bare:
        await connection.listen(ANSWER)
        requester = Requester(connection, content)
        for _ in range(WARM_UP):
            await requester.ask()
        await _pile_up(config, seed=7)
        while (await _status(config))[0] > 2 * TURN * BATCH:
            found.alone += [await requester.ask() for _ in range(TURN)]
            found.single += await bare.times(1, TURN)
            found.batch += await bare.times(BATCH, TURN)
            await _pause(config, False)
            found.behind += [await requester.ask() for _ in range(TURN)]
            await _pause(config, True)
    found.failed = requester.failed
    return found


async def _pause(config: Config, paused: bool) -> None:
    client = await connect(config.paths.data)
    assert client is not None
    await client.pause(paused)


async def _pile_up(config: Config, seed: int) -> None:
    """Have a backlog wait."""
    await _pause(config, True)
    write_samples(config.inboxes[0].path, BACKLOG, seed=seed, size=64)
    while (await _status(config))[0] < BACKLOG:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def p99(values: list[float]) -> float:
    """The ninety-ninth percentile; of few values the worst."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def mqtt_requests() -> Report:
    """p50 alone beside the bare model call, p99 with a backlog beside that and one batch."""
    with workplace() as folder, mosquitto(folder / "broker", BROKER) as broker:
        pictures = [sample.path for sample in write_samples(folder / "pictures", BATCH, seed=1, size=64)]
        with host_process(folder, broker) as config:
            found = asyncio.run(measure(config, pictures, folder / "scratch"))
            sync = time_sync(folder)
    single, batch = statistics.median(found.single), p99(found.batch)
    bound = single + 4 * sync + ALLOWANCE
    half, worst = statistics.median(found.alone), p99(found.behind)
    figures = [
        _figure(
            "p50 with a resident model", half, bound, f"model {single * 1e3:.1f} ms, fdatasync {sync * 1e3:.2f} ms"
        ),
        _figure(
            f"p99 with {BACKLOG:,} jobs queued",
            worst,
            bound + batch,
            f"p99 of a batch of {BATCH} in a bare worker: {batch * 1e3:.1f} ms",
        ),
    ]
    notes = [
        f"{len(found.alone)} requests alone, {len(found.behind)} with jobs behind them (half of them within "
        f"{statistics.median(found.behind) * 1e3:.1f} ms), in turns of {TURN} with as many single calls and batches "
        f"of a bare worker (half of its batches within {statistics.median(found.batch) * 1e3:.1f} ms). Bounds: model + "
        "4 fdatasync + 5 ms, that and a batch."
    ]
    return Report("mqtt_requests", "A picture to CLIP over MQTT 5 and its answer", found.failed, 0, figures, notes)


def _figure(what: str, ours: float, bound: float, beside: str) -> Figure:
    return Figure(what, f"{ours * 1e3:.1f} ms", beside, ours * 1e3, round(bound * 1e3, 1), False, "ms")
