"""By whose name outcomes are published, and what a host owes to a broker that it cannot reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.config import Mqtt
from host.publisher import device_namer
from tests.host.working_host import Place
from tests.mosquitto import free_port


@pytest.mark.parametrize(
    ("source", "origin", "device"),
    [
        ("mqtt", "cameras/porch/picture", "porch"),
        ("mqtt", "home/hall/bell/ring", "bell"),
        ("mqtt", "other/topic", "mqtt"),
        ("mqtt", "cameras//picture", "mqtt"),
        ("inbox", "cameras/porch/picture", "inbox"),
    ],
)
def test_an_outcome_belongs_to_the_device_in_its_topic_or_else_to_its_source(source, origin, device):
    topics = ["cameras/{device}/#", "$share/hosts/home/{room}/{device}/ring", "other/+"]
    settings = Mqtt(broker="mqtt://127.0.0.1", subscribe=tuple({"topic": topic} for topic in topics))
    assert device_namer(settings)(source, origin) == device


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


async def test_what_is_finished_without_a_connection_is_kept_and_forgotten_when_mqtt_is_switched_off(place):
    place.settings = {"mqtt": {"broker": f"mqtt://127.0.0.1:{free_port()}"}}
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
    async with place.open() as app:
        assert (await app.journal.row("publish_count"))["owed"] == 1
    place.settings = {}
    async with place.running() as app:
        await app.submit([place.file("b.txt", "banana")], wait=True)
    async with place.open() as app:
        assert (await app.journal.row("publish_count"))["owed"] == 0
