"""Background work and preloaded models, as the configuration asks for them: a whole host, real workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from host.app import open_app
from host.config import Config
from tests.plugin_kit import BUILT_IN_OFF, install_plugin
from tests.until import until

# Writes down the order in which texts are read; "gate" waits until a file is there.
NOTER = """
import os, time
from hooks import Caption, ModelSpec, hookimpl

@hookimpl
def model_spec(): return ModelSpec(name="noter", device="cpu", memory_mb=100)

@hookimpl
def load(): pass

@hookimpl
def on_text(events):
    for event in events:
        text = event.open().read().decode()
        with open({order!r}, "a") as order:
            order.write(text + "\\n")
        while text == "gate" and not os.path.exists({gate!r}):
            time.sleep(0.01)
        yield event.result(Caption(text=text))
"""


class Place:
    """A host's folders under one root."""

    def __init__(self, root: Path, site: Path) -> None:
        self.root, self.inbox = root, root / "inbox"
        self.order, self.gate = root / "order", root / "gate"
        (self.inbox / "archive").mkdir(parents=True)
        install_plugin(site, "noter", NOTER.format(order=str(self.order), gate=str(self.gate)))

    def config(self, routes: list[dict] | None = None, **noter: object) -> Config:
        table = {
            "paths": {"data": str(self.root / "data"), "outbox": str(self.root / "outbox")},
            "inbox": [{"path": str(self.inbox), "quiet": 0.05}],
            "route": routes or [],
            "plugins": {**BUILT_IN_OFF, "noter": noter},
        }
        return Config.model_validate(table)

    def read(self) -> list[str]:
        return self.order.read_text().split() if self.order.exists() else []


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


async def test_what_a_route_puts_in_the_background_is_read_after_what_came_later(place):
    routes = [{"plugin": "noter", "folders": ["archive"], "priority": "background"}]
    async with open_app(place.config(routes)) as app:
        running = asyncio.create_task(app.run())
        (place.inbox / "first.txt").write_text("gate")
        await until(lambda: place.read() == ["gate"])
        (place.inbox / "archive" / "old.txt").write_text("old")
        await until(lambda: app.leases.slots["noter"].wants["background"].jobs == 1)
        (place.inbox / "new.txt").write_text("new")
        await until(lambda: app.leases.slots["noter"].wants["normal"].jobs == 1)
        place.gate.touch()
        await until(lambda: len(place.read()) == 3)
        app.stop()
        await running
    assert place.read() == ["gate", "new", "old"]


async def test_background_work_survives_a_restart_as_background_work(place):
    (place.inbox / "archive" / "old.txt").write_text("old")
    async with open_app(place.config(priority="background")) as app:
        app.leases.pause(True)
        running = asyncio.create_task(app.run())
        await until(lambda: app.dispatcher._queues["noter"].background.waited > 0)
        app.stop()
        await running
    async with open_app(place.config()) as app:
        app.leases.pause(True)
        running = asyncio.create_task(app.run())
        await until(lambda: app.leases.slots["noter"].wants["background"].jobs == 1)
        app.stop()
        await running
    assert place.read() == []


async def test_a_preloaded_model_is_there_before_anything_arrives(place):
    async with open_app(place.config(preload=True)) as app:
        running = asyncio.create_task(app.run())
        await until(lambda: app.leases.slots["noter"].state == "ready")
        app.stop()
        await running
    assert place.read() == []
