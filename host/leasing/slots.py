"""What is known of each model: where it may be, what it wants, and how it gets by with less memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hooks.model import Device, ModelSpec
from host.leasing import policy
from host.leasing.costs import Cost, CostKey, Costs
from host.leasing.policy import PRIORITIES, Priority


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the ladder after an out-of-memory: the model as `spec` says it, on one of these devices."""

    words: str
    spec: ModelSpec
    devices: tuple[Device, ...]


@dataclass(slots=True)
class Want:
    """The work of one priority: how many jobs, since when the oldest waits, when the last batch of them ended."""

    jobs: int = 0
    oldest: float = 0.0
    served: float = 0.0

    @property
    def since(self) -> float:
        """Since when it waits for a turn."""
        return max(self.oldest, self.served)


@dataclass(slots=True)
class Slot:
    """What is known of a model: what it may be loaded as, its state, its demand.

    `step` is what it is loaded as, or would be. `rung` says how far on the `ladder` its work has come after an
    out-of-memory, `first` where it begins: further down once it could not be loaded. `device` is where it is, or where
    it would be loaded first. `withdrawn` names the devices that nothing may be on for now.
    """

    name: str
    ladder: tuple[Step, ...]
    costs: Costs
    step: Step
    device: Device
    state: policy.State = "unloaded"
    wants: dict[Priority, Want] = field(default_factory=lambda: {priority: Want() for priority in PRIORITIES})
    idle_since: float = 0.0
    retry_at: float = 0.0
    first: int = 0
    withdrawn: frozenset[str] = frozenset()
    rung: int = 0
    job_seconds: float = 0.0
    dismissed: str = ""
    loading: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, name: str, ladder: tuple[Step, ...], costs: Costs) -> Slot:
        """A model that was not loaded yet."""
        return cls(name, ladder, costs, ladder[0], ladder[0].devices[0])

    @property
    def spec(self) -> ModelSpec:
        """What it is loaded as, or would be."""
        return self.step.spec

    @property
    def matters(self) -> bool:
        """Whether there is anything to decide about it."""
        return self.state != "unloaded" or self.spec.preload or any(want.jobs for want in self.wants.values())

    @property
    def variant(self) -> str:
        """The name of the variant that it is loaded as, or would be; empty for the model as it was declared."""
        return self.spec.variant.name if self.spec.variant else ""

    @property
    def waiting(self) -> int:
        """How many jobs wait, whatever their priority; what somebody asks for is not among them."""
        return self.wants["normal"].jobs + self.wants["background"].jobs

    @property
    def urgent(self) -> int:
        """For how much of its work somebody waits."""
        return self.wants["interactive"].jobs

    @property
    def cost_key(self) -> CostKey:
        """Under which its costs are noted, as it is now."""
        return CostKey(self.name, self.variant, self.device.name)

    @property
    def cost(self) -> Cost:
        """What was measured of it, as it is now."""
        return self.costs.of(self.cost_key)

    @property
    def memory_mb(self) -> float:
        """The best known footprint: where it is, or, unloaded, the largest of those that it has where it may be."""
        if self.state != "unloaded":
            return self._memory_on(self.device)
        return max(self._memory_on(device) for device in {self.device.name: self.device, **self._homes}.values())

    def _memory_on(self, device: Device) -> float:
        """What fitted a device once is never taken for too large to be loaded there again."""
        known = self.costs.of(CostKey(self.name, self.variant, device.name)).memory_mb or self.spec.memory_mb
        return min(known, device.memory_mb) if self.spec.memory_mb <= device.memory_mb else known

    @property
    def is_cramped(self) -> bool:
        """Whether its next work needs the device for itself."""
        return self.rung > self.first

    @property
    def wanted(self) -> Step:
        """What its work needs: its step of the ladder, or a later one while all devices of that are withdrawn."""
        steps = self.ladder[self.rung :]
        open_ones = (step for step in steps if any(device.name not in self.withdrawn for device in step.devices))
        return next(open_ones, steps[0])

    @property
    def must_move(self) -> bool:
        """Whether its work needs it as something else, or elsewhere, than it is loaded."""
        return self.wanted.spec != self.spec or self.device not in self.wanted.devices

    @property
    def places(self) -> list[str]:
        """Where it may be loaded: as it is, and, when its own devices are not withdrawn any more, there."""
        return list(self._homes)

    @property
    def _homes(self) -> dict[str, Device]:
        return {device.name: device for device in (*self.step.devices, *self.ladder[self.rung].devices)}

    @property
    def backlog(self) -> float:
        """How many seconds the jobs that wait take, by what the last ones took; nothing is known before the first."""
        return self.waiting * self.job_seconds

    def worked(self, jobs: int, seconds: float) -> None:
        """A batch of about so many jobs took so long."""
        lately = seconds / max(1, min(jobs, self.spec.batch))
        self.job_seconds = lately if not self.job_seconds else 0.8 * self.job_seconds + 0.2 * lately

    def settle(self) -> None:
        """Make it what its work needs, once it is unloaded."""
        if self.must_move:
            self.device = self.wanted.devices[0]
        self.step = self.wanted

    def climb(self) -> str | None:
        """Take the next step of the ladder, and say it in words; None, and back to the first, when there is none."""
        if self.rung + 1 == len(self.ladder):
            self.rung = self.first
            return None
        self.rung += 1
        if self.state == "loading" and self.rung > 1:  # the model does not fit, not its work: it need not try again
            self.first = self.rung
        return self.ladder[self.rung].words or f"alone on {self.device.name}"


def ladder_of(spec: ModelSpec, devices: Sequence[Device], planned: Mapping[str, float]) -> tuple[Step, ...]:
    """What a model may be loaded as, best first; only what fits its devices, unless nothing does.

    The second step is the first once more, with the device for itself.
    """
    steps = list(_steps(spec, devices, planned))
    first, *others = [step for step in steps if step.devices[0].memory_mb >= step.spec.memory_mb] or steps[:1]
    return (first, Step("", first.spec, first.devices), *others)


def _steps(spec: ModelSpec, devices: Sequence[Device], planned: Mapping[str, float]) -> Iterator[Step]:
    at_home = _homes(spec, devices)
    on_cpu = tuple(device for device in devices if device.kind == "cpu")
    for_cpu = [variant for variant in spec.variants if variant.device == "cpu"]
    yield Step("", spec, _roomiest(spec, at_home, planned))
    for variant in spec.variants:
        if variant not in for_cpu or at_home == on_cpu:
            smaller = spec.as_variant(variant)
            yield Step(f"as {variant.name!r}", smaller, _roomiest(smaller, at_home, planned))
    if at_home != on_cpu:
        for variant in for_cpu:
            yield Step(f"as {variant.name!r} on the CPU", spec.as_variant(variant), on_cpu)
        if spec.device == "auto" and not for_cpu:
            yield Step("on the CPU", spec, on_cpu)


def _homes(spec: ModelSpec, devices: Sequence[Device]) -> tuple[Device, ...]:
    """The kind of device that a model is for: the GPUs for 'auto', else the CPU; GPUs or none for 'gpu'."""
    kind = {"none": "none", "cpu": "cpu"}.get(spec.device, "gpu")
    found = tuple(device for device in devices if device.kind == kind)
    if found or spec.device == "gpu":
        return found or (Device(name="gpu", kind="gpu", memory_mb=0),)
    return tuple(device for device in devices if device.kind == "cpu")


def _roomiest(spec: ModelSpec, devices: Iterable[Device], planned: Mapping[str, float]) -> tuple[Device, ...]:
    """Where it fits, or else everywhere: the device with the most memory left by what is `planned` (MB) first."""
    devices = tuple(devices)
    roomy = [device for device in devices if device.memory_mb >= spec.memory_mb] or devices
    return tuple(sorted(roomy, key=lambda device: planned.get(device.name, 0.0) - device.memory_mb))
