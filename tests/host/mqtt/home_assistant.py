"""Home Assistant's documented schema of a device discovery message, as far as sensors and buttons go.

From https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and its pages on the sensor and button
platforms: names of keys, what is required, what excludes what.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

DISCOVERY_TOPIC = re.compile(r"\w+/device/[a-zA-Z0-9_-]+/config")
INFORMATION_UNITS = {"bit", "kbit", "Mbit", "Gbit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"}


def _topic(topic: str) -> str:
    assert topic, "a topic is never empty"
    assert len(topic.encode()) <= 65535
    assert not re.search(r"[\x00-\x1f\x7f-\x9f+#]", topic), topic
    return topic


def _template(text: str) -> str:
    assert text.count("{{") == text.count("}}") > 0, "a template has balanced braces"
    return text


Topic = Annotated[str, AfterValidator(_topic)]
Template = Annotated[str, AfterValidator(_template)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Device(Part):
    identifiers: list[str] | str = Field(default_factory=list)
    connections: list[tuple[str, str]] = Field(default_factory=list)
    manufacturer: str | None = None
    model: str | None = None
    model_id: str | None = None
    name: str | None = None
    hw_version: str | None = None
    serial_number: str | None = None
    sw_version: str | None = None
    via_device: str | None = None
    suggested_area: str | None = None
    configuration_url: str | None = None

    @model_validator(mode="after")
    def can_be_told(self) -> Device:
        assert self.identifiers or self.connections, "a device has an identifier or a connection"
        return self


class Origin(Part):
    name: str
    sw_version: str | None = None
    support_url: str | None = None


class Availability(Part):
    topic: Topic
    payload_available: str = "online"
    payload_not_available: str = "offline"
    value_template: Template | None = None


class Entity(Part):
    unique_id: str = Field(min_length=1)
    name: str
    icon: str | None = Field(default=None, pattern=r"^mdi:[a-z0-9-]+$")
    entity_category: Literal["config", "diagnostic"] | None = None
    enabled_by_default: bool = True
    qos: Literal[0, 1, 2] = 0


class Sensor(Entity):
    platform: Literal["sensor"]
    state_topic: Topic
    value_template: Template | None = None
    unit_of_measurement: str | None = None
    state_class: Literal["measurement", "total", "total_increasing"] | None = None
    device_class: Literal["timestamp", "data_size", "enum"] | None = None
    options: list[str] | None = None
    expire_after: int | None = None
    force_update: bool = False
    json_attributes_topic: Topic | None = None
    json_attributes_template: Template | None = None

    @model_validator(mode="after")
    def fits_its_class(self) -> Sensor:
        if self.options is not None:
            assert self.options, "an empty list of options is refused"
            assert self.device_class == "enum", "options need the class `enum`"
        if self.device_class == "data_size":
            assert self.unit_of_measurement in INFORMATION_UNITS
        if self.device_class in ("timestamp", "enum"):
            assert (self.state_class, self.unit_of_measurement) == (None, None), "a moment or a word has no unit"
        return self


class Button(Entity):
    platform: Literal["button"]
    command_topic: Topic
    command_template: Template | None = None
    payload_press: str = "PRESS"
    device_class: Literal["identify", "restart", "update"] | None = None
    retain: bool = False


class Discovery(Part):
    device: Device
    origin: Origin
    components: dict[str, Annotated[Sensor | Button, Field(discriminator="platform")]]
    availability: list[Availability] | None = None
    availability_mode: Literal["all", "any", "latest"] = "latest"
    state_topic: Topic | None = None
    command_topic: Topic | None = None
    qos: Literal[0, 1, 2] = 0
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def has_distinct_entities(self) -> Discovery:
        ids = [entity.unique_id for entity in self.components.values()]
        assert len(set(ids)) == len(ids), "two entities with one unique id"
        return self


def fields_read(body: dict[str, Any]) -> set[str]:
    """The fields of the state that an entity's template reads."""
    return set(re.findall(r"value_json\.(\w+)", body.get("value_template", "")))
