"""Warm spares: workers that have imported their libraries and hold no model, so that a load costs the weights alone.

A plugin that wants one has it while its model is not resident. Spares live on memory that no model needs: they are
started where there is room beside what is resident, one at a time, never during a load, and give way to models.

    none → warming → warm → taken       by a load of its plugin: it is that model's worker from then on
              └───────┴───→ ended       its room is needed, its imports failed, it died, the host ends
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from host.log import get_logger
from host.workers import Launch, Worker, WorkerFailed

LOOK_EVERY = 1.0  # seconds between two looks at what is wished for, when nothing is heard

log = get_logger(__name__)


class Begin(Protocol):
    """Starts a process for a launch."""

    async def __call__(self, launch: Launch, on_exit: Callable[[], None]) -> Worker: ...


class End(Protocol):
    """Ends a worker and returns when it has gone."""

    async def __call__(self, worker: Worker, *, kill: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """A plugin that wants a spare: how it is launched, and how much its model takes, which no spare is larger than."""

    launch: Launch
    memory_mb: float


@dataclass(slots=True)
class _Spare:
    worker: Worker
    size_mb: float
    warm: asyncio.Event
    displaced: bool = False


class Spares:
    """The spares, by plugin; at most one of them is not warm yet."""

    def __init__(self, begin: Begin, end: End) -> None:
        self._begin = begin
        self._end = end
        self._there: dict[str, _Spare] = {}
        self._sizes: dict[str, float] = {}  # MB of each plugin's spare, as it was seen
        self._failed: set[str] = set()
        self._dead: list[Worker] = []
        self._loads = 0
        self._beginning = asyncio.Lock()
        self._wake = asyncio.Event()
        self._room_mb: Callable[[], float] = lambda: float("inf")

    def __contains__(self, worker: Worker) -> bool:
        return any(spare.worker is worker for spare in self._there.values())

    @property
    def memory_mb(self) -> dict[str, float]:
        """What each spare holds, in MB of the machine's memory."""
        return {name: spare.size_mb for name, spare in self._there.items()}

    async def take(self, launch: Launch) -> Worker | None:
        """The spare for a launch, which is nobody else's from then on; one that is not warm yet is waited for."""
        async with self._beginning:
            spare = self._there.get(launch.plugin)
        if spare is None or _process(spare.worker.launch) != _process(launch):
            return None
        await spare.warm.wait()
        if self._there.pop(launch.plugin, None) is None:  # it failed
            return None
        spare.worker.launch = launch
        return spare.worker

    async def give_way(self) -> None:
        """End spares, the largest first, until the rest has room beside the models."""
        while self._there and sum(self.memory_mb.values()) > self._room_mb():
            largest = max(self._there, key=lambda name: self._there[name].size_mb)
            spare = self._there.pop(largest)
            spare.displaced = True
            await self._end(spare.worker, kill=True)

    def wake(self) -> None:
        """Something has changed that may leave room for a spare."""
        self._wake.set()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While a model is loaded no spare is begun: it would slow that down."""
        self._loads += 1
        try:
            yield
        finally:
            self._loads -= 1
            self._wake.set()

    async def run(self, wishes: Callable[[], list[Wish]], room_mb: Callable[[], float]) -> None:
        """Keep spares for all that wish one now; `room_mb` is what models leave. Ends by cancellation."""
        self._room_mb = room_mb
        self._wake.set()
        while True:
            with contextlib.suppress(TimeoutError):  # a model is told to have left a moment after its worker has ended
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            while self._dead:
                await self._end(self._dead.pop(), kill=True)
            if not self._loads and (wish := next(filter(self._may_have, wishes()), None)) is not None:
                await self._warm_up(wish.launch, self._size(wish))
                self._wake.set()  # others may wish something else by now

    def _may_have(self, wish: Wish) -> bool:
        name = wish.launch.plugin
        fits = self._size(wish) + sum(self.memory_mb.values()) <= self._room_mb()
        return fits and name not in self._there and name not in self._failed

    def _size(self, wish: Wish) -> float:
        return self._sizes.get(wish.launch.plugin, wish.memory_mb)

    async def _warm_up(self, launch: Launch, size_mb: float) -> None:
        name = launch.plugin
        async with self._beginning:
            try:
                worker = await self._begin(launch, lambda: self._died(name))
            except OSError as error:
                return self._fail(name, error)
            spare = self._there[name] = _Spare(worker, size_mb, asyncio.Event())
        try:
            await worker.warm()
            self._sizes[name] = spare.size_mb = worker.memory_mb
            log.info("warm spare", plugin=name, memory_mb=round(worker.memory_mb))
        except WorkerFailed as error:
            self._there.pop(name, None)
            await self._end(worker, kill=True)
            if not spare.displaced:
                self._fail(name, error)
        finally:
            spare.warm.set()
        await self.give_way()

    def _died(self, name: str) -> None:
        spare = self._there.pop(name, None)
        if spare is not None:
            spare.displaced = True
            self._dead.append(spare.worker)
            self._fail(name, WorkerFailed("died", "It ended by itself."))
            self._wake.set()

    def _fail(self, name: str, error: Exception) -> None:
        """Do without a spare from now on; what is wrong, a load says to whom it concerns."""
        self._failed.add(name)
        log.warning("no warm spare", plugin=name, reason=str(error))


def _process(launch: Launch) -> tuple[object, ...]:
    """What a process was started with, and cannot be changed afterwards."""
    return (launch.plugin, launch.module, launch.spec.python, launch.device)
