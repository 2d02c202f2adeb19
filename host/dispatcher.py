"""Jobs to workers, results to the journal.

    queued → taken → in a worker → findings → committed ┬ done
       ↑                                                └ the event's last job: its arrivals are owed to the sinks
       └── put back: alone after its batch failed; later after it failed alone; never after the last attempt (failed)

A batch that fails says nothing of its members, so each is tried alone, and only then does a failure count against it.
The next batch starts while the last one is still being committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hooks.events import HOOK_OF_KIND
from hooks.model import Device
from host.config import Jobs
from host.errors import JournalError, WorkFailed
from host.findings import Finding, Outcome, model_fingerprint, provenance_of, result_rows
from host.journal import SIDECAR, Journal, Row, Statement
from host.leasing.leases import Leases, LoadError
from host.library import Library
from host.log import get_logger
from host.plugin_manager import Plugin
from host.queues import Job, JobQueue, Request
from host.steps import Observe
from host.workers import Launch, Worker, WorkerFailed

HOPELESS = frozenset({"bad_input", "unavailable", "invalid_plugin"})  # trying again cannot help
COMMITS_AHEAD = 2  # batches that may wait for their commit while the next one runs
COMMIT_RETRY = 5.0
QUERY_LIMIT = 60.0
BAD_INPUT_HINT = "Send a file that is whole and of a kind that the plugin knows."

log = get_logger(__name__)


class Dispatcher:
    """Carries out what the leases decide, for all plugins."""

    def __init__(
        self,
        plugins: Iterable[Plugin],
        journal: Journal,
        library: Library,
        leases: Leases,
        jobs: Jobs,
        scratch: Path,
        observe: Observe = lambda step: None,
    ) -> None:
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._journal = journal
        self._library = library
        self._leases = leases
        self._jobs = jobs
        self._scratch = scratch
        self._observe = observe
        self._queues = {name: JobQueue(name, journal) for name in self._plugins}
        self._workers: dict[str, Worker] = {}
        self._provenance: dict[str, dict[str, Any]] = {}
        self._load_failures: dict[str, int] = {}
        self._wake = {name: asyncio.Event() for name in self._plugins}
        self._ahead = asyncio.Semaphore(COMMITS_AHEAD)
        self._commits: set[asyncio.Task[None]] = set()
        self.running: dict[int, Job] = {}
        self.progress: dict[tuple[str, str], float] = {}
        self.on_owed: Callable[[], None] = lambda: None
        self.on_change: Callable[[], None] = lambda: None
        for plugin in self._plugins.values():
            leases.add(plugin.name, plugin.spec)

    # -- what the host says --------------------------------------------------------------------------------------

    def notify(self, plugins: Iterable[str]) -> None:
        """Jobs for these plugins were committed."""
        for name in plugins:
            if name in self._queues:
                self._queues[name].expect_more()
                self._wake[name].set()

    async def take_back(self, plugin: str, seqs: list[int]) -> None:
        """Failed or finished jobs were queued again."""
        rows = await self._journal.rows("jobs_by_seq", seqs=json.dumps(seqs))
        queue = self._queues[plugin]
        queue.put_back(job for row in rows if (job := Job.of(plugin, row)).seq <= queue.cursor)
        queue.expect_more()
        self._wake[plugin].set()

    async def ask(self, plugin: str, body: dict[str, Any]) -> list[Any]:
        """Have a request done before any job of this plugin; its result messages. Raises HostError."""
        request = Request(body, asyncio.get_running_loop().create_future())
        self._queues[plugin].urgent.append(request)
        self._wake[plugin].set()
        return await request.answer

    def is_idle(self) -> bool:
        """Whether no job is queued, running or being committed."""
        return not (self.running or self._commits) and all(queue.is_drained for queue in self._queues.values())

    async def run(self) -> None:
        """Keep the queues filled and the leases informed; ends by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            for name in self._plugins:
                tasks.create_task(self._feed(name), name=f"feed-{name}")

    async def settle(self) -> None:
        """Wait until what was found is committed."""
        while self._commits:
            await asyncio.wait(self._commits)

    def kill(self) -> None:
        """End all workers now."""
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, 9)

    async def _feed(self, name: str) -> None:
        queue, wake = self._queues[name], self._wake[name]
        while True:
            wake.clear()
            await queue.fill()
            self._tell(name)
            due = queue.next_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.time())):
                    await wake.wait()

    def _tell(self, name: str) -> None:
        queue = self._queues[name]
        age = max(0.0, time.time() - (queue.oldest or time.time()))
        self._leases.demand(name, len(queue), len(queue.urgent), time.monotonic() - age)
        self.on_change()

    # -- what the leases ask for (leases.Effects) ------------------------------------------------------------------

    def pid(self, model: str) -> int:
        worker = self._workers.get(model)
        return worker.pid if worker else 0

    async def load(self, model: str, device: Device) -> float | None:
        plugin = self._plugins[model]
        worker = Worker(Launch(model, plugin.module, plugin.spec, device, plugin.settings, self._scratch / model))
        self._workers[model] = worker
        try:
            await worker.start()
            fingerprint, _ = await asyncio.gather(model_fingerprint(plugin.spec.files, self._journal), worker.load())
        except (WorkerFailed, OSError) as error:
            await worker.kill()
            del self._workers[model]
            raise await self._load_failed(model, error) from error
        self._load_failures.pop(model, None)
        self._provenance[model] = provenance_of(plugin, fingerprint, device.name)
        return worker.memory_mb if device.kind != "gpu" else None

    async def run_batch(self, model: str, fence: int) -> bool:
        queue, worker = self._queues[model], self._workers[model]
        try:
            if queue.urgent:
                await self._answer(worker, queue.urgent.popleft())
            elif jobs := queue.take(self._plugins[model].spec.batch):
                await self._run_jobs(worker, jobs, fence)
            alive = True
        except WorkerFailed as error:
            alive = error.alive
        if not alive:
            await worker.kill()
            del self._workers[model]
        self._wake[model].set()
        self._tell(model)
        return alive

    async def unload(self, model: str) -> None:
        worker = self._workers.pop(model, None)
        if worker is not None:
            await worker.stop()

    async def refuse(self, model: str, reason: str) -> None:
        await self._fail_all(model, _error("never_fits", reason, "Choose a smaller model, or give the device more memory."))

    # -- a batch ---------------------------------------------------------------------------------------------------

    async def _run_jobs(self, worker: Worker, jobs: list[Job], fence: int) -> None:
        jobs = await self._still_there(jobs)
        if not jobs:
            return
        await self._ahead.acquire()
        self.running.update({job.seq: job for job in jobs})
        try:
            outcomes = await self._work(worker, jobs)
        except WorkerFailed as error:
            self._ahead.release()
            await self._not_done(jobs, error)
            raise
        if self._leases.is_current(worker.launch.plugin, fence):
            self._spawn(self._commit(worker.launch.plugin, outcomes))

    async def _work(self, worker: Worker, jobs: list[Job]) -> list[Outcome]:
        hook = HOOK_OF_KIND[jobs[0].event["kind"]]
        outcomes = {job.event_id: Outcome(job) for job in jobs}
        events = [event_payload(job.event, self._library) for job in jobs]
        self._observe("worker busy")
        limit = worker.launch.spec.time_limit
        async with contextlib.aclosing(worker.request({"op": "run", "hook": hook, "events": events}, limit=limit)) as answers:
            async for message in answers:
                body = message.body
                if message.op == "result":
                    outcomes[body["event"]].findings.append(_finding(message))
                elif message.op == "failure":
                    outcomes[body["event"]].failure = body["reason"]
                elif message.op == "progress":
                    self.progress[worker.launch.plugin, body["event"]] = body["fraction"]
        return list(outcomes.values())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name="commit-results")
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        task.add_done_callback(lambda done: self._ahead.release())

    async def _commit(self, plugin: str, outcomes: list[Outcome]) -> None:
        found = [outcome for outcome in outcomes if not outcome.failure]
        failed = [outcome for outcome in outcomes if outcome.failure]
        fails = [self._failed_row(o.job, _error("bad_input", o.failure, BAD_INPUT_HINT)) for o in failed]
        provenance = self._provenance[plugin]
        while True:
            try:
                statements = await asyncio.to_thread(result_rows, found, provenance, self._library)
                await self._journal.write(*statements, Statement("fail_job", fails), _owe(o.job for o in outcomes))
                break
            except (OSError, JournalError) as error:  # a full disk: hold the results, and with them all further work
                log.error("results cannot be stored", plugin=plugin, reason=str(error))
                await asyncio.sleep(COMMIT_RETRY)
        self._observe("results committed")
        self._finished([outcome.job for outcome in outcomes])

    def _finished(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.running.pop(job.seq, None)
            self.progress.pop((job.plugin, job.event_id), None)
        self.on_owed()
        self.on_change()

    async def _answer(self, worker: Worker, request: Request) -> None:
        messages: list[Any] = []
        limit = min(QUERY_LIMIT, worker.launch.spec.time_limit)
        try:
            async with contextlib.aclosing(worker.request(request.body, limit=limit)) as answers:
                async for message in answers:
                    if message.op == "result":
                        messages.append(_finding(message))
                    elif message.op == "failure":
                        raise WorkerFailed("bad_input", message.body["reason"], alive=True)
        except WorkerFailed as error:
            _reject(request, error)
            raise
        if not request.answer.done():
            request.answer.set_result(messages)

    # -- what goes wrong -------------------------------------------------------------------------------------------

    async def _still_there(self, jobs: list[Job]) -> list[Job]:
        """The jobs whose content can be opened; a kept file that went away or changed fails its job."""
        lost = [(job, reason) for job in jobs if (reason := content_problem(job.event, self._library))]
        for job, reason in lost:
            await self._fail([job], _error("gone", reason, "Put the file back, then `sensorium requeue` it."))
        gone = {job.seq for job, _ in lost}
        return [job for job in jobs if job.seq not in gone]

    async def _not_done(self, jobs: list[Job], error: WorkerFailed) -> None:
        """After a failed batch: alone, later, or never again."""
        facts = _error(error.code, error.message, error.hint, error.detail)
        log.warning("batch failed", plugin=jobs[0].plugin, jobs=len(jobs), code=error.code, reason=error.message)
        if len(jobs) > 1:
            await self._again([replace(job, alone=True) for job in jobs], facts, first=True)
        elif error.code in HOPELESS or jobs[0].attempts + 1 >= self._jobs.attempts:
            await self._fail(jobs, facts)
        else:
            attempts = jobs[0].attempts + 1
            pause = self._jobs.backoff[min(attempts, len(self._jobs.backoff)) - 1]
            job = replace(jobs[0], attempts=attempts, alone=True, not_before=time.time() + pause)
            await self._again([job], facts, first=False)

    async def _again(self, jobs: list[Job], facts: dict[str, str], *, first: bool) -> None:
        rows = [
            {"seq": job.seq, "attempts": job.attempts, "alone": int(job.alone), "not_before": job.not_before, "error": json.dumps(facts)}
            for job in jobs
        ]
        await self._journal.write(Statement("retry_job", rows))
        for job in jobs:
            self.running.pop(job.seq, None)
        self._queues[jobs[0].plugin].put_back(jobs, first=first)

    async def _fail(self, jobs: list[Job], facts: dict[str, str]) -> None:
        rows = [self._failed_row(job, facts) for job in jobs]
        await self._journal.write(Statement("fail_job", rows), _owe(jobs))
        self._finished(jobs)

    def _failed_row(self, job: Job, facts: dict[str, str]) -> dict[str, Any]:
        return {"seq": job.seq, "attempts": job.attempts + 1, "error": json.dumps(facts), "finished": time.time()}

    async def _load_failed(self, model: str, error: WorkerFailed | OSError) -> LoadError:
        """Try again later, or fail everything that waits for the model, when trying again cannot help."""
        failed = error if isinstance(error, WorkerFailed) else WorkerFailed("died", f"The worker of {model} cannot be started: {error}.")
        count = self._load_failures[model] = self._load_failures.get(model, 0) + 1
        log.warning("model not loaded", model=model, attempt=count, code=failed.code, reason=failed.message)
        if failed.code in HOPELESS or count >= self._jobs.attempts:
            self._load_failures.pop(model)
            await self._fail_all(model, _error(failed.code, failed.message, failed.hint, failed.detail))
            return LoadError(time.monotonic())
        return LoadError(time.monotonic() + self._jobs.backoff[min(count, len(self._jobs.backoff)) - 1])

    async def _fail_all(self, model: str, facts: dict[str, str]) -> None:
        queue = self._queues[model]
        while queue.urgent:
            _reject(queue.urgent.popleft(), WorkerFailed(facts["code"], facts["message"], facts["hint"]))
        while not queue.is_drained:
            await queue.fill()
            jobs = queue.take_all()
            if jobs:
                await self._fail(jobs, facts)
        self._tell(model)


def event_payload(row: Row, library: Library) -> dict[str, Any]:
    """An event as a worker gets it, from its row."""
    names = ("kind", "id", "media_type", "sha256", "size", "name", "source", "origin", "parent", "created")
    return {
        **{name: row[name] for name in names},
        "path": str(library.resolve(row["location"])),
        "tags": json.loads(row["tags"]),
        "metadata": json.loads(row["metadata"]),
    }


def content_problem(row: Row, library: Library) -> str:
    """Why an event's content cannot be opened as it was; empty when it can."""
    path = library.resolve(row["location"])
    try:
        status = os.stat(path)
    except OSError as error:
        return f"Its content is not at {path} any more ({error.strerror})."
    if row["mark"] and row["mark"] != f"{status.st_mtime_ns}.{status.st_size}.{status.st_ino}":
        return f"{path} was changed after it was taken in; its new content is an event of its own."
    return ""


def _finding(message: Any) -> Finding:
    body = message.body
    blob = bytes(message.blobs[0]) if message.blobs else None
    return Finding(body["type"], body["version"], body["data"], blob)


def _owe(jobs: Iterable[Job]) -> Statement:
    return Statement("owe_event", [{"event_id": job.event_id, "sink": SIDECAR} for job in jobs])


def _error(code: str, message: str, hint: str = "", detail: str = "") -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint, "detail": detail}


def _reject(request: Request, error: WorkerFailed) -> None:
    if not request.answer.done():
        request.answer.set_exception(WorkFailed(error.message, error.hint))
