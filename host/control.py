"""The running host's ear: a Unix socket in the data directory, over which the service's methods are called by name.

One connection carries one request, in the frames of `hooks.wire`, with JSON bodies:

    → {"op": "call", "method": "why", "arguments": {"query": "inbox/cat.png"}}
    ← {"op": "answer", "value": …}        the documented view
    ← {"op": "error", "message": …, "hint": …, "exit_code": 5}
    → {"op": "watch_status"}
    ← {"op": "answer", "value": …}        again and again, until the client goes
    → {"op": "ask", "question": "…", "about": []}
    ← {"op": "answer", "value": …}        pieces of the answer, then the whole

A client that goes away ends its call; one that sends rubbish, or nothing, loses its connection and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hooks.errors import SensoriumError, WireError
from hooks.wire import HEADER, Message, decode, encode, frame_sizes
from host import errors
from host.errors import HostError, UsageError
from host.log import get_logger
from host.views import SERVICE_METHODS, AnswerPart, Service, Status

SOCKET_NAME = "control.sock"
ADDRESS_LIMIT = 103  # bytes of a socket's path that every system takes
REQUEST_LIMIT = 4 * 1024 * 1024
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 30.0
CLIENTS = 64
GONE = object()
QUESTION: TypeAdapter[tuple[str, list[str]]] = TypeAdapter(tuple[str, list[str]])
ERRORS = {
    kind.exit_code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HostError)
}

log = get_logger(__name__)


class ControlServer:
    """Answers callers of `service` while it is entered; the caller holds the host's lock, so an old socket is dead."""

    def __init__(self, service: Service, path: Path, *, every: float = 1.0) -> None:
        self._service = service
        self._path = path
        self._every = every
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> ControlServer:
        listener = _bind(self._path)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serve = self._serve(reader, writer) if len(self._tasks) < CLIENTS else _turn_away(writer)
        task = asyncio.create_task(serve, name="control connection")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a control call broke", exc_info=error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await _receive(reader, REQUEST_LIMIT)
            await _while_there(reader, self._answer(request, writer))
        except (WireError, TimeoutError, OSError, EOFError) as error:
            log.debug("a client is gone", reason=repr(error))
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        try:
            if request.op == "watch_status":
                async for status in watch_status(self._service, every=self._every):
                    await _send(writer, {"op": "answer", "value": status.model_dump(mode="json")})
            elif request.op == "ask":
                question, about = QUESTION.validate_python((request.body.get("question"), request.body.get("about")))
                async with contextlib.aclosing(self._service.ask(question, about)) as parts:
                    async for part in parts:
                        await _send(writer, {"op": "answer", "value": part.model_dump(mode="json")})
            else:
                await _send(writer, {"op": "answer", "value": await _called(self._service, request.body)})
        except SensoriumError as error:
            await _send(writer, _error_body(error))
        except ValidationError as error:
            await _send(
                writer, _error_body(UsageError(f"The running host does not take this: {error}.", "Restart it."))
            )


class ControlClient:
    """The service of a host in another process: every method of `Service` is a call over its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name not in SERVICE_METHODS:
            raise AttributeError(name)
        return partial(self._call, _method(name))

    async def watch_status(self) -> AsyncIterator[Status]:
        """The status again and again, until the host ends."""
        async with self._asked({"op": "watch_status"}) as reader:
            while (value := await _next_value(reader)) is not GONE:
                yield _understood(TypeAdapter(Status), value)

    async def ask(self, question: str, about: list[str]) -> AsyncIterator[AnswerPart]:
        """The answer to a question, as it is written."""
        part = AnswerPart()
        async with self._asked({"op": "ask", "question": question, "about": about}) as reader:
            while (value := await _next_value(reader)) is not GONE:
                part = _understood(TypeAdapter(AnswerPart), value)
                yield part
        if part.answer is None:
            raise HostError("The running host ended before it answered.", "Look into logs/host.log of its data folder.")

    async def _call(self, method: _Method, *args: Any, **kwargs: Any) -> Any:
        arguments = method.signature.bind(self, *args, **kwargs).arguments
        del arguments["self"]
        async with self._asked({"op": "call", "method": method.name, "arguments": arguments}) as reader:
            value = await _next_value(reader)
        if value is GONE:
            raise HostError("The running host ended before it answered.", "Look into logs/host.log of its data folder.")
        return _understood(method.returns, value)

    @contextlib.asynccontextmanager
    async def _asked(self, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        try:
            with _address(self._path) as address:
                reader, writer = await asyncio.open_unix_connection(address)
        except (ConnectionError, FileNotFoundError) as error:
            raise HostError("The host has ended.", "Try again: the command then does the work itself.") from error
        try:
            with contextlib.suppress(ConnectionError):  # its last words can still be read
                await _send(writer, body)
            yield reader
        finally:
            writer.transport.abort()


async def connect(data: Path) -> ControlClient | None:
    """The host that runs on a data directory, or None; HostError when it belongs to somebody else."""
    path = data / SOCKET_NAME
    try:
        with _address(path) as address:
            _, writer = await asyncio.open_unix_connection(address)
    except (ConnectionError, FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise HostError(
            f"The host that works with {data} does not listen to you: {path} belongs to another user.",
            "Use that user's account, or name your own data directory with --data.",
        ) from error
    writer.close()
    return ControlClient(path)


async def watch_status(service: Service, *, every: float = 1.0) -> AsyncIterator[Status]:
    """The status now and then every so many seconds, without an end."""
    while True:
        yield await service.status()
        await asyncio.sleep(every)


@dataclass(frozen=True, slots=True)
class _Method:
    """A method of the service: how its arguments and its answer are checked."""

    name: str
    signature: inspect.Signature
    arguments: dict[str, TypeAdapter[Any]]
    returns: TypeAdapter[Any]


@cache
def _method(name: str) -> _Method:
    function = getattr(Service, name)
    hints = get_type_hints(function)
    returns = TypeAdapter(hints.pop("return"))
    return _Method(name, inspect.signature(function), {key: TypeAdapter(hint) for key, hint in hints.items()}, returns)


def _error_body(error: SensoriumError) -> dict[str, Any]:
    code = getattr(error, "exit_code", HostError.exit_code)
    return {"op": "error", "message": error.message, "hint": error.hint, "exit_code": code}


async def _turn_away(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await _send(writer, _error_body(HostError(f"The host already has {CLIENTS} callers.", "Try again later.")))
    writer.close()


async def _called(service: Service, body: dict[str, Any]) -> Any:
    """The answer to a call as JSON; UsageError for a call that the service does not know."""
    name, given = body.get("method"), body.get("arguments", {})
    if name not in SERVICE_METHODS or not isinstance(given, dict):
        raise UsageError(f"The running host cannot do {name!r}.", "Restart it: it is of another version.")
    method = _method(name)
    try:
        arguments = {key: method.arguments[key].validate_python(value) for key, value in given.items()}
        method.signature.bind(service, **arguments)
    except (KeyError, TypeError, ValidationError) as error:
        raise UsageError(f"The running host does not take {name} like this: {error}.", "Restart it.") from error
    return method.returns.dump_python(await getattr(service, name)(**arguments), mode="json")


def _understood(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise HostError(
            "The running host is of another version: its answer has another shape.", "Restart it."
        ) from error


async def _next_value(reader: asyncio.StreamReader) -> Any:
    """The next answer, GONE at the end; raises the error that the service raised."""
    try:
        body = (await _receive(reader)).body
    except (EOFError, ConnectionError):
        return GONE
    if body.get("op") == "error":
        kind = ERRORS.get(body.get("exit_code", 1), HostError)
        raise kind(str(body.get("message", "")), str(body.get("hint", "")))
    return body.get("value")


async def _receive(reader: asyncio.StreamReader, limit: int | None = None) -> Message:
    head, used = frame_sizes(await reader.readexactly(HEADER.size))
    if limit is not None and head + used > limit:
        raise WireError(f"A request of {head + used} bytes is over the limit of {limit}.")
    message = decode(await reader.readexactly(head), await reader.readexactly(used))
    if not isinstance(message.body, dict):
        raise WireError("A message that is not an object.")
    return message


async def _send(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    for part in encode(Message(body)):
        writer.write(part)
    async with asyncio.timeout(ANSWER_SECONDS):
        await writer.drain()


async def _while_there(reader: asyncio.StreamReader, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or drop it when the client goes (or says more than its one request)."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def _bind(path: Path) -> socket.socket:
    """A listening socket at `path` that was never open to others: it is made in a private directory and renamed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".control-", dir=path.parent) as private:
            fresh = Path(private, path.name)
            with _address(fresh) as address:
                listener.bind(address)
            listener.listen()
            fresh.chmod(0o600)
            fresh.replace(path)
    except OSError as error:
        listener.close()
        raise HostError(
            f"The control socket {path} cannot be made: {error.strerror}.",
            "Name a data directory on a local disk with --data.",
        ) from error
    return listener


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """What to call a socket whose path may be longer than a socket's address: the way there through a descriptor."""
    if len(os.fsencode(path)) <= ADDRESS_LIMIT:
        yield str(path)
    elif not os.path.isdir("/proc/self/fd"):
        raise HostError(f"The path {path} is too long for a socket.", "Name a shorter data directory with --data.")
    else:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
