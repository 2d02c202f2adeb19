"""The one place where everything is put together. Nothing else builds a journal, a lease or a worker.

    open_app ─ journal, library, plugins, routes          (enough for questions: `read_only`)
       └ run ─ + devices, leases, dispatcher, sources, sidecars, until stopped or, with `once`, until all is worked off

A background task that dies takes the host down with its reason; nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from host.config import Config, Inbox, check_plugin_settings
from host.control import ControlServer
from host.dispatcher import Dispatcher
from host.intake import Accepted, Intake, Refused, Unsettled
from host.journal import Journal, open_journal
from host.leasing.devices import find_devices
from host.leasing.leases import Leases
from host.library import Library
from host.lock import HostLock
from host.log import get_logger
from host.names import to_text
from host.plugin_manager import PluginRegistry, find_plugins
from host.questions import Questions
from host.routes import Routes
from host.search import Search
from host.sinks.sidecar import SidecarSink
from host.sources.files import FileArrival
from host.sources.folder import FolderSource
from host.sources.scan import Found, Look
from host.steps import Observe
from host.views import Status, Submitted

SUBMIT = "submit"
SETTLED_CHECK = 0.1

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did: jobs finished and failed, arrivals refused."""

    done: int
    failed: int
    refused: int


class App(Questions):
    """A host, or as much of one as a question needs; `open_app` makes it."""

    def __init__(
        self, config: Config, journal: Journal, library: Library, registry: PluginRegistry, observe: Observe
    ) -> None:
        self._observe = observe
        self.leases = Leases(find_devices(config.devices), journal)
        self.dispatcher = Dispatcher(
            registry.usable.values(), journal, library, self.leases, config.jobs, config.paths.data / "scratch", observe
        )
        routes = Routes(config.routes, registry.hooks_of_plugins())
        self.intake = Intake(journal, library, routes, registry.identify, observe)
        folders = folders_of(config.inboxes)
        self.sidecars = SidecarSink(journal, library, config.paths.outbox, config.paths.failed, folders, observe)
        self.sources = [self._source(inbox, config, journal) for inbox in config.inboxes]
        self.intake.on_committed = self.dispatcher.notify
        self.intake.on_owed = self.dispatcher.on_owed = self.sidecars.wake
        self._stopping = asyncio.Event()
        self._workers_up = False
        super().__init__(
            config, journal, library, registry, Search(journal, config.paths.data / "index"), self.dispatcher, self.leases, self.sources
        )

    def _source(self, inbox: Inbox, config: Config, journal: Journal) -> FolderSource:
        skip = (config.paths.outbox, config.paths.failed, config.paths.data)
        return FolderSource(
            inbox,
            self.intake,
            journal,
            skip=skip,
            observe=self._observe,
            on_refused=lambda refused: self.sidecars.refused(inbox.name, refused),
        )

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self, *, once: bool = False, on_progress: Callable[[Status], None] | None = None) -> RunSummary:
        """Work until `stop`; with `once`, until everything that is there is worked off."""
        before = await self._counts()
        self.running_pid = os.getpid()
        async with self.working(), ControlServer(self, self.config.paths.data / "control.sock"):
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(source.run(), name=source.inbox.name) for source in self.sources]
                if on_progress is not None:
                    background.append(tasks.create_task(self._report(on_progress), name="progress"))
                ended = [tasks.create_task(self._stopped(), name="stopping")]
                if once:
                    ended.append(tasks.create_task(self._worked_off(), name="worked-off"))
                await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
                for task in (*background, *ended):
                    task.cancel()
        after = await self._counts()
        return RunSummary(*(late - early for early, late in zip(before, after, strict=True)))

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Leases, workers and sidecars, for as long as the block lasts; afterwards no worker is left."""
        self.library.prepare()
        self._workers_up = True
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self.dispatcher.run(), name="dispatcher"),
                tasks.create_task(self.sidecars.run(), name="sidecars"),
            ]
            leases = tasks.create_task(self.leases.run(self.dispatcher), name="leases")
            try:
                yield
            finally:
                self.leases.close()
                await leases
                await self.dispatcher.settle()
                await self._delivered()
                for task in helpers:
                    task.cancel()
                self._workers_up = False

    def stop(self) -> None:
        """End cleanly: the batches that run are finished and committed, then the workers exit."""
        self._stopping.set()

    def kill(self) -> None:
        """End the workers now; what they were doing is done again at the next start."""
        self.dispatcher.kill()
        self._stopping.set()

    async def _stopped(self) -> None:
        await self._stopping.wait()

    async def _worked_off(self) -> None:
        while True:
            for source in self.sources:
                await source.idle.wait()
            await asyncio.sleep(SETTLED_CHECK)
            quiet = all(source.idle.is_set() for source in self.sources) and self.dispatcher.is_idle()
            if quiet and self.sidecars.idle.is_set():
                return

    async def _delivered(self) -> None:
        """Write the sidecars of what was just committed; a full disk does not hold up the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.sidecars.idle.wait()

    async def _report(self, on_progress: Callable[[Status], None]) -> None:
        while True:
            on_progress(await self.status())
            await asyncio.sleep(0.5)

    async def _counts(self) -> tuple[int, int, int]:
        counts = await self._journal_counts()
        jobs = [by_state for by_state in (await self.job_counts()).values()]
        return sum(by_state.get("done", 0) for by_state in jobs), counts["failed"], counts["refused"]

    # -- what needs workers ------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _with_workers(self) -> AsyncIterator[None]:
        if self._workers_up:
            yield
        else:
            async with self.working():
                yield

    async def submit(self, paths: list[str], wait: bool = False) -> list[Submitted]:
        """Take in files by copy, wherever they lie; with `wait`, return when their jobs are finished."""
        self.library.prepare()
        if not (wait and not self._workers_up):
            return await self._submit(paths, wait)
        async with self.working():
            return await self._submit(paths, wait)

    async def _submit(self, paths: list[str], wait: bool) -> list[Submitted]:
        found = [_submitted_file(path) for path in paths]
        files = [one for one in found if isinstance(one, FileArrival)]
        verdicts = dict(zip((one.found.path for one in files), await self.intake.accept(files), strict=True))
        answers = []
        for path, one in zip(paths, found, strict=True):
            verdict = verdicts[one.found.path] if isinstance(one, FileArrival) else one
            answers.append(_submitted(path, verdict))
        if wait:
            answers = [await self._outcome(answer) for answer in answers]
        return answers

    async def _outcome(self, answer: Submitted) -> Submitted:
        if answer.event is None:
            return answer
        while (view := await self.view(answer.event)).pending:
            await asyncio.sleep(SETTLED_CHECK)
        reason = " ".join(failure.message for failure in view.failures)
        return answer.model_copy(update={"state": "failed" if view.failures else "done", "reason": reason})


def _submitted_file(path: str) -> FileArrival | Refused:
    absolute = os.path.abspath(path)
    try:
        look = Look.of(os.stat(absolute))
    except OSError as error:
        return Refused(f"It cannot be read: {error.strerror}.")
    if not os.path.isfile(absolute):
        return Refused("It is not a file. Name files, not folders; `sensorium run --inbox DIR` takes whole folders.")
    real = os.path.realpath(absolute)
    return FileArrival(SUBMIT, Found(to_text(absolute), real, look), keep=False)


def _submitted(path: str, verdict: Accepted | Refused | Unsettled) -> Submitted:
    if isinstance(verdict, Accepted):
        return Submitted(path=path, event=verdict.event_id, state="accepted")
    if isinstance(verdict, Refused):
        return Submitted(path=path, event=None, state="refused", reason=verdict.reason)
    reason = "It changed while it was read. Submit it again when it is complete."
    return Submitted(path=path, event=None, state="refused", reason=reason)


def folders_of(inboxes: Sequence[Inbox]) -> dict[str, str]:
    """The folder in the outbox for each inbox: none for a single one, its name where there are several."""
    return {inbox.name: "" if len(inboxes) == 1 else inbox.name for inbox in inboxes}


@contextlib.asynccontextmanager
async def open_app(
    config: Config, *, read_only: bool = False, observe: Observe = lambda step: None
) -> AsyncIterator[App]:
    """A host on its data directory. Raises AlreadyRunning when another one has it, unless it is only read."""
    data = config.paths.data
    with contextlib.ExitStack() as stack:
        if not read_only:
            data.mkdir(parents=True, exist_ok=True)
            stack.enter_context(HostLock(data))
            make_folders(config)
        registry = find_plugins(config.plugins, lambda name, cls: check_plugin_settings(config, name, cls))
        async with open_journal(data / "journal.db") as journal:
            writer = asyncio.create_task(journal.run_writer(), name="journal")
            app = App(config, journal, Library(data / "library"), registry, observe)
            try:
                yield app
            finally:
                app.intake.close()
                await app.search_index.close()
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)


def make_folders(config: Config) -> None:
    """At the very first start the inboxes are made; later a missing one is a mount that is away."""
    if not (config.paths.data / "journal.db").exists():
        for inbox in config.inboxes:
            inbox.path.mkdir(parents=True, exist_ok=True)

