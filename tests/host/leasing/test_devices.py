"""What models may compute on."""

from __future__ import annotations

import os

import psutil
import pytest

from host.config import Devices
from host.leasing.devices import (
    CPU_SHARE,
    LIGHT_MB,
    MB,
    CpuGauge,
    find_devices,
    find_gauges,
    memory_limit,
    simulated,
    usable_cores,
)
from host.leasing.nvml import Nvml
from tests.host.leasing.fake_nvml import FakeNvml

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


# -- limits of cgroups -----------------------------------------------------------------------------------------------


def limited(tmp_path, membership: str, **limits: str) -> int:
    """The limit of a process that is in these groups, with these limit files (path with __ for /)."""
    for name, text in limits.items():
        file = tmp_path / "cgroup" / name.replace("__", "/").replace("_limit", ".limit").replace("_max", ".max")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "membership").write_text(membership)
    return memory_limit(tmp_path / "cgroup", tmp_path / "membership")


def test_the_limit_of_a_container_s_own_cgroup_counts(tmp_path):
    assert limited(tmp_path, "0::/\n", memory_max=f"{512 * MB}\n") == 512 * MB


def test_the_limit_of_an_old_container_s_own_cgroup_counts(tmp_path):
    where = {"memory__memory_limit_in_bytes": f"{256 * MB}\n"}
    assert limited(tmp_path, "4:memory:/docker/abc\n", **where) == 256 * MB


def test_the_lowest_limit_above_this_process_counts(tmp_path):
    limits = {"user__memory_max": f"{700 * MB}", "user__session__memory_max": f"{900 * MB}", "memory_max": "max"}
    assert limited(tmp_path, "0::/user/session\n", **limits) == 700 * MB


def test_the_lowest_limit_above_this_process_counts_in_old_cgroups_as_well(tmp_path):
    limits = {"memory__a__memory_limit_in_bytes": f"{80 * MB}", "memory__a__b__memory_limit_in_bytes": f"{90 * MB}"}
    assert limited(tmp_path, "9:cpu,memory:/a/b\n3:cpuset:/c\n", **limits) == 80 * MB


def test_the_limit_of_another_group_does_not_count(tmp_path):
    machine = psutil.virtual_memory().total
    assert limited(tmp_path, "0::/user\n", other__memory_max="1000", user__below__memory_max="1000") == machine


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "", "?"])
def test_a_cgroup_without_a_limit_leaves_the_machine_s_memory(tmp_path, text):
    assert limited(tmp_path, "0::/\n", memory_max=text) == psutil.virtual_memory().total


def test_without_cgroups_the_machine_s_memory_counts(tmp_path):
    assert memory_limit(tmp_path / "nothing", tmp_path / "nobody") == psutil.virtual_memory().total


# -- gauges ----------------------------------------------------------------------------------------------------------


def test_a_gpu_may_be_used_but_for_its_reserve_and_what_others_hold_is_seen_by_its_gauge():
    library = FakeNvml(24_000, 8_000)
    library.hold(1, 700, pid=4242)
    _, _, first, second = find_gauges(Devices(gpu_reserve_mb=500), lambda: Nvml(library))
    found = [(one.device.name, one.device.memory_mb, one.device.uuid) for one in (first, second)]
    assert found == [("gpu0", 23_500, "GPU-0"), ("gpu1", 7_500, "GPU-1")]
    assert (first.read([]).used_mb, dict(first.read([]).held_mb)) == (0, {})
    assert (second.read([]).used_mb, dict(second.read([]).held_mb)) == (700, {4242: 700})


def test_gpus_can_be_switched_off():
    assert [gauge.device.kind for gauge in find_gauges(WITHOUT_GPU, lambda: Nvml(FakeNvml(8_000)))] == ["cpu", "none"]


def test_the_gauge_of_the_cpu_counts_the_memory_of_the_processes_that_are_ours():
    gauge = CpuGauge(find_devices(WITHOUT_GPU)[0])
    before = gauge.read([os.getpid()]).used_mb
    ballast = bytearray(os.urandom(1)) * (64 * MB)
    reading = gauge.read([os.getpid()])
    assert 60 < reading.used_mb - before < 80
    assert reading.held_mb == {os.getpid(): reading.used_mb}
    assert gauge.read([]).used_mb == 0
    assert len(ballast) == 64 * MB


def test_a_simulated_device_reads_what_is_written_into_it():
    gauge = simulated("gpu0", 8_000)
    gauge.held[7], gauge.others_mb = 300.0, 1_000.0
    assert (gauge.device.kind, gauge.device.memory_mb) == ("gpu", 8_000)
    assert (gauge.read([7]).used_mb, gauge.read([7]).held_mb) == (1_300, {7: 300})
    assert simulated("cpu", 100).device.kind == "cpu"
