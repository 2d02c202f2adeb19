"""What would fit on devices that may not be there: the real leases and their policy, in simulated time.

Each model gets one job a round, all at once, and nothing leaves because it is idle: what leaves then makes room, and
comes back in the next round. The first round loads everything for the first time; the others are what it goes on like.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hooks.model import Device, ModelSpec
from host.leasing.costs import Costs
from host.leasing.leases import Leases, Transition
from host.leasing.policy import Priority
from host.leasing.simulated_time import simulate
from host.leasing.slots import Slot

ROUNDS = 4
PAUSE = 3600.0  # seconds between rounds: no turn of the one matters to the next
SERVICE = 1.0
FOR_EVER = 1e9
LOAD_SECONDS = 1.0  # of what was never loaded: what the policy takes for it, too


@dataclass(slots=True)
class Fate:
    """What becomes of a model: where it was, how often it was loaded after the first round, for whom it made room.

    `refused` is why it can never be loaded.
    """

    slot: Slot
    devices: list[str] = field(default_factory=list)
    reloads: int = 0
    makes_room_for: set[str] = field(default_factory=set)
    refused: str = ""


@dataclass(slots=True)
class Forecast:
    """The fates by plugin, and which plugins' models were in a device's memory together, the largest groups alone."""

    devices: list[Device]
    fates: dict[str, Fate]
    together: dict[str, list[frozenset[str]]]
    load_seconds: dict[str, float]  # a round, by device

    @property
    def rounds(self) -> int:
        """How many rounds the reloads and their seconds are of."""
        return ROUNDS - 1


def planned_devices(
    found: Sequence[Device], gpus_mb: Sequence[int] | None, cpu_mb: int | None, reserve_mb: int
) -> list[Device]:
    """The devices that were found, but GPUs of these sizes, less our reserve, and a CPU with this budget, in MB."""
    ours = [device for device in found if device.kind != "gpu" or (gpus_mb is None and device.memory_mb > 0)]
    threads = max(device.threads for device in ours)
    gpus = [
        Device(name=f"gpu{index}", kind="gpu", index=index, memory_mb=max(0, size - reserve_mb), threads=threads)
        for index, size in enumerate(gpus_mb or ())
    ]
    with_cpu = {"memory_mb": cpu_mb} if cpu_mb else {}
    return [*(device.model_copy(update=with_cpu) if device.kind == "cpu" else device for device in ours), *gpus]


def forecast(specs: Mapping[str, ModelSpec], devices: Sequence[Device], costs: Costs) -> Forecast:
    """What becomes of models (by plugin) on devices, by what was measured of them; takes some milliseconds.

    To be called where no event loop runs. `costs` stay as they are.
    """

    async def rehearse() -> Forecast:
        return await _Rehearsal(specs, devices, costs).run()

    return simulate(rehearse)


class _Rehearsal:
    """leases.Effects that only take time."""

    def __init__(self, specs: Mapping[str, ModelSpec], devices: Sequence[Device], costs: Costs) -> None:
        self._leases = Leases(devices, asyncio.get_running_loop().time, costs=costs.copy())
        self._leases.on_transition = self._moved
        for plugin, spec in specs.items():
            self._leases.add(plugin, spec.model_copy(update={"keep_alive": FOR_EVER}))
        self._fates = {plugin: Fate(slot) for plugin, slot in self._leases.slots.items()}
        self._resident: dict[str, set[str]] = {}
        self._groups: dict[str, set[frozenset[str]]] = {}
        self._load_seconds: dict[str, float] = {}
        self._round = 0
        self._done = asyncio.Event()
        self._left: set[str] = set()

    async def run(self) -> Forecast:
        leasing = asyncio.create_task(self._leases.run(self))
        for self._round in range(ROUNDS):
            self._left = {plugin for plugin, fate in self._fates.items() if not fate.refused}
            self._done.clear()
            for plugin in sorted(self._left):
                self._leases.demand(plugin, 1, 0, 0.0)
            if self._left:
                await self._done.wait()
            await asyncio.sleep(PAUSE)
        together = {device: _largest(groups) for device, groups in self._groups.items()}
        self._leases.on_transition = lambda moved: None
        self._leases.close()
        await leasing
        return Forecast(self._leases.devices, self._fates, together, self._load_seconds)

    def _moved(self, moved: Transition) -> None:
        fate, resident = self._fates[moved.model], self._resident.setdefault(moved.device, set())
        if moved.after == "ready" and moved.before == "loading":
            resident.add(moved.model)
            self._groups.setdefault(moved.device, set()).add(frozenset(resident))
            if moved.device not in fate.devices:
                fate.devices.append(moved.device)
        elif moved.after == "unloaded":
            resident.discard(moved.model)
            fate.makes_room_for.update(self._fates.keys() & {moved.reason.removeprefix("room for ")})

    def _finish(self, plugin: str) -> None:
        self._leases.demand(plugin, 0, 0, 0.0)
        self._left.discard(plugin)
        if not self._left:
            self._done.set()

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        seconds = self._fates[model].slot.cost.load_seconds or LOAD_SECONDS
        await asyncio.sleep(seconds)
        if self._round > 0:
            self._fates[model].reloads += 1
            self._load_seconds[device.name] = self._load_seconds.get(device.name, 0.0) + seconds

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        await asyncio.sleep(SERVICE)
        self._finish(model)
        return True

    async def unload(self, model: str) -> None:
        return None

    async def refuse(self, model: str, reason: str) -> None:
        self._fates[model].refused = reason
        self._finish(model)

    def peak_mb(self, model: str) -> float | None:
        return None


def _largest(groups: set[frozenset[str]]) -> list[frozenset[str]]:
    """Those that are in no other one, the largest first."""
    kept = [group for group in groups if not any(group < other for other in groups)]
    return sorted(kept, key=lambda group: (-len(group), sorted(group)))
