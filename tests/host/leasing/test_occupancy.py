"""What our workers hold of a device, what others do, and when the memory of one that has left is back."""

from __future__ import annotations

import asyncio

import pytest

from host.leasing import occupancy as books
from host.leasing.devices import SimulatedGauge, simulated
from host.leasing.occupancy import RESIDUE_MB, Occupancy

ALL = {"a": [1], "b": [2, 3]}


class Scene:
    """A GPU of 8 GB with two workers, `a` (process 1) and `b` (2 and its child 3)."""

    def __init__(self, tells: bool = True) -> None:
        self.gauge: SimulatedGauge = simulated("gpu0", 8_000)
        self.gauge.tells = tells
        self.dead: set[int] = set()
        self.books = Occupancy(self.gauge, lambda pids: not self.dead & set(pids))

    def now(self) -> dict[str, float]:
        return {mark: holding.now_mb for mark, holding in self.books.holdings.items()}


@pytest.fixture(params=[True, False], ids=["a driver that tells of processes", "one that does not"])
async def scene(request) -> Scene:
    """Others hold 1000 MB, then `a` took 2000 and `b` 3000, one after the other."""
    scene = Scene(request.param)
    scene.gauge.others_mb = 1_000
    await scene.books.measure({})
    scene.books.enter("a")
    scene.gauge.held[1] = 2_000
    await scene.books.measure({"a": [1]}, ["a"])
    scene.books.enter("b")
    scene.gauge.held.update({2: 2_500, 3: 500})
    await scene.books.measure(ALL, ["b"])
    return scene


async def test_each_worker_holds_what_its_whole_family_does_and_the_rest_is_others(scene):
    assert scene.now() == {"a": 2_000, "b": 3_000}
    assert (scene.books.others_mb, scene.books.limit_mb) == (1_000, 7_000)


async def test_what_other_programs_take_later_lowers_the_limit_and_comes_back_with_them(scene):
    scene.gauge.others_mb = 4_000
    await scene.books.measure(ALL)
    assert (scene.now(), scene.books.limit_mb) == ({"a": 2_000, "b": 3_000}, 4_000)
    scene.gauge.others_mb = 0
    await scene.books.measure(ALL)
    assert scene.books.limit_mb == 8_000


async def test_the_peak_is_remembered(scene):
    scene.gauge.held[1] = 3_500
    await scene.books.measure(ALL, ["a"])
    scene.gauge.held[1] = 2_100
    await scene.books.measure(ALL, ["a"])
    holding = scene.books.holdings["a"]
    assert (holding.now_mb, holding.peak_mb) == (2_100, 3_500)


async def test_a_worker_has_left_only_when_its_memory_is_seen_free(scene):
    scene.dead.add(1)  # its process is gone, and the driver has not given anything back yet
    leaving = asyncio.create_task(scene.books.leave("a", ALL, "clip"))
    for _ in range(3):
        await asyncio.sleep(books.LOOK_EVERY)
        assert not leaving.done()
        scene.gauge.held[1] -= 500
    del scene.gauge.held[1]
    assert await leaving == 0
    assert (scene.books.others_mb, scene.now()) == (1_000, {"b": 3_000})


async def test_a_process_that_is_about_to_go_does_not_make_its_memory_that_of_others(scene):
    scene.dead.add(1)
    assert not await scene.books.measure(ALL)
    assert not await scene.books.measure({"b": [2, 3]})
    assert scene.books.others_mb == 1_000


async def test_what_does_not_come_back_is_told_with_the_plugin_and_promised_to_nobody(scene, monkeypatch):
    warnings: list[dict] = []
    monkeypatch.setattr(books, "PATIENCE", 0.05)
    monkeypatch.setattr(type(books.log), "warning", lambda log, text, **facts: warnings.append(facts))
    scene.gauge.held[1] = 0
    scene.gauge.others_mb += 700
    assert await scene.books.leave("a", ALL, "clip") == 700
    assert warnings == [{"plugin": "clip", "device": "gpu0", "memory_mb": 700}]
    assert scene.books.limit_mb == 8_000 - 1_700


async def test_a_little_that_stays_behind_is_the_driver_s_own(scene):
    scene.gauge.held[1] = 0
    scene.gauge.others_mb += RESIDUE_MB
    assert await scene.books.leave("a", ALL, "clip") == 0


async def test_what_is_held_without_a_lease_is_not_left_for_models(scene):
    scene.books.reserved.add("b")
    assert scene.books.limit_mb == 8_000 - 1_000 - 3_000


async def test_nothing_is_left_of_a_device_that_does_not_answer(scene, monkeypatch):
    monkeypatch.setattr(SimulatedGauge, "read", lambda self, pids: None)
    assert not await scene.books.measure(ALL)
    assert scene.books.limit_mb == 0
    monkeypatch.undo()
    assert await scene.books.measure(ALL)
    assert scene.books.limit_mb == 7_000
