"""NVML as its Python binding shows it: the functions that we call, on GPUs in memory, with the binding's own error."""

from __future__ import annotations

import types

import pynvml

MB = 1024 * 1024


class FakeNvml(types.ModuleType):
    """GPUs of so many MB; `hold` says what a process has of one. None at all: a machine without a driver."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *total_mb: int) -> None:
        super().__init__("pynvml")
        self.total_mb = total_mb
        self.compute: list[dict[int, int | None]] = [{} for _ in total_mb]
        self.graphics: list[dict[int, int | None]] = [{} for _ in total_mb]
        self.unnamed: list[int] = [0 for _ in total_mb]
        self.lost = False

    def hold(self, index: int, memory_mb: int | None, pid: int | None = None) -> None:
        """A process holds so much (None: the driver does not say how much); without `pid`, one that is not listed."""
        if pid is None:
            self.unnamed[index] = memory_mb or 0
        else:
            self.compute[index][pid] = memory_mb

    def leave(self, index: int, pid: int) -> None:
        self.compute[index].pop(pid, None)

    def nvmlInit(self) -> None:
        if not self.total_mb:
            raise self.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.total_mb)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        if self.lost:
            raise self.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return int(uuid.removeprefix(b"GPU-"))

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"Card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        held = sum(held or 0 for held in {**self.graphics[handle], **self.compute[handle]}.values())
        used, total = (held + self.unnamed[handle]) * MB, self.total_mb[handle] * MB
        return types.SimpleNamespace(total=total, free=total - used, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[types.SimpleNamespace]:
        return _processes(self.compute[handle])

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[types.SimpleNamespace]:
        return _processes(self.graphics[handle])


def _processes(held: dict[int, int | None]) -> list[types.SimpleNamespace]:
    return [
        types.SimpleNamespace(pid=pid, usedGpuMemory=None if memory_mb is None else memory_mb * MB)
        for pid, memory_mb in held.items()
    ]
