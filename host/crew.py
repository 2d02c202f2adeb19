"""The workers of a host: started or taken warm, measured while they work, and gone with their memory afterwards.

    begin   the GPU's lock, the warm spare of the plugin or a new process, its entry in the register
    (work)  what each one holds of its device is looked at twice a second while it has something to do
    end     its family of processes has gone, its device's memory is back; only then the lock, and the next grant

What others leave of each device is told to the leases, as it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence

from hooks.model import Device
from host import processes
from host.leasing.devices import Gauge
from host.leasing.gpu_lock import GpuLock
from host.leasing.occupancy import Occupancy
from host.log import get_logger
from host.remains import Register
from host.spares import Spares
from host.workers import Launch, Worker, WorkerFailed

SAMPLE_EVERY = 0.5  # seconds between two looks at the memory of workers that work
IDLE_EVERY = 2.0  # seconds between two looks at a GPU on which nobody of ours works
LONGEST_PAUSE = 600.0  # seconds between two attempts of what has nowhere to fail for good
NOTICEABLE_MB = 16.0  # a change of what others leave that is worth a new decision

log = get_logger(__name__)
Limit = Callable[[str, float], None]


class Crew:
    """Begins and ends workers; `watch` is to run beside. `limit` is told how much of a device is left for models."""

    def __init__(
        self, gauges: Iterable[Gauge], register: Register, owner: str = "", limit: Limit = lambda device, mb: None
    ) -> None:
        self.occupancies = {gauge.device.name: Occupancy(gauge) for gauge in gauges}
        self.notes: dict[str, str] = {}  # by device: why models wait for it
        self.spares = Spares(self._start, self.end)
        self._locks = {
            name: GpuLock(occupancy.gauge.device.uuid, owner)
            for name, occupancy in self.occupancies.items()
            if occupancy.gauge.device.uuid
        }
        self._register = register
        self._limit = limit
        self._limits: dict[str, float] = {}
        self._workers: dict[str, Worker] = {}
        self._seen: dict[str, int] = {}  # requests of each worker at the last look
        self._work = asyncio.Event()

    async def clear(self) -> None:
        """End what a killed host left, and see what others leave us of each device."""
        await self._register.clear()
        await self._measure(self._workers.values())

    # -- begin and end -----------------------------------------------------------------------------------------------

    async def begin(self, launch: Launch, on_exit: Callable[[], None]) -> Worker:
        """A worker that holds no model yet. Raises OSError; WorkerFailed (in_use) when another host has the GPU."""
        self._take(launch.device)
        worker = await self.spares.take(launch)
        await self.spares.give_way()
        if worker is None:
            worker = await self._start(launch, on_exit)
        worker.on_exit = on_exit
        await self._measure([])
        self._occupancy(worker).enter(worker.mark)
        return worker

    async def _start(self, launch: Launch, on_exit: Callable[[], None]) -> Worker:
        worker = Worker(launch, on_exit)
        self._workers[worker.mark] = worker
        try:
            await worker.start()
            await asyncio.to_thread(self._register.enter, worker.pid, worker.mark, launch.plugin)
        except BaseException:
            await self.end(worker, kill=True)
            raise
        return worker

    async def load(self, worker: Worker) -> None:
        """Have the model loaded. Raises WorkerFailed."""
        with self.spares.resting():
            self._work.set()
            await worker.load()
            if worker.launch.device.kind == "gpu":  # of a CPU, it has said itself what it took
                await self._measure([worker])

    async def end(self, worker: Worker, *, kill: bool = False) -> None:
        """Have a worker exit; return when it and its memory have gone, or are counted as others' for as long as not."""
        await (worker.kill() if kill else worker.stop())
        if self._workers.pop(worker.mark, None) is None:
            return
        self._seen.pop(worker.mark, None)
        occupancy = self._occupancy(worker)
        if worker.left:
            occupancy.reserved.add(worker.mark)
            await occupancy.measure(await self._pids(occupancy))
        else:
            await asyncio.to_thread(self._register.strike, worker.mark)
            await occupancy.leave(worker.mark, await self._pids(occupancy), worker.launch.plugin)
        self._tell(occupancy)
        self._release(worker.launch.device)
        self.spares.wake()

    def kill_soon(self) -> None:
        """Send all workers the signal that ends them, and do not wait."""
        for worker in self._workers.values():
            worker.kill_soon()

    async def close(self) -> None:
        """Whatever happened: no worker is left."""
        for worker in list(self._workers.values()):
            await self.end(worker, kill=True)
        for lock in self._locks.values():
            lock.release()

    def _take(self, device: Device) -> None:
        lock = self._locks.get(device.name)
        note = lock.take() if lock is not None else ""
        self.notes[device.name] = note
        if note:
            raise WorkerFailed("in_use", f"{device.name}: {note}")

    def _release(self, device: Device) -> None:
        lock = self._locks.get(device.name)
        there = [worker for worker in self._workers.values() if worker.launch.device.name == device.name]
        if lock is not None and all(worker in self.spares for worker in there):
            lock.release()

    # -- memory ------------------------------------------------------------------------------------------------------

    def peak_mb(self, worker: Worker) -> float | None:
        """The most memory of its device that a worker was seen to hold, in MB; None when nothing was seen."""
        holding = self._occupancy(worker).holdings.get(worker.mark)
        seen = holding.peak_mb if holding else 0.0
        if worker.launch.device.kind != "gpu":  # what the worker says of itself is exact, and leaves out its children
            seen = max(seen, worker.memory_mb)
        return seen or None

    def others_mb(self, device: str) -> float:
        """Memory of a device that other programs hold, in MB."""
        return self.occupancies[device].others_mb

    async def watch(self) -> None:
        """Look at the memory of those that work, and at GPUs; ends by cancellation."""
        gpus = [occupancy for occupancy in self.occupancies.values() if occupancy.gauge.device.kind == "gpu"]
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_EVERY if gpus else None):
                    await self._work.wait()
            self._work.clear()
            await self.spares.give_way()
            working = [worker for worker in self._workers.values() if self._has_worked(worker)]
            await self._measure(working)
            if working:
                self._work.set()
                await asyncio.sleep(SAMPLE_EVERY)

    def worked(self) -> None:
        """Some worker has something to do."""
        self._work.set()

    def _has_worked(self, worker: Worker) -> bool:
        """Whether it is at work, or was since the last look: there is always one when it has finished."""
        if worker.at_work:
            return True
        before, self._seen[worker.mark] = self._seen.get(worker.mark, 0), worker.requests
        return worker.requests > before

    async def _measure(self, working: Collection[Worker]) -> None:
        """Look at the devices of those that work, and at every GPU."""
        marks = [worker.mark for worker in working]
        for occupancy in self.occupancies.values():
            device = occupancy.gauge.device
            busy = [worker for worker in working if self._occupancy(worker) is occupancy]
            if device.kind == "gpu" or (busy and device.kind == "cpu"):
                await occupancy.measure(await self._pids(occupancy), marks)
                self._tell(occupancy)

    async def _pids(self, occupancy: Occupancy) -> dict[str, list[int]]:
        here = [mark for mark in self._workers if mark in occupancy.holdings]
        marks = [*here, *occupancy.reserved]
        families = await asyncio.to_thread(processes.families, marks) if marks else {}
        return {mark: [process.pid for process in family] for mark, family in families.items()}

    def _tell(self, occupancy: Occupancy) -> None:
        name, left = occupancy.gauge.device.name, occupancy.limit_mb
        if abs(left - self._limits.get(name, occupancy.gauge.device.memory_mb)) >= NOTICEABLE_MB:
            self._limits[name] = left
            self._limit(name, left)

    def _occupancy(self, worker: Worker) -> Occupancy:
        return self.occupancies[worker.launch.device.name]


class Attendant:
    """A process of a plugin without a lease, for a sink or a source; there while it has something to do."""

    def __init__(self, launch: Launch, crew: Crew) -> None:
        self.launch = launch
        self._crew = crew
        self._worker: Worker | None = None
        self._exited = False

    @property
    def is_there(self) -> bool:
        """Whether it was started and not ended."""
        return self._worker is not None

    async def worker(self) -> Worker:
        """It, started and loaded. Raises WorkerFailed, OSError; then it is not there."""
        if self._exited:
            await self.end(kill=True)
        if self._worker is None:
            try:
                self._worker = await self._crew.begin(self.launch, self._on_exit)
                await self._crew.load(self._worker)
            except BaseException:
                await self.end(kill=True)
                raise
        return self._worker

    async def end(self, *, kill: bool = False) -> None:
        """Have it exit, if it is there."""
        worker, self._worker, self._exited = self._worker, None, False
        if worker is not None:
            await self._crew.end(worker, kill=kill)

    def _on_exit(self) -> None:
        self._exited = True


def pause_after(failures: int, backoff: Sequence[float]) -> float:
    """Seconds until the next attempt: those of the configuration, then twice as long each time, up to ten minutes."""
    further = min(max(0, failures - len(backoff)), 60)
    return float(min(backoff[min(failures, len(backoff)) - 1] * 2.0**further, LONGEST_PAUSE))
