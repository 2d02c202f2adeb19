"""A GPU that is left to others: a whole host and real worker processes, on a GPU that is only simulated."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import psutil
import pytest

from hooks.model import Device
from host import app as app_module
from host.app import App
from host.errors import UsageError, WorkFailed
from host.leasing.devices import CpuGauge, Reading, SimulatedGauge
from tests.host.working_host import Place
from tests.plugin_kit import BUILT_IN_OFF, install_plugin
from tests.until import until

HERE = [
    CpuGauge(Device(name="cpu", kind="cpu", memory_mb=4000)),
    CpuGauge(Device(name="light", kind="none", memory_mb=1000)),
]

# Says where it computes; "wait PATH" lasts until that file is there.
WHERE = """
import os, time
from hooks import Caption, ModelSpec, hookimpl

@hookimpl
def model_spec(): return ModelSpec(name="NAME", device="DEVICE", memory_mb=100, batch=1, keep_alive=60)

@hookimpl
def load(device): return device.name

@hookimpl
def on_text(events, model):
    for event in events:
        text = event.open().read().decode()
        while text.startswith("wait") and not os.path.exists(text.split()[1]):
            time.sleep(.01)
        yield event.result(Caption(text=model))

@hookimpl
def embed_query(texts, model):
    from hooks import Embedding
    return [Embedding(space="one", vector=[1.0]) for text in texts]
"""


class Gpu(SimulatedGauge):
    """It tells of each of our processes that it holds some memory; `others_mb` is what other programs hold."""

    def read(self, pids: Iterable[int]) -> Reading | None:
        self.held = dict.fromkeys(pids, 50.0)
        return super().read(pids)


@pytest.fixture
def gpu() -> Gpu:
    return Gpu(Device(name="gpu0", kind="gpu", memory_mb=2000))


@pytest.fixture
def place(tmp_path, plugin_path, monkeypatch, gpu):
    monkeypatch.setattr(app_module, "find_gauges", lambda config: [*HERE, gpu])
    place = Place(tmp_path / "place", plugin_path)
    place.settings["plugins"] = {**BUILT_IN_OFF, "reader": {"enabled": False}}
    for name, device in (("chooses", "auto"), ("insists", "gpu")):
        install_plugin(plugin_path, name, WHERE.replace("NAME", name).replace("DEVICE", device))
    return place


@contextlib.asynccontextmanager
async def working(place: Place) -> AsyncIterator[App]:
    async with place.running() as app:
        yield app
        (place.root / "go").touch()


async def where(app: App, event: str) -> dict[str, str]:
    """On which device each plugin did its part."""
    return {result.plugin: result.data["text"] for result in (await app.view(event)).results}


async def taken(app: App, place: Place, name: str, text: str) -> str:
    (accepted,) = await app.submit([place.file(name, text)])
    return accepted.event


async def until_done(app: App, event: str, plugin: str) -> None:
    async with asyncio.timeout(20):
        while plugin not in await where(app, event):  # noqa: ASYNC110 - a journal calls nobody back
            await asyncio.sleep(0.01)


def pid(app: App, plugin: str) -> int:
    return app.dispatcher.pid(plugin)


async def test_models_leave_the_gpu_at_the_batch_boundary_go_on_on_the_cpu_or_wait_and_come_back(place):
    async with working(place) as app:
        first = await taken(app, place, "1.txt", f"wait {place.root}/go")
        slots = app.leases.slots
        await until(lambda: "busy" in (slots["chooses"].state, slots["insists"].state))
        (busy,) = [name for name in slots if slots[name].state == "busy"]
        worker = pid(app, busy)
        second = await taken(app, place, "2.txt", "short")
        assert await app.pause(True, gpu=True)
        await asyncio.sleep(0.1)
        assert psutil.pid_exists(worker), "its batch is not cut off"
        (place.root / "go").touch()
        await until(lambda: not psutil.pid_exists(worker))
        await until_done(app, second, "chooses")
        await until(lambda: slots["insists"].state == "unloaded")
        status = await app.status()
        gpu = next(device for device in status.devices if device.name == "gpu0")
        assert (gpu.withdrawn, gpu.residents, gpu.used_mb) == ("`sensorium pause --gpu`", [], 0)
        assert await where(app, second) == {"chooses": "cpu"}
        assert any("gpu0 is withdrawn" in sentence.lower() for sentence in (await app.why(second)).sentences)
        assert not await app.pause(False, gpu=True)
        await until(app.dispatcher.is_idle)
        assert (await where(app, second)) == {"chooses": "cpu", "insists": "gpu0"}
        assert set((await where(app, first)).values()) <= {"cpu", "gpu0"}
        third = await taken(app, place, "3.txt", "once more")
        await until(app.dispatcher.is_idle)
        fourth = await taken(app, place, "4.txt", "and again")
        await until(app.dispatcher.is_idle)
        assert (await where(app, third))["insists"] == "gpu0"
        assert (await where(app, fourth)) == {"chooses": "gpu0", "insists": "gpu0"}


async def test_another_program_that_takes_the_gpus_memory_gets_it_all(place, gpu):
    place.settings["devices"] = {"yield_above_mb": 1000, "yield_after": 0, "yield_back_after": 0}
    async with working(place) as app:
        event = await taken(app, place, "1.txt", "short")
        await until(app.dispatcher.is_idle)
        assert (await where(app, event)) == {"chooses": "gpu0", "insists": "gpu0"}
        workers = [pid(app, name) for name in ("chooses", "insists")]
        gpu.others_mb = 1500.0
        await until(lambda: not any(psutil.pid_exists(worker) for worker in workers))
        second = await taken(app, place, "2.txt", "meanwhile")
        await until_done(app, second, "chooses")
        await until(lambda: app.leases.slots["insists"].waiting == 1)
        gpu.others_mb = 200.0
        await until(app.dispatcher.is_idle)
        assert (await where(app, second)) == {"chooses": "cpu", "insists": "gpu0"}
        moments = [one for one in (await app.lease_history(1)).devices if one.device == "gpu0"]
        assert [withdrawn for withdrawn, _ in itertools.groupby(one.withdrawn != "" for one in moments)] == [
            False,
            True,
            False,
        ]


async def test_a_request_that_nobody_can_answer_for_now_fails_with_the_reason(place):
    async with working(place) as app:
        await app.pause(True, gpu=True)
        with pytest.raises(
            WorkFailed, match=r"insists cannot answer now: gpu0 is withdrawn \(`sensorium pause --gpu`\)"
        ):
            await app.dispatcher.ask("insists", {"op": "query", "texts": ["anything"]})


async def test_a_host_without_a_gpu_says_so(place, monkeypatch):
    monkeypatch.setattr(app_module, "find_gauges", lambda config: HERE)
    async with working(place) as app:
        with pytest.raises(UsageError, match="uses no GPU"):
            await app.pause(True, gpu=True)


async def test_without_a_host_there_is_nothing_to_pause(place: Place):
    assert isinstance(place.root, Path)
    async with place.open(read_only=True) as app:
        with pytest.raises(UsageError, match="No host runs"):
            await app.pause(True, gpu=True)
