"""The one owner of who computes where: it asks the policy, carries out what that says, and remembers.

Everything happens on the event loop: a decision is made on the state that it changes, with no await between. Effects
run as tasks and report back by changing the state and asking again.

    unloaded → loading → ready ⇄ busy
        ↑         ↓        ↓       ↓       loading, busy → unloaded: the worker could not load, died or was killed
        └─────────┴── unloading ←──┘       busy → unloading: it is to go on on another device

A lease is one turn of one model on one device. Its fencing number only grows, over restarts too.

Out of memory is a ladder (`slots.Step`): the device for itself, then the variants that the plugin declares, then, for a
model that may choose, the CPU. When the work that needed a step is done, the model is again what it was.

Every wait for a worker has a limit: for its answers that is the worker's own (`spec.time_limit`, `load_time_limit`); an
end that takes longer than `END_LIMIT` is told, and the device stays closed; `run` waits no longer for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from hooks.model import Device, ModelSpec
from host.leasing import policy
from host.leasing.costs import Costs
from host.leasing.policy import PRIORITIES, Lane, Priority
from host.leasing.slots import Slot, ladder_of
from host.log import get_logger

END_LIMIT = 60.0
ASKED = "`sensorium pause`"

log = get_logger(__name__)


class LoadError(Exception):
    """Loading failed; what waits for the model was told. `retry_after` is how many seconds to leave it alone."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Effects(Protocol):
    """What the leases have done by others; each returns when it is done."""

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        """Start a worker and load. Raises LoadError. Cancelled when the host ends; no worker is left then."""

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        """Run one batch of this priority; False when the worker is gone afterwards."""

    async def unload(self, model: str) -> None:
        """End the worker and wait until its memory is free."""

    async def refuse(self, model: str, reason: str) -> None:
        """Fail what waits for the model."""

    def peak_mb(self, model: str) -> float | None:
        """The most memory that the model's worker has had, in MB; None where that is not measured."""


@dataclass(slots=True)
class Turn:
    """A lease in force."""

    fence: int
    model: str
    began: float


@dataclass(frozen=True, slots=True)
class Transition:
    """A model came into another state, on a device; `fence` is that of its lease, 0 where it holds none."""

    at: float
    model: str
    device: str
    before: policy.State
    after: policy.State
    reason: str
    memory_mb: float
    fence: int


@dataclass(slots=True)
class _Ground:
    """A device; `withdrawn` says why nothing may be on it for a while, `limit_mb` how much of it is left for us now."""

    device: Device
    turn: Turn | None = None
    lanes: dict[Priority, Lane] = field(default_factory=lambda: dict.fromkeys(PRIORITIES, policy.NEW_LANE))
    idle_since: float = 0.0
    withdrawn: str = ""
    limit_mb: float | None = None


class Leases:
    """The actor; `run` is its life."""

    def __init__(
        self,
        devices: Sequence[Device],
        clock: Callable[[], float] = time.monotonic,
        *,
        costs: Costs | None = None,
    ) -> None:
        self.costs = costs or Costs()
        self.on_transition: Callable[[Transition], None] = lambda transition: None
        self.on_room: Callable[[str], None] = lambda device: None
        self._grounds = {device.name: _Ground(device) for device in devices}
        self._slots: dict[str, Slot] = {}
        self._clock = clock
        self._changed = asyncio.Event()
        self._fence = 0
        self._effects: Effects | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._closing = False
        self._asked_to_pause = False
        self._resting = ""
        self.preloads = True

    @property
    def devices(self) -> list[Device]:
        """The devices, as they were found."""
        return [ground.device for ground in self._grounds.values()]

    @property
    def slots(self) -> dict[str, Slot]:
        """What is known of each model, to be read only."""
        return self._slots

    def now(self) -> float:
        """The time by which turns begin and models are idle."""
        return self._clock()

    def turn_on(self, device: str) -> Turn | None:
        """The lease in force on a device."""
        return self._grounds[device].turn

    def is_current(self, model: str, fence: int) -> bool:
        """Whether work done under this fencing number still counts."""
        turn = self._grounds[self._slots[model].device.name].turn
        return turn is not None and turn.model == model and turn.fence == fence

    # -- what it is told ---------------------------------------------------------------------------------------------

    def add(self, name: str, spec: ModelSpec) -> None:
        """Make a model known; where it may be is decided here, once."""
        planned = dict.fromkeys(self._grounds, 0.0)
        for slot in self._slots.values():
            planned[slot.device.name] += slot.spec.memory_mb
        ladder = ladder_of(spec, self.devices, planned)
        for device in (device for step in ladder for device in step.devices):
            self._grounds.setdefault(device.name, _Ground(device))
        self._slots[name] = Slot.of(name, ladder, self.costs)

    def demand(
        self,
        model: str,
        waiting: int,
        urgent: int,
        waited: float,
        *,
        background: int = 0,
        background_waited: float = 0.0,
    ) -> None:
        """Say how many jobs and requests wait for a model, and how many seconds the oldest job has waited."""
        now, wants = self._clock(), self._slots[model].wants
        if urgent and not wants["interactive"].jobs:
            wants["interactive"].oldest = now
        wants["interactive"].jobs = urgent
        wants["normal"].jobs, wants["normal"].oldest = waiting, now - waited
        wants["background"].jobs, wants["background"].oldest = background, now - background_waited
        self._changed.set()

    def pause(self, paused: bool) -> None:
        """Start no jobs, or go on; what runs is finished, and what somebody waits for is still done."""
        self._asked_to_pause = paused
        self._changed.set()

    def rest(self, reason: str) -> None:
        """Be paused for this reason as well, or, when it is empty, not any more."""
        if reason != self._resting:
            self._resting = reason
            self._changed.set()

    @property
    def paused(self) -> bool:
        """Whether no jobs are started."""
        return self._asked_to_pause or bool(self._resting)

    @property
    def why_paused(self) -> str:
        """Why no jobs are started; empty when they are."""
        return ASKED if self._asked_to_pause else self._resting

    def withdraw(self, device: str, reason: str) -> None:
        """Have everything leave a device, after the batch that runs, and nothing come, until `restore`.

        What may be elsewhere by its ladder goes on there; other work waits.
        """
        self._grounds[device].withdrawn = reason
        self._room_changed(device)

    def restore(self, device: str) -> None:
        """Use a device again."""
        self._grounds[device].withdrawn = ""
        self._room_changed(device)

    def withdrawn(self, device: str) -> str:
        """Why nothing may be on a device now; empty for one that is in use."""
        return self._grounds[device].withdrawn

    def why_not(self, model: str) -> str:
        """Why a model can be nowhere for now: the devices where it might be are withdrawn; empty when it can."""
        places = [ground for name, ground in self._grounds.items() if name in self._slots[model].places]
        if not all(ground.withdrawn for ground in places):
            return ""
        return ", ".join(f"{ground.device.name} is withdrawn ({ground.withdrawn})" for ground in places)

    def limit(self, device: str, memory_mb: float | None) -> None:
        """Say how much of a device may be used for now (None: all). What is over that leaves; what needs more waits."""
        self._grounds[device].limit_mb = memory_mb
        self._room_changed(device)

    def budget_mb(self, device: str) -> float:
        """How much of a device may be used now, were it not withdrawn."""
        ground = self._grounds[device]
        return ground.device.memory_mb if ground.limit_mb is None else min(ground.limit_mb, ground.device.memory_mb)

    def _room_changed(self, device: str) -> None:
        withdrawn = frozenset(name for name, ground in self._grounds.items() if ground.withdrawn)
        for slot in self._slots.values():
            slot.withdrawn = withdrawn
            if slot.state == "unloaded":
                slot.settle()
        self.on_room(device)
        self._changed.set()

    def lost(self, model: str) -> None:
        """The worker of a model ended by itself. One that is at work is found out about by its work."""
        if self._slots[model].state == "ready":
            self._begin(policy.Unload(model, "its worker ended by itself"))

    def dismiss(self, model: str, reason: str = "somebody asked for it") -> bool:
        """Have a model leave memory: now when it is idle, else after its batch. False when it is not resident.

        Work that waits for it loads it again.
        """
        slot = self._slots[model]
        if slot.state == "ready":
            self._begin(policy.Unload(model, reason))
        slot.dismissed = reason if slot.state == "busy" else ""
        return slot.state in ("busy", "unloading")

    def relieve(self, model: str) -> str | None:
        """After an out-of-memory: take the next step of the ladder and say it in words; None when there is none.

        To be called by what loads or runs the model, before that returns.
        """
        slot = self._slots[model]
        self.costs.outgrew(slot.cost_key, slot.memory_mb, slot.device.memory_mb)
        return slot.climb()

    def close(self) -> None:
        """Finish what runs, give up what loads, unload everything; `run` then ends, also when it has not begun yet."""
        self._closing = True
        for slot in self._slots.values():
            if slot.loading is not None:
                slot.loading.cancel()
        self._changed.set()

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def run(self, effects: Effects, last_fence: int = 0) -> None:
        """Decide and act until `close`; when it ends, no worker is left, and it may be run again.

        `last_fence` is the highest fencing number that was ever given out.
        """
        self._effects = effects
        self._fence = max(self._fence, last_fence)
        for ground in self._grounds.values():
            ground.lanes = {priority: Lane(served_at=self._clock()) for priority in PRIORITIES}
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while not (self._closing and all(slot.state == "unloaded" for slot in self._slots.values())):
                    self._changed.clear()
                    await self._wait(self._act())
        finally:
            self._tasks, self._closing = None, False
            for name, slot in self._slots.items():
                if slot.state != "unloaded":  # only when it was cancelled, or something broke
                    self._gone(name, slot, "the host ended")

    def _act(self) -> float | None:
        if self._closing:
            for name in [name for name, slot in self._slots.items() if slot.state == "ready"]:
                self._begin(policy.Unload(name, "the host ends"))
            return None
        decision = policy.decide(self._models(), self._devices(), self._clock())
        for action in decision.actions:
            self._begin(action)
        return decision.wake_at

    async def _wait(self, wake_at: float | None) -> None:
        delay = None if wake_at is None else max(0.0, wake_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._changed.wait()

    def _begin(self, action: policy.Action) -> None:
        slot = self._slots[action.model]
        if isinstance(action, policy.Refuse):
            for want in slot.wants.values():
                want.jobs = 0
            self._changed.set()
            self._spawn(self._refuse(action), f"refuse-{action.model}")
        elif isinstance(action, policy.Load):
            slot.device = self._grounds[action.device].device
            turn = self._grant(action.model, slot)
            self._enter(action.model, slot, "loading", "it has work" if action.priority else "to have it ready")
            slot.loading = self._spawn(self._load(action, slot, turn), f"load-{action.model}")
            slot.loading.add_done_callback(partial(self._load_ended, action.model))
        elif isinstance(action, policy.Unload):
            self._enter(action.model, slot, "unloading", action.reason)
            self._spawn(self._unload(action, slot), f"unload-{action.model}")
        else:
            turn = self._grant(action.model, slot)
            self._enter(action.model, slot, "busy", "its turn")
            self._spawn(self._run(action, slot, turn), f"run-{action.model}")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("The leases are not running.")
        return self._tasks.create_task(work, name=name)

    # -- carrying it out ---------------------------------------------------------------------------------------------

    async def _load(self, action: policy.Load, slot: Slot, turn: Turn) -> None:
        model, ground, began = action.model, self._grounds[slot.device.name], self._clock()
        try:
            await self._need().load(model, slot.device, slot.spec)
        except LoadError as error:
            slot.retry_at = self._clock() + error.retry_after
            self._gone(model, slot, "it could not be loaded")
            return
        slot.retry_at = 0.0
        slot.idle_since = turn.began = now = self._clock()
        if action.priority is not None:
            ground.lanes[action.priority] = replace(ground.lanes[action.priority], loaded_at=now)
        self.costs.loaded(slot.cost_key, slot.idle_since - began)
        self.costs.used(slot.cost_key, self._need().peak_mb(model) or 0.0)
        self._enter(model, slot, "ready", "loaded")
        log.info("model loaded", model=model, device=slot.device.name, seconds=round(slot.idle_since - began, 2))

    def _load_ended(self, model: str, task: asyncio.Task[None]) -> None:
        slot = self._slots[model]
        slot.loading = None
        if task.cancelled():  # maybe before it had begun
            self._gone(model, slot, "the host ends")
        self._changed.set()

    async def _run(self, action: policy.Run, slot: Slot, turn: Turn) -> None:
        model, priority, ground, rung = action.model, action.priority, self._grounds[slot.device.name], slot.rung
        began, jobs = self._clock(), slot.wants[priority].jobs
        alive = await self._need().run_batch(model, turn.fence, priority)
        if priority != "interactive":
            slot.worked(jobs, self._clock() - began)
        slot.idle_since = slot.wants[priority].served = now = self._clock()
        ground.lanes[priority] = replace(ground.lanes[priority], served_at=now)
        self.costs.used(slot.cost_key, self._need().peak_mb(model) or 0.0)
        if slot.rung <= rung:  # no further step was taken: what needed the last one is done
            slot.rung = slot.first
        dismissed, slot.dismissed = slot.dismissed, ""
        if not alive:
            self._gone(model, slot, "its worker ended")
        elif dismissed:
            self._begin(policy.Unload(model, dismissed))
        elif slot.must_move:
            self._begin(policy.Unload(model, f"it goes on {slot.wanted.words or 'as it was'}"))
        else:
            self._enter(model, slot, "ready", "its batch is done")
        self._changed.set()

    async def _unload(self, action: policy.Unload, slot: Slot) -> None:
        ending = asyncio.ensure_future(self._need().unload(action.model))
        try:
            while not (await asyncio.wait([ending], timeout=END_LIMIT))[0]:
                log.error("worker does not end", model=action.model, device=slot.device.name, seconds=END_LIMIT)
                if self._closing:
                    break
            else:
                await ending
                log.info("model unloaded", model=action.model, device=slot.device.name, reason=action.reason)
        finally:
            ending.cancel()
        self._gone(action.model, slot, action.reason)
        self._changed.set()

    async def _refuse(self, action: policy.Refuse) -> None:
        await self._need().refuse(action.model, action.reason)
        self._changed.set()

    def _gone(self, model: str, slot: Slot, reason: str) -> None:
        """No worker holds the model any more."""
        ground = self._grounds[slot.device.name]
        self._enter(model, slot, "unloaded", reason)
        if ground.turn is not None and ground.turn.model == model:
            ground.turn = None
        slot.settle()

    def _enter(self, model: str, slot: Slot, state: policy.State, reason: str) -> None:
        before, slot.state = slot.state, state
        ground = self._grounds[slot.device.name]
        ground.idle_since, turn = self._clock(), ground.turn
        fence = turn.fence if turn is not None and turn.model == model else 0
        self.on_transition(
            Transition(self._clock(), model, slot.device.name, before, state, reason, slot.memory_mb, fence)
        )

    def _need(self) -> Effects:
        if self._effects is None:
            raise RuntimeError("The leases are not running.")
        return self._effects

    # -- the leases themselves ---------------------------------------------------------------------------------------

    def _grant(self, model: str, slot: Slot) -> Turn:
        ground = self._grounds[slot.device.name]
        if ground.turn is not None and ground.turn.model == model:
            return ground.turn
        self._fence += 1
        ground.turn = Turn(self._fence, model, self._clock())
        return ground.turn

    # -- what the policy sees ----------------------------------------------------------------------------------------

    def _models(self) -> list[policy.Model]:
        """Those that something can be decided about: a hundred plugins without work must not slow each decision."""
        return [self._model(name, slot) for name, slot in self._slots.items() if slot.matters]

    def _model(self, name: str, slot: Slot) -> policy.Model:
        spec = slot.spec
        return policy.Model(
            name=name,
            device=slot.device.name,
            memory_mb=slot.memory_mb,
            state=slot.state,
            others=tuple(place for place in slot.places if place != slot.device.name),
            wants={
                priority: want.since
                for priority, want in slot.wants.items()
                if want.jobs and (priority == "interactive" or not self.paused)
            },
            idle_since=slot.idle_since,
            retry_at=slot.retry_at,
            load_seconds=slot.cost.load_seconds or 1.0,
            keep_alive=spec.keep_alive,
            weight=spec.weight,
            pin=spec.pin,
            exclusive=spec.exclusive,
            preload=spec.preload and self.preloads and not self.paused,
            cramped=slot.is_cramped,
            backlog=slot.backlog,
        )

    def _devices(self) -> list[policy.Device]:
        return [
            policy.Device(
                name,
                ground.device.memory_mb,
                holder=ground.turn.model if ground.turn else None,
                turn_began=ground.turn.began if ground.turn else 0.0,
                idle_since=ground.idle_since,
                lanes=ground.lanes,
                limit_mb=ground.limit_mb,
                withdrawn=bool(ground.withdrawn),
            )
            for name, ground in self._grounds.items()
        ]
