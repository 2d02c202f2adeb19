"""Home Assistant's device discovery, against its documented schema."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from host.mqtt.discovery import birth_topic, device_id, discovery_message, discovery_topic
from host.mqtt.messages import HostState, Topics
from host.views import InboxView
from tests.host.mqtt.home_assistant import DISCOVERY_TOPIC, Button, Discovery, fields_read

NAMES = ["attic", "my host", "a/b+c#", "Küche", "\x00", "x" * 300]


def message(host: str = "attic", inboxes: tuple[str, ...] = ("inbox", "scans/2026"), *, control: bool = True) -> dict:
    return discovery_message(Topics("sensorium", host), "0.1.0", inboxes, control=control)


@pytest.mark.parametrize("host", NAMES)
@pytest.mark.parametrize("control", [True, False])
def test_the_message_is_what_home_assistant_documents(host, control):
    Discovery.model_validate_json(json.dumps(message(host, control=control)))


@pytest.mark.parametrize("host", NAMES)
def test_the_topic_is_one_that_home_assistant_looks_at(host):
    assert DISCOVERY_TOPIC.fullmatch(discovery_topic("homeassistant", host))


def test_two_hosts_whose_names_look_alike_are_two_devices():
    assert len({device_id(name) for name in ("a b", "a_b", "a/b")}) == 3


@pytest.mark.parametrize("lost", ["device", "origin", "components"])
def test_the_schema_of_the_test_refuses_a_message_without_what_is_required(lost):
    body = {key: value for key, value in message().items() if key != lost}
    with pytest.raises(ValidationError, match=lost):
        Discovery.model_validate_json(json.dumps(body))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [("unique_id", "", "unique_id"), ("options", [], "empty list"), ("unit", "MB", "unit"), ("platform", "x", "tag")],
)
def test_the_schema_of_the_test_refuses_an_entity_that_home_assistant_would(key, value, complaint):
    body = message()
    body["components"]["activity"][key] = value
    with pytest.raises(ValidationError, match=complaint):
        Discovery.model_validate_json(json.dumps(body))


def test_every_template_reads_what_the_states_have():
    known = {"state": set(HostState.model_fields), "inboxes": set(InboxView.model_fields)}
    for body in message()["components"].values():
        if body["platform"] == "sensor":
            topic = body["state_topic"].removeprefix("sensorium/hosts/attic/").split("/")[0]
            assert fields_read(body)
            assert fields_read(body) <= known[topic]


def test_every_inbox_has_a_sensor_of_its_own():
    topics = {body.get("state_topic") for body in message()["components"].values()}
    assert {Topics("sensorium", "attic").of_host("inboxes", name) for name in ("inbox", "scans/2026")} <= topics


def test_two_inboxes_whose_names_look_alike_have_two_sensors():
    assert len(message(inboxes=("a b", "a_b"))["components"]) == len(message(inboxes=("a b",))["components"]) + 1


def test_buttons_are_there_only_when_orders_are_obeyed():
    assert not [body for body in message(control=False)["components"].values() if body["platform"] == "button"]
    found = Discovery.model_validate(message()).components
    pressed = {body.command_topic for body in found.values() if isinstance(body, Button)}
    assert pressed == {f"sensorium/control/attic/{action}" for action in ("pause", "resume", "unload")}


def test_availability_is_the_topic_of_the_will():
    assert message()["availability"] == [{"topic": Topics("sensorium", "attic").availability}]


def test_the_birth_of_home_assistant_is_heard_under_its_prefix():
    assert birth_topic("ha") == "ha/status"
