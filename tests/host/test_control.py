"""The control socket: the same answers as from the service itself, and no caller that can hurt the host."""

import asyncio
import contextlib
import errno
import json
import random
import socket
import stat
import struct

import pytest

from host import control
from host.control import SOCKET_NAME, ControlClient, ControlServer, connect
from host.errors import HostError, NotFound, UsageError
from host.views import SERVICE_METHODS, Service
from tests.fakes import FakeService


@pytest.fixture
def path(tmp_path):
    return tmp_path / SOCKET_NAME


@pytest.fixture
def service():
    service = FakeService()
    service.add("cat.png", "a cat")
    service.add("dog.png", error="The worker died.")
    return service


@pytest.fixture
async def server(service, path):
    async with ControlServer(service, path, every=0.001) as server:
        yield server


@pytest.fixture
def client(server, path):
    return ControlClient(path)


async def raw(path, *frames: bytes) -> bytes:
    """What the server says to bytes that no client of ours would send."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    with contextlib.suppress(ConnectionError):
        for frame in frames:
            writer.write(frame)
        await writer.drain()
        writer.write_eof()
        return await reader.read()
    return b""


def frame(body) -> bytes:
    head = json.dumps(body).encode()
    return struct.pack(">II", len(head), 0) + head


# --- the same answers ---


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("status", {}),
        ("results", {}),
        ("results", {"query": "cat.png", "limit": 1}),
        ("why", {"query": "dog.png"}),
        ("search", {"text": "cat", "limit": 3}),
        ("plugins", {}),
        ("models", {}),
        ("pause", {"paused": True}),
        ("requeue", {"queries": ["dog.png"]}),
        ("submit", {"paths": ["/nowhere"], "wait": True}),
    ],
)
async def test_a_call_over_the_socket_answers_as_the_service_itself(client, method, arguments):
    direct = FakeService()
    direct.add("cat.png", "a cat")
    direct.add("dog.png", error="The worker died.")
    assert await getattr(client, method)(**arguments) == await getattr(direct, method)(**arguments)


async def test_every_method_of_the_service_can_be_called(client):
    for name in SERVICE_METHODS:
        assert callable(getattr(client, name))
    with pytest.raises(AttributeError):
        client.shutdown  # noqa: B018


async def test_arguments_may_be_given_by_position(client):
    assert (await client.why("cat.png")).state == "done"


async def test_an_error_of_the_service_arrives_as_what_it_was(client):
    with pytest.raises(NotFound) as caught:
        await client.results("bird.png")
    assert caught.value.message == "Nothing is known of bird.png."
    assert caught.value.hint == "Name a file in an inbox, a submitted file, or an event id."


async def test_many_callers_are_answered_at_once(client):
    answers = await asyncio.gather(*(client.status() for _ in range(40)))
    assert {status.events for status in answers} == {2}


async def test_a_long_call_does_not_hold_up_others(client, service, tmp_path):
    (tmp_path / "bird.png").write_bytes(b"x")
    service.finish.clear()
    waiting = asyncio.create_task(client.submit([str(tmp_path / "bird.png")], wait=True))
    async for status in client.watch_status():
        if status.events == 3:
            break
    service.finish.set()
    assert [answer.state for answer in await waiting] == ["done"]


async def test_watching_shows_every_change_until_the_client_goes(client, service):
    seen = []
    async for status in client.watch_status():
        seen.append(status.paused)
        service.paused = not status.paused
        if len(seen) == 4:
            break
    assert seen == [False, True, False, True]


# --- callers that go away or talk rubbish ---


class Waits(FakeService):
    """Says when a call began and when it was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.dropped = asyncio.Event(), asyncio.Event()

    async def submit(self, paths, wait=False):
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.dropped.set()


async def test_a_call_ends_when_its_client_goes(path):
    service = Waits()
    async with ControlServer(service, path):
        call = asyncio.create_task(ControlClient(path).submit([], wait=True))
        await service.began.wait()
        call.cancel()
        await service.dropped.wait()


async def test_a_call_ends_when_the_host_ends_and_the_client_is_told(path):
    service = Waits()
    async with ControlServer(service, path):
        call = asyncio.create_task(ControlClient(path).submit([], wait=True))
        await service.began.wait()
    with pytest.raises(HostError, match="ended before it answered"):
        await call
    assert service.dropped.is_set()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">II", 2**32 - 1, 2**32 - 1),
        struct.pack(">II", control.REQUEST_LIMIT, 1),
        struct.pack(">II", 5, 0) + b"{nope",
        frame([]),
        frame("call"),
        frame(None),
        frame({"op": "call", "blobs": [["arena", 0, 1]]}),
        struct.pack(">II", 200_000, 0) + b"[" * 200_000,
    ],
    ids=range(10),
)
async def test_rubbish_costs_its_sender_the_connection_and_nobody_else(client, path, sent):
    assert await raw(path, sent) == b""
    assert (await client.status()).events == 2


async def test_random_bytes_never_stop_the_server(client, path):
    chance = random.Random(7)
    for _ in range(50):
        await raw(path, chance.randbytes(chance.randrange(1, 200)))
    assert (await client.status()).events == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"op": "call", "method": "__init__", "arguments": {}}, "cannot do '__init__'"),
        ({"op": "call", "method": "add", "arguments": {"name": "x"}}, "cannot do 'add'"),
        ({"op": "call", "method": ["status"]}, "cannot do"),
        ({"op": "call"}, "cannot do None"),
        ({"op": "what"}, "cannot do None"),
        ({"op": "call", "method": "why", "arguments": {}}, "does not take why like this"),
        ({"op": "call", "method": "why", "arguments": {"query": 3}}, "does not take why like this"),
        ({"op": "call", "method": "why", "arguments": {"query": "a", "deep": True}}, "does not take why like this"),
        ({"op": "call", "method": "why", "arguments": []}, "cannot do 'why'"),
    ],
)
async def test_a_call_that_the_service_does_not_know_is_refused_with_words(server, path, body, said):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(frame(body))
    head, _ = struct.unpack(">II", await reader.readexactly(8))
    answer = json.loads(await reader.readexactly(head))
    writer.close()
    assert (answer["op"], answer["exit_code"]) == ("error", UsageError.exit_code)
    assert said in answer["message"]


class Breaks(FakeService):
    async def status(self):
        raise RuntimeError("a mistake in the host")


async def test_a_mistake_in_the_host_ends_one_call_only(path):
    async with ControlServer(Breaks(), path):
        with pytest.raises(HostError, match="ended before it answered"):
            await ControlClient(path).status()
        assert await ControlClient(path).results() == []


class Newer(FakeService):
    async def models(self):
        return [{"plugin": "clip", "colour": "red"}]


async def test_an_answer_of_another_version_is_said_to_be_that(path, monkeypatch):
    method = control._method("models")
    loose = control._Method(method.name, method.signature, method.arguments, control.TypeAdapter(list[dict[str, str]]))
    async with ControlServer(Newer(), path):
        client = ControlClient(path)
        call = client.models
        monkeypatch.setattr(control, "_method", lambda name: loose)
        with pytest.raises(HostError, match="another version"):
            await call()


async def test_an_answer_too_large_for_a_frame_is_an_error_and_not_a_break(path, service, monkeypatch):
    monkeypatch.setattr("hooks.wire.FRAME_LIMIT", 1000)
    async with ControlServer(service, path):
        with pytest.raises(HostError, match="over the limit of 1000"):
            await ControlClient(path).results()


async def test_callers_over_the_limit_are_asked_to_come_back(path, monkeypatch):
    monkeypatch.setattr(control, "CLIENTS", 1)
    service = Waits()
    async with ControlServer(service, path):
        first = asyncio.create_task(ControlClient(path).submit([]))
        await service.began.wait()
        with pytest.raises(HostError, match="already has 1 callers"):
            await ControlClient(path).status()
        first.cancel()


async def test_a_client_that_says_nothing_is_sent_away(client, path, monkeypatch):
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.01)
    reader, writer = await asyncio.open_unix_connection(str(path))
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert (await client.status()).events == 2


# --- the socket ---


async def test_the_socket_is_for_its_owner_alone(server, path, tmp_path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [SOCKET_NAME]


async def test_the_socket_is_gone_when_the_host_is(service, path, tmp_path):
    async with ControlServer(service, path):
        assert isinstance(await connect(tmp_path), ControlClient)
    assert not path.exists()
    assert await connect(tmp_path) is None


async def test_a_socket_that_a_killed_host_left_is_replaced(service, path, tmp_path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert await connect(tmp_path) is None
    async with ControlServer(service, path):
        assert (await ControlClient(path).status()).events == 2


async def test_a_data_directory_with_a_very_long_path_works(service, tmp_path):
    data = tmp_path / ("long-" * 40) / ("path-" * 40)
    data.mkdir(parents=True)
    async with ControlServer(service, data / SOCKET_NAME):
        client = await connect(data)
        assert (await client.status()).events == 2
    assert list(data.iterdir()) == []


async def test_no_data_directory_means_no_host(tmp_path):
    assert await connect(tmp_path / "nothing") is None
    assert await connect(tmp_path / "no\udcffthing") is None


async def test_a_folder_that_cannot_hold_a_socket_is_named(service, tmp_path):
    with pytest.raises(HostError, match=r"control\.sock cannot be made: No such file or directory"):
        async with ControlServer(service, tmp_path / "nothing" / SOCKET_NAME):
            pass


async def test_the_socket_of_somebody_else_is_said_to_be_that(tmp_path, monkeypatch):
    async def refuse(address):
        raise PermissionError(errno.EACCES, "Permission denied", address)

    monkeypatch.setattr(asyncio, "open_unix_connection", refuse)  # root, who may run the tests, is never refused
    with pytest.raises(HostError, match="belongs to another user"):
        await connect(tmp_path)


def test_the_stand_in_has_the_methods_of_the_service():
    service: Service = FakeService()
    assert all(callable(getattr(service, name)) for name in SERVICE_METHODS)
