"""Jobs to workers, results to the journal.

    queued → taken → in a worker → findings → committed ┬ done
       ↑                                                └ the event's last job: its arrivals are owed to the sinks
       └── put back: alone after its batch failed; later after it failed alone; never after the last attempt (failed)

A batch that fails says nothing of its members, so each is tried alone, and only then does a failure count against it.
One that was too large for the memory is halved, until it fits or is a single job; batches grow again by and by.
The next batch starts while the last one is still being committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hooks.errors import InvalidPlugin
from hooks.events import FINISH, hook_of
from hooks.model import Device, ModelSpec
from hooks.tasks import Task
from hooks.wire import Message
from host.config import Jobs
from host.crew import Crew
from host.errors import WorkFailed
from host.families import Families, family_of, family_payload
from host.findings import (
    Finding,
    Made,
    Outcome,
    finding_of,
    made_of,
    model_fingerprint,
    provenance_of,
    remove_made,
)
from host.handover import bring, content_problem, event_payload
from host.journal import Journal
from host.leasing.leases import Leases, LoadError
from host.leasing.policy import Priority
from host.ledger import Facts, Ledger, error_facts
from host.library import Library
from host.log import get_logger
from host.names import whole
from host.plugin_manager import Plugin
from host.queues import Job, JobQueue, Queues, Request
from host.readings import ON_TEXT
from host.records import Records
from host.spares import Wish
from host.steps import Observe
from host.workers import Launch, Worker, WorkerFailed

HOPELESS = frozenset({"bad_input", "unavailable", "invalid_plugin"})  # trying again cannot help
IN_USE_RETRY = 2.0  # seconds until a GPU that another host works on is asked for again
COMMITS_AHEAD = 2  # batches that may wait for their commit while the next one runs
ASKED_LATELY = 2.0  # seconds for which a request makes batches shorter: whoever asks next waits for the end of one
SHORTER = 4
SETTLING = 4  # requests, the loading among them, in which what a worker takes is what it needs
GROWTH = 2.0  # times what it had after its first batch, or what its plugin declares, that a worker may keep for good,
GROWTH_MB = 256.0  # and so much on top
QUERY_LIMIT = 60.0
TOO_LARGE = "Choose a smaller model, or give the device more memory ([devices] in config.toml)."
ENDED = error_facts("ended", "The host ended before it was done.", "Ask again.")

log = get_logger(__name__)


class Progress(NamedTuple):
    """How far the work on an event is, from 0 to 1, and in the plugin's words."""

    fraction: float
    text: str


class Dispatcher:
    """Carries out what the leases decide, for all plugins."""

    def __init__(
        self,
        plugins: Iterable[Plugin],
        journal: Journal,
        library: Library,
        leases: Leases,
        families: Families,
        crew: Crew,
        jobs: Jobs,
        scratch: Path,
        observe: Observe = lambda step: None,
        records: Records | None = None,
    ) -> None:
        self.records = Records(jobs.suspend_after) if records is None else records
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._journal = journal
        self._library = library
        self._leases = leases
        self.crew = crew
        self._attempts = jobs.attempts
        self._scratch = scratch
        self._observe = observe
        self._queues = {name: Queues(name, journal) for name in self._plugins}
        self.ledger = Ledger(journal, library, families, self._queues, jobs, self.records)
        self.ledger.on_queued = self.notify
        self.ledger.on_switched = self._switched
        self._wake = {name: asyncio.Event() for name in self._plugins}
        self._workers: dict[str, Worker] = {}
        self._provenance: dict[str, dict[str, Any]] = {}
        self._misses: dict[str, int] = {}  # how often in a row a worker could not load, or ended before its work
        self._ladder: dict[str, list[str]] = {}  # what was tried against an out-of-memory
        self._asked: dict[str, float] = {}  # when somebody last asked for something, by the monotonic clock
        self._allowed_mb: dict[str, float] = {}  # memory that the worker of a plugin may keep
        self._limits: dict[str, int] = {}  # jobs that a batch may have since one was too large for the memory
        self._tasks: asyncio.TaskGroup | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._killed = False
        self.progress: dict[tuple[str, str], Progress] = {}  # by plugin and event
        for plugin in self._plugins.values():
            leases.add(plugin.name, plugin.spec)

    # -- what the host says and asks ---------------------------------------------------------------------------------

    def notify(self, plugins: Iterable[str]) -> None:
        """Jobs for these plugins were committed."""
        for name in plugins:
            if name in self._queues:
                self._queues[name].expect_more()
                self._wake[name].set()

    async def take_back(self, plugin: str, seqs: list[int]) -> None:
        """Failed or finished jobs were queued again."""
        await self._queues[plugin].bring_back(seqs)
        self._wake[plugin].set()

    async def ask(
        self, plugin: str, body: dict[str, Any], each: Callable[[str], None] = lambda piece: None
    ) -> list[Finding]:
        """Have a request done before any job of this plugin; `each` is told of the pieces of text that come before.

        Raises WorkFailed, also where nobody can say when.
        """
        if reason := self.records.why_off(plugin):
            raise WorkFailed(f"{plugin} is off: {reason}", f"`sensorium plugin enable {plugin}` brings it back.")
        if reason := self._leases.why_not(plugin):
            raise WorkFailed(f"{plugin} cannot answer now: {reason}.", "Ask again when it is over.")
        request = Request(body, asyncio.get_running_loop().create_future(), each)
        self._queues[plugin].urgent.append(request)
        self._asked[plugin] = time.monotonic()
        self._tell(plugin)
        return await request.answer

    async def perform(self, plugin: str, task: Task, each: Callable[[str], None] = lambda piece: None) -> list[Finding]:
        """Have a task done, as `ask` does."""
        return await self.ask(plugin, {"op": "perform", "task": task.model_dump(mode="json")}, each)

    def provenance(self, plugin: str) -> dict[str, Any]:
        """What an answer of a plugin depends on, beside the question; empty before its model was ever loaded."""
        return dict(self._provenance.get(plugin, {}))

    def is_idle(self) -> bool:
        """Whether no job is running or being committed, or queued for a plugin that is on."""
        waiting = (name for name, queue in self._queues.items() if not queue.is_drained)
        return all(self.records.of(name).off and not self._queues[name].taken for name in waiting)

    def running(self, plugin: str) -> dict[int, Job]:
        """The jobs of a plugin that are in a worker or being committed, by their number."""
        return self._queues[plugin].taken if plugin in self._queues else {}

    def requests(self, plugin: str) -> int:
        """How many requests that somebody waits for are not begun."""
        return len(self._queues[plugin].urgent)

    def waiting_since(self, plugin: str) -> float | None:
        """When the first job that waits was queued, in seconds since 1970; None when none does."""
        waited = self._queues[plugin].waited
        return None if waited is None else time.time() - waited

    # -- its life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the queues filled and the leases informed; ends by cancellation, or with what broke a commit."""
        self.ledger.open()
        async with asyncio.TaskGroup() as self._tasks:
            for name in self._plugins:
                self._tasks.create_task(self._feed(name), name=f"feed-{name}")

    async def settle(self) -> None:
        """Wait until what was found is committed; a full disk does not hold it up any more."""
        self.ledger.close()
        while self._commits:
            await asyncio.wait(self._commits)

    def kill(self) -> None:
        """End all workers now; what they were doing counts as not begun."""
        self._killed = True
        self.ledger.close()
        self.crew.kill_soon()

    async def end(self) -> None:
        """Whatever happened: no worker is left, and nobody waits for an answer."""
        await self.crew.close()
        self._workers.clear()
        for queue in self._queues.values():
            while queue.urgent:
                _reject(queue.urgent.popleft(), ENDED)

    async def _feed(self, name: str) -> None:
        queue, wake = self._queues[name], self._wake[name]
        while True:
            wake.clear()
            await queue.fill()
            self._tell(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(queue.due_in):
                    await wake.wait()

    def _tell(self, name: str) -> None:
        queue = self._queues[name]
        if self.records.of(name).off:
            return self._leases.demand(name, 0, 0, 0.0)
        jobs, later = queue.normal, queue.background
        self._leases.demand(
            name, len(jobs), len(queue.urgent), jobs.waited, background=len(later), background_waited=later.waited
        )

    def _switched(self, name: str) -> None:
        if name in self._queues:
            self._wake[name].set()
            self._tell(name)
            if self.records.of(name).off:
                self._leases.dismiss(name, "its plugin was switched off")

    # -- what the leases ask for (leases.Effects) --------------------------------------------------------------------

    def pid(self, model: str) -> int:
        return self._workers[model].pid if model in self._workers else 0

    def peak_mb(self, model: str) -> float | None:
        return self.crew.peak_mb(self._workers[model]) if model in self._workers else None

    def wishes(self) -> list[Wish]:
        """The warm spares that are wished for now."""
        slots = {name: self._leases.slots[name] for name, plugin in self._plugins.items() if plugin.warm_spare}
        return [
            Wish(self.launch(name, slot.device, slot.spec), slot.memory_mb)
            for name, slot in slots.items()
            if slot.state == "unloaded" and self._plugins[name].has_model
        ]

    def launch(self, model: str, device: Device, spec: ModelSpec) -> Launch:
        """How a plugin's process is started."""
        plugin = self._plugins[model]
        settings, scratch = plugin.settings_for(spec.variant), self._scratch / model
        return Launch(model, plugin.module, spec, device, settings, scratch, plugin.is_isolated)

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        plugin = self._plugins[model]
        hashing = asyncio.create_task(model_fingerprint(spec.files, self._journal), name=f"hash-{model}")
        try:
            worker = await self.crew.begin(self.launch(model, device, spec), partial(self._leases.lost, model))
            self._workers[model] = worker
            await self.crew.load(worker)
            self._provenance[model] = provenance_of(plugin, spec, await hashing, device.name)
        except BaseException as error:
            hashing.cancel()
            await self._discard(model)
            if isinstance(error, WorkerFailed | OSError):
                raise await self._not_loaded(model, error) from error
            raise

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        queue, worker = self._queues[model], self._workers[model]
        alive = True
        await self._room_to_commit(queue)
        self.crew.worked()
        try:
            if queue.urgent and (priority == "interactive" or self._commits_wait()):
                await self._answer(worker, queue.urgent.popleft())
            elif jobs := await self._still_there(_jobs_of(queue, priority).take(self._batch(worker))):
                await self._run_jobs(worker, jobs, fence)
        except WorkerFailed as error:
            alive = error.alive
        if not alive:
            await self._discard(model)
        else:
            self._look_at(worker)
        self._wake[model].set()
        self._tell(model)
        return alive

    def _look_at(self, worker: Worker) -> None:
        """Replace a worker that keeps growing, at the end of its batch and before others have to leave for it.

        What a fresh one needs again within its first batches is no leak, and allowed from then on.
        """
        plugin, spec, resident = worker.launch.plugin, worker.launch.spec, worker.resident_mb
        if not resident:
            return
        if worker.first_mb is None:
            worker.first_mb = resident
        allowed = max(worker.first_mb, spec.memory_mb) * GROWTH + GROWTH_MB
        if resident <= max(allowed, self._allowed_mb.get(plugin, 0.0)):
            return
        if worker.requests <= SETTLING:
            self._allowed_mb[plugin] = resident * GROWTH
        what = f"from {worker.first_mb:.0f} to {resident:.0f} MB in {worker.requests - 1} batches"
        self.records.note(plugin, "memory", what)
        log.warning("a worker kept growing and is replaced", plugin=plugin, grew=what)
        self._leases.dismiss(plugin, "it kept growing")

    def _batch(self, worker: Worker) -> int:
        """How many jobs a batch may have: a quarter while somebody asks again and again, and waits for its end."""
        plugin, batch = worker.launch.plugin, worker.launch.spec.batch
        if time.monotonic() - self._asked.get(plugin, -ASKED_LATELY) < ASKED_LATELY:
            batch = -(-batch // SHORTER)
        return min(batch, self._limits.get(plugin, batch))

    async def _room_to_commit(self, queue: Queues) -> None:
        """Wait until what was found before is committed, or somebody asks for something: that commits nothing."""
        while self._commits_wait() and not queue.urgent:
            await asyncio.wait(self._commits, return_when=asyncio.FIRST_COMPLETED)

    def _commits_wait(self) -> bool:
        return len(self._commits) >= COMMITS_AHEAD

    async def unload(self, model: str) -> None:
        worker = self._workers.pop(model, None)
        if worker is not None:
            await self.crew.end(worker)

    async def refuse(self, model: str, reason: str) -> None:
        await self._fail_all(model, error_facts("never_fits", self._with_ladder(model, reason), TOO_LARGE))

    async def _discard(self, model: str) -> None:
        worker = self._workers.pop(model, None)
        if worker is not None:
            await self.crew.end(worker, kill=True)

    # -- a batch, a request ------------------------------------------------------------------------------------------

    async def _still_there(self, jobs: list[Job]) -> list[Job]:
        """The jobs whose content can be opened; a kept file that went away or changed fails its job."""
        await bring([job.event for job in jobs], self._journal, self._library)
        opening = [job for job in jobs if not job.gathers]
        lost = {job.seq: problem for job in opening if (problem := content_problem(job.event, self._library))}
        hint = "Put the file back, then `sensorium requeue` it."
        fails = [self.ledger.fail([job], error_facts("gone", lost[job.seq], hint)) for job in jobs if job.seq in lost]
        await asyncio.gather(*fails)
        return [job for job in jobs if job.seq not in lost]

    async def _run_jobs(self, worker: Worker, jobs: list[Job], fence: int) -> None:
        try:
            outcomes = await self._work(worker, jobs)
        except WorkerFailed as error:
            await self._not_done(jobs, error)
            raise
        plugin, tried = worker.launch.plugin, self._ladder.get(worker.launch.plugin, [])
        self._worked(plugin)
        if plugin in self._limits:
            self._limits[plugin] += 1
        if self._leases.is_current(plugin, fence):
            self._commit_soon(plugin, outcomes, {"ladder": tried} if tried else {})
        else:
            self._queues[plugin].put_back(jobs, first=True)

    async def _work(self, worker: Worker, jobs: list[Job]) -> list[Outcome]:
        plugin = worker.launch.plugin
        outcomes = {job.event_id: Outcome(job) for job in jobs}

        def note(message: Message) -> None:
            body = message.body
            if message.op == "result":
                outcomes[body["event"]].findings.append(_finding(worker.launch, message))
            elif message.op == "failure":
                outcomes[body["event"]].failure = whole(body["reason"])
            elif message.op == "derived":
                outcomes[body["event"]].made.append(_made(worker.launch, body))
            elif message.op == "progress":
                self.progress[plugin, body["event"]] = Progress(body["fraction"], whole(body["text"]))

        gathering = [job.event_id for job in jobs if job.gathers]
        families = [family_payload(await family_of(one, self._journal, self._library)) for one in gathering]
        async with self._handed_over(worker.launch, jobs) as (hook, events):
            body = {"op": "run", "hook": hook, "events": events}
            self._observe("worker busy")
            began = time.monotonic()
            try:
                await worker.request(body, limit=worker.launch.spec.time_limit, each=note, blobs=families)
            finally:
                self._remember(worker, time.monotonic() - began)
                for event_id in outcomes:
                    self.progress.pop((plugin, event_id), None)
        return list(outcomes.values())

    def _remember(self, worker: Worker, seconds: float) -> None:
        """Note down what a worker's plugin did: written with the next outcome of its jobs."""
        plugin = worker.launch.plugin
        self.records.worked(plugin, seconds, worker.memory_mb)
        places, worker.outside = worker.outside, []
        for place in places:
            self.records.note(plugin, "outside", place)
            log.warning("a plugin wrote outside of its scratch folder", plugin=plugin, place=place)

    @contextlib.asynccontextmanager
    async def _handed_over(self, launch: Launch, jobs: list[Job]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """The hook to be called, and the events as it gets them; a batch is all of one kind."""
        readings = self.ledger.readings
        if readings.is_reading(jobs[0]):
            async with readings.payloads(jobs, launch.scratch) as events:
                yield ON_TEXT, events
        else:
            hook = FINISH if jobs[0].gathers else hook_of(jobs[0].event["kind"])
            yield hook, [event_payload(job.event, self._library) for job in jobs]

    def _commit_soon(self, plugin: str, outcomes: list[Outcome], more: dict[str, Any]) -> None:
        """Commit beside the next batch, with `more` of where it comes from; what breaks a commit ends the host."""
        if self._tasks is None:
            raise RuntimeError("The dispatcher is not running.")
        provenance = {**self._provenance[plugin], **more}
        task = self._tasks.create_task(self._commit(outcomes, provenance), name=f"commit-{plugin}")
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _commit(self, outcomes: list[Outcome], provenance: dict[str, Any]) -> None:
        if await self.ledger.done(outcomes, provenance):
            self._observe("results committed")

    async def _answer(self, worker: Worker, request: Request) -> None:
        plugin = worker.launch.plugin
        found: list[Finding] = []

        def note(message: Message) -> None:
            if message.op == "result":
                found.append(_finding(worker.launch, message))
            elif message.op == "piece":
                request.each(whole(message.body["text"]))
            elif message.op == "failure":
                _reject(request, error_facts("bad_input", whole(message.body["reason"])))

        if request.answer.done():  # whoever asked has gone
            return
        limit = worker.launch.spec.time_limit
        if request.body["op"] != "perform":
            limit = min(QUERY_LIMIT, limit)
        try:
            await worker.request(request.body, limit=limit, each=note)
        except WorkerFailed as error:
            if self._excused(plugin, error) or (error.code == "out_of_memory" and self._relieved(plugin)):
                self._queues[plugin].urgent.appendleft(request)
            else:
                _reject(request, {**error.facts, "message": self._with_ladder(plugin, error.message)})
            raise
        self._worked(plugin)
        if not request.answer.done():
            request.answer.set_result(found)
        else:
            remove_made(finding.file for finding in found if finding.file)

    # -- what goes wrong ---------------------------------------------------------------------------------------------

    async def _not_done(self, jobs: list[Job], error: WorkerFailed) -> None:
        """After a failed batch: again as it was, alone, later, or never."""
        plugin, facts = jobs[0].plugin, error.facts
        if self._killed:
            return self.ledger.drop(jobs)
        log.warning("batch failed", plugin=plugin, jobs=len(jobs), code=error.code, reason=error.message)
        if self._excused(plugin, error):
            await self.ledger.again(jobs, facts, first=True)
        elif len(jobs) > 1 and error.code == "out_of_memory":
            self._limits[plugin] = len(jobs) // 2
            await self.ledger.again(jobs, facts, first=True)
        elif len(jobs) > 1:
            await self.ledger.again([replace(job, alone=True) for job in jobs], facts, first=True)
        elif error.code == "out_of_memory" and self._relieved(plugin):
            await self.ledger.again([replace(jobs[0], alone=True)], facts, first=True)
        elif error.code == "out_of_memory":
            message = self._with_ladder(plugin, error.message)
            await self.ledger.fail(jobs, {**facts, "message": message, "hint": error.hint or TOO_LARGE})
        elif error.code in HOPELESS:
            await self.ledger.fail(jobs, facts)
        else:
            await self.ledger.later(jobs[0], facts)

    async def _not_loaded(self, model: str, error: WorkerFailed | OSError) -> LoadError:
        """Try again later, or fail everything that waits for the model, when trying again cannot help."""
        failed = error if isinstance(error, WorkerFailed) else _not_started(model, error)
        log.warning("model not loaded", model=model, code=failed.code, reason=failed.message)
        if failed.code == "in_use":
            return LoadError(IN_USE_RETRY)
        if self._killed or (failed.code == "out_of_memory" and self._relieved(model)):
            return LoadError(0.0)
        misses = self._misses[model] = self._misses.get(model, 0) + 1
        if failed.code not in HOPELESS | {"out_of_memory"} and misses < self._attempts:
            return LoadError(self.ledger.backoff(misses))
        await self._fail_all(model, {**failed.facts, "message": self._with_ladder(model, failed.message)})
        self._worked(model)
        return LoadError(0.0)

    def _excused(self, plugin: str, error: WorkerFailed) -> bool:
        """Whether a worker ended before it took its work, which counts against nobody unless it goes on like that."""
        self._misses[plugin] = self._misses.get(plugin, 0) + (error.code == "lost")
        return error.code == "lost" and self._misses[plugin] < self._attempts

    def _relieved(self, plugin: str) -> bool:
        """Whether there is a further step against an out-of-memory; it is taken with that."""
        step = self._leases.relieve(plugin)
        if step is not None:
            self._ladder.setdefault(plugin, []).append(step)
        return step is not None

    def _with_ladder(self, plugin: str, message: str) -> str:
        tried = self._ladder.pop(plugin, [])
        return f"{message.rstrip('.')}. It was tried again {', then '.join(tried)}." if tried else message

    def _worked(self, plugin: str) -> None:
        self._misses.pop(plugin, None)
        self._ladder.pop(plugin, None)

    async def _fail_all(self, model: str, facts: Facts) -> None:
        """Fail what waits for the model, and what comes while that is written down."""
        queue = self._queues[model]
        while True:
            while queue.urgent:
                _reject(queue.urgent.popleft(), facts)
            if self.records.of(model).off:
                break
            await queue.fill()
            jobs = queue.take_all()
            if not jobs:
                break
            await self.ledger.fail(jobs, facts)
        self._tell(model)


def _jobs_of(queues: Queues, priority: Priority) -> JobQueue:
    """Where the next batch of a priority comes from: of jobs, when whoever waited for an answer has gone meanwhile."""
    return queues.background if priority == "background" else queues.normal


def _finding(launch: Launch, message: Message) -> Finding:
    blob = bytes(message.blobs[0]) if message.blobs else None
    try:
        return finding_of(launch.plugin, message.body, blob, launch.scratch)
    except InvalidPlugin as error:
        raise WorkerFailed("invalid_plugin", error.message, error.hint) from error


def _made(launch: Launch, body: dict[str, Any]) -> Made:
    try:
        return made_of(launch.plugin, body, launch.scratch)
    except InvalidPlugin as error:
        raise WorkerFailed("invalid_plugin", error.message, error.hint) from error


def _not_started(model: str, error: OSError) -> WorkerFailed:
    message = f"The worker of {model} cannot be started: {error}."
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
        return WorkerFailed("unavailable", message, "Check the `python` that the plugin names.")
    return WorkerFailed("died", message)


def _reject(request: Request, facts: Facts) -> None:
    if not request.answer.done():
        request.answer.set_exception(WorkFailed(facts["message"], facts["hint"]))
