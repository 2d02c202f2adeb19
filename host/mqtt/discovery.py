"""Home Assistant sees the host as one device, without any configuration there.

One retained message at `PREFIX/device/ID/config` describes the device and all its entities ("device discovery",
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload). The entities read the retained states
that `host.mqtt.messages` describes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from host.mqtt.messages import Topics

JsonObject = dict[str, Any]


def device_id(host: str) -> str:
    """The host as Home Assistant knows it."""
    return f"sensorium_{_plain(host)}"


def _plain(name: str) -> str:
    """A name as Home Assistant takes ids: letters, digits, `_` and `-`; changed ones are told apart by a hash."""
    fit = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:48]
    return fit if fit == name else f"{fit}_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def discovery_topic(prefix: str, host: str) -> str:
    """Where the description goes; an empty message there takes the device out of Home Assistant."""
    return f"{prefix}/device/{device_id(host)}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says `online` when it has started."""
    return f"{prefix}/status"


def discovery_message(topics: Topics, version: str, inboxes: Iterable[str], *, control: bool) -> JsonObject:
    """The description of the host; the buttons are there only when orders are obeyed."""
    me = device_id(topics.host)
    components = {**_sensors(topics), **_inbox_sensors(topics, inboxes), **(_buttons(topics) if control else {})}
    return {
        "device": {"identifiers": [me], "name": f"Sensorium {topics.host}", "manufacturer": "Sensorium",
                   "model": "Plugin host", "sw_version": version},
        "origin": {"name": "sensorium", "sw_version": version},
        "availability": [{"topic": topics.availability}],
        "qos": 1,
        "components": {key: {"unique_id": f"{me}_{key}", **body} for key, body in components.items()},
    }  # fmt: skip


def components_of(message: JsonObject) -> dict[str, str]:
    """The components of a description, each with its platform."""
    return {key: body["platform"] for key, body in message["components"].items()}


def with_removals(message: JsonObject, gone: Mapping[str, str]) -> JsonObject:
    """A description that takes components out of Home Assistant, to be published once before the one without them.

    One that is only left out would stay there; one with nothing but its platform is removed.
    """
    removals = {key: {"platform": platform} for key, platform in gone.items()}
    return {**message, "components": {**message["components"], **removals}}


def _sensors(topics: Topics) -> dict[str, JsonObject]:
    """What the host's state tells."""
    state = topics.of_host("state")
    measured = {"state_class": "measurement", "entity_category": "diagnostic"}
    sensors: dict[str, JsonObject] = {
        "backlog": {"name": "Backlog", "icon": "mdi:tray-full", "state_class": "measurement",
                    "unit_of_measurement": "jobs", "value_template": "{{ value_json.backlog }}"},
        "failures": {"name": "Failures", "icon": "mdi:alert-circle-outline", "state_class": "measurement",
                     "unit_of_measurement": "jobs", "value_template": "{{ value_json.failed }}"},
        "last_result": {"name": "Last result", "device_class": "timestamp",
                        "value_template": "{{ value_json.last_result }}"},
        "resident": {"name": "Resident models", "icon": "mdi:brain",
                     "value_template": "{{ (value_json.resident | join(', '))[:255] or 'none' }}"},
        "memory": {"name": "Model memory", "device_class": "data_size", "unit_of_measurement": "MB", **measured,
                   "value_template": "{{ value_json.memory_mb }}"},
        "activity": {"name": "Activity", "device_class": "enum", "options": ["working", "paused"],
                     "value_template": "{{ 'paused' if value_json.paused else 'working' }}"},
    }  # fmt: skip
    return {key: {"platform": "sensor", "state_topic": state, **body} for key, body in sensors.items()}


def _inbox_sensors(topics: Topics, inboxes: Iterable[str]) -> dict[str, JsonObject]:
    """One sensor for each inbox: `ok`, or that a person has to look."""
    return {
        f"inbox_{_plain(name)}": {
            "platform": "sensor",
            "name": f"Inbox {name}",
            "icon": "mdi:folder-eye-outline",
            "device_class": "enum",
            "options": ["ok", "alarm"],
            "state_topic": topics.of_host("inboxes", name),
            "value_template": "{{ 'alarm' if value_json.alarm else 'ok' }}",
            "json_attributes_topic": topics.of_host("inboxes", name),
        }
        for name in inboxes
    }


def _buttons(topics: Topics) -> dict[str, JsonObject]:
    """What may be asked for by a press."""
    icons = {"pause": "mdi:pause", "resume": "mdi:play", "unload": "mdi:eject"}
    names = {"pause": "Pause", "resume": "Resume", "unload": "Unload models"}
    return {
        key: {"platform": "button", "name": names[key], "icon": icon, "command_topic": topics.control(key)}
        for key, icon in icons.items()
    }
