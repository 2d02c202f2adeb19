"""A source that a plugin is: read in a process of its own, which hands over files and goes on once they are safe.

    resting → reading → resting …     every so often; `read_source` returns when there is no more for now
                 └── it raised, hung or died: its process is ended → a pause that grows → reading

    an arrival: in the scratch folder → handed over → in library (durable) → committed → scratch file gone → answered

The answer is what lets the plugin go on: only then it tells its mailbox that the mail was read. Whatever dies before
comes again, and the journal knows it by source, origin, revision and content. While nothing can be committed nothing is
answered; the plugin waits, and nothing is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hooks import Arrival, Source
from hooks.wire import Message
from host.crew import Attendant, Crew, pause_after
from host.errors import HostError
from host.findings import is_writable
from host.intake import Identify, Intake, Refused, Taken, Unsettled, Verdict
from host.journal import Journal
from host.library import Library
from host.log import get_logger
from host.sources.files import FileArrival
from host.sources.scan import Found, Look
from host.steps import Observe
from host.views import SourceView
from host.workers import Launch, WorkerFailed

KEEP = 60.0  # seconds of rest for which the process stays
RETRY = 2.0  # seconds until it is tried again to commit
LONGEST_ORIGIN = 1000  # characters

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A file that a plugin handed over: its content, and what the plugin says of it."""

    source: str
    said: Arrival
    file: FileArrival
    changed: int = 0

    @property
    def origin(self) -> str:
        return self.said.origin

    @property
    def revision(self) -> str:
        return self.said.revision

    @property
    def tags(self) -> tuple[str, ...]:
        return self.said.tags

    def take(self, library: Library, identify: Identify, observe: Observe) -> Taken | Refused | Unsettled:
        """Read the file once, store it, and note what was said of it."""
        taken = self.file.take(library, identify, observe)
        return replace(taken, metadata=self.said.metadata) if isinstance(taken, Taken) else taken


class PluginSource:
    """Reads one source of a plugin again and again; `run` until it is cancelled."""

    def __init__(
        self,
        launch: Launch,
        source: Source,
        intake: Intake,
        journal: Journal,
        crew: Crew,
        backoff: Sequence[float],
        on_refused: Callable[[str, list[tuple[str, str]]], None] = lambda source, refused: None,
        observe: Observe = lambda step: None,
    ) -> None:
        self.name = source_name(launch.plugin, source)
        self._source = source
        self._intake = intake
        self._journal = journal
        self._attendant = Attendant(replace(launch, scratch=launch.scratch / "source" / (source.name or "-")), crew)
        self._backoff = backoff
        self._on_refused = on_refused
        self._observe = observe
        self._reading = False
        self.taken = 0
        self.alarm = ""
        self.idle = asyncio.Event()

    @property
    def view(self) -> SourceView:
        """How it stands."""
        state = "reading" if self._reading else "failing" if self.alarm else "resting"
        plugin = self._attendant.launch.plugin
        return SourceView(name=self.name, plugin=plugin, state=state, taken=self.taken, alarm=self.alarm)

    async def run(self) -> None:
        """Read, rest, and read again."""
        failures = 0
        try:
            while True:
                self.idle.clear()
                failures = 0 if await self._read() else failures + 1
                self.idle.set()
                pause = pause_after(failures, self._backoff) if failures else self._source.every
                if pause > KEEP:
                    await self._attendant.end()
                await asyncio.sleep(pause)
        finally:
            await self._attendant.end(kill=True)

    async def _read(self) -> bool:
        """Read it once; whether that went well."""
        self._reading = True
        try:
            worker = await self._attendant.worker()
            body = {"op": "read", "source": self._source.model_dump(mode="json")}
            await worker.request(body, limit=self._source.time_limit, each=self._answer)
        except (WorkerFailed, OSError) as error:
            await self._attendant.end(kill=True)  # in the middle of a conversation it is of no further use
            self.alarm = f"{error} It is read again by itself."
            log.warning("a source could not be read", source=self.name, reason=str(error))
            return False
        finally:
            self._reading = False
        self.alarm = ""
        return True

    # -- what the plugin says and asks -------------------------------------------------------------------------------

    def _answer(self, message: Message) -> Awaitable[dict[str, Any]] | None:
        answers = {"arrival": self._take, "taken": self._tell_taken}
        answer = answers.get(message.op)
        return None if answer is None else answer(message.body)

    async def _tell_taken(self, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"source": self.name, "origin": str(body["origin"]), "revision": str(body["revision"])}
        return {"taken": await self._journal.row("is_taken", **asked) is not None}

    async def _take(self, body: Mapping[str, Any]) -> dict[str, Any]:
        said = self._checked(body)
        self._observe("handed over")
        verdict = await self._accepted(said)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(said.path.unlink)
        self._observe("safe")
        if isinstance(verdict, Refused):
            log.warning("refused", source=self.name, origin=said.origin, reason=verdict.reason)
            await asyncio.to_thread(self._on_refused, self.name, [(said.origin, verdict.reason)])
            return {"reason": verdict.reason}
        self.taken += 1
        return {"reason": ""}

    def _checked(self, body: Mapping[str, Any]) -> Arrival:
        """What the plugin says of a file, if it can be kept. Raises WorkerFailed."""
        scratch = self._attendant.launch.scratch
        try:
            said = Arrival.model_validate({key: value for key, value in body.items() if key != "op"})
        except ValidationError as error:
            raise self._invalid(str(error.errors()[0]["msg"])) from error
        path = Path(os.path.normpath(said.path))
        if not path.is_relative_to(scratch):
            raise self._invalid(f"its file must lie in its scratch folder {scratch}")
        if not (said.origin.isprintable() and 0 < len(said.origin) <= LONGEST_ORIGIN):
            raise self._invalid(f"its origin must be at most {LONGEST_ORIGIN} characters that can be printed")
        if not is_writable({"revision": said.revision, "tags": said.tags, "metadata": said.metadata}):
            raise self._invalid("what it says cannot be written as JSON")
        return said.model_copy(update={"path": path})

    async def _accepted(self, said: Arrival) -> Verdict:
        """Have it taken in, however long that takes. Raises WorkerFailed when there is no such file."""
        while True:
            arrival = await asyncio.to_thread(self._looked_at, said)
            try:
                (verdict,) = await self._intake.accept([arrival])
            except HostError as error:
                reason = str(error)
            else:
                if not isinstance(verdict, Unsettled):
                    self.alarm = ""
                    return verdict
                reason = verdict.reason
            log.warning("an arrival waits", source=self.name, origin=said.origin, reason=reason)
            self.alarm = f"Nothing can be taken in: {reason} It is tried again every few seconds."
            await asyncio.sleep(RETRY)

    def _looked_at(self, said: Arrival) -> HandedOver:
        try:
            status = os.lstat(said.path)
        except OSError as error:
            raise self._invalid(f"its file {said.path.name} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise self._invalid(f"{said.path.name} is not a file")
        found = Found(said.path.name, str(said.path), Look.of(status))  # its own name tells what kind of text it is
        root = str(self._attendant.launch.scratch)
        return HandedOver(self.name, said, FileArrival(self.name, found, root, keep=False))

    def _invalid(self, problem: str) -> WorkerFailed:
        return WorkerFailed("invalid_plugin", f"{self.name} handed over something that cannot be taken in: {problem}.")


def source_name(plugin: str, source: Source) -> str:
    """What a plugin's source is called in routes, answers and the outbox."""
    return f"{plugin}.{source.name}" if source.name else plugin
