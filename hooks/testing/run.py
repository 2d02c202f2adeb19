"""`run_plugin`: a plugin at work on a file, in a real worker process, without a host."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hooks.errors import InvalidPlugin, OutOfMemory, SensoriumError
from hooks.events import FAMILY, FINISH, Event, Finished, hook_of
from hooks.model import ModelSpec
from hooks.testing.events import event_of
from hooks.testing.lease import FakeLease
from hooks.testing.references import Opened, find, open_plugin
from hooks.testing.worker_client import WorkerClient, WorkerGone
from hooks.wire import Message


class PluginFailed(SensoriumError):
    """A plugin did not do what it was asked for.

    `code`: bad_input, unavailable, invalid_plugin, out_of_memory or exception, as the plugin raised it; died,
    time_limit. `detail`: the end of the traceback.
    """

    def __init__(self, code: str, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Given:
    """One result as it came out of the worker: its JSON, its blob and what is in its file, where the type has those."""

    event_id: str
    type: str
    version: int
    data: dict[str, Any]
    blob: bytes | None = None
    file: bytes | None = None


@dataclass(frozen=True)
class Made:
    """A file that the plugin made; `path` is gone with the scratch folder, `content` is what was in it."""

    event_id: str
    name: str
    role: str
    moment: float | None
    metadata: dict[str, Any]
    content: bytes


@dataclass
class Run:
    """All that came of it. `failures` are verdicts by event id; `memory_mb` is the worker's peak."""

    results: list[Given] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    derived: list[Made] = field(default_factory=list)
    progress: list[tuple[float, str]] = field(default_factory=list)
    memory_mb: float = 0.0
    load_seconds: float = 0.0
    spec: ModelSpec | None = None

    def of_type(self, name: str) -> list[dict[str, Any]]:
        """The data of the results of one type, in their order."""
        return [given.data for given in self.results if given.type == name]

    def take(self, answers: Sequence[Message]) -> None:
        """Add what a worker answered. Raises PluginFailed for its error."""
        for answer in answers:
            body = answer.body
            match answer.op:
                case "result":
                    self.results.append(_given(body, answer.blobs))
                case "failure":
                    self.failures[body["event"]] = body["reason"]
                case "derived":
                    self.derived.append(_made(body))
                case "progress":
                    self.progress.append((body["fraction"], body["text"]))
                case "error":
                    raise PluginFailed(body["code"], body["message"], body["hint"], body["detail"])
                case _:
                    self.memory_mb = max(self.memory_mb, body["memory_mb"])


def run_plugin(
    plugin: str | Path | ModuleType,
    *files: str | Path | Event,
    settings: Mapping[str, Any] | None = None,
    lease: FakeLease | None = None,
    families: Mapping[str, Sequence[Finished]] | None = None,
    patience: float = 300,
) -> Run:
    """Let a plugin work on files or events in a worker process of its own, batch by batch, and unload it.

    `plugin`: a module, its name, the name of an installed plugin, a .py file, or a folder with a pyproject.toml.
    A plugin with `on_finished` gets each event as a family of its own, or what `families` has for the event's id.
    Raises PluginFailed with the plugin's own words, OutOfMemory when the lease has no smaller step, and whatever the
    plugin raises on import. An answer that takes longer than `patience` seconds ends the worker.
    """
    opened = open_plugin(find(plugin), settings)
    events = [event_of(Path(file)) if isinstance(file, str | Path) else file for file in files]
    for event in events:
        _hook_for(opened, event)
    lease = lease or FakeLease()
    granted = lease.grant(opened.spec)
    while True:
        try:
            found = _attempt(opened, granted, events, lease, families or {}, patience)
        except OutOfMemory:
            granted = lease.step_down(opened.spec, granted)
        else:
            return found


def _attempt(
    opened: Opened,
    spec: ModelSpec,
    events: Sequence[Event],
    lease: FakeLease,
    families: Mapping[str, Sequence[Finished]],
    patience: float,
) -> Run:
    found = Run(spec=spec)
    try:
        with tempfile.TemporaryDirectory() as scratch, loaded(opened, spec, lease, Path(scratch), patience) as client:
            found.load_seconds = client.load_seconds
            found.memory_mb = client.load_memory_mb
            for hook, batch in _batches(opened, events, spec.batch):
                found.take(client.run(batch, hook, families_of(hook, batch, families)))
                lease.charge(found.memory_mb)
    except PluginFailed as error:
        if error.code == "out_of_memory":
            raise OutOfMemory(error.message, error.hint) from error
        raise
    return found


class Loaded(WorkerClient):
    """A worker that has its model."""

    load_seconds = 0.0
    load_memory_mb = 0.0


@contextmanager
def loaded(
    opened: Opened,
    spec: ModelSpec,
    lease: FakeLease,
    scratch: Path,
    patience: float,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Loaded]:
    """A worker that has loaded the plugin, asked to unload at the end. Raises PluginFailed, OutOfMemory."""
    changed = {**opened.values, **(spec.variant.settings if spec.variant else {})}
    path = {} if spec.python else {"PYTHONPATH": opened.reference.python_path()}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(lease.threads))
    known = {**path, **threads, "PYTHONSAFEPATH": "1", **(environment or {})}
    with tempfile.TemporaryFile() as output:
        try:
            with Loaded.started(known, patience, python=spec.python, output=output) as client:
                answer = client.load(opened.reference.module, changed, lease.device, scratch, spec)
                Run().take([answer])
                lease.charge(answer.body["memory_mb"])
                client.load_seconds = answer.body["seconds"]
                client.load_memory_mb = answer.body["memory_mb"]
                yield client
                if client.process.poll() is None:
                    client.unload()
        except WorkerGone as error:
            raise PluginFailed(
                "died", f"The worker of {opened.reference.name} ended: {error}.", _tail(output)
            ) from error
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            message = f"{opened.reference.name} gave no answer within {patience:g} s."
            raise PluginFailed("time_limit", message, _tail(output)) from error


def _tail(output: Any, limit: int = 2000) -> str:
    """The end of what a worker printed."""
    size = output.seek(0, 2)
    output.seek(max(0, size - limit))
    words = output.read().decode("utf-8", "replace").strip()
    return f"It printed:\n{words}" if words else ""


def _hook_for(opened: Opened, event: Event) -> str:
    hook = hook_of(event.kind) if hook_of(event.kind) in opened.hooks else FINISH
    if hook not in opened.hooks:
        kinds = sorted(name for name in opened.hooks if name.startswith("on_"))
        raise InvalidPlugin(
            f"{opened.reference.name} has no {hook_of(event.kind)} for {event.name}.",
            f"It has {', '.join(kinds) or 'no hook for events'}.",
        )
    return hook


def _batches(opened: Opened, events: Sequence[Event], size: int) -> Iterator[tuple[str, list[Event]]]:
    """The events as the host hands them over: of one hook, as many as the spec takes."""
    by_hook: dict[str, list[Event]] = {}
    for event in events:
        by_hook.setdefault(_hook_for(opened, event), []).append(event)
    for hook, members in by_hook.items():
        for start in range(0, len(members), size):
            yield hook, members[start : start + size]


def families_of(hook: str, events: Sequence[Event], families: Mapping[str, Sequence[Finished]]) -> list[bytes]:
    """The families of a batch for the wire: an event that has none is alone in its own."""
    if hook != FINISH:
        return []
    return [FAMILY.dump_json(list(families.get(event.id, [Finished(event=event)]))) for event in events]


def _given(body: dict[str, Any], blobs: Sequence[Any]) -> Given:
    blob = bytes(blobs[0]) if blobs else None
    file = Path(body["file"]).read_bytes() if "file" in body else None
    return Given(body["event"], body["type"], body["version"], body["data"], blob, file)


def _made(body: dict[str, Any]) -> Made:
    path = Path(body["path"])
    content = path.read_bytes() if path.is_file() else b""
    return Made(body["event"], body["name"], body["role"], body["moment"], body["metadata"], content)
