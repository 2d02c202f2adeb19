"""The host's side of a worker process.

new → started → (warm) → loaded ⇄ running → ended   by `stop` (asked to unload, then killed after a grace)
        └──────────┴────────┴──────────┴───→ ended   killed: time limit, or it died by itself

It has ended when all has gone that it ever started, and with that its memory is back (on a CPU; a GPU may take longer).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hooks import wire
from hooks.errors import SensoriumError, WireError
from hooks.model import Device, ModelSpec
from hooks.wire import Arena, Message
from host import processes
from host.errors import FailureCode
from host.frames import Frames
from host.log import get_logger
from host.names import whole
from host.remains import PATIENCE, end_family

OUTPUT_LINES = 40
OUTPUT_CHUNK = 64 * 1024
OUTPUT_GRACE = 1.0
STOP_GRACE = 10.0

log = get_logger(__name__)


class WorkerFailed(SensoriumError):
    """A request to a worker did not end well; `alive` says whether the worker can take the next one.

    `code`: bad_input, unavailable, invalid_plugin, out_of_memory, exception (said by the plugin); died, time_limit
    (seen by the host); lost: the worker had ended before it took the request, whose fault that cannot be.
    """

    def __init__(
        self, code: FailureCode, message: str, hint: str = "", detail: str = "", *, alive: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.detail = detail
        self.alive = alive

    @property
    def facts(self) -> dict[str, str]:
        """What the journal keeps of it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Launch:
    """What a worker is started for."""

    plugin: str
    module: str
    spec: ModelSpec
    device: Device
    settings: dict[str, Any]
    scratch: Path
    is_isolated: bool = False


class Worker:
    """One child process; one request at a time. `on_exit` is called when the process ends without being told to.

    `mark` is what its whole family of processes carries, `requests` how many it got. `memory_mb` is its own peak,
    `resident_mb` what it had at the end of the last request (0: unknown), `first_mb` that after its first work.
    `outside`: where its plugin wrote and should not have, until somebody takes it.
    `left` is what could not be ended, after `stop` or `kill`.
    """

    def __init__(self, launch: Launch, on_exit: Callable[[], None] = lambda: None) -> None:
        self.launch = launch
        self.on_exit = on_exit
        self.mark = uuid.uuid4().hex
        self.memory_mb = 0.0
        self.resident_mb = 0.0
        self.first_mb: float | None = None
        self.outside: list[str] = []
        self.requests = 0
        self.at_work = False
        self.left: list[psutil.Process] = []
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._frames: Frames | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._to_worker = Arena.create()
        self._from_worker = Arena.create()
        self._ended = False

    @property
    def pid(self) -> int:
        """The process id, 0 before it is started."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process; it knows nothing yet. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await self._spawn(theirs.fileno())
            loop = asyncio.get_running_loop()
            _, self._frames = await loop.create_unix_connection(lambda: Frames(self._from_worker), sock=ours)
        except BaseException:
            ours.close()
            raise
        name = self.launch.plugin
        self._helpers = [
            asyncio.create_task(self._drain_output(self._process), name=f"output-{name}"),
            asyncio.create_task(self._watch(self._process), name=f"watch-{name}"),
        ]

    async def _spawn(self, connection: int) -> asyncio.subprocess.Process:
        descriptors = {"socket": connection, "inbound": self._to_worker.fd, "outbound": self._from_worker.fd}
        return await asyncio.create_subprocess_exec(
            str(self.launch.spec.python or sys.executable),
            *(["-I", "-u"] if self.launch.is_isolated else []),  # nothing of ours is on its path
            "-m",
            "hooks.worker",
            *(f"--{name}={number}" for name, number in descriptors.items()),
            f"--parent={os.getpid()}",
            pass_fds=tuple(descriptors.values()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**environment(self.launch.device), processes.MARK: self.mark},
            process_group=0,  # what a plugin starts is ended with it, and Ctrl-C is the host's alone
        )

    async def warm(self) -> None:
        """Have imported what its plugin needs, so that a later `load` costs the model alone. Raises WorkerFailed."""
        launch = self.launch
        body = {"op": "warm", "plugin": launch.plugin, "module": launch.module, "imports": launch.spec.imports}
        await self.request(body, limit=launch.spec.load_time_limit, last="warm")

    async def load(self) -> None:
        """Have the model loaded. Raises WorkerFailed."""
        launch = self.launch
        device = launch.device
        if device.uuid:  # the worker sees no other GPU, see `environment`
            device = device.model_copy(update={"index": 0})
        body = {
            "op": "load",
            "plugin": launch.plugin,
            "module": launch.module,
            "settings": launch.settings,
            "spec": launch.spec.model_dump(mode="json"),
            "device": device.model_dump(mode="json"),
            "scratch": str(launch.scratch),
        }
        launch.scratch.mkdir(parents=True, exist_ok=True)
        await self.request(body, limit=launch.spec.load_time_limit, last="loaded")

    async def request(
        self,
        body: dict[str, Any],
        *,
        limit: float,
        each: Callable[[Message], Awaitable[dict[str, Any]] | None] = lambda message: None,
        last: str = "done",
        blobs: Sequence[wire.Buffer] = (),
    ) -> None:
        """Send a request; `each` is called with every answer before the `last`. Its blobs are to be copied there.

        The limit begins anew whenever the work on an event is further than before: long work is no hang. What `each`
        returns is awaited and sent: the answer to a question, for which the worker waits without a limit.
        Raises WorkerFailed: `alive` when the plugin raised, else the process has ended by then.
        """
        self.requests += 1
        self.at_work = True
        try:
            async with asyncio.timeout(limit) as deadline:
                self._send(Message(body, list(blobs)))
                answers = self._connection()
                furthest: dict[str, float] = {}
                while (message := await answers.receive()).op != last:
                    if message.op == "error":
                        self.outside += message.body.get("outside", ())
                        raise _said(message)
                    if message.op == "progress" and _is_further(message, furthest):
                        deadline.reschedule(asyncio.get_running_loop().time() + limit)
                    if (reply := each(message)) is not None:
                        deadline.reschedule(None)
                        self._send(Message(await reply))
                        deadline.reschedule(asyncio.get_running_loop().time() + limit)
                self.memory_mb = message.body["memory_mb"]
                self.resident_mb = message.body.get("resident_mb", 0.0)
                self.outside += message.body.get("outside", ())
        except TimeoutError:
            await self.kill()
            raise self._overdue(limit) from None
        except (EOFError, ConnectionError, WireError) as error:
            await self.kill()
            raise self._died(error) from None
        finally:
            self.at_work = False

    async def stop(self) -> None:
        """Have the process exit; kill it when it does not within the grace."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(STOP_GRACE):
                self.on_exit = _nothing
                self._send(Message({"op": "unload"}))
                await self._exited()
        await self.kill()

    async def kill(self) -> None:
        """End the process and all that it started; return when they have gone, or cannot be ended (`left`)."""
        self.on_exit = _nothing
        if self._ended or self._process is None:
            return self._close()
        family = await asyncio.to_thread(processes.family, self.mark)
        self.kill_soon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._exited()
        self.left = await end_family(self.mark, family)
        if self.left:
            pids = ", ".join(str(process.pid) for process in self.left)
            log.error("processes of a worker cannot be ended", plugin=self.launch.plugin, processes=pids)
        if self._helpers:
            await asyncio.wait(self._helpers, timeout=OUTPUT_GRACE)  # somebody else may hold the pipe open
            for helper in self._helpers:
                helper.cancel()
        self._close()

    def _close(self) -> None:
        if not self._ended:
            self._ended = True
            self._to_worker.close()
            self._from_worker.close()
            if self._frames is not None:
                self._frames.close()

    def kill_soon(self) -> None:
        """Send the signal that ends the process and what it has started, and do not wait."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of what the process printed."""
        return "\n".join(self._output)

    async def _exited(self) -> None:
        if self._process is not None:
            await self._process.wait()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.on_exit()

    def _overdue(self, limit: float) -> WorkerFailed:
        return WorkerFailed(
            "time_limit",
            f"{self.launch.plugin} did not finish within {limit:g} s and was ended.",
            "Raise the plugin's time limit if the work really takes that long.",
            self.last_words(),
        )

    def _died(self, error: Exception) -> WorkerFailed:
        """A reset or a failed send says that the request was never read (unix(7)); the stream's end, that it was."""
        code = self._process.returncode if self._process else None
        killed_by = -code if code is not None and code < 0 else 0
        how = f"by signal {killed_by} ({_signal_name(killed_by)})" if killed_by else f"with exit code {code}"
        if isinstance(error, WireError):
            how = f"after it sent something unreadable ({error})"
        hint = "Its last words are in the details." if self._output else ""
        if killed_by == signal.SIGKILL and not isinstance(error, WireError):
            hint = "Something killed it; mostly that is the system when memory runs out."
        kind: FailureCode = "lost" if isinstance(error, ConnectionError) else "died"
        return WorkerFailed(kind, f"The worker of {self.launch.plugin} ended {how}.", hint, self.last_words())

    def _send(self, message: Message) -> None:
        self._to_worker.reset()
        self._connection().send(message, self._to_worker)

    def _connection(self) -> Frames:
        if self._frames is None:
            raise ConnectionError("the worker is not running")
        return self._frames

    async def _drain_output(self, process: asyncio.subprocess.Process) -> None:
        """Read what the process prints, so that it never blocks on a full pipe; keep the end of it."""
        while process.stdout is not None and (chunk := await process.stdout.read(OUTPUT_CHUNK)):
            lines = chunk.decode("utf-8", "replace").splitlines()
            self._output.extend(line[:500] for line in lines if line.strip())
            for line in lines[-5:]:
                log.debug("worker output", plugin=self.launch.plugin, line=line[:500])


def _is_further(message: Message, furthest: dict[str, float]) -> bool:
    event, fraction = message.body["event"], message.body["fraction"]
    is_further = bool(fraction > furthest.get(event, 0.0))
    furthest[event] = max(fraction, furthest.get(event, 0.0))
    return is_further


def _said(message: Message) -> WorkerFailed:
    body = message.body
    said = body["message"].strip().removesuffix(":")  # an exception without words: its name says it
    return WorkerFailed(body["code"], whole(said), whole(body["hint"]), whole(body["detail"]), alive=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _nothing() -> None:
    """What is done when a worker ends that was told to."""


# From release 1.29 on, onnxruntime reports each model that it loads to its maker, unless this is set before its import.
TELEMETRY_OFF = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")


def environment(device: Device) -> dict[str, str]:
    """The worker's environment: its GPU alone, where no library can take memory of another one by mistake, thread
    counts for the numeric libraries, which else start one for each core, each; no library tells its maker anything."""
    threads = str(device.threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, threads),
        **dict.fromkeys(TELEMETRY_OFF, "1"),
        "OMP_WAIT_POLICY": "PASSIVE",  # idle threads that spin take the core from those that work
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # the folder the host was started in is no place for code
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        **({"CUDA_VISIBLE_DEVICES": device.uuid} if device.uuid else {}),
    }
