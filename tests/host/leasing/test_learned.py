"""What was learned of models outlives the host, for the very model, settings and device that it was learned of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hooks.model import Device
from host.leasing.costs import Cost, CostKey, Costs
from host.leasing.learned import Learned
from host.plugin_manager import LIGHT, Plugin

CPU = Device(name="cpu", kind="cpu", memory_mb=1_000)
GPU = Device(name="gpu0", kind="gpu", memory_mb=8_000, uuid="GPU-a")
ON_CPU, ON_GPU = CostKey("eye", "", "cpu"), CostKey("eye", "", "gpu0")


def eye(model: str = "iris", **settings) -> Plugin:
    spec = LIGHT.model_copy(update={"name": model})
    return Plugin("eye", "1.0", "test", "eye", frozenset(), settings, spec, True, None)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def learning(journal, costs: Costs, plugin: Plugin, *devices: Device) -> AsyncIterator[Costs]:
    """A host's costs: what earlier ones learned is known, and what is learned now is written down."""
    learned = Learned(journal, costs, [plugin], devices or (CPU, GPU))
    await learned.recall()
    writing = asyncio.create_task(learned.run())
    await asyncio.sleep(0)
    yield costs
    await learned.flush()
    writing.cancel()


async def recalled(journal, plugin: Plugin, key: CostKey = ON_CPU, *devices: Device) -> Cost:
    async with learning(journal, Costs(), plugin, *devices) as costs:
        return costs.of(key)


async def test_footprints_and_load_times_outlive_the_host(journal):
    async with learning(journal, Costs(), eye()) as costs:
        costs.loaded(ON_CPU, 2.5)
        costs.used(ON_CPU, 612.0)
        costs.loaded(ON_GPU, 1.5)
    assert await recalled(journal, eye()) == Cost(612.0, 2.5)
    assert await recalled(journal, eye(), ON_GPU) == Cost(None, 1.5)


async def test_the_newest_figures_count(journal):
    async with learning(journal, Costs(), eye()) as costs:
        costs.used(ON_CPU, 600.0)
    async with learning(journal, Costs(), eye()) as costs:
        costs.used(ON_CPU, 700.0)
        costs.used(ON_CPU, 650.0)
    assert (await recalled(journal, eye())).memory_mb == 700.0


async def test_other_settings_another_model_and_another_device_are_learned_anew(journal):
    async with learning(journal, Costs(), eye(size=1)) as costs:
        costs.used(ON_CPU, 600.0)
        costs.used(ON_GPU, 900.0)
    assert (await recalled(journal, eye(size=2))).memory_mb is None
    assert (await recalled(journal, eye("retina", size=1))).memory_mb is None
    assert (await recalled(journal, eye(size=1), ON_GPU, GPU.model_copy(update={"uuid": "GPU-b"}))).memory_mb is None


async def test_a_gpu_is_known_again_wherever_it_is_plugged_in(journal):
    async with learning(journal, Costs(), eye()) as costs:
        costs.used(ON_GPU, 900.0)
    elsewhere = GPU.model_copy(update={"name": "gpu1", "index": 1})
    assert (await recalled(journal, eye(), CostKey("eye", "", "gpu1"), CPU, elsewhere)).memory_mb == 900.0


async def test_a_variant_has_figures_of_its_own(journal):
    async with learning(journal, Costs(), eye()) as costs:
        costs.used(CostKey("eye", "small", "cpu"), 300.0)
    assert (await recalled(journal, eye(), CostKey("eye", "small", "cpu"))).memory_mb == 300.0
    assert (await recalled(journal, eye())).memory_mb is None


def test_a_model_that_ran_out_of_memory_is_taken_for_a_quarter_larger_up_to_the_whole_device():
    costs = Costs()
    costs.outgrew(ON_CPU, 400.0, 1_000.0)
    assert costs.of(ON_CPU).memory_mb == 500.0
    costs.outgrew(ON_CPU, 500.0, 600.0)
    assert costs.of(ON_CPU).memory_mb == 600.0
    costs.outgrew(ON_CPU, 600.0, 600.0)
    assert costs.of(ON_CPU).memory_mb == 600.0
