"""A sink that a plugin is: told, one by one, of what is finished, in a process of its own and without a lease.

    the event's last job is finished, a known content arrives → owed (in the same transaction)
    owed → handed to `on_result` → told, and forgotten
             └── it raised, hung or died → owed, with the same id, after a pause that grows; BadInput → set aside

A crash between `told` and `forgotten` tells it once more, with the same id. While somebody cannot be told anything, one
delivery is tried at a time and the pauses grow; nothing else of the host waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Collection, Iterator, Sequence

from pydantic_core import to_json

from host.crew import Attendant, Crew, pause_after
from host.errors import JournalError
from host.families import finished_payload
from host.journal import Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.reports import event_view
from host.steps import Observe
from host.views import SinkView
from host.workers import Launch, WorkerFailed

RETRY = 5.0  # seconds until it is tried again to write to a full disk
GIVEN_UP = "bad_input"  # the code of what can never be told

log = get_logger(__name__)


class PluginSink:
    """Tells one plugin; `run` until it is cancelled. `backoff` are the seconds before each further attempt."""

    def __init__(
        self,
        launch: Launch,
        journal: Journal,
        library: Library,
        crew: Crew,
        backoff: Sequence[float],
        observe: Observe = lambda step: None,
    ) -> None:
        self.name = launch.plugin
        self._journal = journal
        self._library = library
        self._process = Attendant(launch, crew)
        self._backoff = backoff
        self._observe = observe
        self._failures = 0  # in a row, of whatever delivery
        self._pausing = False  # after a failure: what is tried again later is nothing that anybody should wait for
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()

    def wake(self) -> None:
        """Something may be owed."""
        if not self._pausing:
            self.idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Tell what is owed, oldest first."""
        try:
            while True:
                self._wake.clear()
                row = await self._journal.row("notice_due", sink=self.name, now=time.time())
                if row is not None:
                    await self._try(row)
                else:
                    await self._rest()
        finally:
            await self._process.end(kill=True)

    async def _rest(self) -> None:
        """Wait until something is owed, or is to be tried again; the process leaves after a while."""
        if not self._wake.is_set():
            self.idle.set()
        row = await self._journal.row("notice_next", sink=self.name)
        due = None if row is None or row["at"] is None else max(0.0, row["at"] - time.time())
        stay = self._process.launch.spec.keep_alive
        if self._process.is_there and (due is None or due > stay):
            if await self._woken_within(stay):
                return
            await self._process.end()
            due = None if due is None else max(0.0, due - stay)
        await self._woken_within(due)

    async def _woken_within(self, seconds: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        return self._wake.is_set()

    async def _try(self, row: Row) -> None:
        self.idle.clear()
        try:
            await self._tell(row)
        except (WorkerFailed, OSError) as error:
            if not (isinstance(error, WorkerFailed) and error.alive):
                await self._process.end(kill=True)
            await self._failed(row, error)
        else:
            self._failures = 0
            self._observe("told")
            await self._write(Statement("notice_told", [{"id": row["id"]}]))

    async def _tell(self, row: Row) -> None:
        view = await event_view(row["event_id"], self._journal, self._library)
        body = finished_payload(view)
        body["event"] |= {"source": row["source"], "origin": row["origin"], "name": row["origin"].rsplit("/", 1)[-1]}
        delivery = {**body, "id": f"{self.name}-{row['id']}", "attempt": row["attempts"] + 1}
        worker = await self._process.worker()
        limit = self._process.launch.spec.time_limit
        await worker.request({"op": "tell"}, limit=limit, blobs=[to_json(delivery)])

    async def _failed(self, row: Row, error: WorkerFailed | OSError) -> None:
        attempts, set_aside = row["attempts"] + 1, isinstance(error, WorkerFailed) and error.code == GIVEN_UP
        reason, not_before = str(error), time.time() + pause_after(attempts, self._backoff)
        facts = {"sink": self.name, "origin": row["origin"], "attempts": attempts, "given_up": set_aside}
        log.warning("a sink could not be told", **facts, reason=reason)
        change = {"attempts": attempts, "not_before": not_before, "error": reason, "set_aside": int(set_aside)}
        await self._write(Statement("notice_failed", [{"id": row["id"], **change}]))
        self._failures = 0 if set_aside else self._failures + 1
        if self._failures:
            await self._pause(pause_after(self._failures, self._backoff))

    async def _pause(self, seconds: float) -> None:
        """Leave the others alone for a while: they would most likely fail as well."""
        self._pausing = True
        self.idle.set()
        await asyncio.sleep(seconds)
        self._pausing = False

    async def _write(self, statement: Statement) -> None:
        """Commit; waits while the disk is full, or the same would be told again and again."""
        while True:
            try:
                return await self._journal.write(statement)
            except JournalError as error:
                if not error.passing:
                    raise
                log.error("what a sink was told cannot be noted", sink=self.name, reason=str(error))
            await asyncio.sleep(RETRY)


async def forget_sinks(journal: Journal, installed: Sequence[str]) -> None:
    """Forget what is owed to sinks that are not installed any more; one that is switched off is owed what it was."""
    if {row["sink"] for row in await journal.rows("notices_by_sink")} - set(installed):
        await journal.write(Statement("notices_forget", [{"installed": json.dumps(installed)}]))


def notice_sentences(rows: Sequence[Row]) -> Iterator[str]:
    """How far sinks have been told of something."""
    for row in rows:
        after = f" after {row['attempts']} attempt(s): {row['error']}" if row["attempts"] else ""
        if row["set_aside"]:
            yield f"{row['sink']}: given up{after}"
        else:
            later = max(0.0, row["not_before"] - time.time())
            yield f"{row['sink']}: not told yet{after}{f' It is tried again in {later:.0f} s.' if after else '.'}"


def sink_views(rows: Sequence[Row], known: Collection[str]) -> list[SinkView]:
    """Each sink that is in use, or is owed something."""
    owed = {row["sink"]: row for row in rows}
    views = []
    for name in sorted({*known, *owed}):
        row = owed.get(name)
        facts = {"owed": row["owed"], "given_up": row["set_aside"], "alarm": row["error"]} if row else {}
        views.append(SinkView(name=name, in_use=name in known, **facts))
    return views
