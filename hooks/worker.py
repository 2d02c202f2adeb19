"""The child process that holds one loaded model: `python -m hooks.worker`.

It answers one request at a time, in order, and exits when the host says so or goes away; that exit is how a model is
unloaded, because libraries do not give all memory back otherwise.

    request                     answers
    warm     module, imports    warm | error
    load     module, spec …     loaded | error
    run      hook, events       result | failure | derived | progress …, then done | error
    query    texts              result …, then done | error
    perform  task               piece | result …, then done | error
    tell     delivery           done | error
    read     source             arrival (answered: reason) | taken (answered: taken) …, then done | error
    unload                      the process exits with 0
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import BaseModel

from hooks import hookspecs, wire
from hooks.errors import BadInput, InvalidPlugin, ModelUnavailable, OutOfMemory, SensoriumError, WireError
from hooks.events import (
    CLASSES,
    EVENTS,
    FAMILY,
    FINISH,
    KIND_PATTERN,
    Delivery,
    Derived,
    Event,
    Failure,
    Result,
    hook_of,
    kinds_context,
)
from hooks.model import Context, Device, ModelSpec
from hooks.outside import Outside
from hooks.results import ResultData
from hooks.sources import Arrival, Source, SourceContext
from hooks.tasks import Task
from hooks.wire import Arena, Message

FLUSH_AFTER = 0.05
FLUSH_BYTES = 64 * 1024
MEASURE_EVERY = 0.1
SAID_LIMIT = 16 * 1024 * 1024  # bytes of JSON that a plugin may say of one event; blobs do not count
NICE = 19
TEXT_LIMIT = 4000  # characters of a sentence for people
FORKED = 70  # exit status of a child that a hook forked and did not end
PR_SET_PDEATHSIG = 1


# The contract alone: each manager looks through all that a namespace has, and there is a manager for each plugin.
SPECS = type("Contract", (), {name: one for name, one in vars(hookspecs).items() if hasattr(one, "sensorium_spec")})
RESULTS_HINT = "Yield event.result(...), event.derived(...) or event.failure(...)."
SAID_HINT = "Put what is large into a blob of its result, or into a file of event.derived(...)."


class NoSettings(BaseModel):
    """The settings of a plugin that has none."""


def plugin_manager() -> pluggy.PluginManager:
    """A pluggy manager that knows the contract and no plugin yet."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(SPECS)
    return manager


def register(manager: pluggy.PluginManager, plugin: Any, name: str) -> list[type[Event]]:
    """Register a plugin, and the hooks of the kinds that it brings: their classes. Raises InvalidPlugin."""
    manager.register(plugin, name=name)
    classes = manager.hook.register_kinds() or []
    for cls in classes:
        if problem := _kind_problem(cls):
            raise InvalidPlugin(f"register_kinds of {name} returned {cls!r}: {problem}.")
        manager.add_hookspecs(type(cls.__name__, (), {cls.hook: hookspecs.on_data}))
    return list(classes)


def _kind_problem(cls: Any) -> str:
    """Why something cannot be the class of a further kind; empty when it can."""
    if not (isinstance(cls, type) and issubclass(cls, Event)):
        return "it is not a class of events"
    kind = cls.model_fields["kind"].default
    if not (isinstance(kind, str) and re.fullmatch(KIND_PATTERN, kind)):
        return "its kind should be a short word of small letters"
    if kind in CLASSES or hook_of(kind) in vars(hookspecs):
        return f"the kind {kind} is taken"
    if added := sorted(cls.model_fields.keys() - Event.model_fields.keys()):
        return f"it has further fields ({', '.join(added)})"
    return ""


def settings_of(manager: pluggy.PluginManager, values: dict[str, Any]) -> BaseModel:
    """The validated settings of the one plugin that is registered."""
    chosen = manager.hook.settings_class() or NoSettings
    settings: BaseModel = chosen.model_validate(values)
    return settings


class Peer:
    """The worker's end of the connection: answers are collected and sent in few system calls."""

    def __init__(self, connection: socket.socket, inbound: Arena, outbound: Arena) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._inbound = inbound
        self._outbound = outbound
        self._waiting: list[wire.Buffer] = []
        self._bytes = 0
        self._flushed = time.monotonic()
        self._process = os.getpid()

    def receive(self) -> Message:
        """The next request; raises EOFError when the host is gone."""
        message = wire.read_message(self._read_exactly, self._inbound)
        self._outbound.reset()
        return message

    def send(self, body: dict[str, Any], blobs: Iterable[wire.Buffer] = (), *, now: bool = False) -> None:
        """Queue an answer; it leaves at the latest with the one that is sent `now`."""
        self.queue(self.pack(body, blobs), now=now)

    def pack(self, body: dict[str, Any], blobs: Iterable[wire.Buffer] = ()) -> list[wire.Buffer]:
        """The parts of an answer: the first is what it says, without its blobs. Raises WireError for too much."""
        if os.getpid() != self._process:  # a hook forked, and its child came back from it: two would answer as one
            os._exit(FORKED)
        return wire.encode(Message(body, list(blobs)), self._outbound)

    def queue(self, parts: list[wire.Buffer], *, now: bool = False) -> None:
        """Queue a packed answer."""
        self._waiting.extend(parts)
        self._bytes += sum(memoryview(part).nbytes for part in parts)
        if now or self._bytes >= FLUSH_BYTES or time.monotonic() - self._flushed >= FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Send what is queued."""
        self._connection.sendall(b"".join(self._waiting))
        self._waiting.clear()
        self._bytes = 0
        self._flushed = time.monotonic()

    def _read_exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError
        return data


class Worker:
    """One plugin and, after `load`, its model."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._manager = plugin_manager()
        self._arguments: dict[str, Any] = {}
        self._plugin = "?"
        self._kinds: dict[str, Any] = {}
        self._reported = float("-inf")
        self._measured = float("-inf")
        self._memory = (0.0, 0.0)
        self._outside = Outside()
        self._said: dict[str, int] = {}  # bytes of JSON, by event

    def serve(self) -> None:
        """Answer requests until `unload` or until the host is gone."""
        self._outside.listen()
        handlers = {
            "warm": self._warm,
            "load": self._load,
            "run": self._run,
            "query": self._query,
            "perform": self._perform,
            "read": self._read,
            "tell": self._tell,
        }
        while (request := self._peer.receive()).op != "unload":
            handler = handlers.get(request.op)
            if handler is None:
                raise WireError(f"The request {request.op!r} is unknown.")
            try:
                handler(request)
            except Exception as error:  # noqa: BLE001 - the plugin boundary: whatever a plugin raises becomes an answer
                self._peer.send({**error_body(error, self._plugin), "outside": self._outside.take()}, now=True)
        if "model" in self._arguments:
            self._manager.hook.unload(model=self._arguments["model"])

    def _warm(self, request: Message) -> None:
        body = request.body
        self._plugin = body["plugin"]
        for module in (body["module"].partition(":")[0], *body["imports"]):
            importlib.import_module(module)
        self._peer.send({"op": "warm", "memory_mb": memory_mb()[0]}, now=True)

    def _load(self, request: Message) -> None:
        started = time.monotonic()
        body = request.body
        self._plugin = body["plugin"]
        self._outside.allow(body["scratch"])
        self._kinds = kinds_context(register(self._manager, resolve(body["module"]), self._plugin))
        settings = settings_of(self._manager, body["settings"])
        device = Device.model_validate(body["device"])
        context = Context(device=device, scratch=Path(body["scratch"]), report=self._report)
        spec = ModelSpec.model_validate(body["spec"])
        model = self._manager.hook.load(spec=spec, device=device, settings=settings)
        self._arguments = {"model": model, "settings": settings, "context": context}
        seconds = time.monotonic() - started
        self._peer.send({"op": "loaded", "seconds": seconds, "memory_mb": memory_mb()[0]}, now=True)

    def _run(self, request: Message) -> None:
        hook = request.body["hook"]
        events = EVENTS.validate_python(request.body["events"], strict=False, context=self._kinds)
        known = {event.id for event in events}
        self._said.clear()
        if hook == FINISH:
            findings: Iterable[Any] = self._finish(events, [bytes(blob) for blob in request.blobs])
        else:
            findings = self._findings(getattr(self._manager.hook, hook)(events=events, **self._arguments), hook)
        for finding in findings:
            self._send_finding(finding, known, hook)
        self._done()

    def _finish(self, events: Iterable[Event], families: Iterable[bytes]) -> Iterator[Any]:
        """One call for each event, with its family: what was found in it and in all that was derived from it."""
        for event, family in zip(events, families, strict=True):
            results = FAMILY.validate_json(family, context=self._kinds)
            found = self._manager.hook.on_finished(event=event, results=results, **self._arguments)
            yield from self._findings(found, FINISH)

    def _findings(self, said: Any, hook: str) -> Iterable[Any]:
        if said is None:
            return ()
        if not isinstance(said, Iterable):
            raise InvalidPlugin(f"{self._plugin}.{hook} returned {type(said).__name__}.", RESULTS_HINT)
        return said

    def _query(self, request: Message) -> None:
        arguments = {key: self._arguments[key] for key in ("model", "settings")}
        self._said.clear()
        for embedding in self._manager.hook.embed_query(texts=request.body["texts"], **arguments):
            self._send_finding(Result(event_id="", data=embedding), {""}, "embed_query")
        self._done()

    def _perform(self, request: Message) -> None:
        task = Task.model_validate(request.body["task"], strict=False)
        self._said.clear()
        for said in self._findings(self._manager.hook.perform(task=task, **self._arguments), "perform"):
            if isinstance(said, str):
                self._peer.send({"op": "piece", "text": said}, now=True)
            else:
                finding = Result(event_id="", data=said) if isinstance(said, ResultData) else said
                self._send_finding(finding, {""}, "perform")
        self._done()

    def _tell(self, request: Message) -> None:
        delivery = Delivery.model_validate_json(bytes(request.blobs[0]), context=self._kinds)
        self._manager.hook.on_result(delivery=delivery, **self._arguments)
        self._done()

    def _read(self, request: Message) -> None:
        """Let a source go on with each arrival once the host has said what became of it."""
        context = SourceContext(scratch=self._arguments["context"].scratch, ask=self._is_taken)
        source, settings = Source.model_validate(request.body["source"]), self._arguments["settings"]
        reading = self._manager.hook.read_source(source=source, settings=settings, context=context)
        if not isinstance(reading, Generator):
            raise InvalidPlugin(
                f"{self._plugin}.read_source is not a generator.", "Yield an Arrival(...) for each file."
            )
        with contextlib.closing(reading):
            verdict = None  # what starts a generator
            while (arrival := _next(reading, verdict)) is not None:
                verdict = self._hand_over(arrival)
        self._done()

    def _hand_over(self, arrival: Any) -> str:
        if not isinstance(arrival, Arrival):
            raise InvalidPlugin(
                f"{self._plugin}.read_source yielded {type(arrival).__name__}.", "Yield an Arrival(...) for each file."
            )
        return str(self._ask({"op": "arrival", **arrival.model_dump(mode="json")})["reason"])

    def _is_taken(self, origin: str, revision: str) -> bool:
        return bool(self._ask({"op": "taken", "origin": origin, "revision": revision})["taken"])

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        self._peer.send(body, now=True)
        return self._peer.receive().body

    def _send_finding(self, finding: Any, known: set[str], hook: str) -> None:
        if isinstance(finding, Result) and finding.event_id in known:
            data, blob = finding.data.split()
            body = {
                "op": "result",
                "event": finding.event_id,
                "type": finding.data.type,
                "version": finding.data.version,
                "data": data,
            }
            if (file := finding.data.file_made()) is not None:
                body["file"] = str(file)
            self._say(body, [] if blob is None else [blob], hook)
        elif isinstance(finding, Failure) and finding.event_id in known:
            self._peer.send({"op": "failure", "event": finding.event_id, "reason": finding.reason[:TEXT_LIMIT]})
        elif isinstance(finding, Derived) and finding.event_id in known:
            made = finding.model_dump(mode="json", exclude={"event_id"})
            self._say({"op": "derived", "event": finding.event_id, **made}, [], hook)
        else:
            raise InvalidPlugin(
                f"{self._plugin}.{hook} yielded {type(finding).__name__} where a result of this batch was expected.",
                RESULTS_HINT,
            )

    def _say(self, body: dict[str, Any], blobs: list[wire.Buffer], hook: str) -> None:
        """Send a finding, unless it would fill the host's memory and journal."""
        try:
            parts = self._peer.pack(body, blobs)
            said = self._said[body["event"]] = self._said.get(body["event"], 0) + len(parts[0])
        except WireError:
            said = wire.FRAME_LIMIT
        if said > SAID_LIMIT:
            limit = f"{SAID_LIMIT / 2**20:.0f} MB"
            raise InvalidPlugin(f"{self._plugin}.{hook} said more than {limit} of one event.", SAID_HINT)
        self._peer.queue(parts)

    def _report(self, event_id: str, fraction: float, text: str) -> None:
        """Progress leaves at once, because the hook may compute for long; what follows too soon is dropped."""
        now = time.monotonic()
        if now - self._reported >= FLUSH_AFTER:
            self._reported = now
            self._peer.send(
                {"op": "progress", "event": event_id, "fraction": fraction, "text": text[:TEXT_LIMIT]}, now=True
            )

    def _done(self) -> None:
        now = time.monotonic()
        if now - self._measured >= MEASURE_EVERY:  # the figure only grows: a later answer has what this one leaves out
            self._measured, self._memory = now, memory_mb()
        peak, resident = self._memory
        body = {"op": "done", "memory_mb": peak, "resident_mb": resident, "outside": self._outside.take()}
        self._peer.send(body, now=True)


def _next(reading: Generator[Any, Any, Any], verdict: str | None) -> Any:
    """What a source yields next; None at its end."""
    try:
        return reading.send(verdict)
    except StopIteration:
        return None


def error_body(error: Exception, plugin: str) -> dict[str, Any]:
    """What the host is told of an exception: a code it acts on, a sentence for people, and the traceback."""
    code, hint = "exception", ""
    if isinstance(error, SensoriumError):
        hint = error.hint
    for kind, name in ((BadInput, "bad_input"), (ModelUnavailable, "unavailable"), (InvalidPlugin, "invalid_plugin")):
        if isinstance(error, kind):
            code = name
    if is_out_of_memory(error):
        code = "out_of_memory"
    said = error.message if isinstance(error, SensoriumError) else f"{type(error).__name__}: {error}"
    texts = {"message": said[:TEXT_LIMIT], "hint": hint[:TEXT_LIMIT], "detail": last_lines(error)}
    return {"op": "error", "code": code, "plugin": plugin, **texts}


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device was full, told without importing the library that says so."""
    names = {cls.__name__ for cls in type(error).__mro__}
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # PyTorch has no class for it
    return isinstance(error, MemoryError | OutOfMemory) or "OutOfMemoryError" in names or on_cpu


def last_lines(error: Exception, limit: int = 4000) -> str:
    """The end of the traceback: where in the plugin it happened."""
    return "".join(traceback.format_exception(error))[-limit:]


def resolve(reference: str) -> Any:
    """The plugin that an entry point value names: a module, or an object in it."""
    module_name, _, attribute = reference.partition(":")
    found: ModuleType | Any = importlib.import_module(module_name)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found


def memory_mb() -> tuple[float, float]:
    """The most memory this process has had resident, and what it has now, in MB (only the first outside of Linux)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb", buffering=0) as status:
        text = status.read(4096)  # ru_maxrss starts at the parent's figure
        peak, now = (int(text[text.index(name) + 6 :].split(None, 1)[0]) / 1024 for name in (b"VmHWM:", b"VmRSS:"))
        return peak, now
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024)
    return peak, 0.0


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the host dies, even while a hook is busy (Linux, prctl(2))."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def connection_of(arguments: argparse.Namespace) -> Iterator[Peer]:
    """The inherited socket and arenas, closed at the end."""
    with socket.socket(fileno=arguments.socket) as connection:
        yield Peer(connection, Arena(arguments.inbound), Arena(arguments.outbound))


def main() -> int:
    """Serve one host over inherited descriptors."""
    parser = argparse.ArgumentParser(prog="hooks.worker", description="Started by the Sensorium host, not by hand.")
    for name in ("socket", "inbound", "outbound", "parent"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the host decides what ends
    os.nice(NICE)
    with contextlib.contextmanager(connection_of)(arguments) as peer, contextlib.suppress(EOFError, ConnectionError):
        Worker(peer).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
