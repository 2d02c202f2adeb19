"""What keeps a host from its broker stands in its status, with what to do, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from host.app import App
from host.views import MqttView
from tests.certificates import make_keys, tls_lines
from tests.host.working_host import Place
from tests.mosquitto import free_port, mosquitto, password_lines


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


async def seen(app: App, state: str) -> MqttView:
    """The broker in the status, once it is in this state."""
    async with asyncio.timeout(30):
        while (found := (await app.status()).mqtt) is None or found.state != state:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def running(place: Place, **mqtt: Any) -> AsyncIterator[App]:
    place.settings = {"mqtt": mqtt}
    async with place.running() as app:
        yield app


async def alarm_of(place: Place, **mqtt: Any) -> str:
    async with running(place, **mqtt) as app:
        return (await seen(app, "away")).alarm


async def test_a_broker_that_is_not_there(place):
    url = f"mqtt://127.0.0.1:{free_port()}"
    said = await alarm_of(place, broker=url)
    assert "cannot be reached: Connect call failed" in said or "cannot be reached: Connection refused" in said
    assert "Check that it runs" in said
    assert said.count("tried again by itself") == 1


async def test_a_wrong_password(place, tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_MQTT_USER", "me")
    monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "wrong")
    with mosquitto(tmp_path / "broker", password_lines(tmp_path / "passwords", "me", "right")) as broker:
        said = await alarm_of(place, broker=broker.url)
    assert "refused the connection" in said
    assert "SENSORIUM_MQTT_PASSWORD" in said
    assert "wrong" not in said.replace("wrong user or password", "")


async def test_a_certificate_that_has_expired(place, tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "expired")) as broker:
        said = await alarm_of(place, broker=f"mqtts://127.0.0.1:{broker.port}", ca=str(keys / "authority.pem"))
    assert "certificate has expired" in said
    assert "Renew" in said


async def test_an_authority_that_nobody_named(place, tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "broker")) as broker:
        said = await alarm_of(place, broker=f"mqtts://127.0.0.1:{broker.port}")
    assert "not trusted" in said
    assert "`ca` in [mqtt]" in said


async def test_a_broker_that_wants_a_certificate_of_ours(place, tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "broker", "require_certificate true")) as broker:
        said = await alarm_of(place, broker=f"mqtts://127.0.0.1:{broker.port}", ca=str(keys / "authority.pem"))
    assert "`certificate` and `key` in [mqtt]" in said


async def test_a_port_that_does_not_speak_tls(place, tmp_path):
    with mosquitto(tmp_path / "broker") as broker:
        said = await alarm_of(place, broker=f"mqtts://127.0.0.1:{broker.port}")
    assert "that this port speaks TLS" in said


async def test_a_port_that_speaks_tls_alone(place, tmp_path, keys):
    with mosquitto(tmp_path / "broker", tls_lines(keys, "broker")) as broker:
        said = await alarm_of(place, broker=broker.url)
    assert "it closed the connection" in said or "reset by peer" in said
    assert "mqtts://" in said


async def test_a_broker_that_goes_away_is_told_with_the_time_and_forgotten_when_it_is_back(place, tmp_path):
    with mosquitto(tmp_path / "broker") as broker:
        async with running(place, broker=broker.url) as app:
            before = await seen(app, "connected")
            assert (before.broker, before.embedded, before.alarm) == (broker.url, False, "")
            await asyncio.to_thread(broker.stop)
            away = await seen(app, "away")
            assert away.alarm
            assert away.since >= before.since
            await app.submit([place.file("a.txt", "apple")], wait=True)
            assert (await app.status()).mqtt.owed == 1
            await asyncio.to_thread(broker.start)
            back = await seen(app, "connected")
            assert back.alarm == ""


async def test_what_the_access_list_forbids_is_told_and_holds_up_nothing_else(place, tmp_path):
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite sensorium/#\n")  # and so nothing below homeassistant/
    rights.chmod(0o600)
    with mosquitto(tmp_path / "broker", f"allow_anonymous true\nacl_file {rights}") as broker:
        async with running(place, broker=broker.url) as app:
            await app.submit([place.file("a.txt", "apple")], wait=True)
            found = await seen(app, "connected")
            while (found := (await app.status()).mqtt).owed or found.state != "connected":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert "refused" in found.alarm
    assert "homeassistant/device/" in found.alarm
    assert "access list" in found.alarm


async def test_an_embedded_broker_is_connected_to_without_any_alarm_and_its_address_is_told(place):
    port = free_port()
    async with running(place, broker="embedded", embedded_port=port) as app:
        found = (await app.status()).mqtt
        assert found.state in ("connecting", "connected")
        found = await seen(app, "connected")
        assert (found.broker, found.embedded, found.alarm) == (f"mqtt://127.0.0.1:{port}", True, "")
