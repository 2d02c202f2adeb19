"""The embedded broker: a round trip, an end without anything left, and words when its port is taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from host.config import Mqtt
from host.mqtt.broker import LIMITS, EmbeddedBroker
from host.mqtt.client import Connection
from tests.mosquitto import free_port
from tests.until import until


@asynccontextmanager
async def embedded(port: int) -> AsyncIterator[list[str]]:
    """A broker at work; what it said of its state."""
    said: list[str] = []
    task = asyncio.create_task(EmbeddedBroker(port, said.append).run())
    try:
        await until(lambda: said, 30)
        yield said
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def listeners(port: int) -> list[str]:
    return [one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN"]


async def test_a_message_makes_the_round_trip_on_this_machine_alone():
    port = free_port()
    settings = Mqtt(broker="embedded", embedded_port=port)
    async with embedded(port) as said:
        assert said == [""]
        assert listeners(port) == ["127.0.0.1"]
        async with Connection(settings, "one") as one, Connection(settings, "another") as another:
            await one.listen("door/+")
            await another.send("door/bell", b"\x00ring")
            [message] = await one.arrived()
            message.acknowledge()
            assert (message.topic, message.payload) == ("door/bell", b"\x00ring")
    assert listeners(port) == []


async def test_a_port_that_is_taken_is_told_with_what_to_do():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with embedded(port) as said:
            assert f"port {port}" in said[0]
            assert "embedded_port" in said[0]


def test_its_limits_are_said():
    assert "keeps nothing" in LIMITS
    assert "mosquitto" in LIMITS
