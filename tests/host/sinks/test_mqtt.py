"""What the host says to a broker, and what it obeys, on connections that live in memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import aiomqtt
import pytest

from host.errors import NotFound, UsageError, WorkFailed
from host.findings import Finding
from host.mqtt.messages import Topics
from host.sinks.mqtt import Announcement, MqttSink
from host.sinks.outbox import Outbox
from tests.fakes import FakeService
from tests.host.sinks.fake_connection import FakeConnection
from tests.until import until

AVAILABILITY = "sensorium/hosts/attic/availability"


class Plugins:
    """Answers requests: what it is asked, it says back; `gate` holds it up."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def answer(self, plugin: str, content: bytes, meta: Mapping[str, object]) -> Sequence[Finding]:
        self.asked.append((plugin, content))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [Finding("echo", 1, {"size": len(content)}, content)]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture
def make_sink(outbox, journal, service, plugins):
    def make(**options) -> MqttSink:
        return MqttSink(
            options.pop("outbox", outbox), journal, service, plugins.answer, options.pop("progress", dict),
            lambda source, origin: source, **{"state_every": 0.01, **options},
        )  # fmt: skip

    return make


@contextlib.asynccontextmanager
async def connected(sink: MqttSink, connection: FakeConnection | None = None) -> AsyncIterator[FakeConnection]:
    """A sink at work on a connection that greeted; it is ended as a host ends it."""
    connection = connection or FakeConnection()
    task = asyncio.create_task(sink.use(connection))
    await until(lambda: task.done() or (connection.on("availability") and sink.link.state == "connected"))
    if task.done():
        task.result()
    yield connection
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def answers(connection: FakeConnection) -> list[dict]:
    return [sent.body for sent in connection.on("response")]


# -- how it stands -----------------------------------------------------------------------------------------------------


async def test_online_is_said_after_the_states_and_everything_of_the_host_is_retained(make_sink):
    async with connected(make_sink()) as connection:
        topics = [sent.topic for sent in connection.sent]
        before = set(topics[: topics.index(AVAILABILITY)])
        places = ("state", "inboxes/inbox", "queues/clip", "devices/cpu")
        assert before == {f"sensorium/hosts/attic/{place}" for place in places}
        assert all(sent.retain and sent.qos == 1 for sent in connection.on("hosts"))


async def test_offline_is_the_will_and_the_last_word(make_sink):
    sink = make_sink()
    async with connected(sink) as connection:
        pass
    assert (sink.will.topic, sink.will.payload, sink.will.retain) == (AVAILABILITY, "offline", True)
    assert (connection.sent[-1].topic, connection.sent[-1].payload) == (AVAILABILITY, b"offline")


async def test_a_state_is_said_again_only_when_it_changes(make_sink, service):
    rounds: list[None] = []

    def progress() -> dict:
        rounds.append(None)
        return {}

    async with connected(make_sink(progress=progress)) as connection:
        await until(lambda: rounds)
        before = len(connection.on("inboxes"))
        service.alarm = "The folder is gone."
        await until(lambda: len(rounds) > 5)
        assert len(connection.on("inboxes")) == before + 1
        assert connection.on("inboxes")[-1].body["alarm"] == "The folder is gone."


async def test_a_state_that_the_broker_refuses_does_not_hold_up_results(make_sink, work):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1")
    connection = FakeConnection(forbidden=("sensorium/request/+",))
    async with connected(make_sink(), connection):
        await until(lambda: connection.on("results"))


async def test_the_time_of_the_last_result_is_told_with_its_zone(make_sink, work):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1")
    async with connected(make_sink()) as connection:
        assert connection.on("state")[0].body["last_result"].endswith("+00:00")


async def test_progress_is_told_by_the_name_of_who_sent_the_content(make_sink, work):
    await work.arrives("e1", "cat.png")
    async with connected(make_sink(progress=lambda: {("clip", "e1"): 0.25})) as connection:
        await until(lambda: connection.on("progress"))
        said = connection.on("progress")[0]
        assert (said.topic, said.qos, said.retain) == ("sensorium/progress/inbox/clip", 0, False)
        assert said.body["fraction"] == 0.25


# -- what is owed ------------------------------------------------------------------------------------------------------


async def test_what_was_finished_while_the_broker_was_away_is_sent_in_order_and_then_owed_no_more(
    make_sink, work, outbox
):
    for number in range(60):
        await work.arrives(f"e{number}", f"{number}.png")
        await work.finishes(f"e{number}", text=str(number))
    sink = make_sink()
    async with connected(sink) as connection:
        await sink.idle.wait()
        told = [sent.body["results"][0]["data"]["text"] for sent in connection.on("results")]
        assert told == [str(number) for number in range(60)]
        assert all(sent.qos == 1 and not sent.retain for sent in connection.on("results"))
        assert await outbox.count() == 0


async def test_what_is_finished_while_connected_is_sent_when_the_sink_is_woken(make_sink, work):
    sink = make_sink(state_every=60.0)
    async with connected(sink) as connection:
        await sink.idle.wait()
        await work.arrives("e1", "cat.png")
        await work.finishes("e1")
        sink.wake()
        await until(lambda: connection.on("results"))


async def test_nothing_is_settled_before_the_broker_has_acknowledged_it(make_sink, work, outbox):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1")
    sink, connection = make_sink(), FakeConnection()
    connection.acknowledging.clear()
    async with connected(sink, connection):
        await until(lambda: connection.on("results"))
        assert await outbox.count() == 1
        connection.acknowledging.set()
        await sink.idle.wait()
        assert await outbox.count() == 0


async def test_a_broker_that_goes_away_in_the_middle_gets_the_rest_and_what_it_did_not_acknowledge(
    make_sink, work, outbox
):
    for number in range(50):
        await work.arrives(f"e{number}", f"{number}.png")
        await work.finishes(f"e{number}", text=str(number))
    sink, first, second = make_sink(), FakeConnection(), FakeConnection()
    first.break_after = 30
    with pytest.raises(aiomqtt.MqttError):
        await sink.use(first)
    assert 0 < await outbox.count() < 50
    async with connected(sink, second):
        await sink.idle.wait()
    ids = [sent.body["id"] for connection in (first, second) for sent in connection.on("results")]
    assert sorted(set(ids)) == list(dict.fromkeys(ids))
    assert len(set(ids)) == 50
    assert len(ids) - 50 <= 20


async def test_a_result_too_large_for_the_broker_is_told_as_an_error_and_holds_up_nobody(make_sink, work, outbox):
    await work.arrives("e1", "large.png")
    await work.finishes("e1", text="x" * 5000)
    await work.arrives("e2", "small.png")
    await work.finishes("e2")
    sink = make_sink()
    async with connected(sink, FakeConnection(largest=4000)) as connection:
        await sink.idle.wait()
        assert [sent.body["origin"] for sent in connection.on("errors")] == ["large.png"]
        assert connection.on("errors")[0].body["code"] == "unpublishable"
        assert [sent.body["event"]["origin"] for sent in connection.on("results")] == ["small.png"]
        assert await outbox.count() == 0


async def test_a_topic_that_the_broker_refuses_costs_one_connection_and_holds_up_nothing_else(make_sink, work, outbox):
    await work.arrives("e1", "secret.png")
    await work.finishes("e1")
    await work.arrives("e2", "cat.png", plugins=("metadata",))
    await work.finishes("e2", "metadata")
    sink, first = make_sink(), FakeConnection()
    first.refused = second_refuses = {"sensorium/results/inbox/clip"}
    with pytest.raises(aiomqtt.MqttError):
        await sink.use(first)
    second = FakeConnection()
    second.refused = second_refuses
    async with connected(sink, second):
        await sink.idle.wait()
        assert [sent.body["event"]["origin"] for sent in second.on("results")] == ["cat.png"]
        assert [sent.body["origin"] for sent in second.on("errors")] == ["secret.png"]
        assert await outbox.count() == 0
    assert "Not authorized. Allow it. It was for sensorium/results/inbox/clip." in sink.trouble


async def test_with_mqtt_5_every_message_says_its_media_type(make_sink, work):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1", file=b"\xff\xd8\xff")
    sink = make_sink()
    async with connected(sink) as connection:
        await sink.idle.wait()
    assert [sent.properties.ContentType for sent in connection.on("artifacts")] == ["image/jpeg"]
    assert [sent.properties.ContentType for sent in connection.on("results")] == ["application/json"]


# -- requests ----------------------------------------------------------------------------------------------------------


async def test_a_request_with_mqtt_5_is_answered_where_it_says_with_its_correlation(make_sink, plugins):
    async with connected(make_sink()) as connection:
        message = connection.deliver(
            "sensorium/request/clip", b"picture", ResponseTopic="devices/bell/answer", CorrelationData=b"\0\1"
        )
        await until(lambda: connection.acknowledged)
        [answer] = connection.on("answer")
        assert answer.properties.CorrelationData == b"\0\1"
        assert answer.body["results"][0]["data"] == {"size": 7}
        assert base64.b64decode(answer.body["results"][0]["blob"]) == b"picture"
        assert plugins.asked == [("clip", b"picture")]
        assert connection.acknowledged == [message]


async def test_a_request_with_mqtt_3_is_answered_with_its_transaction(make_sink, plugins):
    async with connected(make_sink(), FakeConnection(modern=False)) as connection:
        connection.deliver("sensorium/request/clip", b'{"transaction": "t-7", "text": "hello"}')
        await until(lambda: connection.acknowledged)
        [answer] = connection.on("response")
        assert answer.topic == "sensorium/response/clip"
        assert (answer.body["transaction"], answer.properties) == ("t-7", None)
        assert plugins.asked == [("clip", b"hello")]


async def test_a_request_is_acknowledged_only_after_its_answer(make_sink, plugins):
    plugins.gate.clear()
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b"x")
        await until(lambda: plugins.asked)
        assert connection.acknowledged == []
        plugins.gate.set()
        await until(lambda: connection.acknowledged)
        assert len(answers(connection)) == 1


async def test_an_expired_request_is_not_worked_on(make_sink, plugins):
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b"x", MessageExpiryInterval=0)
        await until(lambda: connection.acknowledged)
        assert plugins.asked == []
        assert answers(connection)[0]["error"]["code"] == "expired"


async def test_a_request_that_expires_while_it_waits_is_given_up(make_sink, plugins):
    plugins.gate.clear()
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b'{"transaction": 1, "text": "x", "timeout": 0.05}')
        await until(lambda: connection.acknowledged)
        assert answers(connection)[0]["error"]["code"] == "expired"
        assert answers(connection)[0]["transaction"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("No plugin is called that.", "Look."), "not_found"),
        (UsageError("It is no picture.", "Send one."), "bad_request"),
        (WorkFailed("The picture is cut off.", "Send it again."), "failed"),
    ],
)
async def test_what_goes_wrong_is_answered_with_the_reason_and_what_to_do(make_sink, plugins, error, code):
    plugins.error = error
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b"x")
        await until(lambda: connection.acknowledged)
        said = answers(connection)[0]
        assert said["error"] == {"code": code, "message": error.message, "hint": error.hint}
        assert said["results"] == []


async def test_a_malformed_request_is_answered_with_the_reason_and_asks_nobody(make_sink, plugins):
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b'{"transaction": 9, "media": "%%%"}')
        await until(lambda: connection.acknowledged)
        assert "base64" in answers(connection)[0]["error"]["message"]
        assert answers(connection)[0]["transaction"] == 9
        assert plugins.asked == []


@pytest.mark.parametrize("topic", ["sensorium/control/attic/pause", "sensorium/results/x/clip", AVAILABILITY, "$SYS/x"])
async def test_an_answer_never_goes_where_it_would_mean_something_else(make_sink, topic):
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b"x", ResponseTopic=topic)
        await until(lambda: connection.acknowledged)
        assert [sent.payload for sent in connection.sent if sent.topic == topic] in ([], [b"online"])


async def test_a_retained_request_is_ignored(make_sink, plugins):
    async with connected(make_sink()) as connection:
        connection.deliver("sensorium/request/clip", b"x", retain=True)
        await until(lambda: connection.acknowledged)
        assert plugins.asked == []


async def test_requests_that_a_lost_connection_cut_off_are_not_acknowledged(make_sink, plugins):
    plugins.gate.clear()
    connection = FakeConnection()
    task = asyncio.create_task(make_sink().use(connection))
    await until(lambda: connection.on("availability"))
    connection.deliver("sensorium/request/clip", b"x")
    await until(lambda: plugins.asked)
    connection.lose()
    with pytest.raises(aiomqtt.MqttError):
        await task
    assert connection.acknowledged == []


# -- orders ------------------------------------------------------------------------------------------------------------


async def test_orders_are_obeyed_when_the_configuration_says_so(make_sink, service):
    event = service.add("broken.png", error="It is cut off.")
    async with connected(make_sink(control=True)) as connection:
        connection.deliver("sensorium/control/attic/pause", b"PRESS")
        connection.deliver("sensorium/control/attic/unload", b'{"model": "clip"}')
        connection.deliver("sensorium/control/attic/requeue", json.dumps({"event": event}).encode())
        await until(lambda: len(connection.acknowledged) == 3 and service.unloaded)
        await until(lambda: service.events[event].pending)
        assert (service.paused, service.unloaded) == (True, ["clip"])
        connection.deliver("sensorium/control/attic/resume")
        await until(lambda: not service.paused)


async def test_what_an_order_changed_is_told_at_once(make_sink):
    async with connected(make_sink(control=True, state_every=3600.0)) as connection:
        connection.deliver("sensorium/control/attic/pause")
        await until(lambda: connection.on("state")[-1].body["paused"])


async def test_orders_are_neither_heard_nor_obeyed_otherwise(make_sink, service):
    async with connected(make_sink()) as connection:
        assert not [topic for topic in connection.heard if "control" in topic]
        connection.deliver("sensorium/control/attic/pause")  # of a session that once heard it
        connection.deliver("sensorium/request/clip", b"x")
        await until(lambda: len(connection.acknowledged) == 2)
        assert not service.paused


@pytest.mark.parametrize(
    ("action", "payload"),
    [("unload", b'{"model": "nobody"}'), ("requeue", b'{"event": 5}'), ("selfdestruct", b""), ("pause", b"[1]")],
)
async def test_an_order_that_cannot_be_obeyed_changes_nothing(make_sink, service, action, payload):
    async with connected(make_sink(control=True)) as connection:
        connection.deliver(f"sensorium/control/attic/{action}", payload)
        connection.deliver("sensorium/request/clip", b"x")
        await until(lambda: len(connection.acknowledged) == 2)
        assert (service.paused, service.unloaded) == (False, [])


async def test_a_retained_order_is_nobodys_any_more(make_sink, service):
    async with connected(make_sink(control=True)) as connection:
        connection.deliver("sensorium/control/attic/pause", retain=True)
        await until(lambda: connection.acknowledged)
        assert not service.paused


# -- Home Assistant ----------------------------------------------------------------------------------------------------


async def test_the_host_is_described_when_it_connects_and_at_each_birth_of_home_assistant(make_sink):
    async with connected(make_sink(announcement=Announcement("homeassistant", "0.1.0"))) as connection:
        await until(lambda: connection.on("homeassistant"))
        connection.deliver("homeassistant/status", b"offline")
        connection.deliver("homeassistant/status", b"online")
        await until(lambda: len(connection.on("homeassistant")) == 2)
        first, second = connection.on("homeassistant")
        assert first.topic == "homeassistant/device/sensorium_attic/config"
        assert first.retain
        assert first.payload == second.payload


async def test_without_discovery_home_assistant_is_told_nothing(make_sink):
    async with connected(make_sink()) as connection:
        assert connection.on("homeassistant") == []
        assert "homeassistant/status" not in connection.heard


async def test_an_error_of_our_own_is_not_taken_for_a_lost_connection(make_sink, service):
    async def broken() -> None:
        raise ZeroDivisionError

    sink, connection = make_sink(), FakeConnection()
    task = asyncio.create_task(sink.use(connection))
    await until(lambda: connection.on("availability"))
    service.status = broken
    with pytest.raises(ZeroDivisionError):
        await task


async def test_the_clock_of_expiry_starts_when_the_message_came(make_sink, plugins):
    async with connected(make_sink()) as connection:
        message = connection.deliver("sensorium/request/clip", b"x", MessageExpiryInterval=60)
        assert message.expires == pytest.approx(time.time() + 60, abs=5)
        await until(lambda: connection.acknowledged)
        assert plugins.asked


# -- what is true no more ----------------------------------------------------------------------------------------------


def kept(connection: FakeConnection) -> dict[str, bytes]:
    """What a broker keeps of what was said, by topic."""
    latest = {sent.topic: sent.payload for sent in connection.sent if sent.retain}
    return {topic: payload for topic, payload in latest.items() if payload}


ANNOUNCED = Announcement("homeassistant", "0.1.0")


async def test_states_of_what_is_gone_are_cleared_and_home_assistant_is_told_once(make_sink, service):
    service.more_inboxes = ["attic"]
    async with connected(make_sink(announcement=ANNOUNCED)) as before:
        await until(lambda: before.on("config"))
    assert {"sensorium/hosts/attic/inboxes/attic", "sensorium/hosts/attic/inboxes/inbox"} <= kept(before).keys()
    service.more_inboxes = []
    async with connected(make_sink(announcement=ANNOUNCED)) as after:
        await until(lambda: after.sent[-1].payload == b"")
    cleared = [sent.topic for sent in after.sent if sent.retain and not sent.payload]
    assert cleared == ["sensorium/hosts/attic/inboxes/attic"]
    first, last = (sent.body["components"] for sent in after.on("config"))
    assert first["inbox_attic"] == {"platform": "sensor"}
    assert last.keys() == first.keys() - {"inbox_attic"}
    async with connected(make_sink(announcement=ANNOUNCED)) as later:
        await until(lambda: later.on("config"))
    assert len(later.on("config")) == 1
    assert all(sent.payload for sent in later.sent)


async def test_after_a_rename_nothing_stands_under_the_old_name(make_sink, journal, library):
    async with connected(make_sink(announcement=ANNOUNCED)) as before:
        await until(lambda: before.on("config"))
    renamed = Outbox(journal, library, Topics("home", "cellar"), lambda source, origin: source)
    async with connected(make_sink(outbox=renamed, announcement=ANNOUNCED)) as after:
        await until(lambda: not kept(before).keys() - {sent.topic for sent in after.sent})
    assert {sent.topic for sent in after.sent if not sent.payload} == kept(before).keys()
    assert kept(after)["home/hosts/cellar/availability"] == b"offline"
    assert "homeassistant/device/sensorium_cellar/config" in kept(after)


async def test_switching_discovery_off_takes_the_device_out(make_sink):
    async with connected(make_sink(announcement=ANNOUNCED)) as before:
        await until(lambda: before.on("config"))
    async with connected(make_sink()) as after:
        await until(lambda: after.on("config"))
    assert [sent.payload for sent in after.on("config")] == [b""]


async def test_a_plugin_that_is_gone_has_no_state_unless_its_jobs_wait(make_sink, service):
    service.plugin = "forgotten"
    async with connected(make_sink()) as connection:
        assert connection.on("queues") == []
    service.add("waiting.png", caption=None)
    async with connected(make_sink()) as connection:
        assert [sent.topic for sent in connection.on("queues")] == ["sensorium/hosts/attic/queues/forgotten"]
