"""The one owner of who computes where: it asks the policy, carries out what that says, and remembers.

Everything happens on the event loop: a decision is made on the state that it changes, with no await between. Effects
run as tasks and report back by changing the state and asking again.

    unloaded → loading → ready ⇄ busy
        ↑         ↓        ↓       ↓       loading, busy → unloaded: the worker died or was killed
        └─────────┴── unloading ←──┘

A lease is one turn of one model on one device. Its fencing number only grows, over restarts too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hooks.model import Device, ModelSpec
from host.journal import Journal, Statement
from host.leasing import policy
from host.log import get_logger

log = get_logger(__name__)


class LoadError(Exception):
    """Loading failed; what waits for the model was told. `retry_at` is when to try again, by the clock."""

    def __init__(self, retry_at: float) -> None:
        super().__init__(retry_at)
        self.retry_at = retry_at


class Effects(Protocol):
    """What the leases have done by others; each returns when it is done."""

    async def load(self, model: str, device: Device) -> float | None:
        """Start a worker and load; returns the memory in MB that it took, if that was measured. Raises LoadError."""

    async def run_batch(self, model: str, fence: int) -> bool:
        """Run one batch; False when the worker is gone afterwards."""

    async def unload(self, model: str) -> None:
        """End the worker and wait until its memory is free."""

    async def refuse(self, model: str, reason: str) -> None:
        """Fail what waits for the model."""

    def pid(self, model: str) -> int:
        """The process id of the model's worker."""


@dataclass(slots=True)
class Slot:
    """What is known of a model: its spec, its state, its demand, and what was measured."""

    spec: ModelSpec
    device: Device
    state: policy.State = "unloaded"
    waiting: int = 0
    urgent: int = 0
    oldest: float = 0.0
    served: float = 0.0
    idle_since: float = 0.0
    retry_at: float = 0.0
    load_seconds: float | None = None
    measured_mb: float | None = None


@dataclass(slots=True)
class Turn:
    """A lease in force."""

    fence: int
    model: str
    began: float
    recorded: bool = False


@dataclass(slots=True)
class _Ground:
    device: Device
    turn: Turn | None = None


class Leases:
    """Grants the devices to models, one at a time each."""

    def __init__(
        self,
        devices: Sequence[Device],
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grounds = {device.name: _Ground(device) for device in devices}
        self._slots: dict[str, Slot] = {}
        self._journal = journal
        self._clock = clock
        self._changed = asyncio.Event()
        self._fence = 0
        self._effects: Effects | None = None
        self._closing = False
        self.paused = False

    @property
    def devices(self) -> list[Device]:
        """The devices, as they were found."""
        return [ground.device for ground in self._grounds.values()]

    @property
    def slots(self) -> dict[str, Slot]:
        """What is known of each model, to be read only."""
        return self._slots

    def turn_on(self, device: str) -> Turn | None:
        """The lease in force on a device."""
        return self._grounds[device].turn

    def is_current(self, model: str, fence: int) -> bool:
        """Whether work done under this fencing number still counts."""
        turn = self._grounds[self._slots[model].device.name].turn
        return turn is not None and turn.model == model and turn.fence == fence

    def add(self, name: str, spec: ModelSpec) -> None:
        """Make a model known; its device is chosen here, once."""
        device = place(spec, self.devices)
        self._grounds.setdefault(device.name, _Ground(device))
        self._slots[name] = Slot(spec, device)

    def demand(self, model: str, waiting: int, urgent: int, oldest: float) -> None:
        """Say how many jobs wait for a model, and since when (by the clock)."""
        slot = self._slots[model]
        slot.waiting, slot.urgent, slot.oldest = waiting, urgent, oldest
        self._changed.set()

    def pause(self, paused: bool) -> None:
        """Give no new work, or go on; what runs is finished."""
        self.paused = paused
        self._changed.set()

    def close(self) -> None:
        """Finish what runs, unload everything; `run` then ends."""
        self._closing = True
        self._changed.set()

    async def run(self, effects: Effects) -> None:
        """Decide and act until `close`; when it ends, no worker is left."""
        self._effects = effects
        row = await self._journal.row("last_fence")
        self._fence = row["fence"] if row else 0
        await self._journal.write(Statement("close_leases", [{"released": time.time()}]))
        async with asyncio.TaskGroup() as tasks:
            while not (self._closing and all(slot.state == "unloaded" for slot in self._slots.values())):
                self._changed.clear()
                await self._wait(self._act(tasks))

    def _act(self, tasks: asyncio.TaskGroup) -> float | None:
        if self._closing:
            ready = [name for name, slot in self._slots.items() if slot.state == "ready"]
            for name in ready:
                self._begin(policy.Unload(name, "the host ends"), tasks)
            return None
        decision = policy.decide(self._models(), self._devices(), self._clock(), paused=self.paused)
        for action in decision.actions:
            self._begin(action, tasks)
        return decision.wake_at

    async def _wait(self, wake_at: float | None) -> None:
        delay = None if wake_at is None else max(0.0, wake_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._changed.wait()

    def _begin(self, action: policy.Action, tasks: asyncio.TaskGroup) -> None:
        slot = self._slots[action.model]
        if isinstance(action, policy.Refuse):
            slot.waiting = slot.urgent = 0
            tasks.create_task(self._refuse(action), name=f"refuse-{action.model}")
        elif isinstance(action, policy.Load):
            slot.state = "loading"
            self._grant(action.model, tasks)
            tasks.create_task(self._load(action.model, slot), name=f"load-{action.model}")
        elif isinstance(action, policy.Unload):
            slot.state = "unloading"
            tasks.create_task(self._unload(action, slot, tasks), name=f"unload-{action.model}")
        else:
            slot.state = "busy"
            turn = self._grant(action.model, tasks)
            tasks.create_task(self._run(action.model, slot, turn), name=f"run-{action.model}")

    def _grant(self, model: str, tasks: asyncio.TaskGroup) -> Turn:
        ground = self._grounds[self._slots[model].device.name]
        if ground.turn is not None and ground.turn.model == model:
            return ground.turn
        self._release(ground, f"turn of {model}", tasks)
        self._fence += 1
        ground.turn = Turn(self._fence, model, self._clock())
        return ground.turn

    async def _record(self, turn: Turn, device: Device) -> None:
        """Write a lease down, once; its worker has a process id by now."""
        if not turn.recorded:
            turn.recorded = True
            row = {"fence": turn.fence, "device": device.name, "model": turn.model, "granted": time.time()}
            await self._journal.write(Statement("grant_lease", [{**row, "pid": self._need().pid(turn.model)}]))

    def _release(self, ground: _Ground, reason: str, tasks: asyncio.TaskGroup) -> None:
        turn, ground.turn = ground.turn, None
        if turn is not None and turn.recorded:
            row = {"fence": turn.fence, "released": time.time(), "reason": reason}
            tasks.create_task(self._journal.write(Statement("release_lease", [row])), name="release-lease")

    async def _load(self, model: str, slot: Slot) -> None:
        began = self._clock()
        try:
            measured = await self._need().load(model, slot.device)
        except LoadError as error:
            slot.state, slot.retry_at = "unloaded", error.retry_at
        else:
            slot.state, slot.load_seconds = "ready", self._clock() - began
            slot.measured_mb = measured or slot.measured_mb
            slot.idle_since, slot.retry_at = self._clock(), 0.0
            log.info("model loaded", model=model, device=slot.device.name, seconds=round(slot.load_seconds, 2))
        self._changed.set()

    async def _run(self, model: str, slot: Slot, turn: Turn) -> None:
        async with asyncio.TaskGroup() as records:
            records.create_task(self._record(turn, slot.device), name=f"record-{model}")
            alive = await self._need().run_batch(model, turn.fence)
        slot.state = "ready" if alive else "unloaded"
        slot.served = slot.idle_since = self._clock()
        self._changed.set()

    async def _unload(self, action: policy.Unload, slot: Slot, tasks: asyncio.TaskGroup) -> None:
        await self._need().unload(action.model)
        slot.state = "unloaded"
        ground = self._grounds[slot.device.name]
        if ground.turn is not None and ground.turn.model == action.model:
            self._release(ground, action.reason, tasks)
        log.info("model unloaded", model=action.model, device=slot.device.name, reason=action.reason)
        self._changed.set()

    async def _refuse(self, action: policy.Refuse) -> None:
        await self._need().refuse(action.model, action.reason)
        self._changed.set()

    def _need(self) -> Effects:
        if self._effects is None:
            raise RuntimeError("The leases are not running.")
        return self._effects

    def _models(self) -> list[policy.Model]:
        return [
            policy.Model(
                name=name,
                device=slot.device.name,
                memory_mb=slot.measured_mb or slot.spec.memory_mb,
                state=slot.state,
                waiting=slot.waiting,
                urgent=slot.urgent,
                since=max(slot.oldest, slot.served),
                idle_since=slot.idle_since,
                retry_at=slot.retry_at,
                load_seconds=slot.load_seconds or 1.0,
                keep_alive=slot.spec.keep_alive,
                pin=slot.spec.pin,
            )
            for name, slot in self._slots.items()
        ]

    def _devices(self) -> list[policy.Device]:
        return [
            policy.Device(
                name,
                ground.device.memory_mb,
                ground.turn.model if ground.turn else None,
                ground.turn.began if ground.turn else 0.0,
            )
            for name, ground in self._grounds.items()
        ]


def place(spec: ModelSpec, devices: Sequence[Device]) -> Device:
    """The device for a model: a GPU with room for 'auto', else the CPU; a GPU or nothing but a refusal for 'gpu'."""
    gpus = [device for device in devices if device.kind == "gpu"]
    cpu = next(device for device in devices if device.kind == "cpu")
    if spec.device == "none":
        return next(device for device in devices if device.kind == "none")
    if spec.device == "cpu" or not gpus:
        return cpu if spec.device != "gpu" else Device(name="gpu", kind="gpu", memory_mb=0)
    roomy = [device for device in gpus if device.memory_mb >= spec.memory_mb]
    if roomy or spec.device == "gpu":
        return max(roomy or gpus, key=lambda device: device.memory_mb)
    return cpu
