"""A host with the broker that it starts itself: a message makes its way, and nothing is left when the host ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import Any

import pytest

from host.config import Mqtt
from host.mqtt.client import Connection, stay_connected
from tests.end_to_end.host_process import Place, host, stop, until
from tests.mosquitto import free_port


class EmbeddedPlace(Place):
    """A host with an embedded broker."""

    port = 0

    def mqtt(self) -> dict[str, Any]:
        return {"broker": "embedded", "embedded_port": self.port, "subscribe": [{"topic": "{device}/#"}]}

    def config(self) -> dict[str, Any]:
        return {**super().config(), "mqtt": self.mqtt()}


@pytest.fixture
def place(tmp_path):
    place = EmbeddedPlace(tmp_path)
    place.port = free_port()
    place.measure()
    return place


def publish(place: EmbeddedPlace, text: str) -> None:
    """As soon as the broker is there, and until the host has subscribed: nothing is kept for it before."""
    settings = Mqtt.model_validate(place.mqtt())

    async def send(connection: Connection) -> None:
        while not (place.data / "journal.db").exists() or place.count("arrivals") == 0:
            await connection.send("desk/note", text)
            await asyncio.sleep(0.1)

    async def main() -> None:
        async with asyncio.timeout(60):
            await stay_connected(lambda: Connection(settings, "device"), send)

    asyncio.run(main())


def is_served(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_message_makes_its_way_to_a_result_and_the_broker_ends_with_the_host(place):
    with host(place) as process:
        publish(place, "hello")
        until(lambda: list(place.outbox.rglob("note-*.json")))
        assert is_served(place.port)
        assert stop(process) == 0, place.last_log()
    [sidecar] = place.outbox.rglob("note-*.json")
    body = json.loads(sidecar.read_bytes())
    assert [one["data"]["size"] for one in body["results"]] == [5]
    assert (body["event"]["origin"], body["event"]["tags"]) == ("desk/note", ["desk"])
    until(lambda: not is_served(place.port))


def test_the_broker_of_a_killed_host_ends_by_itself(place):
    with host(place) as process:
        until(lambda: is_served(place.port))
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not is_served(place.port))
