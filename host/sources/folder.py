"""A watched folder. Notifications only say that something happened; scans find what is there.

    unknown → settling → ready → taking → acknowledged (removed, moved to done/, or kept)
                  ↑__________________| changed while it was read
    an inbox:  watching ⇄ paused (its folder is missing, or cannot be read) : an alarm, and it resumes by itself
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from host.config import Inbox
from host.intake import Accepted, Intake, Refused, Unsettled
from host.errors import JournalError
from host.journal import Journal, Statement
from host.log import get_logger
from host.settle import Settle
from host.sources.files import FileArrival, acknowledge, restore
from host.sources.scan import Findings, Found, Look, Scanner
from host.sources.watch import Watch
from host.steps import Observe

GROUP = 512  # files taken in together
TAKERS = 2  # one hashes while the other waits for its commit
ALIVE_EVERY = 2.0  # seconds between looks at whether the folder is still there
BURST = 1000  # notifications after which the folder is scanned whole: the kernel's queue may have overflowed
SCAN_SHARE = 5  # a scan that took t is followed by another after at least 5 t
DIFF_CHUNK = 10_000

log = get_logger(__name__)


@dataclass(slots=True)
class _Plan:
    """What to scan next: single directories, or everything."""

    directories: dict[str, bool] = field(default_factory=dict)
    whole: bool = True
    whole_due: float = 0.0
    notifications: int = 0


class FolderSource:
    """One inbox; `run` watches it until it is cancelled."""

    def __init__(
        self,
        inbox: Inbox,
        intake: Intake,
        journal: Journal,
        *,
        skip: tuple[Path, ...] = (),
        observe: Observe = lambda step: None,
        on_refused: Callable[[list[tuple[str, str]]], None] = lambda refused: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox = inbox
        self._alarms: dict[str, str] = {}
        self._intake = intake
        self._journal = journal
        self._observe = observe
        self._on_refused = on_refused
        self._clock = clock
        self._scanner = Scanner(inbox, (*skip, *((inbox.done,) if inbox.done else ())))
        self._settle: Settle[str] = Settle(inbox.quiet, clock)
        self._found: dict[str, Found] = {}
        self._taking: set[str] = set()
        self._ready: asyncio.Queue[Found] = asyncio.Queue()
        self._plan = _Plan()
        self._wake = asyncio.Event()
        self._scanned_at = float("-inf")
        self._not_before = 0.0
        self._identity: tuple[int, int] | None = None
        self._watch: Watch | None = None
        self.idle = asyncio.Event()

    @property
    def alarm(self) -> str:
        """Why the inbox is not worked as it should be, and what to do; empty when all is well."""
        return " ".join(filter(None, self._alarms.values()))

    @property
    def settling(self) -> int:
        """Files that are waited for."""
        return len(self._settle)

    @property
    def taking(self) -> int:
        """Files that are being read and committed."""
        return len(self._taking)

    def origin_of(self, path: str) -> str | None:
        """The name that a path has in this inbox, None for one outside."""
        return self._scanner.origin_of(path) if path.startswith(self._scanner.root + os.sep) else None

    def is_current(self, path: str, revision: str) -> bool:
        """Whether the file is still as it was when it had this revision."""
        look = self._scanner.look_again(Found("", path, Look(0, 0, 0, 0)))
        return look is not None and look.revision == revision

    def state_of(self, path: str) -> str | None:
        """'ignored', 'settling' or 'taking' for a path in this inbox, None when this source does not have it."""
        origin = self._scanner.origin_of(path)
        if origin in self._taking:
            return "taking"
        if origin in self._settle:
            return "settling"
        return "ignored" if self._scanner.is_ignored(path) else None

    async def run(self) -> None:
        """Watch, settle and take in; ends only by cancellation."""
        loop = asyncio.get_running_loop()
        self._watch = Watch(self.inbox, lambda *hint: loop.call_soon_threadsafe(self._notice, *hint))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(TAKERS):
                    group.create_task(self._take(), name=f"{self.inbox.name}-taker-{number}")
                while True:
                    await self._round()
                    await self._pause()
        finally:
            await asyncio.to_thread(self._watch.stop)

    def _notice(self, directories: dict[str, bool], notifications: int) -> None:
        plan = self._plan
        for directory, recursive in directories.items():
            plan.directories[directory] = plan.directories.get(directory, False) or recursive
        plan.notifications += notifications
        if any(directories.values()) or plan.notifications >= BURST:  # a new folder's files may go unreported, too
            plan.whole_due = self._clock() + 2 * self.inbox.quiet
        self.idle.clear()
        self._wake.set()

    async def _round(self) -> None:
        if await asyncio.to_thread(self._is_there):
            try:
                await self._scan()
                await self._look_at_due()
            except OSError as error:
                self._alarm("listing", f"{self.inbox.path} cannot be listed ({error.strerror}). It is tried again by itself.")
            else:
                self._alarm("listing", "")
        pending = self._taking or len(self._settle) or self._plan.whole or self._plan.directories
        if self._identity is None or not pending:
            self.idle.set()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_look() - self._clock())):
                await self._wake.wait()
        self._wake.clear()

    def _next_look(self) -> float:
        moments = [self._clock() + ALIVE_EVERY]
        if (settled := self._settle.next_due()) is not None:
            moments.append(settled)
        if self._plan.whole or self._plan.directories:
            moments.append(self._not_before)
        elif self._plan.whole_due:
            moments.append(max(self._plan.whole_due, self._not_before))
        return min(moments)

    def _is_there(self) -> bool:
        """Whether the folder is there; watches it anew when it is another one than before (a remount)."""
        try:
            status = os.stat(self.inbox.path)
        except OSError as error:
            self._identity = None
            self._alarm("folder", f"{self.inbox.path} is not there ({error.strerror}). Mount or create it; it resumes by itself.")
            return False
        identity = (status.st_dev, status.st_ino)
        if identity != self._identity:
            self._identity = identity
            self._plan.whole = True
            if self._watch is not None:
                self._alarm("watch", self._watch.start())
        self._alarm("folder", "")
        return True

    def _alarm(self, about: str, alarm: str) -> None:
        if alarm == self._alarms.get(about, ""):
            return
        self._alarms[about] = alarm
        if alarm:
            log.warning("inbox paused", inbox=self.inbox.name, reason=alarm)
        else:
            log.info("inbox resumed", inbox=self.inbox.name)

    async def _scan(self) -> None:
        now = self._clock()
        every = self.inbox.poll_every if self.inbox.mode == "poll" or self._alarms.get("watch") else self.inbox.scan_every
        plan = self._plan
        if now - self._scanned_at >= every or (plan.whole_due and now >= plan.whole_due):
            plan.whole = True
        if now < self._not_before or not (plan.whole or plan.directories):
            return
        left = (0.0, 0) if plan.whole else (plan.whole_due, plan.notifications)
        self._plan = _Plan({}, False, *left)
        jobs = [(self._scanner.root, True)] if plan.whole else list(plan.directories.items())
        for directory, recursive in jobs:
            findings = await asyncio.to_thread(self._scanner.scan, directory, recursive=recursive)
            await self._consider(findings)
        if plan.whole:
            self._scanned_at = now
        self._not_before = self._clock() + SCAN_SHARE * (self._clock() - now)

    async def _consider(self, findings: Findings) -> None:
        for claim in findings.claims:
            if not self._taking:
                await asyncio.to_thread(restore, claim)
                self._plan.whole = True
        await self._refuse(findings.refused)
        new = [found for found in findings.files if found.origin not in self._taking]
        waited = [found for found in new if found.origin in self._settle]
        for found in waited + await self._unseen([found for found in new if found.origin not in self._settle]):
            self._watch_settle(found)

    async def _unseen(self, found: list[Found]) -> list[Found]:
        """The files that the journal does not know as they are now."""
        fresh: list[Found] = []
        for start in range(0, len(found), DIFF_CHUNK):
            chunk = {one.origin: one for one in found[start : start + DIFF_CHUNK]}
            looks = await asyncio.to_thread(_as_json, chunk.values())
            keep = int(self.inbox.after == "keep")
            rows = await self._journal.rows("unseen", found=looks, source=self.inbox.name, keep=keep)
            fresh.extend(chunk[row["origin"]] for row in rows)
        return fresh

    async def _refuse(self, refused: list[tuple[Found, str]]) -> None:
        new = {found.origin for found in await self._unseen([found for found, _ in refused])}
        fresh = [(found, reason) for found, reason in refused if found.origin in new]
        if fresh:
            await self._report([(found.origin, reason) for found, reason in fresh])
            rows = [{**_mark(found), "source": self.inbox.name, "reason": reason, "seen": time.time()} for found, reason in fresh]
            await self._journal.write(Statement("refuse_arrival", rows))

    async def _report(self, refused: list[tuple[str, str]]) -> None:
        for origin, reason in refused:
            log.warning("refused", inbox=self.inbox.name, file=origin, reason=reason)
        await asyncio.to_thread(self._on_refused, refused)

    def _watch_settle(self, found: Found) -> None:
        self._found[found.origin] = found
        if self._settle.observe(found.origin, found.look):
            self._queue(found)

    async def _look_at_due(self) -> None:
        due = list(self._settle.due())
        looks = await asyncio.to_thread(lambda: [self._scanner.look_again(self._found[origin]) for origin in due])
        for origin, look in zip(due, looks, strict=True):
            if look is None:
                self._settle.forget(origin)
                self._found.pop(origin, None)
            else:
                self._watch_settle(Found(origin, self._found[origin].path, look))

    def _queue(self, found: Found) -> None:
        self._found.pop(found.origin, None)
        self._taking.add(found.origin)
        self._ready.put_nowait(found)

    async def _take(self) -> None:
        while True:
            group = [await self._ready.get()]
            while len(group) < GROUP and not self._ready.empty():
                group.append(self._ready.get_nowait())
            try:
                await self._take_group(group)
            except (OSError, JournalError) as error:  # the disk is full: nothing is acknowledged, all of it comes again
                self._alarm("intake", f"Nothing can be taken in: {error}. It is tried again every few seconds.")
                self._plan.whole_due = self._clock() + ALIVE_EVERY
            else:
                self._alarm("intake", "")
            finally:
                self._taking.difference_update(found.origin for found in group)
                if not self._taking:
                    self._wake.set()

    async def _take_group(self, group: list[Found]) -> None:
        keep = self.inbox.after == "keep"
        arrivals = [FileArrival(self.inbox.name, found, keep, self._tags(found)) for found in group]
        verdicts = await self._intake.accept(arrivals)
        accepted = [found for found, verdict in zip(group, verdicts, strict=True) if isinstance(verdict, Accepted)]
        if not keep:
            await asyncio.to_thread(self._acknowledge, accepted)
        pairs = list(zip(group, verdicts, strict=True))
        for found, verdict in pairs:
            if isinstance(verdict, Unsettled):
                self._taking.discard(found.origin)
                self._notice({os.path.dirname(found.path): False}, 1)
        if refused := [(found.origin, verdict.reason) for found, verdict in pairs if isinstance(verdict, Refused)]:
            await self._report(refused)

    def _acknowledge(self, accepted: list[Found]) -> None:
        after = "done" if self.inbox.after == "done" else "remove"
        for found in accepted:
            acknowledge(found, after, self._scanner.root, self.inbox.done, self._observe)
            if self.inbox.marker:
                Path(found.path + self.inbox.marker).unlink(missing_ok=True)

    def _tags(self, found: Found) -> tuple[str, ...]:
        folders = tuple(found.origin.split("/")[:-1]) if self.inbox.tags_from_folders else ()
        return tuple(dict.fromkeys((*self.inbox.tags, *folders)))


def _mark(found: Found) -> dict[str, object]:
    return {"origin": found.origin, "revision": found.look.revision, "changed": found.look.ctime_ns}


def _as_json(found: Iterable[Found]) -> str:
    return json.dumps([[one.origin, one.look.revision, one.look.ctime_ns] for one in found])

