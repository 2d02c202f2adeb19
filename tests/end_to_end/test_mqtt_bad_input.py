"""Whatever a device sends: it is told what is wrong, others are not held up, and nothing is written elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.host_process import stop
from tests.end_to_end.mqtt_host import MqttPlace, device, recording, running
from tests.mosquitto import mosquitto

NO_KIND = b"\0\1\2\3 of no kind"
LONGEST = 65_535  # bytes of a topic, by the specification
PREFIX = "devices/bell/in/"
# By what is sent: topic, payload, words of the error.
BAD = {
    "oversize": (f"{PREFIX}a", bytes(2**20 + 1), "more than the 1048576 that are taken"),
    "empty": (f"{PREFIX}b", b"", "It is empty"),
    "unknown type": (f"{PREFIX}c", NO_KIND, "of no known type"),
    "malformed JSON": ("boxed/bell/d", b'{"media": ', "no JSON"),
    "wrong base64": ("boxed/bell/e", b'{"media": "***"}', "not base64"),
    "unheard-of type": ("boxed/bell/f", b'{"media": "AAAA", "type": "x/unheard-of"}', "no known media type"),
    "oversize in the envelope": ("boxed/bell/g", json.dumps({"media": "A" * 1_400_004}).encode(), "more than"),
    "a topic that climbs": (f"{PREFIX}../../../../etc/passwd", NO_KIND, "of no known type"),
    "the longest topic": (PREFIX + "x" * (LONGEST - len(PREFIX)), NO_KIND, "of no known type"),
    "a path as a name": ("devices/../in/x", NO_KIND, "of no known type"),
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[MqttPlace]:
    place = MqttPlace(tmp_path / "place")
    place.subscribe = (
        {"topic": "devices/{device}/in/#", "max_size_mb": 1},
        {"topic": "boxed/{device}/#", "max_size_mb": 1, "envelope": True},
    )
    place.measure()
    with mosquitto(tmp_path / "broker") as place.broker:
        yield place


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


async def test_each_kind_of_bad_input_is_an_error_on_the_devices_topic_and_holds_up_nobody(place, tmp_path):
    async with recording(place, "sensorium/#") as recorder, running(place) as process:
        before = files_below(tmp_path)
        async with device(place) as bell:
            for topic, payload, _ in BAD.values():
                await bell.send(topic, payload)
            await bell.send(f"{PREFIX}good", "a parcel was left")
        await recorder.until(lambda: recorder.origins() and len(recorder.bodies("errors")) == len(BAD))
        assert await asyncio.to_thread(stop, process) == 0, place.last_log()
        after = files_below(tmp_path)
    said = {body["origin"]: body for body in recorder.bodies("errors")}
    for name, (topic, _, words) in BAD.items():
        assert words in said[topic]["message"], name
        assert said[topic]["code"] == "refused", name
    ours = (place.data, place.outbox)
    stray = {path for path in after - before if not any(path.resolve().is_relative_to(one.resolve()) for one in ours)}
    assert {path for path in stray if path.is_relative_to(place.root)} == set()
    kept = {path for path in after if path.is_relative_to(place.data / "library") and path.stat().st_size}
    assert {path.read_bytes() for path in kept} <= {b"a parcel was left"}


def string(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((kind, len(body))) + body


def published_raw(port: int, topic: bytes) -> bytes:
    """What a broker says to a client that publishes on what is no topic; no library would send that."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(packet(0x10, string(b"MQTT") + bytes((4, 2, 0, 60)) + string(b"raw")))
        assert client.recv(4)[3] == 0
        client.sendall(packet(0x32, string(topic) + struct.pack(">H", 1) + b"hello"))
        with contextlib.suppress(ConnectionResetError):
            return client.recv(16)
    return b""


NO_TOPICS = (b"devices/bell/in/a\0b", b"devices/+/in/a", b"devices/bell/in/#", b"devices/\xff/in/a")


@pytest.mark.parametrize("topic", NO_TOPICS)
async def test_what_is_no_topic_ends_its_sender_and_reaches_nobody(place, topic):
    async with recording(place, "sensorium/results/#") as recorder, running(place):
        assert await asyncio.to_thread(published_raw, place.broker.port, topic) == b""
        async with device(place) as bell:
            await bell.send(f"{PREFIX}good", "hello")
        await recorder.until(lambda: recorder.origins() == {f"{PREFIX}good"})
        assert place.count("arrivals") == 1


async def test_a_flood_of_retained_rubbish_is_refused_one_by_one_and_the_good_one_among_it_is_found(place):
    count = 400
    async with device(place) as bell:
        sends = [bell.send(f"{PREFIX}{number}", NO_KIND + b"%d" % number, retain=True) for number in range(count)]
        await asyncio.gather(*sends)
        await bell.send(f"{PREFIX}good", "hello", retain=True)
    async with recording(place, "sensorium/#") as recorder, running(place):
        await recorder.until(lambda: len(recorder.bodies("errors")) == count and recorder.bodies("results"))
        assert len({body["origin"] for body in recorder.bodies("errors")}) == count
