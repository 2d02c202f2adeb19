"""The embedded broker: a round trip, an end without anything left, a port that is taken, and words when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from host.config import Mqtt
from host.mqtt import broker as module
from host.mqtt.broker import LIMITS, EmbeddedBroker
from host.mqtt.client import Connection
from tests.mosquitto import free_port
from tests.until import until


@asynccontextmanager
async def embedded(port: int) -> AsyncIterator[EmbeddedBroker]:
    """A broker that serves."""
    broker = EmbeddedBroker(port)
    task = asyncio.create_task(broker.run())
    try:
        async with asyncio.timeout(30):
            await broker.served.wait()
        yield broker
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def listeners(port: int) -> list[psutil._common.sconn]:
    return [one for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN"]


async def test_a_message_makes_the_round_trip_on_this_machine_alone():
    port = free_port()
    settings = Mqtt(broker="embedded", embedded_port=port)
    async with embedded(port) as broker:
        assert broker.address == settings.address
        assert [one.laddr.ip for one in listeners(port)] == ["127.0.0.1"]
        async with Connection(settings, "one") as one, Connection(settings, "another") as another:
            await one.listen("door/+")
            await another.send("door/bell", b"\x00ring")
            [message] = await one.arrived()
            message.acknowledge()
            assert (message.topic, message.payload) == ("door/bell", b"\x00ring")
    assert listeners(port) == []


async def test_a_port_that_is_taken_is_left_alone_and_the_next_free_one_serves():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with embedded(port) as broker:
            assert broker.address.port != port
            settings = Mqtt(broker="embedded", embedded_port=port)
            async with Connection(settings, "one", address=broker.address) as one:
                assert one.is_open


async def test_one_that_dies_is_told_and_started_again(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.2)
    port = free_port()
    async with embedded(port) as broker:
        assert broker.problem == ""
        [listener] = listeners(port)
        psutil.Process(listener.pid).kill()
        await until(lambda: broker.problem)
        assert f"127.0.0.1:{port} ended" in broker.problem
        await until(lambda: not broker.problem, 30)
        assert listeners(port)


def test_its_limits_are_said():
    assert "keeps nothing" in LIMITS
    assert "everybody on this machine" in LIMITS
    assert "mosquitto" in LIMITS
