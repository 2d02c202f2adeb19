"""The owner of who computes where: real, with effects that only write down what they were asked, on a clock of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from hooks.model import Device, ModelSpec
from host.leasing import leases as leasing
from host.leasing.costs import Cost, CostKey, Costs
from host.leasing.leases import Leases, LoadError, Transition
from host.leasing.policy import Priority
from host.leasing.slots import ladder_of
from tests.until import until

CPU = Device(name="cpu", kind="cpu", memory_mb=1000)
GPU = Device(name="gpu0", kind="gpu", memory_mb=1000)
LIGHT = Device(name="light", kind="none", memory_mb=500)
DEVICES = [CPU, LIGHT]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """Effects that take as long as a test wants, and say what it wants."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.answers: dict[str, list[Callable[[], object]]] = {}
        self.peaks: dict[str, float] = {}
        self.fences: list[int] = []
        self.priorities: list[Priority] = []

    def hold(self, call: str) -> asyncio.Event:
        """Have this call wait until the event is set."""
        return self.gates.setdefault(call, asyncio.Event())

    def answer(self, call: str, *answers: Callable[[], object]) -> None:
        """What the next calls do before they return; afterwards all goes well."""
        self.answers.setdefault(call, []).extend(answers)

    async def _do(self, call: str) -> object:
        self.calls.append(call)
        if call in self.gates:
            await self.gates[call].wait()
        answers = self.answers.get(call)
        return answers.pop(0)() if answers else None

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        self.calls.append(f"on {device.name}")
        await self._do(f"load {model}")

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        self.fences.append(fence)
        self.priorities.append(priority)
        return await self._do(f"run {model}") is not False

    async def unload(self, model: str) -> None:
        await self._do(f"unload {model}")

    async def refuse(self, model: str, reason: str) -> None:
        await self._do(f"refuse {model}: {reason}")

    def peak_mb(self, model: str) -> float | None:
        return self.peaks.get(model)


@dataclass
class Scene:
    """Leases at work."""

    leases: Leases
    effects: Recorder
    clock: Clock
    told: list[Transition]

    async def wants(self, model: str, jobs: int = 0, urgent: int = 0, waited: float = 0.0) -> list[str]:
        """Say what a model wants, and see what is done about it until all is quiet."""
        self.leases.demand(model, jobs, urgent, waited)
        return await self.until_quiet()

    async def later(self, seconds: float) -> list[str]:
        self.clock.now += seconds
        self.leases.pause(self.leases.paused)  # whatever wakes it; its own alarm runs on the real clock
        return await self.until_quiet()

    async def until_quiet(self) -> list[str]:
        before = len(self.effects.calls)
        for _ in range(60):
            await asyncio.sleep(0)
        return [call for call in self.effects.calls[before:] if not call.startswith("on ")]

    def state(self, model: str) -> str:
        return self.leases.slots[model].state


def spec(memory_mb: int = 400, device: str = "cpu", **facts) -> ModelSpec:
    return ModelSpec(name="m", memory_mb=memory_mb, device=device, **facts)


@contextlib.asynccontextmanager
async def scene(
    *,
    devices: list[Device] | None = None,
    costs: Costs | None = None,
    preloads: bool = True,
    **specs: ModelSpec,
) -> AsyncIterator[Scene]:
    clock, effects, told = Clock(), Recorder(), []
    leases = Leases(devices or DEVICES, clock, costs=costs)
    leases.on_transition, leases.preloads = told.append, preloads
    for name, one in specs.items():
        leases.add(name, one)
        effects.answer(f"run {name}", lambda name=name: leases.demand(name, 0, 0, 0.0))
    running = asyncio.create_task(leases.run(effects))
    one = Scene(leases, effects, clock, told)
    await one.until_quiet()
    try:
        yield one
    finally:
        leases.close()
        for gate in effects.gates.values():
            gate.set()
        await running
        assert {slot.state for slot in leases.slots.values()} <= {"unloaded"}, "something is left resident"
        assert not any(leases.turn_on(device.name) for device in leases.devices), "a lease is left open"


# -- states ----------------------------------------------------------------------------------------------------------


async def test_a_model_with_work_is_loaded_run_and_stays_ready():
    async with scene(a=spec()) as now:
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.state("a") == "ready"


async def test_each_state_is_seen_on_the_way():
    async with scene(a=spec()) as now:
        gates = [now.effects.hold(call) for call in ("load a", "run a", "unload a")]
        await now.wants("a", jobs=1)
        seen = [now.state("a")]
        for gate in gates[:2]:
            gate.set()
            await now.until_quiet()
            seen.append(now.state("a"))
        await now.later(300)
        seen.append(now.state("a"))
        gates[2].set()
        await now.until_quiet()
        assert [*seen, now.state("a")] == ["loading", "busy", "ready", "unloading", "unloaded"]


async def test_a_model_leaves_when_it_was_idle_for_its_keep_alive():
    async with scene(a=spec(keep_alive=30)) as now:
        await now.wants("a", jobs=1)
        assert await now.later(29.9) == []
        assert await now.later(0.1) == ["unload a"]


async def test_its_own_alarm_wakes_it_for_that():
    async with scene(a=spec(keep_alive=0.01)) as now:
        unloaded = now.effects.hold("unload a")
        unloaded.set()
        await now.wants("a", jobs=1)
        now.clock.now += 0.01
        await until(lambda: now.state("a") == "unloaded")


async def test_a_model_that_is_dismissed_leaves_at_once_when_it_is_idle():
    async with scene(a=spec()) as now:
        await now.wants("a", jobs=1)
        assert now.leases.dismiss("a")
        assert await now.until_quiet() == ["unload a"]
        assert not now.leases.dismiss("a"), "it is not resident any more"


async def test_a_model_that_is_dismissed_finishes_its_batch_and_comes_back_for_further_work():
    async with scene(a=spec()) as now:
        gate = now.effects.hold("run a")
        await now.wants("a", jobs=1)
        assert now.leases.dismiss("a")
        assert await now.until_quiet() == []
        gate.set()
        assert await now.until_quiet() == ["unload a"]
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.state("a") == "ready"


async def test_a_model_that_makes_room_has_left_before_the_next_is_loaded():
    async with scene(a=spec(700), b=spec(700)) as now:
        await now.wants("a", jobs=1)
        gone = now.effects.hold("unload a")
        assert await now.wants("b", jobs=1) == ["unload a"]
        assert now.state("b") == "unloaded"
        gone.set()
        assert await now.until_quiet() == ["load b", "run b"]


async def test_devices_work_side_by_side():
    async with scene(a=spec(), small=spec(10, "none")) as now:
        now.effects.hold("run a")
        await now.wants("a", jobs=1)
        assert await now.wants("small", jobs=1) == ["load small", "run small"]


async def test_a_model_that_fits_nowhere_is_refused_with_the_numbers():
    async with scene(giant=spec(5000)) as now:
        (refused,) = await now.wants("giant", jobs=3)
        assert refused == "refuse giant: giant needs 5000 MB; cpu may use 1000 MB."


async def test_a_refusal_holds_up_nobody():
    async with scene(giant=spec(5000), a=spec()) as now:
        now.effects.hold("refuse giant: giant needs 5000 MB; cpu may use 1000 MB.")
        await now.wants("giant", jobs=3, waited=50)
        assert await now.wants("a", jobs=1) == ["load a", "run a"]


async def test_a_pause_holds_jobs_but_not_what_somebody_waits_for():
    async with scene(a=spec()) as now:
        now.leases.pause(True)
        assert await now.wants("a", jobs=5) == []
        assert await now.wants("a", jobs=5, urgent=1) == ["load a", "run a"]
        now.leases.pause(False)
        assert await now.wants("a", jobs=5) != []


async def test_a_paused_model_gives_its_memory_back_although_jobs_wait():
    async with scene(a=spec(keep_alive=30)) as now:
        await now.wants("a", jobs=1)
        now.leases.pause(True)
        await now.wants("a", jobs=5)
        assert await now.later(30) == ["unload a"]


# -- what goes wrong -------------------------------------------------------------------------------------------------


def failing(seconds: float) -> Callable[[], None]:
    def fail() -> None:
        raise LoadError(seconds)

    return fail


async def test_loading_that_failed_is_tried_again_when_it_said():
    async with scene(a=spec()) as now:
        now.effects.answer("load a", failing(5.0))
        assert await now.wants("a", jobs=1) == ["load a"]
        assert now.state("a") == "unloaded"
        assert await now.later(4.9) == []
        assert await now.later(0.1) == ["load a", "run a"]


async def test_a_worker_that_dies_at_work_is_replaced_for_what_still_waits():
    async with scene(a=spec()) as now:
        now.effects.answers["run a"] = [lambda: False, lambda: now.leases.demand("a", 0, 0, 0.0)]
        assert await now.wants("a", jobs=2) == ["load a", "run a", "load a", "run a"]
        first, second = now.effects.fences
        assert second > first


async def test_a_worker_that_dies_while_idle_is_noticed_and_cleared_away():
    async with scene(a=spec()) as now:
        await now.wants("a", jobs=1)
        now.leases.lost("a")
        assert await now.until_quiet() == ["unload a"]
        assert now.state("a") == "unloaded"
        assert now.told[-1].reason == "its worker ended by itself"


async def test_a_death_at_work_is_left_to_the_work():
    async with scene(a=spec()) as now:
        now.effects.hold("run a")
        await now.wants("a", jobs=1)
        now.leases.lost("a")
        assert await now.until_quiet() == []
        assert now.state("a") == "busy"


async def test_out_of_memory_gives_the_model_its_device_for_itself_once():
    async with scene(a=spec(100), b=spec(100)) as now:
        await now.wants("b", jobs=1)
        steps = []
        now.effects.answers["run a"] = [
            lambda: steps.append(now.leases.relieve("a")),
            lambda: now.leases.demand("a", 0, 0, 0.0),
        ]
        assert await now.wants("a", jobs=1) == ["load a", "run a", "unload b", "run a"]
        assert steps == ["alone on cpu"]
        assert now.leases.slots["a"].rung == 0, "what needed it is done"


async def test_the_ladder_ends_where_no_other_device_may_be_used():
    async with scene(a=spec(100)) as now:
        steps = []
        now.effects.answers["run a"] = [
            lambda: steps.append(now.leases.relieve("a")),
            lambda: (steps.append(now.leases.relieve("a")), now.leases.demand("a", 0, 0, 0.0)),
        ]
        await now.wants("a", jobs=1)
        assert steps == ["alone on cpu", None]


async def test_work_too_large_for_the_gpu_is_done_on_the_cpu_and_then_the_model_goes_home():
    async with scene(devices=[CPU, LIGHT, GPU], a=spec(100, "auto")) as now:
        steps = []
        now.effects.answers["run a"] = [
            lambda: steps.append(now.leases.relieve("a")),
            lambda: steps.append(now.leases.relieve("a")),
            lambda: now.leases.demand("a", 0, 0, 0.0),
        ]
        calls = await now.wants("a", jobs=1)
        assert calls == ["load a", "run a", "run a", "unload a", "load a", "run a", "unload a"]
        assert steps == ["alone on gpu0", "on the CPU"]
        assert [call for call in now.effects.calls if call.startswith("on ")] == ["on gpu0", "on cpu"]
        assert now.leases.slots["a"].device.name == "gpu0"


async def test_a_model_too_large_for_the_gpu_stays_on_the_cpu():
    async with scene(devices=[CPU, LIGHT, GPU], a=spec(100, "auto")) as now:

        def full() -> None:
            now.leases.relieve("a")
            raise LoadError(0.0)

        now.effects.answer("load a", full, full)
        assert await now.wants("a", jobs=1) == ["load a", "load a", "load a", "run a"]
        assert now.leases.slots["a"].device.name == "cpu"
        await now.later(300)
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.leases.slots["a"].device.name == "cpu"


async def test_a_model_that_must_have_the_gpu_is_not_moved():
    async with scene(devices=[CPU, LIGHT, GPU], a=spec(100, "gpu")) as now:
        assert now.leases.relieve("a") == "alone on gpu0"
        assert now.leases.relieve("a") is None


# -- devices that are not all ours, and who looks on -------------------------------------------------------------------


async def test_a_device_that_is_withdrawn_is_left_and_its_work_waits():
    async with scene(a=spec(), b=spec(pin=True)) as now:
        await now.wants("b", jobs=1)
        await now.wants("a", jobs=1)
        now.leases.withdraw("cpu", "somebody plays")
        assert sorted(await now.until_quiet()) == ["unload a", "unload b"]
        assert now.leases.withdrawn("cpu") == "somebody plays"
        assert await now.wants("a", jobs=1) == []
        now.leases.restore("cpu")
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.until_quiet() == ["load a", "run a"]


async def test_a_device_that_is_withdrawn_amid_a_batch_is_left_after_it():
    async with scene(a=spec()) as now:
        done = now.effects.hold("run a")
        await now.wants("a", jobs=1)
        now.leases.withdraw("cpu", "somebody plays")
        assert await now.until_quiet() == []
        done.set()
        assert await now.until_quiet() == ["unload a"]


async def test_a_model_that_may_choose_goes_on_on_the_cpu_while_its_gpu_is_withdrawn_and_comes_back():
    async with scene(devices=[CPU, LIGHT, GPU], a=spec(100, "auto")) as now:
        await now.wants("a", jobs=1)
        now.leases.withdraw("gpu0", "somebody plays")
        assert await now.until_quiet() == ["unload a"]
        for _ in range(2):
            now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.leases.slots["a"].device.name == "cpu"
        now.leases.restore("gpu0")
        assert await now.wants("a", jobs=1) == ["run a", "unload a"], "its batch is the last one there"
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert [call for call in now.effects.calls if call.startswith("on ")] == ["on gpu0", "on cpu", "on gpu0"]


async def test_work_that_waits_when_a_gpu_is_withdrawn_goes_on_on_the_cpu():
    async with scene(devices=[CPU, LIGHT, GPU], a=spec(100, "auto"), b=spec(100, "gpu")) as now:
        now.leases.withdraw("gpu0", "somebody plays")
        assert await now.wants("b", jobs=1) == []
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.leases.slots["a"].device.name == "cpu"
        assert (now.leases.why_not("a"), now.leases.why_not("b")) == ("", "gpu0 is withdrawn (somebody plays)")
        now.leases.restore("gpu0")
        assert await now.until_quiet() == ["load b", "run b"]


async def test_a_model_goes_to_another_gpu_before_it_goes_to_the_cpu():
    other = GPU.model_copy(update={"name": "gpu1", "index": 1})
    async with scene(devices=[CPU, LIGHT, GPU, other], a=spec(100, "auto")) as now:
        now.leases.withdraw("gpu0", "somebody plays")
        await now.wants("a", jobs=1)
        assert now.leases.slots["a"].device.name == "gpu1"


async def test_what_does_not_fit_on_the_cpu_for_now_waits_for_its_gpu_and_is_not_refused():
    async with scene(devices=[CPU, LIGHT, GPU], stays=spec(800, pin=True), a=spec(500, "auto")) as now:
        await now.wants("stays", jobs=1)
        now.leases.withdraw("gpu0", "somebody plays")
        assert await now.wants("a", jobs=1) == []
        now.leases.restore("gpu0")
        assert await now.until_quiet() == ["load a", "run a"]


async def test_a_model_that_needs_no_memory_is_not_loaded_on_a_withdrawn_device_either():
    async with scene(a=spec(0)) as now:
        now.leases.withdraw("cpu", "somebody plays")
        assert await now.wants("a", jobs=1) == []


async def test_a_rest_holds_jobs_as_a_pause_does_and_neither_ends_the_other():
    async with scene(a=spec()) as now:
        now.leases.rest("quiet hours until 07:00")
        now.leases.pause(True)
        assert now.leases.why_paused == "`sensorium pause`"
        now.leases.pause(False)
        assert (now.leases.paused, now.leases.why_paused) == (True, "quiet hours until 07:00")
        assert await now.wants("a", jobs=1) == []
        now.leases.rest("")
        assert await now.until_quiet() == ["load a", "run a"]


async def test_what_no_longer_fits_a_limit_leaves_and_what_needs_more_waits_for_its_end():
    async with scene(a=spec(400), b=spec(500)) as now:
        await now.wants("b", jobs=1)
        now.clock.now += 1
        await now.wants("a", jobs=1)
        now.leases.limit("cpu", 450)
        assert await now.until_quiet() == ["unload b"]
        assert await now.wants("b", jobs=1) == []
        now.leases.limit("cpu", None)
        now.effects.answer("run b", lambda: now.leases.demand("b", 0, 0, 0.0))
        assert await now.until_quiet() == ["load b", "run b"]


async def test_an_observer_is_told_of_each_state_with_the_reason_and_the_lease():
    async with scene(a=spec()) as now:
        await now.wants("a", jobs=1)
        await now.later(300)
    assert [(one.before, one.after, one.fence) for one in now.told] == [
        ("unloaded", "loading", 1),
        ("loading", "ready", 1),
        ("ready", "busy", 1),
        ("busy", "ready", 1),
        ("ready", "unloading", 1),
        ("unloading", "unloaded", 1),
    ]
    last = now.told[-1]
    assert (last.model, last.device, last.memory_mb, last.reason) == ("a", "cpu", 400, "idle")


async def test_measured_costs_are_told_and_what_is_remembered_counts():
    costs = Costs()
    told: list[tuple[CostKey, Cost]] = []
    costs.on_change = lambda key, cost: told.append((key, replace(cost)))
    costs.remember(CostKey("b", "", "cpu"), Cost(memory_mb=900))
    async with scene(costs=costs, a=spec(100), b=spec(100)) as now:
        now.effects.peaks["a"] = 150.0
        await now.wants("a", jobs=1)
        assert told == [(CostKey("a", "", "cpu"), Cost(None, 0.0)), (CostKey("a", "", "cpu"), Cost(150.0, 0.0))]
        assert await now.wants("b", jobs=1) == ["unload a", "load b", "run b"], "it is known to need more"


# -- priorities, preloading, several GPUs ----------------------------------------------------------------------------

GPU1 = Device(name="gpu1", kind="gpu", index=1, memory_mb=1000)


async def test_background_work_waits_until_nothing_else_does():
    async with scene(a=spec(), b=spec()) as now:
        done = now.effects.hold("run a")
        await now.wants("a", jobs=1)
        now.leases.demand("a", 0, 0, 0.0, background=3)
        await now.wants("b", jobs=1)
        now.clock.now += 1  # as long as loading b takes, so that its load may interrupt
        done.set()
        now.effects.answers["run a"] = [lambda: None, lambda: now.leases.demand("a", 0, 0, 0.0)]
        calls = await now.until_quiet()
        assert calls.index("run b") < calls.index("run a")
        assert now.effects.priorities[-1] == "background"


async def test_a_preloaded_model_is_there_from_the_start_and_is_back_when_there_is_room_again():
    async with scene(a=spec(preload=True), b=spec(900, keep_alive=30)) as now:
        assert now.state("a") == "ready"
        assert await now.wants("b", jobs=1) == ["unload a", "load b", "run b"]
        assert await now.later(30) == ["unload b", "load a"]


async def test_nothing_is_preloaded_for_a_question_or_while_the_host_is_paused():
    async with scene(preloads=False, a=spec(preload=True, keep_alive=30)) as now:
        assert now.effects.calls == []
        now.leases.pause(True)
        now.leases.preloads = True
        assert await now.until_quiet() == []
        now.leases.pause(False)
        assert await now.until_quiet() == ["load a"]


async def test_two_gpus_work_on_two_models_at_once():
    async with scene(devices=[CPU, LIGHT, GPU, GPU1], a=spec(900, "gpu"), b=spec(900, "gpu")) as now:
        now.effects.hold("run a")
        await now.wants("a", jobs=1)
        assert await now.wants("b", jobs=1) == ["load b", "run b"]
        assert {slot.device.name for slot in now.leases.slots.values()} == {"gpu0", "gpu1"}


async def test_before_a_model_is_loaded_the_most_counts_that_it_took_on_any_of_its_devices():
    costs = Costs()
    costs.remember(CostKey("a", "", "gpu1"), Cost(memory_mb=700))
    async with scene(devices=[CPU, LIGHT, GPU, GPU1], costs=costs, a=spec(100, "gpu")) as now:
        slot = now.leases.slots["a"]
        assert (slot.device.name, slot.memory_mb) == ("gpu0", 700)
        await now.wants("a", jobs=1)
        assert slot.memory_mb == (100 if slot.device.name == "gpu0" else 700)


async def test_a_model_is_loaded_on_whichever_gpu_is_free():
    async with scene(devices=[CPU, LIGHT, GPU, GPU1], a=spec(900, "gpu", keep_alive=30), b=spec(900, "gpu")) as now:
        await now.wants("a", jobs=1)
        first = now.leases.slots["a"].device.name
        await now.later(30)
        now.leases.withdraw(first, "somebody plays")
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a"]
        assert now.leases.slots["a"].device.name != first


# -- closing ---------------------------------------------------------------------------------------------------------


async def test_close_finishes_what_runs_and_begins_nothing_more():
    async with scene(a=spec(), b=spec()) as now:
        done = now.effects.hold("run a")
        await now.wants("a", jobs=5)
        now.leases.demand("b", 5, 1, 0.0)
        now.leases.close()
        assert await now.until_quiet() == []
        done.set()
        assert await now.until_quiet() == ["unload a"]


async def test_close_gives_up_what_loads():
    async with scene(a=spec()) as now:
        now.effects.hold("load a")
        await now.wants("a", jobs=1)
        now.leases.close()
        await now.until_quiet()
        assert now.state("a") == "unloaded"


async def test_close_at_the_moment_when_loading_begins_leaves_nothing_behind():
    async with scene(a=spec()) as now:
        now.leases.demand("a", 1, 0, 0.0)
        while now.state("a") != "loading":  # noqa: ASYNC110 - this very moment is meant
            await asyncio.sleep(0)
        now.leases.close()


@pytest.mark.parametrize("held", ["load a", "run a", "unload a"])
async def test_cancelled_at_any_await_nothing_is_held_and_it_can_be_run_again(held):
    leases, effects = Leases(DEVICES, Clock()), Recorder()
    leases.add("a", spec(keep_alive=0))
    effects.answer("run a", lambda: leases.demand("a", 0, 0, 0.0))
    gate = effects.hold(held)
    running = asyncio.create_task(leases.run(effects))
    leases.demand("a", 1, 0, 0.0)
    await until(lambda: held in effects.calls)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert leases.slots["a"].state == "unloaded"
    assert leases.turn_on("cpu") is None
    gate.set()
    effects.calls.clear()
    effects.answers.clear()
    effects.answer("run a", leases.close)
    leases.demand("a", 1, 0, 0.0)
    await leases.run(effects)
    assert effects.calls == ["on cpu", "load a", "run a", "unload a"]


async def test_a_worker_that_does_not_end_holds_its_device_but_not_the_end_of_the_host(monkeypatch):
    monkeypatch.setattr(leasing, "END_LIMIT", 0.01)
    leases, effects = Leases(DEVICES, Clock()), Recorder()
    for name in ("a", "b"):
        leases.add(name, spec(700))
        effects.answer(f"run {name}", lambda name=name: leases.demand(name, 0, 0, 0.0))
    effects.hold("unload a")
    running = asyncio.create_task(leases.run(effects))
    leases.demand("a", 1, 0, 0.0)
    await until(lambda: leases.slots["a"].state == "ready")
    leases.demand("b", 1, 0, 0.0)
    await asyncio.sleep(0.05)
    assert effects.calls[-1] == "unload a", "nothing is loaded where a process may still hold the memory"
    leases.close()
    await asyncio.wait_for(running, 5)
    assert leases.turn_on("cpu") is None


async def test_close_before_it_has_begun_to_run_is_not_forgotten():
    leases = Leases(DEVICES, Clock())
    leases.add("a", spec())
    running = asyncio.create_task(leases.run(Recorder()))
    leases.close()
    await asyncio.wait_for(running, 5)
    assert leases.slots["a"].state == "unloaded"


async def test_pinned_models_leave_with_the_host():
    async with scene(a=spec(pin=True)) as now:
        await now.wants("a", jobs=1)
        now.leases.close()
        assert await now.until_quiet() == ["unload a"]


async def test_leases_that_ended_can_be_run_again():
    leases = Leases(DEVICES, Clock())
    leases.add("a", spec())
    effects = Recorder()
    for _ in range(2):
        effects.answer("run a", lambda: leases.demand("a", 0, 0, 0.0))
        running = asyncio.create_task(leases.run(effects))
        await asyncio.sleep(0)
        leases.demand("a", 1, 0, 0.0)
        await until(lambda: "run a" in effects.calls)
        leases.close()
        await running
        effects.calls.clear()
    assert effects.fences == [1, 2]


# -- leases, fencing numbers, footprints -----------------------------------------------------------------------------


async def test_a_lease_is_one_turn_and_a_change_is_a_new_one():
    async with scene(a=spec(100), b=spec(100)) as now:
        for model in ("a", "a", "b", "a"):
            now.effects.answer(f"run {model}", lambda model=model: now.leases.demand(model, 0, 0, 0.0))
            await now.wants(model, jobs=1)
        assert now.effects.fences == [1, 1, 2, 3]


async def test_only_the_turn_in_force_is_current():
    async with scene(a=spec(100), b=spec(100)) as now:
        await now.wants("a", jobs=1)
        await now.wants("b", jobs=1)
        assert now.leases.is_current("b", 2)
        assert not now.leases.is_current("a", 1)
        assert not now.leases.is_current("b", 1)


async def test_the_peak_that_was_seen_replaces_the_declared_footprint():
    async with scene(a=spec(100), b=spec(500)) as now:
        await now.wants("b", jobs=1)
        now.effects.answer("run a", *[lambda: now.leases.demand("a", 0, 0, 0.0)] * 3)
        await now.wants("a", jobs=1)
        now.effects.peaks["a"] = 700.0
        assert await now.wants("a", jobs=1) == ["run a"]
        assert now.leases.slots["a"].cost.memory_mb == 700.0
        assert await now.wants("a", jobs=1) == ["unload b", "run a"], "together they are over the budget by now"


async def test_what_outgrew_its_device_once_is_loaded_again_all_the_same():
    async with scene(a=spec(100, keep_alive=0)) as now:
        now.effects.peaks["a"] = 5000.0
        assert await now.wants("a", jobs=1) == ["load a", "run a", "unload a"]
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        assert await now.wants("a", jobs=1) == ["load a", "run a", "unload a"]


# -- which device ----------------------------------------------------------------------------------------------------

ROOMY_CPU = Device(name="cpu", kind="cpu", memory_mb=16000)
LARGE = Device(name="gpu1", kind="gpu", index=1, memory_mb=8000)


@pytest.mark.parametrize(
    ("wanted", "memory_mb", "devices", "chosen"),
    [
        ("none", 10, [CPU, LIGHT, GPU], "light"),
        ("cpu", 10, [CPU, LIGHT, GPU], "cpu"),
        ("auto", 10, [CPU, LIGHT], "cpu"),
        ("auto", 10, [CPU, LIGHT, GPU], "gpu0"),
        ("auto", 10, [CPU, LIGHT, GPU, LARGE], "gpu1"),
        ("auto", 9000, [ROOMY_CPU, LIGHT, GPU, LARGE], "cpu"),
        ("auto", 90000, [ROOMY_CPU, LIGHT, GPU, LARGE], "gpu1"),
        ("gpu", 10, [CPU, LIGHT, GPU], "gpu0"),
        ("gpu", 9000, [CPU, LIGHT, GPU, LARGE], "gpu1"),
        ("gpu", 10, [CPU, LIGHT], "gpu"),
    ],
)
def test_a_model_is_placed_where_it_fits(wanted, memory_mb, devices, chosen):
    assert ladder_of(spec(memory_mb, wanted), devices, {})[0].devices[0].name == chosen


def test_models_are_spread_over_the_gpus_by_the_room_that_is_left():
    assert ladder_of(spec(10, "auto"), [CPU, LIGHT, GPU, LARGE], {"gpu1": 7500.0})[0].devices[0].name == "gpu0"
