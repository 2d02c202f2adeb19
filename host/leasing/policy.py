"""The choice: a pure function from what waits, what is resident and the time to what to do next.

Invariants
  1. One model computes or loads on a device at a time, and none while one leaves it.
  2. What is resident on a device never exceeds its budget, by the best known footprints; what outgrew it makes room.
  3. A busy model is never evicted, a pinned one never leaves.
  4. A model that can never fit is refused before anything is evicted for it.
  5. Nothing waits for ever: what is resident is worked on for `QUANTUM` times what a change costs, counted from the
     last load; then the model that has waited longest is loaded. ('Oldest job first' would load for nearly every job.)
  6. Urgent work (somebody waits for the answer) has the next batch.
  7. A model without work leaves `keep_alive` after its last batch, also while others work.
  8. A device is never idle while a model that may run or be loaded has work there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

QUANTUM = 10.0
TURN = 1.0  # seconds that a resident model keeps its turn against another resident one: a change costs nothing there
NEVER = float("inf")

State = Literal["unloaded", "loading", "ready", "busy", "unloading"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the policy sees it. Times are the clock's, in seconds.

    `since`: since when it waits for a turn (its oldest job came, or its last turn ended). `idle_since`: since when a
    ready one has done nothing. `retry_at`: not to be loaded before, because loading failed. `cramped`: it ran out of
    memory, and has its device for itself at its next batch.
    """

    name: str
    device: str
    memory_mb: float
    state: State = "unloaded"
    waiting: int = 0
    urgent: int = 0
    since: float = 0.0
    idle_since: float = 0.0
    retry_at: float = 0.0
    load_seconds: float = 1.0
    keep_alive: float = 300.0
    pin: bool = False
    cramped: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the policy sees it: its budget, whose turn it is since when, and when a model was last loaded.

    `limit_mb`: so much of the budget may be used for now, where others need the rest. `withdrawn`: nothing, for now.
    """

    name: str
    budget_mb: float
    holder: str | None = None
    turn_began: float = 0.0
    loaded_at: float = 0.0
    limit_mb: float | None = None
    withdrawn: bool = False

    @property
    def room_mb(self) -> float:
        """How much may be used now."""
        if self.withdrawn:
            return 0.0
        return self.budget_mb if self.limit_mb is None else min(self.limit_mb, self.budget_mb)


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker for the model and load it."""

    model: str


@dataclass(frozen=True, slots=True)
class Run:
    """Give the model its next batch."""

    model: str


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


def decide(models: Sequence[Model], devices: Sequence[Device], now: float) -> Decision:
    """What to do on every device."""
    actions: list[Action] = []
    moments: list[float] = []
    for device in devices:
        here = [model for model in models if model.device == device.name]
        if any(model.state in ("loading", "busy", "unloading") for model in here):
            continue
        if over := _too_much(here, device):
            actions.extend(Unload(model.name, "others need the room") for model in over)
        elif expired := [model for model in here if _expires_at(model) <= now]:
            actions.extend(Unload(model.name, "idle") for model in expired)
        elif (chosen := choose(here, device, now)) is not None:
            actions.extend(serve(chosen, here, device))
        else:
            moments.extend(_moments(here, now))
    return Decision(tuple(actions), min(moments, default=None))


def choose(models: Sequence[Model], device: Device, now: float) -> Model | None:
    """Whose turn it is on a device where nothing runs."""
    able = [model for model in models if _is_able(model, device, now)]
    urgent = [model for model in able if model.urgent]
    if urgent:
        return min(urgent, key=lambda model: model.since)
    waiting = [model for model in able if model.waiting]
    if not waiting:
        return None
    resident = [model for model in waiting if model.state == "ready"]
    longest = min(waiting, key=lambda model: model.since)
    if not resident or _is_due(longest, models, device, now):
        return longest
    holder = next((model for model in resident if model.name == device.holder), None)
    if holder is not None and now - device.turn_began < TURN:
        return holder
    return min(resident, key=lambda model: model.since)


def _is_able(model: Model, device: Device, now: float) -> bool:
    """Whether it could be resident now; what can never be is to be refused, and counts as able."""
    if model.state == "ready":
        return True
    return model.retry_at <= now and (model.memory_mb <= device.room_mb or model.memory_mb > device.budget_mb)


def _too_much(models: Sequence[Model], device: Device) -> list[Model]:
    """Who must go because the device's room has shrunk: pinned ones last."""
    if device.room_mb >= device.budget_mb:
        return []
    over = sum(model.memory_mb for model in models if model.state == "ready") - device.room_mb
    leaving = []
    for model in sorted((m for m in models if m.state == "ready"), key=lambda m: (m.pin, m.idle_since)):
        if over > 0 or device.withdrawn:
            leaving.append(model)
            over -= model.memory_mb
    return leaving


def _is_due(challenger: Model, models: Sequence[Model], device: Device, now: float) -> bool:
    """Whether a model that is not resident has waited through what its loading costs."""
    if challenger.state == "ready":
        return False
    return now - device.loaded_at >= QUANTUM * change_cost(challenger, models, device)


def change_cost(model: Model, models: Sequence[Model], device: Device) -> float:
    """Seconds of loading that a change to the model costs: its own, and later that of those that leave amid work."""
    others = [other for other in models if other.state == "ready" and other.name != model.name]
    leaving = _leaving(model, others, device.room_mb)
    return model.load_seconds + sum(other.load_seconds for other in leaving if other.waiting)


def serve(model: Model, models: Sequence[Model], device: Device) -> list[Action]:
    """Make room for a model first where that is needed; then run or load it; refuse it when no room could be made."""
    others = [other for other in models if other.state == "ready" and other.name != model.name]
    pinned = sum(other.memory_mb for other in others if other.pin)
    if model.state != "ready" and model.memory_mb + pinned > device.budget_mb:
        return [Refuse(model.name, _never_fits(model, device, pinned))]
    leaving = _leaving(model, others, device.room_mb)
    if leaving:
        return [Unload(other.name, f"room for {model.name}") for other in leaving]
    return [Run(model.name) if model.state == "ready" else Load(model.name)]


def _leaving(model: Model, others: Sequence[Model], budget_mb: float) -> list[Model]:
    """Who must go before the model may work: who was idle longest first, all of them when it is cramped."""
    movable = sorted((other for other in others if not other.pin), key=lambda other: other.idle_since)
    if model.cramped:
        return movable
    over = model.memory_mb + sum(other.memory_mb for other in others) - budget_mb
    leaving = []
    for other in movable:
        if over <= 0:
            break
        over -= other.memory_mb
        leaving.append(other)
    return leaving


def _moments(models: Iterable[Model], now: float) -> Iterator[float]:
    """When something becomes possible or due without anything else happening."""
    for model in models:
        if model.retry_at > now and model.waiting + model.urgent:
            yield model.retry_at
        if _expires_at(model) != NEVER:
            yield _expires_at(model)


def _expires_at(model: Model) -> float:
    if model.state != "ready" or model.pin or model.waiting or model.urgent:
        return NEVER
    return model.idle_since + model.keep_alive


def _never_fits(model: Model, device: Device, pinned: float) -> str:
    if device.budget_mb <= 0:
        return f"{model.name} needs {model.memory_mb:.0f} MB on a {device.name}, and there is none that may be used."
    beside = f", of which pinned models keep {pinned:.0f} MB" if pinned else ""
    return f"{model.name} needs {model.memory_mb:.0f} MB; {device.name} may use {device.budget_mb:.0f} MB{beside}."
