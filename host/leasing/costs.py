"""What loading a model takes: declared by its plugin at first, then as measured, for each device and variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

GROWTH = 1.25  # after an out-of-memory


class CostKey(NamedTuple):
    """Whose cost: a plugin's model, as this variant ("" for the model as declared), on this device."""

    model: str
    variant: str
    device: str


@dataclass(slots=True)
class Cost:
    """Measured so far: the highest peak of memory in MB, and how many seconds the last loading took."""

    memory_mb: float | None = None
    load_seconds: float | None = None


class Costs:
    """The measured costs; `on_change` is told of each new figure, so that somebody can remember it."""

    def __init__(self) -> None:
        self.on_change: Callable[[CostKey, Cost], None] = lambda key, cost: None
        self._known: dict[CostKey, Cost] = {}

    def of(self, key: CostKey) -> Cost:
        """What is known; nothing for what was never measured."""
        return self._known.get(key, Cost())

    def remember(self, key: CostKey, cost: Cost) -> None:
        """Take over what was measured before; nobody is told."""
        self._known[key] = cost

    def copy(self) -> Costs:
        """The same figures, for others to change."""
        twin = Costs()
        twin._known = {key: replace(cost) for key, cost in self._known.items()}
        return twin

    def loaded(self, key: CostKey, seconds: float) -> None:
        """A loading has taken so long."""
        self._change(key, load_seconds=seconds)

    def used(self, key: CostKey, memory_mb: float) -> None:
        """So much memory was seen in use; the highest figure counts."""
        if memory_mb > (self.of(key).memory_mb or 0.0):
            self._change(key, memory_mb=memory_mb)

    def outgrew(self, key: CostKey, memory_mb: float, most_mb: float) -> None:
        """It ran out of memory although it was given so much: it is taken for larger, up to the whole device."""
        self.used(key, min(GROWTH * max(memory_mb, self.of(key).memory_mb or 0.0), most_mb))

    def _change(self, key: CostKey, **figures: float) -> None:
        known = self._known.setdefault(key, Cost())
        for name, figure in figures.items():
            setattr(known, name, figure)
        self.on_change(key, known)
