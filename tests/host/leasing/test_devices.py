"""What models may compute on."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable

import psutil
import pytest

from host.config import Devices
from host.leasing import devices
from host.leasing.devices import CPU_SHARE, LIGHT_MB, MB, find_devices, memory_limit, usable_cores

WITHOUT_GPU = Devices(use_gpu=False)


def test_there_is_always_a_cpu_and_a_light_device():
    found = find_devices(WITHOUT_GPU)
    assert [(device.name, device.kind) for device in found] == [("cpu", "cpu"), ("light", "none")]
    assert found[1].memory_mb == LIGHT_MB


def test_the_cpu_gets_a_share_of_what_this_process_may_use():
    (cpu, _) = find_devices(WITHOUT_GPU)
    assert cpu.memory_mb == int(memory_limit() / MB * CPU_SHARE)
    assert cpu.threads == usable_cores()


def test_the_configuration_has_the_last_word():
    (cpu, _) = find_devices(Devices(use_gpu=False, cpu_memory_mb=1234, threads=3))
    assert (cpu.memory_mb, cpu.threads) == (1234, 3)


def test_only_the_cores_that_this_process_may_use_count():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_limit_of_a_cgroup_counts(tmp_path):
    (tmp_path / "memory.max").write_text(f"{512 * MB}\n")
    assert memory_limit(tmp_path) == 512 * MB


def test_the_limit_of_an_old_cgroup_counts(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{256 * MB}\n")
    assert memory_limit(tmp_path) == 256 * MB


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "", "?"])
def test_a_cgroup_without_a_limit_leaves_the_machine_s_memory(tmp_path, text):
    (tmp_path / "memory.max").write_text(text)
    assert memory_limit(tmp_path) == psutil.virtual_memory().total


def test_without_cgroups_the_machine_s_memory_counts(tmp_path):
    assert memory_limit(tmp_path / "nothing") == psutil.virtual_memory().total


class FakeNvml(types.ModuleType):
    """NVML as its Python binding shows it, with GPUs of so many free MB; none at all: no driver."""

    class NVMLError(Exception):
        pass

    def __init__(self, *free_mb: int) -> None:
        super().__init__("pynvml")
        self.free_mb = free_mb
        self.opened = 0

    def nvmlInit(self) -> None:
        if not self.free_mb:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.free_mb)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(free=self.free_mb[handle] * MB, total=24_000 * MB, used=0)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    """A machine with the files of a driver, and NVML with GPUs of so many free MB."""

    def install(*free_mb: int) -> FakeNvml:
        fake = FakeNvml(*free_mb)
        monkeypatch.setattr(devices, "DRIVER_FILES", ("/dev/null",))
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_without_the_files_of_a_driver_nvml_is_not_asked(nvml, monkeypatch):
    fake = nvml(8000)
    monkeypatch.setattr(devices, "DRIVER_FILES", ("/dev/no-such-driver",))
    monkeypatch.setattr(fake, "nvmlInit", lambda: pytest.fail("it was asked"))
    assert [device.kind for device in find_devices(Devices())] == ["cpu", "none"]


def test_without_a_driver_there_are_no_gpus(nvml):
    nvml()
    assert [device.kind for device in find_devices(Devices())] == ["cpu", "none"]


def test_what_other_programs_hold_on_a_gpu_and_the_reserve_are_not_ours(nvml):
    fake = nvml(8000, 300)
    gpus = [device for device in find_devices(Devices(gpu_reserve_mb=500)) if device.kind == "gpu"]
    assert [(gpu.name, gpu.memory_mb, gpu.torch) for gpu in gpus] == [("gpu0", 7500, "cuda:0"), ("gpu1", 0, "cuda:1")]
    assert fake.opened == 0


def test_gpus_can_be_switched_off(nvml):
    nvml(8000)
    assert [device.kind for device in find_devices(WITHOUT_GPU)] == ["cpu", "none"]
