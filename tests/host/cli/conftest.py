"""A command line in an empty folder, and a host to talk to: a real control socket with an in-memory service behind."""

import asyncio
import threading
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from host.cli import build
from host.control import SOCKET_NAME, ControlServer
from tests.fakes import FakeService


@dataclass(frozen=True)
class Ended:
    """How a command ended; `flat` and `flat_err` are its output with every run of white space as one space."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        return " ".join(self.out.split())

    @property
    def flat_err(self) -> str:
        return " ".join(self.err.replace("│", " ").split())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(here):
    def run(*words: str) -> Ended:
        result = CliRunner().invoke(build(), list(words), prog_name="sensorium")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def host(here):
    """A host that listens in ./data, from a thread of its own; the service behind it is handed out."""
    data = here / "data"
    data.mkdir()
    service = FakeService(str(data), str(here / "outbox"))
    listening, ends = threading.Event(), []

    async def serve():
        ended = asyncio.Event()
        ends.append((asyncio.get_running_loop(), ended))
        async with ControlServer(service, data / SOCKET_NAME, every=0.01):
            listening.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert listening.wait(10)
    yield service
    loop, ended = ends[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
