"""The real lease actor and the real policy among simulated workers that fail in every way, on a clock that jumps.

Every decision is looked at with rules that are written here once more, without the policy's own functions; every effect
is looked at by what the simulated processes really hold.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from hooks.model import Device, ModelSpec, Variant
from host.leasing import policy
from host.leasing.leases import Leases, LoadError, Transition
from host.leasing.policy import PRIORITIES, Decision, Load, Model, Priority, Refuse, Run, Unload

decide = policy.decide


# -- what every decision must be -------------------------------------------------------------------------------------


def checked_decide(models: Sequence[Model], devices: Sequence[policy.Device], now: float) -> Decision:
    """The policy's decision, with every invariant looked at."""
    decision = decide(models, devices, now)
    named = {model.name: model for model in models}
    refused = {action.model for action in decision.actions if isinstance(action, Refuse)}
    loaded = {action.model: action.device for action in decision.actions if isinstance(action, Load)}
    assert len([action.model for action in decision.actions]) == len({action.model for action in decision.actions})
    for model in models:
        if model.wants and model.state == "unloaded":
            hopeless = all(never_fits(model, one, models) for one in devices if one.name in places(model))
            assert (model.name in refused) == hopeless, "what never fits is refused at once, and nothing else is"
    for device in devices:
        here = [model for model in models if model.state != "unloaded" and model.device == device.name]
        actions = [
            action
            for action in decision.actions
            if not isinstance(action, Refuse)
            and (action.device if isinstance(action, Load) else named[action.model].device) == device.name
        ]
        if any(model.state in ("loading", "busy", "unloading") for model in here):
            assert not actions, "something was begun while something was under way"
        else:
            _check_actions(device, here, actions, named)
            if not actions:
                _check_idle(device, models, refused, loaded, now, decision.wake_at)
    return decision


def _check_actions(device: policy.Device, here: list[Model], actions: list, named: dict[str, Model]) -> None:
    works = [action for action in actions if isinstance(action, Load | Run)]
    assert len(works) <= 1
    assert not works or len(actions) == 1, "work beside leaving"
    for action in actions:
        one = named[action.model]
        if isinstance(action, Unload):
            assert one.state == "ready", "a busy model is evicted"
            assert not one.pin or room(device) < device.budget_mb, "a pinned model leaves"
        elif isinstance(action, Run):
            assert one.state == "ready"
            assert action.priority in one.wants
            assert not device.withdrawn
        else:
            assert one.state == "unloaded"
            assert one.retry_at <= 0 or one.wants or one.preload
            assert sum(other.memory_mb for other in here) + one.memory_mb <= room(device), "over the budget"
            assert not here or not any(other.exclusive for other in (one, *here)), "an exclusive model is not alone"


def _check_idle(
    device: policy.Device, models: Sequence[Model], refused: set, loaded: dict, now: float, wake_at: float | None
) -> None:
    for model in models:
        if not model.wants or model.name in refused or model.name in loaded or device.name not in places(model):
            continue
        if model.state == "ready" and model.device == device.name:
            raise AssertionError("a device is idle although a resident model has work")
        pinned = [one for one in models if one.state == "ready" and one.device == device.name and one.pin]
        fits = model.memory_mb + sum(one.memory_mb for one in pinned) <= room(device)
        if model.state == "unloaded" and fits and not never_fits(model, device, models):
            assert model.retry_at > now, "a device is idle although a model that may come has work"
            assert wake_at is not None, "nobody is woken for the next attempt at loading"
            assert wake_at <= model.retry_at, "nobody is woken for the next attempt at loading"


def places(model: Model) -> tuple[str, ...]:
    return (model.device, *model.others) if model.state == "unloaded" else (model.device,)


def room(device: policy.Device) -> float:
    limit = device.budget_mb if device.limit_mb is None else device.limit_mb
    return 0.0 if device.withdrawn else min(device.budget_mb, limit)


def never_fits(model: Model, device: policy.Device, models: Sequence[Model]) -> bool:
    staying = [
        one for one in models if one.pin and one.device == device.name and one.state in ("loading", "ready", "busy")
    ]
    if model.memory_mb + sum(one.memory_mb for one in staying) > device.budget_mb:
        return True
    return any(model.exclusive or one.exclusive for one in staying)


# -- workers that fail -----------------------------------------------------------------------------------------------


@dataclass
class Job:
    """A job; it runs out of memory on the first `hard` steps of the ladder."""

    hard: int = 0


@dataclass
class Faults:
    """How often each effect fails, and how long things take at most."""

    load_fails: float = 0.0
    load_out_of_memory: float = 0.0
    worker_dies: float = 0.0
    grows: float = 0.0
    slow_exit: float = 0.0
    late_memory: float = 0.0


@dataclass
class Workers:
    """leases.Effects by simulated processes; what they hold is looked at whenever it changes."""

    leases: Leases
    rng: random.Random
    faults: Faults
    queues: dict[str, dict[Priority, list[Job]]] = field(default_factory=dict)
    holding: dict[str, tuple[str, float]] = field(default_factory=dict)  # where each process is, and with how much
    computing: dict[str, str] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    done: int = 0
    refused: int = 0
    fences: dict[str, int] = field(default_factory=dict)  # the last one on each device
    doomed: Callable[[str], bool] = lambda effect: False  # whether the next effect of this kind goes wrong

    on_await: Callable[[], None] = lambda: None  # told before each wait of an effect

    async def sleep(self, seconds: float) -> None:
        self.on_await()
        await asyncio.sleep(seconds)

    def chance(self, share: float, effect: str) -> bool:
        return self.doomed(effect) or self.rng.random() < share

    def arrive(self, model: str, priority: Priority, jobs: Sequence[Job]) -> None:
        self.queues[model][priority].extend(jobs)
        self.tell(model)

    def tell(self, model: str) -> None:
        queue = self.queues[model]
        self.leases.demand(
            model, len(queue["normal"]), len(queue["interactive"]), 0.0, background=len(queue["background"])
        )

    @property
    def is_drained(self) -> bool:
        return not self.computing and not any(jobs for queue in self.queues.values() for jobs in queue.values())

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        self._nobody_else_computes(device.name, model)
        assert model not in self.holding, "a second worker of one model"
        self.computing[device.name] = model
        self.holding[model] = (device.name, self.leases.slots[model].memory_mb)
        self._within_budget(device)
        try:
            await self.sleep(self.rng.random() * 5)
            failed = self.chance(self.faults.load_fails, "load")
            full = self.chance(self.faults.load_out_of_memory, "load out of memory")
            if failed or full:
                await self._end(model)
                if full and self.leases.relieve(model) is None:
                    await self.refuse(model, "the ladder is at its end")
                raise LoadError(0.0 if full else self.rng.choice([0.0, 1.0, 30.0]))
        except asyncio.CancelledError:
            self.holding.pop(model, None)
            raise
        finally:
            del self.computing[device.name]

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        slot = self.leases.slots[model]
        device = slot.device.name
        self._nobody_else_computes(device, model)
        assert self.leases.is_current(model, fence), "a lease that is not in force"
        assert fence >= self.fences.get(device, 0), "an old fencing number"
        self.fences[device] = fence
        self.computing[device] = model
        queue = self.queues[model][priority]
        jobs, queue[:] = queue[: slot.spec.batch], queue[slot.spec.batch :]
        try:
            await self.sleep(0.01 + self.rng.random() * 2)
            return await self._finish(model, jobs, queue, slot.rung)
        except asyncio.CancelledError:
            self.holding.pop(model, None)
            queue[:0] = jobs
            raise
        finally:
            del self.computing[device]
            self.tell(model)

    async def _finish(self, model: str, jobs: list[Job], queue: list[Job], rung: int) -> bool:
        if self.chance(self.faults.worker_dies, "run"):
            queue[:0] = jobs
            await self._end(model)
            return False
        if any(job.hard > rung for job in jobs):
            if self.leases.relieve(model) is not None:
                queue[:0] = jobs
                return True
        elif self.chance(self.faults.grows, "grow"):
            device, mb = self.holding[model]
            budget = self.leases.turn_on(device) and self.leases.slots[model].device.memory_mb
            self.peaks[model] = min(mb * 1.3, budget or mb)
            self.holding[model] = (device, self.peaks[model])
        self.done += len(jobs)
        return True

    async def unload(self, model: str) -> None:
        assert model not in self.computing.values(), "a busy model is evicted"
        try:
            await self._end(model)
        except asyncio.CancelledError:
            self.holding.pop(model, None)
            raise

    async def _end(self, model: str) -> None:
        """The process exits, maybe slowly, and its memory comes back, maybe late."""
        if self.chance(self.faults.slow_exit, "exit"):
            await self.sleep(self.rng.random() * 20)
        if self.chance(self.faults.late_memory, "memory"):
            await self.sleep(self.rng.random() * 5)
        await self.sleep(0)
        self.holding.pop(model, None)

    async def refuse(self, model: str, reason: str) -> None:
        for jobs in self.queues[model].values():
            self.refused += len(jobs)
            jobs.clear()
        self.tell(model)

    def peak_mb(self, model: str) -> float | None:
        return self.peaks.get(model)

    def _nobody_else_computes(self, device: str, model: str) -> None:
        assert device not in self.computing, f"{model} and {self.computing.get(device)} compute on {device} at once"

    def _within_budget(self, device: Device) -> None:
        held = sum(mb for where, mb in self.holding.values() if where == device.name)
        assert held <= device.memory_mb + 1e-6, f"{held} MB on {device.name}"


# -- a host of them --------------------------------------------------------------------------------------------------


class SimulatedHost:
    """Leases at work among such workers; `transitions` counts the states that models came into."""

    def __init__(self, devices: Sequence[Device], specs: dict[str, ModelSpec], rng: random.Random) -> None:
        self.leases = Leases(devices, asyncio.get_running_loop().time)
        self.workers = Workers(self.leases, rng, Faults())
        for name, spec in specs.items():
            self.leases.add(name, spec)
            self.workers.queues[name] = {priority: [] for priority in PRIORITIES}
        self.leases.on_transition = self._note
        self.transitions = 0
        self._running: asyncio.Task[None] | None = None

    def _note(self, transition: Transition) -> None:
        self.transitions += 1
        slot = self.leases.slots[transition.model]
        assert transition.before != transition.after
        assert (transition.before, transition.after) in ALLOWED
        turn = self.leases.turn_on(transition.device)
        if transition.after in ("loading", "busy"):
            assert turn is not None
            assert turn.model == transition.model, "it computes without the lease"
        if transition.after == "unloaded" and transition.reason != "the host ended":  # cancelled, or broken
            assert transition.model not in self.workers.holding, "free by the books, and held by a process"
        assert slot.device.name == transition.device

    def start(self) -> None:
        self._running = asyncio.create_task(self.leases.run(self.workers))

    async def check(self) -> None:
        """Raise what ended it before its time."""
        if self._running is not None and self._running.done():
            await self._running

    async def stop(self, *, hard: bool) -> None:
        """End as a host does, or by cancellation at whatever await it is; afterwards nothing is held."""
        await self.check()
        self.end(hard=hard)
        await self.ended()

    def end(self, *, hard: bool) -> None:
        """Have it end: as a host does, or by cancellation."""
        assert self._running is not None
        if hard:
            self.workers.holding.clear()  # whoever cancels it kills its workers as well
            self._running.cancel()
        else:
            self.leases.close()

    async def ended(self) -> None:
        """Wait for its end, after which nothing is held."""
        assert self._running is not None
        await asyncio.wait([self._running])
        if not self._running.cancelled() and (error := self._running.exception()):
            raise error
        assert self.workers.holding == {}, "a process is left"
        assert self.workers.computing == {}
        for slot in self.leases.slots.values():
            assert slot.state == "unloaded"
        for device in self.leases.devices:
            assert self.leases.turn_on(device.name) is None, "a lease is left"

    async def drain(self) -> None:
        """Without further faults everything is worked off, in the end and without a nudge."""
        self.workers.faults, self.workers.doomed = Faults(), lambda effect: False
        for device in self.leases.devices:
            self.leases.restore(device.name)
            self.leases.limit(device.name, None)
        self.leases.pause(False)
        deadline = asyncio.get_running_loop().time() + 1e6
        while not self.workers.is_drained:
            await asyncio.sleep(5)
            await self.check()
            assert asyncio.get_running_loop().time() < deadline, "a job waits for ever"


ALLOWED = {
    ("unloaded", "loading"),
    ("loading", "ready"),
    ("loading", "unloaded"),
    ("ready", "busy"),
    ("ready", "unloading"),
    ("busy", "ready"),
    ("busy", "unloading"),
    ("busy", "unloaded"),
    ("unloading", "unloaded"),
    ("ready", "unloaded"),  # when it is cancelled
}
CPU = Device(name="cpu", kind="cpu", memory_mb=1000)
GPUS = [Device(name=f"gpu{index}", kind="gpu", index=index, memory_mb=mb) for index, mb in enumerate((800, 800, 400))]


def some_spec(rng: random.Random, name: str) -> ModelSpec:
    """A model of any kind, some of which fit nowhere."""
    memory = rng.choice([50, 150, 300, 450, 700, 1200])
    variants = tuple(
        Variant(name=f"v{number}", memory_mb=max(1, memory // (2 + number)), device=rng.choice([None, None, "cpu"]))
        for number in range(rng.choice([0, 0, 1, 2]))
    )
    return ModelSpec(
        name=name,
        memory_mb=memory,
        device=rng.choice(["auto", "auto", "gpu", "cpu"]),
        batch=rng.choice([1, 4, 16]),
        keep_alive=rng.choice([0.0, 5.0, 300.0]),
        pin=rng.random() < 0.1,
        exclusive=rng.random() < 0.15,
        preload=rng.random() < 0.15,
        weight=rng.choice([0.2, 1.0, 5.0]),
        variants=variants,
    )


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the actor's every decision looked at."""
    monkeypatch.setattr(policy, "decide", checked_decide)
