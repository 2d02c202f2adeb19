"""The choice: a pure function from what waits, what is resident and the time to what to do next.

    devices first   what must leave leaves: from a withdrawn or shrunk device, and what was idle for too long
    then priority   interactive, normal, background: the highest that has work, unless a lower one is overdue
    then the model  what is resident is worked on; what is not is loaded when its loading pays
    then the room   who leaves for it, or why it can never fit

Invariants
  1. One model computes or loads on a device at a time, and none while one leaves it.
  2. What is resident on a device never exceeds its room, by the best known footprints; what outgrew it makes room.
  3. A busy model is never evicted. A pinned one never leaves for another, an exclusive one shares with nobody.
  4. A model that can never fit is refused at once, and nobody leaves for it.
  5. Nothing waits for ever. Within a priority what is resident is worked on for `QUANTUM` times what a change costs,
     counted from its last load; then the model that has waited longest is loaded. ('Oldest job first' would load for
     nearly every job.) What waits for a model counts as waiting too, up to a limit: so the last work does not come
     in one piece when there are several devices. A priority that higher ones have kept waiting for its `PATIENCE`, and
     for `QUANTUM` times what the change costs, has one batch.
  6. Interactive work (somebody waits for the answer) has the next batch. Normal work that needs a load interrupts
     background work only when the last load is as long ago as this one costs.
  7. A model without work leaves `keep_alive` after its last batch, also while others work; a preloaded one stays, and
     comes back when there is room that nobody needs.
  8. A device is never idle while a model that may run or be loaded there has work; one that has nothing to do for as
     long as a load takes is given a model that waits its turn on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Priority = Literal["interactive", "normal", "background"]
State = Literal["unloaded", "loading", "ready", "busy", "unloading"]

PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "background")
QUANTUM = 10.0
PATIENCE: Mapping[Priority, float] = {"interactive": 0.0, "normal": 60.0, "background": 600.0}
HEADSTART = 600.0  # seconds by which the work that waits for a model can put it before others that wait for a load
TURN = 1.0  # seconds that a resident model keeps its turn against another resident one: a change costs nothing there
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the policy sees it. Times are the clock's, in seconds.

    `device`: where it is; unloaded, where it may be loaded, as on the `others`. `wants`: the priorities of which it has
    work, and since when that waits for a turn (its oldest job came, or its last turn ended). `idle_since`: since when a
    ready one has done nothing. `retry_at`: not to be loaded before, because loading failed. `cramped`: it ran out of
    memory, and has its device for itself at its next batch. `weight`: how dear it is to whoever configured it.
    `backlog`: how many seconds its waiting work takes, by what was measured.
    """

    name: str
    device: str
    memory_mb: float
    state: State = "unloaded"
    others: tuple[str, ...] = ()
    wants: Mapping[Priority, float] = field(default_factory=dict)
    idle_since: float = 0.0
    retry_at: float = 0.0
    load_seconds: float = 1.0
    keep_alive: float = 300.0
    weight: float = 1.0
    pin: bool = False
    exclusive: bool = False
    preload: bool = False
    cramped: bool = False
    backlog: float = 0.0

    @property
    def places(self) -> tuple[str, ...]:
        """The devices where it may be."""
        return (self.device, *self.others)


@dataclass(frozen=True, slots=True)
class Lane:
    """What a priority had of a device: when a model was last loaded for it, and when its last batch ended."""

    loaded_at: float = -NEVER
    served_at: float = -NEVER


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the policy sees it: its budget, whose turn it is since when, what each priority had of it.

    `limit_mb`: so much of the budget may be used for now, where others need the rest. `withdrawn`: nothing, for now.
    `idle_since`: since when nothing was done there.
    """

    name: str
    budget_mb: float
    holder: str | None = None
    turn_began: float = 0.0
    idle_since: float = 0.0
    lanes: Mapping[Priority, Lane] = field(default_factory=dict)
    limit_mb: float | None = None
    withdrawn: bool = False

    @property
    def room_mb(self) -> float:
        """How much may be used now."""
        if self.withdrawn:
            return 0.0
        return self.budget_mb if self.limit_mb is None else min(self.limit_mb, self.budget_mb)

    def lane(self, priority: Priority) -> Lane:
        """What a priority had of it."""
        return self.lanes.get(priority, NEW_LANE)


NEW_LANE = Lane()


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker for the model and load it, for work of this priority (None: to have it ready)."""

    model: str
    device: str
    priority: Priority | None


@dataclass(frozen=True, slots=True)
class Run:
    """Give the model its next batch, of this priority."""

    model: str
    priority: Priority


@dataclass(frozen=True, slots=True)
class Unload:
    """End the model's worker."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Fail what waits for the model: it can never be loaded. Its demand is gone with that: ask again at once."""

    model: str
    reason: str


Action = Load | Run | Unload | Refuse


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to ask again if nothing changes before (None: never)."""

    actions: tuple[Action, ...]
    wake_at: float | None


class Choice(NamedTuple):
    """Who is next, and with work of which priority."""

    model: Model
    priority: Priority


def decide(models: Sequence[Model], devices: Sequence[Device], now: float) -> Decision:
    """What to do on every device."""
    actions: list[Action] = [*_refusals(models, devices)]
    moments: list[float] = []
    taken = {action.model for action in actions}
    grounds = [_Ground(device, models, now) for device in devices if not _is_engaged(device, models)]
    for ground in sorted(grounds, key=_Ground.order):
        steps = ground.next_steps(taken)
        taken.update(step.model for step in steps)
        actions.extend(_give_away(ground, steps, grounds))
        if not steps:
            moments.extend(ground.moments())
    return Decision(tuple(actions), min(moments, default=None))


def _is_engaged(device: Device, models: Iterable[Model]) -> bool:
    return any(model.device == device.name and model.state in ("loading", "busy", "unloading") for model in models)


class _Ground:
    """A device where nothing is under way, with who is there and who may come, at this moment."""

    def __init__(self, device: Device, models: Iterable[Model], now: float) -> None:
        self.device = device
        self.now = now
        self.resident = [model for model in models if model.state == "ready" and model.device == device.name]
        self.outside = [model for model in models if model.state == "unloaded" and device.name in model.places]
        self.pinned = [model for model in self.resident if model.pin]
        self.is_idle = False

    def order(self) -> tuple[bool, float]:
        """Which device chooses first: one without work, then the one with the most room, where nobody has to leave."""
        return any(model.wants for model in self.resident), self._used_mb() - self.device.room_mb

    def next_steps(self, taken: Iterable[str] = ()) -> list[Action]:
        """What to do here; who is `taken` was chosen elsewhere."""
        self.outside = [model for model in self.outside if model.name not in taken]
        if leaving := self._over_the_limit():
            reason = "the device is withdrawn" if self.device.withdrawn else "others need the room"
            return [Unload(model.name, reason) for model in leaving]
        if expired := [model for model in self.resident if _expires_at(model) <= self.now]:
            return [Unload(model.name, "idle") for model in expired]
        if (choice := self.choose()) is not None:
            return self.serve(*choice)
        self.is_idle = True
        for model in self.outside:
            if self._may_preload(model):
                return [Load(model.name, self.device.name, None)]
        return []

    # -- who is next -------------------------------------------------------------------------------------------------

    def choose(self) -> Choice | None:
        """Who is next: of the highest priority, unless a lower one is overdue or may not be interrupted yet."""
        chosen: Choice | None = None
        for priority in PRIORITIES:
            choice = self._choose_within(priority)
            if choice is None:
                continue
            if chosen is None or self._is_overdue(choice) or self._may_not_interrupt(chosen, choice):
                chosen = choice
        return chosen

    def _choose_within(self, priority: Priority) -> Choice | None:
        """Whose turn it is among the models that have work of one priority."""
        resident = [model for model in self.resident if priority in model.wants]
        outside = [model for model in self.outside if priority in model.wants and self._may_come(model)]
        if outside:
            chosen = min(outside, key=lambda model: model.wants[priority] - min(2 * model.backlog, HEADSTART))
            if not resident or self._is_due(chosen, resident, priority):
                return Choice(chosen, priority)
        if not resident:
            return None
        holder = next((model for model in resident if model.name == self.device.holder), None)
        if holder is not None and self.now - self.device.turn_began < TURN:
            return Choice(holder, priority)
        return Choice(min(resident, key=lambda model: model.wants[priority]), priority)

    def _may_come(self, model: Model) -> bool:
        """Whether it could be loaded now: not soon after that failed, and not where others need or keep the room."""
        if self.device.withdrawn or model.retry_at > self.now:
            return False
        if _why_never(model, self.device, self.pinned) is not None:
            return False
        return model.memory_mb + sum(one.memory_mb for one in self.pinned) <= self.device.room_mb

    def _is_due(self, model: Model, resident: Iterable[Model], priority: Priority) -> bool:
        """Whether to load a model although resident ones have work: it has waited longer, and they had their quantum.

        Among those for whom somebody waits the quantum is what the change costs, and no multiple of it.
        """
        if any(other.wants[priority] < model.wants[priority] for other in resident):
            return False
        passed = self.now - self.device.lane(priority).loaded_at
        if priority == "interactive":
            return passed >= self.change_cost(model)
        return passed >= QUANTUM * self.change_cost(model) and not self._is_too_soon(model, priority)

    def _is_overdue(self, choice: Choice) -> bool:
        """Whether higher priorities have kept this one waiting for too long."""
        first_came = min(m.wants[choice.priority] for m in self.resident + self.outside if choice.priority in m.wants)
        passed_over = self.now - max(self.device.lane(choice.priority).served_at, first_came)
        return passed_over >= max(PATIENCE[choice.priority], QUANTUM * self.change_cost(choice.model))

    def _may_not_interrupt(self, higher: Choice, lower: Choice) -> bool:
        """Whether a load for the higher priority waits while the lower one goes on with what is resident."""
        if higher.priority == "interactive" or higher.model.state == "ready" or lower.model.state != "ready":
            return False
        return self._is_too_soon(*higher)

    def _is_too_soon(self, model: Model, priority: Priority) -> bool:
        """Whether the last load, for whomever, was not even as long ago as this one costs; not for ever, though."""
        cost = self.change_cost(model)
        last = max(self.device.lane(one).loaded_at for one in PRIORITIES)
        patience = max(PATIENCE["background"], 2 * QUANTUM * cost)
        return self.now - last < cost and self.now - model.wants[priority] < patience

    def change_cost(self, model: Model) -> float:
        """Seconds of loading that a change to a model costs: its own, and that of those that leave amid work."""
        if model.state == "ready":
            return 0.0
        return model.load_seconds + sum(other.load_seconds for other in self.leaving_for(model) if other.wants)

    # -- room --------------------------------------------------------------------------------------------------------

    def serve(self, model: Model, priority: Priority) -> list[Action]:
        """Make room for whoever is next where that is needed; else load it, or run it."""
        if leaving := self.leaving_for(model):
            return [Unload(other.name, f"room for {model.name}") for other in leaving]
        return [Run(model.name, priority) if model.state == "ready" else Load(model.name, self.device.name, priority)]

    def leaving_for(self, model: Model) -> list[Model]:
        """Who must go before the model may work here."""
        others = [other for other in self.resident if other.name != model.name]
        movable = [other for other in others if not other.pin]
        if model.cramped or model.exclusive:
            return movable
        alone = [other for other in movable if other.exclusive]
        over = model.memory_mb + sum(other.memory_mb for other in others if other not in alone) - self.device.room_mb
        return alone + self._least_worth([other for other in movable if not other.exclusive], over)

    def _least_worth(self, models: Iterable[Model], needed_mb: float) -> list[Model]:
        """Who leaves so that so much becomes free: those without work first, and no more than needed."""
        leaving: list[Model] = []
        for model in sorted(models, key=self._worth):
            if needed_mb > 0:
                leaving.append(model)
                needed_mb -= model.memory_mb
        for model in tuple(leaving):  # a small one may have been taken in vain, before a large one
            if needed_mb + model.memory_mb <= 0:
                leaving.remove(model)
                needed_mb += model.memory_mb
        return leaving

    def _worth(self, model: Model) -> tuple[bool, float]:
        """What keeping it is worth: with work much, else the less, the longer it was idle for what its load costs."""
        cost = max(model.load_seconds, 0.001) * model.weight
        return bool(model.wants), -(self.now - model.idle_since) / cost

    def _over_the_limit(self) -> list[Model]:
        """Who must go because others have the room for now; pinned ones after the rest."""
        if self.device.withdrawn:
            return self.resident
        over = self._used_mb() - self.device.room_mb
        if self.device.room_mb == self.device.budget_mb or over <= 0:
            return []
        leaving = self._least_worth([model for model in self.resident if not model.pin], over)
        over -= sum(model.memory_mb for model in leaving)
        return leaving + self._least_worth([model for model in self.resident if model.pin], over)

    def _may_preload(self, model: Model) -> bool:
        """Whether to have it ready before it has work: only in room that nobody needs."""
        if not (model.preload and self._may_come(model) and self._used_mb() + model.memory_mb <= self.device.room_mb):
            return False
        return not self.resident or not any(one.exclusive for one in (model, *self.resident))

    def may_take_over(self, model: Model) -> bool:
        """Whether a model that waits its turn elsewhere comes here: nothing was to be done here for what that costs."""
        return (
            self.is_idle
            and self.device.name in model.places
            and self._may_come(model)
            and self.now - self.device.idle_since >= model.load_seconds
        )

    def _used_mb(self) -> float:
        return sum(model.memory_mb for model in self.resident)

    def moments(self) -> Iterator[float]:
        """When something becomes possible or due without anything else happening."""
        for model in self.outside:
            if model.retry_at > self.now and (model.wants or model.preload):
                yield model.retry_at
        for model in self.resident:
            if _expires_at(model) != NEVER:
                yield _expires_at(model)


def _give_away(ground: _Ground, steps: list[Action], others: Iterable[_Ground]) -> list[Action]:
    """Instead of running one of several that have work, let another go to a device that has nothing to do."""
    if not (steps and isinstance(steps[0], Run)):
        return steps
    waiting = [model for model in ground.resident if model.wants and model.name != steps[0].model and not model.pin]
    for other in others:
        for model in waiting:
            if other.may_take_over(model):
                return [Unload(model.name, f"{other.device.name} has nothing to do")]
    return steps


def _expires_at(model: Model) -> float:
    if model.pin or model.preload or model.wants:
        return NEVER
    return model.idle_since + model.keep_alive


# -- what can never be -----------------------------------------------------------------------------------------------


def _refusals(models: Sequence[Model], devices: Sequence[Device]) -> Iterator[Refuse]:
    """Who has work and can never be loaded on any of its devices, as things are pinned now."""
    for model in models:
        if model.wants and model.state == "unloaded":
            reasons = [
                _why_never(model, device, [other for other in models if _is_pinned_on(device, other)])
                for device in devices
                if device.name in model.places
            ]
            if reasons and None not in reasons:
                yield Refuse(model.name, reasons[0] or "")


def _is_pinned_on(device: Device, model: Model) -> bool:
    return model.pin and model.device == device.name and model.state in ("loading", "ready", "busy")


def _why_never(model: Model, device: Device, pinned: Sequence[Model]) -> str | None:
    """Why a model can never be loaded on a device, whoever else leaves; None when it can."""
    kept = sum(other.memory_mb for other in pinned)
    if device.budget_mb <= 0:
        return f"{model.name} needs {model.memory_mb:.0f} MB on a {device.name}, and there is none that may be used."
    if model.memory_mb + kept > device.budget_mb:
        beside = f", of which pinned models keep {kept:.0f} MB" if pinned else ""
        return f"{model.name} needs {model.memory_mb:.0f} MB; {device.name} may use {device.budget_mb:.0f} MB{beside}."
    for other in pinned:
        if model.exclusive or other.exclusive:
            alone = model if model.exclusive else other
            beside = f"{model.name} cannot be on {device.name} beside {other.name}, which is pinned"
            return f"{beside}: {alone.name} is exclusive."
    return None
