"""NVIDIA GPUs as their driver's library tells of them (NVML, by its Python binding `pynvml`).

The library is opened once and stays open: without a desktop, opening it may take seconds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MB = 1024 * 1024
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg")  # NVIDIA's driver on Linux, and under Windows' subsystem


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its place among all (in PCI order), the name that no other one has, what it is called, its memory."""

    index: int
    uuid: str
    name: str
    total_mb: float


class Nvml:
    """The open library. What fails later (a GPU that fell off the bus, a driver that is replaced) is None."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def gpus(self) -> list[Gpu]:
        """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES says."""
        found = self._try(lambda nvml: [self._gpu(index) for index in range(nvml.nvmlDeviceGetCount())])
        return visible(found or [], os.environ.get("CUDA_VISIBLE_DEVICES"))

    def used_mb(self, gpu: Gpu) -> float | None:
        """Memory that is not free: of all programs, and the driver's own."""
        memory = self._try(lambda nvml: nvml.nvmlDeviceGetMemoryInfo(self._handle(gpu)))
        return None if memory is None else float(memory.total - memory.free) / MB

    def held_mb(self, gpu: Gpu) -> dict[int, float]:
        """Memory by process, of those that the driver tells of: in a container, or under Windows, maybe none."""
        held: dict[int, float] = {}
        for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            for process in self._try(lambda nvml, name=name: getattr(nvml, name)(self._handle(gpu))) or ():
                if process.usedGpuMemory is not None:  # one that computes and draws is on both lists, with all it has
                    held[process.pid] = max(held.get(process.pid, 0.0), float(process.usedGpuMemory) / MB)
        return held

    def _gpu(self, index: int) -> Gpu:
        handle = self._library.nvmlDeviceGetHandleByIndex(index)
        total = float(self._library.nvmlDeviceGetMemoryInfo(handle).total) / MB
        return Gpu(
            index, _text(self._library.nvmlDeviceGetUUID(handle)), _text(self._library.nvmlDeviceGetName(handle)), total
        )

    def _handle(self, gpu: Gpu) -> Any:
        return self._library.nvmlDeviceGetHandleByUUID(gpu.uuid.encode())

    def _try(self, ask: Callable[..., Any]) -> Any:
        with contextlib.suppress(self._library.NVMLError):
            return ask(self._library)
        return None


def open_nvml() -> Nvml | None:
    """NVML, or None where there is no driver."""
    if not any(Path(path).exists() for path in DRIVER_FILES):
        return None  # most machines: importing pynvml would cost each start 50 ms
    import pynvml  # here: it opens the driver's library, which most machines do not have

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return Nvml(pynvml)


def visible(gpus: Iterable[Gpu], setting: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names, by number or by the beginning of their UUID, up to the first wrong one."""
    every = list(gpus)
    if setting is None:
        return every
    chosen: list[Gpu] = []
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        named = [gpu for gpu in every if (str(gpu.index) == entry or gpu.uuid.startswith(entry))]
        if len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
