"""What waits for one plugin, by priority: a window of the journal's queue, what is tried again later, requests."""

from __future__ import annotations

import asyncio
import heapq
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from host.journal import Journal, Row

NORMAL, BACKGROUND = 1, 2  # as the journal writes them
WINDOW = 512  # jobs held in memory; the rest of a backlog stays in the journal


@dataclass(frozen=True, slots=True)
class Job:
    """One event x one plugin; `event` is the event's row, `ready` when the job was queued (seconds since 1970).

    `gathers` is 0, but for a job that gathers: how much had been found in the event's family when it was read.
    """

    seq: int
    plugin: str
    event_id: str
    attempts: int
    alone: bool
    not_before: float
    ready: float
    priority: int
    event: Row
    gathers: int = 0

    @classmethod
    def of(cls, plugin: str, row: Row) -> Job:
        """A job from a row of `queued_jobs`."""
        return cls(
            seq=row["seq"],
            plugin=plugin,
            event_id=row["event_id"],
            attempts=row["attempts"],
            alone=bool(row["alone"]),
            not_before=row["not_before"],
            ready=max(row["queued"], row["not_before"]),
            priority=row["priority"],
            event=dict(row),
            gathers=row["gathers"],
        )


@dataclass(slots=True)
class Request:
    """Something that somebody waits for: a hook and its arguments, answered with the worker's messages.

    `each` is called with every piece of text that comes before that; those of an attempt that failed come again.
    """

    body: dict[str, Any]
    answer: asyncio.Future[list[Any]]
    each: Callable[[str], None] = lambda piece: None


class JobQueue:
    """A plugin's queue of one priority: every job is in the journal, and at most once here: waiting, or taken.

    What is taken stays the queue's until it is put back or `finished`.
    """

    def __init__(
        self, plugin: str, journal: Journal, clock: Callable[[], float] = time.time, *, priority: int = NORMAL
    ) -> None:
        self.plugin = plugin
        self.priority = priority
        self.taken: dict[int, Job] = {}
        self._journal = journal
        self._clock = clock
        self._window: deque[Job] = deque()
        self._delayed: list[tuple[float, int, Job]] = []
        self._waiting: set[int] = set()
        self._reading = asyncio.Lock()
        self._cursor = 0
        self._more = True

    def __len__(self) -> int:
        self._release_due()
        return len(self._window)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits or is taken: not here, not later, not in the journal behind the window."""
        return not (self._waiting or self.taken or self._more or self._reading.locked())

    @property
    def waited(self) -> float:
        """For how many seconds the first job has waited."""
        self._release_due()
        return max(0.0, self._clock() - self._window[0].ready) if self._window else 0.0

    @property
    def due_in(self) -> float | None:
        """In how many seconds the next delayed job may be tried again."""
        return max(0.0, self._delayed[0][0] - self._clock()) if self._delayed else None

    def expect_more(self) -> None:
        """New jobs were committed."""
        self._more = True

    async def fill(self) -> None:
        """Read on in the journal until the window is full or there is no more."""
        async with self._reading:
            while self._more and len(self._window) < WINDOW:
                self._more = False
                wanted = {"plugin": self.plugin, "priority": self.priority, "after": self._cursor, "limit": WINDOW}
                rows = await self._journal.rows("queued_jobs", **wanted)
                self._more = self._more or len(rows) == WINDOW
                self._cursor = max((row["seq"] for row in rows), default=self._cursor)
                self._add(rows)

    async def bring_back(self, seqs: list[int]) -> None:
        """Jobs that were failed or done were queued again; what lies ahead is found by reading on."""
        async with self._reading:
            rows = await self._journal.rows("jobs_by_seq", seqs=json.dumps(seqs))
            self._add(row for row in rows if row["seq"] <= self._cursor and row["priority"] == self.priority)
            self._more = True

    def take(self, limit: int) -> list[Job]:
        """The oldest job and its next of the same kind, up to `limit`; one that must be alone comes alone."""
        self._release_due()
        batch: list[Job] = []
        left: deque[Job] = deque()
        while self._window and len(batch) < limit:
            job = self._window.popleft()
            (batch if not batch or _may_share(batch[0], job) else left).append(job)
        self._window.extendleft(reversed(left))
        return self._hand_out(batch)

    def take_all(self) -> list[Job]:
        """Everything that waits here, delayed or not."""
        jobs = [*self._window, *(job for _, _, job in self._delayed)]
        self._window.clear()
        self._delayed.clear()
        return self._hand_out(jobs)

    def put_back(self, jobs: Iterable[Job], *, first: bool = False) -> None:
        """Have taken jobs wait again, as they are now: at the end, in front, or not before their time."""
        jobs = list(jobs)
        self.finished(jobs)
        self._insert(jobs, first=first)

    def finished(self, jobs: Iterable[Job]) -> None:
        """Forget jobs that were taken: they are done or failed in the journal."""
        for job in jobs:
            self.taken.pop(job.seq, None)

    def _hand_out(self, jobs: list[Job]) -> list[Job]:
        for job in jobs:
            self._waiting.discard(job.seq)
            self.taken[job.seq] = job
        return jobs

    def _add(self, rows: Iterable[Row]) -> None:
        """Take in what was read, but for what is here already: two reads may see the same row."""
        new = (row for row in rows if row["seq"] not in self._waiting and row["seq"] not in self.taken)
        self._insert([Job.of(self.plugin, row) for row in new], first=False)

    def _insert(self, jobs: list[Job], *, first: bool) -> None:
        now = self._clock()
        ready = [job for job in jobs if job.not_before <= now]
        for job in jobs:
            self._waiting.add(job.seq)
            if job.not_before > now:
                heapq.heappush(self._delayed, (job.not_before, job.seq, job))
        if first:
            self._window.extendleft(reversed(ready))
        else:
            self._window.extend(ready)

    def _release_due(self) -> None:
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            self._window.append(heapq.heappop(self._delayed)[2])


class Queues:
    """All that waits for one plugin: requests that somebody waits for, normal jobs, background jobs."""

    def __init__(self, plugin: str, journal: Journal) -> None:
        self.urgent: deque[Request] = deque()
        self.normal = JobQueue(plugin, journal)
        self.background = JobQueue(plugin, journal, priority=BACKGROUND)
        self._both = (self.normal, self.background)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits or is taken, here or in the journal."""
        return not self.urgent and all(queue.is_drained for queue in self._both)

    @property
    def waited(self) -> float | None:
        """For how many seconds the first job has waited; None when none waits."""
        return max((queue.waited for queue in self._both if len(queue)), default=None)

    @property
    def taken(self) -> dict[int, Job]:
        """The jobs that were handed out, by their number."""
        return {**self.normal.taken, **self.background.taken}

    @property
    def due_in(self) -> float | None:
        """In how many seconds the next delayed job may be tried again."""
        return min((due for queue in self._both if (due := queue.due_in) is not None), default=None)

    def expect_more(self) -> None:
        """New jobs were committed."""
        for queue in self._both:
            queue.expect_more()

    async def fill(self) -> None:
        """Read on in the journal."""
        for queue in self._both:
            await queue.fill()

    async def bring_back(self, seqs: list[int]) -> None:
        """Jobs that were failed or done were queued again."""
        for queue in self._both:
            await queue.bring_back(seqs)

    def take_all(self) -> list[Job]:
        """Every job that waits here."""
        return [job for queue in self._both for job in queue.take_all()]

    def put_back(self, jobs: Iterable[Job], *, first: bool = False) -> None:
        """Have taken jobs wait again, each in its own queue."""
        jobs = list(jobs)
        for queue in self._both:
            queue.put_back([job for job in jobs if job.priority == queue.priority], first=first)

    def finished(self, jobs: Iterable[Job]) -> None:
        """Forget jobs that were taken: they are done or failed in the journal."""
        jobs = list(jobs)
        for queue in self._both:
            queue.finished(jobs)


def _may_share(first: Job, job: Job) -> bool:
    return not (first.alone or job.alone) and first.event["kind"] == job.event["kind"]
