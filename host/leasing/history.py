"""The leases' history in the journal: told of every transition by the lease actor, and nobody waits for what it writes.

    a lease       granted → released                       (`leases`)
    a residency   loading → loaded → leaving → gone        (`residencies`)
    work          batch after batch → a pause, or a minute (`work_spans`: one row for all of them)
    a device      allowed ⇄ withdrawn, other budget        (`device_states`)

Each write takes its place in the journal's queue at once, before the results of the work that it tells of. On a full
disk the history has gaps. What is older than `keep_days` is deleted, some rows at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from host.journal import Journal, Statement
from host.leasing.leases import Leases, Transition
from host.log import get_logger

DAY = 24 * 3600.0
CLEAN_EVERY = 300.0
CLEAN_ROWS = 5000  # of a kind at a time: more than a busy host writes in between
PAUSE = 5.0  # seconds without a batch that end a span of work
SPAN = 60.0  # seconds after which it is written down and a new one begins
SAME = 0.02  # of a budget: smaller changes are not told

log = get_logger(__name__)


@dataclass(slots=True)
class _Lease:
    fence: int
    plugin: str


@dataclass(slots=True)
class _Residency:
    fence: int
    memory_mb: float


@dataclass(slots=True)
class _Work:
    device: str
    began: float
    ended: float
    batches: int = 0
    busy: bool = True


class History:
    """Writes down what the leases do. `models` are the names of the plugins' models; `clock` is the journal's."""

    def __init__(
        self,
        journal: Journal,
        leases: Leases,
        models: Mapping[str, str],
        keep_days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._sources = leases
        self._models = models
        self._keep = keep_days * DAY
        self._clock = clock
        self._leases: dict[str, _Lease] = {}  # in force, by device
        self._residencies: dict[str, _Residency] = {}  # by plugin
        self._work: dict[str, _Work] = {}  # by plugin
        self._rooms: dict[str, tuple[float, str]] = {}  # budget and withdrawal, by device
        self._last: asyncio.Future[None] | None = None  # of what was written
        leases.on_transition = self.on_transition
        leases.on_room = self.on_room

    async def open(self) -> int:
        """Close what a killed host left open, and say what devices there are. The last fencing number."""
        now = self._clock()
        self._write("close_leases", released=now)
        self._write("close_residencies", gone=now)
        for device in self._sources.devices:
            self.on_room(device.name)
        row = await self._journal.row("last_fence")
        return row["fence"] if row is not None else 0

    async def run(self) -> None:
        """Delete what is too old, now and then, until cancelled."""
        while True:
            self.clean()
            await asyncio.sleep(CLEAN_EVERY)

    def clean(self) -> None:
        """Delete some of what is too old."""
        before = self._clock() - self._keep
        for name in ("forget_leases", "forget_residencies", "forget_work", "forget_device_states"):
            self._write(name, before=before, limit=CLEAN_ROWS)

    async def settle(self) -> None:
        """Write down the work that goes on, and return when all that was told is on the disk."""
        for plugin, work in list(self._work.items()):
            self._note_work(plugin, work)
            if work.busy:
                self._work[plugin] = _Work(work.device, self._clock(), self._clock())
        if self._last is not None:
            await asyncio.wait([self._last])

    # -- what it is told -----------------------------------------------------------------------------------------------

    def on_transition(self, moved: Transition) -> None:
        """A model came into another state."""
        now = self._clock()
        self._note_lease(moved, now)
        self._note_residency(moved, now)
        if moved.after == "busy":
            self._begin_work(moved, now)
        elif moved.before == "busy":
            self._end_work(moved, now)
        if moved.after == "unloaded" and moved.model in self._work:
            self._note_work(moved.model, self._work[moved.model])

    def on_room(self, device: str) -> None:
        """A device's budget, or whether it may be used at all, may have changed."""
        budget, withdrawn = self._sources.budget_mb(device), self._sources.withdrawn(device)
        known = self._rooms.get(device)
        if known is not None and known[1] == withdrawn and abs(known[0] - budget) <= SAME * budget:
            return
        self._rooms[device] = budget, withdrawn
        kind = next(one.kind for one in self._sources.devices if one.name == device)
        row = {"device": device, "kind": kind, "budget_mb": budget, "withdrawn": withdrawn, "at": self._clock()}
        self._write("insert_device_state", **row)

    # -- leases and residencies ----------------------------------------------------------------------------------------

    def _note_lease(self, moved: Transition, now: float) -> None:
        held = self._leases.get(moved.device)
        if moved.fence and (held is None or held.fence != moved.fence):
            if held is not None:
                self._release(held, f"turn of {moved.model}", now)
            held = self._leases[moved.device] = _Lease(moved.fence, moved.model)
            self._write("grant_lease", fence=moved.fence, granted=now, **self._who(moved))
        if moved.after == "unloaded" and held is not None and held.plugin == moved.model:
            self._release(self._leases.pop(moved.device), moved.reason, now)

    def _release(self, lease: _Lease, reason: str, now: float) -> None:
        known = self._residencies.get(lease.plugin)
        memory = known.memory_mb if known is not None else None
        self._write("release_lease", fence=lease.fence, released=now, reason=reason, memory_mb=memory)

    def _note_residency(self, moved: Transition, now: float) -> None:
        if moved.after == "loading":
            known = self._residencies[moved.model] = _Residency(moved.fence, moved.memory_mb)
            self._write(
                "begin_residency", fence=moved.fence, loading=now, memory_mb=moved.memory_mb, **self._who(moved)
            )
        known = self._residencies[moved.model]
        if moved.memory_mb != known.memory_mb:
            known.memory_mb = moved.memory_mb
            self._write("measured", fence=known.fence, memory_mb=moved.memory_mb)
        if moved.before == "loading" and moved.after == "ready":
            self._write("loaded", fence=known.fence, loaded=now)
        elif moved.after == "unloading":
            self._write("leaving", fence=known.fence, leaving=now, reason=moved.reason)
        elif moved.after == "unloaded":
            del self._residencies[moved.model]
            self._write("gone", fence=known.fence, gone=now, reason=moved.reason)

    def _who(self, moved: Transition) -> dict[str, Any]:
        return {"device": moved.device, "plugin": moved.model, "model": self._models.get(moved.model, "")}

    # -- work ----------------------------------------------------------------------------------------------------------

    def _begin_work(self, moved: Transition, now: float) -> None:
        work = self._work.get(moved.model)
        if work is not None and (now - work.ended > PAUSE or now - work.began > SPAN):
            self._note_work(moved.model, work)
            work = None
        if work is None:
            work = self._work[moved.model] = _Work(moved.device, now, now)
        work.busy = True

    def _end_work(self, moved: Transition, now: float) -> None:
        work = self._work[moved.model]
        work.ended, work.busy = now, False
        work.batches += 1

    def _note_work(self, plugin: str, work: _Work) -> None:
        del self._work[plugin]
        ended = self._clock() if work.busy else work.ended
        facts = {"device": work.device, "plugin": plugin, "began": work.began, "ended": ended}
        self._write("insert_work", **facts, batches=work.batches)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _write(self, name: str, **row: Any) -> None:
        """Each statement by itself: of writes that do the same the journal may run their parts in another order."""
        self._last = self._journal.submit(Statement(name, [row]))
        self._last.add_done_callback(_look_after)


def _look_after(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()) is not None:
        log.warning("the history of the leases has a gap", reason=str(error))
