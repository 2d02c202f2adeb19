"""The devices of this machine, each with a gauge of its memory: GPUs, the CPU with a budget, 'light' for no model.

A gauge says what a device has, and what is used of it now and by whom; what follows from that is `occupancy`'s.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from hooks.model import Device
from host import processes
from host.config import Devices
from host.leasing.nvml import Gpu, Nvml, open_nvml

MB = 1024 * 1024
CPU_SHARE = 0.75  # of the machine's memory (or of the cgroup's limit) that models may use
LIGHT_MB = 1024
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory of a device in MB at a moment: all that is used, and by process as far as the device tells."""

    used_mb: float
    held_mb: Mapping[int, float]


class Gauge(Protocol):
    """A device and what its memory really is like."""

    @property
    def device(self) -> Device:
        """The device; its `memory_mb` is what we may use when nobody else uses any."""

    def read(self, pids: Iterable[int]) -> Reading | None:
        """What is used now; `pids` are our processes. None when the device does not answer. May take milliseconds."""


@dataclass(frozen=True, slots=True)
class CpuGauge:
    """The machine's memory as far as we may use it: only our own processes count against that budget."""

    device: Device

    def read(self, pids: Iterable[int]) -> Reading:
        held = {pid: processes.memory_mb(pid) for pid in pids}
        return Reading(sum(held.values()), held)


@dataclass(frozen=True, slots=True)
class GpuGauge:
    """A GPU."""

    device: Device
    gpu: Gpu
    nvml: Nvml

    def read(self, pids: Iterable[int]) -> Reading | None:
        used = self.nvml.used_mb(self.gpu)
        return None if used is None else Reading(used, self.nvml.held_mb(self.gpu))


@dataclass(slots=True)
class SimulatedGauge:
    """A device that is not there, for plans and tests: its memory is what is written into `held` and `others_mb`."""

    device: Device
    held: dict[int, float] = field(default_factory=dict)
    others_mb: float = 0.0
    tells: bool = True  # whose memory it is, as a GPU in a container does not

    def read(self, pids: Iterable[int]) -> Reading | None:
        return Reading(self.others_mb + sum(self.held.values()), dict(self.held) if self.tells else {})


def find_gauges(config: Devices, nvml: Callable[[], Nvml | None] = open_nvml) -> list[Gauge]:
    """What models may compute on; always a CPU and the light device, then GPUs unless they are switched off."""
    threads = config.threads or usable_cores()
    memory = config.cpu_memory_mb or int(memory_limit() / MB * CPU_SHARE)
    cpu = CpuGauge(Device(name="cpu", kind="cpu", memory_mb=memory, threads=threads))
    light = CpuGauge(Device(name="light", kind="none", memory_mb=LIGHT_MB, threads=1))
    driver = nvml() if config.use_gpu else None
    gpus = [] if driver is None else [_gauge(gpu, driver, config.gpu_reserve_mb, threads) for gpu in driver.gpus()]
    return [cpu, light, *gpus]


def find_devices(config: Devices) -> list[Device]:
    """The devices alone."""
    return [gauge.device for gauge in find_gauges(config)]


def _gauge(gpu: Gpu, nvml: Nvml, reserve_mb: int, threads: int) -> GpuGauge:
    budget = max(0, int(gpu.total_mb) - reserve_mb)
    device = Device(
        name=f"gpu{gpu.index}", kind="gpu", index=gpu.index, uuid=gpu.uuid, memory_mb=budget, threads=threads
    )
    return GpuGauge(device, gpu, nvml)


def simulated(name: str, memory_mb: int) -> SimulatedGauge:
    """A device of so many MB that is not there: a GPU when its name begins like one."""
    return SimulatedGauge(Device(name=name, kind="gpu" if name.startswith("gpu") else "cpu", memory_mb=memory_mb))


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit(root: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory that this process may use: the machine's, or the lowest limit of its cgroup and those above it.

    Sources: cgroup-v2.rst ("memory.max"), cgroup-v1/memory.rst ("memory.limit_in_bytes") of the Linux kernel.
    """
    limits = [int(psutil.virtual_memory().total)]
    for file in _limit_files(root, membership):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limits.append(int(file.read_text()))
    return min(limits)


def _limit_files(root: Path, membership: Path) -> Iterable[Path]:
    """Of the group that this process is in and of all above; in a container the group itself may be the root."""
    groups = []
    with contextlib.suppress(OSError):
        groups = [line.split(":", 2) for line in membership.read_text().splitlines() if line.count(":") >= 2]
    yield root / "memory.max"
    yield root / "memory" / "memory.limit_in_bytes"
    for _, controllers, path in groups:
        group = Path(path.lstrip("/"))
        for above in (group, *group.parents):
            if not controllers:
                yield root / above / "memory.max"
                yield root / "unified" / above / "memory.max"
            elif "memory" in controllers.split(","):
                yield root / "memory" / above / "memory.limit_in_bytes"
