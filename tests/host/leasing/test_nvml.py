"""GPUs as the driver's library tells of them."""

from __future__ import annotations

import sys

import pynvml
import pytest

from host.leasing import nvml
from host.leasing.nvml import Gpu, Nvml, open_nvml, visible
from tests.host.leasing.fake_nvml import FakeNvml

GPUS = [Gpu(0, "GPU-aaa1", "A", 8_000), Gpu(1, "GPU-aab2", "B", 8_000), Gpu(2, "GPU-ccc3", "C", 8_000)]


def install(monkeypatch: pytest.MonkeyPatch, *total_mb: int) -> FakeNvml:
    """A machine with the files of a driver, and NVML with such GPUs."""
    fake = FakeNvml(*total_mb)
    monkeypatch.setattr(nvml, "DRIVER_FILES", ("/dev/null",))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_the_functions_that_we_call_are_those_of_the_library():
    ours = {name for name in vars(FakeNvml) if name.startswith("nvml")}
    assert ours <= set(vars(pynvml))


def test_without_the_files_of_a_driver_the_library_is_not_asked(monkeypatch):
    fake = install(monkeypatch, 8_000)
    monkeypatch.setattr(nvml, "DRIVER_FILES", ("/dev/no-such-driver",))
    monkeypatch.setattr(fake, "nvmlInit", lambda: pytest.fail("it was asked"))
    assert open_nvml() is None


def test_without_a_driver_there_is_no_nvml(monkeypatch):
    install(monkeypatch)
    assert open_nvml() is None


def test_the_real_library_says_so_where_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(nvml, "DRIVER_FILES", ("/dev/null",))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert open_nvml() is None
    else:
        assert (found := open_nvml()) is not None
        assert all(gpu.total_mb > 0 and found.used_mb(gpu) is not None for gpu in found.gpus())


def test_a_gpu_has_its_place_its_uuid_its_name_and_its_memory(monkeypatch):
    install(monkeypatch, 24_000, 8_000)
    found = open_nvml()
    assert found is not None
    assert found.gpus() == [Gpu(0, "GPU-0", "Card 0", 24_000), Gpu(1, "GPU-1", "Card 1", 8_000)]


def test_what_all_programs_hold_is_used_and_each_is_told_that_the_driver_tells_of():
    library = FakeNvml(8_000)
    (gpu,) = Nvml(library).gpus()
    library.hold(0, 500)
    library.hold(0, 1_000, pid=10)
    library.hold(0, None, pid=11)  # as under Windows
    library.graphics[0][10] = 1_000  # one that computes and draws is on both lists
    library.graphics[0][12] = 200
    assert Nvml(library).used_mb(gpu) == 1_700
    assert Nvml(library).held_mb(gpu) == {10: 1_000, 12: 200}


def test_a_gpu_that_is_lost_answers_nothing_and_breaks_nothing():
    library = FakeNvml(8_000)
    (gpu,) = Nvml(library).gpus()
    library.lost = True
    assert Nvml(library).used_mb(gpu) is None
    assert Nvml(library).held_mb(gpu) == {}


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("GPU-aab2, 0", [1, 0]),
        ("GPU-c", [2]),
        ("GPU-aa", []),  # of two: the driver takes neither
        ("0,7,1", [0]),
        ("-1", []),
        ("1,1", [1]),
    ],
)
def test_cuda_visible_devices_chooses_up_to_what_is_wrong(setting, chosen):
    assert [gpu.index for gpu in visible(GPUS, setting)] == chosen


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.index for gpu in Nvml(FakeNvml(8_000, 9_000)).gpus()] == [1]
