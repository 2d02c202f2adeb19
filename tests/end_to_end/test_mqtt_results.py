"""With a real broker: results survive its absence, requests are answered, states and the will stand where they should.

SENSORIUM_TEST_MQTT_AWAY sets for how many seconds the broker is away.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from host.mqtt.client import Connection, Message
from tests.end_to_end.host_process import stop
from tests.end_to_end.mqtt_host import HOST, MqttPlace, device, host_says, recording, running
from tests.host.mqtt.home_assistant import Discovery
from tests.mosquitto import mosquitto

AWAY = float(os.environ.get("SENSORIUM_TEST_MQTT_AWAY", "2"))
FILES = 40
DISCOVERY = "homeassistant/device/sensorium_attic/config"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[MqttPlace]:
    place = MqttPlace(tmp_path / "place")
    place.measure()
    with mosquitto(tmp_path / "broker") as place.broker:
        yield place


def of_kind(names: str) -> list[str]:
    return [f"{names}-{number:03}.txt" for number in range(FILES)]


def drop_all(place: MqttPlace, names: str) -> None:
    for name in of_kind(names):
        place.drop(name, f"{name} says something of its own")


# -- a broker that goes away -------------------------------------------------------------------------------------------


@pytest.mark.timeout(180 + 2 * AWAY)
async def test_a_broker_that_was_away_gets_every_result_in_order_and_once(place):
    async with recording(place, "sensorium/results/#") as recorder, running(place) as process:
        drop_all(place, "before")
        async with device(place) as connection:
            sends = [connection.send(f"devices/d{n}/in", f"message {n}", qos=1) for n in range(FILES)]
            await asyncio.gather(*sends)  # acknowledged, so that it is the host's or the broker's to keep
        await recorder.until(lambda: len(recorder.origins()) > FILES // 2)
        await asyncio.to_thread(place.broker.stop)
        drop_all(place, "away")
        await asyncio.gather(asyncio.sleep(AWAY), _all_done(place, FILES))
        await asyncio.to_thread(place.broker.start)
        drop_all(place, "after")
        await recorder.until(lambda: len(recorder.origins()) == 4 * FILES, seconds=120)
        assert await asyncio.to_thread(stop, process) == 0, place.last_log()
    check_results(recorder.bodies("results"))
    assert place.count("publishes") == 0


async def test_what_a_killed_host_owed_is_sent_by_the_next_one_in_order_and_once(place):
    async with recording(place, "sensorium/results/#") as recorder:
        async with running(place) as process:
            await asyncio.to_thread(place.broker.stop)
            drop_all(place, "away")
            await _all_done(place, FILES)
            process.kill()
        await asyncio.to_thread(place.broker.start)
        async with running(place):
            await recorder.until(lambda: len(recorder.origins()) == FILES)
    ids = [body["id"] for body in recorder.bodies("results")]
    assert ids == sorted(set(ids))
    assert len(ids) == FILES


async def _all_done(place: MqttPlace, files: int) -> None:
    """The host has worked on what came while nobody could be told."""
    query = "jobs JOIN events ON id = event_id WHERE jobs.state = 'done' AND name GLOB 'away-*'"
    async with asyncio.timeout(60):
        while await asyncio.to_thread(place.count, query) < files:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.1)


def check_results(bodies: list[dict[str, Any]]) -> None:
    ids = [body["id"] for body in bodies]
    assert list(dict.fromkeys(ids)) == sorted(set(ids)), "they come in the order in which they were finished"
    arrivals = {(body["event"]["source"], body["event"]["origin"]): body["id"] for body in bodies}
    assert len(arrivals) == len(set(ids)) == 4 * FILES, "each arrival has one result"
    away = [body["event"]["origin"] for body in bodies if body["event"]["origin"].startswith("away")]
    assert sorted(away) == of_kind("away"), "what nobody was told meanwhile comes once"


# -- how it stands -----------------------------------------------------------------------------------------------------


async def test_a_newcomer_sees_the_states_and_a_host_that_was_killed_is_offline(place):
    async with running(place) as process, recording(place) as recorder:
        await recorder.until(lambda: recorder.last(DISCOVERY))
        topics = {message.topic for message in recorder.messages if message.retain}
        assert {f"{HOST}/{what}" for what in ("state", "inboxes/inbox", "queues/measure", "devices/cpu")} <= topics
        Discovery.model_validate_json(recorder.last(DISCOVERY))
        process.kill()
        await recorder.until(lambda: recorder.last(f"{HOST}/availability") == b"offline")


async def test_a_newcomer_sees_nothing_of_an_old_name_and_an_inbox_that_is_gone(place):
    place.more_inboxes = ["cellar"]
    async with running(place) as process, recording(place, name="first") as first:
        await first.until(lambda: first.last(f"{HOST}/inboxes/cellar") and first.last(DISCOVERY))
        assert await asyncio.to_thread(stop, process) == 0, place.last_log()
    place.name, place.more_inboxes = "loft", []
    async with host_says(place, "sensorium/hosts/loft/availability", b"online"), recording(place, name="next") as next:
        await next.until(lambda: next.last("homeassistant/device/sensorium_loft/config"))
        await next.until(lambda: next.last(DISCOVERY) == b"")
    async with recording(place, name="newcomer") as newcomer:
        await newcomer.until(lambda: newcomer.last("homeassistant/device/sensorium_loft/config"))
        await newcomer.until(lambda: newcomer.last("sensorium/hosts/loft/inboxes/inbox"))
    kept = {message.topic for message in newcomer.messages if message.retain}
    assert [topic for topic in kept if "attic" in topic or "cellar" in topic] == []


async def test_a_host_that_is_stopped_says_so_itself_after_its_last_result(place):
    async with recording(place) as recorder, running(place) as process:
        place.drop("cat.txt", "a cat")
        await recorder.until(lambda: recorder.origins() == {"cat.txt"})
        assert await asyncio.to_thread(stop, process) == 0, place.last_log()
        await recorder.until(lambda: recorder.last(f"{HOST}/availability") == b"offline")


async def test_home_assistant_is_told_again_when_it_is_born(place):
    async with running(place), recording(place) as recorder:
        await recorder.until(lambda: recorder.on(DISCOVERY))
        async with device(place) as connection:
            await connection.send("homeassistant/status", "online")
        await recorder.until(lambda: len(recorder.on(DISCOVERY)) == 2)


async def test_a_press_of_the_button_pauses_the_host(place):
    async with running(place), recording(place) as recorder, device(place) as connection:
        await connection.send("sensorium/control/attic/pause", "PRESS")
        await recorder.until(lambda: json.loads(recorder.last(f"{HOST}/state") or b"{}").get("paused"))


async def test_what_cannot_be_worked_on_is_an_error_under_the_devices_name(place):
    async with running(place), recording(place) as recorder, device(place) as connection:
        await connection.send("devices/bell/in", b"\0\1\2\3 of no kind")
        await recorder.until(lambda: recorder.on("sensorium/errors/bell"))
        assert recorder.bodies("errors")[0]["code"] == "refused"


# -- requests ----------------------------------------------------------------------------------------------------------


async def answer_to(
    place: MqttPlace, ask: Callable[[Connection], Awaitable[None]], topic: str, **changes: Any
) -> Message:
    async with device(place, **changes) as connection:
        await connection.listen(topic)
        await ask(connection)
        async with asyncio.timeout(30):
            return (await connection.arrived())[0]


async def test_a_request_with_mqtt_5_is_answered_and_nothing_of_it_is_kept(place):
    wanted = Properties(PacketTypes.PUBLISH)
    wanted.ResponseTopic, wanted.CorrelationData = "devices/bell/answer", b"\x00\x07"

    async def ask(connection: Connection) -> None:
        await connection.send("sensorium/request/measure", "how long is this?", properties=wanted)

    async with running(place):
        answer = await answer_to(place, ask, "devices/bell/answer")
        assert answer.properties.CorrelationData == b"\x00\x07"
        assert json.loads(answer.payload)["results"][0]["data"]["size"] == 17
        assert place.count("events") == place.count("publishes") == 0
        assert not list((place.data / "scratch").rglob("requests/*"))


async def test_a_request_with_mqtt_3_is_answered_with_its_transaction(place):
    async def ask(connection: Connection) -> None:
        await connection.send("sensorium/request/measure", b'{"transaction": 12, "text": "hello"}')

    async with running(place):
        answer = await answer_to(place, ask, "sensorium/response/measure", protocol="3.1.1")
        body = json.loads(answer.payload)
        assert (body["transaction"], body["results"][0]["data"]["size"]) == (12, 5)


async def test_a_request_to_nobody_is_answered_with_what_to_do(place):
    async def ask(connection: Connection) -> None:
        await connection.send("sensorium/request/oracle", b"x")

    async with running(place):
        answer = await answer_to(place, ask, "sensorium/response/oracle")
        assert json.loads(answer.payload)["error"]["code"] == "not_found"
