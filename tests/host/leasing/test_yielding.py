"""Leaving GPUs to others: the real leases on simulated devices and clocks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from hooks.model import ModelSpec
from host.config import Config
from host.leasing.yielding import EVERY, Yielding
from tests.host.leasing.test_leases import CPU, GPU, LIGHT, Scene, scene, spec

ZONE = ZoneInfo("Europe/Berlin")
NIGHT = {"from": "22:00", "to": "07:00"}


class Wall:
    """The clock on the wall."""

    def __init__(self, shown: str) -> None:
        self.show(shown)

    def show(self, shown: str) -> None:
        self.now = datetime.fromisoformat(shown).replace(tzinfo=ZONE).timestamp()

    def __call__(self) -> float:
        return self.now


class World:
    """Leases and what makes them leave a GPU; `others` is what other programs hold of each."""

    def __init__(self, now: Scene, wall: Wall, config: Config) -> None:
        self.now, self.wall, self.others = now, wall, {"gpu0": 0.0}
        self.yielding = Yielding(now.leases, config.quiet_hours, config.devices, self.others.get, clock=wall, zone=ZONE)

    @property
    def why(self) -> str:
        return self.now.leases.withdrawn("gpu0")

    async def look(self, shown: str | None = None) -> list[str]:
        """What is done once it has looked at the clocks and at the GPU."""
        if shown is not None:
            self.wall.show(shown)
        self.yielding.look()
        return await self.now.until_quiet()

    async def others_hold(self, memory_mb: float, seconds: float) -> list[str]:
        """Other programs hold so much for so long."""
        self.others["gpu0"] = memory_mb
        done = await self.look()
        for _ in range(int(seconds / EVERY)):
            self.now.clock.now += EVERY
            done += await self.look()
        return done


@contextlib.asynccontextmanager
async def world(
    shown: str = "2026-11-20T12:00", *, quiet: tuple[dict[str, Any], ...] = (), devices: dict[str, Any] | None = None,
    **specs: ModelSpec,
) -> AsyncIterator[World]:  # fmt: skip
    config = Config.model_validate({"quiet_hours": list(quiet), "devices": devices or {}})
    async with scene(devices=[CPU, LIGHT, GPU], **specs) as now:
        yield World(now, Wall(shown), config)


# -- asked for ---------------------------------------------------------------------------------------------------------


async def test_when_somebody_asks_the_models_leave_the_gpu_and_come_back_when_it_is_given_back():
    async with world(a=spec(device="gpu")) as here:
        await here.now.wants("a", jobs=1)
        here.yielding.leave_gpus(True)
        assert await here.now.until_quiet() == ["unload a"]
        assert here.why == "`sensorium pause --gpu`"
        assert await here.now.wants("a", jobs=1) == []
        here.yielding.leave_gpus(False)
        here.now.effects.answer("run a", lambda: here.now.leases.demand("a", 0, 0, 0.0))
        assert await here.now.until_quiet() == ["load a", "run a"]


async def test_the_cpu_goes_on_while_the_gpus_are_left():
    async with world(a=spec(device="cpu")) as here:
        here.yielding.leave_gpus(True)
        assert await here.now.wants("a", jobs=1) == ["load a", "run a"]


async def test_what_was_asked_for_holds_until_it_is_taken_back():
    async with world(quiet=(NIGHT,)) as here:
        here.yielding.leave_gpus(True)
        await here.look("2026-11-20T23:00")
        assert here.why == "`sensorium pause --gpu`, quiet hours until 07:00"
        await here.look("2026-11-21T08:00")
        assert here.why == "`sensorium pause --gpu`"


# -- quiet hours -------------------------------------------------------------------------------------------------------


async def test_in_quiet_hours_the_gpu_is_left_after_the_batch_that_runs():
    async with world("2026-11-20T21:59", quiet=(NIGHT,), a=spec(device="gpu")) as here:
        gate = here.now.effects.hold("run a")
        await here.look()
        await here.now.wants("a", jobs=1)
        assert await here.look("2026-11-20T22:00") == []
        gate.set()
        assert await here.now.until_quiet() == ["unload a"]
        assert await here.now.wants("a", jobs=1) == []
        here.now.effects.answer("run a", lambda: here.now.leases.demand("a", 0, 0, 0.0))
        assert await here.look("2026-11-21T07:00") == ["load a", "run a"]


async def test_quiet_hours_for_everything_hold_jobs_back_on_every_device_but_not_what_somebody_waits_for():
    async with world("2026-11-20T23:00", quiet=({**NIGHT, "pause": "all"},), a=spec(), b=spec(100)) as here:
        await here.look()
        assert here.now.leases.why_paused == "quiet hours until 07:00"
        assert here.why == "", "the GPU is not withdrawn from what somebody waits for"
        assert await here.now.wants("a", jobs=1) == []
        assert await here.now.wants("b", urgent=1) == ["load b", "run b"]
        assert await here.look("2026-11-21T07:00") == ["load a", "run a"]


async def test_an_end_of_quiet_hours_does_not_end_a_pause_that_somebody_asked_for():
    async with world("2026-11-20T23:00", quiet=({**NIGHT, "pause": "all"},)) as here:
        await here.look()
        here.now.leases.pause(True)
        await here.look("2026-11-21T07:00")
        assert here.now.leases.why_paused == "`sensorium pause`"


# -- other programs ----------------------------------------------------------------------------------------------------

YIELDS = {"yield_above_mb": 1000, "yield_after": 6, "yield_back_after": 20}


async def test_another_program_that_takes_the_memory_gets_the_gpu_until_it_is_done():
    async with world(devices=YIELDS, a=spec(device="gpu")) as here:
        await here.now.wants("a", jobs=1)
        assert await here.others_hold(3000, seconds=4) == []
        assert await here.others_hold(3000, seconds=2) == ["unload a"]
        assert here.why == "other programs hold more than 1000 MB of it"
        assert await here.now.wants("a", jobs=1) == []
        here.now.effects.answer("run a", lambda: here.now.leases.demand("a", 0, 0, 0.0))
        assert await here.others_hold(100, seconds=18) == []
        assert await here.others_hold(100, seconds=2) == ["load a", "run a"]


async def test_a_program_that_comes_and_goes_does_not_have_the_models_do_so_too():
    async with world(devices=YIELDS, a=spec(device="gpu")) as here:
        await here.now.wants("a", jobs=1)
        for _ in range(10):
            assert await here.others_hold(3000, seconds=2) == []
            assert await here.others_hold(100, seconds=2) == []
        assert await here.others_hold(3000, seconds=6) == ["unload a"]
        for _ in range(10):
            assert await here.others_hold(100, seconds=8) == []
            assert await here.others_hold(3000, seconds=2) == []


async def test_each_gpu_is_left_for_itself():
    other = GPU.model_copy(update={"name": "gpu1", "index": 1})
    config = Config.model_validate({"devices": YIELDS})
    async with scene(devices=[CPU, LIGHT, GPU, other]) as now:
        held = {"gpu0": 3000.0, "gpu1": 0.0}
        yielding = Yielding(now.leases, (), config.devices, held.get)
        for _ in range(5):
            yielding.look()
            now.clock.now += EVERY
        assert now.leases.withdrawn("gpu0")
        assert not now.leases.withdrawn("gpu1")


async def test_without_a_threshold_no_reading_matters():
    async with world(a=spec(device="gpu")) as here:
        await here.now.wants("a", jobs=1)
        assert await here.others_hold(90_000, seconds=100) == []


async def test_a_gpu_of_which_nothing_is_known_stays_as_it_is():
    async with world(devices=YIELDS, a=spec(device="gpu")) as here:
        here.others.clear()
        await here.look()
        assert here.why == ""


# -- its life ----------------------------------------------------------------------------------------------------------


async def test_it_looks_by_itself_and_gives_everything_back_in_the_end():
    async with world("2026-11-20T23:00", quiet=(NIGHT, {**NIGHT, "pause": "all"})) as here:
        running = asyncio.create_task(here.yielding.run())
        await here.now.until_quiet()
        assert here.why
        assert here.now.leases.paused
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert here.why == ""
        assert not here.now.leases.paused


async def test_the_leases_are_told_only_what_changes():
    async with world("2026-11-20T23:00", quiet=(NIGHT,)) as here:
        told = []
        here.now.leases.on_room = told.append
        for _ in range(3):
            await here.look()
        await here.look("2026-11-21T07:00")
        assert told == ["gpu0", "gpu0"]
