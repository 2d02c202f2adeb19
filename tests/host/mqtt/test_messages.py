"""Topics and payloads: what may stand where, and what is understood."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import UsageError
from host.mqtt.messages import (
    Answer,
    Asked,
    Order,
    ResponseMessage,
    Topics,
    event_part,
    host_state,
    is_publishable,
    level,
    read_order,
    read_request,
    result_part,
    to_json,
    transaction_of,
)
from host.views import ResultView
from tests.fakes import FakeService

TOPICS = Topics("sensorium", "attic")


@given(st.text(st.characters(exclude_categories=())))  # half surrogate pairs too: names of files have them
def test_any_name_becomes_exactly_one_level(name):
    topic = TOPICS.results(name, name)
    assert is_publishable(topic)
    assert topic.count("/") == 3
    assert all(topic.split("/"))


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_that_had_to_be_changed_do_not_meet(one, other):
    assert one == other or level(one) != level(other) or not (one and other)


@pytest.mark.parametrize("name", ["cat", "Küche", "living room", "a.b-c_d", "café"])
def test_a_name_that_fits_stays_as_it_is(name):
    assert level(name) == name


@pytest.mark.parametrize("topic", ["", "/", "a/+/b", "a/#", "a\0b", "a\nb", "x" * 70_000])
def test_what_cannot_be_published_on_is_known(topic):
    assert not is_publishable(topic)


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("devices/esp32/answer", True),
        ("sensorium/response/clip", True),
        ("sensorium/control/attic/pause", False),
        ("sensorium/results/esp32/clip", False),
        ("sensorium/hosts/attic/availability", False),
        ("sensorium/response/../+", False),
        ("$SYS/broker", False),
        ("$share/g/t", False),
        ("a/#", False),
    ],
)
def test_a_requester_cannot_have_its_answer_where_it_would_mean_something_else(topic, allowed):
    assert TOPICS.may_answer_on(topic) is allowed


def test_the_topics_of_the_design_are_these():
    assert TOPICS.results("esp32", "clip") == "sensorium/results/esp32/clip"
    assert TOPICS.artifacts("esp32", "metadata") == "sensorium/artifacts/esp32/metadata"
    assert TOPICS.errors("esp32") == "sensorium/errors/esp32"
    assert TOPICS.errors("esp32", "clip") == "sensorium/errors/esp32/clip"
    assert TOPICS.availability == "sensorium/hosts/attic/availability"
    assert TOPICS.request("+") == "sensorium/request/+"
    assert TOPICS.response("clip") == "sensorium/response/clip"


# -- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"\x89PNG...", b"hello", b'{"reading": 3}', b"{broken", b"[1]", b"{" * 100_000])
def test_what_has_no_transaction_is_the_content_itself(payload):
    assert read_request(payload) == Asked(payload)


def test_an_envelope_with_text_is_unpacked():
    payload = json.dumps({"transaction": 7, "text": "grüße", "timeout": 2}).encode()
    assert read_request(payload) == Asked("grüße".encode(), 7, 2.0)


def test_an_envelope_with_media_is_unpacked():
    payload = json.dumps({"transaction": "n1", "media": base64.b64encode(b"\0\1\2").decode()}).encode()
    assert read_request(payload) == Asked(b"\0\1\2", "n1")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"transaction": 1}, "either"),
        ({"transaction": 1, "text": "a", "media": "YQ=="}, "either"),
        ({"transaction": 1, "media": "%%%"}, "not base64"),
        ({"transaction": 1, "media": "é"}, "not base64"),
        ({"transaction": 1, "text": ""}, "empty"),
        ({"transaction": 1, "text": 5}, "text"),
        ({"transaction": 1, "text": "a", "timeout": -1}, "timeout"),
        ({"transaction": 1, "text": "a", "topic": "x"}, "topic"),
    ],
)
def test_an_envelope_that_is_wrong_is_refused_with_the_reason_and_keeps_its_transaction(body, complaint):
    payload = json.dumps(body).encode()
    with pytest.raises(UsageError, match=complaint):
        read_request(payload)
    assert transaction_of(payload) == 1


def test_an_empty_request_is_refused():
    with pytest.raises(UsageError, match="empty"):
        read_request(b"")


# -- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"PRESS", b"1", b"\xff"])
def test_a_press_of_a_button_is_an_order_without_more(payload):
    assert read_order(payload) == Order()


def test_an_order_may_name_what_it_is_about():
    assert read_order(b'{"model": " clip "}') == Order(model="clip")


@pytest.mark.parametrize("payload", [b'{"modell": "clip"}', b'{"model": 5}', b'{"model": ', b"[1]"])
def test_an_order_that_is_not_understood_is_refused(payload):
    with pytest.raises(UsageError):
        read_order(payload)


# -- what is published -----------------------------------------------------------------------------------------------


async def test_an_event_is_told_as_its_arrival_brought_it_and_without_the_hosts_paths():
    service = FakeService()
    facts = (await service.results(service.add("garden/cat.png")))[0].event
    part = event_part(facts, "mqtt", "cameras/esp32/porch.png")
    assert (part.source, part.origin, part.name) == ("mqtt", "cameras/esp32/porch.png", "porch.png")
    assert facts.path not in part.model_dump_json()


def test_a_result_names_the_topic_of_its_file_and_not_the_file():
    view = ResultView(plugin="p", type="t", version=1, data={}, artifact="/data/library/x.jpg", provenance={})
    part = result_part(view, "sensorium/artifacts/d/p", "00")
    assert (part.artifact, part.sha256) == ("sensorium/artifacts/d/p", "00")
    assert "/data" not in part.model_dump_json()


async def test_the_hosts_state_is_its_status_in_short():
    service = FakeService()
    service.add("waiting.png", caption=None)
    service.add("broken.png", error="cut off")
    state = host_state(await service.status(), None)
    assert (state.backlog, state.failed, state.resident, state.memory_mb) == (1, 1, ["clip"], 612)


@pytest.mark.parametrize("transaction", [[[]], {"a": 1}, 1.5, "x" * 300, True])
def test_a_transaction_is_a_text_or_a_number(transaction):
    payload = json.dumps({"transaction": transaction, "text": "a"}).encode()
    with pytest.raises(UsageError, match="transaction"):
        read_request(payload)
    assert transaction_of(payload) is None


def test_half_a_surrogate_pair_is_no_text_and_no_transaction():
    payload = b'{"transaction": "\\ud800", "text": "\\ud800"}'
    with pytest.raises(UsageError):
        read_request(payload)
    assert transaction_of(payload) is None


def test_half_a_surrogate_pair_in_a_finding_is_told_as_an_escape():
    answer = ResponseMessage(plugin="p", results=[Answer(type="t", version=1, data={"text": "\ud800"})])
    assert json.loads(to_json(answer))["results"][0]["data"] == {"text": "\ud800"}
