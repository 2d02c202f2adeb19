"""Hosts on one machine take turns on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from host.leasing.gpu_lock import GpuLock

OTHER = """
import sys
from pathlib import Path
from host.leasing.gpu_lock import GpuLock
lock = GpuLock("GPU-7", "data in /other/data", Path(sys.argv[1]))
print(lock.take() or "taken", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def lock(tmp_path: Path) -> GpuLock:
    return GpuLock("GPU-7", "data in /our/data", tmp_path)


def other_host(folder: Path) -> subprocess.Popen[str]:
    """Another process that tries to take the lock, says what came of it, and stays."""
    command = [sys.executable, "-c", OTHER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=Path(__file__).parents[3], **pipes)


def test_a_gpu_that_nobody_has_is_taken_and_asking_again_changes_nothing(lock):
    assert lock.take() == ""
    assert lock.take() == ""


def test_who_has_it_is_named_by_process_and_data_directory(lock, tmp_path):
    with other_host(tmp_path) as other:
        assert other.stdout.readline() == "taken\n"
        said = f"Another host works on it: process {other.pid}, data in /other/data. Models wait until it lets go."
        assert lock.take() == said
        other.kill()


def test_it_is_free_when_its_holder_lets_go(lock, tmp_path):
    lock.take()
    lock.release()
    with other_host(tmp_path) as other:
        assert other.stdout.readline() == "taken\n"
        other.kill()


def test_it_is_free_when_its_holder_is_killed(lock, tmp_path):
    with other_host(tmp_path) as other:
        other.stdout.readline()
        other.kill()
        other.wait()
    assert lock.take() == ""


def test_two_gpus_have_two_locks(lock, tmp_path):
    lock.take()
    assert GpuLock("GPU-8", "", tmp_path).take() == ""


def test_a_lock_file_that_was_tidied_away_is_made_again(lock, tmp_path):
    lock.take()
    (tmp_path / "sensorium-GPU-7.lock").unlink()
    lock.release()
    assert lock.take() == ""
    with other_host(tmp_path) as other:
        assert "data in /our/data" in other.stdout.readline()
        other.kill()


def test_a_link_in_its_place_is_not_followed(lock, tmp_path):
    (tmp_path / "sensorium-GPU-7.lock").symlink_to(tmp_path / "somebody-s-file")
    assert "cannot be used" in lock.take()
    assert not (tmp_path / "somebody-s-file").exists()
