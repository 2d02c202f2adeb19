"""One host per data directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host.errors import AlreadyRunning, HostError
from host.lock import LOCK_NAME, HostLock

HOLDER = """
import sys, time
from pathlib import Path
from host.lock import HostLock
with HostLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_host_is_told_who_the_first_is(tmp_path, holder):
    with (
        pytest.raises(AlreadyRunning, match=rf"process {holder.pid}\) already works with {tmp_path}"),
        HostLock(tmp_path),
    ):
        pass


def test_the_lock_dies_with_its_process(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with HostLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_lock_that_was_left_can_be_taken_again(tmp_path):
    for _ in range(2):
        with HostLock(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_even_the_same_process_cannot_hold_it_twice(tmp_path):
    with HostLock(tmp_path), pytest.raises(AlreadyRunning, match=str(os.getpid())), HostLock(tmp_path):
        pass


def test_a_child_does_not_keep_the_lock(tmp_path):
    with HostLock(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with HostLock(tmp_path):
            assert child.poll() is None, "it ended before the lock was taken again"
    finally:
        child.kill()
        child.wait()


def test_the_data_directory_is_made(tmp_path):
    with HostLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_NAME).stat().st_mode & 0o777 == 0o600


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(HostError, match="file/data cannot be used: Not a directory"),
        HostLock(Path(tmp_path, "file/data")),
    ):
        pass
