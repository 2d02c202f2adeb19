"""What became of jobs, written down: results, another try, or the end of trying.

A write waits while the disk is full, and with it all further work of the plugin; when the host ends before it
succeeds, the jobs are still queued in the journal and done again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from host.config import Jobs
from host.errors import FailureCode, JournalError, LibraryError
from host.families import Children, Families
from host.findings import Outcome, remove_made, result_rows, take_files
from host.journal import SIDECAR, Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.queues import Job, Queues
from host.readings import Readings
from host.records import Off, Records

BAD_INPUT_HINT = "Send a file that is whole and of a kind that the plugin knows."
PAUSE = 5.0  # seconds between two attempts to write to a full disk

Facts = dict[str, str]

log = get_logger(__name__)


class Ledger:
    """Settles jobs that were taken from the queues."""

    def __init__(
        self,
        journal: Journal,
        library: Library,
        families: Families,
        queues: Mapping[str, Queues],
        jobs: Jobs,
        records: Records,
        *,
        pause: float = PAUSE,
    ) -> None:
        self._journal = journal
        self._library = library
        self._families = families
        self.readings = Readings(journal, library, families.routes)
        self._queues = queues
        self._jobs = jobs
        self._records = records
        self._pause = pause
        self._closing = asyncio.Event()
        self.on_owed: Callable[[], None] = lambda: None
        self.sinks_for: Callable[[Row], Iterable[str]] = lambda event: ()
        self.on_queued: Callable[[Iterable[str]], None] = lambda plugins: None
        self.on_switched: Callable[[str], None] = lambda plugin: None

    def open(self) -> None:
        """From now on writes wait for room on the disk."""
        self._closing.clear()

    def close(self) -> None:
        """From now on nothing waits for room on the disk."""
        self._closing.set()

    async def done(self, outcomes: Sequence[Outcome], provenance: dict[str, Any]) -> bool:
        """Record what a batch found and made, and its verdicts on single events. False when the host ended before."""
        jobs = [outcome.job for outcome in outcomes]
        children = Children()
        judged = sum(bool(outcome.failure) for outcome in outcomes)
        self._records.done(jobs[0].plugin, len(jobs) - judged, judged)
        has_files = any(finding.file for outcome in outcomes for finding in outcome.findings)
        taken: list[Path] = []

        async def write() -> None:
            nonlocal children, taken
            if has_files:
                taken = await asyncio.to_thread(take_files, outcomes, self._library)
            children = await self._children(outcomes)
            found = [outcome for outcome in outcomes if not outcome.failure]
            failed = [outcome for outcome in outcomes if outcome.failure]
            rows = [_failed_row(one.job, error_facts("bad_input", one.failure, BAD_INPUT_HINT)) for one in failed]
            statements = await asyncio.to_thread(result_rows, found, provenance, self._library)
            readings, readers = self.readings.queued(found)
            await self._finish(jobs, *statements, *children.statements, *readings, Statement("fail_job", rows))
            self.on_queued(children.plugins | readers)

        written = await self._settled(jobs, write)
        if written and (children.files or taken):
            await asyncio.to_thread(remove_made, [*children.files, *taken])
        return written

    async def _children(self, outcomes: Sequence[Outcome]) -> Children:
        if not any(outcome.made for outcome in outcomes):
            return Children()
        ancestry = await self._families.ancestry(outcomes)
        return await asyncio.to_thread(self._families.take, outcomes, ancestry)

    async def fail(self, jobs: Sequence[Job], facts: Facts) -> None:
        """Set jobs aside, for a reason that a person reads in `failed/`."""
        rows = [_failed_row(job, facts) for job in jobs]
        plugin = jobs[0].plugin
        self._records.failed(plugin, len(jobs), facts)
        await self._settled(jobs, lambda: self._finish(jobs, Statement("fail_job", rows)))
        if self._records.too_many(plugin):
            await self._suspend(plugin, facts)

    async def _suspend(self, plugin: str, facts: Facts) -> None:
        """Try a plugin no more that only fails: what waits for it would fail as well, and is kept."""
        count = self._records.of(plugin).in_a_row
        last = facts["message"].strip().rstrip(".")
        why = f"{count} of its jobs failed one after the other, the last one with: {last}."
        log.error("plugin suspended", plugin=plugin, reason=why, go_on=f"sensorium plugin enable {plugin}")
        await self.switch(plugin, "suspended", why)

    async def switch(self, plugin: str, off: Off, why: str = "") -> None:
        """Switch a plugin off, or on again; sidecars and whoever gathers do not wait for one that is off."""
        self._records.switch(plugin, off, why)
        events = await self._journal.rows("events_waiting_for", plugin=plugin)
        waiting = [row["id"] for row in events]

        async def write() -> None:
            owed = Statement("owe_waiting_for", [{"plugin": plugin, "sink": SIDECAR}] if off else [])
            stirring = await self._families.stirring(waiting) if waiting else []
            told = self._notify(events if off else [])
            await self._journal.write(self._records.statement(plugin), *stirring, owed, told)

        if await self._written(write):
            await self._release(waiting)
            self.on_owed()
        self.on_switched(plugin)

    async def again(self, jobs: Sequence[Job], facts: Facts, *, first: bool) -> None:
        """Have jobs wait again as they are now, and remember why."""
        rows = [
            {"seq": j.seq, "attempts": j.attempts, "alone": int(j.alone), "not_before": j.not_before}
            | {"error": json.dumps(facts)}
            for j in jobs
        ]
        if await self._written(lambda: self._journal.write(Statement("retry_job", rows))):
            self._queue_of(jobs).put_back(jobs, first=first)
        else:
            self._queue_of(jobs).finished(jobs)

    async def later(self, job: Job, facts: Facts) -> None:
        """Try a job again that failed alone, after a pause that grows; after its last attempt set it aside."""
        attempts = job.attempts + 1
        if attempts >= self._jobs.attempts:
            await self.fail([job], facts)
        else:
            not_before = time.time() + self.backoff(attempts)
            await self.again([replace(job, attempts=attempts, alone=True, not_before=not_before)], facts, first=False)

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self._jobs.backoff[min(failures, len(self._jobs.backoff)) - 1]

    def drop(self, jobs: Sequence[Job]) -> None:
        """Leave jobs as they are in the journal: queued, for the next start."""
        if jobs:
            self._queue_of(jobs).finished(jobs)

    def _queue_of(self, jobs: Sequence[Job]) -> Queues:
        return self._queues[jobs[0].plugin]

    async def _finish(self, jobs: Sequence[Job], *statements: Statement) -> None:
        """Commit the end of jobs, with all that follows from it."""
        record, notices = self._records.statement(jobs[0].plugin), self._notify([job.event for job in jobs])
        await self._journal.write(*statements, *await self._families.stirred(jobs), _owe(jobs), notices, record)

    def _notify(self, finished: Iterable[Row]) -> Statement:
        events = {row["id"]: row for row in finished}
        rows = [{"event_id": one, "sink": sink} for one, event in events.items() for sink in self.sinks_for(event)]
        return Statement("notify_event", rows)

    async def _settled(self, jobs: Sequence[Job], write: Callable[[], Awaitable[None]]) -> bool:
        written = await self._written(write)
        if written:
            await self._release([job.event_id for job in jobs])
        self.drop(jobs)
        if written:
            self.on_owed()
        return written

    async def _release(self, events: Sequence[str]) -> None:
        """Have queued what waited for jobs of these events; while they are taken, or the host might seem to be done."""
        for plugin, seqs in (await self._families.released(events)).items():
            if plugin in self._queues:
                await self._queues[plugin].bring_back(seqs)
                self.on_queued([plugin])

    async def _written(self, write: Callable[[], Awaitable[None]]) -> bool:
        while True:
            try:
                await write()
                return True
            except (OSError, LibraryError, JournalError) as error:
                if isinstance(error, JournalError) and not error.passing:
                    raise
                log.error("results cannot be stored", reason=str(error))
            if await self._closed_within(self._pause):
                return False

    async def _closed_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()


def error_facts(code: FailureCode, message: str, hint: str = "", detail: str = "") -> Facts:
    """What the journal keeps of an error."""
    return {"code": code, "message": message, "hint": hint, "detail": detail}


def _failed_row(job: Job, facts: Facts) -> dict[str, Any]:
    return {"seq": job.seq, "attempts": job.attempts + 1, "error": json.dumps(facts), "finished": time.time()}


def _owe(jobs: Iterable[Job]) -> Statement:
    return Statement("owe_event", [{"event_id": job.event_id, "sink": SIDECAR} for job in jobs])
