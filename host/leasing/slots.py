"""What is known of each model, and where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hooks.model import Device, ModelSpec
from host.leasing import policy
from host.leasing.costs import Cost, CostKey, Costs


@dataclass(slots=True)
class Slot:
    """What is known of a model: its spec, its state, its demand, and what was measured.

    `home` is the device that was chosen for it, `device` where it is now. `rung` says how far its last work has come on
    the ladder after an out-of-memory: 0 not at all, 1 the device for itself, 2 on the CPU.
    """

    name: str
    spec: ModelSpec
    home: Device
    device: Device
    costs: Costs
    state: policy.State = "unloaded"
    waiting: int = 0
    urgent: int = 0
    oldest: float = 0.0
    served: float = 0.0
    idle_since: float = 0.0
    retry_at: float = 0.0
    rung: int = 0
    dismissed: bool = False
    loading: asyncio.Task[None] | None = None

    @property
    def cost_key(self) -> CostKey:
        """Under which its costs are noted, as it is now."""
        return CostKey(self.name, "", self.device.name)

    @property
    def cost(self) -> Cost:
        """What was measured of it, as it is now."""
        return self.costs.of(self.cost_key)

    @property
    def memory_mb(self) -> float:
        """The best known footprint; what fitted its device once is never taken for too large to be loaded again."""
        known = self.cost.memory_mb or self.spec.memory_mb
        return min(known, self.device.memory_mb) if self.spec.memory_mb <= self.device.memory_mb else known


def place(spec: ModelSpec, devices: Sequence[Device], planned: Mapping[str, float]) -> Device:
    """The device for a model: a GPU with room for 'auto', else the CPU; a GPU or nothing but a refusal for 'gpu'.

    Of several GPUs the one with the most memory left over by what is `planned` on it (MB by device).
    """
    gpus = [device for device in devices if device.kind == "gpu"]
    cpu = next(device for device in devices if device.kind == "cpu")
    if spec.device == "none":
        return next(device for device in devices if device.kind == "none")
    if spec.device == "cpu" or not gpus:
        return cpu if spec.device != "gpu" else Device(name="gpu", kind="gpu", memory_mb=0)
    roomy = [device for device in gpus if device.memory_mb >= spec.memory_mb]
    if roomy or spec.device == "gpu":
        return max(roomy or gpus, key=lambda device: device.memory_mb - planned.get(device.name, 0.0))
    return cpu
