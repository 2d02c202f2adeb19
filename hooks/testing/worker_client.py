"""A small synchronous host for one worker process: what the real one does, without an event loop. As in::

with WorkerClient.started() as client:
    client.load("plugins.vision.metadata")
    answers = client.run([events.image()])
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from hooks.events import Event
from hooks.model import Device, ModelSpec
from hooks.wire import Arena, Buffer, Message, encode, read_message

LAST_ANSWERS = ("loaded", "done", "error")
CPU = Device(name="cpu", kind="cpu", memory_mb=4000, threads=1)


class WorkerGone(Exception):
    """The process ended instead of answering."""


class WorkerClient:
    """One worker process and the connection to it; blobs of answers are copied, so they stay valid."""

    def __init__(
        self, process: subprocess.Popen[bytes], connection: socket.socket, arenas: tuple[Arena, Arena]
    ) -> None:
        self.process = process
        self.connection = connection
        self.to_worker, self.from_worker = arenas
        self._reader = connection.makefile("rb")

    @classmethod
    @contextlib.contextmanager
    def started(
        cls,
        environment: Mapping[str, str] | None = None,
        patience: float = 120,
        *,
        python: Path | None = None,
        output: IO[bytes] | None = None,
    ) -> Iterator[Self]:
        """A new process, killed with its group at the end; an answer that takes `patience` seconds is a TimeoutError.

        `python`: another interpreter than this one. `output`: a file that gets what the process prints.
        """
        ours, theirs = socket.socketpair()
        arenas = Arena.create(), Arena.create()
        process = subprocess.Popen(
            worker_command(theirs.fileno(), arenas, python=python),
            pass_fds=(theirs.fileno(), *(arena.fd for arena in arenas)),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            process_group=0,
        )
        theirs.close()
        ours.settimeout(patience)
        try:
            yield cls(process, ours, arenas)
        finally:
            ours.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for arena in arenas:
                arena.close()

    def load(
        self,
        module: str,
        settings: Mapping[str, Any] | None = None,
        device: Device = CPU,
        scratch: Path = Path(),
        spec: ModelSpec | None = None,
    ) -> Message:
        """Load a plugin; the answer says `loaded` or `error`."""
        stated = (spec or ModelSpec(name=module)).model_dump(mode="json")
        body = {"op": "load", "plugin": module.rpartition(".")[2], "module": module, "settings": dict(settings or {})}
        body |= {"device": device.model_dump(mode="json"), "spec": stated, "scratch": str(scratch)}
        return self.request(body)[-1]

    def run(self, events: Sequence[Event], hook: str = "on_image", families: Sequence[bytes] = ()) -> list[Message]:
        """Let the plugin work; all answers, the last one `done` or `error`. `families` as JSON for `on_finished`."""
        body = {"op": "run", "hook": hook, "events": [event.model_dump(mode="json") for event in events]}
        return self.request(body, families)

    def query(self, texts: Sequence[str]) -> list[Message]:
        """Ask for vectors of texts."""
        return self.request({"op": "query", "texts": list(texts)})

    def unload(self) -> int:
        """Ask the process to leave; its exit status."""
        self.send({"op": "unload"})
        return self.process.wait(timeout=60)

    def request(self, body: dict[str, Any], blobs: Sequence[Buffer] = ()) -> list[Message]:
        """Send a request and read its answers."""
        self.send(body, blobs)
        answers = [self.receive()]
        while answers[-1].op not in LAST_ANSWERS:
            answers.append(self.receive())
        return answers

    def send(self, body: dict[str, Any], blobs: Sequence[Buffer] = ()) -> None:
        """Send a request without waiting for an answer."""
        self.to_worker.reset()
        self.connection.sendall(b"".join(encode(Message(body, list(blobs)), self.to_worker)))

    def receive(self) -> Message:
        """The next answer; raises WorkerGone when there will be none."""
        try:
            message = read_message(self._read_exactly, self.from_worker)
        except (EOFError, ConnectionError) as error:
            raise WorkerGone(f"exit status {self.process.wait(timeout=60)}") from error
        message.blobs = [bytes(blob) for blob in message.blobs]
        return message

    def _read_exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError
        return data


def worker_command(
    descriptor: int, arenas: tuple[Arena, Arena], parent: int | None = None, python: Path | None = None
) -> list[str]:
    """The command line of a worker that inherits a socket and two arenas."""
    inbound, outbound = arenas
    options = {"socket": descriptor, "inbound": inbound.fd, "outbound": outbound.fd, "parent": parent or os.getpid()}
    return [
        str(python or sys.executable),
        "-m",
        "hooks.worker",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
