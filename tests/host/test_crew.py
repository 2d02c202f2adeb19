"""The crew with real processes: what is granted next is granted on memory that is seen free."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from hooks.model import Device, ModelSpec
from host import crew as crews
from host import processes, remains, workers
from host.crew import Crew
from host.leasing import gpu_lock
from host.leasing import occupancy as books
from host.leasing.devices import CpuGauge, SimulatedGauge
from host.remains import Register
from host.spares import Wish
from host.workers import Launch, Worker, WorkerFailed
from tests.plugin_kit import install_plugin
from tests.until import until

MB = 1024 * 1024
CPU = Device(name="cpu", kind="cpu", memory_mb=2_000, threads=1)
GPU = Device(name="gpu0", kind="gpu", memory_mb=8_000, uuid="GPU-test")

# Holds 100 MB, or has a child of its own session hold them; may ignore SIGTERM and never end when it is asked to.
HOLDER = """
import os, signal, subprocess, sys, time
from hooks import Embedding, hookimpl

BALLAST = "x = bytearray(os.urandom(1)) * (100 * 1024 * 1024)"
DEAF = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
CHILD = f"{DEAF}; {BALLAST}; print(1, flush=True); time.sleep(3600)"

@hookimpl
def load(spec):
    if spec.name == "child":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=True, **pipes)
        child.stdout.read(1)
        return child
    return bytearray(os.urandom(1)) * (100 * 1024 * 1024)

@hookimpl
def unload(model):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.environ.get("STUBBORN"):
        time.sleep(3600)

@hookimpl
def embed_query(texts, model):
    more = bytearray(os.urandom(1)) * (int(texts[0]) * 1024 * 1024)
    time.sleep(float(texts[1]))
    return [Embedding(space="s", vector=[float(os.getpid()), 1.0])]
"""


class Scene:
    """A crew, and launches of the plugin that holds memory."""

    def __init__(self, crew: Crew, module: str, folder: Path, gpu: SimulatedGauge, limits: dict[str, float]) -> None:
        self.crew, self.gpu, self.limits = crew, gpu, limits
        self._module, self.folder = module, folder

    def launch(self, name: str = "itself", device: Device = CPU, **spec) -> Launch:
        return Launch("holder", self._module, ModelSpec(name=name, **spec), device, {}, self.folder / "scratch")

    async def loaded(self, name: str = "itself", device: Device = CPU, **spec) -> Worker:
        worker = await self.crew.begin(self.launch(name, device, **spec), lambda: None)
        await self.crew.load(worker)
        return worker

    @property
    def entries(self) -> int:
        return len(list((self.folder / "workers").iterdir()))


@pytest.fixture
async def scene(plugin_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A crew on the CPU and on a GPU that is simulated; whatever is left of it in the end is killed."""
    monkeypatch.setattr(gpu_lock, "lock_folder", lambda: tmp_path)
    monkeypatch.setattr(crews, "SAMPLE_EVERY", 0.02)
    gpu, limits = SimulatedGauge(GPU), {}
    crew = Crew([CpuGauge(CPU), gpu], Register(tmp_path / "workers"), "data in /data", limits.__setitem__)
    watching = asyncio.create_task(crew.watch())
    yield Scene(crew, install_plugin(plugin_path, "holder", HOLDER), tmp_path, gpu, limits)
    watching.cancel()
    await crew.close()


def held_mb(worker: Worker) -> float:
    return sum(processes.memory_mb(process.pid) for process in processes.family(worker.mark))


async def ask(worker: Worker, memory_mb: int = 0, seconds: float = 0.0) -> None:
    await worker.request({"op": "query", "texts": [str(memory_mb), str(seconds)]}, limit=60)


# -- gone means gone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["itself", "child"])
async def test_after_the_end_nothing_of_a_worker_s_family_is_there(scene, name):
    worker = await scene.loaded(name)
    family = processes.family(worker.mark)
    assert held_mb(worker) > 100
    assert len(family) == (2 if name == "child" else 1)
    await scene.crew.end(worker)
    assert not processes.living(family)
    assert scene.entries == 0


async def test_a_worker_that_ignores_every_request_to_end_is_killed(scene, monkeypatch):
    monkeypatch.setenv("STUBBORN", "1")
    monkeypatch.setattr(workers, "STOP_GRACE", 0.3)
    worker = await scene.loaded()
    family = processes.family(worker.mark)
    await scene.crew.end(worker)
    assert not processes.living(family)


async def test_after_a_worker_was_killed_its_detached_child_is_ended_as_well(scene):
    worker = await scene.loaded("child")
    family = processes.family(worker.mark)
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(worker.pid))
    assert len(processes.living(family)) == 1
    await scene.crew.end(worker)
    assert not processes.living(family)


async def test_what_cannot_be_ended_keeps_its_memory_from_models_and_is_remembered(scene, monkeypatch):
    worker = await scene.loaded()
    environment = {**os.environ, processes.MARK: worker.mark}
    sleeper = [sys.executable, "-c", "input()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE, env=environment) as child:  # noqa: ASYNC220 - it only begins
        monkeypatch.setattr(processes, "kill", lambda left: None)
        monkeypatch.setattr(remains, "PATIENCE", 0.1)
        await scene.crew.end(worker)
        assert [process.pid for process in worker.left] == [child.pid]
        occupancy = scene.crew.occupancies["cpu"]
        assert occupancy.limit_mb == pytest.approx(2_000 - processes.memory_mb(child.pid), abs=2)
        assert scene.entries == 1
        child.kill()


async def test_the_end_of_a_worker_waits_for_the_gpu_to_give_its_memory_back(scene):
    worker = await scene.loaded(device=GPU)
    scene.gpu.held[worker.pid] = 3_000
    await until(lambda: scene.crew.peak_mb(worker) == 3_000)
    ending = asyncio.create_task(scene.crew.end(worker))
    await until(lambda: not psutil.pid_exists(worker.pid))
    for _ in range(3):
        await asyncio.sleep(books.LOOK_EVERY)
        assert not ending.done()
    scene.gpu.held.clear()
    await ending


# -- measured --------------------------------------------------------------------------------------------------------


async def test_what_a_worker_and_its_children_hold_at_most_is_known(scene):
    worker = await scene.loaded("child")
    await until(lambda: scene.crew.peak_mb(worker) > 110)
    asking = asyncio.create_task(ask(worker, memory_mb=200, seconds=60))
    scene.crew.worked()
    await until(lambda: scene.crew.peak_mb(worker) > 300)
    await scene.crew.end(worker, kill=True)
    with pytest.raises(WorkerFailed):
        await asking


async def test_what_others_take_of_a_gpu_lowers_what_is_left_for_models(scene, monkeypatch):
    monkeypatch.setattr(crews, "IDLE_EVERY", 0.01)
    scene.crew.worked()
    scene.gpu.others_mb = 5_000
    await until(lambda: scene.limits.get("gpu0") == 3_000)
    scene.gpu.others_mb = 0
    await until(lambda: scene.limits["gpu0"] == 8_000)


# -- hosts take turns ------------------------------------------------------------------------------------------------


async def test_a_gpu_that_another_host_has_is_in_use_and_free_when_that_has_unloaded(scene, tmp_path):
    other = Crew([SimulatedGauge(GPU)], Register(None), "data in /other")
    worker = await other.begin(scene.launch(device=GPU), lambda: None)
    with pytest.raises(WorkerFailed) as caught:
        await scene.crew.begin(scene.launch(device=GPU), lambda: None)
    assert caught.value.code == "in_use"
    assert f"process {os.getpid()}, data in /other" in caught.value.message
    assert scene.crew.notes["gpu0"] in caught.value.message
    await other.end(worker)
    assert await scene.crew.begin(scene.launch(device=GPU), lambda: None)
    assert scene.crew.notes["gpu0"] == ""


# -- warm spares -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def keep(scene: Scene) -> AsyncIterator[Callable[..., None]]:
    """Keep spares for these wishes, in so much room."""
    tasks: list[asyncio.Task[None]] = []

    def begin(*wishes: Wish, room_mb: Callable[[], float] = lambda: 1_000.0) -> None:
        tasks.append(asyncio.create_task(scene.crew.spares.run(lambda: list(wishes), room_mb)))

    yield begin
    for task in tasks:
        task.cancel()


def warm(scene: Scene) -> bool:
    return any(spare.warm.is_set() for spare in scene.crew.spares._there.values())


async def test_a_load_takes_the_warm_spare_which_has_imported_and_holds_no_model(scene, keep):
    wish = Wish(scene.launch(imports=("decimal",)), 300)
    keep(wish)
    await until(lambda: warm(scene))
    (spare,) = scene.crew._workers.values()
    assert held_mb(spare) < 90
    assert any("_decimal" in one.path for one in psutil.Process(spare.pid).memory_maps())
    worker = await scene.loaded()
    assert worker is spare
    assert held_mb(worker) > 100
    await ask(worker)


async def test_a_spare_is_taken_once_and_the_next_one_follows_when_it_is_wished_for(scene, keep):
    keep(Wish(scene.launch(), 300))
    await until(lambda: warm(scene))
    first = await scene.loaded()
    await until(lambda: warm(scene))
    second = await scene.loaded()
    assert first.pid != second.pid


async def test_a_load_waits_for_a_spare_that_is_being_warmed(scene, keep):
    keep(Wish(scene.launch(), 300))
    await until(lambda: scene.crew._workers)
    (spare,) = scene.crew._workers.values()
    assert await scene.crew.begin(scene.launch(), lambda: None) is spare


async def test_a_spare_for_another_device_is_no_use(scene, keep):
    keep(Wish(scene.launch(), 300))
    await until(lambda: warm(scene))
    (spare,) = scene.crew._workers.values()
    assert await scene.crew.begin(scene.launch(device=GPU), lambda: None) is not spare


async def test_no_spare_is_begun_without_room_for_it(scene, keep):
    keep(Wish(scene.launch(), 300), room_mb=lambda: 299.0)
    await asyncio.sleep(0.05)
    assert not scene.crew._workers


async def test_spares_give_way_to_models(scene, keep):
    room = [1_000.0]
    keep(Wish(scene.launch(), 300), room_mb=lambda: room[0])
    await until(lambda: warm(scene))
    (spare,) = scene.crew._workers.values()
    room[0] = 10.0
    await scene.crew.spares.give_way()
    assert not psutil.pid_exists(spare.pid)
    assert not scene.crew._workers


async def test_a_plugin_whose_spare_fails_does_without_one(scene, keep):
    keep(Wish(scene.launch(imports=("no_such_module",)), 300))
    await until(lambda: scene.crew.spares._failed == {"holder"} and not scene.crew._workers)
    assert (await scene.loaded()).pid


async def test_a_spare_that_dies_is_cleared_away(scene, keep):
    keep(Wish(scene.launch(), 300))
    await until(lambda: warm(scene))
    (spare,) = scene.crew._workers.values()
    os.kill(spare.pid, signal.SIGKILL)
    await until(lambda: not scene.crew._workers)
    assert (await scene.loaded()).pid != spare.pid


async def test_no_spare_is_left_behind(scene, keep):
    keep(Wish(scene.launch(), 300))
    await until(lambda: warm(scene))
    (spare,) = scene.crew._workers.values()
    await scene.crew.close()
    assert not psutil.pid_exists(spare.pid)
    assert scene.entries == 0
