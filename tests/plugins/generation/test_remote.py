"""A model behind a server answers as one in this process does, and no server can hang, flood or fool the plugin."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from random import Random

import httpx
import pytest

from plugins.generation.remote import ATTEMPTS, RemoteModel
from plugins.generation.request import ContextExceeded, GenerationFailed, Picture, Request, ServerFailed
from plugins.generation.running import Runner
from plugins.generation.tasks import tasks_in
from plugins.llm.settings import TASKS
from tests.plugins.generation.faulty_server import (
    FaultyServer,
    drips_for_ever,
    faulty_server,
    hangs_up,
    refuses,
    says,
    sends,
    streams,
    streams_for_ever,
)
from tools.train_llm.evaluate import MODEL
from tools.train_llm.world import cluster, meeting

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's own server with the bundled model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--model",
        str(MODEL),
        "--port",
        str(port),
        "--n_ctx",
        "512",
        "--n_threads",
        "1",
        "--n_threads_batch",
        "1",
    ]
    log = (tmp_path_factory.mktemp("server") / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", *options, "--model_alias", "tiny"],
        stdout=log, stderr=log, env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(1200):
            assert process.poll() is None, "the server ended"
            try:
                if httpx.get(f"{url}/models", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


class Rest:
    """Sleeps without sleeping, and remembers for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def model_of(server: FaultyServer, **more) -> RemoteModel:
    return RemoteModel(server.url, "any", **{"sleep": Rest(), "timeout": 60, **more})


# --- a real server ---


def test_a_real_server_answers_streams_and_keeps_to_schemas(real_server):
    model = RemoteModel(real_server, "tiny", context=512)
    tasks = tasks_in(TASKS)
    said, card = meeting(Random(5), "test"), cluster(Random(3), "test")
    pieces: list[str] = []
    data, generation = Runner(model, "tiny", brief=True).run(tasks["summary"], said.values, on_text=pieces.append)
    assert data.text == said.answer == "".join(pieces)
    assert len(pieces) > 5
    data, generation = Runner(model, "tiny", brief=True).run(tasks["enrich-cluster"], card.values)
    wanted = json.loads(card.answer)
    assert set(wanted) < set(type(data).model_fields)
    assert data.folder_path == wanted["folder_path"]
    assert generation.tokens > 10
    model.close()


def test_a_request_that_a_real_server_cannot_hold_is_told(real_server):
    model = RemoteModel(real_server, "tiny", context=512)
    with pytest.raises((ContextExceeded, GenerationFailed), match=r"context|refused"):
        model.generate(Request("word " * 3000))
    model.close()


# --- servers with faults ---


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_waited_for_longer_each_time(server, status):
    server.replies = [refuses(status), refuses(status), says("at last")]
    rest = Rest()
    answer = model_of(server, sleep=rest).generate(Request("hello"))
    assert (answer.text, answer.tokens, answer.prompt_tokens) == ("at last", 3, 7)
    assert len(server.asked) == 3
    assert 0.3 < rest.slept[0] < rest.slept[1]


def test_a_server_is_asked_again_when_it_says_so(server):
    server.replies = [refuses(429, retry_after="7"), says("now")]
    rest = Rest()
    model_of(server, sleep=rest).generate(Request("hello"))
    assert rest.slept == [7.0]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (refuses(500, "out of order"), "HTTP 500: out of order"),
        (hangs_up, "did not answer"),
        (sends(b'{"choices": [{"mess'), "no answer"),
        (sends(b"<html>hello</html>"), "no answer"),
        (sends(b'{"choices": []}'), "no answer"),
        (sends(b"[" * 100_000), "no answer"),
    ],
)
def test_what_does_not_pass_is_given_up_with_the_reason(server, reply, said):
    server.replies = [reply]
    with pytest.raises(ServerFailed, match=said) as caught:
        model_of(server).generate(Request("hello"))
    assert len(server.asked) == ATTEMPTS
    assert f"asked {ATTEMPTS} times" in str(caught.value)


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = RemoteModel(f"http://127.0.0.1:{port}/v1", "any", sleep=Rest())
    with pytest.raises(ServerFailed, match=rf"127\.0\.0\.1:{port}.*did not answer"):
        model.generate(Request("hello"))


def test_an_answer_of_fifty_megabytes_is_cut_off(server):
    server.replies = [sends(b'{"choices": [{"message": {"content": "' + b"x" * 50_000_000 + b'"}}]}')]
    with pytest.raises(ServerFailed, match="larger than 4 MB"):
        model_of(server).generate(Request("hello"))
    assert len(server.asked) == 1


def test_a_stream_without_an_end_is_cut_off(server):
    server.replies = [streams_for_ever]
    pieces: list[str] = []
    with pytest.raises(ServerFailed, match="does not end"):
        model_of(server).generate(Request("hello", max_tokens=50), pieces.append)
    assert len(pieces) < 300


def test_a_server_that_is_too_slow_is_left(server):
    server.replies = [drips_for_ever]
    with pytest.raises(ServerFailed, match="took more than 1 s"):
        model_of(server, timeout=1).generate(Request("hello"), lambda piece: None)


def test_a_stream_that_breaks_off_is_not_heard_twice(server):
    server.replies = [streams("one ", "two", end=False), streams("one ", "two ", "three")]
    pieces: list[str] = []
    with pytest.raises(ServerFailed, match="ended before the answer"):
        model_of(server).generate(Request("hello"), pieces.append)
    assert pieces == ["one ", "two"]
    assert model_of(server).generate(Request("hello"), pieces.append).text == "one two three"


def test_the_form_of_a_schema_is_the_first_that_the_server_takes(server):
    server.replies = [
        refuses(422, "response_format"),
        refuses(400, "response_format"),
        says('```json\n{"a": "b"}\n```'),
    ]
    model = model_of(server)
    for _ in range(2):
        assert model.generate(Request("hello", schema=SCHEMA)).text.startswith("```json")
    formats = [body.get("response_format", {}).get("type") for body in server.asked]
    assert formats == ["json_schema", "json_object", None, None]
    assert '"additionalProperties": false' in server.asked[-1]["messages"][-1]["content"]


@pytest.mark.parametrize(("status", "said"), [(401, "api_key_variable"), (404, "`url` and `model`"), (418, "HTTP 418")])
def test_a_refusal_is_told_and_not_repeated(server, status, said):
    server.replies = [refuses(status)]
    with pytest.raises(GenerationFailed) as caught:
        model_of(server).generate(Request("hello"))
    assert said in str(caught.value)
    assert not isinstance(caught.value, ServerFailed)
    assert len(server.asked) == 1


def test_a_server_says_itself_that_a_request_is_too_long(server):
    server.replies = [refuses(400, "This model's maximum context length is 512 tokens")]
    with pytest.raises(ContextExceeded, match="too long"):
        model_of(server).generate(Request("hello"))


def test_no_more_requests_are_under_way_than_allowed(server):
    gate = threading.Event()

    def waits(handler, body):
        assert gate.wait(60)
        says("done")(handler, body)

    server.replies = [waits]
    model = model_of(server, parallel=2)
    threads = [threading.Thread(target=model.generate, args=(Request("hello"),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    threading.Timer(0.5, gate.set).start()
    for thread in threads:
        thread.join()
    assert (len(server.asked), server.most <= 2) == (6, True)


def test_pictures_and_the_system_s_words_are_sent(server):
    server.replies = [says("a cat")]
    model = model_of(server, key="secret")
    model.generate(Request("What is it?", system="Be short.", pictures=(Picture(b"png", "image/jpeg"),), stop=("\n",)))
    (body,) = server.asked
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Be short."}
    assert user["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,cG5n"
    assert user["content"][1] == {"type": "text", "text": "What is it?"}
    assert body["stop"] == ["\n"]
