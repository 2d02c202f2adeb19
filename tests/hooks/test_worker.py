"""A worker answers every request, whatever its plugin does, and never outlives its host."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hooks.wire import ARENA_FROM, Arena
from tests.plugin_kit import install_plugin
from tests.worker_client import CPU, WorkerClient, WorkerGone, image_event, worker_command

HEAD = """
import os, sys, time
from pathlib import Path
from pydantic import BaseModel, ConfigDict
from hooks import *

class Said(ResultData):
    type = "said"
    version = 2
    blob_field = "raw"
    text: str
    raw: bytes = b""
"""


@pytest.fixture
def client(plugin_path: Path) -> Iterator[WorkerClient]:
    """A worker that finds what is installed under `plugin_path`."""
    with WorkerClient.started() as client:
        yield client


@pytest.fixture
def events(tmp_path: Path) -> list:
    """Two events; their contents do not matter here."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(b"content")
    return [image_event(path) for path in paths]


@pytest.fixture
def plugin(plugin_path: Path) -> Callable[[str], str]:
    """Install a plugin with this source and name its module."""
    return lambda source: install_plugin(plugin_path, "tried", HEAD + source)


@pytest.fixture
def on_image(client: WorkerClient, plugin: Callable[[str], str], events: list) -> Callable[[str], list]:
    """The answers to two pictures of a plugin whose `on_image` has this body."""

    def answers(body: str) -> list:
        source = "@hookimpl\ndef on_image(events, model, settings, context):\n"
        assert client.load(plugin(source + "".join(f"    {line}\n" for line in body.splitlines()))).op == "loaded"
        return client.run(events)

    return answers


def test_loading_is_answered_with_its_time_and_the_peak_of_memory(client, plugin):
    answer = client.load(plugin("@hookimpl\ndef load(): time.sleep(.05); return bytearray(50_000_000)"))
    assert answer.op == "loaded"
    assert answer.body["seconds"] >= 0.05
    assert answer.body["memory_mb"] > 50


def test_results_come_in_order_with_type_version_and_data(on_image):
    answers = on_image("for event in events: yield event.result(Said(text=event.name))")
    assert [answer.body | {} for answer in answers[:-1]] == [
        {"op": "result", "event": name, "type": "said", "version": 2, "data": {"text": name}}
        for name in ("a.png", "b.png")
    ]
    assert answers[-1].op == "done"
    assert answers[-1].body["memory_mb"] > 0


@pytest.mark.parametrize("size", [0, 1, ARENA_FROM - 1, ARENA_FROM, 20_000_000])
def test_blobs_of_any_size_come_with_their_result(on_image, size):
    first, second, _ = on_image(
        f"for event in events: yield event.result(Said(text='', raw=event.name[:1].encode()*{size}))"
    )
    assert first.blobs == [b"a" * size]
    assert second.blobs == [b"b" * size]


def test_the_memory_for_blobs_is_used_again_with_every_request(client, on_image, events):
    on_image("for event in events: yield event.result(Said(text='', raw=bytes(1_000_000)))")
    size = os.fstat(client.from_worker.fd).st_size
    for _ in range(5):
        assert client.run(events)[-1].op == "done"
    assert os.fstat(client.from_worker.fd).st_size == size


def test_a_verdict_on_one_event_leaves_the_others_alone(on_image):
    answers = on_image("yield events[0].failure('too dark'); yield events[1].result(Said(text='fine'))")
    assert [answer.op for answer in answers] == ["failure", "result", "done"]
    assert answers[0].body == {"op": "failure", "event": "a.png", "reason": "too dark"}


def test_progress_is_passed_on(on_image):
    answers = on_image("context.progress(events[0], .5, 'half')\nreturn ()")
    assert answers[0].body == {"op": "progress", "event": "a.png", "fraction": 0.5, "text": "half"}


def test_results_leave_while_the_plugin_is_still_at_work(client, plugin, events, tmp_path):
    client.load(plugin("""
@hookimpl
def on_image(events, context):
    for _ in range(3):
        yield events[0].result(Said(text="", raw=bytes(30_000)))
    while not (context.scratch / "go").exists():
        time.sleep(.01)
"""), scratch=tmp_path)  # fmt: skip
    client.send({"op": "run", "hook": "on_image", "events": [event.model_dump(mode="json") for event in events]})
    assert client.receive().op == "result"
    (tmp_path / "go").touch()
    assert [client.receive().op for _ in range(3)] == ["result", "result", "done"]


def test_a_hook_that_yields_nothing_is_done(on_image):
    assert [answer.op for answer in on_image("return None")] == ["done"]


def test_what_came_before_an_exception_is_kept_and_the_worker_goes_on(client, on_image, events):
    answers = on_image("yield events[0].result(Said(text='seen'))\nraise RuntimeError('no more')")
    assert [answer.op for answer in answers] == ["result", "error"]
    error = answers[-1].body
    assert (error["code"], error["message"]) == ("exception", "RuntimeError: no more")
    assert "in on_image" in error["detail"]
    assert [answer.op for answer in client.run(events)] == ["result", "error"]


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("BadInput('cut short')", "bad_input"),
        ("ModelUnavailable('no weights')", "unavailable"),
        ("OutOfMemory('full')", "out_of_memory"),
        ("MemoryError()", "out_of_memory"),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA')", "out_of_memory"),
        ("KeyError('x')", "exception"),
    ],
)
def test_an_exception_has_a_code_that_the_host_acts_on(on_image, raised, code):
    assert on_image(f"raise {raised}")[-1].body["code"] == code


def test_what_puts_an_error_right_is_told_apart_from_what_is_wrong(on_image):
    error = on_image("raise ModelUnavailable('No weights.', 'Put them there.')")[-1].body
    assert (error["message"], error["hint"]) == ("No weights.", "Put them there.")


@pytest.mark.parametrize(
    "yielded", ["'a string'", "None", "Said(text='bare')", "Result(event_id='another', data=Said(text=''))"]
)
def test_anything_but_a_result_of_this_batch_breaks_the_contract(on_image, yielded):
    error = on_image(f"yield {yielded}")[-1].body
    assert error["code"] == "invalid_plugin"
    assert "on_image yielded" in error["message"]


@pytest.mark.parametrize(("deed", "status"), [("os.abort()", -signal.SIGABRT), ("sys.exit(3)", 3), ("os._exit(4)", 4)])
def test_a_plugin_that_ends_its_process_ends_no_other(on_image, deed, status):
    with pytest.raises(WorkerGone, match=f"exit status {status}$"):
        on_image(deed)


def test_a_plugin_that_cannot_be_imported_is_an_answer(client, plugin):
    answer = client.load(plugin("import a_package_that_is_not_there"))
    assert answer.op == "error"
    assert "a_package_that_is_not_there" in answer.body["message"]


def test_settings_reach_every_hook_after_they_were_checked(client, plugin, events):
    source = """
class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    loud: bool = False

@hookimpl
def settings_class(): return Settings
@hookimpl
def load(settings): return "LOUD" if settings.loud else "quiet"
@hookimpl
def on_image(events, model, settings): yield events[0].result(Said(text=f"{model} {settings.loud}"))
"""
    assert client.load(plugin(source), {"loud": "yes"}).op == "loaded"
    assert client.run(events)[0].body["data"] == {"text": "LOUD True"}


def test_settings_that_the_plugin_does_not_have_are_an_answer(client, plugin):
    source = """
class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

@hookimpl
def settings_class(): return Settings
"""
    answer = client.load(plugin(source), {"lod": 1})
    assert answer.op == "error"
    assert "lod" in answer.body["message"]


def test_texts_are_answered_with_vectors_in_order(client, plugin):
    client.load(plugin("""
@hookimpl
def embed_query(texts): return [Embedding(space="s", vector=[len(text), .5]) for text in texts]
"""))  # fmt: skip
    first, second, done = client.query(["a", "abc"])
    assert first.body["data"] == {"space": "s"}
    assert [memoryview(answer.blobs[0]).cast("f").tolist() for answer in (first, second)] == [[1, 0.5], [3, 0.5]]
    assert done.op == "done"


def test_a_task_is_answered_with_pieces_of_text_at_once_and_then_with_results(client, plugin, tmp_path):
    file = tmp_path / "vectors"
    file.write_bytes(b"1234")
    client.load(plugin("""
@hookimpl
def perform(task, context):
    yield task.name
    yield str(task.values)
    yield Said(text=str(len(task.files[0].read_bytes())), raw=b"raw")
"""))  # fmt: skip
    body = {"op": "perform", "task": {"name": "count", "values": {"a": [1]}, "files": [str(file)]}}
    name, values, result, done = client.request(body)
    assert [answer.body["text"] for answer in (name, values)] == ["count", "{'a': [1]}"]
    assert (result.body["data"], result.blobs) == ({"text": "4"}, [b"raw"])
    assert done.op == "done"


def test_a_task_that_is_answered_with_something_else_is_the_plugins_fault(client, plugin):
    client.load(plugin("@hookimpl\ndef perform(task): yield 3"))
    answer = client.request({"op": "perform", "task": {"name": "count"}})[-1]
    assert (answer.op, answer.body["code"]) == ("error", "invalid_plugin")


def test_unloading_calls_the_hook_and_ends_the_process(client, plugin, tmp_path):
    left = tmp_path / "left"
    client.load(plugin(f"@hookimpl\ndef unload(model): Path({str(left)!r}).touch()"))
    assert client.unload() == 0
    assert left.exists()


def test_a_worker_whose_host_hangs_up_leaves(client, plugin):
    client.load(plugin(""))
    client.connection.shutdown(socket.SHUT_RDWR)
    assert client.process.wait(timeout=60) == 0


def test_a_worker_that_computes_dies_with_its_host(plugin, events):
    module = plugin("@hookimpl\ndef on_image(events):\n    while True: pass")
    host = f"""
import os, signal
from pathlib import Path
from tests.worker_client import WorkerClient, image_event
with WorkerClient.started() as client:
    client.load({module!r})
    event = image_event(Path({str(events[0].path)!r}))
    client.send({{"op": "run", "hook": "on_image", "events": [event.model_dump(mode="json")]}})
    print(client.process.pid, flush=True)
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", host], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        worker = os.pidfd_open(int(process.stdout.readline()))
        process.stdin.write(b"x")
        process.stdin.flush()
        ended, _, _ = select.select([worker], [], [], 60)
        os.close(worker)
    assert ended
    assert process.returncode == -signal.SIGKILL


def test_a_worker_that_was_orphaned_before_it_could_look_leaves():
    ours, theirs = socket.socketpair()
    arenas = Arena.create(), Arena.create()
    command = worker_command(theirs.fileno(), arenas, parent=1)
    descriptors = (theirs.fileno(), *(arena.fd for arena in arenas))
    with ours, theirs:
        assert subprocess.run(command, pass_fds=descriptors, timeout=60).returncode == 1
    for arena in arenas:
        arena.close()


def test_an_interrupt_from_the_terminal_is_left_to_the_host(client, plugin, events):
    client.load(plugin(""))
    client.process.send_signal(signal.SIGINT)
    assert client.run(events)[-1].op == "done"


def test_a_worker_gives_way_to_everything_else(client, plugin):
    client.load(plugin(""))
    assert os.getpriority(os.PRIO_PROCESS, client.process.pid) == 19


def test_a_request_that_does_not_exist_ends_the_worker(client):
    with pytest.raises(WorkerGone, match="exit status 1"):
        client.request({"op": "dance"})


def test_the_device_says_what_libraries_call_it(client, plugin, events):
    client.load(plugin("""
@hookimpl
def load(device): return device.torch
@hookimpl
def on_image(events, model): yield events[0].result(Said(text=model))
"""), device=CPU.model_copy(update={"kind": "gpu", "index": 1}))  # fmt: skip
    assert client.run(events)[0].body["data"] == {"text": "cuda:1"}


def test_a_worker_imports_nothing_that_its_plugin_does_not_ask_for(on_image):
    answers = on_image("yield events[0].result(Said(text=' '.join(sys.modules)))")
    loaded = set(answers[0].body["data"]["text"].split())
    assert not loaded & {"torch", "numpy", "PIL", "open_clip", "asyncio", "host", "aiosqlite"}
