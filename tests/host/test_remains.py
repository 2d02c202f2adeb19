"""What a killed host leaves is found by the next one, and nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from host import processes
from host.remains import Register

SLEEPER = "import time; print('up', flush=True); time.sleep(3600)"


@pytest.fixture
def sleeper() -> Iterator:
    """Start processes that sleep, with a mark or without; what is left in the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mark: str | None = None, **options) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **({processes.MARK: mark} if mark else {})}
        one = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, env=environment, **options)
        one.stdout.readline()
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "workers")


async def test_a_worker_of_an_earlier_host_and_its_detached_child_are_ended(register, sleeper):
    worker, child = sleeper("m1"), sleeper("m1", start_new_session=True)
    register.enter(worker.pid, "m1", "clip")
    await register.clear()
    assert not processes.living([psutil.Process(worker.pid), psutil.Process(child.pid)])


async def test_a_child_that_outlived_its_worker_is_ended(register, sleeper):
    worker, child = sleeper("m2"), sleeper("m2")
    register.enter(worker.pid, "m2", "clip")
    worker.kill()
    worker.wait()
    await register.clear()
    assert not processes.living([psutil.Process(child.pid)])


async def test_a_worker_that_hides_its_mark_is_known_by_its_number_and_when_it_started(register, sleeper):
    worker = sleeper()
    register.enter(worker.pid, "m3", "clip")
    await register.clear()
    assert not processes.living([psutil.Process(worker.pid)])


async def test_another_process_that_has_the_number_now_is_left_alone(register, sleeper, tmp_path):
    worker = sleeper()
    register.enter(worker.pid, "m4", "clip")
    (file,) = (tmp_path / "workers").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "started": "another boot 4711"}))
    await register.clear()
    assert processes.living([psutil.Process(worker.pid)])
    assert not list((tmp_path / "workers").iterdir())


async def test_workers_of_another_host_are_left_alone(register, sleeper):
    ours, others = sleeper("m5"), sleeper("m6")
    register.enter(ours.pid, "m5", "clip")
    await register.clear()
    assert processes.living([psutil.Process(others.pid)])


async def test_an_entry_that_was_cut_off_still_names_the_mark(register, sleeper, tmp_path):
    worker = sleeper("m7")
    register.enter(worker.pid, "m7", "clip")
    (tmp_path / "workers" / "m7.json").write_text('{"pid": 12')
    await register.clear()
    assert not processes.living([psutil.Process(worker.pid)])


async def test_what_has_gone_is_struck_out(register, tmp_path):
    register.enter(os.getpid(), "m8", "clip")
    register.strike("m8")
    assert not list((tmp_path / "workers").iterdir())
    await register.clear()


def test_a_process_started_when_it_started(sleeper):
    one = sleeper()
    born = processes.started(one.pid)
    assert processes.started(one.pid) == born is not None
    # The kernel counts in hundredths of a second: two that started in the same one are told apart by their number.
    assert any(processes.started(sleeper().pid) != born for _ in range(20))
    one.kill()
    one.wait()
    assert processes.started(one.pid) is None
