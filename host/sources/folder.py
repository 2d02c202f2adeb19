"""A watched folder. Notifications only say that something happened; scans find what is there.

unknown → settling → ready → taking → acknowledged (removed, moved to done/, or kept)
              ↑__________________| changed while it was read
an inbox:  watching ⇄ paused (its folder is missing, or cannot be read) : an alarm, and it resumes by itself
a file that was committed and cannot be removed is stuck: an alarm, and its removal alone is tried again
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from host.config import Inbox
from host.errors import HostError
from host.intake import Accepted, Intake, Refused, Unsettled
from host.journal import Journal, Statement
from host.log import get_logger
from host.names import from_text
from host.settle import Settle
from host.sources.files import FileArrival, Folders, acknowledge, restore
from host.sources.plan import ScanPlan
from host.sources.scan import Findings, Found, Scanner
from host.sources.watch import Hint, Watch
from host.steps import Observe

GROUP = 512  # files taken in together
TAKERS = 2  # one hashes while the other waits for its commit
ALIVE_EVERY = 2.0  # seconds between looks at whether the folder is still there
CHUNK = 1000  # files that are looked at before others get their turn on the event loop
BACKLOG = 2 * GROUP  # files that wait to be taken in, above which no more are looked for
KNOWN = 50_000
WINDOW = 20_000  # files that settle or are taken in at a time: the rest of a burst waits in its folder, not in memory

log = get_logger(__name__)
Item = TypeVar("Item")


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
        on_withdrawn: Callable[[list[str]], None] = lambda origins: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox = inbox
        self._alarms: dict[str, str] = {}
        self._intake = intake
        self._journal = journal
        self._observe = observe
        self._on_refused = on_refused
        self._on_withdrawn = on_withdrawn
        self._clock = clock
        self._scanner = Scanner(inbox, (*skip, *((inbox.done,) if inbox.done else ())))
        self._plan = ScanPlan(self._scanner.root, inbox.scan_every, 2 * inbox.quiet, clock)
        self._settle: Settle[str] = Settle(inbox.quiet, clock)
        self._found: dict[str, Found] = {}  # what settles
        self._taking: dict[str, str] = {}  # by its revision
        self._overtaken: set[str] = set()  # folders of files that changed while they were taken in
        self._stuck: dict[str, Found] = {}  # committed, but the inbox cannot be rid of it
        self._known: dict[str, str] = {}  # committed and kept, by its revision: some of what the journal knows
        self._ready: asyncio.Queue[Found] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._identity: tuple[int, int] | None = None
        self._watch = Watch(inbox, lambda directories, count: None)
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
        judged = self._scanner.judge(path)
        return judged is not None and judged[0].look.revision == revision

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
        self._watch = Watch(self.inbox, self._hint_for(asyncio.get_running_loop()))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(TAKERS):
                    group.create_task(self._take(), name=f"{self.inbox.name}-taker-{number}")
                while True:
                    await self._round()
                    await self._pause()
        finally:
            await asyncio.to_thread(self._watch.close)

    def _hint_for(self, loop: asyncio.AbstractEventLoop) -> Hint:
        def hint(directories: dict[str, bool], notifications: int) -> None:
            loop.call_soon_threadsafe(self._notice, directories, notifications)

        return hint

    def _notice(self, directories: dict[str, bool], notifications: int) -> None:
        self._plan.notice(directories, notifications)
        self.idle.clear()
        self._wake.set()

    # -- a round: is the folder there, what is in it, what has settled -----------------------------------------------

    async def _round(self) -> None:
        away = await self._check_folder() or await self._look()
        self._alarm("folder", away)
        if away or not (self._taking or len(self._settle) or self._plan.is_pending):
            self.idle.set()
        else:
            self.idle.clear()

    async def _look(self) -> str:
        """Find what is new and what has settled; why the folder cannot be listed, empty when it can."""
        try:
            await self._acknowledge_again()
            if not self._is_busy:
                await self._scan()
            await self._look_at_due()
        except OSError as error:
            self._plan.ask_whole(ALIVE_EVERY)
            return f"{self.inbox.path} cannot be listed ({error.strerror}). It is tried again by itself."
        except HostError as error:  # the disk is full
            self._plan.ask_whole(ALIVE_EVERY)
            self._alarm("journal", f"{error} It is tried again by itself.")
        else:
            self._alarm("journal", "")
        return ""

    async def _pause(self) -> None:
        moments = []
        if not self._alarms.get("folder"):
            moments = [self._settle.next_due(), None if self._is_busy else self._plan.next()]
        await self._sleep_until(min((moment for moment in moments if moment is not None), default=None))

    @property
    def _is_busy(self) -> bool:
        """Whether there is enough to do: each scan looks at all that is there, and finds the more the later it is."""
        return len(self._taking) >= BACKLOG

    async def _sleep_until(self, moment: float | None) -> None:
        """Until something happens, at the latest until a moment, and never for long."""
        now = self._clock()
        until = now + ALIVE_EVERY if moment is None else min(moment, now + ALIVE_EVERY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - now)):
                await self._wake.wait()
        self._wake.clear()

    async def _check_folder(self) -> str:
        """Why the folder cannot be worked on now; watched anew when it is another one than before (a remount)."""
        try:
            identity = await asyncio.to_thread(_identity_of, self.inbox.path)
        except OSError as error:
            self._identity = None
            return f"{self.inbox.path} is not there ({error.strerror}). Mount or create it; it resumes by itself."
        if identity != self._identity or self._watch.has_died:
            self._identity = identity
            self._alarm("watch", await asyncio.to_thread(self._watch.start))
            self._plan.ask_whole()
        self._alarm("limit", self._watch.shortage)
        polls = self.inbox.mode == "poll" or self._alarms.get("watch") or self._alarms.get("limit")
        self._plan.every = self.inbox.poll_every if polls else self.inbox.scan_every
        return ""

    def _alarm(self, about: str, alarm: str) -> None:
        if alarm == self._alarms.get(about, ""):
            return
        self._alarms[about] = alarm
        if alarm:
            log.warning("inbox alarm", inbox=self.inbox.name, about=about, reason=alarm)
        else:
            log.info("inbox alarm over", inbox=self.inbox.name, about=about)

    async def _scan(self) -> None:
        seconds = 0.0
        for directory, recursive in self._plan.take():
            with contextlib.closing(self._scanner.scan(directory, recursive=recursive)) as portions:
                while True:
                    started = self._clock()
                    findings = await _next_portion(portions)
                    if findings is None:
                        break
                    await self._consider(findings)
                    seconds += self._clock() - started
                    await self._make_room()
            self._plan.took(seconds)
            if (directory, recursive) == (self._scanner.root, True):
                await self._forget_gone()

    async def _forget_gone(self) -> None:
        """Forget refusals of files that somebody removed: nothing is left to be put right.

        One whose folder was away for that moment is refused again by the next scan.
        """
        after = ""
        while rows := await self._journal.rows("refused_origins", source=self.inbox.name, after=after, limit=CHUNK):
            after = rows[-1]["origin"]
            gone = await asyncio.to_thread(self._gone, [row["origin"] for row in rows])
            await asyncio.to_thread(self._on_withdrawn, gone)
            forgotten = [{"source": self.inbox.name, "origin": origin} for origin in gone]
            await self._journal.write(Statement("forget_refusal", forgotten))

    def _gone(self, origins: Iterable[str]) -> list[str]:
        return [one for one in origins if not os.path.lexists(os.path.join(self._scanner.root, from_text(one)))]

    async def _make_room(self) -> None:
        """Go on with what was found before until there is room for more."""
        while len(self._settle) + len(self._taking) >= WINDOW:
            await self._sleep_until(self._settle.next_due())
            await self._look_at_due()

    async def _consider(self, findings: Findings) -> None:
        if findings.claims and not self._taking:
            for claim in findings.claims:
                await asyncio.to_thread(restore, claim)
            self._plan.ask_whole()
        for refused in _chunks(findings.refused):
            await self._refuse(refused)
        for files in _chunks(findings.files):
            for found in await self._fresh_among(files):
                self._watch_settle(found)

    async def _fresh_among(self, files: Sequence[Found]) -> list[Found]:
        """The files that settle already, and those that the journal does not know as they are now."""
        others = [found for found in files if not self._is_in_hand(found)]
        settling = [found for found in others if found.origin in self._settle]
        return settling + await self._unseen([found for found in others if found.origin not in self._settle])

    def _is_in_hand(self, found: Found) -> bool:
        """Whether it is being taken in, or was; one that has changed since is looked for once more afterwards."""
        revision = found.look.revision
        taken = self._taking.get(found.origin)
        if taken not in (None, revision):
            self._overtaken.add(os.path.dirname(found.path))
        return taken is not None or self._known.get(found.origin) == revision or self._is_stuck(found)

    async def _unseen(self, found: Sequence[Found]) -> list[Found]:
        if not found:
            return []
        looks = await asyncio.to_thread(_as_json, found)
        keep = int(self.inbox.after == "keep")
        rows = await self._journal.rows("unseen", found=looks, source=self.inbox.name, keep=keep)
        fresh = {row["origin"] for row in rows}
        return [one for one in found if one.origin in fresh]

    async def _refuse(self, refused: Sequence[tuple[Found, str]]) -> None:
        new = {found.origin for found in await self._unseen([found for found, _ in refused])}
        fresh = [(found, reason) for found, reason in refused if found.origin in new]
        if fresh:
            await self._report([(found.origin, reason) for found, reason in fresh])
            common = {"source": self.inbox.name, "seen": time.time()}
            rows = [{**_mark(found), **common, "reason": reason} for found, reason in fresh]
            await self._journal.write(Statement("refuse_arrival", rows))

    async def _report(self, refused: list[tuple[str, str]]) -> None:
        for origin, reason in refused:
            log.warning("refused", inbox=self.inbox.name, file=origin, reason=reason)
        await asyncio.to_thread(self._on_refused, refused)

    def _watch_settle(self, found: Found) -> None:
        self._found[found.origin] = found
        if self._settle.observe(found.origin, found.look):
            self._taking[found.origin] = found.look.revision
            self._ready.put_nowait(self._found.pop(found.origin))

    async def _look_at_due(self) -> None:
        due = self._settle.due()
        while origins := list(itertools.islice(due, CHUNK)):
            judged = await asyncio.to_thread(self._judge_again, origins)
            for origin, judgement in zip(origins, judged, strict=True):
                if judgement is None or judgement[1]:
                    self._settle.forget(origin)
                    del self._found[origin]
                else:
                    self._watch_settle(judgement[0])
            await self._refuse([judgement for judgement in judged if judgement is not None and judgement[1]])

    def _judge_again(self, origins: Iterable[str]) -> list[tuple[Found, str] | None]:
        return [self._scanner.judge(self._found[origin].path) for origin in origins]

    # -- taking in ---------------------------------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            group = [await self._ready.get()]
            while len(group) < GROUP and not self._ready.empty():
                group.append(self._ready.get_nowait())
            try:
                await self._take_group(group)
            except HostError as error:  # the disk is full: nothing is acknowledged, all of it comes again
                self._alarm("intake", f"Nothing can be taken in: {error} It is tried again every few seconds.")
                self._plan.ask_whole(ALIVE_EVERY)
            else:
                self._alarm("intake", "")
            finally:
                self._release(group)

    def _release(self, group: Iterable[Found]) -> None:
        for found in group:
            self._taking.pop(found.origin, None)
        if self._overtaken:
            self._notice(dict.fromkeys(self._overtaken, False), 1)
            self._overtaken.clear()
        self._wake.set()

    async def _take_group(self, group: list[Found]) -> None:
        keep = self.inbox.after == "keep"
        root = self._scanner.root
        with Folders(root) as folders:
            arrivals = [FileArrival(self.inbox.name, found, root, keep, self._tags(found), folders) for found in group]
            pairs = list(zip(group, await self._intake.accept(arrivals), strict=True))
        again = [found for found, verdict in pairs if isinstance(verdict, Unsettled)]
        accepted = [found for found, verdict in pairs if isinstance(verdict, Accepted)]
        if keep:
            self._remember(accepted)
        else:
            again += await self._acknowledge(accepted)
        for found in again:
            self._taking.pop(found.origin, None)
            self._notice({os.path.dirname(found.path): False}, 1)
        if refused := [(found.origin, verdict.reason) for found, verdict in pairs if isinstance(verdict, Refused)]:
            await self._report(refused)

    def _remember(self, accepted: Iterable[Found]) -> None:
        """In a burst a folder is scanned again and again: what was taken in from it is not asked for each time."""
        if len(self._known) > KNOWN:
            self._known.clear()
        self._known.update((found.origin, found.look.revision) for found in accepted)

    async def _acknowledge(self, accepted: Sequence[Found]) -> list[Found]:
        """Rid the inbox of committed files; those that were replaced meanwhile, to be looked at again."""
        replaced, stuck, problem = await asyncio.to_thread(self._acknowledge_all, accepted)
        self._stuck.update({found.origin: found for found in stuck})
        if problem:
            self._alarm("acknowledge", problem)
        return replaced

    def _acknowledge_all(self, accepted: Sequence[Found]) -> tuple[list[Found], list[Found], str]:
        replaced, stuck, problem = [], [], ""
        done = self.inbox.done if self.inbox.after == "done" else None
        with Folders(self._scanner.root) as folders:
            for found in accepted:
                try:
                    if not acknowledge(found, folders, done, self._observe):
                        replaced.append(found)
                    elif self.inbox.marker:
                        Path(found.path + self.inbox.marker).unlink(missing_ok=True)
                except OSError as error:
                    stuck.append(found)
                    problem = (
                        f"{found.origin} is safe in the library, but cannot be taken out of the inbox "
                        f"({error.strerror}). Give the host's user the right to change the folder, or set "
                        'after = "keep".'
                    )
        return replaced, stuck, problem

    async def _acknowledge_again(self) -> None:
        if not self._stuck:
            return
        stuck, self._stuck = list(self._stuck.values()), {}
        for found in await self._acknowledge(stuck):
            self._notice({os.path.dirname(found.path): False}, 1)
        if not self._stuck:
            self._alarm("acknowledge", "")

    def _is_stuck(self, found: Found) -> bool:
        stuck = self._stuck.get(found.origin)
        return stuck is not None and stuck.look.revision == found.look.revision

    def _tags(self, found: Found) -> tuple[str, ...]:
        folders = tuple(found.origin.split("/")[:-1]) if self.inbox.tags_from_folders else ()
        return tuple(dict.fromkeys((*self.inbox.tags, *folders)))


def _identity_of(folder: Path) -> tuple[int, int]:
    """What tells a folder from another that is mounted or made in its place. Raises OSError when there is none."""
    status = os.stat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return status.st_dev, status.st_ino


async def _next_portion(portions: Iterator[Findings]) -> Findings | None:
    """The next portion, found in a thread; who is cancelled meanwhile leaves only when the thread is out of it, too."""
    step = asyncio.ensure_future(asyncio.to_thread(next, portions, None))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _mark(found: Found) -> dict[str, object]:
    return {"origin": found.origin, "revision": found.look.revision, "changed": found.look.ctime_ns}


def _as_json(found: Iterable[Found]) -> str:
    return json.dumps([[one.origin, one.look.revision, one.look.ctime_ns] for one in found])
