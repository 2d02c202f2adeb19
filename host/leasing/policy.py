"""The choice: a pure function from what waits, what is resident and the time to what to do next.

Invariants
  1. One model computes, loads or leaves on a device at a time.
  2. What is resident on a device never exceeds its budget, by the best known footprints.
  3. A busy model is never evicted, a pinned one never leaves.
  4. A model that can never fit is refused before anything is evicted for it.
  5. Nothing waits for ever: a model's turn ends after `QUANTUM` times what the change costs, and the next turn goes to
     the model that has waited longest. ('Oldest job first' would change models with nearly every job.)
  6. Urgent work (somebody waits for the answer) has the next batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

QUANTUM = 10.0

State = Literal["unloaded", "loading", "ready", "busy", "unloading"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the policy sees it. Times are the clock's, in seconds.

    `since`: since when it waits for a turn (its oldest job came, or its last turn ended). `idle_since`: since when a
    ready one has done nothing. `retry_at`: not to be loaded before, because loading failed.
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


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the policy sees it: its budget, and whose turn it is since when."""

    name: str
    budget_mb: float
    holder: str | None = None
    turn_began: float = 0.0


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
    """Fail what waits for the model: it can never be loaded."""

    model: str
    reason: str


Action = Load | Run | Unload | Refuse


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to ask again if nothing changes before (None: never)."""

    actions: tuple[Action, ...]
    wake_at: float | None


def decide(models: Sequence[Model], devices: Sequence[Device], now: float, *, paused: bool = False) -> Decision:
    """What to do on every device; `paused` means that no new work is given to any model."""
    actions: list[Action] = []
    moments: list[float] = []
    for device in devices:
        here = [model for model in models if model.device == device.name]
        if any(model.state in ("loading", "busy", "unloading") for model in here):
            continue
        chosen = None if paused else choose(here, device, now)
        if chosen is not None:
            actions.extend(serve(chosen, here, device))
            continue
        expired = [model for model in here if _expires_at(model) <= now]
        actions.extend(Unload(model.name, "idle") for model in expired)
        moments.extend(_expires_at(model) for model in here if _expires_at(model) > now)
        moments.extend(model.retry_at for model in here if model.waiting + model.urgent and model.retry_at > now)
    return Decision(tuple(actions), min((moment for moment in moments if moment != NEVER), default=None))


def choose(models: Iterable[Model], device: Device, now: float) -> Model | None:
    """Whose turn it is on a device where nothing runs."""
    able = [model for model in models if model.state == "ready" or model.retry_at <= now]
    urgent = [model for model in able if model.urgent]
    if urgent:
        return min(urgent, key=lambda model: model.since)
    waiting = [model for model in able if model.waiting]
    if not waiting:
        return None
    longest = min(waiting, key=lambda model: model.since)
    holder = next((model for model in waiting if model.name == device.holder), None)
    if holder is not None and holder.state == "ready" and now - device.turn_began < quantum(longest):
        return holder
    return longest


def quantum(challenger: Model) -> float:
    """How long a turn lasts against a challenger: a change to one that is resident costs nothing."""
    return 0.0 if challenger.state == "ready" else QUANTUM * challenger.load_seconds


def serve(model: Model, models: Sequence[Model], device: Device) -> list[Action]:
    """Run a resident model; else load it, or make room for it first, or refuse it."""
    if model.state == "ready":
        return [Run(model.name)]
    residents = [other for other in models if other.state == "ready"]
    pinned = sum(other.memory_mb for other in residents if other.pin)
    if model.memory_mb + pinned > device.budget_mb:
        return [Refuse(model.name, _never_fits(model, device, pinned))]
    free = device.budget_mb - sum(other.memory_mb for other in residents)
    evicted: list[Action] = []
    for other in sorted((other for other in residents if not other.pin), key=lambda other: other.idle_since):
        if free >= model.memory_mb:
            break
        free += other.memory_mb
        evicted.append(Unload(other.name, f"room for {model.name}"))
    return evicted or [Load(model.name)]


NEVER = float("inf")


def _expires_at(model: Model) -> float:
    if model.state != "ready" or model.pin or model.waiting or model.urgent:
        return NEVER
    return model.idle_since + model.keep_alive


def _never_fits(model: Model, device: Device, pinned: float) -> str:
    beside = f", of which pinned models keep {pinned:.0f} MB" if pinned else ""
    return f"{model.name} needs {model.memory_mb:.0f} MB; {device.name} may use {device.budget_mb:.0f} MB{beside}."
