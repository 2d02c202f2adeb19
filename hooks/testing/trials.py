"""A plugin at work in real workers, on what arrives on good days and on bad ones: the second half of the check."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hooks.errors import SensoriumError
from hooks.events import FINISH, KINDS, Event, Finished, hook_of
from hooks.results import result_classes
from hooks.testing import samples
from hooks.testing.events import EventFactory, event_of, kind_of
from hooks.testing.import_probe import resident_mb
from hooks.testing.lease import FakeLease
from hooks.testing.references import Opened
from hooks.testing.report import Check, bad, good, skipped, words
from hooks.testing.run import Given, Loaded, PluginFailed, Run, families_of, loaded

MARK = "SENSORIUM_CHECK"
UNLOADS_WITHIN = 10.0  # the host's grace, after which it kills
ENDS_WITHIN = 10.0
LARGEST_RESULT = 10_000_000
REPEATS = 5
LEAK_MB = 4.0
TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
WITHOUT_LIMIT = 1e9


HOSTILE: dict[str, Callable[[str], bytes]] = {
    "empty": lambda kind: b"",
    "broken": samples.broken,
    "huge": samples.huge,
}


@dataclass(frozen=True)
class Outcome:
    """What a plugin said to a content, and what is wrong with that."""

    said: str
    problem: str = ""


@dataclass
class Trial:
    """One plugin, the events that it is tried with, and what its workers carry in their environment."""

    opened: Opened
    events: list[Event]
    factory: EventFactory
    scratch: Path
    patience: float
    mark: str = ""

    @contextlib.contextmanager
    def worker(self) -> Iterator[Loaded]:
        """A worker with the model loaded, on a lease that is large enough."""
        self.mark = uuid.uuid4().hex
        spec = self.opened.spec
        lease = FakeLease(WITHOUT_LIMIT, kind="gpu" if spec.device == "gpu" else "cpu")
        with loaded(self.opened, spec, lease, self.scratch, self.patience, {MARK: self.mark}) as client:
            yield client

    def run(self, client: Loaded, event: Event) -> Run:
        """What the plugin makes of one event. Raises PluginFailed."""
        found = Run()
        hook = hook_of(event.kind) if hook_of(event.kind) in self.opened.hooks else FINISH
        found.take(client.run([event], hook, families_of(hook, [event], {event.id: [Finished(event=event)]})))
        return found


def trials(opened: Opened, files: Sequence[Path], patience: float) -> Iterator[Check]:
    """Load, work, unload, be cancelled, and survive what is empty, broken and huge."""
    if opened.spec.device == "gpu" and not Path("/dev/nvidia0").exists():
        yield skipped("load", "its model needs a GPU, and none is here")
        return
    folder = Path(tempfile.mkdtemp(prefix="sensorium-check-"))
    try:
        factory = EventFactory(folder / "events")
        try:
            events = list(_samples(opened, factory, files))
        except (OSError, ValueError) as error:
            yield bad("samples", words(error))
            return
        scratch = folder / "scratch"
        scratch.mkdir()
        yield from _tried(Trial(opened, events, factory, scratch, patience))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _samples(opened: Opened, factory: EventFactory, files: Sequence[Path]) -> Iterator[Event]:
    """A file of each kind that the plugin works on, then those that were named."""
    wanted = opened.media_types
    for kind in KINDS:
        if hook_of(kind) in opened.hooks and (not wanted or any(fnmatch(_media_type(kind), one) for one in wanted)):
            yield factory.make(kind)
    if FINISH in opened.hooks:
        yield from (factory.make(kind) for kind in ("image", "video"))
    for file in files:
        kind, media_type = _identified(opened, file) or kind_of(file)
        if hook_of(kind) in opened.hooks:
            yield event_of(file, kind=kind, media_type=media_type)


def _media_type(kind: str) -> str:
    return samples.sample(kind)[1]


def _identified(opened: Opened, file: Path) -> tuple[str, str] | None:
    found: tuple[str, str] | None = None
    if "identify" in opened.hooks:
        with file.open("rb") as content:
            found = opened.manager.hook.identify(head=content.read(8192), name=file.name)
    return found


def _tried(trial: Trial) -> Iterator[Check]:
    started = False
    try:
        with trial.worker() as client:
            started = True
            yield good("load", f"{client.load_seconds:.1f} s, {client.load_memory_mb:.0f} MB")
            yield from _at_work(trial, client)
            yield _unloads(trial, client)
    except SensoriumError as error:
        code = getattr(error, "code", "")
        if not started and code == "unavailable":
            yield skipped("load", words(error), "What needs the model was not tried.")
            return
        yield bad("worker" if started else "load", words(error), getattr(error, "detail", "")[-400:])
        if not started:
            return
    if trial.events:
        yield _cancel(trial)
        yield from _hostile(trial)


def _at_work(trial: Trial, client: Loaded) -> Iterator[Check]:
    if not trial.events:
        works_on_some = bool(trial.opened.event_hooks)
        why = "there is no sample of what it works on" if works_on_some else "it works on no events"
        yield skipped("results", why, "Name one with --sample FILE." if works_on_some else "")
    problems: list[str] = []
    told: list[str] = []
    for event in trial.events:
        try:
            found = trial.run(client, event)
        except PluginFailed as error:
            verdicts = told if error.code == "bad_input" else problems
            verdicts.append(f"{event.name}: {words(error)}")
            continue
        problems += [f"{event.name}: {problem}" for problem in problems_of(found, trial.opened.reference.module)]
        told.append(f"{event.name}: {_told(found)}")
    if "embed_query" in trial.opened.hooks:
        problems += _query_problems(client)
        told.append("vectors for texts")
    if problems:
        yield bad("results", "; ".join(problems), "Yield event.result(…), event.derived(…) or event.failure(…).")
    elif told:
        yield good("results", "; ".join(told))
    if trial.events and not problems:
        yield _memory(trial, client)


def _told(found: Run) -> str:
    types = [given.type for given in found.results] + [f"a file ({made.role})" for made in found.derived]
    types += [f"refused: {reason}" for reason in found.failures.values()]
    return ", ".join(types) or "nothing to say"


def problems_of(found: Run, module: str) -> Iterator[str]:
    """What is wrong with results of a plugin: their JSON, type, its class, their size; files that are not there."""
    for given in found.results:
        try:
            size = len(json.dumps(given.data, allow_nan=False))
        except ValueError:
            yield f"{given.type} holds a number that is none (NaN or infinite)"
            continue
        if size > LARGEST_RESULT:
            yield f"{given.type} has {size / 1e6:.0f} MB of JSON; put such things into a blob or a file"
        if given.file == b"":
            yield f"the file of {given.type} is empty"
        if not TYPE_NAME.fullmatch(given.type):
            yield f"the type {given.type!r} is no word of small letters, digits and _"
        yield from _class_problems(given, module)
    for made in found.derived:
        if not made.content:
            yield f"the derived file {made.name} is empty or not there"
        if "/" in made.name or made.name in ("", ".", ".."):
            yield f"{made.name!r} is no name for a derived file"


def _class_problems(given: Given, module: str) -> Iterator[str]:
    """Whether a result is what its class says: ours, or the plugin's own, which must not take the name of ours."""
    named = [cls for cls in result_classes() if (cls.type, cls.version) == (given.type, given.version)]
    ours = [cls for cls in named if _package(cls.__module__) == "hooks"]
    classes = [*ours, *(cls for cls in named if _package(cls.__module__) == _package(module))]
    if ours and any(not issubclass(cls, ours[0]) for cls in classes):
        yield f"the type {given.type} is taken by hooks.{ours[0].__name__}"
    for cls in classes[-1:]:
        values: dict[str, Any] = dict(given.data)
        if cls.blob_field is not None and given.blob is not None:
            values[cls.blob_field] = given.blob
        if cls.file_field is not None and given.file is not None:
            values[cls.file_field] = Path("made")
        try:
            cls.model_validate(values)
        except ValidationError as error:
            yield f"{given.type} is not what its class says: {error.errors()[0]['msg']}"
    if given.type == "embedding":
        yield from _vector_problems(given)


def _package(module: str) -> str:
    return re.split("[.:]", module, maxsplit=1)[0]


def _vector_problems(given: Given) -> Iterator[str]:
    numbers = array("f", given.blob or b"")
    length = math.sqrt(sum(number * number for number in numbers))
    if not math.isclose(length, 1, abs_tol=0.01):
        yield f"the vector of {given.data.get('space')} has the length {length:.3g}, not 1"


def _query_problems(client: Loaded) -> list[str]:
    found = Run()
    try:
        found.take(client.query(["a red square", "the sea"]))
    except PluginFailed as error:
        return [f"embed_query: {words(error)}"]
    if len(found.results) != 2:
        return [f"embed_query gave {len(found.results)} vectors for 2 texts"]
    return [problem for given in found.results for problem in _vector_problems(given)]


def _memory(trial: Trial, client: Loaded) -> Check:
    """Whether it stays within what it declares, and does not grow from run to run."""
    seen, peak = [], client.load_memory_mb
    for _ in range(3):
        for _ in range(REPEATS):
            for event in trial.events:
                peak = max(peak, trial.run(client, event).memory_mb)
        seen.append(sum(map(resident_mb, _carriers(trial.mark) or [client.process.pid])))
    first, second, third = seen
    peak = max(peak, *seen)
    count = REPEATS * len(trial.events)
    declared = trial.opened.spec.memory_mb
    if second - first > LEAK_MB and third - second > LEAK_MB:
        grown = (third - first) / (2 * count)
        return bad("memory", f"it grows by {grown:.2g} MB with each event", "Keep nothing of an event that is done.")
    if peak > declared * 1.2 + 20:
        advice = f"Declare memory_mb={math.ceil(peak / 10) * 10} or more in model_spec."
        return bad("memory", f"{peak:.0f} MB on small files, and it declares {declared} MB", advice)
    return good("memory", f"{peak:.0f} MB at most, {declared} MB declared; no growth over {3 * count} events")


def _unloads(trial: Trial, client: Loaded) -> Check:
    """Whether the worker leaves when it is asked to, with all that it started."""
    client.send({"op": "unload"})
    try:
        status = client.process.wait(UNLOADS_WITHIN)
    except subprocess.TimeoutExpired:
        return bad("unload", "it takes more than 10 s", "Leave to the exit of the process what can be left to it.")
    if status:
        return bad("unload", f"the worker ends with {status}", "unload must not raise.")
    left = _carriers(trial.mark)
    if left:
        _kill(left)
        return bad("unload", f"{len(left)} processes that it started go on", "End in unload what load has started.")
    return good("unload", f"the process has gone, and {client.load_memory_mb:.0f} MB with it")


def _cancel(trial: Trial) -> Check:
    """Whether all is gone soon after the host kills a worker in the middle of its work."""
    try:
        with trial.worker() as client:
            event = trial.events[0]
            hook = hook_of(event.kind) if hook_of(event.kind) in trial.opened.hooks else FINISH
            body = {"op": "run", "hook": hook, "events": [event.model_dump(mode="json")]}
            client.send(body, families_of(hook, [event], {}))
            time.sleep(0.05)  # in the middle, or at the beginning on a slow machine: it must end either way
            started = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.process.pid, signal.SIGKILL)
            client.process.wait(ENDS_WITHIN)
            left = _carriers(trial.mark)
            while left and time.monotonic() - started < ENDS_WITHIN / 5:
                time.sleep(0.05)
                left = _carriers(trial.mark)
    except SensoriumError as error:
        return bad("cancel", words(error))
    if left:
        _kill(left)
        return bad(
            "cancel",
            f"{len(left)} processes outlive the worker that is killed",
            "Start children in the worker's process group: no setsid, no daemon.",
        )
    where = "" if sys.platform.startswith("linux") else " (children are seen on Linux alone)"
    return good("cancel", f"gone {time.monotonic() - started:.1f} s after the kill{where}")


def _hostile(trial: Trial) -> Iterator[Check]:
    """What becomes of it with contents that nobody wants, and whether it works as before afterwards."""
    kinds = dict.fromkeys(event.kind for event in trial.events if event.kind in KINDS)
    pending = [(name, kind) for name in HOSTILE for kind in kinds]
    outcomes: dict[tuple[str, str], Outcome] = {}
    while pending:
        try:
            with trial.worker() as client:
                while pending:
                    outcomes[pending[0]] = _one_hostile(trial, client, *pending[0])
                    del pending[0]
        except SensoriumError as error:  # the worker is gone: another one for the rest
            outcomes[pending.pop(0)] = Outcome("", words(error))
    for name in HOSTILE:
        here = {kind: outcomes[name, kind] for kind in kinds}
        failed = [f"{kind}: {outcome.problem}" for kind, outcome in here.items() if outcome.problem]
        if failed:
            advice = "Raise BadInput or yield event.failure(…) for what cannot be worked on; look at sizes first."
            yield bad(name, "; ".join(failed), advice)
        elif here:
            yield good(name, "; ".join(f"{kind}: {outcome.said}" for kind, outcome in here.items()))


def _one_hostile(trial: Trial, client: Loaded, name: str, kind: str) -> Outcome:
    """Raises PluginFailed when the worker did not live through it."""
    usual = next(event for event in trial.events if event.kind == kind)
    event = trial.factory.make(kind, f"{name}-{usual.name}", HOSTILE[name](kind))
    before = _told(trial.run(client, usual))
    peak = 0.0
    try:
        found = trial.run(client, event)
        said, peak = _told(found), found.memory_mb
    except PluginFailed as error:
        if error.code in ("died", "time_limit"):
            raise
        said = f"refused: {error.message}"
        if error.code != "bad_input":
            return Outcome(said, f"it raises {error.message}")
    finally:
        event.path.unlink()
    if peak > trial.opened.spec.memory_mb * 2 + 200:
        return Outcome(said, f"it takes {peak:.0f} MB and declares {trial.opened.spec.memory_mb}")
    if _told(trial.run(client, usual)) != before:
        return Outcome(said, "afterwards a good file gives something else")
    return Outcome(said)


def _carriers(mark: str) -> list[int]:
    """Processes that carry the mark in their environment; none where the system does not tell (not Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes() and not _is_zombie(path.parent):
                found.append(int(path.parent.name))
    return found


def _is_zombie(process: Path) -> bool:
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
