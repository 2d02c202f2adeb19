"""The jobs of one plugin that wait: a window of the journal's queue, what is tried again later, and urgent requests."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from host.journal import Journal, Row

WINDOW = 512  # jobs held in memory; the rest of a backlog stays in the journal


@dataclass(frozen=True, slots=True)
class Job:
    """One event x one plugin; `event` is the event's row, `ready` when the job was queued (seconds since 1970)."""

    seq: int
    plugin: str
    event_id: str
    attempts: int
    alone: bool
    not_before: float
    ready: float
    event: Row

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
            event=dict(row),
        )


@dataclass(slots=True)
class Request:
    """Something that somebody waits for: a hook and its arguments, answered with the worker's messages."""

    body: dict[str, Any]
    answer: asyncio.Future[list[Any]]


@dataclass(slots=True)
class JobQueue:
    """The queue of one plugin. What is taken is neither here nor read again, until it is put back."""

    plugin: str
    journal: Journal
    clock: Callable[[], float] = time.time
    urgent: deque[Request] = field(default_factory=deque)
    _window: deque[Job] = field(default_factory=deque)
    _delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    cursor: int = 0
    _more: bool = True

    def __len__(self) -> int:
        self._release_due()
        return len(self._window)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits, here, later, or in the journal behind the window."""
        return not (self._window or self._delayed or self._more or self.urgent)

    @property
    def oldest(self) -> float | None:
        """Since when the first job has waited."""
        self._release_due()
        return self._window[0].ready if self._window else None

    def next_due(self) -> float | None:
        """When the next delayed job may be tried again."""
        return self._delayed[0][0] if self._delayed else None

    def expect_more(self) -> None:
        """New jobs were committed."""
        self._more = True

    async def fill(self) -> None:
        """Read on in the journal until the window is full or there is no more."""
        while self._more and len(self._window) < WINDOW:
            self._more = False
            rows = await self.journal.rows("queued_jobs", plugin=self.plugin, after=self.cursor, limit=WINDOW)
            if len(rows) == WINDOW:
                self._more = True
            for row in rows:
                self.cursor = max(self.cursor, row["seq"])
            self.put_back(Job.of(self.plugin, row) for row in rows)

    def take(self, limit: int) -> list[Job]:
        """The next jobs of one kind, oldest first; one that must be alone comes alone."""
        self._release_due()
        taken: list[Job] = []
        while self._window and len(taken) < limit and _may_share(taken, self._window[0]):
            taken.append(self._window.popleft())
        return taken

    def take_all(self) -> list[Job]:
        """Everything that is here, delayed or not."""
        taken = [*self._window, *(job for _, _, job in self._delayed)]
        self._window.clear()
        self._delayed.clear()
        return taken

    def put_back(self, jobs: Iterable[Job], *, first: bool = False) -> None:
        """Wait again: at the end, in front, or not before the job's time."""
        now = self.clock()
        ready = []
        for job in jobs:
            if job.not_before > now:
                heapq.heappush(self._delayed, (job.not_before, job.seq, job))
            else:
                ready.append(job)
        if first:
            self._window.extendleft(reversed(ready))
        else:
            self._window.extend(ready)

    def _release_due(self) -> None:
        now = self.clock()
        while self._delayed and self._delayed[0][0] <= now:
            self._window.append(heapq.heappop(self._delayed)[2])


def _may_share(batch: list[Job], job: Job) -> bool:
    return not batch or not (batch[0].alone or job.alone or batch[0].event["kind"] != job.event["kind"])
