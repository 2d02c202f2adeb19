"""The host's side of a worker process.

    new → started → loaded ⇄ running → ended        by `stop` (asked to unload, then killed after a grace)
            └────────┴──────────┴─────→ ended        killed: time limit, or it died by itself
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooks import wire
from hooks.errors import SensoriumError, WireError
from hooks.model import Device, ModelSpec
from hooks.wire import Arena, Message
from host.log import get_logger

OUTPUT_LINES = 40
OUTPUT_CHUNK = 64 * 1024
STOP_GRACE = 10.0
STREAM_LIMIT = 1024 * 1024

log = get_logger(__name__)


class WorkerFailed(SensoriumError):
    """A request to a worker did not end well; `alive` says whether the worker can take the next one.

    `code`: bad_input, unavailable, invalid_plugin, out_of_memory, exception (said by the plugin), and died, time_limit
    (seen by the host).
    """

    def __init__(self, code: str, message: str, hint: str = "", detail: str = "", *, alive: bool = False) -> None:
        super().__init__(message, hint)
        self.code = code
        self.detail = detail
        self.alive = alive


@dataclass(frozen=True, slots=True)
class Launch:
    """What a worker is started for."""

    plugin: str
    module: str
    spec: ModelSpec
    device: Device
    settings: dict[str, Any]
    scratch: Path


class Worker:
    """One child process; one request at a time."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.loaded_in: float | None = None
        self.memory_mb = 0.0
        self.used_at = time.monotonic()
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._drain: asyncio.Task[None] | None = None
        self._to_worker = Arena.create()
        self._from_worker = Arena.create()

    @property
    def pid(self) -> int:
        """The process id, 0 before it is started."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process; it knows nothing yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = {"socket": theirs.fileno(), "inbound": self._to_worker.fd, "outbound": self._from_worker.fd}
            flags = [f"--{name}={number}" for name, number in descriptors.items()]
            self._process = await asyncio.create_subprocess_exec(
                str(self.launch.spec.python or sys.executable),
                "-m",
                "hooks.worker",
                *flags,
                f"--parent={os.getpid()}",
                pass_fds=tuple(descriptors.values()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment(self.launch.device),
            )
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=STREAM_LIMIT)
        self._drain = asyncio.create_task(self._drain_output(), name=f"output-{self.launch.plugin}")

    async def load(self) -> None:
        """Have the model loaded. Raises WorkerFailed."""
        launch = self.launch
        body = {
            "op": "load",
            "plugin": launch.plugin,
            "module": launch.module,
            "settings": launch.settings,
            "spec": launch.spec.model_dump(mode="json"),
            "device": launch.device.model_dump(mode="json"),
            "scratch": str(launch.scratch),
        }
        launch.scratch.mkdir(parents=True, exist_ok=True)
        async for message in self.request(body, limit=launch.spec.load_time_limit, last="loaded"):
            self.loaded_in = message.body["seconds"]
            self.memory_mb = message.body["memory_mb"]

    async def request(
        self, body: dict[str, Any], *, limit: float, last: str = "done", blobs: Iterable[wire.Buffer] = ()
    ) -> AsyncIterator[Message]:
        """Send a request and yield its answers, the `last` one included. Blobs are valid until the next request.

        Raises WorkerFailed: with `alive` when the plugin raised, else the process is ended when it is raised.
        """
        try:
            async with asyncio.timeout(limit):
                await self._send(Message(body, list(blobs)))
                while True:
                    message = await self._receive()
                    if message.op == "error":
                        raise _said(message)
                    self.memory_mb = message.body.get("memory_mb", self.memory_mb)
                    yield message
                    if message.op == last:
                        break
        except TimeoutError:
            await self.kill()
            raise WorkerFailed(
                "time_limit",
                f"{self.launch.plugin} did not finish within {limit:g} s and was ended.",
                "Raise the plugin's time limit if the work really takes that long.",
                self.last_words(),
            ) from None
        except (EOFError, ConnectionError, WireError) as error:
            await self.kill()
            raise self._died(error) from None
        finally:
            self.used_at = time.monotonic()

    async def stop(self) -> None:
        """Have the process exit; kill it when it does not within the grace."""
        if self._process is None or self._process.returncode is not None:
            return await self.kill()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(STOP_GRACE):
                await self._send(Message({"op": "unload"}))
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process now, and return when it is gone and its memory is free."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._drain is not None:
            await self._drain
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._to_worker.close()
            self._from_worker.close()

    def last_words(self) -> str:
        """The end of what the process printed."""
        return "\n".join(self._output)

    def _died(self, error: Exception) -> WorkerFailed:
        code = self._process.returncode if self._process else None
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        if isinstance(error, WireError):
            how = f"after it sent something unreadable ({error})"
        hint = "Its last words are in the details." if self._output else ""
        return WorkerFailed("died", f"The worker of {self.launch.plugin} ended {how}.", hint, self.last_words())

    async def _send(self, message: Message) -> None:
        if self._writer is None:
            raise ConnectionError("the worker is not running")
        self._to_worker.reset()
        self._writer.writelines(wire.encode(message, self._to_worker))
        await self._writer.drain()

    async def _receive(self) -> Message:
        if self._reader is None:
            raise ConnectionError("the worker is not running")
        head, inline = wire.frame_sizes(await self._reader.readexactly(wire.HEADER.size))
        payload = memoryview(await self._reader.readexactly(head + inline))
        return wire.decode(payload[:head], payload[head:], self._from_worker)

    async def _drain_output(self) -> None:
        """Read what the process prints, so that it never blocks on a full pipe; keep the end of it."""
        stdout = self._process.stdout if self._process else None
        while stdout is not None and (chunk := await stdout.read(OUTPUT_CHUNK)):
            lines = chunk.decode("utf-8", "replace").splitlines()
            self._output.extend(line[:500] for line in lines if line.strip())
            for line in lines[-5:]:
                log.debug("worker output", plugin=self.launch.plugin, line=line[:500])


def _said(message: Message) -> WorkerFailed:
    body = message.body
    return WorkerFailed(body["code"], body["message"], body["hint"], body["detail"], alive=True)


def environment(device: Device) -> dict[str, str]:
    """The worker's environment: thread counts for the numeric libraries, which else start one for each core, each."""
    threads = str(device.threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, threads),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # the folder the host was started in is no place for code
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
