"""Killed again and again under traffic, the host loses no message and takes none twice; a plain consumer loses many.

SENSORIUM_TEST_MQTT_MESSAGES sets how many messages come.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from host.config import Mqtt
from host.mqtt.client import Connection
from tests.end_to_end.host_process import Place, host, stop, until
from tests.mosquitto import Mosquitto, mosquitto

MESSAGES = int(os.environ.get("SENSORIUM_TEST_MQTT_MESSAGES", "600"))
KILLS = 5
FILTER = "crash/{device}"
OURS, PLAIN = "host-under-test", "plain-consumer"

# aiomqtt as its documentation shows it, with a commit for each message.
CONSUMER = """
import asyncio, sys, aiomqtt, aiosqlite
async def main(port, identifier, path):
    async with aiosqlite.connect(path, isolation_level=None) as rows:
        await rows.execute("PRAGMA journal_mode = WAL")
        await rows.execute("PRAGMA synchronous = FULL")
        await rows.execute("CREATE TABLE IF NOT EXISTS taken (payload TEXT)")
        async with aiomqtt.Client("127.0.0.1", port, identifier=identifier, clean_session=False) as client:
            await client.subscribe("crash/+", qos=1)
            async for message in client.messages:
                await rows.execute("INSERT INTO taken VALUES (?)", (message.payload.decode(),))
asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


class MqttPlace(Place):
    """A host that takes messages in from a broker."""

    broker: Mosquitto

    def mqtt(self) -> dict[str, Any]:
        return {"broker": self.broker.url, "client_id": OURS, "subscribe": [{"topic": FILTER}]}

    def config(self) -> dict[str, Any]:
        return {**super().config(), "mqtt": self.mqtt()}


@contextlib.contextmanager
def plain_consumer(broker: Mosquitto, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", CONSUMER, str(broker.port), PLAIN, str(database)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def taken(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as rows:
        rows.execute("CREATE TABLE IF NOT EXISTS taken (payload TEXT)")
        return {payload for (payload,) in rows.execute("SELECT payload FROM taken")}


def arrivals(place: MqttPlace) -> int:
    return place.count("arrivals") if (place.data / "journal.db").exists() else 0


async def subscribe_both(settings: Mqtt) -> None:
    """From here on the broker keeps messages for both, whoever is there."""
    async with Connection(settings, OURS, keep_session=True) as connection:
        await connection.listen("crash/+")
    plain = settings.model_copy(update={"protocol": "3.1.1"})
    async with Connection(plain, PLAIN, keep_session=True) as connection:
        await connection.listen("crash/+")


async def publish(settings: Mqtt, payloads: list[str]) -> None:
    """Return when the broker has all of them."""
    async with Connection(settings, "publisher") as connection:
        await asyncio.gather(*(connection.send(f"crash/{int(text.split()[1]) % 10}", text) for text in payloads))


@pytest.mark.timeout(240 + MESSAGES // 10)
def test_a_host_killed_under_traffic_loses_no_message_and_has_no_result_twice(tmp_path):
    place = MqttPlace(tmp_path / "place")
    place.measure()
    payloads = [f"message {number} says something of its own" for number in range(MESSAGES)]
    size = -(-MESSAGES // KILLS)
    slices = [payloads[start : start + size] for start in range(0, MESSAGES, size)]
    with mosquitto(tmp_path / "broker") as place.broker:
        settings = Mqtt.model_validate(place.mqtt())
        asyncio.run(subscribe_both(settings))
        for number, part in enumerate(slices):
            one_round(place, settings, part, kill_at_commit=number % 2 == 0)
        finish(place)
    check(place, payloads)
    lost = len(set(payloads) - taken(place.root / "plain.db"))
    print(f"\n{MESSAGES} messages, killed {KILLS} times: ours lost 0, the plain consumer lost {lost}")
    assert lost > 0


def one_round(place: MqttPlace, settings: Mqtt, payloads: list[str], *, kill_at_commit: bool) -> None:
    """Both are killed with messages under way: ours between its commit and its acknowledgement, or anywhere."""
    database = place.root / "plain.db"
    before, known = len(taken(database)), arrivals(place)
    kill_at = ("committed", 1) if kill_at_commit else None
    with ThreadPoolExecutor(1) as device, plain_consumer(place.broker, database) as plain:
        with host(place, kill_at=kill_at) as process:
            published = device.submit(asyncio.run, publish(settings, payloads))
            until(lambda: len(taken(database)) >= before + len(payloads) // 5, every=0.002)
            plain.kill()
            until(lambda: process.poll() is not None if kill_at_commit else arrivals(place) > known, every=0.002)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        published.result()


def finish(place: MqttPlace) -> None:
    """Let a host take in what is left."""
    with host(place) as process:
        until(lambda: place.count("arrivals") >= MESSAGES, limit=60 + MESSAGES / 20)
        until(lambda: place.count("jobs WHERE state = 'queued'") == 0, limit=60 + MESSAGES / 20)
        until(lambda: place.count("deliveries") == 0, limit=60 + MESSAGES / 20)
        assert stop(process) == 0, place.last_log()


def check(place: MqttPlace, payloads: list[str]) -> None:
    """Every message: one arrival, one event, one result, one sidecar; and nothing else."""
    rows = place.rows("SELECT e.location, a.state FROM arrivals a JOIN events e ON e.id = a.event_id")
    contents = sorted((place.data / "library" / row["location"]).read_text() for row in rows)
    assert contents == sorted(payloads)
    assert {row["state"] for row in rows} == {"accepted"}
    assert place.count("events") == place.count("results") == MESSAGES
    assert place.count("jobs WHERE state = 'done'") == MESSAGES
    sidecars = [json.loads(path.read_bytes()) for path in (place.outbox / "mqtt").iterdir()]
    assert len(sidecars) == MESSAGES
    assert all(len(sidecar["results"]) == 1 and not sidecar["failures"] for sidecar in sidecars)
