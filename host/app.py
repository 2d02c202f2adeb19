"""The one place where everything is put together. Nothing else builds a journal, a lease or a worker.

    open_app ─ journal, library, plugins, routes          (enough for questions: `read_only`)
       └ run ─ + devices, leases, dispatcher, sources, sidecars, until stopped or, with `once`, until all is worked off

A background task that dies takes the host down with its reason; nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from hooks.errors import SensoriumError
from hooks.events import TELL
from host.config import Address, Config, Inbox, check_plugin_settings
from host.control import ControlServer
from host.crew import Crew
from host.dispatcher import Dispatcher
from host.durable import copy_atomically
from host.errors import ConfigError, HostError, JournalError, NotFound, UsageError
from host.families import Families
from host.findings import Finding, remove_made
from host.intake import Accepted, Intake, Refused, Unsettled
from host.isolation import Isolated
from host.journal import Journal, open_journal
from host.leasing.devices import find_gauges
from host.leasing.history import History
from host.leasing.learned import Learned
from host.leasing.leases import Leases
from host.leasing.yielding import Yielding
from host.library import Library
from host.lock import HostLock
from host.log import get_logger
from host.names import from_text, to_text
from host.overview import mqtt_view
from host.plugin_manager import Plugin, PluginRegistry, find_plugins
from host.questions import Questions
from host.records import Records
from host.remains import Register
from host.requests import Requests
from host.routes import Routes
from host.search import Search
from host.sinks.plugin import PluginSink, forget_sinks
from host.sinks.sidecar import SidecarSink
from host.sources.files import FileArrival
from host.sources.folder import FolderSource
from host.sources.plugin import PluginSource, source_name
from host.sources.scan import Found, Look
from host.steps import Observe
from host.views import EventView, MqttView, SourceView, Spoken, Status, Submitted
from host.workers import Launch

if TYPE_CHECKING:
    from host.mqtt.broker import EmbeddedBroker
    from host.publisher import Publisher
    from host.sources.mqtt import MqttSource

SUBMIT = "submit"
SPEAK = "speak/text.txt"  # whoever would get this speaks where nobody is named
SETTLED_CHECK = 0.1
PAUSED_CHECK = 60.0
SWITCH = 0.001  # seconds for which the loop waits when the intake's thread computes; 5 ms as Python comes

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
        self,
        config: Config,
        journal: Journal,
        library: Library,
        registry: PluginRegistry,
        records: Records,
        observe: Observe,
        *,
        writer: asyncio.Task[None],
        scratch: Path,
        read_only: bool,
    ) -> None:
        self._observe = observe
        self._writer = writer
        gauges, data = find_gauges(config.devices), config.paths.data
        devices, plugins = [gauge.device for gauge in gauges], list(registry.usable.values())
        leases = Leases(devices)
        models = {plugin.name: plugin.spec.name for plugin in plugins}
        history = None if read_only else History(journal, leases, models, config.devices.history_days)
        self.learned = Learned(journal, leases.costs, plugins, devices)
        crew = Crew(gauges, Register(None if read_only else data / "workers"), f"data in {data}", leases.limit)
        background = {name for name in registry.usable if config.plugin_use(name).priority == "background"}
        takes, sinks = registry.media_types_of_plugins(), registry.sinks()
        reads, is_off = registry.reads_of_plugins(), records.is_disabled
        by_route = {name for name, plugin in registry.usable.items() if plugin.by_route}
        self.routes = routes = Routes(
            config.routes, registry.hooks_of_plugins(), background, takes, sinks, is_off, reads, by_route
        )
        arrive = config.sidecars.derived
        families = Families(journal, library, routes, registry.identify, observe, arrive=arrive)
        parts = (journal, library, leases, families, crew)
        dispatcher = Dispatcher(plugins, *parts, config.jobs, scratch, observe, records)
        self.intake = Intake(journal, library, routes, registry.identify, observe)
        folders = folders_of(config.inboxes)
        self.sidecars = SidecarSink(
            journal, library, config.paths.outbox, config.paths.failed, folders, observe, config.sidecars.texts
        )
        sources = [self._source(inbox, config, journal) for inbox in config.inboxes]
        has_mqtt = config.mqtt.broker is not None and not read_only
        self.broker = self._embedded_broker(config) if has_mqtt and config.mqtt.is_embedded else None
        self.mqtt = self._mqtt_source(config, journal) if has_mqtt else None
        self.plugin_sources: list[PluginSource] = []
        self.plugin_sinks: list[PluginSink] = []
        if not read_only:
            for plugin in plugins:
                launch = dispatcher.launch(plugin.name, next(one for one in devices if one.kind == "none"), plugin.spec)
                self._attend(plugin, launch, config, journal, library, crew)
        dispatcher.ledger.sinks_for = routes.sinks_of_event
        self.intake.on_committed = dispatcher.notify
        self.intake.on_owed = dispatcher.ledger.on_owed = self._owed
        self._stopping = asyncio.Event()
        self._workers_up = False
        search = Search(journal, config.paths.data / "index", read_only=read_only)
        super().__init__(
            config,
            journal,
            library,
            registry,
            search,
            dispatcher,
            leases,
            history,
            Yielding(leases, config.quiet_hours, config.devices, crew.others_mb),
            sources,
            read_only=read_only,
        )
        self._requests = Requests(registry, dispatcher, library, scratch / "requests")
        self.publisher = self._publisher() if has_mqtt else None

    def _attend(
        self, plugin: Plugin, launch: Launch, config: Config, journal: Journal, library: Library, crew: Crew
    ) -> None:
        """Sources and the sink that a plugin is; each has a process of its own."""
        backoff, refused, observe = config.jobs.backoff, self.sidecars.refused, self._observe
        for source in plugin.sources:
            reader = PluginSource(launch, source, self.intake, journal, crew, backoff, refused, observe)
            self.plugin_sources.append(reader)
        if TELL in plugin.hooks:
            self.plugin_sinks.append(PluginSink(launch, journal, library, crew, backoff, observe))

    def _source(self, inbox: Inbox, config: Config, journal: Journal) -> FolderSource:
        skip = (config.paths.outbox, config.paths.failed, config.paths.data)
        return FolderSource(
            inbox,
            self.intake,
            journal,
            skip=skip,
            observe=self._observe,
            on_refused=lambda refused: self.sidecars.refused(inbox.name, refused),
            on_withdrawn=lambda origins: self.sidecars.withdrawn(inbox.name, origins),
        )

    def _embedded_broker(self, config: Config) -> EmbeddedBroker:
        from host.mqtt.broker import EmbeddedBroker  # a host without MQTT does not wait for these at each start

        return EmbeddedBroker(config.mqtt.embedded_port)

    def _broker_address(self) -> Address:
        return self.broker.address if self.broker is not None else self.config.mqtt.address

    def _mqtt_source(self, config: Config, journal: Journal) -> MqttSource:
        from host.sources.mqtt import MqttSource  # as above

        def refused(refused: Sequence[tuple[str, str]]) -> None:
            self.sidecars.refused("mqtt", refused)

        data, address = config.paths.data, self._broker_address
        return MqttSource(config.mqtt, data, self.intake, journal, on_refused=refused, address=address)

    def _publisher(self) -> Publisher:
        from host.publisher import Publisher  # as above

        parts = (self.journal, self.library, self._requests, self.dispatcher)
        return Publisher(self.config, self, *parts, self._broker_address)

    async def broker_view(self) -> MqttView | None:
        """The broker, and how the connections to it stand."""
        settings = self.config.mqtt
        if settings.broker is None:
            return None
        if self.mqtt is None or self.publisher is None:
            return mqtt_view(settings, settings.broker, (), ())
        problems = (self.broker.problem if self.broker else "", self.mqtt.trouble, self.publisher.trouble)
        view = mqtt_view(settings, self._broker_address().url, (self.mqtt.link, self.publisher.link), problems)
        return view.model_copy(update={"taken": self.mqtt.taken, "owed": await self.publisher.owed()})

    def source_views(self) -> list[SourceView]:
        return [source.view for source in self.plugin_sources] if self.running_pid else []

    def _owed(self) -> None:
        self.sidecars.wake()
        for sink in self.plugin_sinks:
            sink.wake()
        if self.publisher is not None:
            self.publisher.wake()

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self, *, once: bool = False, on_progress: Callable[[Status], None] | None = None) -> RunSummary:
        """Work until `stop`; with `once`, until everything that is there is worked off."""
        if once and self.broker is not None:  # nobody can have sent anything to a broker that is only about to start
            self.broker = self.mqtt = self.publisher = None
        began, before = time.time(), await self._finished()
        gc.freeze()  # what is here by now stays: it is not looked through again and again while the loop waits
        sys.setswitchinterval(SWITCH)
        control = ControlServer(self, self.config.paths.data / "control.sock")
        async with self._broker(), self._named(), self.working(), control, asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(source.run(), name=source.inbox.name) for source in self.sources]
            background.append(tasks.create_task(self.yielding.run(), name="yielding"))
            if self.config.clusters.every_hours:
                background.append(tasks.create_task(self._cluster_now_and_then(), name="clusters"))
            if self.mqtt is not None:
                background.append(tasks.create_task(self._when_served(self.mqtt.run), name="mqtt"))
            background += [tasks.create_task(one.run(), name=one.name) for one in self.plugin_sources]
            background += [tasks.create_task(one.run(), name=one.name) for one in self.plugin_sinks]
            if on_progress is not None:
                background.append(tasks.create_task(self._report(on_progress), name="progress"))
            ended = [tasks.create_task(self._stopped(), name="stopping")]
            if once:
                ended.append(tasks.create_task(self._worked_off(), name="worked-off"))
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            for task in (*background, *ended):
                task.cancel()
        after, refused = await self._finished(), await self.journal.rows("refused_since", moment=began)
        done, failed = (late - early for early, late in zip(before, after, strict=True))
        return RunSummary(done, failed, refused[0]["refused"])

    @contextlib.asynccontextmanager
    async def _broker(self) -> AsyncIterator[None]:
        """The embedded broker, where that is the one; nobody waits for it, and it ends after all that need it."""
        if self.broker is None:
            yield
            return
        serving = asyncio.create_task(self.broker.run(), name="broker")
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _when_served(self, run: Callable[[], Awaitable[None]]) -> None:
        if self.broker is not None:
            await self.broker.served.wait()
        await run()

    @contextlib.asynccontextmanager
    async def _named(self) -> AsyncIterator[None]:
        self.running_pid = os.getpid()
        try:
            yield
        finally:
            self.running_pid = None

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Leases, workers and sidecars, for as long as the block lasts; afterwards no worker is left.

        What breaks in the background ends the block, and comes out as the one error that it is.
        """
        self._workers_up = True
        await self.dispatcher.crew.clear()
        try:
            with one_error():
                async with asyncio.TaskGroup() as tasks, self._background(tasks):
                    yield
        finally:
            await self.dispatcher.end()
            self._workers_up = False

    @contextlib.asynccontextmanager
    async def _background(self, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        helpers = [
            tasks.create_task(self.dispatcher.run(), name="dispatcher"),
            tasks.create_task(_outlived_by(self._writer), name="journal-watch"),
            tasks.create_task(self.dispatcher.crew.watch(), name="memory"),
        ]
        if not self.read_only:
            await forget_sinks(self.journal, self.registry.installed)
            helpers.append(tasks.create_task(self.sidecars.run(), name="sidecars"))
            helpers.append(tasks.create_task(self.learned.run(), name="learned"))
            await self._open_publisher()
        spares = None
        if self.running_pid is not None and any(plugin.warm_spare for plugin in self.registry.usable.values()):
            keeping = self.dispatcher.crew.spares.run(self.dispatcher.wishes, self._room_for_spares)
            spares = tasks.create_task(keeping, name="spares")
        if self.publisher is not None and self.running_pid is not None:
            helpers.append(tasks.create_task(self._when_served(self.publisher.run), name="publisher"))
        last_fence = 0
        if self.history is not None:
            last_fence = await self.history.open()
            helpers.append(tasks.create_task(self.history.run(), name="lease-history"))
        self.leases.preloads = self.running_pid is not None  # a question loads what it needs and no more
        leases = tasks.create_task(self.leases.run(self.dispatcher, last_fence), name="leases")
        try:
            yield
        finally:
            self.leases.close()
            if spares is not None:
                spares.cancel()
            await leases
            await self.dispatcher.settle()
            if self.history is not None:
                await self.history.settle()
            if not self.read_only:
                await self.learned.flush()
                await self._delivered()
            for task in helpers:
                task.cancel()

    def _room_for_spares(self) -> float:
        """What the resident models leave of the CPU's budget, in MB."""
        there = [slot for slot in self.leases.slots.values() if slot.device.kind == "cpu" and slot.state != "unloaded"]
        return self.dispatcher.crew.occupancies["cpu"].limit_mb - sum(slot.memory_mb for slot in there)

    async def _open_publisher(self) -> None:
        """Have outcomes owed to the broker, or, when there is none any more, forget what was owed."""
        if self.publisher is not None:
            await self.publisher.open()
        elif await self.journal.rows("publishers"):
            from host.sinks.outbox import stop_owing

            await stop_owing(self.journal)

    def stop(self) -> None:
        """End cleanly: the batches that run are finished and committed, then the workers exit."""
        self.leases.close()
        self._stopping.set()

    def kill(self) -> None:
        """End the workers now; what they were doing is done again at the next start."""
        self.dispatcher.kill()
        self.stop()

    async def _stopped(self) -> None:
        await self._stopping.wait()

    async def _worked_off(self) -> None:
        while True:
            sources = (*self.sources, *((self.mqtt,) if self.mqtt else ()), *self.plugin_sources)
            idle = [source.idle for source in sources]
            for each in idle:
                await each.wait()
            await asyncio.sleep(SETTLED_CHECK)
            quiet = all(each.is_set() for each in idle) and self.dispatcher.is_idle()
            if quiet and self.sidecars.idle.is_set() and all(sink.idle.is_set() for sink in self.plugin_sinks):
                return

    async def _cluster_now_and_then(self) -> None:
        """Look at the clusters when that is due; a look that fails is no reason to end, and comes again."""
        every = self.config.clusters.every_hours * 3600
        wait = await self._clusters.looked() + every - time.time()
        while True:
            await asyncio.sleep(max(0.0, wait))
            wait = min(every, PAUSED_CHECK)
            if not self.leases.paused:
                wait = every
                try:
                    done = await self._clusters.run()
                    log.info("clusters looked at", **done.model_dump(include={"looked", "joined", "made", "calls"}))
                    for problem in done.problems:
                        log.warning("clusters looked at, but for something", problem=problem)
                except HostError as error:
                    log.warning("clusters not looked at", reason=error.message, advice=error.hint)

    async def _delivered(self) -> None:
        """Write and publish what was just committed; a full disk or a slow broker does not hold up the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.sidecars.idle.wait()
                if self.publisher is not None:
                    await self.publisher.sent()

    async def _report(self, on_progress: Callable[[Status], None]) -> None:
        while True:
            on_progress(await self.status())
            await asyncio.sleep(0.5)

    async def _finished(self) -> tuple[int, int]:
        """How many jobs are done, and how many have failed."""
        jobs = (await self._job_counts()).values()
        return sum(states.get("done", 0) for states in jobs), sum(states.get("failed", 0) for states in jobs)

    # -- what needs workers ------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _with_workers(self) -> AsyncIterator[None]:
        """Workers for a request that somebody waits for; when no host runs, for that alone."""
        if self._workers_up:
            yield
            return
        paused = self.leases.paused
        self.leases.pause(True)
        try:
            async with self.working():
                yield
        finally:
            self.leases.pause(paused)

    async def submit(self, paths: list[str], wait: bool = False) -> list[Submitted]:
        """Take in files by copy, wherever they lie; with `wait`, return when their jobs are finished."""
        self._must_own()
        if self._workers_up or not wait:
            return await self._submit(paths, wait)
        async with self.working():
            return await self._submit(paths, wait)

    async def say(
        self, text: str, out: str, plugin: str | None = None, meta: dict[str, JsonValue] | None = None
    ) -> Spoken:
        """Speak a text into a file."""
        if not text.strip():
            raise UsageError("There is nothing to say.", 'Give it a text: sensorium say "good morning".')
        speaker = self._speaker(plugin)
        async with self._with_workers():
            finding = await self._requests.spoken(speaker, text, meta or {})
        return await asyncio.to_thread(_handed_over, finding, speaker, out)

    def _speaker(self, plugin: str | None) -> str:
        speakers = [one.name for one in self.registry.speakers()]
        if plugin is not None and plugin not in speakers:
            known = ", ".join(speakers) or "none"
            raise NotFound(f"No plugin {plugin!r} that speaks is in use.", f"In use are: {known}.")
        routed = self.routes.plugins_for("text", "text/plain", self.config.inboxes[0].name, SPEAK)
        chosen = [plugin] if plugin else [name for name in routed if name in speakers] or speakers
        if not chosen:
            raise NotFound("No plugin in use can speak.", "`sensorium plugins` says why; `espeak` is the usual one.")
        return chosen[0]

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
        while self._goes_on(view := await self.view(answer.event)):  # noqa: ASYNC110 - a journal calls nobody back
            await asyncio.sleep(SETTLED_CHECK)
        reason = " ".join(failure.message for failure in view.failures)
        return answer.model_copy(update={"state": "failed" if view.failures else "done", "reason": reason})

    def _goes_on(self, view: EventView) -> bool:
        """Whether something may still be found: what waits for a plugin that is off, waits for somebody."""
        return any(not self.dispatcher.records.of(plugin).off for plugin in view.pending)


def _handed_over(finding: Finding, plugin: str, out: str) -> Spoken:
    """Move what was said to where it shall be."""
    made, path = finding.file, Path(from_text(out))
    facts = {key: finding.data[key] for key in ("voice", "language", "sample_rate", "duration", "loudness", "problems")}
    try:
        if made is None or not copy_atomically(made, path):
            raise UsageError(f"What {plugin} said is not there any more.", "Try again.")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Name another file with --out.") from error
    finally:
        remove_made([made] if made is not None else [])
    return Spoken(path=out, plugin=plugin, **facts)


def _submitted_file(path: str) -> FileArrival | Refused:
    absolute = os.path.abspath(from_text(path))
    try:
        look = Look.of(os.stat(absolute))
    except ValueError:
        return Refused("It cannot be a path: there is a NUL character in it.")
    except OSError as error:
        return Refused(f"It cannot be read: {error.strerror}.")
    if not os.path.isfile(absolute):
        return Refused("It is not a file. Name files, not folders; `sensorium run --inbox DIR` takes whole folders.")
    real = os.path.realpath(absolute)
    return FileArrival(SUBMIT, Found(to_text(absolute), real, look), os.path.dirname(real), keep=False)


def _submitted(path: str, verdict: Accepted | Refused | Unsettled) -> Submitted:
    if isinstance(verdict, Accepted):
        return Submitted(path=path, event=verdict.event_id, state="accepted")
    return Submitted(path=path, event=None, state="refused", reason=verdict.reason)


def folders_of(inboxes: Sequence[Inbox]) -> dict[str, str]:
    """The folder in the outbox for each inbox: none for a single one, its name where there are several."""
    return {inbox.name: "" if len(inboxes) == 1 else inbox.name for inbox in inboxes}


@contextlib.asynccontextmanager
async def open_app(
    config: Config, *, read_only: bool = False, observe: Observe = lambda step: None
) -> AsyncIterator[App]:
    """A host on its data directory. Raises AlreadyRunning when another one has it.

    With `read_only` nothing is made or changed, so that it may be asked beside a running host and before the first run.
    """
    data = config.paths.data
    with contextlib.ExitStack() as stack:
        if not read_only:
            data.mkdir(parents=True, exist_ok=True)
            stack.enter_context(HostLock(data))
            make_folders(config)
        async with open_journal(data / "journal.db", read_only=read_only) as journal:
            records = Records(config.jobs.suspend_after)
            await records.recall(journal)
            isolated = Isolated(data / "plugins")
            if isolated.homes() and not read_only:
                isolated.link_contract()
            check = partial(check_plugin_settings, config)
            registry = find_plugins(config.plugins, check, records.disabled, isolated)
            check_source_names(config, registry)
            writer = asyncio.create_task(journal.run_writer(), name="journal")
            library = Library(data / "library")
            scratch = data / "scratch"
            if read_only:
                scratch = Path(tempfile.gettempdir(), f"sensorium-{uuid.uuid4().hex}")  # made when a worker needs it
                stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            else:
                library.prepare()
            parts = (config, journal, library, registry, records, observe)
            app = App(*parts, writer=writer, scratch=scratch, read_only=read_only)
            await app.learned.recall()
            try:
                yield app
            finally:
                app.intake.close()
                await app.search_index.close()
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)


def check_source_names(config: Config, registry: PluginRegistry) -> None:
    """Raises ConfigError when an inbox is called as a plugin's source: nobody could tell what came from where."""
    taken = {source_name(one.name, source): one.name for one in registry.usable.values() for source in one.sources}
    for inbox in config.inboxes:
        if inbox.name in taken:
            problem = f"The inbox {inbox.path} is called {inbox.name!r}, as a source of plugin {taken[inbox.name]}."
            raise ConfigError(problem, 'Give the inbox another name: name = "…".')


@contextlib.contextmanager
def one_error() -> Iterator[None]:
    """Raise what broke, and not the groups around it: of several errors the first that is meant for people."""
    try:
        yield
        return
    except BaseExceptionGroup as group:
        first = min(_leaves(group), key=lambda error: not isinstance(error, SensoriumError))
    raise first


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _outlived_by(writer: asyncio.Task[None]) -> None:
    """Without its writer the journal takes nothing any more: a host that went on would wait for ever."""
    await asyncio.wait([writer])
    cause = None if writer.cancelled() else writer.exception()
    raise JournalError(f"The journal's writer ended: {cause!r}.") from cause


def make_folders(config: Config) -> None:
    """At the very first start the inboxes are made; later a missing one is a mount that is away."""
    if not (config.paths.data / "journal.db").exists():
        for inbox in config.inboxes:
            inbox.path.mkdir(parents=True, exist_ok=True)
