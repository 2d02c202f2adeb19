"""The page for device makers says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from host.config import Mqtt
from host.mqtt.messages import ACTIONS, FailureMessage, Request, ResponseError, ResponseMessage, ResultMessage, Topics

PAGE = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text()
TOPICS = Topics("sensorium", "HOST")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_examples_of_messages_have_the_shape_of_the_messages():
    result, response = blocks("json")
    ResultMessage.model_validate(json.loads(result))
    ResponseMessage.model_validate(json.loads(response))


@pytest.mark.parametrize("number", range(2))
def test_the_python_examples_compile(number):
    compile(blocks("python")[number], f"example {number}", "exec")


def test_every_topic_is_described():
    named = [
        TOPICS.results("DEVICE", "PLUGIN"), TOPICS.artifacts("DEVICE", "PLUGIN"), TOPICS.errors("DEVICE"),
        TOPICS.progress("DEVICE", "PLUGIN"), TOPICS.request("PLUGIN"), TOPICS.response("PLUGIN"), TOPICS.availability,
        TOPICS.of_host("state"), TOPICS.of_host("inboxes", "NAME"), TOPICS.control("pause"),
    ]  # fmt: skip
    assert [topic for topic in named if topic not in PAGE] == []


def test_every_order_and_every_key_that_a_device_sends_or_gets_is_named():
    words = {*ACTIONS, *Request.model_fields, *ResponseError.model_fields, *FailureMessage.model_fields}
    assert [word for word in words if f"`{word}`" not in PAGE and f"/{word}`" not in PAGE] == []


def test_the_configuration_that_it_shows_is_one():
    table = re.findall(r"^(\w+) = ", blocks("toml")[0], flags=re.MULTILINE)
    assert set(table) <= set(Mqtt.model_fields)
