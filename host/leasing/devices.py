"""The devices of this machine: GPUs as NVML sees them, the CPU with a budget, and 'light' for work without a model."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from hooks.model import Device
from host.config import Devices

MB = 1024 * 1024
CPU_SHARE = 0.75  # of the machine's memory (or of the cgroup's limit) that models may use
LIGHT_MB = 1024
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg")  # NVIDIA's driver on Linux, and under Windows' subsystem


def find_devices(config: Devices) -> list[Device]:
    """What models may compute on; always a CPU and the light device, then GPUs unless they are switched off."""
    threads = config.threads or usable_cores()
    memory = config.cpu_memory_mb or int(memory_limit() / MB * CPU_SHARE)
    cpu = Device(name="cpu", kind="cpu", memory_mb=memory, threads=threads)
    light = Device(name="light", kind="none", memory_mb=LIGHT_MB, threads=1)
    return [cpu, light, *(_gpus(config.gpu_reserve_mb, threads) if config.use_gpu else [])]


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: the machine's, or its cgroup's limit (v2 memory.max, v1) if lower."""
    limit = int(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limit = min(limit, int((cgroup / name).read_text()))
    return limit


def _gpus(reserve_mb: int, threads: int) -> list[Device]:
    """GPUs by NVML; none when there is no driver. What other programs hold now is not part of the budget."""
    if not any(Path(path).exists() for path in DRIVER_FILES):
        return []  # most machines: importing pynvml would cost each start 50 ms
    import pynvml  # here: it opens the driver's library, which most machines do not have

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [_gpu(handle, index, reserve_mb, threads) for index, handle in enumerate(handles)]
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object, index: int, reserve_mb: int, threads: int) -> Device:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    budget = max(0, int(memory.free / MB) - reserve_mb)
    return Device(name=f"gpu{index}", kind="gpu", index=index, memory_mb=budget, threads=threads)
