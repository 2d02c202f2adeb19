"""A connection to a real mosquitto: acknowledged by hand, bounded, and refused in words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from host.config import Mqtt
from host.mqtt import client
from host.mqtt.client import Connection, MqttProblem, acknowledge, problem_of, stay_connected
from tests.certificates import make_keys, tls_lines
from tests.mosquitto import Mosquitto, free_port, mosquitto, password_lines
from tests.until import until


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path / "broker") as broker:
        yield broker


def settings(broker: Mosquitto, **others: Any) -> Mqtt:
    return Mqtt.model_validate({"broker": broker.url, **others}, context={"base": "/"})


async def why(settings: Mqtt) -> str:
    """Why no connection can be made."""
    with pytest.raises((aiomqtt.MqttError, OSError, MqttProblem)) as caught:
        async with Connection(settings, "refused"):
            pass
    problem = problem_of(caught.value, settings.address)
    return f"{problem} {problem.hint}"


async def take(connection: Connection, count: int) -> list[client.Message]:
    messages: list[client.Message] = []
    async with asyncio.timeout(20):
        while len(messages) < count:
            messages += await connection.arrived()
    return messages


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_was_not_acknowledged_comes_again_and_nothing_else(broker, protocol):
    spoken = settings(broker, protocol=protocol)
    async with Connection(spoken, "reader", keep_session=True) as reader, Connection(spoken, "writer") as writer:
        await reader.listen("a/#")
        for number in range(4):
            await writer.send("a/b", str(number))
        first = await take(reader, 4)
        acknowledge(first[:2])
    first[2].acknowledge()  # too late: its connection has ended
    async with Connection(spoken, "reader", keep_session=True) as reader:
        again = await take(reader, 2)
        assert [(message.payload, message.duplicate) for message in again] == [(b"2", True), (b"3", True)]
        assert reader.session_present


async def test_reading_stops_while_too_much_waits_and_goes_on_without_loss(broker, monkeypatch):
    monkeypatch.setattr(client, "HELD_LIMIT", 100_000)
    one = settings(broker)
    async with Connection(one, "reader") as reader, Connection(one, "writer") as writer:
        await reader.listen("a")
        await asyncio.gather(*(writer.send("a", f"{number}".ljust(10_000)) for number in range(100)))
        taken = await take(reader, 1)
        assert len(taken) + reader.waiting < 30
        while len(taken) < 100:
            acknowledge(taken[-10:] if len(taken) < 11 else taken)
            taken += await take(reader, 1)
    assert sorted(int(message.payload) for message in taken) == list(range(100))


async def test_no_more_messages_are_held_than_the_window_has_and_a_chunk_of_bytes(broker, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 1000)
    one = settings(broker)
    async with Connection(one, "reader", window=10) as reader, Connection(one, "writer") as writer:
        await reader.listen("a", qos=0)
        await asyncio.gather(*(writer.send("a", f"{number}".ljust(100)) for number in range(100)))
        taken = [*(fresh := await take(reader, 10))]
        assert len(taken) + reader.waiting < 30
        while len(taken) < 100:
            acknowledge(fresh)
            fresh = await take(reader, 1)
            taken += fresh
    assert sorted(int(message.payload) for message in taken) == list(range(100))


async def test_a_large_message_comes_whole(broker):
    one, content = settings(broker), bytes(range(256)) * 20_000
    async with Connection(one, "reader") as reader, Connection(one, "writer") as writer:
        await reader.listen("a")
        await writer.send("a", content)
        assert (await take(reader, 1))[0].payload == content


async def test_of_what_is_larger_than_anybody_takes_only_the_size_is_kept(broker):
    one = settings(broker)
    async with Connection(one, "reader", largest=1000) as reader, Connection(one, "writer") as writer:
        await reader.listen("a")
        await writer.send("a", bytes(1001))
        await writer.send("a", bytes(1000))
        large, small = await take(reader, 2)
        assert (large.payload, large.left_out) == (b"", 1001)
        assert (small.payload, small.left_out) == (bytes(1000), 0)


async def test_more_than_the_broker_takes_is_refused_before_it_is_sent(tmp_path):
    with mosquitto(tmp_path / "broker", "allow_anonymous true\nmax_packet_size 5000") as broker:
        async with Connection(settings(broker), "writer") as writer:
            with pytest.raises(MqttProblem, match="packets up to 5000 bytes"):
                await writer.send("a", bytes(5000))
            await writer.send("a", bytes(4000))


async def test_a_wrong_password_is_told_and_the_right_one_is_taken(tmp_path, monkeypatch):
    with mosquitto(tmp_path / "broker", password_lines(tmp_path / "passwords", "me", "right")) as broker:
        monkeypatch.setenv("SENSORIUM_MQTT_USER", "me")
        monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "wrong")
        said = await why(settings(broker))
        assert "refused the connection" in said
        assert "SENSORIUM_MQTT_PASSWORD" in said
        monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "right")
        async with Connection(settings(broker), "me") as connection:
            assert connection.is_open


async def test_what_the_access_list_forbids_is_told(tmp_path):
    rights = tmp_path / "rights"
    rights.write_text("topic read open/#\n")
    rights.chmod(0o600)
    with mosquitto(tmp_path / "broker", f"allow_anonymous true\nacl_file {rights}") as broker:
        async with Connection(settings(broker), "me") as connection:
            with pytest.raises(MqttProblem, match="refused the message"):
                await connection.send("open/a", "x")


async def test_a_broker_that_is_not_there_is_told():
    said = await why(Mqtt(broker=f"mqtt://127.0.0.1:{free_port()}"))
    assert "cannot be reached" in said


async def test_after_each_loss_there_is_a_new_connection_after_a_pause_and_the_reason_is_told(broker):
    used: list[Connection] = []
    said: list[str] = []
    pauses: list[float] = []

    async def use(connection: Connection) -> None:
        used.append(connection)
        if len(used) < 4:
            raise aiomqtt.MqttError("gone")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await stay_connected(lambda: Connection(settings(broker), "me"), use, said.append, sleep)
    assert len(set(map(id, used))) == 4
    assert len(pauses) == 3
    assert all(0 < pause <= 30 for pause in pauses)
    assert [bool(one) for one in said] == [False, True, False, True, False, True, False]


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


def tls(broker: Mosquitto, keys: Path, ca: str = "authority", **others: Any) -> Mqtt:
    return Mqtt.model_validate(
        {"broker": f"mqtts://127.0.0.1:{broker.port}", "ca": str(keys / f"{ca}.pem"), **others}, context={"base": "/"}
    )


async def test_a_certificate_is_trusted_by_its_authority_and_by_no_other(tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "broker")) as broker:
        content = bytes(300_000)
        async with Connection(tls(broker, keys), "one") as one:
            await one.listen("a")
            await one.send("a", content)
            assert (await take(one, 1))[0].payload == content
        said = await why(tls(broker, keys, "stranger"))
        assert "not trusted" in said
        assert "`ca` in [mqtt]" in said


async def test_a_certificate_that_has_expired_is_told(tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "expired")) as broker:
        said = await why(tls(broker, keys))
        assert "expired" in said
        assert "Renew" in said


async def test_a_broker_that_wants_a_certificate_gets_ours(tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "broker", "require_certificate true")) as broker:
        mine = {"certificate": str(keys / "device.pem"), "key": str(keys / "device.key")}
        async with Connection(tls(broker, keys, **mine), "device") as connection:
            assert connection.is_open
        assert str(broker.port) in await why(tls(broker, keys))


async def test_files_for_tls_that_are_not_there_are_told(tmp_path, keys):
    nowhere = Mqtt.model_validate({"broker": "mqtts://127.0.0.1", "ca": "/nowhere.pem"}, context={"base": "/"})
    assert "/nowhere.pem" in await why(nowhere)


async def test_what_was_waiting_is_gone_with_its_connection(broker):
    async with Connection(settings(broker), "me") as connection:
        waiting = asyncio.create_task(connection.arrived())
        await asyncio.sleep(0)
        broker.stop()
        with pytest.raises(aiomqtt.MqttError):
            await waiting
        await until(lambda: waiting.done())
