"""Messages come in once, are acknowledged when they are safe, and bad ones get a reason: with a real mosquitto."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from host.config import Mqtt
from host.errors import JournalError
from host.handover import bring
from host.identify import identify
from host.intake import Intake, Refused, Taken
from host.journal import Journal
from host.library import Library
from host.mqtt.client import Connection, Message
from host.routes import Routes
from host.sources.messages import MessageArrival
from host.sources.mqtt import GROUP_BYTES, MqttSource, client_id_of, groups
from tests.mosquitto import Mosquitto, mosquitto
from tests.until import until

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


class Bench:
    """A source on a journal and a library, and a device that publishes to it."""

    def __init__(self, broker: Mosquitto, journal: Journal, library: Library, root: Path) -> None:
        self.broker, self.journal, self.library, self.root = broker, journal, library, root
        self.intake = Intake(journal, library, Routes((), {"look": frozenset({"on_text", "on_image"})}), identify)
        self.refused: list[tuple[str, str]] = []
        self.base = root.name  # of topics: the broker is shared by all tests

    def settings(self, **subscription: Any) -> Mqtt:
        group = subscription.pop("group", "")
        one = {"topic": f"{group}{self.base}/{subscription.pop('topic', '{device}/#')}", **subscription}
        return Mqtt.model_validate({"broker": self.broker.url, "subscribe": [one]}, context={"base": self.root})

    @asynccontextmanager
    async def source(self, **subscription: Any) -> AsyncIterator[MqttSource]:
        """A source at work, until the block ends."""
        settings = self.settings(**subscription)
        source = MqttSource(settings, self.root, self.intake, self.journal, on_refused=self.refused.extend)
        task = asyncio.create_task(source.run())
        try:
            await until(lambda: not source.alarm and source.idle.is_set())
            yield source
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def device(self) -> AsyncIterator[Connection]:
        async with Connection(self.settings(), "device-" + self.base) as connection:
            yield connection

    async def publish(self, topic: str, payload: bytes | str, **options: Any) -> None:
        async with self.device() as device:
            await device.send(f"{self.base}/{topic}", payload, **options)

    async def content(self, row: dict[str, Any]) -> bytes:
        """What a worker would find, wherever it rests until then."""
        await bring([row], self.journal, self.library)
        return self.library.resolve(row["location"]).read_bytes()

    async def arrivals(self) -> list[dict[str, Any]]:
        reader = self.journal._reader
        columns = "a.origin, a.revision, a.state, a.reason, e.*"
        rows = await reader.execute_fetchall(
            f"SELECT {columns} FROM arrivals a LEFT JOIN events e ON e.id = a.event_id ORDER BY a.id"
        )
        return [dict(row) for row in rows]

    async def come(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while len(found := await self.arrivals()) < count:  # noqa: ASYNC110 - a journal calls nobody back
                await asyncio.sleep(0.01)
        return found


@pytest.fixture
def bench(broker, journal, library, tmp_path) -> Iterator[Bench]:
    bench = Bench(broker, journal, library, tmp_path)
    yield bench
    bench.intake.close()


async def test_a_picture_is_known_by_its_bytes_and_tagged_by_its_topic(bench):
    async with bench.source(topic="{room}/{device}/snapshot", tags=("home",)):
        await bench.publish("kitchen/cam1/snapshot", PNG)
        [row] = await bench.come(1)
    assert (row["kind"], row["media_type"], row["size"]) == ("image", "image/png", len(PNG))
    assert json.loads(row["tags"]) == ["home", "kitchen", "cam1"]
    metadata = json.loads(row["metadata"])
    assert (metadata["room"], metadata["device"]) == ("kitchen", "cam1")
    assert await bench.content(row) == PNG


async def test_messages_that_came_while_the_host_was_down_are_taken_at_the_next_start(bench):
    async with bench.source():
        pass
    for number in range(3):
        await bench.publish("door/bell", f"ring {number}")
    async with bench.source():
        assert len(await bench.come(3)) == 3


async def test_nothing_is_acknowledged_before_it_is_committed_and_then_it_comes_again_once(bench, monkeypatch):
    accept, tried = bench.intake.accept, []

    async def full(arrivals):
        tried.extend(arrivals)
        raise JournalError("The disk is full.", passing=True)

    monkeypatch.setattr(bench.intake, "accept", full)
    async with bench.source() as source:
        await bench.publish("door/bell", "ring")
        await until(lambda: tried)
        assert "The disk is full" in source.alarm
    monkeypatch.setattr(bench.intake, "accept", accept)
    assert await bench.arrivals() == []
    async with bench.source():
        await bench.come(1)


async def test_what_was_committed_and_never_acknowledged_is_no_second_arrival(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_acknowledge", lambda connection, message: None)
        async with bench.source():
            await bench.publish("door/bell", "ring")
            await bench.publish("door/bell", "ring again")
            await bench.come(2)
    async with bench.source() as source:
        await until(lambda: source.taken == 2)
    assert len(await bench.arrivals()) == 2


async def test_the_same_payload_published_twice_is_two_arrivals_and_one_job(bench):
    async with bench.source():
        await bench.publish("door/bell", "ring")
        await bench.publish("door/bell", "ring")
        first, second = await bench.come(2)
    assert first["id"] == second["id"]
    counts = await bench.journal.row("counts")
    assert counts["queued"] == 1


async def test_a_part_that_a_crash_left_is_not_taken_for_a_content_that_rests_in_the_journal(bench):
    async with bench.source():
        await bench.publish("door/bell", "ring the bell")
        [row] = await bench.come(1)
    part = bench.library.resolve(row["location"])
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"ring")
    assert await bench.content(row) == b"ring the bell"


async def test_a_retained_message_is_taken_once_however_often_the_host_starts(bench):
    await bench.publish("cam/last", "the last picture", retain=True)
    for _ in range(3):
        async with bench.source() as source:
            await bench.come(1)
            await until(lambda: source.taken)
    assert [row["revision"] for row in await bench.arrivals()] == ["retained"]
    await bench.publish("cam/last", b"", retain=True)


async def test_retained_messages_can_be_ignored(bench):
    await bench.publish("cam/last", "old", retain=True)
    async with bench.source(retained="ignore"):
        await bench.publish("cam/last", "new", retain=True)
        [row] = await bench.come(1)
    assert row["size"] == len("new")
    await bench.publish("cam/last", b"", retain=True)


async def test_what_hosts_say_is_not_taken_in_or_it_would_never_end(bench):
    settings = bench.settings()
    own = {"base_topic": bench.base, "discovery_prefix": f"{bench.base}/ha"}
    everything = {"broker": settings.broker, "subscribe": [{"topic": f"{bench.base}/#"}], **own}
    settings = Mqtt.model_validate(everything, context={"base": bench.root})
    bench.settings = lambda **_: settings
    async with bench.source() as source:
        for topic in ("results/cam/clip", "errors/cam", "hosts/me/state", "ha/device/me/config", "response/clip"):
            await bench.publish(topic, "said by a host")
        await bench.publish("in/cam", "said by a camera")
        await until(lambda: source.taken == 6)
    assert [row["origin"] for row in await bench.arrivals()] == [f"{bench.base}/in/cam"]


async def test_hosts_of_one_group_divide_the_messages(bench):
    group = "$share/attic/"
    async with bench.source(group=group), Connection(bench.settings(), "another-host") as another:
        await another.listen(f"{group}{bench.base}/+/#")
        for number in range(20):
            await bench.publish("door/bell", f"ring {number}")
        elsewhere = await another.arrived()
        for message in elsewhere:
            message.acknowledge()
        await bench.come(20 - len(elsewhere) - another.waiting)
        assert 0 < len(await bench.arrivals()) < 20


async def test_an_envelope_is_opened(bench):
    envelope = {"media": base64.b64encode(PNG).decode(), "type": "image/png", "meta": {"angle": 12}}
    async with bench.source(envelope=True):
        await bench.publish("cam/1", json.dumps(envelope))
        [row] = await bench.come(1)
    assert (row["media_type"], row["size"]) == ("image/png", len(PNG))
    assert json.loads(row["metadata"])["meta"] == {"angle": 12}


BAD_ENVELOPES = {
    "not JSON": (b"{", "no JSON"),
    "nested too deep": (b"[" * 100_000, "nested too deep"),
    "no object": (b"[1]", "a JSON object"),
    "without media": (b'{"meta": {}}', "a JSON object with `media`"),
    "not base64": (b'{"media": "*"}', "not base64"),
    "no text": (b'{"media": 1}', "not a text"),
    "empty": (b'{"media": ""}', "empty"),
    "of no type": (b'{"media": "AAAA", "type": "nonsense"}', "not a media type"),
    "of an unknown type": (b'{"media": "AAAA", "type": "x/unheard-of"}', "no known media type"),
    "unknown content": (base64.b64encode(bytes(64)).join((b'{"media": "', b'"}')), "no known type"),
    "with odd meta": (b'{"media": "AAAA", "meta": 1}', "`meta`"),
    "with other keys": (b'{"media": "AAAA", "device": 1}', "unknown keys: device"),
}


async def test_each_bad_envelope_is_refused_with_its_reason_and_holds_up_nobody(bench):
    async with bench.source(envelope=True) as source:
        for name, (payload, _) in BAD_ENVELOPES.items():
            await bench.publish(f"cam/{name}", payload)
        await bench.publish("cam/good", json.dumps({"media": base64.b64encode(b"hello").decode()}))
        await bench.come(len(BAD_ENVELOPES) + 1)
        await until(lambda: source.taken == len(BAD_ENVELOPES) + 1)
    refused = [row for row in await bench.arrivals() if row["state"] == "refused"]
    said = {row["origin"].rsplit("/", 1)[1]: row["reason"] for row in refused}
    assert said.keys() == BAD_ENVELOPES.keys()
    for name, (_, words) in BAD_ENVELOPES.items():
        assert words in said[name], name
    assert len(bench.refused) == len(BAD_ENVELOPES)


async def test_empty_oversize_unknown_and_expired_messages_are_refused_with_a_reason(bench):
    async with bench.source(max_size_mb=1):
        await bench.publish("cam/empty", b"")
        await bench.publish("cam/large", bytes(2**20 + 1))
        await bench.publish("cam/unknown", bytes(100))
        rows = await bench.come(3)
    said = {row["origin"].rsplit("/", 1)[1]: row["reason"] for row in rows}
    assert "It is empty" in said["empty"]
    assert f"It has {2**20 + 1} bytes" in said["large"]
    assert "no known type" in said["unknown"]


@pytest.mark.parametrize(("age", "verdict"), [(59, Taken), (61, Refused)])
async def test_a_message_that_expired_while_it_waited_is_not_worked_on(bench, age, verdict):
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = 60
    subscription = bench.settings().subscribe[0]
    connection = Connection(bench.settings(), "nobody")
    message = Message("door/bell", b"ring", 1, False, False, 7, time.time() - age, properties, connection)
    arrival = MessageArrival(message, subscription, {}, 1000, "7.1", "door/bell")
    assert isinstance(arrival.take(bench.library, identify, lambda step: None), verdict)


ODD_TOPICS = ["../../../etc/passwd", "/", "a//b", "~", "..", r"back\slash", "x" * 60_000, "snow/☃", "$(id)", "a/.."]


async def test_odd_topics_are_data_and_nothing_is_written_outside(bench):
    async with bench.source(topic="#"):
        async with bench.device() as device:
            for topic in ODD_TOPICS:
                await device.send(f"{bench.base}/{topic}", f"from {topic}")
        rows = await bench.come(len(ODD_TOPICS))
    assert {row["state"] for row in rows} == {"accepted"}
    assert len({row["origin"] for row in rows}) == len(ODD_TOPICS)
    for row in rows:
        assert await bench.content(row) == f"from {row['origin'][len(bench.base) + 1 :]}".encode()
    kept = {bench.library.resolve(row["location"]) for row in rows}
    assert all(path.resolve().is_relative_to(bench.library.root.resolve()) for path in kept)
    assert {path for path in bench.root.rglob("*") if path.is_file() and "library" in path.parts} == kept


async def test_a_flood_of_retained_messages_is_taken_in_without_loss(bench):
    async with bench.device() as device:
        await asyncio.gather(*(device.send(f"{bench.base}/cam/{n}", f"picture {n}", retain=True) for n in range(1500)))
    async with bench.source():
        rows = await bench.come(1500)
    assert len({row["origin"] for row in rows}) == 1500
    async with bench.device() as device:
        await asyncio.gather(*(device.send(f"{bench.base}/cam/{n}", b"", retain=True) for n in range(1500)))


async def test_a_broker_that_restarts_is_found_again_and_nothing_is_lost(bench, tmp_path):
    broker = Mosquitto(tmp_path / "another-broker")
    broker.start()
    bench.broker = broker
    try:
        async with bench.source() as source:
            await bench.publish("door/bell", "before")
            await bench.come(1)
            broker.stop()
            await until(lambda: source.alarm)
            assert f"127.0.0.1:{broker.port}" in source.alarm
            broker.start()
            await until(lambda: not source.alarm)
            await bench.publish("door/bell", "after")
            await bench.come(2)
    finally:
        broker.stop()


def test_a_host_is_known_by_its_machine_and_folder(tmp_path):
    assert client_id_of(tmp_path) == client_id_of(tmp_path)
    assert client_id_of(tmp_path) != client_id_of(tmp_path / "another")


def test_groups_are_bounded_in_number_and_size():
    class Sized:
        def __init__(self, size: int) -> None:
            self.payload = range(size)

    small = [Sized(1)] * 2500
    assert [len(group) for group in groups(small)] == [500] * 5
    large = [Sized(GROUP_BYTES // 2 + 1)] * 3
    assert [len(group) for group in groups(large)] == [1, 1, 1]
    assert list(groups([])) == []
