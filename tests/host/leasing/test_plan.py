"""What a plan says: the real leases in simulated time."""

from __future__ import annotations

import asyncio

from hooks.model import Device, ModelSpec, Variant
from host.leasing.costs import Cost, CostKey, Costs
from host.leasing.plan import Forecast, forecast, planned_devices

CPU = Device(name="cpu", kind="cpu", memory_mb=4000, threads=4)
LIGHT = Device(name="light", kind="none", memory_mb=1000)
GPU = Device(name="gpu0", kind="gpu", memory_mb=6000)


def spec(memory_mb: int, device: str = "gpu", **facts) -> ModelSpec:
    return ModelSpec(name="m", memory_mb=memory_mb, device=device, **facts)


def plan(*devices: Device, costs: Costs | None = None, **specs: ModelSpec) -> Forecast:
    return forecast(specs, devices or (CPU, LIGHT, GPU), costs or Costs())


def together(found: Forecast, device: str = "gpu0") -> list[str]:
    return ["+".join(sorted(group)) for group in found.together.get(device, ())]


def test_what_fits_together_is_loaded_once_and_stays():
    found = plan(a=spec(2000), b=spec(2500), c=spec(1500))
    assert [fate.reloads for fate in found.fates.values()] == [0, 0, 0]
    assert together(found) == ["a+b+c"]
    assert found.load_seconds == {}


def test_of_what_does_not_fit_together_it_is_said_who_makes_room_for_whom():
    found = plan(a=spec(4000), b=spec(4000), small=spec(500))
    assert (found.fates["a"].makes_room_for, found.fates["b"].makes_room_for) == ({"b"}, {"a"})
    assert found.fates["small"].reloads == 0
    assert together(found) == ["a+small", "b+small"]


def test_every_job_of_every_round_is_done():
    found = plan(**{name: spec(2500) for name in "abcdef"})
    assert not any(fate.refused for fate in found.fates.values())
    assert all(fate.devices == ["gpu0"] for fate in found.fates.values())
    assert found.rounds * 4 <= sum(fate.reloads for fate in found.fates.values()) <= found.rounds * 6


def test_nothing_in_a_plan_is_ever_over_the_budget():
    sizes = {name: 700 + 450 * number for number, name in enumerate("abcdefgh")}
    found = plan(**{name: spec(size) for name, size in sizes.items()})
    for group in found.together["gpu0"]:
        assert sum(sizes[name] for name in group) <= 6000


def test_what_never_fits_says_why_and_the_others_are_planned_all_the_same():
    found = plan(giant=spec(48_000), a=spec(2000))
    assert found.fates["giant"].refused == "giant needs 48000 MB; gpu0 may use 6000 MB."
    assert found.fates["a"].devices == ["gpu0"]


def test_a_pinned_model_stays_and_what_needs_its_room_never_fits():
    found = plan(stays=spec(3000, pin=True), a=spec(4000))
    assert "of which pinned models keep 3000 MB" in found.fates["a"].refused
    assert found.fates["stays"].reloads == 0


def test_an_exclusive_model_swaps_with_all_others():
    found = plan(alone=spec(100, exclusive=True), a=spec(100))
    assert found.fates["a"].makes_room_for == {"alone"}
    assert together(found) == ["a", "alone"]


def test_a_model_that_may_choose_is_planned_on_the_cpu_where_no_gpu_holds_it():
    found = plan(CPU, LIGHT, GPU.model_copy(update={"memory_mb": 1000}), a=spec(3000, "auto"))
    assert found.fates["a"].devices == ["cpu"]


def test_a_model_is_planned_as_the_variant_that_fits():
    small = Variant(name="q4", memory_mb=3000)
    found = plan(a=spec(8000, variants=(small,)))
    assert (found.fates["a"].slot.variant, found.fates["a"].devices) == ("q4", ["gpu0"])


def test_two_gpus_share_the_models_between_them():
    other = GPU.model_copy(update={"name": "gpu1", "index": 1})
    found = plan(CPU, LIGHT, GPU, other, a=spec(4000), b=spec(4000))
    assert sorted(fate.devices[0] for fate in found.fates.values()) == ["gpu0", "gpu1"]
    assert not any(fate.reloads for fate in found.fates.values())


def test_what_was_measured_counts_instead_of_what_is_declared():
    costs = Costs()
    costs.remember(CostKey("a", "", "gpu0"), Cost(memory_mb=4000, load_seconds=30.0))
    found = plan(costs=costs, a=spec(1000), b=spec(3000))
    assert found.fates["a"].reloads + found.fates["b"].reloads > 0
    assert found.load_seconds["gpu0"] >= 30.0
    assert costs.of(CostKey("b", "", "gpu0")) == Cost(), "the plan leaves what was measured as it is"


def test_no_model_is_a_plan_too():
    assert plan().fates == {}


async def test_a_plan_is_made_beside_a_loop_that_runs():
    found = await asyncio.to_thread(forecast, {"a": spec(2000)}, [CPU, LIGHT, GPU], Costs())
    assert found.fates["a"].devices == ["gpu0"]


def test_devices_of_a_plan_are_those_that_are_asked_for_less_our_reserve():
    found = planned_devices([CPU, LIGHT, GPU], [6144, 300], 8192, 500)
    assert [(device.name, device.memory_mb) for device in found] == [
        ("cpu", 8192), ("light", 1000), ("gpu0", 5644), ("gpu1", 0)
    ]  # fmt: skip


def test_without_sizes_the_devices_are_those_of_the_machine():
    missing = Device(name="gpu", kind="gpu", memory_mb=0)
    assert planned_devices([CPU, LIGHT, GPU, missing], None, None, 500) == [CPU, LIGHT, GPU]
    assert planned_devices([CPU, LIGHT, GPU], [], None, 500) == [CPU, LIGHT]
