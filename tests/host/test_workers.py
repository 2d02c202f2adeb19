"""A worker seen from the host: real processes that crash, hang, print, and must always be gone afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hooks.model import Device, ModelSpec
from hooks.wire import ARENA_FROM
from host.workers import Launch, Worker, WorkerFailed, environment
from tests.plugin_kit import install_plugin
from tests.until import until

CPU = Device(name="cpu", kind="cpu", memory_mb=2000, threads=1)

# Does what the text of the query says.
OBEDIENT = """
import os, subprocess, sys, time
from hooks import BadInput, Embedding, InvalidPlugin, ModelUnavailable, OutOfMemory, hookimpl

@hookimpl
def load(spec, settings):
    return bytearray(os.urandom(1)) * (64 * 1024 * 1024)

@hookimpl
def embed_query(texts, model):
    word, _, rest = texts[0].partition(" ")
    if word == "blob":
        return [Embedding(space="s", vector=bytes(int(rest)))]
    if word == "length":
        return [Embedding(space="s", vector=[float(len(texts[0]))])]
    return globals()[word](rest)

@hookimpl
def on_text(events, context):
    for event in events:
        for step in range(12):
            time.sleep(.25)
            context.progress(event, step / 12 if event.name == "far" else 0.5)
    return []

def say(rest):
    print(rest, flush=True)
    return []

def shout(rest):
    for number in range(int(rest)):
        print("x" * 1023)
        print("y" * 1023, file=sys.stderr)
    return []

def hang(rest):
    print("about to hang", flush=True)
    time.sleep(3600)

def abort(rest): os.abort()
def leave(rest): os._exit(int(rest))
def child(rest):
    subprocess.Popen(["sleep", "3600"])
    open(rest, "w").write("started")
    time.sleep(3600)

def bad(rest): raise BadInput("It is torn.", "Mend it.")
def missing(rest): raise ModelUnavailable("No weights.", "Put them there.")
def full(rest): raise OutOfMemory("No room.")
def memory(rest): raise MemoryError()
def wrong(rest): raise InvalidPlugin("It breaks the contract.")
def broken(rest): raise ValueError("a mistake in the plugin")
"""


@pytest.fixture
async def start(plugin_path: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Worker]]]:
    """Start a worker of the obedient plugin; whatever is left of it in the end is killed."""
    module = install_plugin(plugin_path, "obedient", OBEDIENT)
    started: list[Worker] = []

    async def begin(on_exit: Callable[[], None] = lambda: None, *, load: bool = True, **spec) -> Worker:
        launch = Launch("obedient", module, ModelSpec(name="o", **spec), CPU, {}, tmp_path / "scratch")
        worker = Worker(launch, on_exit)
        started.append(worker)
        await worker.start()
        if load:
            await worker.load()
        return worker

    yield begin
    for worker in started:
        await worker.kill()
        assert not psutil.pid_exists(worker.pid) or worker.pid == 0, "a process is left"


async def ask(worker: Worker, text: str, *, limit: float = 30.0) -> list[bytes]:
    blobs: list[bytes] = []
    body = {"op": "query", "texts": [text]}
    await worker.request(body, limit=limit, each=lambda message: blobs.extend(bytes(blob) for blob in message.blobs))
    return blobs


async def failure(worker: Worker, text: str, *, limit: float = 30.0) -> WorkerFailed:
    with pytest.raises(WorkerFailed) as caught:
        await ask(worker, text, limit=limit)
    return caught.value


async def test_answers_come_back_small_ones_in_line_and_large_ones_through_shared_memory(start):
    worker = await start()
    for size in (4, ARENA_FROM - 4, ARENA_FROM, 10 * 1024 * 1024):
        assert await ask(worker, f"blob {size}") == [bytes(size)]


async def test_a_request_larger_than_a_socket_s_buffer_goes_through(start):
    worker = await start()
    (vector,) = await ask(worker, "length" + " " * 3_000_000)
    assert len(vector) == 4


async def test_loading_and_every_answer_say_the_peak_of_memory(start):
    worker = await start()
    assert worker.memory_mb > 64
    resident = psutil.Process(worker.pid).memory_info().rss / 1024 / 1024
    assert worker.memory_mb >= resident * 0.8


@pytest.mark.parametrize(
    ("order", "code", "message"),
    [
        ("bad", "bad_input", "It is torn."),
        ("missing", "unavailable", "No weights."),
        ("full", "out_of_memory", "No room."),
        ("memory", "out_of_memory", "MemoryError"),
        ("wrong", "invalid_plugin", "It breaks the contract."),
        ("broken", "exception", "ValueError: a mistake in the plugin"),
    ],
)
async def test_what_a_plugin_raises_comes_out_with_its_code_and_the_worker_goes_on(start, order, code, message):
    worker = await start()
    error = await failure(worker, order)
    assert (error.code, error.alive) == (code, True)
    assert error.message.startswith(message)
    assert "Traceback" in error.detail
    assert await ask(worker, "blob 4") == [bytes(4)]


async def test_a_crash_is_told_with_its_signal_and_last_words(start):
    worker = await start()
    await ask(worker, "say all is lost")
    error = await failure(worker, "abort")
    assert (error.code, error.alive) == ("died", False)
    assert error.message == "The worker of obedient ended by signal 6 (SIGABRT)."
    assert "all is lost" in error.detail


async def test_an_exit_is_told_with_its_code(start):
    error = await failure(await start(), "leave 3")
    assert (error.code, error.message) == ("died", "The worker of obedient ended with exit code 3.")


async def test_a_worker_that_is_killed_at_work_says_that_memory_may_have_run_out(start):
    worker = await start()
    asking = asyncio.create_task(failure(worker, "hang"))
    await until(lambda: "about to hang" in worker.last_words())
    os.kill(worker.pid, signal.SIGKILL)
    error = await asking
    assert (error.code, error.alive) == ("died", False)
    assert "memory" in error.hint


async def test_a_hang_ends_at_the_time_limit_and_the_process_with_it(start):
    worker = await start()
    error = await failure(worker, "hang", limit=0.3)
    assert (error.code, error.alive) == ("time_limit", False)
    assert error.message == "obedient did not finish within 0.3 s and was ended."
    assert not psutil.pid_exists(worker.pid)


async def work(worker: Worker, name: str, limit: float) -> list[float]:
    """Have an event of this name worked on; the progress that was told."""
    told: list[float] = []
    event = {
        "kind": "text", "id": "1", "media_type": "text/plain", "sha256": "0", "size": 1, "path": "/none", "name": name,
        "source": "test", "origin": name, "created": 0,
    }  # fmt: skip
    body = {"op": "run", "hook": "on_text", "events": [event]}
    await worker.request(body, limit=limit, each=lambda message: told.append(message.body["fraction"]))
    return told


async def test_work_that_goes_on_is_not_ended_at_the_time_limit(start):
    worker = await start()
    assert await work(worker, "far", limit=1.5) == pytest.approx([step / 12 for step in range(12)])


async def test_progress_that_stands_still_is_a_hang(start):
    worker = await start()
    with pytest.raises(WorkerFailed) as caught:
        await work(worker, "near", limit=1.5)
    assert caught.value.code == "time_limit"


async def test_loading_has_a_time_limit_of_its_own(start):
    worker = await start(load=False, load_time_limit=0.01)
    with pytest.raises(WorkerFailed) as caught:
        await worker.load()
    assert caught.value.code == "time_limit"


async def test_megabytes_of_output_block_nothing_and_only_the_end_is_kept(start):
    worker = await start()
    await ask(worker, "shout 10000")  # 20 MB on both streams, far more than a pipe holds
    await ask(worker, "say the end")
    await until(lambda: "the end" in worker.last_words())
    assert len(worker.last_words()) < 40_000


async def test_memory_is_back_when_the_worker_was_stopped(start):
    worker = await start()
    process = psutil.Process(worker.pid)
    assert process.memory_info().rss > 64 * 1024 * 1024
    await worker.stop()
    assert not process.is_running()


async def test_stopping_twice_or_after_a_crash_is_no_error(start):
    worker = await start()
    pid = worker.pid
    await failure(worker, "leave 1")
    await worker.stop()
    await worker.stop()
    assert not psutil.pid_exists(pid)


async def test_what_the_plugin_has_started_ends_with_it(start, tmp_path):
    worker = await start()
    sign = tmp_path / "started"
    asking = asyncio.create_task(failure(worker, f"child {sign}"))
    await until(sign.exists)
    (child,) = psutil.Process(worker.pid).children()
    await worker.kill()
    assert (await asking).code == "died"
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_worker_that_dies_between_requests_is_noticed_at_once(start):
    gone = asyncio.Event()
    worker = await start(gone.set)
    os.kill(worker.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        assert await gone.wait()


async def test_a_stop_that_was_asked_for_is_no_death(start):
    deaths: list[str] = []
    worker = await start(lambda: deaths.append("died"))
    await worker.stop()
    await asyncio.sleep(0)
    assert deaths == []


async def test_a_request_to_a_worker_that_had_died_before_counts_as_lost(start):
    worker = await start()
    os.kill(worker.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(worker.pid)], timeout=0.1)
    error = await failure(worker, "blob 4")
    assert (error.code, error.alive) == ("lost", False)


async def test_a_request_that_was_never_read_counts_as_lost(start):
    worker = await start()
    os.kill(worker.pid, signal.SIGSTOP)
    asking = asyncio.create_task(failure(worker, "blob 4"))
    await asyncio.sleep(0)  # it is sent by now, and lies in the socket
    await asyncio.sleep(0)
    os.kill(worker.pid, signal.SIGKILL)
    assert (await asking).code == "lost"


async def test_an_interpreter_that_is_not_there_is_an_os_error(start):
    with pytest.raises(FileNotFoundError):
        await start(python=Path("/nowhere/python"))


async def test_failed_starts_leave_no_descriptor_behind(start, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        launch = Launch("x", "x", ModelSpec(name="x", python=Path("/nowhere/python")), CPU, {}, tmp_path)
        worker = Worker(launch)
        with pytest.raises(FileNotFoundError):
            await worker.start()
        await worker.kill()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_finished_workers_leave_no_descriptor_behind(start):
    await (await start()).stop()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        await (await start()).stop()
        await (await start()).kill()
    with suppress(TimeoutError):
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert len(os.listdir("/proc/self/fd")) <= before


HOST = """
import asyncio, sys, time
from pathlib import Path
from hooks.model import ModelSpec
from tests.host.test_workers import CPU
from host.workers import Launch, Worker

async def main():
    launch = Launch("obedient", sys.argv[1], ModelSpec(name="o"), CPU, {}, Path(sys.argv[2]))
    worker = Worker(launch)
    await worker.start()
    await worker.load()
    asking = asyncio.create_task(worker.request({"op": "query", "texts": ["hang"]}, limit=3600))
    while "about to hang" not in worker.last_words():
        await asyncio.sleep(.01)
    print(worker.pid, flush=True)
    await asking

asyncio.run(main())
"""


async def test_a_busy_worker_dies_with_a_host_that_is_killed(plugin_path, tmp_path):
    module = install_plugin(plugin_path, "obedient", OBEDIENT)
    command = (sys.executable, "-c", HOST, module, str(tmp_path / "scratch"))
    host = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert host.stdout is not None
    worker = psutil.Process(int(await host.stdout.readline()))
    host.kill()
    await host.wait()
    await until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_numeric_libraries_are_told_how_many_threads_to_use():
    given = environment(Device(name="cpu", kind="cpu", memory_mb=1, threads=3))
    assert {given[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"3"}


def test_no_library_tells_its_maker_what_is_worked_on(tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    given = {name: value for name, value in environment(CPU).items() if name != "CI"}
    assert given["ORT_DISABLE_TELEMETRY"] == given["HF_HUB_DISABLE_TELEMETRY"] == "1"
    loading = "from faster_whisper.vad import get_vad_model; get_vad_model()"
    subprocess.run([sys.executable, "-c", loading], env={**given, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == [], "where onnxruntime reports, it leaves the file of a session here"


def test_the_folder_the_host_was_started_in_is_no_place_for_code():
    assert environment(CPU)["PYTHONSAFEPATH"] == "1"
